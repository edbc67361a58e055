//! Samples of one turn to rows of audio, as they arrive. Runs on the inference thread; holds no context of the decoder.
//!
//! Row `u` is final once 640 u + 641 samples were heard (the encoder looks only backwards). [`Hearing::whole_rows`] gives
//! final rows, each once; [`Hearing::tail`] gives the rows that more sound could still change, without advancing, so that
//! a draft can be taken back.
//!
//! Two encoders do the work. The *streaming* graph carries its state from block to block and never computes a row twice.
//! A folder that has only the *whole* encoder (the published ones) is encoded in windows: each begins as many rows before
//! the new ones as these can depend on ([`super::manifest::AudioConfig::rows_back`]: 181 in Gemma 4, 7.2 s), and what it
//! gives for the rows before is dropped. That is exact, and dear: blocks are as long as this machine needs to keep up.

use super::ModelError;
use super::encoder::{Encoder, expect_width};
use super::features::{BINS, FeatureConfig, LogMel, MAX_TOKENS, final_rows};
use super::manifest::Folder;
use crate::onnx::{Dtype, Graph, Interrupt, Options, Tensor};
use crate::timeline::timed;

/// Frames of one row.
const FRAMES_PER_ROW: usize = 4;
/// Rows are encoded in multiples of this while there are so many: with 8-bit weights a row is then the same to the last
/// bit wherever the sound was cut (measured in `onnx/README.md`; odd blocks use other kernels, 3e-7 apart).
const STRIDE_ROWS: usize = 8;
/// Most rows of one run: a longer block costs more per row, since its attention is masked and not skipped.
const LONGEST_ROWS: usize = 32;
/// Rows that are encoded together while the person speaks: 0.32 s. From 8 rows up the cost of a row no longer falls; a
/// machine that lags behind finds more rows waiting and takes them all at once.
const BLOCK_ROWS: usize = 8;
/// Length of a row.
const ROW_MS: f64 = 40.0;
/// The first window, as long as the cost of a row is not known: 1 s.
const FIRST_ROWS: usize = 25;
/// Share of the time that encoding in windows may take; the rest is the decoder's.
const WINDOW_SHARE: f64 = 0.5;
/// So much the latest window counts in what a row costs.
const NEW_WEIGHT: f64 = 0.3;

/// Whichever encoder the folder has.
#[derive(Debug)]
pub enum AudioEncoder {
    /// Encodes in windows.
    Whole(WindowEncoder),
    /// Encodes block by block.
    Streaming(StreamEncoder),
}

impl AudioEncoder {
    /// Opens the streaming encoder of `folder`, or the whole one if it has no other.
    ///
    /// # Errors
    /// When the graph is missing, damaged, or of another shape.
    pub fn open(folder: &Folder, options: Options) -> Result<Self, ModelError> {
        if folder.manifest.parts.contains_key(StreamEncoder::PART) {
            Ok(Self::Streaming(StreamEncoder::open(folder, options)?))
        } else {
            Ok(Self::Whole(WindowEncoder::open(folder, options)?))
        }
    }
}

/// The whole encoder, run over windows.
#[derive(Debug)]
pub struct WindowEncoder {
    encoder: Encoder,
    rows_back: usize,
    /// What a row costs on this machine, once known.
    row_ms: Option<f64>,
}

impl WindowEncoder {
    fn open(folder: &Folder, options: Options) -> Result<Self, ModelError> {
        let encoder = Encoder::open(folder, BINS, options)?;
        Ok(Self { encoder, rows_back: folder.config.audio_config.rows_back(), row_ms: None })
    }

    /// The rows from `first` on of all frames of a turn.
    fn encode(&mut self, frames: &[f32], first: usize, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let from = first.saturating_sub(self.rows_back);
        let window = frames.get(from * FRAMES_PER_ROW * BINS..).unwrap_or_default();
        let mut took_ms = 0.0;
        let mut rows = timed(&mut took_ms, || self.encoder.encode(window, interrupt))?;
        let n = window.len().div_ceil(FRAMES_PER_ROW * BINS).max(1);
        let row_ms = took_ms / n as f64;
        self.row_ms = Some(self.row_ms.map_or(row_ms, |known| known + NEW_WEIGHT * (row_ms - known)));
        let width = rows.len() / n;
        rows.drain(..((first - from) * width).min(rows.len()));
        Ok(rows)
    }
}

/// How many new rows a window is worth that begins up to `rows_back` rows before row `first`, at `row_ms` for a row; `None`
/// if this machine never keeps up in windows. Then all is encoded when a draft is made, which costs no more than it
/// would without windows.
fn window_rows(rows_back: usize, first: usize, row_ms: Option<f64>) -> Option<usize> {
    let Some(row_ms) = row_ms else { return Some(FIRST_ROWS) };
    // (back + n) * row_ms <= share * n * ROW_MS
    let gain_ms = WINDOW_SHARE * ROW_MS - row_ms;
    let back = rows_back.min(first) as f64;
    let rows = (back * row_ms / gain_ms).ceil().max(BLOCK_ROWS as f64);
    (gain_ms > 0.0 && rows <= MAX_TOKENS as f64).then_some(rows as usize)
}

/// The streaming audio encoder: frames of a block and the state of the blocks before it to rows.
///
/// Contract of the graph: `input_features` [1, T, bins], `rows_done` i64 \[1\], states `*_state` -> `audio_features`
/// [ceil(T / 4), hidden], and for each state an output of the same shape named `next_` and its name. States are zero at
/// the start.
#[derive(Debug)]
pub struct StreamEncoder {
    graph: Graph,
    width: usize,
    /// Names of each state's input and output, and the state itself.
    states: Vec<(String, String, Tensor)>,
    rows_done: usize,
}

impl StreamEncoder {
    /// Name of the graph in the manifest.
    pub const PART: &str = "audio_stream";

    /// Opens the graph of `folder` and checks its contract.
    ///
    /// # Errors
    /// When the graph is missing, damaged, or of another shape.
    pub fn open(folder: &Folder, options: Options) -> Result<Self, ModelError> {
        let graph = Graph::open(&folder.part(Self::PART), options)?;
        let features = graph.require_input("input_features", &[Dtype::F32], 3)?;
        expect_width(&graph, "input_features", &features.shape, BINS)?;
        graph.require_input("rows_done", &[Dtype::I64], 1)?;
        let known = |name: &str| name == "input_features" || name == "rows_done" || name.ends_with("_state");
        graph.require_no_input_but(known)?;
        let width = folder.config.text_config.hidden_size;
        let rows = graph.require_output("audio_features", &[Dtype::F32], 2)?;
        expect_width(&graph, "audio_features", &rows.shape, width)?;
        let mut states = Vec::new();
        for port in graph.inputs().iter().filter(|port| port.name.ends_with("_state")) {
            let next = format!("next_{}", port.name);
            graph.require_output(&next, &[Dtype::F32], port.shape.len())?;
            let shape: Option<Vec<usize>> = port.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
            let Some(shape) = shape else {
                return Err(graph.contract(&port.name, "fixed dimensions", port.to_string()).into());
            };
            states.push((port.name.clone(), next, Tensor::zeros(Dtype::F32, &shape)?));
        }
        Ok(Self { graph, width, states, rows_done: 0 })
    }

    /// Back to before the first frame.
    fn reset(&mut self) -> Result<(), ModelError> {
        for (_, _, state) in &mut self.states {
            *state = Tensor::zeros(Dtype::F32, &state.shape())?;
        }
        self.rows_done = 0;
        Ok(())
    }

    /// Encodes a block. With `keep` the state goes on to its end, otherwise it stays where it was.
    fn encode(&mut self, frames: &[f32], keep: bool, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let n = frames.len() / BINS;
        if n == 0 {
            return Ok(Vec::new());
        }
        let features = Tensor::f32(&[1, n, BINS], frames.to_vec())?;
        let done = Tensor::ints(Dtype::I64, &[1], std::iter::once(self.rows_done as i64))?;
        let mut inputs = vec![("input_features", &features), ("rows_done", &done)];
        inputs.extend(self.states.iter().map(|(name, _, state)| (name.as_str(), state)));
        let mut outputs = self.graph.run(&inputs, interrupt)?;
        let rows = outputs.take("audio_features")?.as_f32()?.to_vec();
        let expected = n.div_ceil(FRAMES_PER_ROW) * self.width;
        if rows.len() != expected {
            let found = format!("{} numbers", rows.len());
            return Err(self
                .graph
                .contract("audio_features", format!("{expected} numbers for {n} frames"), found)
                .into());
        }
        if keep {
            for (_, next, state) in &mut self.states {
                *state = outputs.take(next)?;
            }
            self.rows_done += n / FRAMES_PER_ROW;
        }
        Ok(rows)
    }
}

/// Where the time of hearing went, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HearingTimes {
    /// Log-mel.
    pub features_ms: f64,
    /// Audio encoder.
    pub encode_ms: f64,
}

/// The front end and encoder of one model, and what they know of the turn in progress.
pub struct Hearing {
    log_mel: LogMel,
    encoder: AudioEncoder,
    /// Streaming: frames that are not encoded yet. Whole: all frames.
    frames: Vec<f32>,
    /// Final rows given out.
    rows: usize,
    /// Time spent on the turn in progress.
    pub times: HearingTimes,
}

impl Hearing {
    /// Opens what hears in `folder`.
    ///
    /// # Errors
    /// When the encoder is missing, damaged, or of another shape.
    pub fn open(folder: &Folder, config: FeatureConfig, options: Options) -> Result<Self, ModelError> {
        Ok(Self {
            log_mel: LogMel::new(config),
            encoder: AudioEncoder::open(folder, options)?,
            frames: Vec::new(),
            rows: 0,
            times: HearingTimes::default(),
        })
    }

    /// Forgets what was heard.
    ///
    /// # Errors
    /// When ONNX Runtime cannot give memory.
    pub fn reset(&mut self) -> Result<(), ModelError> {
        self.log_mel.reset();
        self.frames.clear();
        self.rows = 0;
        self.times = HearingTimes::default();
        match &mut self.encoder {
            AudioEncoder::Streaming(encoder) => encoder.reset(),
            AudioEncoder::Whole(_) => Ok(()),
        }
    }

    /// Takes 16 kHz samples.
    pub fn push(&mut self, samples: &[f32]) {
        timed(&mut self.times.features_ms, || self.log_mel.push(samples, &mut self.frames));
    }

    /// Does the encoder go on from where it was? Then the rest of the final rows is better taken before a tail.
    pub fn carries_state(&self) -> bool {
        matches!(self.encoder, AudioEncoder::Streaming(_))
    }

    /// The next final rows [n, hidden], if there are enough of them to be worth a block.
    ///
    /// # Errors
    /// When the encoder fails or is interrupted.
    pub fn block(&mut self, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        match &mut self.encoder {
            AudioEncoder::Streaming(_) => self.whole_rows(BLOCK_ROWS, interrupt),
            AudioEncoder::Whole(encoder) => {
                let least = window_rows(encoder.rows_back, self.rows, encoder.row_ms).unwrap_or(usize::MAX);
                self.whole_rows(least, interrupt)
            }
        }
    }

    /// The next final rows [n, hidden], if there are at least `least` of them; else none.
    ///
    /// # Errors
    /// When the encoder fails or is interrupted.
    pub fn whole_rows(&mut self, least: usize, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let least = least.max(1);
        let whole = self.frames.len() / (FRAMES_PER_ROW * BINS);
        let encode_ms = &mut self.times.encode_ms;
        let encoder = match &mut self.encoder {
            AudioEncoder::Streaming(encoder) => encoder,
            AudioEncoder::Whole(_) if whole < self.rows + least => return Ok(Vec::new()),
            AudioEncoder::Whole(encoder) => {
                let frames = &self.frames[..whole * FRAMES_PER_ROW * BINS];
                let rows = timed(encode_ms, || encoder.encode(frames, self.rows, interrupt))?;
                self.rows = whole;
                return Ok(rows);
            }
        };
        let mut rows = Vec::new();
        let mut taken = 0;
        while whole - taken >= least {
            let ready = whole - taken;
            let n = if ready < STRIDE_ROWS { ready } else { (ready - ready % STRIDE_ROWS).min(LONGEST_ROWS) };
            let block = &self.frames[taken * FRAMES_PER_ROW * BINS..(taken + n) * FRAMES_PER_ROW * BINS];
            rows.extend(timed(encode_ms, || encoder.encode(block, true, interrupt))?);
            taken += n;
        }
        self.frames.drain(..taken * FRAMES_PER_ROW * BINS);
        self.rows += taken;
        Ok(rows)
    }

    /// All rows [n, hidden] after those given out, as if the sound ended here; changes nothing. Those of them
    /// that are final count as given out once [`Hearing::resume`] says so.
    ///
    /// # Errors
    /// When the encoder fails or is interrupted.
    pub fn tail(&mut self, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let times = &mut self.times;
        match &mut self.encoder {
            AudioEncoder::Streaming(encoder) => {
                timed(&mut times.encode_ms, || encoder.encode(&self.frames, false, interrupt))
            }
            AudioEncoder::Whole(encoder) => {
                timed(&mut times.encode_ms, || encoder.encode(&self.frames, self.rows, interrupt))
            }
        }
    }

    /// The sound goes on after a tail: gives the number of rows, those of the tail among them, that are final and
    /// count as given out.
    pub fn resume(&mut self) -> usize {
        self.rows = final_rows(self.log_mel.n_samples());
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::AudioConfig;

    #[test]
    fn a_window_is_as_long_as_the_machine_needs() {
        let check = |first, row_ms, expected| {
            assert_eq!(window_rows(181, first, row_ms), expected, "{first} {row_ms:?}");
        };
        // Not measured yet.
        check(0, None, Some(25));
        // Nothing lies before the first rows, so a short block is as good as a long one.
        check(0, Some(4.0), Some(8));
        // 181 rows of the past at 4 ms are paid by 46 rows that may take 20 ms each: 227 * 4 <= 46 * 20.
        check(500, Some(4.0), Some(46));
        check(100, Some(4.0), Some(25));
        check(500, Some(10.0), Some(181));
        // 30 s are all that is ever heard.
        check(500, Some(16.1), Some(748));
        check(500, Some(16.2), None);
        check(500, Some(20.0), None);
        check(0, Some(25.0), None);
    }

    #[test]
    fn gemma_looks_back_7_seconds() {
        let audio = AudioConfig { num_hidden_layers: 12, attention_chunk_size: 12, conv_kernel_size: 5 };
        assert_eq!(audio.rows_back(), 181);
    }
}
