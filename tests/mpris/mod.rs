//! A D-Bus of the test's own and players on it, as MPRIS describes them.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use tokio::task::{JoinHandle, spawn_local};
use zbus::export::futures_core::Stream;
use zbus::{Connection, MessageStream, OwnedVariant, Variant};

const PATH: &str = "/org/mpris/MediaPlayer2";
const PLAYER: &str = "org.mpris.MediaPlayer2.Player";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A bus; it ends with its owner.
pub struct Bus {
    process: Child,
    pub address: String,
}

impl Bus {
    /// Starts one; none where there is no D-Bus.
    pub fn start() -> Option<Self> {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--print-address"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut process) = command.spawn() else {
            eprintln!("SKIPPED: dbus-daemon is not installed (scripts/setup does it)");
            return None;
        };
        let mut address = String::new();
        let out = process.stdout.take().expect("it was asked for");
        BufReader::new(out).read_line(&mut address).expect("it says where it is");
        Some(Self { process, address: address.trim().to_owned() })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a player is like.
#[derive(Clone)]
pub struct Nature {
    pub status: &'static str,
    pub volume: f64,
    /// Its volume can be set.
    pub obeys: bool,
    /// It answers nothing.
    pub hangs: bool,
}

/// One that plays and whose volume can be set.
pub const PLAYS: Nature = Nature { status: "Playing", volume: 0.8, obeys: true, hangs: false };
/// One that plays and whose volume cannot be set.
pub const FIXED: Nature = Nature { obeys: false, ..PLAYS };

/// A player on the bus.
pub struct Player {
    pub nature: Rc<RefCell<Nature>>,
    pub bus: Connection,
    task: JoinHandle<()>,
}

impl Player {
    /// Puts one on the bus, within a `LocalSet`.
    pub async fn start(address: &str, name: &str, nature: Nature) -> Self {
        let connection = zbus::connection::Builder::address(address).build().await.expect("the bus runs");
        let nature = Rc::new(RefCell::new(nature));
        let calls = MessageStream::from(&connection);
        let task = spawn_local(serve(connection.clone(), calls, Rc::clone(&nature)));
        connection.request_name(format!("org.mpris.MediaPlayer2.{name}")).await.expect("the name is free");
        Self { nature, bus: connection, task }
    }

    /// As somebody sees it: what it does and how loud.
    pub fn seen(&self) -> (&'static str, f64) {
        let nature = self.nature.borrow();
        (nature.status, (nature.volume * 100.0).round() / 100.0)
    }

    /// Somebody turns its knobs.
    pub async fn set(&self, status: &'static str, volume: f64) {
        (self.nature.borrow_mut().status, self.nature.borrow_mut().volume) = (status, volume);
        announce(&self.bus, status).await;
    }

    /// Goes.
    pub async fn vanish(self) {
        self.task.abort();
        self.bus.close().await.expect("it was open");
    }
}

async fn announce(bus: &Connection, status: &str) {
    let changed = std::collections::HashMap::from([("PlaybackStatus", Variant::from(status))]);
    let body = (PLAYER, changed, Vec::<&str>::new());
    bus.emit_signal(None::<&str>, PATH, PROPERTIES, "PropertiesChanged", &body).await.expect("the bus runs");
}

async fn serve(bus: Connection, mut calls: MessageStream, nature: Rc<RefCell<Nature>>) {
    while let Some(Ok(call)) = poll_fn(|context| Pin::new(&mut calls).poll_next(context)).await {
        let header = call.header();
        let (Some(member), false) = (header.member(), nature.borrow().hangs) else { continue };
        let current = nature.borrow().clone();
        match member.as_str() {
            "Get" => {
                let body = call.body();
                let (_, property): (String, String) = body.deserialize().expect("as the interface says");
                let value = match property.as_str() {
                    "PlaybackStatus" => Variant::from(current.status),
                    _ => Variant::from(current.volume),
                };
                bus.reply(&header, &value).await.expect("the bus runs");
            }
            "Set" if current.obeys => {
                let body = call.body();
                let (_, _, volume): (String, String, OwnedVariant) = body.deserialize().expect("as the interface says");
                nature.borrow_mut().volume = volume.try_into().expect("a volume");
                bus.reply(&header, &()).await.expect("the bus runs");
            }
            "Set" => {
                let error = "org.freedesktop.DBus.Error.PropertyReadOnly";
                bus.reply_error(&header, error, &"Volume").await.expect("the bus runs");
            }
            "Pause" | "Play" => {
                let status = if member.as_str() == "Play" { "Playing" } else { "Paused" };
                nature.borrow_mut().status = status;
                announce(&bus, status).await;
                bus.reply(&header, &()).await.expect("the bus runs");
            }
            _ => {}
        }
    }
}
