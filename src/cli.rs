//! The command line: its types, what each subcommand prints, and the exit codes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::ask::{self, Hearth, Question};
use crate::audio::playback::{Play, Speaker};
use crate::audio::{Clip, MODEL_RATE_HZ, wav};
use crate::config::{Config, ConfigError};
use crate::control::ControlConfig;
use crate::control::client::{self, Connection};
use crate::eval::ends::Setting;
use crate::eval::tasks;
use crate::failure::{Failure, INTERNAL, UNWRITABLE, USAGE};
use crate::home::HomeConfig;
use crate::home::simulated::Simulated;
use crate::speech::normalise::sentences;
use crate::speech::{self, SpeechError, Synthesize};
use crate::timers::Order;
use crate::{bench, check, daemon, devices, eval, fetch, history, household, inspect, stream, terminal, timers};

/// An offline voice assistant: speech in, action and a spoken answer out.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, arg_required_else_help = true)]
pub struct Args {
    /// Configuration file [default: $HEARTH_CONFIG, ./config.toml, ~/.config/hearth/config.toml, /etc/hearth/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Model folder, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Hear a recorded command, carry it out, answer aloud
    Ask {
        /// WAV or FLAC file
        #[arg(required_unless_present = "text", conflicts_with = "text")]
        file: Option<PathBuf>,
        /// The command as text; a model that does not read hears it in the configured voice
        #[arg(long)]
        text: Option<String>,
        /// Write the spoken answer here instead of playing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Have the running daemon carry it out and answer aloud
        #[arg(long, requires = "text", conflicts_with_all = ["file", "out"])]
        daemon: bool,
    },
    /// Speak a text
    Say {
        /// What to say
        #[arg(allow_hyphen_values = true)]
        text: String,
        /// Have the running daemon say it
        #[arg(long, conflicts_with = "out")]
        daemon: bool,
        /// Write a WAV file instead of playing
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check configuration, files, graphs and voice; name every problem
    Check {
        /// Verify the checksum of every model file too
        #[arg(long)]
        full: bool,
        /// Configuration, files and sizes only: no model, no device, no network
        #[arg(long = "static", conflicts_with = "full")]
        no_load: bool,
    },
    /// Measure the parts of the pipeline on this machine
    Bench {
        /// Only the start, by stage, and memory
        #[arg(long, conflicts_with = "latency")]
        start: bool,
        /// Only the decoder: rows prefilled and tokens decoded behind contexts of these lengths
        #[arg(long, value_name = "ROWS", num_args = 0..=1, require_equals = true, value_delimiter = ',',
              conflicts_with_all = ["start", "latency"], default_missing_value = "128,512,2048",
              value_parser = clap::value_parser!(u32).range(1..))]
        decoder: Option<Vec<u32>>,
        /// Measure how long after the last word an answer comes, heard while it is spoken and at the end, in real time
        #[arg(long)]
        latency: bool,
        /// Lengths of what is said, with --latency
        #[arg(long, value_name = "LENGTHS", value_delimiter = ',', default_value = "2,4,8,15", requires = "latency",
              value_parser = clap::value_parser!(u32).range(1..=28))]
        seconds: Vec<u32>,
        /// How often each is said, with --latency
        #[arg(long, default_value_t = 5, requires = "latency", value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
        /// Make every reply one call, with --latency: for models with random weights
        #[arg(long, requires = "latency")]
        one_call: bool,
        /// Draw latency over length into this file, with --latency
        #[arg(long, value_name = "FILE", requires = "latency")]
        svg: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Measure accuracy on a folder of labelled recordings, or of tasks in words
    Eval {
        /// Folder with labels.json and the recordings it names, or with home.json and tasks.json
        dir: PathBuf,
        /// Let the model hear the recordings with noise suppression and gain control
        #[arg(long)]
        processed: bool,
        /// Hear each recording as a microphone would give it, with a draft in every pause, and compare with hearing it
        /// at once
        #[arg(long)]
        streamed: bool,
        /// Measure where turns end, with these silences in ms as EARLY/USUAL/LATE; labels say in speech_s when the last word is
        /// over
        #[arg(long, value_name = "SILENCES", num_args = 0..=1, require_equals = true, value_delimiter = ',',
              conflicts_with_all = ["processed", "streamed"], default_missing_value = "-/700/-,400/700/-,500/700/-,-/700/1200,500/700/1200,-/500/1200,300/500/1200")]
        ends: Option<Vec<Setting>>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List microphones and loudspeakers, or try them
    Devices {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Show the microphone's level for a few seconds
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", conflicts_with = "json",
              value_parser = clap::value_parser!(u32).range(1..=3_600))]
        meter: Option<u32>,
        /// Show the scores of the configured wake words for a while
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", conflicts_with = "json",
              value_parser = clap::value_parser!(u32).range(1..=3_600))]
        wake: Option<u32>,
        /// Record three seconds and play them back
        #[arg(long = "loop", conflicts_with = "json")]
        record: bool,
        /// Microphone: name, id, or a part of one [default: the system's]
        #[arg(long, value_name = "NAME")]
        input: Option<String>,
        /// Loudspeaker: name, id, or a part of one [default: the system's]
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
    },
    /// Listen, answer and act until told to stop
    Run,
    /// The last turns of the daemon
    History {
        /// How many
        #[arg(default_value_t = 10)]
        count: usize,
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Hear the recording of a turn of the daemon again, in a home of its own
    Replay {
        /// Its number, from `hearth history`
        turn: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// What the running daemon is doing
    Status {
        /// Go on, one line for everything that happens; waits for a daemon that is not there
        #[arg(long)]
        watch: bool,
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Switch the microphone off
    Mute,
    /// Switch the microphone on
    Unmute,
    /// Push to talk
    Ptt {
        /// The key: pressed, released, either; `hold` presses it until standard input ends or a signal comes
        action: PttVerb,
    },
    /// Stop what the daemon is doing
    Cancel,
    /// Have the daemon read its configuration again
    Reload,
    /// List timers, alarms and reminders, or change them, with or without a running daemon
    Timers {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        verb: Option<TimerVerb>,
    },
    /// Look at the home, or call one of its tools
    Home {
        #[command(subcommand)]
        verb: HomeVerb,
    },
    /// Look into models
    Model {
        #[command(subcommand)]
        verb: ModelVerb,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PttVerb {
    Start,
    Stop,
    Toggle,
    Hold,
}

#[derive(Debug, Subcommand)]
enum TimerVerb {
    /// Start timers: 10m, 1h30m, 90s
    Set {
        /// How long
        #[arg(required = true, value_parser = timers::length)]
        lengths: Vec<Duration>,
        /// What they are called
        #[arg(long)]
        name: Option<String>,
    },
    /// Set an alarm: 7:30
    Alarm {
        /// Time of day
        #[arg(value_parser = timers::time_of_day)]
        time: (u8, u8),
        /// today, tomorrow, monday ... [default: the next time it is that late]
        #[arg(long)]
        day: Option<String>,
    },
    /// Set a reminder
    Remind {
        /// Of what
        text: String,
        /// After how long: 2h
        #[arg(long = "in", value_name = "LENGTH", value_parser = timers::length, required_unless_present = "at")]
        after: Option<Duration>,
        /// At what time of day: 17:00
        #[arg(long, value_name = "TIME", value_parser = timers::time_of_day, conflicts_with = "after")]
        at: Option<(u8, u8)>,
        /// today, tomorrow, monday ... [default: the next time it is that late]
        #[arg(long, requires = "at")]
        day: Option<String>,
    },
    /// Cancel by number
    Cancel {
        /// Numbers, as listed
        #[arg(required = true)]
        numbers: Vec<u64>,
    },
    /// Let what rings ring again later
    Snooze {
        /// In so many minutes
        minutes: Option<u32>,
    },
    /// End what rings
    Stop,
}

impl TimerVerb {
    fn order(self) -> Order {
        match self {
            Self::Set { lengths, name } => Order::Set { lengths, name },
            Self::Alarm { time, day } => Order::Alarm { time, day },
            Self::Remind { text, after, at, day } => Order::Remind { text, after, at, day },
            Self::Cancel { numbers } => Order::Cancel(numbers),
            Self::Snooze { minutes } => Order::Snooze(minutes),
            Self::Stop => Order::Stop,
        }
    }
}

#[derive(Debug, Subcommand)]
enum HomeVerb {
    /// All devices, and how they are
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// A line for every change in the home, until it is stopped
    Watch {
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Call a tool, whatever its level; prints the result
    Call {
        /// Its name, such as turn_on
        tool: String,
        /// Its arguments, a JSON object
        #[arg(default_value = "{}")]
        arguments: String,
    },
}

#[derive(Debug, Subcommand)]
enum ModelVerb {
    /// Inputs, outputs, element types, bits and bytes of every part of a model folder
    Inspect {
        /// Model folder
        dir: PathBuf,
    },
    /// Fetch a published model, whole and verified; a run that was interrupted is gone on with
    Fetch {
        /// gemma-4-e4b or gemma-4-e2b
        name: String,
        /// Another source than the hub: the address of a server with the same paths, or a folder
        #[arg(long, value_name = "URL|DIR")]
        from: Option<String>,
        /// The folder that is to hold the model [default: $XDG_DATA_HOME/hearth/models/NAME]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

impl Args {
    /// Reads the command line; help and version end the program here, and so does a wrong use.
    pub fn read() -> Result<Self, (u8, clap::Error)> {
        Self::try_parse().map_err(|error| (if error.use_stderr() { USAGE } else { 0 }, error))
    }

    /// Carries out the subcommand.
    ///
    /// # Errors
    /// A [`Failure`] with its exit code.
    pub fn run(self) -> Result<(), Failure> {
        let model = self.model;
        let with_model = move |mut config: Config| {
            if let Some(dir) = &model {
                config.model.dir.clone_from(dir);
            }
            config
        };
        let config = Config::read(self.config.as_deref()).map(&with_model);
        match self.verb {
            Verb::Ask { text: Some(text), daemon: true, json, .. } => {
                tell(config, &json!({"do": "ask", "text": text}), json)
            }
            Verb::Say { text, daemon: true, .. } => tell(config, &json!({"do": "say", "text": text}), false),
            Verb::Ask { file, text, out, json, .. } => {
                ask(&config?.checked()?, file.as_deref(), text, out.as_deref(), json)
            }
            Verb::Say { text, out, .. } => say(&config?.checked()?, &text, out.as_deref()),
            Verb::Check { full, no_load } => check::run(config, full, no_load),
            Verb::Bench { start: true, json, .. } => bench::run_start(&config?.checked()?, json),
            Verb::Bench { decoder: Some(contexts), json, .. } => {
                bench::run_decoder(&config?.checked()?, &contexts, json)
            }
            Verb::Bench { latency: false, json, .. } => bench::run(&config?.checked()?, json),
            Verb::Bench { seconds, rounds, one_call, svg, json, .. } => {
                can_be_written(svg.as_deref())?;
                let plan = bench::latency::Plan { seconds, rounds: rounds.into(), one_call };
                bench::run_latency(&config?.checked()?, &plan, svg.as_deref(), json)
            }
            Verb::Eval { dir, ends: Some(settings), json, .. } => {
                bench::ends::run(&config?.checked()?, &dir, &settings, json)
            }
            Verb::Eval { dir, processed, streamed, json, .. } => {
                let mut config = config?.checked()?;
                if processed {
                    config.listen = config.listen.all_processed();
                }
                evaluate(&config, &dir, streamed, json)
            }
            // Devices are tried before there is a configuration; wake words are part of one.
            Verb::Devices { json, meter, wake, record, input, output } => {
                let wake = wake.map(|seconds| {
                    let config = config?.checked()?;
                    crate::onnx::init(&config.runtime.onnxruntime)?;
                    Ok::<_, Failure>((seconds, config.wake))
                });
                let wake = wake.transpose()?;
                devices::run(&devices::Options { input, output, json, meter_seconds: meter, wake, record })
            }
            Verb::Run => {
                drop(config);
                daemon::run(move || Config::read(self.config.as_deref()).map(&with_model).and_then(Config::checked))
            }
            Verb::History { count, json } => history::run(&config.unwrap_or_default(), count, json),
            Verb::Replay { turn, json } => {
                let config = config?.checked()?;
                let file = history::recording(&config, turn)?;
                ask(&config, Some(&file), None, None, json)
            }
            Verb::Status { watch: true, json } => Ok(client::watch(&socket(config), json, &mut std::io::stdout())?),
            Verb::Status { watch: false, json } => {
                let status = Connection::open(&socket(config))?.ask(&json!({"do": "status"}))?;
                if json { terminal::json(&status) } else { terminal::line(client::described(&status)) }
            }
            Verb::Mute => tell(config, &json!({"do": "mute"}), false),
            Verb::Unmute => tell(config, &json!({"do": "unmute"}), false),
            Verb::Ptt { action: PttVerb::Hold } => Ok(client::hold(&socket(config))?),
            Verb::Ptt { action } => {
                let action = format!("{action:?}").to_lowercase();
                tell(config, &json!({"do": "ptt", "action": action}), false)
            }
            Verb::Cancel => tell(config, &json!({"do": "cancel"}), false),
            Verb::Reload => tell(config, &json!({"do": "reload"}), false),
            Verb::Timers { json, verb } => {
                timers::run(&config?.checked()?, verb.map_or(Order::List, TimerVerb::order), json)
            }
            Verb::Home { verb: HomeVerb::List { json } } => household::list(&config?.checked()?, json),
            Verb::Home { verb: HomeVerb::Watch { json } } => household::watch(&config?.checked()?, json),
            Verb::Home { verb: HomeVerb::Call { tool, arguments } } => {
                household::call(&config?.checked()?, &tool, &arguments)
            }
            Verb::Model { verb: ModelVerb::Inspect { dir } } => inspect::run(&config?.checked()?, &dir),
            Verb::Model { verb: ModelVerb::Fetch { name, from, to } } => fetch::run(&name, from, to),
        }
    }
}

fn ask(
    config: &Config,
    file: Option<&Path>,
    text: Option<String>,
    out: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let question = match (file, text) {
        (Some(file), _) => Question::heard(file, config)?,
        (None, text) => Question::Text(text.unwrap_or_default()),
    };
    can_be_written(out)?;
    let answer = ask::answer_one(config, question)?;
    if json {
        terminal::json(&answer)?
    } else {
        terminal::line(&answer)?
    };
    match out {
        Some(path) => wav::write(path, &answer.reply)?,
        None if answer.reply.samples.is_empty() => {}
        None => Speaker::open(None)?.play(&answer.reply)?,
    }
    answer.error.map_or(Ok(()), |error| Err(Failure::new(INTERNAL, error)))
}

/// The daemon's socket. A configuration that is missing or wrong should not keep anyone from muting.
fn socket(config: Result<Config, ConfigError>) -> PathBuf {
    config.map_or_else(|_| ControlConfig::default(), |config| config.control).client_path()
}

/// Sends one request to the daemon and prints what there is to know of the answer.
fn tell(config: Result<Config, ConfigError>, request: &Value, json: bool) -> Result<(), Failure> {
    let answer = Connection::open(&socket(config))?.ask(request)?;
    match client::spoken(&answer) {
        _ if json => terminal::json(&answer),
        Some(text) => terminal::line(text),
        None => Ok(()),
    }
}

/// Better known before the work than after it.
fn can_be_written(out: Option<&Path>) -> Result<(), Failure> {
    let dir = out.and_then(Path::parent).filter(|dir| !dir.as_os_str().is_empty());
    match dir {
        Some(dir) if !dir.is_dir() => Err(Failure::new(UNWRITABLE, format!("{}: no such folder", dir.display()))),
        _ => Ok(()),
    }
}

fn say(config: &Config, text: &str, out: Option<&Path>) -> Result<(), Failure> {
    can_be_written(out)?;
    crate::onnx::init(&config.runtime.onnxruntime)?;
    let mut voice = ask::voice(config)?;
    if let Some(path) = out {
        return Ok(wav::write(path, &speech::say(&mut voice, text)?)?);
    }
    let mut speaker = Speaker::open(None)?;
    for sentence in sentences(text) {
        match voice.synthesize(&sentence) {
            Ok(clip) => speaker.play(&clip)?,
            Err(error @ SpeechError::Sentence { .. }) => tracing::warn!(%error, "left a sentence out"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes no sound of what is said.
struct Silent;

impl Synthesize for Silent {
    fn synthesize(&mut self, _sentence: &str) -> Result<Clip, SpeechError> {
        Ok(Clip { samples: Vec::new(), rate_hz: MODEL_RATE_HZ })
    }
}

/// Says every sentence of a folder of tasks in its home.
fn evaluate_tasks(config: &Config, dir: &Path, json: bool) -> Result<(), Failure> {
    let (described, all) = tasks::read(dir)?;
    let mut config = config.clone();
    config.home = HomeConfig { here: described.here.clone(), degrees: config.home.degrees, ..HomeConfig::default() };
    let home = Simulated::furnished(&described.devices)?;
    let first: Vec<_> = home.snapshot().into_iter().map(|device| (device.id, device.state)).collect();
    let states = |home: &Simulated| home.snapshot().into_iter().map(|device| (device.id, device.state)).collect();
    let mut hearth = Hearth::load_over(&config, home.clone())?;
    // A model that reads is not spoken to, and nobody hears the answers.
    let mut voice: Box<dyn Synthesize> = match hearth.reads_text() {
        true => Box::new(Silent),
        false => Box::new(ask::voice(&config)?),
    };
    let serve = |task: &tasks::Task, sentence: &str| {
        for (id, state) in &first {
            let state = task.setup.get(id).map_or(Ok(state.clone()), |fields| tasks::merged(state, fields))?;
            home.put(id, state);
        }
        let before = states(&home);
        hearth.forget();
        let answer = hearth.answer(Question::Text(sentence.to_owned()), voice.as_mut()).map_err(|e| e.to_string())?;
        let calls = answer.actions.into_iter().map(|action| action.call).collect();
        answer.error.map_or(Ok(tasks::Served { before, after: states(&home), calls, said: answer.said }), Err)
    };
    let report = tasks::run(&all, serve, |done, of| terminal::progress("sentences", done, of));
    let printed = if json { terminal::json(&report) } else { terminal::line(report.to_string().trim_end()) };
    if report.failed == report.sentences {
        return Err(Failure::new(INTERNAL, format!("none of {} sentences could be taken", report.sentences)));
    }
    printed
}

fn evaluate(config: &Config, dir: &Path, streamed: bool, json: bool) -> Result<(), Failure> {
    if tasks::is_here(dir) {
        return evaluate_tasks(config, dir, json);
    }
    // Labels first: a mistake in them should not have to wait for the model.
    eval::read_labels(dir)?;
    let mut hearth = Hearth::load(config)?;
    let mut compared = streamed.then(eval::Streamed::default);
    let mut report = eval::run(
        dir,
        |path| match &mut compared {
            Some(compared) => hear_both_ways(&mut hearth, dir, path, compared).map_err(|e| e.to_string()),
            None => {
                let (calls, latency_ms) = hearth.calls_for(path).map_err(|e| e.to_string())?;
                // The margin of a clip without speech would be the one before's.
                Ok(eval::Heard { calls, latency_ms, margin: latency_ms.and_then(|_| hearth.margin()) })
            }
        },
        |done, all| terminal::progress("clips", done, all),
    )?;
    report.streamed = compared;
    let printed = if json { terminal::json(&report) } else { terminal::line(report.to_string().trim_end()) };
    if report.failed == report.clips {
        return Err(Failure::new(INTERNAL, format!("none of {} clips could be heard", report.clips)));
    }
    printed
}

/// What was heard piece by piece; adds how it compares with hearing it at once.
fn hear_both_ways(
    hearth: &mut Hearth,
    dir: &Path,
    path: &Path,
    compared: &mut eval::Streamed,
) -> Result<eval::Heard, Failure> {
    let Some((streamed, batch)) = hearth.both_ways(path)? else { return Ok(eval::Heard::default()) };
    let file = path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let calls = |of: &stream::Hearing| of.calls.iter().map(eval::Call::from).collect();
    compared.drafts += streamed.drafts;
    compared.add(&file, (calls(&batch), &batch.choices), (calls(&streamed), &streamed.choices));
    let least = streamed.choices.iter().map(|(_, gap)| *gap).fold(f32::INFINITY, f32::min);
    let margin = least.is_finite().then(|| f64::from(least));
    Ok(eval::Heard { calls: streamed.calls, latency_ms: Some(streamed.latency_ms), margin })
}

#[cfg(test)]
mod tests;
