//! The body of the speaking thread: owns the voice and the output. It says what it is told, sentence by sentence, reports
//! when all of a turn has been heard, and falls silent at once when it is hushed. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::audio::playback::{Play, PlayError};
use crate::audio::resample::resample;
use crate::audio::{Clip, MODEL_RATE_HZ};
use crate::conversation::Earcon;
use crate::dialogue::TurnId;
use crate::speech::{self, Synthesize};
use crate::threads::Pulse;

/// Rate of the earcons in Hz.
const EARCON_RATE_HZ: u32 = 24_000;
/// How often an output that is not needed is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// Work for the thread.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A whole sentence.
    Say(TurnId, String),
    /// Nothing more in this turn.
    End(TurnId),
    /// A sound.
    Play(Earcon),
    /// The sound of ringing, once.
    Ring(TurnId),
    /// From now on another output, by name; none: the system's default.
    Output(Option<String>),
    /// Make sound of a text for a model that does not read, and give it back.
    Voice(TurnId, String),
    /// How loud everything is from now on: 1 is as it was made.
    Volume(f32),
}

/// What the thread reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The first sound of the turn goes to the device.
    Began(TurnId),
    /// All that was to be said in the turn has been heard.
    Spoken(TurnId),
    /// The text of [`Line::Voice`] as 16 kHz samples; without any, it could not be spoken.
    Voiced(TurnId, Vec<f32>),
    /// There is no output, and why; or there is one again.
    Output(Option<String>),
}

/// Silences turns, from any thread: everything up to a turn's number.
#[derive(Debug, Clone, Default)]
pub struct Hush(Arc<AtomicU64>);

impl Hush {
    /// Silences this turn and all before it.
    pub fn up_to(&self, turn: TurnId) {
        self.0.fetch_max(turn.0, Ordering::SeqCst);
    }

    /// Is that turn silenced?
    pub fn covers(&self, turn: TurnId) -> bool {
        turn.0 <= self.0.load(Ordering::SeqCst)
    }
}

/// The voice, the output, and what is under way.
pub struct Mouth<'a> {
    voice: &'a mut dyn Synthesize,
    output: &'a mut dyn Play,
    hush: &'a Hush,
    pulse: &'a Pulse,
    report: &'a mut dyn FnMut(Report),
    /// How loud: 1 is as it was made.
    volume: f32,
    /// The last turn of which something was heard.
    begun: TurnId,
    /// Why there is no output, as last reported.
    missing: Option<String>,
}

impl<'a> Mouth<'a> {
    /// Speaks with `voice` through `output`, but not what `hush` covers; `pulse` beats while the thread moves.
    pub fn new(
        voice: &'a mut dyn Synthesize,
        output: &'a mut dyn Play,
        hush: &'a Hush,
        pulse: &'a Pulse,
        report: &'a mut dyn FnMut(Report),
    ) -> Self {
        Self { voice, output, hush, pulse, report, volume: 1.0, begun: TurnId(0), missing: None }
    }

    /// Speaks until the other end is dropped.
    pub fn run(&mut self, lines: &Receiver<Line>) {
        loop {
            self.pulse.beat();
            match lines.recv_timeout(LOOK) {
                Ok(line) => self.line(line),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let state = self.output.ready();
                    self.output_is(state);
                }
            }
        }
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::Volume(volume) => self.volume = volume,
            Line::Play(earcon) => self.play(earcon_clip(earcon), None),
            Line::Ring(turn) if self.hush.covers(turn) => {}
            Line::Ring(turn) => self.play(ring_clip(), Some(turn)),
            Line::Output(name) => {
                self.output.choose(name.as_deref());
                let state = self.output.ready();
                self.output_is(state);
            }
            Line::Voice(turn, text) => {
                let clip = speech::say(self.voice, &text).unwrap_or_else(|error| {
                    tracing::error!(%error, "a text could not be spoken");
                    Clip { samples: Vec::new(), rate_hz: MODEL_RATE_HZ }
                });
                (self.report)(Report::Voiced(turn, resample(&clip, MODEL_RATE_HZ).samples));
            }
            Line::Say(turn, sentence) => self.say(turn, &sentence),
            Line::End(turn) if self.hush.covers(turn) => {}
            Line::End(turn) => (self.report)(Report::Spoken(turn)),
        }
    }

    fn say(&mut self, turn: TurnId, sentence: &str) {
        if self.hush.covers(turn) {
            return;
        }
        match self.voice.synthesize(sentence) {
            Ok(clip) => {
                if self.begun != turn {
                    self.begun = turn;
                    (self.report)(Report::Began(turn));
                }
                self.play(clip, Some(turn));
            }
            Err(error) => tracing::error!(%error, "a sentence could not be spoken"),
        }
    }

    fn play(&mut self, mut clip: Clip, turn: Option<TurnId>) {
        clip.samples.iter_mut().for_each(|v| *v = (*v * self.volume).clamp(-1.0, 1.0));
        let (hush, pulse) = (self.hush, self.pulse);
        let stop = || {
            pulse.beat();
            turn.is_some_and(|turn| hush.covers(turn))
        };
        let state = self.output.play_until(&clip, &stop).map(|_| ());
        self.output_is(state);
    }

    fn output_is(&mut self, state: Result<(), PlayError>) {
        let missing = state.err().map(|error| error.to_string());
        if missing != self.missing {
            match &missing {
                Some(reason) => tracing::error!(reason, "no output"),
                None => tracing::info!("the output is back"),
            }
            (self.report)(Report::Output(missing.clone()));
            self.missing = missing;
        }
    }
}

/// A small bell, our own: a chord broken upwards, struck twice; sines that die away, two partials each.
fn ring_clip() -> Clip {
    const CHORD_HZ: [f32; 3] = [784.0, 987.8, 1174.7];
    const STROKE_S: f32 = 0.6;
    let length = (STROKE_S * EARCON_RATE_HZ as f32) as usize;
    let stroke = (0..length).map(|i| {
        let t = i as f32 / EARCON_RATE_HZ as f32;
        let note = |(n, hz): (usize, f32)| {
            let t = t - 0.09 * n as f32;
            if t < 0.0 {
                return 0.0;
            }
            // A soft beginning and an end at zero: no click at either.
            let envelope = (t / 0.004).min(1.0) * (-7.0 * t).exp() * (1.0 - i as f32 / length as f32);
            let sine = |hz: f32| (std::f32::consts::TAU * hz * t).sin();
            0.2 * envelope * (sine(hz) + 0.25 * sine(2.0 * hz))
        };
        CHORD_HZ.into_iter().enumerate().map(note).sum::<f32>()
    });
    let stroke: Vec<f32> = stroke.collect();
    Clip { samples: [stroke.clone(), stroke].concat(), rate_hz: EARCON_RATE_HZ }
}

/// Two short notes, sines with soft ends, our own: rising for "speak", falling for "nothing", down and up an octave for
/// the microphone.
fn earcon_clip(earcon: Earcon) -> Clip {
    const NOTE_S: f32 = 0.07;
    let notes_hz = match earcon {
        Earcon::Listening => [659.3, 987.8],
        Earcon::Sorry => [493.9, 329.6],
        Earcon::Muted => [440.0, 220.0],
        Earcon::Unmuted => [220.0, 440.0],
    };
    let length = (NOTE_S * EARCON_RATE_HZ as f32) as usize;
    let note = |hz: f32| {
        (0..length).map(move |i| {
            let t = i as f32 / EARCON_RATE_HZ as f32;
            // Half a sine as the envelope: no click at either end.
            let envelope = (std::f32::consts::PI * i as f32 / length as f32).sin();
            0.25 * envelope * (std::f32::consts::TAU * hz * t).sin()
        })
    };
    Clip { samples: notes_hz.into_iter().flat_map(note).collect(), rate_hz: EARCON_RATE_HZ }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sound_of_ours_clicks_or_is_too_loud() {
        let earcons = [Earcon::Listening, Earcon::Sorry, Earcon::Muted, Earcon::Unmuted].map(earcon_clip);
        for clip in earcons.into_iter().chain([ring_clip()]) {
            let peak = clip.samples.iter().fold(0.0_f32, |peak, v| peak.max(v.abs()));
            let (first, last) = (clip.samples[0].abs(), clip.samples[clip.samples.len() - 1].abs());
            assert!((0.1..0.7).contains(&peak), "a peak of {peak}");
            assert!(first < 0.01 && last < 0.01, "it begins at {first} and ends at {last}");
            assert!(clip.seconds() < 1.5);
        }
    }
}
