//! A house with a daemon in it: the built program on a sound server of its own with null sinks.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::time::Duration;

use hearth::audio::{Clip, resample, wav};
use serde_json::Value;

use crate::sound::{self, Server, until};

/// A model is loaded and a turn is taken within this time, on a busy machine too.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The sinks: what is played into `mic` is heard, what is spoken goes to `spk`.
pub const SINKS: [&str; 2] = ["sink_name=mic rate=48000 channels=1", "sink_name=spk rate=48000 channels=2"];

/// A house with a daemon in it.
pub struct House {
    pub daemon: Child,
    pub server: Server,
    pub dir: tempfile::TempDir,
    /// Given back last.
    _alone: MutexGuard<'static, ()>,
}

impl House {
    /// Starts sound server and daemon, and waits until it listens. None where there is no sound server.
    pub fn new(sinks: &[&str], settings: &str) -> Option<Self> {
        Self::with(sinks, settings, &[])
    }

    /// As [`House::new`], with more in the daemon's environment.
    pub fn with(sinks: &[&str], settings: &str, environment: &[(&str, &str)]) -> Option<Self> {
        if sound::is_missing() {
            return None;
        }
        let alone = sound::alone();
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start(dir.path(), sinks);
        server.pactl(&["set-default-sink", "spk"]).expect("it has one");
        // Fails where there is no such sink yet.
        server.pactl(&["set-default-source", "mic.monitor"]);
        write_config(dir.path(), settings);
        let daemon = start(dir.path(), environment);
        let house = Self { daemon, server, dir, _alone: alone };
        house.wait_for("idle");
        Some(house)
    }

    pub fn hearth(&self, arguments: &[&str]) -> (bool, String) {
        hearth(self.dir.path(), arguments)
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.hearth(&["status", "--json"]).1).unwrap_or(Value::Null)
    }

    pub fn state(&self) -> String {
        self.status()["state"].as_str().unwrap_or("down").to_owned()
    }

    pub fn wait_for(&self, state: &str) -> Duration {
        until(state, LIMIT, || self.state() == state)
    }

    /// What is missing, such as `["microphone"]`.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.status()["missing"].as_array().cloned().unwrap_or_default();
        missing.iter().map(|missing| missing["what"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub fn turns(&self) -> Vec<Value> {
        let (_, text) = self.hearth(&["history", "100", "--json"]);
        text.lines().map(|line| serde_json::from_str(line).expect("a record per line")).collect()
    }

    /// Says something to the daemon, waits until it is idle again with one more turn, and gives that turn and what the
    /// loudspeaker played meanwhile.
    pub fn says(&self, clip: &Clip) -> (Value, Vec<f32>) {
        let before = self.turns().len();
        let recorder = self.server.record("spk");
        let mut playing = self.server.play("mic", clip);
        until("a turn is over", LIMIT, || self.turns().len() > before && self.state() == "idle");
        assert!(playing.wait().expect("it is ours").success());
        // The server has yet to hand over what it was given last.
        std::thread::sleep(Duration::from_millis(500));
        (self.turns().pop().expect("there is one more"), recorder.finish())
    }

    /// Writes other settings, from those it began with, and has them read: the answer.
    pub fn reload(&self, settings: &str) -> String {
        write_config(self.dir.path(), settings);
        let (taken, text) = self.hearth(&["reload"]);
        assert!(taken, "{text}");
        text
    }

    pub fn stop(&mut self) -> Option<i32> {
        let id = self.daemon.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("it is installed").success());
        self.daemon.wait().expect("it is ours").code()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn write_config(dir: &Path, settings: &str) -> PathBuf {
    let text = std::fs::read_to_string(root().join("config.toml")).expect("it is in the repository");
    let text = text.replace("\"onnx/", &format!("\"{}/onnx/", root().display()));
    let text = text.replace("\".local/", &format!("\"{}/.local/", root().display()));
    let mut text = text;
    for setting in settings.lines().filter(|line| !line.is_empty()) {
        let (key, _) = setting.split_once(" = ").expect("a setting");
        let old = text.lines().find(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        let old = old.expect("a key of config.toml").to_owned();
        text = text.replacen(&old, setting, 1);
    }
    let path = dir.join("config.toml");
    std::fs::write(&path, text).expect("it is written");
    path
}

fn command(dir: &Path) -> Command {
    let mut command = sound::program(env!("CARGO_BIN_EXE_hearth"), dir);
    command.current_dir(dir).env_remove("STATE_DIRECTORY").env_remove("XDG_STATE_HOME").env_remove("HEARTH_CONFIG");
    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
    command
}

/// Starts a daemon in a folder with a configuration.
pub fn start(dir: &Path, environment: &[(&str, &str)]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("a log");
    let mut command = command(dir);
    command.arg("run").env("HEARTH_LOG", "hearth=debug").stdin(Stdio::null()).stderr(log);
    command.envs(environment.iter().copied()).spawn().expect("it starts")
}

pub fn hearth(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = command(dir).args(arguments).output().expect("it starts");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Clips one after another at 48 kHz and half of full scale, with silence of so many ms before each and 1.5 s at the end.
pub fn scene(parts: &[(u32, &Clip)]) -> Clip {
    let mut samples = Vec::new();
    for (gap_ms, clip) in parts {
        samples.resize(samples.len() + *gap_ms as usize * 48, 0.0);
        let peak = clip.samples.iter().fold(0.01_f32, |peak, v| peak.max(v.abs()));
        samples.extend(resample::resample(clip, 48_000).samples.iter().map(|v| v * 0.5 / peak));
    }
    samples.resize(samples.len() + 72_000, 0.0);
    Clip { samples, rate_hz: 48_000 }
}

pub fn sample(name: &str) -> Clip {
    let path = root().join("onnx/starter/samples").join(name);
    wav::read(&path).expect("the sample is in the repository")
}

/// The wake word in the Piper voice joe, which no head was trained on: one take of several, since each comes out a little
/// different and not all are well heard beside a reply.
pub fn wake_word() -> Clip {
    let mut clip = wav::read(&root().join("tests/fixtures/computer.flac")).expect("it is in the repository");
    let loud = clip.samples.iter().rposition(|v| v.abs() > 0.01).expect("it is a word");
    clip.samples.truncate(loud);
    clip
}

/// How much of a recording of the loudspeaker, at 48 kHz, is speech, in s.
pub fn speech_s(recorded: &[f32]) -> f64 {
    sound::speech_s(&Clip { samples: recorded.to_vec(), rate_hz: 48_000 })
}

pub fn called(turn: &Value) -> String {
    let Some(action) = turn["actions"].get(0) else { return "nothing".into() };
    format!("{} {}", action["call"]["name"].as_str().unwrap_or_default(), action["call"]["arguments"])
}

/// What the first call of a turn did, such as `turned on` of a device: the model may say "light" or "lights" over the stove.
pub fn done(turn: &Value) -> String {
    let action = &turn["actions"][0];
    let content = &action["result"]["content"];
    format!("{} {} {}", action["call"]["name"], content["device"], content["state"])
}

/// The command of the sample `light-over-the-stove`.
pub const STOVE: &str = r#""turn_on" "the light over the stove" "on""#;
