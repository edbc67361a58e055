//! A real Home Assistant in a folder of its own, and its administrator.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

/// It comes up in three seconds on a quiet machine.
const UP: Duration = Duration::from_secs(120);

/// The Python that has Home Assistant; says why there is none. `HEARTH_HOME_ASSISTANT` names another one.
pub fn python() -> Option<PathBuf> {
    found().inspect_err(|reason| eprintln!("SKIPPED: no real Home Assistant: {reason}")).ok()
}

fn found() -> Result<PathBuf, String> {
    if std::env::var("HEARTH_SLOW").as_deref() != Ok("1") {
        return Err("HEARTH_SLOW is not 1".to_owned());
    }
    if let Some(python) = std::env::var_os("HEARTH_HOME_ASSISTANT") {
        return Ok(python.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(root.join("scripts/fetch-home-assistant")).output().expect("a script of the repository");
    let python = root.join(".local/home-assistant/bin/python");
    if fetched.status.success() { Ok(python) } else { Err(String::from_utf8_lossy(&fetched.stderr).trim().to_owned()) }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("this machine has ports").port()
}

/// The server; it ends with its owner.
pub struct Server {
    python: PathBuf,
    dir: PathBuf,
    pub port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts it for the first time.
    pub fn start(python: PathBuf, dir: &Path) -> Self {
        let port = free_port();
        let template = include_str!("../fixtures/hass/configuration.yaml");
        std::fs::write(dir.join("configuration.yaml"), template.replace("PORT", &port.to_string()))
            .expect("it is written");
        let mut server = Self { python, dir: dir.to_path_buf(), port, process: None };
        server.up();
        server
    }

    /// Starts it and waits until it answers.
    pub fn up(&mut self) {
        let log = std::fs::File::create(self.dir.join("out.log")).expect("it is written");
        let process = Command::new(&self.python)
            .args(["-m", "homeassistant", "--skip-pip", "-c"])
            .arg(&self.dir)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("it is installed"));
        let begun = Instant::now();
        while http(self.port, "GET", "/api/onboarding", "", "").is_none() {
            assert!(begun.elapsed() < UP, "Home Assistant does not come up: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until all of it is there: it answers before that.
    pub fn running(&self, admin: &mut Admin) {
        let begun = Instant::now();
        while admin.ask(json!({"type": "get_config"}))["state"] != "RUNNING" {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not finish starting: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What it complained about.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("out.log")).unwrap_or_default()
    }

    /// Asks it to stop, and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let begun = Instant::now();
            while process.try_wait().expect("it is ours").is_none() {
                if begun.elapsed() > Duration::from_secs(20) {
                    let _ = process.kill();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Makes the first user and gives a token of theirs that is valid for half an hour.
    pub fn onboard(&self) -> String {
        let client = format!("http://127.0.0.1:{}/", self.port);
        let user = json!({"client_id": client, "name": "A", "username": "a", "password": "simple-a", "language": "en"});
        let answer = http(self.port, "POST", "/api/onboarding/users", "application/json", &user.to_string());
        let code = answer.expect("it answers")["auth_code"].as_str().expect("a code").to_owned();
        let form = format!("grant_type=authorization_code&code={code}&client_id={client}");
        let answer = http(self.port, "POST", "/auth/token", "application/x-www-form-urlencoded", &form);
        answer.expect("it answers")["access_token"].as_str().expect("a token").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// One request; `None` when there is no answer or it is no JSON.
fn http(port: u16, method: &str, path: &str, content: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n")?.1;
    // A body may come in chunks; ours are one.
    let (from, to) = (body.find(['{', '['])?, body.rfind(['}', ']'])?);
    serde_json::from_str(&body[from..=to]).ok()
}

/// An administrator at the WebSocket, who waits for every answer.
pub struct Admin {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    last_id: u64,
    pub port: u16,
}

impl Admin {
    pub fn new(port: u16, token: &str) -> Self {
        let (socket, _) = connect(format!("ws://127.0.0.1:{port}/api/websocket")).expect("it listens");
        let mut admin = Self { socket, last_id: 0, port };
        admin.receive();
        admin.send(&json!({"type": "auth", "access_token": token}));
        assert_eq!(admin.receive()["type"], "auth_ok");
        admin
    }

    fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("the connection stands");
    }

    fn receive(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.socket.read().expect("the connection stands") {
                return serde_json::from_str(&text).expect("it is JSON");
            }
        }
    }

    /// The result, or the error's code.
    pub fn try_ask(&mut self, mut request: Value) -> Result<Value, String> {
        self.last_id += 1;
        request["id"] = json!(self.last_id);
        self.send(&request);
        loop {
            let answer = self.receive();
            if answer["id"] == request["id"] && answer["type"] == "result" {
                let failed = || answer["error"].to_string();
                return if answer["success"] == true { Ok(answer["result"].clone()) } else { Err(failed()) };
            }
        }
    }

    pub fn ask(&mut self, request: Value) -> Value {
        self.try_ask(request.clone()).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    /// A token for hearth.
    pub fn long_lived_token(&mut self, name: &str) -> String {
        let token = self.ask(json!({"type": "auth/long_lived_access_token", "client_name": name, "lifespan": 1}));
        token.as_str().expect("a token").to_owned()
    }

    pub fn revoke(&mut self, name: &str) {
        let tokens = self.ask(json!({"type": "auth/refresh_tokens"}));
        let token = tokens.as_array().expect("a list").iter().find(|token| token["client_name"] == name);
        let id = token.expect("it was made")["id"].clone();
        self.ask(json!({"type": "auth/delete_refresh_token", "refresh_token_id": id}));
    }

    pub fn call(&mut self, domain: &str, service: &str, entity: &str, data: Value) {
        self.ask(json!({
            "type": "call_service", "domain": domain, "service": service, "service_data": data,
            "target": {"entity_id": entity},
        }));
    }

    /// The state of an entity, as the server has it.
    pub fn state(&mut self, entity: &str) -> Value {
        let states = self.ask(json!({"type": "get_states"}));
        let state = states.as_array().expect("a list").iter().find(|state| state["entity_id"] == entity);
        state.cloned().unwrap_or_default()
    }

    pub fn expose(&mut self, entities: &[&str], should_expose: bool) {
        let assistants = ["conversation"];
        self.ask(json!({
            "type": "homeassistant/expose_entity", "assistants": assistants, "entity_ids": entities,
            "should_expose": should_expose,
        }));
    }

    /// The id of an area of this name, which may be there already.
    pub fn area(&mut self, name: &str, aliases: &[&str]) -> Value {
        let areas = self.ask(json!({"type": "config/area_registry/list"}));
        let area = areas.as_array().expect("a list").iter().find(|area| area["name"] == name);
        let id = match area {
            Some(area) => area["area_id"].clone(),
            None => self.ask(json!({"type": "config/area_registry/create", "name": name}))["area_id"].clone(),
        };
        self.ask(json!({"type": "config/area_registry/update", "area_id": id, "aliases": aliases}));
        id
    }

    pub fn update(&mut self, entity: &str, changes: &Value) {
        let mut request = json!({"type": "config/entity_registry/update", "entity_id": entity});
        let request_fields = request.as_object_mut().expect("it is an object");
        request_fields.extend(changes.as_object().expect("an object").clone());
        self.ask(request);
    }
}
