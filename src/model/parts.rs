//! The parts of a model folder, opened one by one, so that every problem can be named at once. Knows no turns.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::decoder::Decoder;
use super::encoder::Embedder;
use super::features::FeatureConfig;
use super::generate::ModelConfig;
use super::grammar::{Answers, Grammar};
use super::hearing::Hearing;
use super::manifest::Folder;
use super::tokenizer::Tokenizer;
use crate::dialogue::ToolSpec;
use crate::onnx::{Interrupt, Options};
use crate::threads::joined;
use crate::timeline::{ms, timed};

/// Where the time of a start went, in ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StartTimes {
    /// Tokenizer and grammar.
    pub words_ms: f64,
    /// Front end and audio encoder.
    pub hearing_ms: f64,
    /// Token embedding.
    pub embedding_ms: f64,
    /// Decoder.
    pub decoder_ms: f64,
    /// All of these, beside each other, from the first to the last.
    pub parts_ms: f64,
    /// System text and tools.
    pub prefix_ms: f64,
    /// Rows of these.
    pub prefix_rows: usize,
    /// Did they come from disk?
    pub prefix_restored: bool,
}

/// The parts of a model, each opened or not: so that every problem can be named at once.
pub struct Parts {
    /// `tokenizer.json`, and the grammar of the tools in its words.
    pub words: Result<(Tokenizer, Grammar), ModelError>,
    /// Front end and audio encoder.
    pub hearing: Result<Hearing, ModelError>,
    /// Token embedding, and what interrupts all of them.
    pub embedder: Result<(Arc<Interrupt>, Embedder), ModelError>,
    /// Decoder.
    pub decoder: Result<Decoder, ModelError>,
    /// Where the time went.
    pub times: StartTimes,
}

impl Parts {
    /// Opens every part of `folder`, beside each other: a graph with gigabytes of weights keeps one core busy for seconds.
    /// ONNX Runtime must be open.
    pub fn open(folder: &Folder, config: &ModelConfig, tools: &[ToolSpec]) -> Self {
        let threads = config.threads;
        let options = Options { threads, spin: true };
        let embedder = || {
            let interrupt = Arc::new(Interrupt::new()?);
            let embedder = Embedder::open(folder, options, &interrupt)?;
            Ok((interrupt, embedder))
        };
        let mut times = StartTimes::default();
        let started = Instant::now();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut words_ms = 0.0;
                (timed(&mut words_ms, || read_words(folder, config, tools)), words_ms)
            });
            let opening = scope.spawn(|| {
                let mut hearing_ms = 0.0;
                let features = || read_features(&folder.dir);
                (timed(&mut hearing_ms, || features().and_then(|it| Hearing::open(folder, it, options))), hearing_ms)
            });
            let embedder = timed(&mut times.embedding_ms, embedder);
            let decoder = timed(&mut times.decoder_ms, || Decoder::open(folder, options));
            let ((words, words_ms), (hearing, hearing_ms)) = (joined(reading), joined(opening));
            (times.words_ms, times.hearing_ms) = (words_ms, hearing_ms);
            times.parts_ms = ms(started.elapsed());
            Self { words, hearing, embedder, decoder, times }
        })
    }
}

fn read_words(folder: &Folder, config: &ModelConfig, tools: &[ToolSpec]) -> Result<(Tokenizer, Grammar), ModelError> {
    let tokenizer = Tokenizer::load(&folder.dir.join("tokenizer.json"))?;
    let grammar = Grammar::compile(&tokenizer, tools, answers(folder, config))?;
    Ok((tokenizer, grammar))
}

/// How a model of this folder answers where it calls nothing.
pub(super) fn answers(folder: &Folder, config: &ModelConfig) -> Answers {
    match folder.manifest.phrases {
        _ if config.one_call => Answers::OneCall,
        true => Answers::Text,
        false => Answers::StopOnly,
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
