//! The command line: its types, what each subcommand prints, and the exit codes.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::ask::{self, Hearth, Question};
use crate::audio::wav::{self, AudioError};
use crate::config::{Config, ConfigError};
use crate::eval::EvalError;
use crate::home::HomeError;
use crate::model::ModelError;
use crate::onnx::OnnxError;
use crate::speech::{self, SpeechError};
use crate::{bench, check, devices, eval, inspect};

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
    },
    /// Speak a text
    Say {
        /// What to say
        text: String,
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
    /// List microphones and loudspeakers, or try them
    Devices {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Show the microphone's level for a few seconds
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", conflicts_with = "json",
              value_parser = clap::value_parser!(u32).range(1..=3_600))]
        meter: Option<u32>,
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
    /// Look into models
    Model {
        #[command(subcommand)]
        verb: ModelVerb,
    },
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
            Verb::Ask { file, text, out, json } => {
                ask(&config?.checked()?, file.as_deref(), text, out.as_deref(), json)
            }
            Verb::Say { text, out } => say(&config?.checked()?, &text, out.as_deref()),
            Verb::Check { full, no_load } => check::run(config, full, no_load),
            Verb::Bench { json } => bench::run(&config?.checked()?, json),
            Verb::Eval { dir, json } => evaluate(&config?.checked()?, &dir, json),
            // Devices are tried before there is a configuration.
            Verb::Devices { json, meter, record, input, output } => {
                devices::run(&devices::Options { input, output, json, meter_seconds: meter, record })
            }
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
