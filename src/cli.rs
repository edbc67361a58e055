//! The command line: its types, what each subcommand prints, and the exit codes.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};
use thiserror::Error;

use crate::ask::{self, Hearth, Question};
use crate::audio::wav::{self, AudioError};
use crate::config::{Config, ConfigError};
use crate::control::client::{self, Connection};
use crate::control::{ControlConfig, ControlError};
use crate::eval::EvalError;
use crate::home::HomeError;
use crate::model::ModelError;
use crate::onnx::OnnxError;
use crate::speech::{self, SpeechError};
use crate::{bench, check, eval, inspect};

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
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Measure accuracy on a folder of labelled recordings
    Eval {
        /// Folder with labels.json and the recordings it names
        dir: PathBuf,
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
enum ModelVerb {
    /// Inputs, outputs, element types, bits and bytes of every part of a model folder
    Inspect {
        /// Model folder
        dir: PathBuf,
    },
}

/// An error that ends the program, with its exit code (sysexits.h).
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// One line.
    pub message: String,
}

/// Exit code: wrong use of the command line.
pub const USAGE: u8 = 64;
/// Exit code: not audio, or damaged audio.
pub const BAD_DATA: u8 = 65;
/// Exit code: a file that cannot be read.
pub const UNREADABLE: u8 = 66;
/// Exit code: model, voice, runtime or device missing.
pub const UNAVAILABLE: u8 = 69;
/// Exit code: a failure inside.
pub const INTERNAL: u8 = 70;
/// Exit code: configuration.
pub const CONFIG: u8 = 78;

impl Failure {
    /// A failure with this code.
    pub fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIG, error)
    }
}

impl From<AudioError> for Failure {
    fn from(error: AudioError) -> Self {
        let code = if matches!(error, AudioError::Unreadable { .. }) { UNREADABLE } else { BAD_DATA };
        Self::new(code, error)
    }
}

impl From<OnnxError> for Failure {
    fn from(error: OnnxError) -> Self {
        let missing = matches!(error, OnnxError::Library { .. } | OnnxError::Graph { .. } | OnnxError::Contract { .. });
        Self::new(if missing { UNAVAILABLE } else { INTERNAL }, error)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Onnx(error) => error.into(),
            ModelError::Folder(_) | ModelError::Tokenizer(_) | ModelError::Description { .. } => {
                Self::new(UNAVAILABLE, error)
            }
            ModelError::ReadsNoText => Self::new(USAGE, error),
            _ => Self::new(INTERNAL, error),
        }
    }
}

impl From<SpeechError> for Failure {
    fn from(error: SpeechError) -> Self {
        Self::new(UNAVAILABLE, error)
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        let code = if matches!(error, EvalError::BadLabels { .. }) { BAD_DATA } else { UNREADABLE };
        Self::new(code, error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::NotASocket(_) | ControlError::NoGroup(_) => CONFIG,
            ControlError::Refused { code: Some(code), .. } => *code,
            _ => UNAVAILABLE,
        };
        Self::new(code, error)
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::new(CONFIG, error)
    }
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
        let with_model = |mut config: Config| {
            config.model.dir = self.model.unwrap_or(config.model.dir);
            config
        };
        let config = Config::read(self.config.as_deref()).map(with_model);
        match self.verb {
            Verb::Ask { text: Some(text), daemon: true, json, .. } => {
                tell(config, json!({"do": "ask", "text": text}), json)
            }
            Verb::Say { text, daemon: true, .. } => tell(config, json!({"do": "say", "text": text}), false),
            Verb::Ask { file, text, out, json, .. } => {
                ask(&config?.checked()?, file.as_deref(), text, out.as_deref(), json)
            }
            Verb::Say { text, out, .. } => say(&config?.checked()?, &text, out.as_deref()),
            Verb::Check { full, no_load } => check::run(config, full, no_load),
            Verb::Bench { json } => bench::run(&config?.checked()?, json),
            Verb::Eval { dir, json } => evaluate(&config?.checked()?, &dir, json),
            Verb::Status { watch: true, json } => Ok(client::watch(&socket(config), json, &mut std::io::stdout())?),
            Verb::Status { watch: false, json } => {
                let status = Connection::open(&socket(config))?.ask(&json!({"do": "status"}))?;
                let text = if json { status.to_string() } else { client::described(&status) };
                println!("{text}");
                Ok(())
            }
            Verb::Mute => tell(config, json!({"do": "mute"}), false),
            Verb::Unmute => tell(config, json!({"do": "unmute"}), false),
            Verb::Ptt { action: PttVerb::Hold } => Ok(client::hold(&socket(config))?),
            Verb::Ptt { action } => {
                let action = format!("{action:?}").to_lowercase();
                tell(config, json!({"do": "ptt", "action": action}), false)
            }
            Verb::Cancel => tell(config, json!({"do": "cancel"}), false),
            Verb::Reload => tell(config, json!({"do": "reload"}), false),
            Verb::Model { verb: ModelVerb::Inspect { dir } } => inspect::run(&config?.checked()?, &dir),
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
    let answer = ask::answer_one(config, question)?;
    let played = deliver(&answer.reply, out);
    if json {
        println!("{}", serde_json::to_string(&answer).map_err(|e| Failure::new(INTERNAL, e))?);
    } else {
        println!("{answer}");
    }
    played
}

/// The daemon's socket. A configuration that is missing or wrong should not keep anyone from muting.
fn socket(config: Result<Config, ConfigError>) -> PathBuf {
    config.map_or_else(|_| ControlConfig::default(), |config| config.control).client_path()
}

/// Sends one request to the daemon and prints what there is to know of the answer.
fn tell(config: Result<Config, ConfigError>, request: Value, json: bool) -> Result<(), Failure> {
    let answer = Connection::open(&socket(config))?.ask(&request)?;
    if json {
        println!("{answer}");
    } else if let Some(text) = client::spoken(&answer) {
        println!("{text}");
    }
    Ok(())
}

fn say(config: &Config, text: &str, out: Option<&Path>) -> Result<(), Failure> {
    crate::onnx::init(&config.runtime.onnxruntime)?;
    let mut voice = ask::voice(config)?;
    let clip = speech::say(&mut voice, text)?;
    deliver(&clip, out)
}

/// Writes what was said to a file, or plays it.
fn deliver(clip: &crate::audio::Clip, out: Option<&Path>) -> Result<(), Failure> {
    use crate::audio::playback::{Play, Speaker};
    if let Some(path) = out {
        return Ok(wav::write(path, clip)?);
    }
    if clip.samples.is_empty() {
        return Ok(());
    }
    let played = Speaker::open(None).and_then(|mut speaker| speaker.play(clip));
    played.map_err(|error| Failure::new(UNAVAILABLE, format!("{error}; --out FILE writes the sound instead")))
}

fn evaluate(config: &Config, dir: &Path, json: bool) -> Result<(), Failure> {
    // Labels first: a mistake in them should not have to wait for the model.
    eval::read_labels(dir)?;
    let mut hearth = Hearth::load(config)?;
    let watched = std::io::stderr().is_terminal();
    let progress = |done: usize, all: usize| {
        if watched {
            eprint!("\r{done} of {all} clips{}", if done == all { "\n" } else { "" });
        }
    };
    let report = eval::run(dir, |path| hearth.calls_for(path).map_err(|e| e.to_string()), progress)?;
    if json {
        println!("{}", serde_json::to_string(&report).map_err(|e| Failure::new(INTERNAL, e))?);
    } else {
        println!("{report}");
    }
    Ok(())
}
