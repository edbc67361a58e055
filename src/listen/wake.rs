//! Wake words, and the stop word: samples to "this word was just said".
//!
//! Owns three kinds of graphs (log-mel, speech embedding, and one small head per word, see `onnx/wake/README.md`) and the
//! streams of sound that go through them. Decides only whether a word was said: what follows is the daemon's. Runs on the
//! `listen` thread.
//!
//! While hearth itself speaks, three streams go through the graphs: the microphone's as it came, the same without echo (the
//! canceller may take the word away too, when the room has changed since it learnt it), and what is played. A word counts
//! if either of the first two says it, the third has not just said it, and the microphone hears more than an echo.

use std::path::Path;

use serde::Deserialize;

use crate::onnx::OnnxError;

mod stream;
use stream::{Graphs, Stream};

/// Chunks of 80 ms after a wake word in which none counts: 2 s.
const REFRACTORY: usize = 25;
/// Chunks after a reply in which its echo may still be heard and scored: 1.2 s.
const AFTER_REPLY: usize = 15;
/// Chunks of a reply in which the stop word does not count yet: 0.8 s, since the reply is not heard sooner. What was said
/// before it, a command that ends in "stove", is still in the window and may be scored.
const BEFORE_STOP: usize = 10;
/// Chunks for which a word does not count once the reply said it, 2 s: its echo comes with the device's latency, and its
/// score up to 400 ms later.
const ECHOES: usize = 25;
/// Of what is rendered, so much of a score is the word.
const RENDERED: f32 = 0.2;
/// From this score on a chunk may be the word.
const SCORED: f32 = 0.5;
/// A rendered sample below -60 dB of full scale is silence.
const SILENT: f32 = 1e-3;

/// A wake word in the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeConfig {
    /// The word: `computer` or `jarvis`, or any other for which there is a head.
    pub word: String,
    /// The score that counts as the word, in [0, 1]. More: fewer false ones, more misses.
    #[serde(default = "threshold")]
    pub threshold: f32,
}

fn threshold() -> f32 {
    0.9
}

/// A word was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Woken {
    /// Which.
    pub word: String,
    /// How sure, in [0, 1].
    pub score: f32,
    /// It is the stop word.
    pub stop: bool,
}

/// Sound of the microphone: the same samples twice, 16 kHz in [-1, 1].
#[derive(Debug, Clone, Copy)]
pub struct Sound<'a> {
    /// Without echo, and without noise where the configuration says so.
    pub processed: &'a [f32],
    /// As it came; no fewer.
    pub raw: &'a [f32],
    /// In the last second it rose and fell as what was rendered: it is its echo.
    pub echo: bool,
}

impl<'a> Sound<'a> {
    /// Sound in which nothing was changed.
    pub fn plain(samples: &'a [f32]) -> Self {
        Self { processed: samples, raw: samples, echo: false }
    }
}

/// Listens for words: [`WakeWords`], or a test's stand-in.
pub trait Spot: Send {
    /// Takes what was heard; `voice` says whether somebody may be speaking in it.
    ///
    /// # Errors
    /// When a graph fails.
    fn push(&mut self, sound: Sound<'_>, voice: bool) -> Result<Option<Woken>, OnnxError>;
    /// Takes 16 kHz samples that were played, no later than their echo is heard.
    ///
    /// # Errors
    /// When a graph fails.
    fn rendered(&mut self, samples: &[f32]) -> Result<(), OnnxError>;
    /// A reply begins to play or is over. Meanwhile a wake word needs more, one that the reply itself says does not count,
    /// and the stop word is listened for.
    fn replying(&mut self, replying: bool);
    /// Something begins to ring or is over: the stop word is listened for.
    fn ringing(&mut self, ringing: bool);
    /// Other thresholds, by word; words that are not loaded are passed over.
    fn set_thresholds(&mut self, words: &[WakeConfig]);
    /// Forgets all that was heard.
    fn reset(&mut self);
}

/// The wake words of one microphone.
pub struct WakeWords {
    graphs: Graphs,
    heads: Vec<Head>,
    processed: Stream,
    raw: Stream,
    rendered: Stream,
    /// Chunks until a word counts again.
    resting: usize,
    replying: bool,
    ringing: bool,
    /// Chunks until it is again as if nothing had been said.
    guarded: usize,
    /// Chunks until the stop word counts in this reply; it begins to only where it is not scored already.
    unstopped: usize,
    /// Heard during a reply in the last chunk: it counts if the reply turns out not to have said it.
    suspect: Option<(usize, f32)>,
}

struct Head {
    word: String,
    threshold: f32,
    stop: bool,
    /// Chunks for which the word does not count: the reply said it.
    said_by_reply: usize,
}

impl WakeWords {
    /// Opens the graphs in `dir` (`melspectrogram.onnx`, `embedding_model.onnx`, `WORD.onnx`, `_` for a space) for wake words
    /// and for the stop word, if there is one.
    ///
    /// # Errors
    /// When a graph is missing or has other inputs and outputs.
    pub fn load(dir: &Path, words: &[WakeConfig], stop: Option<&WakeConfig>) -> Result<Self, OnnxError> {
        let head = |config: &WakeConfig, stop| {
            let (word, threshold) = (config.word.clone(), config.threshold);
            Head { word, threshold, stop, said_by_reply: 0 }
        };
        let wake = words.iter().map(|config| head(config, false));
        let heads: Vec<Head> = wake.chain(stop.map(|config| head(config, true))).collect();
        let n = heads.len();
        Ok(Self {
            graphs: Graphs::open(dir, heads.iter().map(|head| head.word.as_str()))?,
            heads,
            processed: Stream::new(n),
            raw: Stream::new(n),
            rendered: Stream::new(n),
            resting: 0,
            replying: false,
            ringing: false,
            guarded: 0,
            unstopped: 0,
            suspect: None,
        })
    }

    /// The latest score of each word, for a meter.
    pub fn scores(&self) -> impl Iterator<Item = (&str, f32)> {
        self.heads.iter().enumerate().map(|(i, head)| (head.word.as_str(), self.score(i)))
    }

    fn score(&self, head: usize) -> f32 {
        self.processed.score(head).max(self.raw.score(head))
    }

    /// A chunk of the microphone is full.
    fn chunk(&mut self, echo: bool) -> Result<Option<Woken>, OnnxError> {
        let stops = self.stops();
        let heads = &self.heads;
        let wanted = |i: usize| !heads[i].stop || stops;
        self.graphs.chunk(&mut self.processed, wanted)?;
        self.graphs.chunk(&mut self.raw, wanted)?;
        self.resting = self.resting.saturating_sub(1);
        let scored = self.heads.iter().enumerate().any(|(i, head)| head.stop && self.score(i) >= SCORED);
        if self.unstopped > 1 || !scored {
            self.unstopped = self.unstopped.saturating_sub(1);
        }
        let found = self.decide(echo);
        for head in &mut self.heads {
            head.said_by_reply = head.said_by_reply.saturating_sub(1);
        }
        if !self.replying && self.guarded > 0 {
            self.guarded -= 1;
            if self.guarded == 0 {
                self.raw.rest();
                self.rendered.rest();
            }
        }
        Ok(found)
    }

    fn stops(&self) -> bool {
        self.guarded > 0 || self.ringing
    }

    fn decide(&mut self, echo: bool) -> Option<Woken> {
        let suspect = self.suspect.take();
        let guarded = self.guarded > 0;
        if self.resting > 0 || guarded && echo {
            return None;
        }
        // What was played a moment ago is scored by now.
        if let Some((head, score)) = suspect.filter(|(head, _)| self.heads[*head].said_by_reply == 0) {
            return Some(self.found(head, score));
        }
        let needs = |head: &Head| if guarded && !head.stop { (1.0 + head.threshold) / 2.0 } else { head.threshold };
        for (i, head) in self.heads.iter().enumerate().filter(|(i, _)| self.score(*i) >= SCORED) {
            let (word, score, needs, in_reply) =
                (head.word.as_str(), self.score(i), needs(head), head.said_by_reply > 0);
            tracing::debug!(word, score, needs, in_reply, "sounds like a wake word");
        }
        let said = self.heads.iter().enumerate().map(|(i, head)| (i, self.score(i), head));
        let counts = |head: &Head| head.said_by_reply == 0 && !(head.stop && self.unstopped > 0);
        let said = said.filter(|(_, score, head)| *score >= needs(head) && counts(head));
        let (head, score, _) = said.max_by(|a, b| a.1.total_cmp(&b.1))?;
        if guarded {
            self.suspect = Some((head, score));
            return None;
        }
        Some(self.found(head, score))
    }

    fn found(&mut self, head: usize, score: f32) -> Woken {
        self.resting = REFRACTORY;
        let head = &self.heads[head];
        Woken { word: head.word.clone(), score, stop: head.stop }
    }
}

impl Spot for WakeWords {
    fn push(&mut self, mut sound: Sound<'_>, voice: bool) -> Result<Option<Woken>, OnnxError> {
        let mut woken = None;
        // Whether somebody speaks into a reply is hard to tell.
        let guarded = self.guarded > 0;
        let voice = guarded || voice && (self.ringing || self.heads.iter().any(|head| !head.stop));
        while !sound.processed.is_empty() {
            let n = self.processed.take(sound.processed, voice);
            self.raw.take(&sound.raw[..n], guarded);
            sound = Sound { processed: &sound.processed[n..], raw: &sound.raw[n..], ..sound };
            if self.processed.is_full() {
                woken = self.chunk(sound.echo)?.or(woken);
            }
        }
        Ok(woken)
    }

    fn rendered(&mut self, mut samples: &[f32]) -> Result<(), OnnxError> {
        while !samples.is_empty() {
            let sounds = self.guarded > 0 && samples.iter().any(|v| v.abs() > SILENT);
            samples = &samples[self.rendered.take(samples, sounds)..];
            if self.rendered.is_full() {
                self.graphs.chunk(&mut self.rendered, |_| true)?;
                for (i, head) in self.heads.iter_mut().enumerate() {
                    if self.rendered.newest(i) >= RENDERED {
                        head.said_by_reply = ECHOES;
                    }
                }
            }
        }
        Ok(())
    }

    fn replying(&mut self, replying: bool) {
        // What rings is heard between its announcements too.
        if replying && !self.replying && !self.ringing {
            self.unstopped = BEFORE_STOP;
        }
        self.replying = replying;
        if replying {
            self.guarded = AFTER_REPLY;
        }
    }

    fn ringing(&mut self, ringing: bool) {
        self.ringing = ringing;
    }

    fn set_thresholds(&mut self, words: &[WakeConfig]) {
        for head in &mut self.heads {
            if let Some(config) = words.iter().find(|config| config.word == head.word) {
                head.threshold = config.threshold;
            }
        }
    }

    fn reset(&mut self) {
        for stream in [&mut self.processed, &mut self.raw, &mut self.rendered] {
            stream.reset();
        }
        self.suspect = None;
    }
}
