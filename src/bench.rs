//! `hearth bench`: times the parts of the pipeline on this machine and sets them against real time; with `--latency`, how
//! long after the last word an answer comes ([`latency`]).

use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

mod decoder;
pub mod ends;
pub mod latency;
mod plot;

use crate::ask::{self, Hearth};
use crate::audio::MODEL_RATE_HZ;
use crate::audio::resample::resample;
use crate::config::Config;
use crate::dialogue::TurnId;
use crate::failure::{Failure, UNWRITABLE};
use crate::listen::listener::{ListenCommand, Listener};
use crate::listen::wake::WakeWords;
use crate::model::features::{FeatureConfig, LogMel};
use crate::model::parts::StartTimes;
use crate::model::{ModelError, Respond, Start};
use crate::onnx::OnnxError;
use crate::timeline::ms;
use crate::{speech, terminal};

/// Tokens that are decoded before memory is looked at.
const DECODED: usize = 64;
/// Repetitions; the median counts.
const ROUNDS: usize = 9;
/// Samples of a piece of sound from a device: 10 ms.
const BLOCK: usize = 160;

/// Memory of this process as the kernel counts it, in MB of 10^6 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Memory {
    /// The most that was ever resident (VmHWM).
    peak_mb: f64,
    /// Of its own: cannot be given back (RssAnon).
    anonymous_mb: f64,
    /// Of files that are mapped: the kernel may drop it and read it again (RssFile).
    file_mb: f64,
}

impl Memory {
    /// What `/proc` says now; zeros where it says nothing.
    fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let mb = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            kib.unwrap_or(0.0) * 1024.0 / 1e6
        };
        Self { peak_mb: mb("VmHWM"), anonymous_mb: mb("RssAnon"), file_mb: mb("RssFile") }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peak_mb, anonymous_mb, file_mb } = self;
        write!(f, "{peak_mb:>9.0} MB at most, {anonymous_mb:.0} MB own and {file_mb:.0} MB of files")
    }
}

/// A start, by stage, and what it left in memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Started {
    load_ms: f64,
    stages: StartTimes,
    memory_loaded: Memory,
    decoded_ms_per_token: f64,
    memory_decoded: Memory,
}

impl Started {
    /// Loads all that answers, and decodes some tokens.
    fn measure(config: &Config) -> Result<(Self, Hearth), Failure> {
        let started = Instant::now();
        let mut hearth = Hearth::load(config)?;
        let load_ms = ms(started.elapsed());
        let memory_loaded = Memory::now();
        let (_, decoded) = hearth.model().rehearse(0, DECODED)?;
        let decoded_ms_per_token = ms(decoded) / DECODED as f64;
        let (stages, memory_decoded) = (hearth.model().start().clone(), Memory::now());
        Ok((Self { load_ms, stages, memory_loaded, decoded_ms_per_token, memory_decoded }, hearth))
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.stages;
        writeln!(f, "load       {:>9.1} ms", self.load_ms)?;
        writeln!(
            f,
            "  of which {:>9.1} ms parts (beside each other: hearing {:.1}, embedding {:.1}, decoder {:.1}, words {:.1})",
            s.parts_ms, s.hearing_ms, s.embedding_ms, s.decoder_ms, s.words_ms
        )?;
        let from = if s.prefix_restored { "from disk" } else { "prefilled" };
        writeln!(f, "           {:>9.1} ms prefix of {} rows, {from}", s.prefix_ms, s.prefix_rows)?;
        writeln!(f, "memory     {} loaded", self.memory_loaded)?;
        let each_ms = self.decoded_ms_per_token;
        write!(f, "           {} after {DECODED} tokens of {each_ms:.2} ms", self.memory_decoded)
    }
}

/// What was measured. Times are medians in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Report {
    threads: usize,
    speech_ms: f64,
    start: Started,
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
        writeln!(f, "{}", self.start)?;
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
    let (start, mut hearth) = Started::measure(config)?;
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
        start,
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

/// Measures a start alone, and prints it.
///
/// # Errors
/// When a part is missing or fails.
pub fn run_start(config: &Config, json: bool) -> Result<(), Failure> {
    let (start, _) = Started::measure(config)?;
    if json { terminal::json(&start) } else { terminal::line(&start) }
}

/// Measures the decoder alone at contexts of so many rows, and prints it.
///
/// # Errors
/// When a part is missing or fails, or a context is too long.
pub fn run_decoder(config: &Config, contexts: &[u32], json: bool) -> Result<(), Failure> {
    let found = decoder::measure(config, contexts)?;
    if json { terminal::json(&found) } else { terminal::line(&found) }
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

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn memory_is_read_off_the_kernels_table() {
        let status = "Name:\thearth\nVmPeak:\t  9 kB\nVmHWM:\t 2000000 kB\nRssAnon:\t   1000 kB\nRssFile:\t 500 kB\n";
        let expected = Memory { peak_mb: 2048.0, anonymous_mb: 1.024, file_mb: 0.512 };
        assert_eq!(Memory::parse(status), expected);
        assert_eq!(Memory::parse(""), Memory::default());
        let now = Memory::now();
        assert!(now.peak_mb > 0.0 && now.anonymous_mb > 0.0 && now.anonymous_mb <= now.peak_mb, "{now:?}");
    }
}
