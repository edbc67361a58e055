//! From recorded speech to a light of a real Home Assistant, and back to speech.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hearth::audio::wav;
use serde_json::{Value, json};

use super::server::{self, Admin, Server};
use super::sound;

/// A configuration of the repository's model and voice over this server alone.
fn config(dir: &Path, port: u16, token_file: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "[runtime]\nonnxruntime = {:?}\n[model]\ndir = {:?}\n[speech]\nvoice = {:?}\n[state]\ndir = {:?}\n\
         [home.home_assistant]\nurl = \"http://127.0.0.1:{port}\"\ntoken_file = {token_file:?}\n",
        root.join(".local/lib/libonnxruntime.so"),
        root.join("onnx/starter"),
        root.join(".local/voice/en_US-joe-medium.onnx"),
        dir.join("state"),
    );
    let path = dir.join("hearth.toml");
    std::fs::write(&path, text).expect("it is written");
    path
}

#[test]
fn speech_switches_a_light_of_a_real_home_assistant() {
    let Some(python) = server::python() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(python, dir.path());
    let mut admin = Admin::new(server.port, &server.onboard());
    server.running(&mut admin);
    admin.expose(&["light.stove_light", "light.kitchen_light"], true);
    let area = admin.area("Stove", &[]);
    admin.update("light.stove_light", &json!({"area_id": area}));
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, admin.long_lived_token("hearth")).expect("it is written");
    let config = config(dir.path(), server.port, &token_file);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/light-over-the-stove.flac");
    for (before, said) in [("off", "The Stove Light is on."), ("on", "The Stove Light is already on.")] {
        assert_eq!(admin.state("light.stove_light")["state"], before);
        let reply = dir.path().join("reply.wav");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.arg("--config").arg(&config).arg("ask").arg(&sample).args(["--json", "--out"]).arg(&reply);
        let begun = Instant::now();
        let output = command.env_remove("HEARTH_LOG").output().expect("it starts");
        println!("the whole program: {:?}", begun.elapsed());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(answer["said"], said, "{answer}");
        println!("the home took {} ms", answer["timeline"]["tool_ms"]);
        assert_eq!(admin.state("light.stove_light")["state"], "on");
        assert_eq!(admin.state("light.kitchen_light")["state"], "off");
        assert!(
            sound::speech_s(&wav::read(&reply).expect("it was written")) > 0.5,
            "{} s of speech",
            sound::speech_s(&wav::read(&reply).expect("it was written"))
        );
    }
    // What happens there is told as it happens.
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.arg("--config").arg(&config).args(["home", "watch"]).stdout(Stdio::piped());
    let mut watch = command.spawn().expect("it starts");
    let lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // It may take a while to look for the first time.
    let line = (0..20).find_map(|round| {
        let service = if round % 2 == 0 { "turn_off" } else { "turn_on" };
        admin.call("light", service, "light.stove_light", json!({}));
        told.recv_timeout(Duration::from_secs(2)).ok()
    });
    watch.kill().expect("it runs");
    watch.wait().expect("it is ours");
    let line = line.expect("a change is told");
    assert!(line.contains("Stove Light (Stove): o"), "{line}");
}
