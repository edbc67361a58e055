//! A real PulseAudio server with null sinks, in a folder of its own, for tests of sound.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hearth::audio::{Clip, resample, wav};
use hearth::listen::{self, ListenConfig};

/// Says why a test cannot run here, if it cannot.
pub fn is_missing() -> bool {
    let missing = |program: &&str| Command::new(program).arg("--version").output().is_err();
    let missing = ["pulseaudio", "pactl", "paplay", "parec"].into_iter().find(missing);
    missing.inspect(|program| eprintln!("SKIPPED: {program} is not installed (scripts/setup does it)")).is_some()
}

/// Sound is made and heard in real time, for which a small machine has to be left alone: while one test of a program holds
/// this, the others that ask for it wait.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that finds only the server of this folder.
pub fn program(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.env("XDG_RUNTIME_DIR", dir).env("HOME", dir).env_remove("PULSE_SERVER").env_remove("PULSE_RUNTIME_PATH");
    command
}

/// A PulseAudio server; it ends with its owner.
pub struct Server {
    pub process: Child,
    dir: PathBuf,
}

impl Server {
    /// Starts one whose socket is in `dir`, with null sinks of these descriptions, and waits until it answers.
    pub fn start(dir: &Path, sinks: &[&str]) -> Self {
        let mut script =
            String::from("load-module module-native-protocol-unix auth-anonymous=1 auth-cookie-enabled=0\n");
        for sink in sinks {
            script += &format!("load-module module-null-sink {sink}\n");
        }
        let file = dir.join("server.pa");
        std::fs::write(&file, script).expect("it is written");
        let process = program("pulseaudio", dir)
            .args(["--daemonize=no", "--exit-idle-time=-1", "-n", "-F"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let server = Self { process, dir: dir.to_path_buf() };
        until("the server answers", Duration::from_secs(10), || server.pactl(&["info"]).is_some());
        server
    }

    /// What `pactl` says; none when it fails.
    pub fn pactl(&self, args: &[&str]) -> Option<String> {
        let output = program("pactl", &self.dir).args(args).stderr(Stdio::null()).output().expect("it is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Adds a null sink; gives the number of its module.
    pub fn load(&self, sink: &str) -> String {
        let words: Vec<&str> = ["load-module", "module-null-sink"].into_iter().chain(sink.split(' ')).collect();
        self.pactl(&words).expect("the module is loaded")
    }

    /// Takes a module away.
    pub fn unload(&self, module: &str) {
        self.pactl(&["unload-module", module]).expect("the module is unloaded");
    }

    /// Plays a clip into a sink, beside this test.
    pub fn play(&self, sink: &str, clip: &Clip) -> Child {
        self.play_with(sink, clip, &[])
    }

    /// As [`Server::play`], with more arguments of `paplay`.
    pub fn play_with(&self, sink: &str, clip: &Clip, arguments: &[&str]) -> Child {
        let file = self.dir.join(format!("play-{sink}.wav"));
        wav::write(&file, clip).expect("it is written");
        program("paplay", &self.dir).args(arguments).args(["-d", sink]).arg(&file).spawn().expect("it is installed")
    }

    /// Records what a sink plays, beside this test, until it is told to stop.
    pub fn record(&self, sink: &str) -> Recorder {
        let file = self.dir.join(format!("record-{sink}.raw"));
        let out = std::fs::File::create(&file).expect("it is made");
        let monitor = format!("{sink}.monitor");
        let process = program("parec", &self.dir)
            .args(["-d", &monitor, "--raw", "--format=float32le", "--rate=48000", "--channels=1", "--latency-msec=10"])
            .stdout(out)
            .spawn()
            .expect("it is installed");
        let length = || std::fs::metadata(&file).map_or(0, |data| data.len());
        until("the recording has begun", Duration::from_secs(10), || length() > 0);
        Recorder { process, file }
    }

    /// Sends a signal: `-STOP` makes it hang, `-CONT` ends that.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("a shell tool").success());
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it is ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A recording under way.
pub struct Recorder {
    process: Child,
    file: PathBuf,
}

impl Recorder {
    /// What has been recorded, at 48 kHz.
    pub fn finish(mut self) -> Vec<f32> {
        std::thread::sleep(Duration::from_millis(300));
        self.process.kill().expect("it runs");
        self.process.wait().expect("it is ours");
        self.so_far()
    }

    /// What has been recorded until now.
    pub fn so_far(&self) -> Vec<f32> {
        let bytes = std::fs::read(&self.file).expect("it was written");
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
    }
}

/// Waits until it is `done`, and says how long that took. Fails after `limit`.
pub fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

/// How much of a clip is speech, in s.
pub fn speech_s(clip: &Clip) -> f64 {
    let config = ListenConfig { pre_roll_ms: 0, post_roll_ms: 0, ..ListenConfig::default() };
    let utterances = listen::utterances(&resample::resample(clip, 16_000).samples, &config);
    utterances.iter().map(|range| range.len() as f64 / 16_000.0).sum()
}

/// Root of the mean square.
pub fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|x| x * x).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}
