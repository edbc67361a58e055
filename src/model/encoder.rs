//! What turns a turn into rows for the decoder: the audio encoder and the token embedding.
//! Runs on the inference thread.

use super::ModelError;
use super::manifest::{Config, Folder, FolderError, Tables};
use super::tables::OpenTable;
use crate::onnx::{Dtype, Graph, Interrupt, OnnxError, Options, Tensor};

/// Rows ready for the decoder: `len` rows of inputs and of per-layer inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Number of rows.
    pub len: usize,
    /// [len, hidden].
    pub embeds: Vec<f32>,
    /// [len, layers, per-layer width].
    pub per_layer: Vec<f32>,
}

impl Rows {
    /// The rows `from..to`.
    pub fn slice(&self, from: usize, to: usize) -> Rows {
        let cut = |all: &[f32]| {
            let width = all.len() / self.len.max(1);
            all[from * width..to * width].to_vec()
        };
        Rows { len: to - from, embeds: cut(&self.embeds), per_layer: cut(&self.per_layer) }
    }

    /// Appends the rows of `other`.
    pub fn extend(&mut self, other: &Rows) {
        self.len += other.len;
        self.embeds.extend_from_slice(&other.embeds);
        self.per_layer.extend_from_slice(&other.per_layer);
    }
}

/// The audio encoder: log-mel frames to rows of the decoder's width.
#[derive(Debug)]
pub struct Encoder {
    graph: Graph,
    mask: Dtype,
    bins: usize,
    width: usize,
}

impl Encoder {
    /// Opens the graph of `folder` and checks its contract: `input_features` [1, T, bins], `input_features_mask`
    /// [1, T] -> `audio_features` [n, hidden].
    ///
    /// # Errors
    /// When the graph is missing, damaged, or of another shape.
    pub fn open(folder: &Folder, bins: usize, options: Options) -> Result<Self, ModelError> {
        let graph = Graph::open(&folder.part("audio_encoder"), options)?;
        let features = graph.require_input("input_features", &[Dtype::F32], 3)?;
        expect_width(&graph, "input_features", &features.shape, bins)?;
        let mask = graph.require_input("input_features_mask", &[Dtype::Bool, Dtype::F32, Dtype::I64], 2)?.dtype;
        graph.require_no_input_but(|name| name.starts_with("input_features"))?;
        let width = folder.config.text_config.hidden_size;
        let rows = graph.require_output("audio_features", &[Dtype::F32], 2)?;
        expect_width(&graph, "audio_features", &rows.shape, width)?;
        Ok(Self { graph, mask, bins, width })
    }

    /// Encodes whole frames [T, bins] into ceil(T / 4) rows [n, hidden].
    ///
    /// # Errors
    /// When the run fails, is interrupted, or gives another number of rows.
    pub fn encode(&mut self, frames: &[f32], interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let n = frames.len() / self.bins;
        if n == 0 {
            return Ok(Vec::new());
        }
        let features = Tensor::f32(&[1, n, self.bins], frames.to_vec())?;
        let mask = Tensor::ones(self.mask, n)?;
        let mut outputs =
            self.graph.run(&[("input_features", &features), ("input_features_mask", &mask)], interrupt)?;
        let rows = outputs.take("audio_features")?.as_f32()?.to_vec();
        let expected = n.div_ceil(4) * self.width;
        if rows.len() != expected {
            let found = format!("{} numbers", rows.len());
            return Err(self
                .graph
                .contract("audio_features", format!("{expected} numbers for {n} frames"), found)
                .into());
        }
        Ok(rows)
    }
}

/// The token embedding: ids to rows and per-layer rows.
#[derive(Debug)]
pub struct Embedder {
    source: Source,
    hidden: usize,
    /// Per-layer row of the padding token, which every audio row takes (transformers, modeling_gemma4.py: multimodal
    /// ids are replaced by pad before the per-layer lookup).
    pad_per_layer: Vec<f32>,
}

/// Where rows come from.
#[derive(Debug)]
enum Source {
    /// The folder says where its tables lie.
    Tables(Box<Lookup>),
    Graph(Graph),
}

#[derive(Debug)]
struct Lookup {
    embeds: OpenTable,
    per_layer: OpenTable,
    config: Config,
}

impl Lookup {
    fn open(folder: &Folder, tables: &Tables) -> Result<Self, FolderError> {
        let text = &folder.config.text_config;
        let per_layer = text.num_hidden_layers.saturating_mul(text.hidden_size_per_layer_input);
        let lookup = Self {
            embeds: OpenTable::open(&folder.dir, &tables.inputs_embeds, text.hidden_size)?,
            per_layer: OpenTable::open(&folder.dir, &tables.per_layer_inputs, per_layer)?,
            config: folder.config.clone(),
        };
        if text.pad_token_id as usize >= lookup.rows_of_both() {
            let reason = format!("config.json: no table row for the padding token {}", text.pad_token_id);
            return Err(FolderError::Layout { path: folder.dir.clone(), reason });
        }
        Ok(lookup)
    }

    /// Ids that either table has a row for.
    fn rows_of_both(&self) -> usize {
        self.embeds.rows().min(self.per_layer.rows())
    }

    /// As the graph does it: placeholders, and ids that a table has no row for, are the padding token.
    fn rows(&self, ids: &[u32]) -> Result<Rows, FolderError> {
        let mut rows = Rows { len: ids.len(), ..Rows::default() };
        let least = self.rows_of_both();
        for &id in ids {
            let known = (id as usize) < least && !self.config.is_placeholder(id);
            let row = if known { id } else { self.config.text_config.pad_token_id } as usize;
            self.embeds.read(row, &mut rows.embeds)?;
            self.per_layer.read(row, &mut rows.per_layer)?;
        }
        Ok(rows)
    }
}

impl Embedder {
    /// Opens the tables of `folder` or, where it does not say where they lie, the graph, and checks its contract: `input_ids`
    /// [1, S] -> `inputs_embeds` [1, S, hidden], `per_layer_inputs` [1, S, layers, width].
    ///
    /// # Errors
    /// When the tables or the graph are missing, damaged, or of another shape.
    pub fn open(folder: &Folder, options: Options, interrupt: &Interrupt) -> Result<Self, ModelError> {
        let text = &folder.config.text_config;
        let source = match &folder.manifest.tables {
            Some(tables) => Source::Tables(Box::new(Lookup::open(folder, tables)?)),
            None => Source::Graph(open_embedding(folder, options)?),
        };
        let mut embedder = Self { source, hidden: text.hidden_size, pad_per_layer: Vec::new() };
        embedder.pad_per_layer = embedder.embed(&[text.pad_token_id], interrupt)?.per_layer;
        Ok(embedder)
    }

    /// Rows of text tokens.
    ///
    /// # Errors
    /// When a table cannot be read, or the run fails or is interrupted.
    pub fn embed(&mut self, ids: &[u32], interrupt: &Interrupt) -> Result<Rows, ModelError> {
        if ids.is_empty() {
            return Ok(Rows::default());
        }
        let graph = match &mut self.source {
            Source::Tables(tables) => return Ok(tables.rows(ids)?),
            Source::Graph(graph) => graph,
        };
        let input = Tensor::ints(Dtype::I64, &[1, ids.len()], ids.iter().map(|&id| i64::from(id)))?;
        let mut outputs = graph.run(&[("input_ids", &input)], interrupt)?;
        let embeds = outputs.take("inputs_embeds")?.as_f32()?.to_vec();
        let per_layer = outputs.take("per_layer_inputs")?.as_f32()?.to_vec();
        Ok(Rows { len: ids.len(), embeds, per_layer })
    }

    /// Rows of audio, from what the encoder gave.
    pub fn audio(&self, encoded: &[f32]) -> Rows {
        let len = encoded.len() / self.hidden;
        Rows { len, embeds: encoded.to_vec(), per_layer: self.pad_per_layer.repeat(len) }
    }
}

fn open_embedding(folder: &Folder, options: Options) -> Result<Graph, ModelError> {
    let graph = Graph::open(&folder.part("embed_tokens"), options)?;
    let text = &folder.config.text_config;
    graph.require_input("input_ids", &[Dtype::I64], 2)?;
    graph.require_no_input_but(|name| name == "input_ids")?;
    let embeds = graph.require_output("inputs_embeds", &[Dtype::F32], 3)?;
    expect_width(&graph, "inputs_embeds", &embeds.shape, text.hidden_size)?;
    let per_layer = graph.require_output("per_layer_inputs", &[Dtype::F32], 4)?;
    expect_width(&graph, "per_layer_inputs", &per_layer.shape, text.hidden_size_per_layer_input)?;
    Ok(graph)
}

/// Checks the last dimension of a port; -1 means that the graph takes any.
pub(super) fn expect_width(graph: &Graph, name: &str, shape: &[i64], width: usize) -> Result<(), OnnxError> {
    match shape.last() {
        Some(&last) if last < 0 || usize::try_from(last) == Ok(width) => Ok(()),
        found => {
            let found = found.map_or("none".to_owned(), i64::to_string);
            Err(graph.contract(name, format!("last dimension {width} (config.json)"), found))
        }
    }
}
