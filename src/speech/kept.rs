//! Sentences that were spoken lately: most of what a house says, it says every day.
//!
//! A sentence takes a Piper voice 0.17 s on a desktop core (`benches/runs/daemon.md`), all of it silence between a command
//! and its reply. Sound that was made once costs nothing.

use std::collections::VecDeque;

use super::{SpeechError, Synthesize};
use crate::audio::Clip;

/// Samples that are kept: a minute of a voice of 22,050 Hz, 5 MiB.
const MOST: usize = 60 * 22_050;
/// So many clips can be kept at least; a longer one is not, since it would drive out all others.
const SHARE: usize = 6;

/// What was spoken lately. The sentence that was not said for the longest time is forgotten first.
#[derive(Debug)]
pub struct Kept {
    /// The last one was said last.
    clips: VecDeque<(String, Clip)>,
    most: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { clips: VecDeque::new(), most: MOST }
    }
}

impl Kept {
    /// The sound of a sentence: as it was made before, or made now by `voice`.
    ///
    /// # Errors
    /// As [`Synthesize::synthesize`]; nothing is kept then.
    pub fn say(&mut self, voice: &mut dyn Synthesize, sentence: &str) -> Result<Clip, SpeechError> {
        let known = self.clips.iter().position(|(text, _)| text == sentence);
        let clip = match known.and_then(|at| self.clips.remove(at)) {
            Some((_, clip)) => clip,
            None => voice.synthesize(sentence)?,
        };
        if (1..=self.most / SHARE).contains(&clip.samples.len()) {
            self.clips.push_back((sentence.to_owned(), clip.clone()));
            while self.clips.iter().map(|(_, clip)| clip.samples.len()).sum::<usize>() > self.most {
                self.clips.pop_front();
            }
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
                "fails" => Err(SpeechError::Sentence { reason: "nothing".into() }),
                _ => Ok(Clip { samples: vec![self.0 as f32; sentence.len()], rate_hz: 1 }),
            }
        }
    }

    #[test]
    fn a_sentence_is_made_once_until_it_is_forgotten() {
        let (mut voice, mut kept) = (Counting(0), Kept { most: 24, ..Kept::default() });
        let mut check = |sentence: &str, made: usize| {
            let said = kept.say(&mut voice, sentence).ok().map(|clip| clip.samples.len());
            assert_eq!((said, voice.0), (Some(sentence.len()).filter(|_| sentence != "fails"), made), "{sentence}");
        };
        for (made, sentence) in (1..).zip(["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"]) {
            check(sentence, made);
        }
        check("aaaa", 6);
        // "bbbb" was not said for the longest time.
        check("gg", 7);
        check("aaaa", 7);
        check("bbbb", 8);
        // Too long to be kept, silent, or failed: made again, and nothing is forgotten for it.
        for (made, sentence) in (9..).zip(["longer", "longer", "", "", "fails", "fails"]) {
            check(sentence, made);
        }
        check("bbbb", 14);
        check("aaaa", 14);
    }
}
