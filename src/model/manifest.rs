//! What a model folder holds: its manifest, the parts of Gemma's config that the runtime needs, presence and sums of
//! its files. Reads files, opens no graph.
//!
//! Two kinds of folder are read. One with a `manifest.json` was written by `onnx/`; one without, but with
//! `onnx/decoder_model_merged*.onnx`, is a published (onnx-community) folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The manifest format that this version reads.
const FORMAT: u32 = 1;
/// Suffixes of published graphs in the order in which we like them: f32 keys and values run fastest on a CPU.
const PUBLISHED_DECODERS: [&str; 5] = ["_q4", "", "_quantized", "_q4f16", "_fp16"];
/// The audio encoder is the part most sensitive to precision, so 8 bit and fp16 come before 4 bit.
const PUBLISHED_ENCODERS: [&str; 5] = ["_quantized", "_fp16", "", "_q4", "_q4f16"];

/// What `hearth model fetch` writes down beside a published model: its files with bytes and sums.
pub const FETCHED: &str = "fetched.json";

/// What is wrong with a model folder: fetch or build it again.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file is not there or cannot be read.
    #[error("model file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder is no model folder, or one of another kind.
    #[error("model folder {}: {reason}", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
}

/// How the decoder is cut into graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `decoder_lower` owns keys and values; `decoder_upper` reads them, for the last rows only.
    Split,
    /// One graph, the published interface.
    Merged,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvMode {
    /// One buffer per layer, `max_context` rows, read and written in place.
    InPlace,
    /// The graph returns the past with the new rows appended.
    Concat,
}

/// One graph of the model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Part {
    /// Path inside the folder.
    pub file: PathBuf,
    /// Name of the precision, for instance `q8b32a4`.
    pub precision: String,
}

/// Where something begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// Path inside the folder.
    pub file: PathBuf,
    /// Byte in the file.
    pub offset: u64,
}

/// A table of quantised rows outside the graphs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Table {
    /// Rows.
    pub rows: usize,
    /// Values of a row.
    pub columns: usize,
    /// Bits of a code: 4 or 8.
    pub bits: usize,
    /// Values of a row that have one scale.
    pub block: usize,
    /// What every value is multiplied with.
    pub factor: f32,
    /// Unsigned codes [rows, columns], two to a byte if of 4 bits.
    pub codes: Place,
    /// 32-bit floats [rows, columns / block].
    pub scales: Place,
    /// Codes that mean 0 [rows, columns / block], packed as the codes; half of the range if there are none.
    #[serde(default)]
    pub zero_points: Option<Place>,
}

/// The tables of the token embedding, by the outputs of its graph.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tables {
    /// Rows of the decoder's width.
    pub inputs_embeds: Table,
    /// Rows of per-layer inputs.
    pub per_layer_inputs: Table,
}

/// Bytes and sum of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The closed lists that a small model knows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Vocabulary {
    /// Rooms and places.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// Kinds of device.
    #[serde(default)]
    pub kinds: Vec<String>,
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Manifest {
    /// Format of this file.
    pub format: u32,
    /// Name of the model.
    pub name: String,
    /// Where its weights came from.
    pub source: String,
    /// How the decoder is cut.
    pub layout: Layout,
    /// How keys and values are kept.
    pub kv: KvMode,
    /// Rows of context.
    pub max_context: usize,
    /// May the model phrase answers itself?
    pub phrases: bool,
    /// Does it use earlier turns?
    pub history: bool,
    /// Does its prompt declare tools?
    pub declares_tools: bool,
    /// Can a turn be text?
    pub reads_text: bool,
    /// Below this margin its calls are better asked back, as log p(best) - log p(second), if that was measured.
    #[serde(default)]
    pub min_margin: Option<f32>,
    /// Graphs by name.
    pub parts: BTreeMap<String, Part>,
    /// The embedding's tables, where they can be read without its graph.
    #[serde(default)]
    pub tables: Option<Tables>,
    /// Closed lists of a small model.
    #[serde(default)]
    pub vocabulary: Vocabulary,
    /// Added to the logits of an answer that ends at once, without a call: above 0, talk is taken for a command more
    /// seldom, and a command missed more often. A small model brings it along, chosen on its development set.
    #[serde(default)]
    pub quiet_bias: f32,
    /// Every file of the folder but this one. Empty for a published folder that hearth did not fetch.
    #[serde(default)]
    pub files: BTreeMap<String, FileEntry>,
}

/// `text_config` of Gemma's `config.json`, as far as the runtime needs it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    /// Width of a row.
    pub hidden_size: usize,
    /// Layers in all.
    pub num_hidden_layers: usize,
    /// Layers at the end that read the keys and values of earlier ones.
    pub num_kv_shared_layers: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Width of a head in sliding layers.
    pub head_dim: usize,
    /// Width of a head in full layers.
    pub global_head_dim: Option<usize>,
    /// `sliding_attention` or `full_attention` per layer.
    pub layer_types: Vec<String>,
    /// Rows that a row of a sliding layer sees, itself among them.
    #[serde(default)]
    pub sliding_window: usize,
    /// Width of a per-layer embedding.
    pub hidden_size_per_layer_input: usize,
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// The padding token, whose per-layer row all audio rows take.
    #[serde(default)]
    pub pad_token_id: u32,
}

impl TextConfig {
    /// Layers that own keys and values.
    pub fn owning_layers(&self) -> usize {
        self.num_hidden_layers.saturating_sub(self.num_kv_shared_layers)
    }

    /// Is that layer one of full attention?
    pub fn is_full(&self, layer: usize) -> bool {
        self.layer_types.get(layer).is_some_and(|t| t == "full_attention")
    }

    /// Width of a key or value of that layer.
    pub fn kv_width(&self, layer: usize) -> usize {
        if self.is_full(layer) { self.global_head_dim.unwrap_or(self.head_dim) } else { self.head_dim }
    }

    /// The layers whose keys and values the shared ones read: the last owning one of each type that a shared layer has.
    pub fn read_by_shared(&self) -> Vec<usize> {
        let owning = self.owning_layers();
        let last = |full: bool| (0..owning).rev().find(|&layer| self.is_full(layer) == full);
        let used = |full: bool| (owning..self.num_hidden_layers).any(|layer| self.is_full(layer) == full);
        let mut layers: Vec<usize> = [false, true].into_iter().filter(|&f| used(f)).filter_map(last).collect();
        layers.sort_unstable();
        layers
    }
}

/// `audio_config` of Gemma's `config.json`, as far as the runtime needs it: how far the encoder looks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct AudioConfig {
    /// Layers.
    pub num_hidden_layers: usize,
    /// The row itself and those before it that attention sees.
    #[serde(default = "AudioConfig::default_chunk")]
    pub attention_chunk_size: usize,
    /// Rows that the convolution sees.
    #[serde(default = "AudioConfig::default_kernel")]
    pub conv_kernel_size: usize,
}

impl AudioConfig {
    fn default_chunk() -> usize {
        12
    }

    fn default_kernel() -> usize {
        5
    }

    /// So many rows back a row depends on: each layer's attention and convolution look back, and the first row of what is
    /// encoded lacks frames before it.
    pub fn rows_back(&self) -> usize {
        let of_a_layer = self.attention_chunk_size.saturating_sub(1) + self.conv_kernel_size.saturating_sub(1);
        self.num_hidden_layers * of_a_layer + 1
    }
}

/// `config.json`, as far as the runtime needs it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    /// The decoder.
    pub text_config: TextConfig,
    /// The audio encoder.
    pub audio_config: AudioConfig,
    /// Token that stands for one audio row.
    pub audio_token_id: u32,
    /// Tokens that stand for rows of pictures and films.
    #[serde(default)]
    image_token_id: Option<u32>,
    #[serde(default)]
    video_token_id: Option<u32>,
}

impl Config {
    /// Does that token stand for something that is no text?
    pub fn is_placeholder(&self, id: u32) -> bool {
        id == self.audio_token_id || Some(id) == self.image_token_id || Some(id) == self.video_token_id
    }
}

/// A model folder, read but not opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Where it lies.
    pub dir: PathBuf,
    /// Its manifest, read or (for a published folder) inferred.
    pub manifest: Manifest,
    /// Gemma's own config.
    pub config: Config,
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`FolderError`] when it is no model folder or a description in it is damaged.
    pub fn read(dir: &Path) -> Result<Self, FolderError> {
        let manifest_path = dir.join("manifest.json");
        let manifest: Manifest = if manifest_path.exists() { read_json(&manifest_path)? } else { published(dir)? };
        if manifest.format != FORMAT {
            let reason =
                format!("manifest format {} is not {FORMAT}: another version of hearth wrote it", manifest.format);
            return Err(FolderError::Layout { path: dir.to_path_buf(), reason });
        }
        let config: Config = read_json(&dir.join("config.json"))?;
        let text = &config.text_config;
        if text.layer_types.len() != text.num_hidden_layers || text.owning_layers() == 0 {
            let reason = format!(
                "config.json: {} layer types for {} layers of which {} share",
                text.layer_types.len(),
                text.num_hidden_layers,
                text.num_kv_shared_layers
            );
            return Err(FolderError::Layout { path: dir.to_path_buf(), reason });
        }
        let needed: &[&str] = match manifest.layout {
            Layout::Split => &["audio_encoder", "embed_tokens", "decoder_lower", "decoder_upper"],
            Layout::Merged => &["audio_encoder", "embed_tokens", "decoder_model_merged"],
        };
        if let Some(missing) = needed.iter().find(|part| !manifest.parts.contains_key(**part)) {
            let reason = format!("the manifest names no `{missing}`");
            return Err(FolderError::Layout { path: dir.to_path_buf(), reason });
        }
        Ok(Self { dir: dir.to_path_buf(), manifest, config })
    }

    /// Path of a graph.
    ///
    /// # Panics
    /// Never for the parts that [`Folder::read`] has checked.
    pub fn part(&self, name: &str) -> PathBuf {
        self.dir.join(&self.manifest.parts.get(name).expect("checked in Folder::read").file)
    }

    /// What tells this model and its precision from any other: a sum over its manifest, or, for a published folder, over
    /// names, lengths and times of its files; and over its config.
    pub fn identity(&self) -> [u8; 32] {
        let mut sum = Sha256::new();
        match std::fs::read(self.dir.join("manifest.json")) {
            Ok(text) => sum.update(text),
            Err(_) => {
                for name in files_below(&self.dir) {
                    let meta = std::fs::metadata(self.dir.join(&name)).ok();
                    sum.update(format!("{name} {:?}", meta.and_then(|meta| Some((meta.len(), meta.modified().ok()?)))));
                }
            }
        }
        sum.update(std::fs::read(self.dir.join("config.json")).unwrap_or_default());
        sum.finalize().into()
    }

    /// The files that are missing or have the wrong length, each as one line.
    pub fn wrong_sizes(&self) -> Vec<FolderError> {
        let files = self.manifest.files.iter().filter_map(|(name, entry)| {
            let path = self.dir.join(name);
            let reason = match std::fs::metadata(&path) {
                Err(e) => e.to_string(),
                Ok(meta) if meta.len() != entry.bytes => {
                    format!("{} bytes, should be {}: truncated or changed", meta.len(), entry.bytes)
                }
                Ok(_) => return None,
            };
            Some(FolderError::File { path, reason })
        });
        let graphs = self.manifest.parts.values().map(|part| self.dir.join(&part.file)).filter_map(|path| {
            let reason = std::fs::metadata(&path).err()?.to_string();
            Some(FolderError::File { path, reason })
        });
        let mut wrong: Vec<FolderError> = files.collect();
        if self.manifest.files.is_empty() {
            wrong.extend(graphs);
        }
        wrong
    }

    /// The files whose sum is wrong, each as one line. Reads every byte.
    pub fn wrong_sums(&self) -> Vec<FolderError> {
        let sums = self.manifest.files.iter().filter_map(|(name, entry)| {
            let path = self.dir.join(name);
            let reason = match sha256(&path) {
                Err(e) => e.to_string(),
                Ok(sum) if sum != entry.sha256 => "its SHA-256 is not the one in the manifest".to_owned(),
                Ok(_) => return None,
            };
            Some(FolderError::File { path, reason })
        });
        sums.collect()
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, FolderError> {
    let fail = |reason: String| FolderError::File { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| fail(e.to_string()))
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a model is that hearth cannot read, told by the names of its files; `None` when nothing is recognised.
pub fn foreign_layout(paths: &[&str]) -> Option<&'static str> {
    let has = |test: &dyn Fn(&str) -> bool| paths.iter().any(|path| test(path));
    let is = |name: &'static str| {
        move |path: &str| path == name || path.strip_suffix(name).is_some_and(|p| p.ends_with('/'))
    };
    let ends = |end: &'static str| move |path: &str| path.ends_with(end);
    if has(&is("decoder/model.onnx")) || has(&is("audio_encoder/model.onnx")) {
        Some("a model in the layout of mobius for onnxruntime-genai (decoder/model.onnx)")
    } else if has(&is("genai_config.json")) {
        Some("a model for onnxruntime-genai (genai_config.json)")
    } else if has(&|path| path.contains("decoder_model_merged_q2f16")) {
        Some("the onnx-community export for phones (q2f16), whose graphs are others")
    } else if has(&ends(".gguf")) {
        Some("a model for llama.cpp (.gguf)")
    } else if has(&ends(".litertlm")) || has(&ends(".task")) {
        Some("a model for LiteRT-LM")
    } else if has(&ends(".safetensors")) {
        Some(
            "a Hugging Face checkpoint (.safetensors): `python3 -m hearth_onnx build --weights hf:FOLDER` makes a model of it",
        )
    } else if has(&is("onnx/model.onnx")) || has(&is("model.onnx")) {
        Some("an ONNX model in one graph (model.onnx), without an audio encoder")
    } else {
        None
    }
}

/// Files at the top of a folder and one level below, as paths inside it, sorted.
pub fn files_below(dir: &Path) -> Vec<String> {
    let list = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().collect::<Vec<_>>();
    let mut files = Vec::new();
    for entry in list(dir) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            let below = list(&entry.path()).into_iter().filter(|entry| entry.path().is_file());
            files.extend(below.map(|file| format!("{name}/{}", file.file_name().to_string_lossy())));
        } else {
            files.push(name);
        }
    }
    files.sort();
    files
}

/// The manifest that a published folder would have.
fn published(dir: &Path) -> Result<Manifest, FolderError> {
    let fail = |reason: &str| FolderError::Layout { path: dir.to_path_buf(), reason: reason.to_owned() };
    if !dir.is_dir() {
        return Err(fail("there is no such folder"));
    }
    let find = |name: &str, suffixes: &[&str]| {
        suffixes.iter().find_map(|suffix| {
            let file = PathBuf::from(format!("onnx/{name}{suffix}.onnx"));
            let precision = if suffix.is_empty() { "fp32" } else { suffix.trim_start_matches('_') };
            dir.join(&file).exists().then(|| (name.to_owned(), Part { file, precision: precision.to_owned() }))
        })
    };
    let parts: BTreeMap<String, Part> = [
        find("decoder_model_merged", &PUBLISHED_DECODERS),
        find("embed_tokens", &PUBLISHED_DECODERS),
        find("audio_encoder", &PUBLISHED_ENCODERS),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !parts.contains_key("decoder_model_merged") {
        let names = files_below(dir);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(match foreign_layout(&names) {
            Some(what) => fail(&format!("is {what}; hearth reads the onnx-community layout and its own")),
            None => fail("has neither manifest.json nor onnx/decoder_model_merged*.onnx: not a model folder"),
        });
    }
    if let Some(missing) = ["embed_tokens", "audio_encoder"].iter().find(|name| !parts.contains_key(**name)) {
        return Err(fail(&format!("has a decoder but no onnx/{missing}*.onnx")));
    }
    #[derive(Deserialize)]
    struct Fetched {
        files: BTreeMap<String, FileEntry>,
    }
    let fetched = dir.join(FETCHED);
    let files = if fetched.exists() { read_json::<Fetched>(&fetched)?.files } else { BTreeMap::new() };
    Ok(Manifest {
        format: FORMAT,
        name: dir.file_name().map_or_else(|| "published".into(), |n| n.to_string_lossy().into_owned()),
        source: "published folder".into(),
        layout: Layout::Merged,
        kv: KvMode::Concat,
        // The published graphs take any length up to 131,072; this bounds the memory of one conversation.
        max_context: 4096,
        phrases: true,
        history: true,
        declares_tools: true,
        reads_text: true,
        min_margin: None,
        parts,
        tables: None,
        quiet_bias: 0.0,
        vocabulary: Vocabulary::default(),
        files,
    })
}
