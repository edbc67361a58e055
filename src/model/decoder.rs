//! The decoder graphs and their keys and values. Runs on the inference thread.
//!
//! [`Decoder`] hides two layouts. *Split* is ours: a lower graph with the layers that own keys and values, and an upper
//! one with the KV-shared layers, the norm and the head, which runs only for rows whose logits are wanted. *Merged* is
//! the published graph. Keys and values are either one buffer per layer, read and written in place, or (published
//! graphs) returned with the new rows appended.
//!
//! A rewind costs nothing in place: the attention mask gets shorter, and what lies behind is neither read nor written.
//!
//! The attention kernel reads every row of its past, also where the layer's window is shorter (35 of E4B's 42 layers see 512
//! rows). [`Decoder::settle`] lets go of the rows that no later one sees, for a context that is not cut back behind that
//! point again.

use std::ops::Range;

use super::ModelError;
use super::encoder::{Rows, expect_width};
use super::manifest::{Folder, KvMode, Layout, TextConfig};
use super::snapshot::Saved;
use crate::onnx::{Binding, Dtype, Graph, Interrupt, Options, Outputs, Tensor};
use crate::threads::joined;

/// Rows that a graph takes at once: more cost no less each, and what is between its operators takes memory. Where it gives
/// logits for every row, 64 of 262,144 are 64 MiB.
pub(super) const BLOCK_ROWS: usize = 64;

/// The decoder: rows in, logits of the last row out, context kept.
#[derive(Debug)]
pub struct Decoder {
    graphs: Graphs,
    len: usize,
    max_context: usize,
    vocab: usize,
    shape: RowShape,
    sliding: Option<Sliding>,
}

/// The layers with a window, where the graphs count their rows apart.
#[derive(Debug)]
struct Sliding {
    /// Rows that a row sees, itself among them.
    window: usize,
    /// Is that owning layer one of them?
    layers: Vec<bool>,
    /// Rows at the beginning of the context that these layers no longer hold.
    dropped: usize,
}

/// Widths of a row.
#[derive(Debug, Clone, Copy)]
struct RowShape {
    hidden: usize,
    layers: usize,
    shared_layers: usize,
    per_layer: usize,
}

#[derive(Debug)]
enum Graphs {
    Split(Box<(Lower, Upper)>),
    Merged(Box<Merged>),
}

#[derive(Debug)]
struct Lower {
    graph: Graph,
    mask: Dtype,
    kv: Kv,
}

#[derive(Debug)]
struct Upper {
    graph: Graph,
    mask: Dtype,
    binding: Binding,
}

#[derive(Debug)]
struct Merged {
    graph: Graph,
    mask: Dtype,
    positions: Option<Dtype>,
    keep: Option<Dtype>,
    kv: Kv,
    vocab: usize,
}

/// Keys and values of the owning layers.
#[derive(Debug)]
enum Kv {
    /// Bound once as past and present of the same memory.
    InPlace(Box<Binding>, Vec<Tensor>),
    /// The present of the last run: names of past inputs, names of present outputs, tensors.
    Concat { names: Vec<(String, String)>, tensors: Vec<Tensor> },
}

/// Name, present name and shape [1, heads, rows, width] of each key and value.
fn kv_ports(text: &TextConfig, layers: &[usize], rows: usize) -> Vec<(String, String, [usize; 4])> {
    let ports = layers.iter().flat_map(|&layer| {
        ["key", "value"].map(|what| {
            let shape = [1, text.num_key_value_heads, rows, text.kv_width(layer)];
            (format!("past_key_values.{layer}.{what}"), format!("present.{layer}.{what}"), shape)
        })
    });
    ports.collect()
}

impl Kv {
    /// `known` is what the graph may take besides.
    fn new(graph: &Graph, folder: &Folder, known: &[&str]) -> Result<Self, ModelError> {
        let (text, manifest) = (&folder.config.text_config, &folder.manifest);
        let layers: Vec<usize> = (0..text.owning_layers()).collect();
        let rows = if manifest.kv == KvMode::InPlace { manifest.max_context } else { 0 };
        let ports = kv_ports(text, &layers, rows);
        graph.require_no_input_but(|name| known.contains(&name) || ports.iter().any(|(past, ..)| past == name))?;
        let mut tensors = Vec::new();
        for (past, present, shape) in &ports {
            let port = graph.require_input(past, &[Dtype::F32, Dtype::F16], 4)?;
            expect_width(graph, past, &port.shape, shape[3])?;
            graph.require_output(present, &[port.dtype], 4)?;
            tensors.push(Tensor::zeros(port.dtype, shape)?);
        }
        if manifest.kv == KvMode::Concat {
            let names = ports.into_iter().map(|(past, present, _)| (past, present)).collect();
            return Ok(Self::Concat { names, tensors });
        }
        let mut binding = graph.bind()?;
        for ((past, present, _), tensor) in ports.iter().zip(&tensors) {
            binding.input(past, tensor)?;
            binding.output_into(present, tensor)?;
        }
        Ok(Self::InPlace(Box::new(binding), tensors))
    }

    /// One run of the graph that owns these keys and values; `wanted` are its other outputs.
    fn run(
        &mut self,
        graph: &mut Graph,
        inputs: &[(&str, &Tensor)],
        wanted: &[&str],
        interrupt: &Interrupt,
    ) -> Result<Outputs, ModelError> {
        match self {
            Self::InPlace(binding, _) => {
                for (name, tensor) in inputs {
                    binding.input(name, tensor)?;
                }
                for name in wanted {
                    binding.output(name)?;
                }
                Ok(graph.run_bound(binding, interrupt)?)
            }
            Self::Concat { names, tensors } => {
                let past = names.iter().zip(tensors.iter()).map(|((past, _), tensor)| (past.as_str(), tensor));
                let all: Vec<(&str, &Tensor)> = inputs.iter().copied().chain(past).collect();
                let mut outputs = graph.run(&all, interrupt)?;
                let present: Result<Vec<Tensor>, _> = names.iter().map(|(_, name)| outputs.take(name)).collect();
                *tensors = present?;
                Ok(outputs)
            }
        }
    }

    /// Keys and values, two tensors a layer, key then value.
    fn tensors(&self) -> &[Tensor] {
        match self {
            Self::InPlace(_, tensors) | Self::Concat { tensors, .. } => tensors,
        }
    }

    /// The same, to be written.
    fn tensors_mut(&mut self) -> &mut [Tensor] {
        match self {
            Self::InPlace(_, tensors) | Self::Concat { tensors, .. } => tensors,
        }
    }

    fn rewind(&mut self, len: usize) -> Result<(), ModelError> {
        if let Self::Concat { tensors, .. } = self {
            let cut: Result<Vec<Tensor>, _> = tensors.iter().map(|tensor| tensor.truncated(len)).collect();
            *tensors = cut?;
        }
        Ok(())
    }
}

impl Graphs {
    fn kv(&self) -> &Kv {
        match self {
            Self::Split(graphs) => &graphs.0.kv,
            Self::Merged(merged) => &merged.kv,
        }
    }

    fn kv_mut(&mut self) -> &mut Kv {
        match self {
            Self::Split(graphs) => &mut graphs.0.kv,
            Self::Merged(merged) => &mut merged.kv,
        }
    }
}

impl Decoder {
    /// Opens the decoder graphs of `folder` and checks their contract.
    ///
    /// # Errors
    /// When a graph is missing, damaged, or of another shape.
    pub fn open(folder: &Folder, options: Options) -> Result<Self, ModelError> {
        let text = &folder.config.text_config;
        let shape = RowShape {
            hidden: text.hidden_size,
            layers: text.num_hidden_layers,
            shared_layers: text.num_kv_shared_layers,
            per_layer: text.hidden_size_per_layer_input,
        };
        let (graphs, sliding) = match folder.manifest.layout {
            Layout::Split => open_split(folder, options)?,
            Layout::Merged => (Graphs::Merged(Box::new(open_merged(folder, options)?)), None),
        };
        Ok(Self { graphs, len: 0, max_context: folder.manifest.max_context, vocab: text.vocab_size, shape, sliding })
    }

    /// Rows in the context.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is the context empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rows that still fit.
    pub fn room(&self) -> usize {
        self.max_context - self.len
    }

    /// Can the context be cut back to its first `len` rows? Always to none; to fewer than were settled not.
    pub fn holds(&self, len: usize) -> bool {
        len == 0 || self.sliding.as_ref().is_none_or(|it| it.dropped == 0 || len + 1 >= it.dropped + it.window)
    }

    /// Cuts the context back to its first `len` rows; a longer `len` changes nothing.
    ///
    /// # Errors
    /// When the context does not hold them, or copying published keys and values fails.
    pub fn rewind(&mut self, len: usize) -> Result<(), ModelError> {
        if len >= self.len {
            return Ok(());
        }
        if !self.holds(len) {
            return Err(ModelError::OutOfOrder("the context was settled behind that row"));
        }
        self.graphs.kv_mut().rewind(len)?;
        self.len = len;
        if let Some(sliding) = self.sliding.as_mut().filter(|_| len == 0) {
            sliding.dropped = 0;
        }
        Ok(())
    }

    /// The context so far is here to stay, or goes as a whole: layers with a window let go of the rows that no later row
    /// sees, and are faster for it. Does nothing where the graphs do not count those layers apart.
    ///
    /// # Errors
    /// When keys and values are not as they were made.
    pub fn settle(&mut self) -> Result<(), ModelError> {
        let Some(sliding) = &mut self.sliding else { return Ok(()) };
        let first = (self.len + 1).saturating_sub(sliding.window);
        if first <= sliding.dropped {
            return Ok(());
        }
        let (from, rows) = (first - sliding.dropped, self.len - first);
        sliding.dropped = first;
        for (pair, _) in
            self.graphs.kv_mut().tensors_mut().chunks_mut(2).zip(&sliding.layers).filter(|(_, slides)| **slides)
        {
            pair.iter_mut().try_for_each(|tensor| tensor.rows_to_front(from, rows))?;
        }
        Ok(())
    }

    /// Appends rows to the context without asking for logits.
    ///
    /// # Errors
    /// When they do not fit, the run fails, or it is interrupted; the context is then as before.
    pub fn prefill(&mut self, rows: &Rows, interrupt: &Interrupt) -> Result<(), ModelError> {
        self.feed(rows, false, interrupt).map(|_| ())
    }

    /// Appends rows to the context and gives the logits `[vocabulary]` after the last.
    ///
    /// # Errors
    /// As [`Decoder::prefill`].
    pub fn step(&mut self, rows: &Rows, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        let logits = self.feed(rows, true, interrupt)?;
        if logits.len() != self.vocab {
            return Err(ModelError::Logits { expected: self.vocab, found: logits.len() });
        }
        Ok(logits)
    }

    /// Key or value (`what` 0 or 1) of an owning layer at one row of the context, heads one after another: to compare
    /// with a reference.
    ///
    /// # Errors
    /// When there is no such layer or row.
    pub fn key_or_value(&self, layer: usize, what: usize, row: usize) -> Result<Vec<f32>, ModelError> {
        let place = row.checked_sub(self.dropped(layer)).filter(|_| row < self.len);
        let found = self.graphs.kv().tensors().get(2 * layer + what).zip(place);
        let (tensor, row) = found.ok_or(ModelError::OutOfOrder("no such layer or row"))?;
        let data = tensor.to_f32()?;
        let shape = tensor.shape();
        let (heads, rows, width) = (shape[1], shape[2], shape[3]);
        Ok((0..heads).flat_map(|head| data[(head * rows + row) * width..][..width].iter().copied()).collect())
    }

    /// Copies of the rows of the context, tensor by tensor: for E4B in 32 bits 32 KiB a row, and 80 KiB for each that
    /// layers with a window hold. Fails for one that has another shape than keys and values have.
    pub fn saved(&self) -> impl ExactSizeIterator<Item = Result<Saved, ModelError>> {
        self.graphs.kv().tensors().iter().enumerate().map(|(at, tensor)| {
            let (shape, rows) = (tensor.shape(), self.len - self.dropped(at / 2));
            let bytes = tensor.rows_to_bytes(rows)?;
            Ok(Saved { dtype: tensor.dtype(), heads: shape[1], rows, width: shape[3], bytes })
        })
    }

    /// Takes so many rows in place of the context, tensor by tensor as [`Decoder::saved`] gave them.
    ///
    /// # Errors
    /// When they are of another shape; the context is then empty.
    pub fn restore(&mut self, rows: usize, saved: impl Iterator<Item = Saved>) -> Result<(), ModelError> {
        self.rewind(0)?;
        let restored = self.take(rows, saved);
        if restored.is_err() {
            // Some of the tensors may have been taken, whatever the length says.
            self.len = rows;
            self.rewind(0)?;
        }
        restored
    }

    fn take(&mut self, rows: usize, mut saved: impl Iterator<Item = Saved>) -> Result<(), ModelError> {
        const UNFIT: ModelError = ModelError::OutOfOrder("keys and values of another shape");
        if rows > self.max_context {
            return Err(UNFIT);
        }
        let grows = matches!(self.graphs.kv(), Kv::Concat { .. });
        let mut dropped = None;
        for at in 0..self.graphs.kv().tensors().len() {
            let saved = saved.next().ok_or(UNFIT)?;
            let slides = self.sliding.as_ref().is_some_and(|sliding| sliding.layers[at / 2]);
            let missing = rows.checked_sub(saved.rows).ok_or(UNFIT)?;
            let expected = if slides { *dropped.get_or_insert(missing) } else { 0 };
            let tensor = &mut self.graphs.kv_mut().tensors_mut()[at];
            let (shape, dtype) = (tensor.shape(), tensor.dtype());
            if missing != expected || (dtype, shape[1], shape[3]) != (saved.dtype, saved.heads, saved.width) {
                return Err(UNFIT);
            }
            if grows {
                *tensor = Tensor::zeros(dtype, &[1, shape[1], saved.rows, shape[3]])?;
            }
            tensor.rows_from_bytes(saved.rows, &saved.bytes)?;
        }
        self.len = rows;
        if let (Some(sliding), Some(dropped)) = (&mut self.sliding, dropped) {
            sliding.dropped = dropped;
        }
        if saved.next().is_some() || !self.holds(rows) {
            return Err(UNFIT);
        }
        Ok(())
    }

    /// Rows at the beginning that an owning layer no longer holds.
    fn dropped(&self, layer: usize) -> usize {
        self.sliding.as_ref().filter(|sliding| sliding.layers.get(layer) == Some(&true)).map_or(0, |it| it.dropped)
    }

    /// Feeds rows in blocks.
    fn feed(&mut self, rows: &Rows, want_logits: bool, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        if rows.len <= BLOCK_ROWS {
            return self.feed_block(rows, want_logits, interrupt);
        }
        if rows.len > self.room() {
            return Err(ModelError::ContextFull { rows: self.len + rows.len, limit: self.max_context });
        }
        let before = self.len;
        let mut logits = Vec::new();
        for from in (0..rows.len).step_by(BLOCK_ROWS) {
            let to = rows.len.min(from + BLOCK_ROWS);
            match self.feed_block(&rows.slice(from, to), want_logits && to == rows.len, interrupt) {
                Ok(last) => logits = last,
                Err(error) => {
                    self.rewind(before)?;
                    return Err(error);
                }
            }
        }
        Ok(logits)
    }

    fn feed_block(&mut self, rows: &Rows, want_logits: bool, interrupt: &Interrupt) -> Result<Vec<f32>, ModelError> {
        if rows.len == 0 && !want_logits {
            return Ok(Vec::new());
        }
        if interrupt.is_raised() {
            return Err(ModelError::Interrupted);
        }
        if rows.len > self.room() {
            return Err(ModelError::ContextFull { rows: self.len + rows.len, limit: self.max_context });
        }
        let (shape, total) = (self.shape, self.len + rows.len);
        let embeds = Tensor::f32(&[1, rows.len, shape.hidden], rows.embeds.clone())?;
        let per_layer = Tensor::f32(&[1, rows.len, shape.layers, shape.per_layer], rows.per_layer.clone())?;
        let logits = match &mut self.graphs {
            Graphs::Split(graphs) => {
                let (lower, upper) = graphs.as_mut();
                let held = self.sliding.as_ref().map(|sliding| total - sliding.dropped);
                let places = places(lower.mask, self.len..total, held)?;
                let mut inputs = vec![("inputs_embeds", &embeds), ("per_layer_inputs", &per_layer)];
                inputs.extend(places.iter().map(|(name, tensor)| (*name, tensor)));
                let wanted = ["hidden_states", "shared_per_layer_inputs"];
                let mut out = lower.kv.run(&mut lower.graph, &inputs, &wanted, interrupt)?;
                if want_logits {
                    let hidden = out.take("hidden_states")?;
                    let shared = out.take("shared_per_layer_inputs")?;
                    upper.logits(&hidden, &shared, shape, total, held, interrupt)?
                } else {
                    Vec::new()
                }
            }
            Graphs::Merged(merged) => merged.run(&embeds, &per_layer, self.len, total, interrupt)?,
        };
        self.len = total;
        Ok(if want_logits { logits } else { Vec::new() })
    }
}

impl Upper {
    /// Logits of the last row.
    fn logits(
        &mut self,
        hidden: &Tensor,
        shared: &Tensor,
        shape: RowShape,
        total: usize,
        held: Option<usize>,
        interrupt: &Interrupt,
    ) -> Result<Vec<f32>, ModelError> {
        let width = shape.shared_layers * shape.per_layer;
        let hidden = Tensor::f32(&[1, 1, shape.hidden], hidden.last(shape.hidden)?)?;
        let shared = Tensor::f32(&[1, 1, shape.shared_layers, shape.per_layer], shared.last(width)?)?;
        self.binding.input("hidden_states", &hidden)?;
        self.binding.input("shared_per_layer_inputs", &shared)?;
        for (name, tensor) in places(self.mask, total - 1..total, held)? {
            self.binding.input(name, &tensor)?;
        }
        let mut out = self.graph.run_bound(&self.binding, interrupt)?;
        let logits = out.take("logits")?;
        Ok(logits.last(logits.shape().last().copied().unwrap_or(0))?)
    }
}

impl Merged {
    /// Logits of the last row; the rows before it are only added to the context.
    fn run(
        &mut self,
        embeds: &Tensor,
        per_layer: &Tensor,
        past: usize,
        total: usize,
        interrupt: &Interrupt,
    ) -> Result<Vec<f32>, ModelError> {
        let mask = Tensor::ones(self.mask, total)?;
        let positions = match self.positions {
            Some(dtype) => Some(Tensor::ints(dtype, &[1, total - past], past as i64..total as i64)?),
            None => None,
        };
        let keep = self.keep.map(|dtype| Tensor::int(dtype, 1)).transpose()?;
        let mut inputs = vec![("inputs_embeds", embeds), ("per_layer_inputs", per_layer), ("attention_mask", &mask)];
        inputs.extend(positions.as_ref().map(|t| ("position_ids", t)));
        inputs.extend(keep.as_ref().map(|t| ("num_logits_to_keep", t)));
        let mut out = self.kv.run(&mut self.graph, &inputs, &["logits"], interrupt)?;
        Ok(out.take("logits")?.last(self.vocab)?)
    }
}

/// What the halves of a split decoder take to know where `rows` stand in the context; with `held`, of which layers with a
/// window hold so many rows.
fn places(mask: Dtype, rows: Range<usize>, held: Option<usize>) -> Result<Vec<(&'static str, Tensor)>, ModelError> {
    let mut places = vec![("attention_mask", Tensor::ones(mask, rows.end)?)];
    if let Some(held) = held {
        places.push((SLIDING_MASK, Tensor::ones(Dtype::I64, held)?));
        let positions = rows.start as i64..rows.end as i64;
        places.push(("position_ids", Tensor::ints(Dtype::I64, &[1, rows.len()], positions)?));
    }
    Ok(places)
}

/// The input by which a split decoder says that it counts the rows of layers with a window apart.
const SLIDING_MASK: &str = "sliding_attention_mask";
/// What a decoder takes besides keys and values.
const INPUTS: [&str; 3] = ["inputs_embeds", "per_layer_inputs", "attention_mask"];
const MASKS: [Dtype; 2] = [Dtype::I64, Dtype::I32];

fn open_split(folder: &Folder, options: Options) -> Result<(Graphs, Option<Sliding>), ModelError> {
    let text = &folder.config.text_config;
    let (lower, upper) = std::thread::scope(|scope| {
        let upper = scope.spawn(|| Graph::open(&folder.part("decoder_upper"), options));
        let lower = Graph::open(&folder.part("decoder_lower"), options);
        (lower, joined(upper))
    });
    let (lower, upper) = (lower?, upper?);
    require_rows(&lower, text)?;
    let mask = lower.require_input("attention_mask", &MASKS, 2)?.dtype;
    let hidden = lower.require_output("hidden_states", &[Dtype::F32], 3)?;
    expect_width(&lower, "hidden_states", &hidden.shape, text.hidden_size)?;
    let shared = lower.require_output("shared_per_layer_inputs", &[Dtype::F32], 4)?;
    expect_width(&lower, "shared_per_layer_inputs", &shared.shape, text.hidden_size_per_layer_input)?;
    let sliding = sliding(&lower, text)?;
    let also: &[&str] = if sliding.is_some() { &[SLIDING_MASK, "position_ids"] } else { &[] };
    let kv = Kv::new(&lower, folder, &[&INPUTS, also].concat())?;
    if let Kv::Concat { .. } = kv {
        return Err(lower.contract("kv", "in_place for a split decoder (manifest.json)", "concat").into());
    }

    upper.require_input("hidden_states", &[Dtype::F32], 3)?;
    upper.require_input("shared_per_layer_inputs", &[Dtype::F32], 4)?;
    let upper_mask = upper.require_input("attention_mask", &MASKS, 2)?.dtype;
    let logits = upper.require_output("logits", &[Dtype::F32, Dtype::F16], 3)?;
    expect_width(&upper, "logits", &logits.shape, text.vocab_size)?;
    let mut binding = upper.bind()?;
    for layer in text.read_by_shared() {
        for (buffer, what) in kv.tensors()[2 * layer..2 * layer + 2].iter().zip(["key", "value"]) {
            let name = format!("past_key_values.{layer}.{what}");
            upper.require_input(&name, &[buffer.dtype()], 4)?;
            binding.input(&name, buffer)?;
        }
    }
    let known = [&["hidden_states", "shared_per_layer_inputs", "attention_mask"], also].concat();
    if sliding.is_some() {
        require_places(&upper)?;
    }
    upper.require_no_input_but(|name| known.contains(&name) || name.starts_with("past_key_values."))?;
    binding.output("logits")?;
    let lower = Lower { graph: lower, mask, kv };
    Ok((Graphs::Split(Box::new((lower, Upper { graph: upper, mask: upper_mask, binding }))), sliding))
}

/// The layers with a window, if the lower half counts their rows apart.
fn sliding(lower: &Graph, text: &TextConfig) -> Result<Option<Sliding>, ModelError> {
    if lower.input(SLIDING_MASK).is_none() {
        return Ok(None);
    }
    require_places(lower)?;
    if text.sliding_window == 0 {
        let expected = "an input of a model with a window (sliding_window in config.json)";
        return Err(lower.contract(SLIDING_MASK, expected, "no window").into());
    }
    let layers = (0..text.owning_layers()).map(|layer| !text.is_full(layer)).collect();
    Ok(Some(Sliding { window: text.sliding_window, layers, dropped: 0 }))
}

fn require_places(graph: &Graph) -> Result<(), ModelError> {
    graph.require_input(SLIDING_MASK, &[Dtype::I64], 2)?;
    graph.require_input("position_ids", &[Dtype::I64], 2)?;
    Ok(())
}

fn open_merged(folder: &Folder, options: Options) -> Result<Merged, ModelError> {
    let text = &folder.config.text_config;
    let graph = Graph::open(&folder.part("decoder_model_merged"), options)?;
    require_rows(&graph, text)?;
    let mask = graph.require_input("attention_mask", &MASKS, 2)?.dtype;
    let optional = |name: &str, rank: usize| match graph.input(name) {
        Some(_) => graph.require_input(name, &MASKS, rank).map(|port| Some(port.dtype)),
        None => Ok(None),
    };
    let (positions, keep) = (optional("position_ids", 2)?, optional("num_logits_to_keep", 0)?);
    let logits = graph.require_output("logits", &[Dtype::F32, Dtype::F16], 3)?;
    expect_width(&graph, "logits", &logits.shape, text.vocab_size)?;
    let kv = Kv::new(&graph, folder, &[&INPUTS[..], &["position_ids", "num_logits_to_keep"]].concat())?;
    Ok(Merged { mask, positions, keep, kv, vocab: text.vocab_size, graph })
}

fn require_rows(graph: &Graph, text: &TextConfig) -> Result<(), ModelError> {
    let embeds = graph.require_input("inputs_embeds", &[Dtype::F32], 3)?;
    expect_width(graph, "inputs_embeds", &embeds.shape, text.hidden_size)?;
    let per_layer = graph.require_input("per_layer_inputs", &[Dtype::F32], 4)?;
    expect_width(graph, "per_layer_inputs", &per_layer.shape, text.hidden_size_per_layer_input)?;
    Ok(())
}
