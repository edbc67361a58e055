//! The socket as its users meet it, with a stand-in for the daemon: a task that records orders and answers them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hearth::control::{self, ControlConfig, ControlError, MAX_CLIENTS, MAX_LINE_BYTES, Publisher, Server, State};
use hearth::control::{PttAction, Request};
use hearth::service::Service;
use serde_json::{Value, json};
use tokio::sync::mpsc;

mod client;

use client::Client;

const LIMIT: Duration = Duration::from_secs(10);

type Change = Box<dyn FnOnce(&mut Publisher) + Send>;

/// A daemon of few words in a thread of its own.
struct Daemon {
    changes: Option<mpsc::Sender<Change>>,
    orders: Receiver<Request>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(config: &ControlConfig) -> Result<Self, ControlError> {
        let (changes, mut changed) = mpsc::channel::<Change>(64);
        let (record, orders) = channel();
        let (up, is_up) = channel();
        let config = config.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let server = match Server::bind(&config) {
                    Ok(server) => server,
                    Err(error) => return up.send(Err(error)).expect("the test waits"),
                };
                let (mut publisher, mut taken) = server.start();
                up.send(Ok(())).expect("the test waits");
                loop {
                    tokio::select! {
                        change = changed.recv() => match change {
                            Some(change) => change(&mut publisher),
                            None => return,
                        },
                        Some(order) = taken.recv() => {
                            let _ = record.send(order.request.clone());
                            let answer = match order.request {
                                Request::Mute(muted) => {
                                    publisher.update(|public| {
                                        public.muted = muted;
                                        public.state = if muted { State::Muted } else { State::Idle };
                                    });
                                    control::done()
                                }
                                Request::Ask(text) => json!({"said": format!("You asked: {text}")}),
                                Request::Reload => control::refused("config.toml: line 3: unknown key", Some(78)),
                                // No answer at all.
                                Request::Say(_) => continue,
                                _ => control::done(),
                            };
                            let _ = order.reply.send(answer);
                        }
                    }
                }
            });
        });
        is_up.recv().expect("the daemon says whether it is up")?;
        Ok(Self { changes: Some(changes), orders, thread: Some(thread) })
    }

    fn change(&self, change: impl FnOnce(&mut Publisher) + Send + 'static) {
        let changes = self.changes.as_ref().expect("it runs");
        changes.blocking_send(Box::new(change)).expect("it runs");
    }

    fn ordered(&self) -> Request {
        self.orders.recv_timeout(LIMIT).expect("an order")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.changes.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A folder and the configuration of a socket in it.
fn place() -> (tempfile::TempDir, PathBuf, ControlConfig) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("hearth.sock");
    let config = ControlConfig { socket: Some(path.clone()), group: None };
    (dir, path, config)
}

fn hearth(dir: &Path, args: &[&str]) -> Command {
    let config = dir.join("c.toml");
    fs::write(&config, "[control]\nsocket = \"hearth.sock\"\n").expect("it is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.arg("--config").arg(config).args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_clients_at_once() {
    let (_dir, path, config) = place();
    let daemon = Daemon::start(&config).expect("the place is free");
    let (mut one, mut two) = (Client::new(&path, LIMIT), Client::new(&path, LIMIT));
    let first = one.ask(r#"{"do":"watch"}"#);
    assert_eq!((&first["ok"], &first["event"], &first["state"]), (&json!(true), &json!("status"), &json!("loading")));
    assert_eq!(first["pid"], json!(std::process::id()));
    assert_eq!(two.ask(r#"{"do":"mute"}"#), json!({"ok": true}));
    assert_eq!(daemon.ordered(), Request::Mute(true));
    let event = one.line().expect("an event");
    assert_eq!((&event["event"], &event["state"], &event["muted"]), (&json!("muted"), &json!("muted"), &json!(true)));
    // What an order led to comes before its answer, also to who gave it.
    for muted in [false, true] {
        let order = if muted { r#"{"do":"mute"}"# } else { r#"{"do":"unmute"}"# };
        assert_eq!(one.ask(order)["muted"], json!(muted));
        assert_eq!(one.line(), Some(json!({"ok": true})));
        assert_eq!(daemon.ordered(), Request::Mute(muted));
    }
    // A watcher may ask too, and events keep their order.
    assert_eq!(one.ask(r#"{"do":"ask","text":"lights"}"#), json!({"said": "You asked: lights", "ok": true}));
    daemon.change(|publisher| {
        publisher.event("wake", &json!({"word": "computer", "score": 0.9}));
        publisher.update(|public| public.state = State::Listening);
        publisher.update(|public| public.state = State::Listening);
        publisher.update(|public| {
            public.details.insert("turns".into(), 3.into());
        });
    });
    let events: Vec<Value> = (0..3).map(|_| one.line().expect("an event")["event"].clone()).collect();
    assert_eq!(events, ["wake", "listening", "status"]);
    assert_eq!(two.ask(r#"{"do":"status"}"#)["turns"], json!(3));
    assert_eq!(two.ask(r#"{"do":"say","text":"hello"}"#)["error"], json!("the daemon gave no answer"));
}

#[test]
fn garbage_is_answered_and_a_line_without_end_is_not_read_to_its_end() {
    let (_dir, path, config) = place();
    let daemon = Daemon::start(&config).expect("the place is free");
    let mut client = Client::new(&path, LIMIT);
    for line in ["hello", "{", "[1]", r#"{"do":"fly"}"#, r#"{"do":"mute","x":1}"#, "\u{0}\u{1}"] {
        let answer = client.ask(line);
        assert_eq!(answer["ok"], json!(false), "{line}: {answer}");
    }
    client.0.get_mut().write_all(b"\xff\xfe\n").expect("it takes bytes");
    assert_eq!(client.line().expect("an answer")["error"], json!("the line is not UTF-8"));
    // In pieces, and several at once.
    for byte in br#"{"do":"cancel"}"# {
        client.0.get_mut().write_all(&[*byte]).expect("it takes bytes");
    }
    client.send("\n{\"do\":\"ptt\",\"action\":\"toggle\"}");
    assert_eq!((client.line(), client.line()), (Some(json!({"ok": true})), Some(json!({"ok": true}))));
    assert_eq!((daemon.ordered(), daemon.ordered()), (Request::Cancel, Request::Ptt(PttAction::Toggle)));
    client.send(&"x".repeat(MAX_LINE_BYTES * 4));
    assert!(client.line().expect("an answer")["error"].as_str().is_some_and(|e| e.contains("8192 bytes")));
    assert_eq!(client.line(), None, "the connection is closed");
    assert_eq!(Client::new(&path, LIMIT).ask(r#"{"do":"status"}"#)["ok"], json!(true));
}

#[test]
fn a_slow_reader_is_dropped_and_nobody_waits_for_it() {
    let (_dir, path, config) = place();
    let daemon = Daemon::start(&config).expect("the place is free");
    let (mut slow, mut quick) = (Client::new(&path, LIMIT), Client::new(&path, LIMIT));
    slow.ask(r#"{"do":"watch"}"#);
    quick.ask(r#"{"do":"watch"}"#);
    let reader = thread::spawn(move || (0..400).filter(|n| quick.line().expect("an event")["n"] == json!(n)).count());
    let mut longest = Duration::ZERO;
    for n in 0..400 {
        let start = Instant::now();
        daemon.change(move |publisher| publisher.event("noise", &json!({"n": n, "filler": "x".repeat(4096)})));
        longest = longest.max(start.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(reader.join().expect("it reads"), 400, "the quick one has all");
    let start = Instant::now();
    assert_eq!(Client::new(&path, LIMIT).ask(r#"{"do":"status"}"#)["ok"], json!(true));
    println!("longest wait of the daemon {longest:?}, a status after that {:?}", start.elapsed());
    // Longer than the server waits for a write.
    thread::sleep(Duration::from_millis(1500));
    let mut taken = 0;
    while slow.line().is_some() {
        taken += 1;
    }
    println!("the slow one was dropped after {taken} of 400 events");
    assert!(taken < 400);
}

#[test]
fn too_many_clients_are_told() {
    let (_dir, path, config) = place();
    let _daemon = Daemon::start(&config).expect("the place is free");
    let mut clients: Vec<Client> = (0..MAX_CLIENTS).map(|_| Client::new(&path, LIMIT)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(r#"{"do":"status"}"#)["ok"], json!(true));
    }
    let mut extra = Client::new(&path, LIMIT);
    assert_eq!(extra.ask(r#"{"do":"status"}"#)["error"], json!("too many connections"));
    assert_eq!(extra.line(), None);
    clients.pop();
    eventually("a place is free again", || Client::new(&path, LIMIT).ask(r#"{"do":"status"}"#)["ok"] == json!(true));
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let (dir, path, config) = place();
    drop(UnixListener::bind(&path).expect("it binds"));
    assert!(path.exists(), "left behind, as by a daemon that was killed");
    let daemon = Daemon::start(&config).expect("nobody listens there");
    let refused = Daemon::start(&config).err().expect("one is there").to_string();
    assert_eq!(refused, format!("a daemon already listens at {}", path.display()));
    assert_eq!(Client::new(&path, LIMIT).ask(r#"{"do":"status"}"#)["ok"], json!(true), "the first one goes on");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let status = dir.path().join("hearth.json");
    assert!(status.exists());
    drop(daemon);
    assert!(!path.exists() && !status.exists(), "nothing is left of a stopped daemon");
    // A listener that knows nothing of our lock, and a file.
    let stranger = UnixListener::bind(&path).expect("it binds");
    assert!(matches!(Daemon::start(&config), Err(ControlError::InUse(_))));
    drop(stranger);
    fs::remove_file(&path).expect("it is there");
    fs::write(&path, "notes").expect("it is written");
    assert!(matches!(Daemon::start(&config), Err(ControlError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&path).expect("left alone"), "notes");
    let config = ControlConfig { group: Some("no such group".into()), ..config };
    assert!(matches!(Daemon::start(&config), Err(ControlError::NoGroup(_))));
    let long = ControlConfig { socket: Some(dir.path().join("x".repeat(120))), group: None };
    assert!(matches!(Daemon::start(&long), Err(ControlError::System { .. })));
}

#[test]
fn the_state_file_is_never_half_written() {
    let (dir, path, config) = place();
    let daemon = Daemon::start(&config).expect("the place is free");
    let file = path.with_extension("json");
    let read = || serde_json::from_str::<Value>(&fs::read_to_string(&file).expect("it is there")).expect("whole");
    assert_eq!(read()["state"], json!("loading"));
    for n in 0..200 {
        daemon.change(move |publisher| {
            publisher.update(|public| {
                public.state = if n % 2 == 0 { State::Speaking } else { State::Idle };
                public.details.insert("n".into(), n.into());
            });
        });
        read();
    }
    eventually("the last state arrives", || read()["n"] == json!(199));
    assert_eq!(read()["state"], json!("idle"));
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 3, "socket, lock, state file");
}

/// Output and exit code of a finished program.
fn finished(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_program_speaks_to_the_daemon() {
    let (dir, path, config) = place();
    let run = |args: &[&str]| finished(&mut hearth(dir.path(), args));
    let (code, _, error) = run(&["mute"]);
    assert_eq!((code, error), (69, format!("hearth: no daemon listens at {}", path.display())));
    let daemon = Daemon::start(&config).expect("the place is free");
    for (args, order) in [
        (&["mute"][..], Request::Mute(true)),
        (&["unmute"], Request::Mute(false)),
        (&["ptt", "start"], Request::Ptt(PttAction::Start)),
        (&["ptt", "stop"], Request::Ptt(PttAction::Stop)),
        (&["ptt", "toggle"], Request::Ptt(PttAction::Toggle)),
        (&["cancel"], Request::Cancel),
    ] {
        assert_eq!(run(args), (0, String::new(), String::new()), "{args:?}");
        assert_eq!(daemon.ordered(), order);
    }
    assert_eq!(run(&["ask", "--daemon", "--text", "is it warm"]).1, "You asked: is it warm");
    assert_eq!(run(&["reload"]), (78, String::new(), "hearth: config.toml: line 3: unknown key".into()));
    assert_eq!(run(&["say", "--daemon", "hello"]).0, 69);
    assert!(run(&["status"]).1.starts_with("idle for "));
    let status: Value = serde_json::from_str(&run(&["status", "--json"]).1).expect("JSON");
    assert_eq!(status["state"], json!("idle"));
    assert_eq!(run(&["ask", "--daemon"]).0, 64);
    assert_eq!(run(&["ptt", "press"]).0, 64);
}

/// Lines of a running program.
fn lines(child: &mut Child) -> Receiver<String> {
    let (send, receive) = channel();
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}

#[test]
fn watching_survives_a_restart_of_the_daemon() {
    let (dir, _path, config) = place();
    let mut child = hearth(dir.path(), &["status", "--watch", "--json"]).spawn().expect("it starts");
    let lines = lines(&mut child);
    let next =
        || serde_json::from_str::<Value>(&lines.recv_timeout(LIMIT).expect("a line")).expect("JSON")["event"].clone();
    assert_eq!(next(), "gone");
    for _ in 0..2 {
        let daemon = Daemon::start(&config).expect("the place is free");
        assert_eq!(next(), "status");
        daemon.change(|publisher| publisher.update(|public| public.state = State::Idle));
        assert_eq!(next(), "idle");
        drop(daemon);
        assert_eq!(next(), "gone");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn a_held_key_is_released_however_the_program_ends() {
    let (dir, _path, config) = place();
    let daemon = Daemon::start(&config).expect("the place is free");
    let pressed = |stdin: Stdio| {
        let child = hearth(dir.path(), &["ptt", "hold"]).stdin(stdin).spawn().expect("it starts");
        assert_eq!(daemon.ordered(), Request::Ptt(PttAction::Start));
        child
    };
    for signal in ["-TERM", "-INT", "-HUP", "-KILL"] {
        // Without an input that could end, as a compositor starts it.
        let mut child = pressed(Stdio::null());
        thread::sleep(Duration::from_millis(50));
        assert!(daemon.orders.try_recv().is_err(), "still held");
        Command::new("kill").arg(signal).arg(child.id().to_string()).status().expect("kill is there");
        assert_eq!(daemon.ordered(), Request::Ptt(PttAction::Stop), "{signal}");
        assert_eq!(child.wait().expect("it ends").success(), signal != "-KILL", "{signal}");
    }
    let mut child = pressed(Stdio::piped());
    drop(child.stdin.take());
    assert_eq!(daemon.ordered(), Request::Ptt(PttAction::Stop));
    assert!(child.wait().expect("it ends").success());
    thread::sleep(Duration::from_millis(50));
    assert!(daemon.orders.try_recv().is_err(), "released once");
    // The daemon goes away while the key is held.
    let mut child = pressed(Stdio::null());
    drop(daemon);
    assert_eq!(child.wait().expect("it ends").code(), Some(69));
}

#[test]
fn only_the_owner_and_the_group_may_connect() {
    let (dir, path, mut config) = place();
    let binary = Path::new(env!("CARGO_BIN_EXE_hearth"));
    let as_other = |args: &[&str]| finished(hearth(dir.path(), args).uid(65_534).gid(65_534));
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    if Command::new(binary).arg("--version").uid(65_534).gid(65_534).output().is_err() {
        println!("skipped: not root, or the program lies where others cannot read it");
        return;
    }
    let daemon = Daemon::start(&config).expect("the place is free");
    let (code, _, error) = as_other(&["mute"]);
    assert_eq!((code, error), (69, format!("hearth: {} is not open to this user", path.display())));
    // Even where the file would let them in.
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("it is ours");
    assert_eq!(as_other(&["mute"]), (69, String::new(), "hearth: this user may not connect".into()));
    assert!(daemon.orders.try_recv().is_err());
    drop(daemon);
    config.group = Some("65534".into());
    let daemon = Daemon::start(&config).expect("the place is free");
    assert_eq!(as_other(&["mute"]).0, 0);
    assert_eq!(daemon.ordered(), Request::Mute(true));
    for file in [path.clone(), path.with_extension("json")] {
        let mode = fs::metadata(&file).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, if file == path { 0o660 } else { 0o640 });
    }
}

/// What the test below sees from the inside: runs in a process with another environment.
#[test]
fn notify() {
    if std::env::var_os("HEARTH_TEST_NOTIFY").is_none() {
        return;
    }
    let service = Service::from_env();
    assert_eq!(service.alive_every(), Some(Duration::from_secs(10)));
    service.extend(Duration::from_secs(60));
    service.status("loading\nREADY=1");
    service.ready("listening");
    service.alive();
    service.stopping();
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("it binds");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "notify"]).env("HEARTH_TEST_NOTIFY", "1").env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "30000000").env_remove("WATCHDOG_PID").stdout(Stdio::null());
    assert!(command.status().expect("it starts").success());
    for expected in [
        "EXTEND_TIMEOUT_USEC=60000000\n",
        "STATUS=loading READY=1\n",
        "READY=1\nSTATUS=listening\n",
        "WATCHDOG=1\n",
        "STOPPING=1\n",
    ] {
        let mut message = [0_u8; 256];
        let length = socket.recv(&mut message).expect("a message");
        assert_eq!(String::from_utf8_lossy(&message[..length]), expected);
    }
    // Without a service manager nothing happens.
    Service::from_env().ready("listening");
    let mut nothing = [0_u8; 1];
    socket.set_nonblocking(true).expect("it can");
    assert!(socket.recv(&mut nothing).is_err());
}
