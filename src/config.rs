//! The configuration: found, read, checked once. Every path in it is absolute afterwards.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::audio::capture::CaptureConfig;
use crate::control::ControlConfig;
use crate::duck::DuckConfig;
use crate::history::{HistoryConfig, RecordConfig};
use crate::home::HomeConfig;
use crate::home::audit::AuditConfig;
use crate::home::risk::RiskConfig;
use crate::home::timers::TimerConfig;
use crate::listen::ListenConfig;
use crate::listen::wake::WakeConfig;
use crate::model::generate::ModelConfig;
use crate::speech::VoiceConfig;

/// Names the configuration file when no `--config` is given.
const VARIABLE: &str = "HEARTH_CONFIG";
/// Where a configuration is looked for after that, in this order; `~` is the user's home.
const PLACES: [&str; 3] = ["config.toml", "~/.config/hearth/config.toml", "/etc/hearth/config.toml"];
/// What is wrong with the configuration: correct it and start again.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is none.
    #[error("no configuration: none of {0} exists; name one with --config")]
    NotFound(String),
    /// It cannot be read.
    #[error("configuration {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and key.
        reason: String,
    },
    /// A value is out of range.
    #[error("configuration {}: `{key}` is {found}, should be {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Dotted key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

/// `[runtime]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// ONNX Runtime's shared library.
    pub onnxruntime: PathBuf,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { onnxruntime: PathBuf::from(".local/lib/libonnxruntime.so") }
    }
}

/// `[speech]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeechConfig {
    /// The Piper voice, `NAME.onnx` with `NAME.onnx.json` beside it.
    pub voice: PathBuf,
    /// A speaker of a voice that has several, by name or number.
    pub speaker: Option<String>,
    /// Folder with espeak-ng's data, where it is not found by itself.
    pub espeak_data: Option<PathBuf>,
    /// 1 is the voice's own speed.
    pub speed: f32,
    /// 1 is the voice's own loudness.
    pub volume: f32,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        let voice = PathBuf::from(".local/voice/en_US-joe-medium.onnx");
        Self { voice, speaker: None, espeak_data: None, speed: 1.0, volume: 1.0 }
    }
}

impl SpeechConfig {
    /// What the voice needs to know of it.
    pub fn voice(&self) -> VoiceConfig {
        VoiceConfig {
            path: self.voice.clone(),
            speaker: self.speaker.clone(),
            speed: self.speed,
            volume: self.volume,
            // A sentence takes 4 % of its length on two threads (measured with the voice joe).
            threads: 2,
        }
    }
}

/// `[audio]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioConfig {
    /// The microphone: name, id, or a part of one that no other has; the system's default if not set.
    pub input: Option<String>,
    /// The loudspeaker, in the same way.
    pub output: Option<String>,
}

impl AudioConfig {
    /// What the microphone needs to know of it.
    pub fn capture(&self) -> CaptureConfig {
        CaptureConfig { device: self.input.clone() }
    }
}

/// `[wake]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WakeWordsConfig {
    /// Folder of the graphs and of a head per word.
    pub dir: PathBuf,
    /// The words; with none only push-to-talk wakes it.
    pub words: Vec<WakeConfig>,
    /// The word that ends a reply or what rings; with an empty one none does.
    pub stop_word: String,
    /// The score that counts as the stop word, in [0, 1].
    pub stop_threshold: f32,
}

impl Default for WakeWordsConfig {
    fn default() -> Self {
        let computer = WakeConfig { word: "computer".into(), threshold: 0.9 };
        Self { dir: PathBuf::from("onnx/wake"), words: vec![computer], stop_word: "stop".into(), stop_threshold: 0.95 }
    }
}

impl WakeWordsConfig {
    /// The stop word, if there is one.
    pub fn stop(&self) -> Option<WakeConfig> {
        let (word, threshold) = (self.stop_word.clone(), self.stop_threshold);
        (!word.is_empty()).then_some(WakeConfig { word, threshold })
    }

    /// Wake words, and the stop word if there is one.
    pub fn all(&self) -> Vec<WakeConfig> {
        self.words.iter().cloned().chain(self.stop()).collect()
    }
}

/// `[turn]`: how turns are taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnConfig {
    /// How long somebody may take to begin to speak after the wake word, in ms.
    pub wait_ms: u32,
    /// How long the microphone stays open after an answer, in ms; 0 closes it.
    pub follow_up_ms: u32,
    /// How long it stays open after a question, in ms.
    pub question_ms: u32,
    /// A key that is pressed for less was hit by mistake, in ms.
    pub min_hold_ms: u32,
    /// Does speech interrupt a reply? The wake word always does.
    pub barge_in: bool,
    /// After so long without a turn the conversation is forgotten, in s.
    pub memory_s: u32,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self { wait_ms: 5000, follow_up_ms: 0, question_ms: 8000, min_hold_ms: 200, barge_in: true, memory_s: 300 }
    }
}

/// `[state]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// Where things are kept that outlive the daemon. If not set: systemd's folder for hearth, `$XDG_STATE_HOME/hearth`,
    /// or `~/.local/state/hearth`.
    pub dir: Option<PathBuf>,
}

impl StateConfig {
    /// The folder, whether or not it is there.
    pub fn path(&self) -> PathBuf {
        let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        // For a user's service systemd before 254 names a folder for settings, where no other program would look.
        let service = folder("STATE_DIRECTORY").filter(|dir| dir.starts_with("/var/lib"));
        self.dir.clone().unwrap_or_else(|| match (service, folder("XDG_STATE_HOME")) {
            (Some(service), _) => service,
            (None, Some(state)) => state.join("hearth"),
            (None, None) => folder("HOME").unwrap_or_else(|| PathBuf::from("/")).join(".local/state/hearth"),
        })
    }

    /// The file of timers, alarms and reminders.
    pub fn timers(&self) -> PathBuf {
        self.path().join("timers.json")
    }
}

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file it came from.
    #[serde(skip)]
    pub path: PathBuf,
    /// `[runtime]`.
    pub runtime: RuntimeConfig,
    /// `[model]`.
    pub model: ModelConfig,
    /// `[audio]`.
    pub audio: AudioConfig,
    /// `[wake]`.
    pub wake: WakeWordsConfig,
    /// `[listen]`.
    pub listen: ListenConfig,
    /// `[turn]`.
    pub turn: TurnConfig,
    /// `[speech]`.
    pub speech: SpeechConfig,
    /// `[duck]`.
    pub duck: DuckConfig,
    /// `[home]`.
    pub home: HomeConfig,
    /// `[risk]`.
    pub risk: RiskConfig,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[state]`.
    pub state: StateConfig,
    /// `[history]`.
    pub history: HistoryConfig,
    /// `[record]`.
    pub record: RecordConfig,
    /// `[timers]`.
    pub timers: TimerConfig,
}

impl Config {
    /// Reads the configuration from `path`, or from the first place that has one, without checking its values.
    ///
    /// # Errors
    /// When there is none, it is damaged or has an unknown key.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => find()?,
        };
        let fail = |reason: String| ConfigError::File { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|e| fail(e.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|e| fail(one_line(&e, &text)))?;
        let absolute = std::path::absolute(&path).map_err(|e| fail(e.to_string()))?;
        let dir = absolute.parent().unwrap_or(Path::new("/"));
        let runtime = &mut config.runtime.onnxruntime;
        let paths = [runtime, &mut config.model.dir, &mut config.speech.voice, &mut config.wake.dir];
        let optional = config.speech.espeak_data.iter_mut().chain(&mut config.control.socket);
        let optional = optional.chain(&mut config.state.dir).chain(&mut config.home.mqtt.password_file);
        let optional = optional.chain(config.home.webhook.iter_mut().filter_map(|hook| hook.token_file.as_mut()));
        let server = &mut config.home.home_assistant;
        let optional = optional.chain(&mut server.token_file).chain(&mut server.ca_file);
        let optional = optional.chain(&mut config.home.mqtt.ca_file);
        for path in paths.into_iter().chain(optional) {
            *path = dir.join(&*path);
        }
        config.model.cache = Some(config.state.path().join("model"));
        config.path = path;
        Ok(config)
    }

    /// The same configuration, if its values are in range.
    ///
    /// # Errors
    /// The first of [`Config::problems`].
    pub fn checked(self) -> Result<Self, ConfigError> {
        self.problems().into_iter().next().map_or(Ok(self), Err)
    }

    /// Every value that is out of range.
    pub fn problems(&self) -> Vec<ConfigError> {
        let (model, listen, speech, turn) = (&self.model, &self.listen, &self.speech, &self.turn);
        let timers = &self.timers;
        let heads = self.wake.all();
        let wild = heads.iter().find(|word| !(0.0..=1.0).contains(&word.threshold));
        let wild = wild.map(|word| format!("{} for {}", word.threshold, word.word));
        let names = heads.iter().map(|word| word.word.as_str()).collect::<Vec<_>>();
        let named = names.iter().all(|name| !name.is_empty() && !name.contains(['/', '.']));
        let twice = self.wake.words.iter().any(|word| word.word == self.wake.stop_word);
        let risk = &self.risk;
        let margin = model.min_margin.unwrap_or(0.0);
        let (early, late) = (listen.early_silence_ms, listen.late_silence_ms);
        let shown = |ms: Option<u32>| ms.map_or_else(String::new, |ms| ms.to_string());
        let checks: [(&'static str, String, bool, &'static str); 27] = [
            ("model.min_margin", margin.to_string(), (0.0..=100.0).contains(&margin), "0 to 100"),
            ("risk.confirm_s", risk.confirm_s.to_string(), (1..=120).contains(&risk.confirm_s), "1 to 120"),
            ("audit.files", self.audit.files.to_string(), self.audit.files <= 100, "0 to 100"),
            ("wake.words.threshold", wild.clone().unwrap_or_default(), wild.is_none(), "0 to 1"),
            ("wake.words.word", names.join(", "), named, "words"),
            ("wake.stop_word", self.wake.stop_word.clone(), !twice, "no wake word"),
            ("history.turns", self.history.turns.to_string(), self.history.turns <= 10_000, "0 to 10000"),
            (
                "history.transcribe",
                self.history.transcribe.to_string(),
                !self.history.transcribe || self.record.clips,
                "false, or with record.clips = true",
            ),
            ("turn.wait_ms", turn.wait_ms.to_string(), (500..=30_000).contains(&turn.wait_ms), "500 to 30000"),
            ("turn.follow_up_ms", turn.follow_up_ms.to_string(), turn.follow_up_ms <= 30_000, "0 to 30000"),
            ("turn.question_ms", turn.question_ms.to_string(), turn.question_ms <= 30_000, "0 to 30000"),
            ("turn.min_hold_ms", turn.min_hold_ms.to_string(), turn.min_hold_ms <= 2000, "0 to 2000"),
            ("model.threads", model.threads.to_string(), (1..=256).contains(&model.threads), "1 to 256"),
            ("model.max_tokens", model.max_tokens.to_string(), (8..=4096).contains(&model.max_tokens), "8 to 4096"),
            (
                "model.sample.temperature",
                model.sample.temperature.to_string(),
                (0.0..=5.0).contains(&model.sample.temperature),
                "0 to 5",
            ),
            (
                "model.sample.top_p",
                model.sample.top_p.to_string(),
                model.sample.top_p > 0.0 && model.sample.top_p <= 1.0,
                "above 0, at most 1",
            ),
            ("listen.pre_roll_ms", listen.pre_roll_ms.to_string(), listen.pre_roll_ms <= 3000, "0 to 3000"),
            ("listen.post_roll_ms", listen.post_roll_ms.to_string(), listen.post_roll_ms <= 3000, "0 to 3000"),
            (
                "listen.silence_ms",
                listen.silence_ms.to_string(),
                (100..=5000).contains(&listen.silence_ms),
                "100 to 5000",
            ),
            (
                "listen.early_silence_ms",
                shown(early),
                early.is_none_or(|ms| (250..=listen.silence_ms).contains(&ms)),
                "250 to listen.silence_ms",
            ),
            (
                "listen.late_silence_ms",
                shown(late),
                late.is_none_or(|ms| (listen.silence_ms..=5000).contains(&ms) && ms < listen.max_ms),
                "listen.silence_ms to 5000, and less than listen.max_ms",
            ),
            ("listen.min_speech_ms", listen.min_speech_ms.to_string(), listen.min_speech_ms <= 512, "0 to 512"),
            (
                "listen.max_ms",
                listen.max_ms.to_string(),
                (1000..=30_000).contains(&listen.max_ms),
                "1000 to 30000, the model's limit",
            ),
            ("speech.speed", speech.speed.to_string(), (0.25..=4.0).contains(&speech.speed), "0.25 to 4"),
            ("speech.volume", speech.volume.to_string(), (0.0..=2.0).contains(&speech.volume), "0 to 2"),
            ("timers.ring_s", timers.ring_s.to_string(), (5..=3600).contains(&timers.ring_s), "5 to 3600"),
            (
                "timers.snooze_minutes",
                timers.snooze_minutes.to_string(),
                (1..=60).contains(&timers.snooze_minutes),
                "1 to 60",
            ),
        ];
        let wrong = checks.into_iter().filter(|(_, _, fits, _)| !fits);
        wrong
            .map(|(key, found, _, expected)| ConfigError::Value { path: self.path.clone(), key, found, expected })
            .collect()
    }
}

fn find() -> Result<PathBuf, ConfigError> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let place = |place: &str| match place.strip_prefix("~/") {
        Some(rest) => home.as_ref().map(|home| home.join(rest)),
        None => Some(PathBuf::from(place)),
    };
    let found = PLACES.iter().filter_map(|p| place(p)).find(|path| path.exists());
    found.ok_or_else(|| ConfigError::NotFound(PLACES.join(", ")))
}

/// toml's message in one line, with the line number.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).expect("the folder is writable");
        Config::read(Some(&path))
            .and_then(Config::checked)
            .map_err(|e| e.to_string().replace(&path.display().to_string(), "c.toml"))
    }

    #[test]
    fn an_empty_file_gives_the_defaults_with_absolute_paths() {
        let config = load("").expect("an empty file is a configuration");
        assert!(config.model.dir.is_absolute() && config.model.dir.ends_with("onnx/starter"));
        assert_eq!(config.listen, ListenConfig::default());
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        let check = |text: &str, expected: &str| {
            let error = load(text).expect_err(text);
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        };
        check("[model]\nthreds = 2\n", "c.toml: line 2: unknown field `threds`");
        check("[modle]\n", "line 1: unknown field `modle`");
        check("[model]\nthreads = \"two\"\n", "line 2: invalid type");
        check("[model]\nthreads = 0\n", "`model.threads` is 0, should be 1 to 256");
        check("[listen]\nmax_ms = 60000\n", "`listen.max_ms` is 60000, should be 1000 to 30000");
        check(
            "[listen]\nearly_silence_ms = 800\n",
            "`listen.early_silence_ms` is 800, should be 250 to listen.silence_ms",
        );
        check(
            "[listen]\nlate_silence_ms = 600\n",
            "`listen.late_silence_ms` is 600, should be listen.silence_ms to 5000",
        );
        check(
            "[listen]\nlate_silence_ms = 1200\nmax_ms = 1200\n",
            "`listen.late_silence_ms` is 1200, should be listen.silence_ms to 5000, and less than listen.max_ms",
        );
        assert!(load("[listen]\nlate_silence_ms = 1200\nmax_ms = 1216\n").is_ok());
        check("nonsense", "line 1:");
    }

    #[test]
    fn all_problems_are_listed() {
        let config =
            Config { model: ModelConfig { threads: 0, max_tokens: 1, ..ModelConfig::default() }, ..Config::default() };
        assert_eq!(config.problems().len(), 2);
    }
}
