//! One stream of sound on its way through the graphs: the last two seconds of it, their log-mel and embeddings, and the
//! scores of the heads. The graphs run only while there is voice; when voice comes after silence, what the heads need of
//! the past is made up for from the sound kept.

use std::collections::VecDeque;
use std::path::Path;

use crate::onnx::{Dtype, Graph, Interrupt, OnnxError, Options, Tensor};

/// Samples between two scores: 80 ms, eight rows of mel.
pub(super) const CHUNK: usize = 1280;
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

/// Sound, and what the graphs made of it.
pub(super) struct Stream {
    /// Samples at 16-bit scale: `CONTEXT`, `KEPT` chunks, and those of the unfinished one.
    sound: VecDeque<f32>,
    unfinished: usize,
    /// The last rows of mel, `ROWS` at most, and embeddings, `WINDOW + 1` at most.
    rows: VecDeque<f32>,
    embeddings: VecDeque<f32>,
    /// Voice in the unfinished chunk?
    voice: bool,
    /// Chunks until the graphs rest.
    awake: usize,
    /// The newest score of each head, and its mean with the one before.
    scores: Vec<(f32, f32)>,
}

impl Stream {
    /// Silence so far, for so many heads.
    pub(super) fn new(heads: usize) -> Self {
        Self {
            sound: vec![0.0; CONTEXT + KEPT * CHUNK].into(),
            unfinished: 0,
            rows: VecDeque::with_capacity((ROWS + STEP) * BINS),
            embeddings: VecDeque::with_capacity((WINDOW + 1) * WIDTH),
            voice: false,
            awake: 0,
            scores: vec![(0.0, 0.0); heads],
        }
    }

    /// Takes samples in [-1, 1] until its chunk is full, and gives how many.
    pub(super) fn take(&mut self, samples: &[f32], voice: bool) -> usize {
        let n = samples.len().min(CHUNK - self.unfinished);
        let scaled = |v: &f32| if v.is_finite() { v.clamp(-1.0, 1.0) * 32_768.0 } else { 0.0 };
        self.sound.extend(samples[..n].iter().map(scaled));
        self.unfinished += n;
        self.voice |= voice;
        n
    }

    /// Is there a chunk for [`Graphs::chunk`]?
    pub(super) fn is_full(&self) -> bool {
        self.unfinished == CHUNK
    }

    /// A head's score: the mean of two, as the heads were measured, since one lucky window is no word.
    pub(super) fn score(&self, head: usize) -> f32 {
        self.scores[head].1
    }

    /// A head's newest score alone: how much a window may be the word at all.
    pub(super) fn newest(&self, head: usize) -> f32 {
        self.scores[head].0
    }

    /// Forgets all that was heard.
    pub(super) fn reset(&mut self) {
        self.sound.iter_mut().for_each(|v| *v = 0.0);
        self.rest();
    }

    /// The graphs rest until there is voice again.
    pub(super) fn rest(&mut self) {
        (self.voice, self.awake) = (false, 0);
        self.scores.fill((0.0, 0.0));
    }
}

/// The graphs that all streams go through.
pub(super) struct Graphs {
    mel: Graph,
    embedding: Graph,
    heads: Vec<Graph>,
    interrupt: Interrupt,
}

impl Graphs {
    /// Opens `melspectrogram.onnx`, `embedding_model.onnx` and `WORD.onnx` of each word in `dir`.
    pub(super) fn open<'a>(dir: &Path, words: impl Iterator<Item = &'a str>) -> Result<Self, OnnxError> {
        let open = |name: &str, input: (&str, usize), output: (&str, usize)| {
            let graph = Graph::open(&dir.join(format!("{name}.onnx")), Options { threads: 1, spin: false })?;
            graph.require_input(input.0, &[Dtype::F32], input.1)?;
            graph.require_output(output.0, &[Dtype::F32], output.1)?;
            Ok::<_, OnnxError>(graph)
        };
        let head = |word: &str| open(&word.replace(' ', "_"), ("embeddings", 3), ("score", 2));
        Ok(Self {
            mel: open("melspectrogram", ("input", 2), ("output", 4))?,
            embedding: open("embedding_model", ("input_1", 4), ("conv2d_19", 4))?,
            heads: words.map(head).collect::<Result<_, OnnxError>>()?,
            interrupt: Interrupt::new()?,
        })
    }

    /// Makes scores of a stream's full chunk: of the heads that `wanted` names, the others have 0.
    pub(super) fn chunk(&mut self, stream: &mut Stream, wanted: impl Fn(usize) -> bool) -> Result<(), OnnxError> {
        stream.sound.drain(..CHUNK);
        stream.unfinished = 0;
        let voice = std::mem::take(&mut stream.voice);
        match (voice, stream.awake) {
            (false, 0) => {
                stream.scores.fill((0.0, 0.0));
                return Ok(());
            }
            (true, 0) => {
                stream.rows.clear();
                stream.embeddings.clear();
                for chunk in 0..KEPT {
                    self.mel_rows(stream, chunk)?;
                }
                self.embed(stream, WINDOW + 1)?;
                self.score(stream, 1, &wanted)?;
            }
            _ => {
                self.mel_rows(stream, KEPT - 1)?;
                self.embed(stream, 1)?;
            }
        }
        stream.awake = if voice { LINGER } else { stream.awake - 1 };
        self.score(stream, 0, &wanted)
    }

    /// Appends the rows of one of the chunks kept.
    fn mel_rows(&mut self, stream: &mut Stream, chunk: usize) -> Result<(), OnnxError> {
        let from = chunk * CHUNK;
        let samples: Vec<f32> = stream.sound.range(from..from + CONTEXT + CHUNK).copied().collect();
        let input = Tensor::f32(&[1, CONTEXT + CHUNK], samples)?;
        let rows = self.mel.run(&[("input", &input)], &self.interrupt)?.take("output")?;
        // As the embedding was trained; what is quieter than that is silence.
        stream.rows.extend(rows.as_f32()?.iter().map(|v| (v / 10.0 + 2.0).max(0.0)));
        Ok(())
    }

    /// The last `n` embeddings that the rows allow.
    fn embed(&mut self, stream: &mut Stream, n: usize) -> Result<(), OnnxError> {
        let have = stream.rows.len() / BINS;
        let first = have.saturating_sub(ROWS + (n - 1) * STEP);
        let mut windows = Vec::with_capacity(n * ROWS * BINS);
        for i in 0..n {
            let from = (first + i * STEP) * BINS;
            windows.extend(stream.rows.range(from..from + ROWS * BINS));
        }
        let input = Tensor::f32(&[n, ROWS, BINS, 1], windows)?;
        let made = self.embedding.run(&[("input_1", &input)], &self.interrupt)?.take("conv2d_19")?;
        stream.embeddings.extend(made.as_f32()?);
        stream.rows.drain(..(have.saturating_sub(ROWS)) * BINS);
        stream.embeddings.drain(..stream.embeddings.len().saturating_sub((WINDOW + 1) * WIDTH));
        Ok(())
    }

    /// The heads' scores of the window that ended so many chunks ago.
    fn score(&mut self, stream: &mut Stream, ago: usize, wanted: impl Fn(usize) -> bool) -> Result<(), OnnxError> {
        let to = stream.embeddings.len() - ago * WIDTH;
        let window: Vec<f32> = stream.embeddings.range(to - WINDOW * WIDTH..to).copied().collect();
        let input = Tensor::f32(&[1, WINDOW, WIDTH], window)?;
        for (i, (head, score)) in self.heads.iter_mut().zip(&mut stream.scores).enumerate() {
            if !wanted(i) {
                *score = (0.0, 0.0);
                continue;
            }
            let raw = head.run(&[("embeddings", &input)], &self.interrupt)?.take("score")?.as_f32()?[0];
            *score = (raw, (score.0 + raw) / 2.0);
        }
        Ok(())
    }
}
