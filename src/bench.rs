//! `hearth bench`: times the parts of the pipeline on this machine and sets them against real time; with `--latency`, how
//! long after the last word an answer comes ([`latency`]).

use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

pub mod latency;
mod plot;

use crate::ask::{self, Hearth};
use crate::audio::MODEL_RATE_HZ;
use crate::audio::resample::resample;
use crate::config::Config;
use crate::dialogue::TurnId;
use crate::failure::{Failure, UNWRITABLE};
use crate::model::features::{FeatureConfig, LogMel};
use crate::model::{ModelError, Respond, Start};
use crate::timeline::ms;
use crate::{speech, terminal};

/// Repetitions; the median counts.
const ROUNDS: usize = 9;

/// What was measured. Times are medians in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Report {
    threads: usize,
    speech_ms: f64,
    load_ms: f64,
    features_ms: f64,
    features_times_real_time: f64,
    encode_ms: f64,
    prefill_ms: f64,
    decode_ms: f64,
    tokens: usize,
    decode_ms_per_token: f64,
    turn_times_real_time: f64,
    speech_synthesis_times_real_time: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} threads, {:.0} ms of speech, median of {ROUNDS} runs", self.threads, self.speech_ms)?;
        writeln!(f, "load       {:>9.1} ms", self.load_ms)?;
        writeln!(f, "features   {:>9.2} ms   {:.0} x real time", self.features_ms, self.features_times_real_time)?;
        writeln!(f, "encode     {:>9.2} ms", self.encode_ms)?;
        writeln!(f, "prefill    {:>9.2} ms", self.prefill_ms)?;
        writeln!(
            f,
            "decode     {:>9.2} ms   {} tokens, {:.2} ms each",
            self.decode_ms, self.tokens, self.decode_ms_per_token
        )?;
        writeln!(f, "turn                     {:.0} x real time", self.turn_times_real_time)?;
        write!(f, "synthesis                {:.0} x real time", self.speech_synthesis_times_real_time)
    }
}

/// Measures and prints.
///
/// # Errors
/// When a part is missing or fails.
pub fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let started = Instant::now();
    let mut hearth = Hearth::load(config)?;
    let load_ms = ms(started.elapsed());
    let samples = spoken(config)?;
    let speech_ms = samples.len() as f64 * 1000.0 / f64::from(MODEL_RATE_HZ);
    terminal::notice("measuring");
    let features_ms = median((0..ROUNDS).map(|_| time_features(&samples)).collect());
    let mut turns = Vec::new();
    for round in 0..ROUNDS {
        turns.push(time_turn(&mut hearth, &samples, round as u64)?);
    }
    let of = |field: fn(&Turn) -> f64| median(turns.iter().map(field).collect());
    let (encode_ms, prefill_ms, decode_ms) = (of(|t| t.encode_ms), of(|t| t.prefill_ms), of(|t| t.decode_ms));
    let tokens = turns.first().map_or(0, |turn| turn.tokens);
    let report = Report {
        threads: config.model.threads,
        speech_ms,
        load_ms,
        features_ms,
        features_times_real_time: speech_ms / features_ms,
        encode_ms,
        prefill_ms,
        decode_ms,
        tokens,
        decode_ms_per_token: decode_ms / tokens.max(1) as f64,
        turn_times_real_time: speech_ms / (features_ms + encode_ms + prefill_ms + decode_ms),
        speech_synthesis_times_real_time: time_synthesis(config)?,
    };
    if json { terminal::json(&report) } else { terminal::line(&report) }
}

/// Measures latency, heard piece by piece against heard at the end, prints it and draws it into `picture`.
///
/// # Errors
/// When a part is missing or fails, or the picture cannot be written.
pub fn run_latency(config: &Config, plan: &latency::Plan, picture: Option<&Path>, json: bool) -> Result<(), Failure> {
    let found = latency::measure(config, plan)?;
    if let Some(path) = picture {
        let written = std::fs::write(path, found.plot());
        written.map_err(|error| Failure::new(UNWRITABLE, format!("{}: {error}", path.display())))?;
    }
    if json { terminal::json(&found) } else { terminal::line(&found) }
}

/// A command in the configured voice, so that the model has something to answer.
fn spoken(config: &Config) -> Result<Vec<f32>, Failure> {
    let mut voice = ask::voice(config)?;
    let clip = speech::say(&mut voice, "Turn on the light over the stove, please.")?;
    Ok(resample(&clip, MODEL_RATE_HZ).samples)
}

fn time_features(samples: &[f32]) -> f64 {
    let started = Instant::now();
    let mut frames = Vec::new();
    LogMel::new(FeatureConfig::default()).push(samples, &mut frames);
    ms(started.elapsed())
}

struct Turn {
    encode_ms: f64,
    prefill_ms: f64,
    decode_ms: f64,
    tokens: usize,
}

fn time_turn(hearth: &mut Hearth, samples: &[f32], round: u64) -> Result<Turn, ModelError> {
    let model = hearth.model();
    model.begin(TurnId(round), Start::Fresh)?;
    model.hear(samples)?;
    model.draft()?;
    model.commit(&mut |_| {})?;
    let t = model.timeline();
    let turn = Turn { encode_ms: t.encode_ms, prefill_ms: t.prefill_ms, decode_ms: t.decode_ms, tokens: t.tokens };
    model.cancel()?;
    Ok(turn)
}

fn time_synthesis(config: &Config) -> Result<f64, Failure> {
    let mut voice = ask::voice(config)?;
    let sentence = "The light over the stove is on.";
    speech::say(&mut voice, sentence)?;
    let started = Instant::now();
    let clip = speech::say(&mut voice, sentence)?;
    Ok(clip.seconds() * 1000.0 / ms(started.elapsed()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
