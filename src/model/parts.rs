//! The parts of a model folder, opened one by one, so that every problem can be named at once. Knows no turns.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::ModelError;
use super::decoder::Decoder;
use super::encoder::Embedder;
use super::features::FeatureConfig;
use super::hearing::Hearing;
use super::manifest::Folder;
use super::tokenizer::Tokenizer;
use crate::onnx::{Interrupt, Options};

/// The parts of a model, each opened or not: so that every problem can be named at once.
pub struct Parts {
    /// `tokenizer.json`.
    pub tokenizer: Result<Tokenizer, ModelError>,
    /// Front end and audio encoder.
    pub hearing: Result<Hearing, ModelError>,
    /// Token embedding, and what interrupts all of them.
    pub embedder: Result<(Arc<Interrupt>, Embedder), ModelError>,
    /// Decoder.
    pub decoder: Result<Decoder, ModelError>,
}

impl Parts {
    /// Opens every part of `folder`. ONNX Runtime must be open.
    pub fn open(folder: &Folder, threads: usize) -> Self {
        let options = Options { threads, spin: true };
        let embedder = || {
            let interrupt = Arc::new(Interrupt::new()?);
            let embedder = Embedder::open(folder, options, &interrupt)?;
            Ok((interrupt, embedder))
        };
        Self {
            tokenizer: Tokenizer::load(&folder.dir.join("tokenizer.json")).map_err(ModelError::from),
            hearing: read_features(&folder.dir).and_then(|features| Hearing::open(folder, features, options)),
            embedder: embedder(),
            decoder: Decoder::open(folder, options),
        }
    }
}

fn read_features(dir: &Path) -> Result<FeatureConfig, ModelError> {
    let path = dir.join("processor_config.json");
    let fail = |reason: String| ModelError::Description { path: path.clone(), reason };
    let text = std::fs::read_to_string(&path).map_err(|e| fail(e.to_string()))?;
    FeatureConfig::parse(&text).map_err(fail)
}

/// `eos_token_id` of generation_config.json, and the two tokens that end a reply by Gemma's template.
pub(super) fn read_stops(dir: &Path, tokenizer: &Tokenizer) -> Result<Vec<u32>, ModelError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u32),
        Many(Vec<u32>),
    }
    #[derive(Deserialize)]
    struct Generation {
        eos_token_id: Option<Ids>,
    }
    let path = dir.join("generation_config.json");
    let special = tokenizer.special();
    let mut stops = vec![special.turn_close, special.tool_response_open];
    // The file is optional, as in transformers.
    if let Ok(text) = std::fs::read_to_string(&path) {
        let read: Generation =
            serde_json::from_str(&text).map_err(|error| ModelError::Description { path, reason: error.to_string() })?;
        match read.eos_token_id {
            Some(Ids::One(id)) => stops.push(id),
            Some(Ids::Many(ids)) => stops.extend(ids),
            None => {}
        }
    }
    Ok(stops)
}
