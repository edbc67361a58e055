//! Sentences that were spoken lately: most of what a house says, it says every day.
//!
//! A sentence takes a Piper voice 0.17 s on a desktop core (`benches/runs/daemon.md`), all of it silence between a command
//! and its reply. Sound that was made once costs nothing. Runs on the `voice` thread.

use std::collections::VecDeque;

use super::{SpeechError, Synthesize};
use crate::audio::Clip;

/// Samples that are kept: two minutes of a voice of 22,050 Hz, 10 MiB.
const MOST: usize = 120 * 22_050;

/// A voice that remembers what it made; the sentence that was not said for the longest time is forgotten first.
pub struct Kept<V> {
    voice: V,
    /// The last one was said last.
    clips: VecDeque<(String, Clip)>,
    most: usize,
}

impl<V: Synthesize> Kept<V> {
    /// Remembers what `voice` makes.
    pub fn new(voice: V) -> Self {
        Self { voice, clips: VecDeque::new(), most: MOST }
    }
}

impl<V: Synthesize> Synthesize for Kept<V> {
    fn synthesize(&mut self, sentence: &str) -> Result<Clip, SpeechError> {
        let known = self.clips.iter().position(|(text, _)| text == sentence);
        let clip = match known.and_then(|at| self.clips.remove(at)) {
            Some((_, clip)) => clip,
            None => self.voice.synthesize(sentence)?,
        };
        self.clips.push_back((sentence.to_owned(), clip.clone()));
        while self.clips.iter().map(|(_, clip)| clip.samples.len()).sum::<usize>() > self.most {
            self.clips.pop_front();
        }
        Ok(clip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is asked.
    struct Counting(usize);

    impl Synthesize for Counting {
        fn synthesize(&mut self, sentence: &str) -> Result<Clip, SpeechError> {
            self.0 += 1;
            match sentence {
                "" => Err(SpeechError::Sentence { reason: "nothing".into() }),
                _ => Ok(Clip { samples: vec![self.0 as f32; sentence.len()], rate_hz: 1 }),
            }
        }
    }

    #[test]
    fn a_sentence_is_made_once_until_it_is_forgotten() {
        let mut voice = Kept { voice: Counting(0), clips: VecDeque::new(), most: 10 };
        let mut check = |sentence: &str, made: usize| {
            let clip = voice.synthesize(sentence).expect("it is made");
            assert_eq!((clip.samples.len(), voice.voice.0), (sentence.len(), made), "{sentence}");
        };
        check("four", 1);
        check("five5", 2);
        check("four", 2);
        // "five5" was not said for longer.
        check("four", 2);
        check("two", 3);
        check("four", 3);
        check("five5", 4);
        // Too long to be kept, and nothing else is.
        check("longer than ten", 5);
        check("longer than ten", 6);
        check("four", 7);
    }

    #[test]
    fn what_failed_is_tried_again() {
        let mut voice = Kept::new(Counting(0));
        assert!(voice.synthesize("").is_err() && voice.synthesize("").is_err());
        assert_eq!(voice.voice.0, 2);
    }
}
