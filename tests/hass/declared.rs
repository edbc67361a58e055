//! A daemon whose model reads declarations: it is told of the home anew when the home is another, once, and only then.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fake::{Door, Fake};
use super::server::{self, Admin, Server};
use super::{block_on, models, sound};

/// The daemon looks every five seconds whether the home is another; after two looks it has seen what there is.
const TWO_LOOKS: Duration = Duration::from_secs(11);
/// It is told within this time, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(90);
/// The only tool of this model, so that every call names a thing.
const TOOLS: &str = r#"[{"name": "turn_on", "description": "Switch on",
    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}]"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A small random model as one that reads declarations and texts, and only calls.
fn model(dir: &Path) -> PathBuf {
    let to = dir.join("model");
    std::fs::create_dir(&to).expect("it is made");
    let facts = json!({"declares_tools": true, "reads_text": true, "phrases": false, "history": false});
    models::copy(&root().join("target/fixtures/tiny-split-q8"), &to, &facts);
    std::fs::write(to.join("tools.json"), TOOLS).expect("it is written");
    to
}

/// A daemon over a Home Assistant; it ends with its owner.
struct Daemon {
    process: Child,
    dir: tempfile::TempDir,
    _sound: sound::Server,
}

impl Daemon {
    fn start(port: u16, token: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("token"), token).expect("it is written");
        let text = format!(
            "[runtime]\nonnxruntime = {:?}\n[model]\ndir = {:?}\nsystem = \"Help.\"\nmax_tokens = 96\n\
             [wake]\nwords = []\nstop_word = \"\"\n[speech]\nvoice = {:?}\n[state]\ndir = {:?}\n\
             [home.home_assistant]\nurl = \"http://127.0.0.1:{port}\"\ntoken_file = {:?}\n",
            root().join(".local/lib/libonnxruntime.so"),
            model(dir.path()),
            root().join(".local/voice/en_US-joe-medium.onnx"),
            at("state"),
            at("token"),
        );
        std::fs::write(at("config.toml"), text).expect("it is written");
        let sinks = ["sink_name=mic rate=48000 channels=1", "sink_name=spk rate=48000 channels=2"];
        let sound = sound::Server::start(dir.path(), &sinks);
        let log = std::fs::File::create(at("log")).expect("it is written");
        let mut command = hearth(dir.path());
        command.arg("run").env("HEARTH_LOG", "hearth=debug").stdin(Stdio::null()).stderr(log);
        let process = command.spawn().expect("it starts");
        let daemon = Self { process, dir, _sound: sound };
        daemon.until("it listens", || daemon.says(&["status", "--json"])["state"] == "idle");
        daemon
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < LIMIT, "{what} did not come:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// How often the model was told of the home.
    fn told(&self) -> usize {
        self.log().matches("the model was told of the home").count()
    }

    /// The model is told once more, and no more than that.
    fn is_told_once_more(&self, before: usize, what: &str) {
        let begun = Instant::now();
        self.until(what, || self.told() > before);
        println!("{what}: the model knows after {:?}", begun.elapsed());
        std::thread::sleep(TWO_LOOKS);
        assert_eq!(self.told(), before + 1, "{what}:\n{}", self.log());
    }

    fn says(&self, arguments: &[&str]) -> Value {
        let output = hearth(self.dir.path()).args(arguments).output().expect("it starts");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// What a model by chance calls things, in some turns.
    fn calls(&self, texts: &[&str]) -> BTreeSet<String> {
        for text in texts {
            let output = hearth(self.dir.path()).args(["ask", "--daemon", "--text", text]).output().expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let count = texts.len().to_string();
        let output = hearth(self.dir.path()).args(["history", &count, "--json"]).output().expect("it starts");
        let records = String::from_utf8_lossy(&output.stdout).into_owned();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record per line"));
        let actions = records.flat_map(|record| record["actions"].as_array().cloned().unwrap_or_default());
        actions.filter_map(|action| action["call"]["arguments"]["name"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hearth(dir: &Path) -> Command {
    let mut command = sound::program(env!("CARGO_BIN_EXE_hearth"), dir);
    command.arg("--config").arg(dir.join("config.toml"));
    command.env_remove("HEARTH_LOG").env_remove("STATE_DIRECTORY").env_remove("DBUS_SESSION_BUS_ADDRESS");
    command
}

/// Texts that lead a model of random weights to this and that.
const TEXTS: [&str; 6] = ["light", "a lamp now", "what", "turn it on please", "zzz", "the kitchen"];

#[test]
fn a_changed_home_is_declared_once_and_only_then() {
    if sound::is_missing() {
        return;
    }
    let (give, taken) = channel();
    std::thread::spawn(move || {
        block_on(async {
            give.send(Fake::start(Door::Open).await).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    let fake = taken.recv().expect("it starts");
    let daemon = Daemon::start(fake.port, "eyJhbGciOi.not-a-real-token");
    // The server was not there yet when the model was loaded.
    daemon.is_told_once_more(0, "the first home");
    let entries = "config/entity_registry/get_entries";
    fake.change(|recorded| recorded[entries]["light.kitchen"]["name"] = json!("Cupboard Glow"));
    daemon.is_told_once_more(1, "another name");
    let called = daemon.calls(&TEXTS);
    println!("called: {called:?}");
    let known =
        ["cupboard glow", "big light", "light", "lights", "kitchen light", "kitchen lights", "radio", "speaker"];
    assert!(!called.is_empty(), "nothing was called");
    for name in &called {
        let name = name.to_lowercase();
        assert!(known.iter().any(|known| name == *known || name == format!("{known}s")), "{name} is not there");
    }
    // What is no change of what there is: states, turns, and a registry in which something else is another.
    for state in ["on", "off", "on"] {
        fake.switch("light.kitchen", state);
    }
    fake.change(|recorded| recorded[entries]["light.kitchen"]["icon"] = json!("mdi:lamp"));
    std::thread::sleep(TWO_LOOKS);
    assert_eq!(daemon.told(), 2, "{}", daemon.log());
    // Several changes within a moment are one.
    for (entity, name) in [("light.kitchen", "Evening Glow"), ("light.porch", "Porch Glow")] {
        fake.change(|recorded| {
            recorded[entries][entity]["name"] = json!(name);
            recorded["homeassistant/expose_entity/list"]["exposed_entities"][entity]["conversation"] = json!(true);
            recorded["states"][entity] = json!({"s": "off", "a": {"friendly_name": name}, "c": "x", "lc": 1.0});
        });
    }
    daemon.is_told_once_more(2, "a name and a light");
}

#[test]
fn a_changed_home_is_declared_once_and_only_then_by_a_real_home_assistant() {
    let Some(python) = server::python() else { return };
    if sound::is_missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(python, dir.path());
    let mut admin = Admin::new(server.port, &server.onboard());
    server.running(&mut admin);
    super::furnish(&mut admin);
    let (token, own) = (admin.long_lived_token("hearth"), admin.long_lived_token("administrator"));
    let daemon = Daemon::start(server.port, &token);
    daemon.is_told_once_more(0, "the first home");
    admin.update("light.kitchen_light", &json!({"name": "Cupboard Glow", "aliases": ["Safe"]}));
    daemon.is_told_once_more(1, "another name");
    let called = daemon.calls(&TEXTS);
    println!("called: {called:?}");
    assert!(!called.is_empty() && !called.iter().any(|name| ["Kitchen Light", "Big Light"].contains(&name.as_str())));
    for service in ["turn_on", "turn_off"] {
        admin.call("light", service, "light.kitchen_light", json!({}));
    }
    admin.call("input_number", "set_value", "input_number.warmth", json!({"value": 22.5}));
    std::thread::sleep(TWO_LOOKS);
    assert_eq!(daemon.told(), 2, "{}", daemon.log());
    // A new entity, made while all runs.
    admin.ask(json!({"type": "input_boolean/create", "name": "Guest Lamp"}));
    admin.expose(&["input_boolean.guest_lamp"], true);
    daemon.is_told_once_more(2, "a new lamp");
    // The same home after a restart is no other.
    server.stop();
    daemon.until("it is missed", || daemon.log().contains("no connection to Home Assistant"));
    server.up();
    let mut admin = Admin::new(server.port, &own);
    server.running(&mut admin);
    std::thread::sleep(TWO_LOOKS * 2);
    assert_eq!(daemon.told(), 3, "{}", daemon.log());
    admin.expose(&["light.secret_light"], true);
    daemon.is_told_once_more(3, "a light after the restart");
}
