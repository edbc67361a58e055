//! A recording heard as the microphone is: in pieces, with a draft in every pause. For measuring; runs on the caller's
//! thread and waits for no clock.

use std::ops::Range;
use std::time::Instant;

use crate::dialogue::{ReplyEvent, ToolCall, TurnId};
use crate::listen::segment::SegmentEvent;
use crate::listen::{self, ListenConfig};
use crate::model::{Gemma, ModelError, Respond, Start};
use crate::timeline::ms;

/// Samples that arrive together, as the listener gives them: 80 ms.
pub const PIECE: usize = 1280;

/// What arrives of an utterance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// These samples of the recording.
    Sound(Range<usize>),
    /// It may be the end.
    Pause,
    /// It was not.
    Resumed,
}

/// All speech of a recording, with its pauses, as it would arrive, each with the number of samples that were spoken by
/// then. What ends it is the end of the recording. Empty if nobody speaks.
pub fn arrivals(samples_16k: &[f32], config: &ListenConfig) -> Vec<(usize, Arrival)> {
    let mut arrivals = Vec::new();
    let (mut told, mut first, mut paused) = (0, None, false);
    // No sound is told before it is known to be part of an utterance.
    let mut earliest = 0;
    let longest = config.max_ms as usize * 16;
    for (at, event) in listen::events(samples_16k, config) {
        let end = first.map_or(usize::MAX, |first: usize| first + longest);
        let to = match &event {
            SegmentEvent::Started { from, .. } if first.is_none() => {
                (first, told, earliest) = (Some(*from), *from, at);
                continue;
            }
            SegmentEvent::Started { .. } | SegmentEvent::Resumed => {
                if std::mem::take(&mut paused) {
                    arrivals.push((at, Arrival::Resumed));
                    earliest = at;
                }
                at
            }
            SegmentEvent::Paused | SegmentEvent::StillPaused => at,
            SegmentEvent::Ended(segment) => segment.range.end,
        };
        if paused {
            continue;
        }
        while told < to.min(end) {
            let piece = told..to.min(end).min(told + PIECE);
            told = piece.end;
            arrivals.push((piece.end.max(earliest), Arrival::Sound(piece)));
        }
        if event == SegmentEvent::Paused {
            paused = true;
            arrivals.push((at, Arrival::Pause));
        }
    }
    arrivals
}

/// What came of hearing a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Hearing {
    /// Its calls.
    pub calls: Vec<ToolCall>,
    /// What the model chose: token, and its logit's distance to the next.
    pub choices: Vec<(u32, f32)>,
    /// From the arrival of the last sound to the last call.
    pub latency_ms: f64,
    /// Drafts made.
    pub drafts: usize,
}

/// Hears what arrives of `samples`; every draft is decoded to its end before what follows arrives.
///
/// # Errors
/// When the model fails.
pub fn hear(
    model: &mut Gemma,
    turn: TurnId,
    samples: &[f32],
    arrivals: &[(usize, Arrival)],
) -> Result<Hearing, ModelError> {
    model.begin(turn, Start::Fresh)?;
    let mut drafted = false;
    let mut last = Instant::now();
    for (_, arrival) in arrivals {
        match arrival {
            Arrival::Sound(range) => {
                last = Instant::now();
                model.hear(&samples[range.clone()])?;
            }
            Arrival::Pause => {
                model.draft()?;
                while model.advance()? {}
                drafted = true;
            }
            Arrival::Resumed => {
                model.resume()?;
                drafted = false;
            }
        }
    }
    finish(model, drafted, last)
}

/// Hears at once what had arrived of `samples` by the draft that counts.
///
/// # Errors
/// When the model fails.
pub fn hear_at_once(
    model: &mut Gemma,
    turn: TurnId,
    samples: &[f32],
    arrivals: &[(usize, Arrival)],
) -> Result<Hearing, ModelError> {
    let all = told(arrivals);
    hear(model, turn, samples, &[(all.end, Arrival::Sound(all))])
}

/// The samples that are in `arrivals`: they have no gaps.
pub fn told(arrivals: &[(usize, Arrival)]) -> Range<usize> {
    let sound = |(_, arrival): &(usize, Arrival)| match arrival {
        Arrival::Sound(range) => Some(range.clone()),
        Arrival::Pause | Arrival::Resumed => None,
    };
    let ranges = arrivals.iter().filter_map(sound);
    ranges.reduce(|all, piece| all.start..piece.end).unwrap_or_default()
}

fn finish(model: &mut Gemma, drafted: bool, last: Instant) -> Result<Hearing, ModelError> {
    if !drafted {
        model.draft()?;
    }
    let mut calls = Vec::new();
    model.commit(&mut |event| {
        if let ReplyEvent::Call(call) = event {
            calls.push(call);
        }
    })?;
    let choices = model.choices().iter().map(|choice| (choice.token, choice.gap)).collect();
    Ok(Hearing { calls, choices, latency_ms: ms(last.elapsed()), drafts: model.timeline().drafts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav;
    use std::path::Path;

    #[test]
    fn a_recording_arrives_without_gaps_and_with_its_pauses() {
        let config = ListenConfig::default();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/light-over-the-stove.flac");
        let clip = wav::read_at(&path, 16_000).expect("it is in the repository").samples;
        // The command twice, with a pause that ends no command, one that does, and silence at the end.
        for silence in [6_400, 16_000] {
            let rest = vec![0.0; silence];
            let scene = [clip.as_slice(), &rest, &clip, &[0.0; 16_000]].concat();
            let arrivals = arrivals(&scene, &config);
            let mut told = None;
            let mut paused = false;
            for (at, arrival) in &arrivals {
                match arrival {
                    Arrival::Sound(piece) => {
                        assert!(told.is_none_or(|told| told == piece.start) && piece.end <= *at && !paused);
                        assert!(piece.len() <= PIECE);
                        told = Some(piece.end);
                    }
                    Arrival::Pause => assert!(!std::mem::replace(&mut paused, true)),
                    Arrival::Resumed => assert!(std::mem::take(&mut paused)),
                }
            }
            let pauses = arrivals.iter().filter(|(_, arrival)| *arrival == Arrival::Pause).count();
            assert!(paused && pauses >= 2, "{silence}: {pauses} pauses");
            assert!(arrivals.is_sorted_by_key(|(at, _)| *at));
        }
        assert!(arrivals(&[0.0; 16_000], &config).is_empty());
    }
}
