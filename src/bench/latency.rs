//! `hearth bench --latency`: from the last sample of speech to first token, call and sound, heard piece by piece against
//! heard at the end, in one run.
//!
//! Utterances of a few lengths, spoken by the configured voice, arrive in real time. One that is *streamed* goes through
//! the inference thread as a live one does: in pieces of 80 ms, with a draft in the pause; in a *batch* the same samples
//! are heard when the silence that ends the command is over. Either is answered by the assistant, the home and the
//! voice. The two alternate, and both wait for the same silence.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::assistant::{Assistant, Command, Event};
use crate::audio::MODEL_RATE_HZ;
use crate::audio::resample::resample;
use crate::config::Config;
use crate::conversation::Job;
use crate::dialogue::{ReplyEvent, TurnId};
use crate::eval::percentile;
use crate::failure::{Failure, INTERNAL};
use crate::home::Registry;
use crate::infer::{self, Report};
use crate::listen::ListenConfig;
use crate::model::generate::ModelConfig;
use crate::model::{Gemma, Start};
use crate::onnx::Interrupt;
use crate::speech::{self, Piper, Synthesize};
use crate::stream::{self, Arrival};
use crate::threads::Pulse;
use crate::timeline::{Timeline, ms};
use crate::{ask, onnx, terminal};

mod show;

/// Samples of a millisecond.
const PER_MS: usize = MODEL_RATE_HZ as usize / 1000;
/// Nothing is heard so long before the end of a recording: the pause, and more.
const QUIET_MS: usize = 400;
/// Silence before the speech.
const EDGE_MS: usize = 20;
/// How often the speed of the voice is corrected.
const TRIES: usize = 3;
/// A reply that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(300);
/// What is said: the command at the end, and so much before it that the length comes out.
const COMMAND: &str = "turn on the light over the stove.";
const BEFORE: [&str; 6] = [
    "Please",
    "now that it is getting dark, please",
    "I am in the kitchen and I want to cook, so",
    "the potatoes are peeled and the water is on, but I can hardly see what is in the pot,",
    "as I said on the telephone this morning, they will all be here for dinner at seven,",
    "and there is nothing on the table yet,",
];

/// What is measured.
pub struct Plan {
    /// Lengths of the utterances, in seconds.
    pub seconds: Vec<u32>,
    /// How often each is heard, either way.
    pub rounds: usize,
    /// Every reply is one call, whatever the model makes of what it hears: for one with random weights.
    pub one_call: bool,
}

/// One turn; times after the last sample of speech, in ms.
#[derive(Debug, Clone, Default)]
struct Turn {
    first_token_ms: f64,
    call_ready_ms: Option<f64>,
    told_ms: Option<f64>,
    done_ms: Option<f64>,
    first_sound_ms: Option<f64>,
    computing_ms: f64,
    cpu_ms: f64,
    times: Timeline,
}

/// One way of hearing utterances of one length: medians over the rounds. Times after the last sample of speech.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Way {
    /// The first logits of the reply.
    pub first_token_ms: f64,
    /// Of 95 in 100 rounds it is there by then.
    pub first_token_p95_ms: f64,
    /// The latest of the rounds.
    pub first_token_worst_ms: f64,
    /// The first call is whole, told or not.
    pub call_ready_ms: Option<f64>,
    /// The first call is told to the assistant.
    pub told_ms: Option<f64>,
    /// Of 95 in 100 rounds by then.
    pub told_p95_ms: Option<f64>,
    /// The home has carried a call out.
    pub done_ms: Option<f64>,
    /// The first sentence of the answer is there as sound.
    pub first_sound_ms: Option<f64>,
    /// Features, encoder, decoder: dropped drafts too.
    pub computing_ms: f64,
    /// Of it, while the turn was heard.
    pub while_heard_ms: f64,
    /// The longest piece of hearing that was not interrupted, of all rounds.
    pub longest_block_ms: f64,
    /// Of it, for drafts that were taken back.
    pub dropped_ms: f64,
    /// Time of all processors, spinning threads, voice and home too.
    pub cpu_ms: f64,
    /// Tokens of the reply.
    pub tokens: usize,
    /// Of these, in the draft by the end of the silence.
    pub drafted_tokens: usize,
    /// Of the drafted ones, those that the grammar forced.
    pub drafted_forced_tokens: usize,
    /// Of all tokens, those that the grammar forced.
    pub forced_tokens: usize,
    /// Drafts made in a turn.
    pub drafts: usize,
}

/// Both ways at one length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Length {
    /// From the first sample to the last of the speech.
    pub speech_ms: f64,
    /// Heard at the end of the silence.
    pub batch: Way,
    /// Heard piece by piece.
    pub streamed: Way,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// The model.
    pub model: String,
    /// Its threads.
    pub threads: usize,
    /// Turns of each kind.
    pub rounds: usize,
    /// Silence that ends a command.
    pub silence_ms: u32,
    /// Processes that wanted to run during the last minute, ours among them, before and after.
    pub load: [f64; 2],
    /// By length.
    pub lengths: Vec<Length>,
}

/// Measures.
///
/// # Errors
/// When a part is missing or fails.
pub fn measure(config: &Config, plan: &Plan) -> Result<Latency, Failure> {
    onnx::init(&config.runtime.onnxruntime)?;
    let load = load();
    let clips = clips(config, &plan.seconds)?;
    let home = ask::home(config)?;
    terminal::notice("loading the model");
    let wanted = ModelConfig { one_call: plan.one_call, ..config.model.clone() };
    let mut model = Gemma::load(wanted, &home.specs())?;
    let (name, phrases) = (model.folder().manifest.name.clone(), model.folder().manifest.phrases);
    let interrupt = model.interrupt();
    let (jobs, queue) = channel();
    let (report, reports) = channel();
    let mut voice = ask::voice(config)?;
    speech::say(&mut voice, "Ready.")?;
    let silence_ms = config.listen.silence_ms;
    let mut bench =
        Bench { jobs, reports, interrupt: Arc::clone(&interrupt), home, voice, phrases, silence_ms, turns: 0 };
    let lengths = std::thread::scope(|scope| {
        // benches/slow looks for this name.
        let thread = std::thread::Builder::new().name("infer".into());
        let spawned = thread.spawn_scoped(scope, move || {
            let pulse = Pulse::default();
            infer::run(&mut model, &interrupt, &pulse, &queue, &mut |what| {
                // The other end is gone when a turn failed.
                let _ = report.send((Instant::now(), what));
            });
        });
        spawned.map_err(|error| Failure::new(INTERNAL, format!("no thread for the model: {error}")))?;
        let lengths = bench.lengths(&clips, plan.rounds, &config.listen);
        drop(bench);
        lengths
    })?;
    let threads = config.model.threads;
    Ok(Latency { model: name, threads, rounds: plan.rounds, silence_ms, load: [load, self::load()], lengths })
}

/// What is said, as samples that end in silence.
fn clips(config: &Config, seconds: &[u32]) -> Result<Vec<Vec<f32>>, Failure> {
    seconds.iter().map(|&seconds| clip(config, f64::from(seconds))).collect()
}

/// A command that takes so many seconds: with as much before it as fits, and a voice that is as slow as need be.
fn clip(config: &Config, seconds: f64) -> Result<Vec<f32>, Failure> {
    let spoken = |text: &str, speed: f32| -> Result<Vec<f32>, Failure> {
        let mut own = config.clone();
        own.speech.speed = speed;
        let clip = resample(&speech::say(&mut ask::voice(&own)?, text)?, MODEL_RATE_HZ);
        let range = stream::told(&stream::arrivals(&padded(&clip.samples), &config.listen));
        // The edges of the silence around it are not speech.
        let sound = padded(&clip.samples)[range].to_vec();
        let loud = |v: &f32| v.abs() > 0.01;
        let first = sound.iter().position(loud).unwrap_or(0);
        let last = sound.iter().rposition(loud).map_or(0, |last| last + 1);
        Ok(sound[first..last.max(first)].to_vec())
    };
    let length = |sound: &[f32]| sound.len() as f64 / f64::from(MODEL_RATE_HZ);
    let mut best = (spoken(COMMAND, 1.0)?, COMMAND.to_owned());
    for from in 0..BEFORE.len() {
        let mut text: Vec<&str> = BEFORE[..=from].iter().rev().copied().collect();
        text.push(COMMAND);
        let text = text.join(" ");
        let sound = spoken(&text, 1.0)?;
        if (length(&sound) - seconds).abs() < (length(&best.0) - seconds).abs() {
            best = (sound, text);
        }
    }
    // The pauses at commas do not stretch as words do, so it takes a few tries.
    let mut speed = 1.0;
    for _ in 0..TRIES {
        speed = (speed * length(&best.0) / seconds).clamp(0.5, 2.0);
        best.0 = spoken(&best.1, speed as f32)?;
    }
    Ok(padded(&best.0))
}

/// With silence around it.
fn padded(sound: &[f32]) -> Vec<f32> {
    let mut samples = vec![0.0; EDGE_MS * PER_MS];
    samples.extend_from_slice(sound);
    samples.extend(std::iter::repeat_n(0.0, QUIET_MS * PER_MS));
    samples
}

/// How many processes want to run, over the last minute; zero where that cannot be known.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Time that all threads of this process took so far, in ms.
fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1000.0 + time.tv_nsec as f64 / 1e6
}

/// An utterance as it arrives.
struct Utterance<'a> {
    samples: &'a [f32],
    arrivals: Vec<(usize, Arrival)>,
    /// Samples until the last of the speech.
    spoken: usize,
}

struct Bench {
    jobs: Sender<(TurnId, Job)>,
    reports: Receiver<(Instant, Report)>,
    interrupt: Arc<Interrupt>,
    home: Registry,
    voice: Piper,
    phrases: bool,
    silence_ms: u32,
    turns: u64,
}

impl Bench {
    fn lengths(&mut self, clips: &[Vec<f32>], rounds: usize, config: &ListenConfig) -> Result<Vec<Length>, Failure> {
        let mut lengths = Vec::new();
        for (done, samples) in clips.iter().enumerate() {
            let mut arrivals = stream::arrivals(samples, config);
            let pause = arrivals.iter().rposition(|(_, arrival)| *arrival == Arrival::Pause);
            let Some(pause) = pause else { return Err(Failure::new(INTERNAL, "a clip without a pause at its end")) };
            arrivals.truncate(pause + 1);
            let spoken = arrivals[pause].0 - crate::listen::segment::PAUSE;
            let utterance = Utterance { samples, spoken, arrivals };
            let first = stream::told(&utterance.arrivals).start;
            // The first turn pays for what a runtime does once.
            self.turn(&utterance, true)?;
            let (mut batch, mut streamed) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                terminal::progress("turns", done * rounds + round, clips.len() * rounds);
                batch.push(self.turn(&utterance, false)?);
                streamed.push(self.turn(&utterance, true)?);
            }
            let speech_ms = (spoken - first) as f64 / PER_MS as f64;
            lengths.push(Length { speech_ms, batch: way(&batch), streamed: way(&streamed) });
        }
        Ok(lengths)
    }

    fn send(&self, job: Job) -> Result<(), Failure> {
        let sent = self.jobs.send((TurnId(self.turns), job));
        sent.map_err(|_| Failure::new(INTERNAL, "the model's thread has ended"))
    }

    /// One turn in real time.
    fn turn(&mut self, utterance: &Utterance<'_>, streamed: bool) -> Result<Turn, Failure> {
        self.turns += 1;
        self.interrupt.raise();
        let (began, cpu_before_ms) = (Instant::now(), cpu_ms());
        self.send(Job::Begin(Start::Fresh))?;
        let first = stream::told(&utterance.arrivals).start;
        let since = |n: usize| Duration::from_millis(((n - first) / PER_MS) as u64);
        let spoke_until = began + since(utterance.spoken);
        let endpoint = spoke_until + Duration::from_millis(self.silence_ms.into());
        if streamed {
            for (at, arrival) in &utterance.arrivals {
                sleep_until(began + since(*at));
                self.send(match arrival {
                    Arrival::Sound(range) => Job::Hear(utterance.samples[range.clone()].to_vec()),
                    Arrival::Pause => Job::Draft(1),
                    Arrival::Resumed => Job::Resume,
                })?;
            }
            sleep_until(endpoint);
        } else {
            sleep_until(endpoint);
            self.send(Job::Hear(utterance.samples[stream::told(&utterance.arrivals)].to_vec()))?;
            self.send(Job::Draft(1))?;
        }
        self.send(Job::Commit)?;
        let mut turn = self.answer(spoke_until)?;
        turn.cpu_ms = cpu_ms() - cpu_before_ms;
        let before_ms = ms(spoke_until - began);
        turn.first_token_ms = turn.times.first_token_ms - before_ms;
        turn.call_ready_ms = turn.times.call_ready_ms.map(|ready| ready - before_ms);
        let t = &turn.times;
        turn.computing_ms = t.features_ms + t.encode_ms + t.prefill_ms + t.decode_ms;
        Ok(turn)
    }

    /// What the assistant, the home and the voice make of the reply.
    fn answer(&mut self, spoke_until: Instant) -> Result<Turn, Failure> {
        let mut turn = Turn::default();
        let mut assistant = Assistant::new(self.phrases);
        let mut settled = false;
        loop {
            let Ok((at, report)) = self.reports.recv_timeout(LIMIT) else {
                return Err(Failure::new(INTERNAL, "the model gave no answer"));
            };
            let event = match report {
                Report::Failed(_) => return Err(Failure::new(INTERNAL, "the model failed")),
                Report::Times(_, times) => {
                    turn.times = times;
                    if settled {
                        return Ok(turn);
                    }
                    continue;
                }
                Report::Reply(_, event) => event,
                Report::Transcript(..) | Report::Drafted(..) => continue,
            };
            if let ReplyEvent::Call(_) = event {
                turn.told_ms.get_or_insert(ms(at - spoke_until));
            }
            let mut commands = std::collections::VecDeque::from(assistant.handle(Event::Reply(event)));
            while let Some(command) = commands.pop_front() {
                match command {
                    Command::Call(call) => {
                        let result = self.home.call_blocking(&call);
                        turn.done_ms.get_or_insert(ms(spoke_until.elapsed()));
                        commands.extend(assistant.handle(Event::ToolDone(result)));
                    }
                    Command::Say(sentence) => {
                        self.voice.synthesize(&sentence)?;
                        turn.first_sound_ms.get_or_insert(ms(spoke_until.elapsed()));
                    }
                    Command::Answer(results) => self.send(Job::Answer(results))?,
                    Command::Settle { .. } => settled = true,
                }
            }
        }
    }
}

fn sleep_until(when: Instant) {
    std::thread::sleep(when.saturating_duration_since(Instant::now()));
}

/// The least value that 95 of 100 do not exceed; the greatest of fewer than 20.
fn p95(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    percentile(&values, 95)
}

fn way(turns: &[Turn]) -> Way {
    let median = |field: fn(&Turn) -> f64| super::median(turns.iter().map(field).collect());
    // Of the turns that have it; none if most have not.
    let maybe = |field: fn(&Turn) -> Option<f64>| {
        let values: Vec<f64> = turns.iter().filter_map(field).collect();
        (values.len() * 2 > turns.len()).then(|| super::median(values))
    };
    let last = turns.last().map(|turn| turn.times.clone()).unwrap_or_default();
    Way {
        first_token_ms: median(|turn| turn.first_token_ms),
        first_token_p95_ms: p95(turns.iter().map(|turn| turn.first_token_ms)).unwrap_or_default(),
        first_token_worst_ms: turns.iter().map(|turn| turn.first_token_ms).fold(f64::MIN, f64::max),
        call_ready_ms: maybe(|turn| turn.call_ready_ms),
        told_ms: maybe(|turn| turn.told_ms),
        told_p95_ms: p95(turns.iter().filter_map(|turn| turn.told_ms)),
        done_ms: maybe(|turn| turn.done_ms),
        first_sound_ms: maybe(|turn| turn.first_sound_ms),
        computing_ms: median(|turn| turn.computing_ms),
        while_heard_ms: median(|turn| turn.times.while_heard_ms),
        longest_block_ms: turns.iter().map(|turn| turn.times.longest_block_ms).fold(0.0, f64::max),
        dropped_ms: median(|turn| turn.times.dropped_ms),
        cpu_ms: median(|turn| turn.cpu_ms),
        tokens: last.tokens,
        forced_tokens: last.forced_tokens,
        drafted_tokens: median(|turn| turn.times.drafted_tokens as f64) as usize,
        drafted_forced_tokens: median(|turn| turn.times.drafted_forced_tokens as f64) as usize,
        drafts: last.drafts,
    }
}

#[cfg(test)]
mod tests {
    use super::p95;

    #[test]
    fn p95_leaves_out_one_in_twenty() {
        let check = |n: u32, expected| assert_eq!(p95((1..=n).rev().map(f64::from)), expected, "{n}");
        check(0, None);
        check(1, Some(1.0));
        check(19, Some(19.0));
        check(20, Some(19.0));
        check(40, Some(38.0));
        check(100, Some(95.0));
    }
}
