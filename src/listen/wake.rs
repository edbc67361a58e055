//! Wake words: samples to "this word was just said".
//!
//! Owns three kinds of graphs (log-mel, speech embedding, and one small head per word, see `onnx/wake/README.md`), the
//! last two seconds of sound, and what the graphs made of them. The graphs run only while there is voice; when voice
//! comes after silence, what the heads need of the past is made up for from the sound kept. Decides only whether a
//! word was said: what follows is the daemon's. Runs on the `listen` thread.

use std::collections::VecDeque;
use std::path::Path;

use serde::Deserialize;

use crate::onnx::{Dtype, Graph, Interrupt, OnnxError, Options, Tensor};

/// Samples between two scores: 80 ms, eight rows of mel.
const CHUNK: usize = 1280;
/// Samples before a chunk that its first rows of mel also cover.
const CONTEXT: usize = 480;
/// Mel bins of a row.
const BINS: usize = 32;
/// Rows of mel that an embedding covers, and by how many the next one is later.
const ROWS: usize = 76;
const STEP: usize = 8;
/// Numbers of an embedding.
const WIDTH: usize = 96;
/// Embeddings that a head sees.
const WINDOW: usize = 16;
/// Chunks kept: the rows of a window and of the one before it.
const KEPT: usize = (ROWS + WINDOW * STEP).div_ceil(STEP);
/// Chunks without voice until the graphs rest: a word's score comes up to 400 ms after its end.
const LINGER: usize = 12;
/// Chunks after a wake word in which none counts: 2 s.
const REFRACTORY: usize = 25;

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

/// A wake word was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Woken {
    /// Which.
    pub word: String,
    /// How sure, in [0, 1].
    pub score: f32,
}

/// Listens for wake words: [`WakeWords`], or a test's stand-in.
pub trait Spot: Send {
    /// Takes 16 kHz samples in [-1, 1]; `voice` says whether somebody may be speaking in them.
    ///
    /// # Errors
    /// When a graph fails.
    fn push(&mut self, samples: &[f32], voice: bool) -> Result<Option<Woken>, OnnxError>;
    /// A reply with these words begins to play (none: it ended). Meanwhile a wake word needs more, and one that the
    /// reply itself says does not count.
    fn replying(&mut self, words: Option<&str>);
    /// Other thresholds, by word; words that are not loaded are passed over.
    fn set_thresholds(&mut self, words: &[WakeConfig]);
    /// Forgets all that was heard.
    fn reset(&mut self);
}

/// The wake words of one microphone.
pub struct WakeWords {
    mel: Graph,
    embedding: Graph,
    heads: Vec<Head>,
    interrupt: Interrupt,
    /// Samples at 16-bit scale: `CONTEXT`, `KEPT` chunks, and those of the unfinished one.
    sound: VecDeque<f32>,
    unfinished: usize,
    /// The last rows of mel, `ROWS` at most, and embeddings, `WINDOW` at most.
    rows: VecDeque<f32>,
    embeddings: VecDeque<f32>,
    /// Voice in the unfinished chunk?
    voice: bool,
    /// Chunks until the graphs rest.
    awake: usize,
    /// Chunks until a wake word counts again.
    resting: usize,
    replying: bool,
}

struct Head {
    word: String,
    threshold: f32,
    graph: Graph,
    /// The score before the mean of two.
    raw: f32,
    score: f32,
    /// The reply that plays says this word.
    said_by_reply: bool,
}

impl WakeWords {
    /// Opens the graphs in `dir` (`melspectrogram.onnx`, `embedding_model.onnx`, `WORD.onnx`).
    ///
    /// # Errors
    /// When a graph is missing or has other inputs and outputs.
    pub fn load(dir: &Path, words: &[WakeConfig]) -> Result<Self, OnnxError> {
        let open = |name: &str, input: (&str, usize), output: (&str, usize)| {
            let graph = Graph::open(&dir.join(format!("{name}.onnx")), Options { threads: 1, spin: false })?;
            graph.require_input(input.0, &[Dtype::F32], input.1)?;
            graph.require_output(output.0, &[Dtype::F32], output.1)?;
            Ok::<_, OnnxError>(graph)
        };
        let head = |config: &WakeConfig| {
            let graph = open(&config.word, ("embeddings", 3), ("score", 2))?;
            let (word, threshold) = (config.word.clone(), config.threshold);
            Ok(Head { word, threshold, graph, raw: 0.0, score: 0.0, said_by_reply: false })
        };
        Ok(Self {
            mel: open("melspectrogram", ("input", 2), ("output", 4))?,
            embedding: open("embedding_model", ("input_1", 4), ("conv2d_19", 4))?,
            heads: words.iter().map(head).collect::<Result<_, OnnxError>>()?,
            interrupt: Interrupt::new()?,
            sound: vec![0.0; CONTEXT + KEPT * CHUNK].into(),
            unfinished: 0,
            rows: VecDeque::with_capacity((ROWS + STEP) * BINS),
            embeddings: VecDeque::with_capacity((WINDOW + 1) * WIDTH),
            voice: false,
            awake: 0,
            resting: 0,
            replying: false,
        })
    }

    /// The latest score of each word, for a meter.
    pub fn scores(&self) -> impl Iterator<Item = (&str, f32)> {
        self.heads.iter().map(|head| (head.word.as_str(), head.score))
    }

    fn chunk(&mut self) -> Result<Option<Woken>, OnnxError> {
        let voice = std::mem::take(&mut self.voice);
        self.resting = self.resting.saturating_sub(1);
        if voice {
            if self.awake == 0 {
                self.make_up()?;
            } else {
                self.mel_rows(KEPT - 1)?;
                self.embed(1)?;
                self.score(0)?;
            }
            self.awake = LINGER;
        } else if self.awake > 0 {
            self.awake -= 1;
            self.mel_rows(KEPT - 1)?;
            self.embed(1)?;
            self.score(0)?;
        } else {
            self.heads.iter_mut().for_each(|head| (head.raw, head.score) = (0.0, 0.0));
            return Ok(None);
        }
        Ok(self.decide())
    }

    /// Voice after silence: the rows and embeddings of the sound kept, as if the graphs had run all the time.
    fn make_up(&mut self) -> Result<(), OnnxError> {
        self.rows.clear();
        self.embeddings.clear();
        for chunk in 0..KEPT {
            self.mel_rows(chunk)?;
        }
        self.embed(WINDOW + 1)?;
        self.score(1)?;
        self.score(0)
    }

    /// Appends the rows of one of the chunks kept.
    fn mel_rows(&mut self, chunk: usize) -> Result<(), OnnxError> {
        let from = chunk * CHUNK;
        let samples: Vec<f32> = self.sound.range(from..from + CONTEXT + CHUNK).copied().collect();
        let input = Tensor::f32(&[1, CONTEXT + CHUNK], samples)?;
        let rows = self.mel.run(&[("input", &input)], &self.interrupt)?.take("output")?;
        // As the embedding was trained; what is quieter than that is silence.
        self.rows.extend(rows.as_f32()?.iter().map(|v| (v / 10.0 + 2.0).max(0.0)));
        Ok(())
    }

    /// The last `n` embeddings that the rows allow.
    fn embed(&mut self, n: usize) -> Result<(), OnnxError> {
        let have = self.rows.len() / BINS;
        let first = have.saturating_sub(ROWS + (n - 1) * STEP);
        let mut windows = Vec::with_capacity(n * ROWS * BINS);
        for i in 0..n {
            let from = (first + i * STEP) * BINS;
            windows.extend(self.rows.range(from..from + ROWS * BINS));
        }
        let input = Tensor::f32(&[n, ROWS, BINS, 1], windows)?;
        let made = self.embedding.run(&[("input_1", &input)], &self.interrupt)?.take("conv2d_19")?;
        self.embeddings.extend(made.as_f32()?);
        self.rows.drain(..(have.saturating_sub(ROWS)) * BINS);
        self.embeddings.drain(..self.embeddings.len().saturating_sub((WINDOW + 1) * WIDTH));
        Ok(())
    }

    /// The heads' scores of the window that ended so many chunks ago.
    fn score(&mut self, ago: usize) -> Result<(), OnnxError> {
        let to = self.embeddings.len() - ago * WIDTH;
        let window: Vec<f32> = self.embeddings.range(to - WINDOW * WIDTH..to).copied().collect();
        let input = Tensor::f32(&[1, WINDOW, WIDTH], window)?;
        for head in &mut self.heads {
            let raw = head.graph.run(&[("embeddings", &input)], &self.interrupt)?.take("score")?.as_f32()?[0];
            // The mean of two, as the heads were measured: one lucky window is no word.
            head.score = (head.raw + raw) / 2.0;
            head.raw = raw;
        }
        Ok(())
    }

    fn decide(&mut self) -> Option<Woken> {
        if self.resting > 0 {
            return None;
        }
        let replying = self.replying;
        let needs = |head: &Head| if replying { (1.0 + head.threshold) / 2.0 } else { head.threshold };
        for head in self.heads.iter().filter(|head| head.score >= 0.5) {
            let (word, score, needs, in_reply) = (head.word.as_str(), head.score, needs(head), head.said_by_reply);
            tracing::debug!(word, score, needs, in_reply, "sounds like a wake word");
        }
        let said = self.heads.iter().filter(|head| head.score >= needs(head) && !head.said_by_reply);
        let best = said.max_by(|a, b| a.score.total_cmp(&b.score))?;
        self.resting = REFRACTORY;
        Some(Woken { word: best.word.clone(), score: best.score })
    }
}

impl Spot for WakeWords {
    fn push(&mut self, mut samples: &[f32], voice: bool) -> Result<Option<Woken>, OnnxError> {
        let mut woken = None;
        while !samples.is_empty() {
            let (head, rest) = samples.split_at(samples.len().min(CHUNK - self.unfinished));
            self.sound.extend(head.iter().map(|v| if v.is_finite() { v.clamp(-1.0, 1.0) * 32_768.0 } else { 0.0 }));
            self.unfinished += head.len();
            self.voice |= voice;
            samples = rest;
            if self.unfinished == CHUNK {
                self.unfinished = 0;
                self.sound.drain(..CHUNK);
                woken = self.chunk()?.or(woken);
            }
        }
        Ok(woken)
    }

    fn replying(&mut self, words: Option<&str>) {
        self.replying = words.is_some();
        let words = words.unwrap_or_default().to_lowercase();
        for head in &mut self.heads {
            head.said_by_reply = words.contains(&head.word.to_lowercase());
        }
    }

    fn set_thresholds(&mut self, words: &[WakeConfig]) {
        for head in &mut self.heads {
            if let Some(config) = words.iter().find(|config| config.word == head.word) {
                head.threshold = config.threshold;
            }
        }
    }

    fn reset(&mut self) {
        self.sound.iter_mut().for_each(|v| *v = 0.0);
        self.voice = false;
        self.awake = 0;
        self.heads.iter_mut().for_each(|head| (head.raw, head.score) = (0.0, 0.0));
    }
}
