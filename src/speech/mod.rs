//! Text to sound: a Piper voice, one sentence at a time.
//!
//! Owns the voice and its session; runs on the `voice` thread. Decides nothing about what is said and plays
//! nothing. What can be wrong with a text never ends more than its own sentence: see [`SpeechError`].

mod english;
mod kept;
mod markup;
mod measures;
pub mod normalise;
mod numbers;
mod phonemes;
mod sentences;
mod voice;

use std::path::PathBuf;

use thiserror::Error;

use crate::audio::Clip;
use crate::onnx::OnnxError;

pub use kept::Kept;
pub use phonemes::open_espeak;
pub use sentences::{Splitter, sentences};
pub use voice::{Piper, VoiceConfig};

/// Turns a sentence into sound.
pub trait Synthesize {
    /// The sound of one sentence of any text; a clip without samples when there is nothing to say.
    ///
    /// # Errors
    /// [`SpeechError`]. After [`SpeechError::Sentence`] the next sentence may be tried as if nothing had happened.
    fn synthesize(&mut self, sentence: &str) -> Result<Clip, SpeechError>;
}

/// What can go wrong with speech, told apart by remedy.
#[derive(Debug, Error)]
pub enum SpeechError {
    /// A file of the voice is missing or unreadable: install the voice or correct its path.
    #[error("voice file {} cannot be read: {source}", path.display())]
    VoiceMissing {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the voice is not what it should be: install the voice again, or take another.
    #[error("voice file {} is damaged or no Piper voice: {reason}", path.display())]
    VoiceDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The voice's graph cannot be opened.
    #[error("voice {}: {source}", path.display())]
    Session {
        /// The graph's file.
        path: PathBuf,
        /// What ONNX Runtime said.
        source: OnnxError,
    },
    /// The voice has no speaker of this name: correct the configuration.
    #[error("the voice has no speaker {name:?}; it has {known}")]
    NoSpeaker {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// espeak-ng does not find its data or does not know the voice's language: install its data.
    #[error("espeak-ng: {reason}")]
    Phonemes {
        /// What is missing.
        reason: String,
    },
    /// This sentence cannot be said; the next one can.
    #[error("a sentence could not be said: {reason}")]
    Sentence {
        /// What the voice said.
        reason: String,
    },
}

/// Says a whole text, sentence by sentence, as one clip without samples when there is nothing to say. A sentence that
/// fails is left out and logged.
///
/// # Errors
/// The first error, when no sentence could be said at all.
pub fn say(voice: &mut dyn Synthesize, text: &str) -> Result<Clip, SpeechError> {
    let mut whole: Option<Clip> = None;
    let mut first_error = None;
    for sentence in normalise::sentences(text) {
        match (voice.synthesize(&sentence), &mut whole) {
            (Ok(clip), Some(whole)) => whole.samples.extend(clip.samples),
            (Ok(clip), None) => whole = Some(clip),
            (Err(error), _) => {
                tracing::warn!(%error, "left a sentence out");
                first_error.get_or_insert(error);
            }
        }
    }
    match (whole, first_error) {
        (Some(clip), _) => Ok(clip),
        (None, Some(error)) => Err(error),
        (None, None) => voice.synthesize(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice that fails on one word and otherwise gives a sample per character.
    struct Fussy;

    impl Synthesize for Fussy {
        fn synthesize(&mut self, sentence: &str) -> Result<Clip, SpeechError> {
            if sentence.contains("button") {
                return Err(SpeechError::Sentence { reason: "id out of range".into() });
            }
            Ok(Clip { samples: vec![0.0; sentence.chars().count()], rate_hz: 22_050 })
        }
    }

    #[test]
    fn a_sentence_that_fails_costs_only_itself() {
        let check = |text: &str, samples: Option<usize>| {
            assert_eq!(say(&mut Fussy, text).ok().map(|clip| clip.samples.len()), samples, "{text}");
        };
        check("One. Press the button. Two.", Some(8));
        check("Press the button.", None);
        check("", Some(0));
    }
}
