//! The program as its user meets it: exit codes, one clear line for every kind of bad input, nothing half-done.

use std::path::PathBuf;
use std::process::{Command, Output};

use hearth::audio::{Clip, wav};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's configuration with changes, in a folder of its own.
struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    fn new(changes: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut text = std::fs::read_to_string(root().join("config.toml")).expect("config.toml");
        for path in [".local/lib", ".local/voice", "onnx/starter", "onnx/wake"] {
            text = text.replace(&format!("\"{path}"), &format!("\"{}", root().join(path).display()));
        }
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, &to.replace("$DIR", &dir.path().display().to_string()));
        }
        std::fs::write(dir.path().join("config.toml"), text).expect("it is written");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.current_dir(self.dir.path()).args(args).env_remove("HEARTH_LOG").output().expect("the program starts")
    }

    /// Runs, and expects an exit code and one line on standard error that holds `expected`.
    fn fails(&self, args: &[&str], code: i32, expected: &str) {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: {error}");
        assert_eq!(error.trim().lines().count(), 1, "{args:?}: {error}");
    }

    fn wav(&self, name: &str, samples: Vec<f32>, rate_hz: u32) -> String {
        wav::write(&self.path(name), &Clip { samples, rate_hz }).expect("it is written");
        name.to_owned()
    }
}

const TINY: (&str, &str) = ("onnx/starter\"", "target/fixtures/tiny-split-q8\"");

fn speech() -> Vec<f32> {
    let clip = root().join("onnx/starter/samples/light-over-the-stove.flac");
    wav::read_at(&clip, 16_000).expect("the sample is in the repository").samples
}

#[test]
fn wrong_use_is_64() {
    let setup = Setup::new(&[]);
    for args in [&[][..], &["aks"], &["ask"], &["ask", "a.wav", "--text", "b"], &["check", "--full", "--static"]] {
        assert_eq!(setup.run(args).status.code(), Some(64), "{args:?}");
    }
    assert!(setup.run(&["--help"]).status.success());
    assert!(setup.run(&["--version"]).status.success());
}

#[test]
fn files_that_cannot_be_heard() {
    let setup = Setup::new(&[]);
    std::fs::write(setup.path("notes.wav"), "these are notes").expect("it is written");
    std::fs::write(setup.path("empty.wav"), "").expect("it is written");
    setup.wav("whole.wav", vec![0.1; 16_000], 16_000);
    let whole = std::fs::read(setup.path("whole.wav")).expect("it is there");
    std::fs::write(setup.path("half.wav"), &whole[..whole.len() / 2]).expect("it is written");
    setup.fails(&["ask", "missing.wav"], 66, "missing.wav");
    setup.fails(&["ask", "."], 66, "");
    setup.fails(&["ask", "notes.wav"], 65, "notes.wav");
    setup.fails(&["ask", "empty.wav"], 65, "empty.wav");
    setup.fails(&["ask", "half.wav"], 65, "half.wav");
}

#[test]
fn mistakes_in_the_configuration_are_78() {
    let check = |change: (&str, &str), expected: &str| {
        Setup::new(&[change]).fails(&["say", "hello", "--out", "x.wav"], 78, expected);
    };
    check(("threads = 2", "threads = 0"), "`model.threads` is 0");
    check(("threads = 2", "treads = 2"), "unknown field `treads`");
    check(("threads = 2", "threads ="), "line ");
    let setup = Setup::new(&[]);
    setup.fails(&["--config", "none.toml", "check"], 78, "1 problem");
    setup.fails(&["--config", "none.toml", "say", "x"], 78, "none.toml");
}

#[test]
fn what_is_missing_is_69_and_nothing_is_left_behind() {
    let check = |change: (&str, &str), args: &[&str], expected: &str| {
        let setup = Setup::new(&[change]);
        setup.wav("speech.wav", speech(), 16_000);
        setup.fails(args, 69, expected);
        assert!(!setup.path("out.wav").exists());
    };
    let ask = &["ask", "speech.wav", "--out", "out.wav"];
    let say = &["say", "hello", "--out", "out.wav"];
    let library = ("libonnxruntime.so", "libnothing.so");
    check(library, ask, "libnothing.so: No such file");
    check(library, say, "libnothing.so: No such file");
    check(("onnx/starter\"", "onnx/nothing\""), ask, "there is no such folder");
    check(("onnx/starter\"", "src\""), ask, "not a model folder");
    check(("en_US-joe-medium.onnx", "en_US-jane.onnx"), ask, "en_US-jane.onnx");
    check(("en_US-joe-medium.onnx", "en_US-jane.onnx"), say, "en_US-jane.onnx");
}

/// Its threads end one after another, and it is the one that failed that counts.
#[test]
fn a_daemon_without_its_voice_says_which_and_ends() {
    let setup = Setup::new(&[("en_US-joe-medium.onnx", "en_US-jane.onnx")]);
    for _ in 0..3 {
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_hearth"));
        daemon.current_dir(setup.dir.path()).arg("run").env_remove("HEARTH_LOG").env_remove("STATE_DIRECTORY");
        daemon.envs(["XDG_RUNTIME_DIR", "XDG_STATE_HOME"].map(|name| (name, setup.dir.path())));
        let output = daemon.output().expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains("en_US-jane.onnx"), "{error}");
    }
}

#[test]
fn a_bad_onnx_runtime_is_named_and_does_not_hang() {
    let real = std::fs::read(root().join(".local/lib/libonnxruntime.so")).expect("scripts/setup installs it");
    let old: Vec<u8> = {
        let mut bytes = real.clone();
        while let Some(at) = bytes.windows(8).position(|w| w == b"VERS_1.3") {
            bytes[at + 7] = b'1';
        }
        bytes
    };
    let line =
        |name: &str| (format!("{}/libonnxruntime.so", root().join(".local/lib").display()), format!("$DIR/{name}"));
    for (name, bytes, expected) in [
        ("old.so", old, "too old"),
        ("cut.so", real[..real.len() / 3].to_vec(), "is truncated"),
        ("text.so", b"nothing of the kind".to_vec(), "not a 64-bit shared library"),
        ("empty.so", Vec::new(), "not a 64-bit shared library"),
    ] {
        let (from, to) = line(name);
        let setup = Setup::new(&[(&from, &to)]);
        std::fs::write(setup.path(name), bytes).expect("it is written");
        setup.fails(&["say", "hello", "--out", "x.wav"], 69, expected);
    }
}

#[test]
fn silence_and_noise_run_no_model() {
    // There is no model to run: it would be noticed.
    let setup = Setup::new(&[("onnx/starter\"", "onnx/nothing\"")]);
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let hiss: Vec<f32> = (0..48_000).map(|_| 0.1 * noise()).collect();
    let mut tap = vec![0.0; 16_000];
    (8_000..8_080).for_each(|i| tap[i] = 0.8 * noise());
    for (name, samples) in [("silence.wav", vec![0.0; 48_000]), ("hiss.wav", hiss), ("tap.wav", tap)] {
        setup.wav(name, samples, 16_000);
        let output = setup.run(&["ask", name, "--out", "out.wav"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("nothing said"), "{name}");
    }
    let output = setup.run(&["ask", "silence.wav", "--json", "--out", "out.wav"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(answer["heard"], false);
}

#[test]
fn a_turn_prints_what_happened_and_writes_the_reply() {
    let setup = Setup::new(&[TINY]);
    setup.wav("speech.wav", speech(), 16_000);
    let output = setup.run(&["ask", "speech.wav", "--json", "--out", "out.wav"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(answer["heard"], true);
    assert!(answer["timeline"]["total_ms"].as_f64().is_some_and(|t| t > 0.0));
    // Random weights call something or nothing; whatever it is, it is carried out, and its result is what is said.
    let actions = answer["actions"].as_array().expect("a list");
    let says: Vec<&str> = actions.iter().map(|a| a["result"]["say"].as_str().expect("every result is said")).collect();
    assert_eq!(answer["said"].as_str(), Some(says.join(" ").as_str()));
    assert!(!actions.is_empty(), "this model calls something for this clip");
    let reply = wav::read(&setup.path("out.wav")).expect("the reply is a WAV file");
    assert!(reply.seconds() > 0.5);
}

#[test]
fn what_is_too_long_is_announced() {
    let setup = Setup::new(&[TINY, ("max_ms = 30000", "max_ms = 4000")]);
    setup.wav("long.wav", speech().repeat(4), 16_000);
    let output = setup.run(&["ask", "long.wav", "--json", "--out", "out.wav"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let said = answer["said"].as_str().expect("something was said");
    assert!(said.starts_with("I only listened to the first 4 seconds."), "{said}");
    let speech_ms = answer["timeline"]["speech_ms"].as_f64().expect("a length");
    assert!((speech_ms - 4000.0).abs() < 1.0, "{speech_ms}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("longer than the limit"));
}

#[test]
fn speech_is_written() {
    let setup = Setup::new(&[]);
    let output = setup.run(&["say", "The light over the stove is on.", "--out", "out.wav"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let clip = wav::read(&setup.path("out.wav")).expect("a WAV file");
    let loudest = clip.samples.iter().fold(0.0_f32, |m, s| m.max(s.abs()));
    assert!(clip.seconds() > 1.0 && clip.seconds() < 5.0 && loudest > 0.1, "{} s, {loudest}", clip.seconds());
}

#[test]
fn nothing_is_collected_for_anyone() {
    // ONNX Runtime keeps a database of events under the user's cache folder unless it is told not to.
    let setup = Setup::new(&[]);
    let home = setup.path("home");
    std::fs::create_dir(&home).expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .current_dir(setup.dir.path())
        .args(["say", "hello", "--out", "out.wav"])
        .env("HOME", &home)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> = std::fs::read_dir(&home).expect("the folder").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn check_names_every_problem_at_once() {
    let setup = Setup::new(&[TINY]);
    let output = setup.run(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("ok       model"), "{text}");
    assert!(setup.run(&["check", "--full"]).status.success());
    assert!(setup.run(&["check", "--static"]).status.success());

    let setup = Setup::new(&[
        ("onnx/starter\"", "onnx/nothing\""),
        ("libonnxruntime.so", "libnothing.so"),
        ("en_US-joe-medium.onnx", "en_US-jane.onnx"),
        ("threads = 2", "threads = 999"),
    ]);
    for args in [&["check"][..], &["check", "--static"]] {
        let output = setup.run(args);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{text}");
        for expected in ["model.threads", "libnothing.so", "onnx/nothing", "en_US-jane.onnx", "en_US-jane.onnx.json"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}

#[test]
fn inspect_shows_every_part() {
    let setup = Setup::new(&[]);
    for (name, parts) in [("tiny-split-q8", 5), ("lookalike-kv-fp16", 3)] {
        let dir = root().join("target/fixtures").join(name);
        let output = setup.run(&["model", "inspect", &dir.display().to_string()]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.matches(" bytes  ").count(), parts, "{text}");
        assert!(text.contains("inputs_embeds") && text.contains("keys and values"), "{text}");
    }
    setup.fails(&["model", "inspect", &root().join("src").display().to_string()], 69, "not a model folder");
}

#[test]
fn text_is_heard_by_a_model_that_does_not_read() {
    let setup = Setup::new(&[TINY]);
    let output = setup.run(&["ask", "--text", "turn on the kitchen light", "--json", "--out", "out.wav"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(answer["timeline"]["speech_ms"].as_f64().is_some_and(|ms| ms > 800.0), "{answer}");
}

#[test]
fn a_reply_that_cannot_be_written_is_73_before_the_work() {
    let setup = Setup::new(&[TINY]);
    setup.fails(&["say", "hello", "--out", "none/out.wav"], 73, "none: no such folder");
    setup.fails(&["say", "hello", "--out", "."], 73, "cannot be written");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let setup = Setup::new(&[]);
    let dir = root().join("target/fixtures/tiny-split-q8");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .current_dir(setup.dir.path())
        .args(["model", "inspect"])
        .arg(dir)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn check_names_every_broken_part() {
    let starter = root().join("onnx/starter").display().to_string();
    let setup = Setup::new(&[(&starter, "$DIR/model")]);
    let from = root().join("target/fixtures/tiny-split-q8");
    let to = setup.path("model");
    std::fs::create_dir_all(to.join("onnx")).expect("a folder");
    for entry in ["manifest.json", "config.json", "processor_config.json", "tokenizer.json"] {
        std::fs::copy(from.join(entry), to.join(entry)).expect("a copy");
    }
    for entry in std::fs::read_dir(from.join("onnx")).expect("graphs").flatten() {
        // The right length, so that only opening it shows the damage.
        let mut bytes = std::fs::read(entry.path()).expect("a graph");
        bytes[..64].fill(0xff);
        std::fs::write(to.join("onnx").join(entry.file_name()), bytes).expect("it is written");
    }
    let output = setup.run(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{text}");
    for part in ["audio_stream", "embed_tokens", "decoder_lower"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn eval_refuses_a_folder_without_labels() {
    let setup = Setup::new(&[]);
    setup.fails(&["eval", "."], 66, "labels.json");
}
