//! The body of the speaking thread: owns the voice and the output. It says what it is told, sentence by sentence, reports
//! when all of a turn has been heard, and falls silent at once when it is hushed. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use crate::audio::Clip;
use crate::audio::playback::Play;
use crate::conversation::Earcon;
use crate::dialogue::TurnId;
use crate::speech::{Splitter, Synthesize};

/// Rate of the earcons in Hz.
const EARCON_RATE_HZ: u32 = 24_000;

/// Work for the thread.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A whole sentence.
    Say(TurnId, String),
    /// A piece of the model's text.
    Stream(TurnId, String),
    /// Nothing more in this turn.
    End(TurnId),
    /// A sound.
    Play(Earcon),
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

/// Speaks until the other end is dropped. `spoken` is told each turn that was heard to its end.
pub fn run(
    voice: &mut dyn Synthesize,
    output: &mut dyn Play,
    hush: &Hush,
    lines: &Receiver<Line>,
    spoken: &mut dyn FnMut(TurnId),
) {
    let mut splitter = Splitter::new();
    let mut streamed = TurnId(0);
    for line in lines {
        match line {
            Line::Play(earcon) => play(output, &earcon_clip(earcon), &|| false),
            Line::Say(turn, sentence) => say(voice, output, hush, turn, &sentence),
            Line::Stream(turn, piece) => {
                if streamed != turn {
                    // What a past turn left unfinished is not said.
                    (splitter, streamed) = (Splitter::new(), turn);
                }
                splitter.push(&piece).iter().for_each(|sentence| say(voice, output, hush, turn, sentence));
            }
            Line::End(turn) => {
                if streamed == turn {
                    splitter.finish().iter().for_each(|sentence| say(voice, output, hush, turn, sentence));
                }
                if !hush.covers(turn) {
                    spoken(turn);
                }
            }
        }
    }
}

fn say(voice: &mut dyn Synthesize, output: &mut dyn Play, hush: &Hush, turn: TurnId, sentence: &str) {
    if hush.covers(turn) {
        return;
    }
    match voice.synthesize(sentence) {
        Ok(clip) => play(output, &clip, &|| hush.covers(turn)),
        Err(error) => tracing::error!(%error, "a sentence could not be spoken"),
    }
}

fn play(output: &mut dyn Play, clip: &Clip, stop: &dyn Fn() -> bool) {
    if let Err(error) = output.play_until(clip, stop) {
        tracing::error!(%error, "the output is gone");
    }
}

/// Two short notes: rising for "speak", falling for "sorry". Sines with soft ends, our own.
fn earcon_clip(earcon: Earcon) -> Clip {
    const NOTE_S: f32 = 0.07;
    let notes_hz = match earcon {
        Earcon::Listening => [659.3, 987.8],
        Earcon::Sorry => [493.9, 329.6],
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
