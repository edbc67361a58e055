//! `hearth bench`: times the parts of the pipeline on this machine and sets them against real time.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use crate::ask::{self, Hearth};
use crate::audio::MODEL_RATE_HZ;
use crate::audio::resample::resample;
use crate::config::Config;
use crate::dialogue::TurnId;
use crate::failure::Failure;
use crate::listen::listener::{ListenCommand, Listener};
use crate::listen::wake::WakeWords;
use crate::model::features::{FeatureConfig, LogMel};
use crate::model::{ModelError, Respond, Start};
use crate::onnx::OnnxError;
use crate::timeline::ms;
use crate::{speech, terminal};

/// Repetitions; the median counts.
const ROUNDS: usize = 9;
/// Samples of a piece of sound from a device: 10 ms.
const BLOCK: usize = 160;

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
    listening: Listening,
}

/// What it costs to listen all the time, in percent of one core: time computed, whatever else the machine does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Listening {
    /// In a room at -66 dB.
    quiet_percent: f64,
    /// With somebody who never stops talking.
    talk_percent: f64,
    /// While hearth speaks, with its echo in the microphone.
    reply_percent: f64,
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
        writeln!(f, "synthesis                {:.0} x real time", self.speech_synthesis_times_real_time)?;
        let Listening { quiet_percent, talk_percent, reply_percent } = self.listening;
        write!(
            f,
            "listening  {quiet_percent:.2} % of one core in a quiet room, {talk_percent:.2} % with talk, \
             {reply_percent:.2} % while hearth speaks"
        )
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
        listening: time_listening(config, &samples)?,
    };
    if json { terminal::json(&report) } else { terminal::line(&report) }
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

/// The whole chain behind the microphone, as the `listen` thread runs it.
fn time_listening(config: &Config, talk: &[f32]) -> Result<Listening, Failure> {
    let words = WakeWords::load(&config.wake.dir, &config.wake.words, config.wake.stop().as_ref())?;
    let mut listener = Listener::new(&config.listen, Some(Box::new(words)));
    let second = MODEL_RATE_HZ as usize;
    let talk: Vec<f32> = talk.iter().copied().cycle().take(60 * second).collect();
    let quiet_percent = share(&mut listener, &room(300 * second), &[])?;
    let talk_percent = share(&mut listener, &talk, &[])?;
    // Its echo, a tenth of a second later and a bit quieter.
    let echo: Vec<f32> = std::iter::repeat_n(0.0, second / 10).chain(talk.iter().map(|v| v * 0.3)).collect();
    listener.command(ListenCommand::Speaking(Some(String::new())));
    let reply_percent = share(&mut listener, &echo, &talk)?;
    Ok(Listening { quiet_percent, talk_percent, reply_percent })
}

/// Percent of one core that it takes to hear this, in pieces as they come from a device.
fn share(listener: &mut Listener, heard: &[f32], rendered: &[f32]) -> Result<f64, OnnxError> {
    let before = computed_s();
    for from in (0..heard.len()).step_by(BLOCK) {
        let piece = |samples: &[f32]| samples[from.min(samples.len())..(from + BLOCK).min(samples.len())].to_vec();
        listener.push(&piece(heard), &piece(rendered))?;
    }
    Ok((computed_s() - before) * f64::from(MODEL_RATE_HZ) / heard.len() as f64 * 100.0)
}

/// Time that this thread has computed, in s.
fn computed_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// A quiet room: noise at -66 dB.
fn room(n: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next() * 0.0008).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
