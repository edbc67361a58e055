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

/// What arrives of an utterance, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// These samples of the recording.
    Sound(Range<usize>),
    /// It may be the end.
    Pause,
    /// It was not.
    Resumed,
}

/// All speech of a recording, with its pauses, as it would arrive: what ends it is the end of the recording. Empty if
/// nobody speaks.
pub fn arrivals(samples_16k: &[f32], config: &ListenConfig) -> Vec<Arrival> {
    let mut found = Vec::new();
    let (mut told, mut started, mut paused) = (0, false, false);
    let longest = config.max_ms as usize * 16;
    let mut first = 0;
    let tell = |found: &mut Vec<Arrival>, told: &mut usize, to: usize| {
        while *told < to {
            let piece = *told..to.min(*told + PIECE);
            *told = piece.end;
            found.push(Arrival::Sound(piece));
        }
    };
    for (at, event) in listen::events(samples_16k, config) {
        match event {
            SegmentEvent::Started { from, .. } if !started => {
                (started, told, first) = (true, from, from);
            }
            SegmentEvent::Started { .. } | SegmentEvent::Resumed if paused => {
                found.push(Arrival::Resumed);
                paused = false;
            }
            SegmentEvent::Paused if !paused && at < first + longest => {
                tell(&mut found, &mut told, at);
                found.push(Arrival::Pause);
                paused = true;
            }
            SegmentEvent::Ended(segment) if !paused => {
                tell(&mut found, &mut told, segment.range.end.min(first + longest));
            }
            _ => {}
        }
    }
    found
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
pub fn hear(model: &mut Gemma, turn: TurnId, samples: &[f32], arrivals: &[Arrival]) -> Result<Hearing, ModelError> {
    model.begin(turn, Start::Fresh)?;
    let mut drafted = false;
    let mut last = Instant::now();
    for arrival in arrivals {
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
    arrivals: &[Arrival],
) -> Result<Hearing, ModelError> {
    let mut range: Option<Range<usize>> = None;
    for arrival in arrivals {
        if let Arrival::Sound(piece) = arrival {
            range = Some(range.map_or(piece.start, |range| range.start)..piece.end);
        }
    }
    model.begin(turn, Start::Fresh)?;
    let last = Instant::now();
    model.hear(&samples[range.unwrap_or_default()])?;
    finish(model, false, last)
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
