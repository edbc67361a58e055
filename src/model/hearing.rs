//! Samples of one turn to rows of audio, as they arrive. Runs on the inference thread; holds no context of the decoder.
//!
//! Row `u` is final once 640 u + 641 samples were heard (the encoder looks only backwards). [`Hearing::whole_rows`] gives
//! final rows, each once; [`Hearing::tail`] gives the rows that more sound could still change, without advancing, so that
//! a draft can be taken back.
//!
//! Two encoders do the work. The *streaming* graph carries its state from block to block and never computes a row twice.
//! A folder that has only the *whole* encoder (the published ones) is encoded from the first frame on when a draft is
//! made: its final rows are the same, but nothing is gained while the person speaks.

use super::ModelError;
use super::encoder::{Encoder, expect_width};
use super::features::{BINS, FeatureConfig, LogMel, final_rows};
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

/// Whichever encoder the folder has.
#[derive(Debug)]
pub enum AudioEncoder {
    /// Encodes a turn from its start.
    Whole(Encoder),
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
            Ok(Self::Whole(Encoder::open(folder, BINS, options)?))
        }
    }
}

/// The streaming audio encoder: frames of a block and the state of the blocks before it to rows.
///
/// Contract of the graph: `input_features` [1, T, bins], `rows_done` i64 [1], states `*_state` -> `audio_features`
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
    width: usize,
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
            width: folder.config.text_config.hidden_size,
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

    /// The next final rows [n, hidden], if there are at least `least` of them; else none. The whole encoder has none
    /// before the end.
    ///
    /// # Errors
    /// When the encoder fails or is interrupted.
    pub fn whole_rows(&mut self, least: usize, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let AudioEncoder::Streaming(encoder) = &mut self.encoder else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        let mut taken = 0;
        loop {
            let ready = self.frames.len() / (FRAMES_PER_ROW * BINS) - taken;
            if ready < least.max(1) {
                break;
            }
            let n = if ready < STRIDE_ROWS { ready } else { (ready - ready % STRIDE_ROWS).min(LONGEST_ROWS) };
            let block = &self.frames[taken * FRAMES_PER_ROW * BINS..(taken + n) * FRAMES_PER_ROW * BINS];
            rows.extend(timed(&mut self.times.encode_ms, || encoder.encode(block, true, interrupt))?);
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
                let mut rows = timed(&mut times.encode_ms, || encoder.encode(&self.frames, interrupt))?;
                rows.drain(..(self.rows * self.width).min(rows.len()));
                Ok(rows)
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
