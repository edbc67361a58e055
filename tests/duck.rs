//! Other players on a real D-Bus of the test's own: lowered or paused while hearth listens and speaks, and let go on.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use hearth::conversation::State;
use hearth::duck::{Duck, DuckConfig, Players};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep};
use zbus::export::futures_core::Stream;
use zbus::{Connection, MessageStream, OwnedVariant, Variant};

const PATH: &str = "/org/mpris/MediaPlayer2";
const PLAYER: &str = "org.mpris.MediaPlayer2.Player";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A bus; it ends with its owner.
struct Bus {
    process: Child,
    address: String,
}

impl Bus {
    fn start() -> Option<Self> {
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
struct Nature {
    status: &'static str,
    volume: f64,
    /// Its volume can be set.
    obeys: bool,
    /// It answers nothing.
    hangs: bool,
}

const PLAYS: Nature = Nature { status: "Playing", volume: 0.8, obeys: true, hangs: false };
const FIXED: Nature = Nature { obeys: false, ..PLAYS };

/// A player on the bus.
struct Player {
    nature: Rc<RefCell<Nature>>,
    bus: Connection,
    task: JoinHandle<()>,
}

impl Player {
    async fn start(bus: &Bus, name: &str, nature: Nature) -> Self {
        let connection = zbus::connection::Builder::address(bus.address.as_str()).build().await.expect("the bus runs");
        let nature = Rc::new(RefCell::new(nature));
        let calls = MessageStream::from(&connection);
        let task = spawn_local(serve(connection.clone(), calls, Rc::clone(&nature)));
        connection.request_name(format!("org.mpris.MediaPlayer2.{name}")).await.expect("the name is free");
        Self { nature, bus: connection, task }
    }

    /// As somebody sees it: what it does and how loud.
    fn seen(&self) -> (&'static str, f64) {
        let nature = self.nature.borrow();
        (nature.status, (nature.volume * 100.0).round() / 100.0)
    }

    /// Somebody turns its knobs.
    async fn set(&self, status: &'static str, volume: f64) {
        (self.nature.borrow_mut().status, self.nature.borrow_mut().volume) = (status, volume);
        announce(&self.bus, status).await;
    }

    async fn vanish(self) {
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

/// Waits until a player is seen so.
async fn until(player: &Player, expected: (&'static str, f64)) {
    let begun = Instant::now();
    while player.seen() != expected {
        assert!(begun.elapsed() < Duration::from_secs(5), "seen {:?}, expected {expected:?}", player.seen());
        sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for whatever is not expected to happen.
async fn rest() {
    sleep(Duration::from_millis(300)).await;
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Bus) -> F) {
    let Some(bus) = Bus::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test(bus));
}

fn start(bus: &Bus, players: Players) -> Duck {
    Duck::start(&DuckConfig { players }, Some(bus.address.clone()))
}

#[test]
fn players_are_quiet_while_hearth_listens_and_speaks() {
    run(|bus| async move {
        let loud = Player::start(&bus, "loud", PLAYS).await;
        let fixed = Player::start(&bus, "fixed", FIXED).await;
        let silent = Player::start(&bus, "silent", Nature { status: "Paused", ..PLAYS }).await;
        // It has a second name, and is lowered once.
        loud.bus.request_name("org.mpris.MediaPlayer2.loud.instance1").await.expect("the name is free");
        let duck = start(&bus, Players::Volume);
        for state in [State::Listening, State::Thinking, State::Acting, State::Speaking] {
            duck.show(state);
            until(&loud, ("Playing", 0.16)).await;
            until(&fixed, ("Paused", 0.8)).await;
            rest().await;
            assert_eq!((loud.seen().1, silent.seen()), (0.16, ("Paused", 0.8)), "{state:?}");
        }
        duck.show(State::Idle);
        until(&loud, ("Playing", 0.8)).await;
        until(&fixed, ("Playing", 0.8)).await;
        assert_eq!(silent.seen(), ("Paused", 0.8));

        // The daemon ends in the middle of a turn.
        duck.show(State::Listening);
        until(&loud, ("Playing", 0.16)).await;
        duck.end().await;
        assert_eq!((loud.seen(), fixed.seen()), (("Playing", 0.8), ("Playing", 0.8)));
    });
}

#[test]
fn what_somebody_changed_meanwhile_stays() {
    // What the player is like, what hearth makes of it, what somebody does then, one after another, and what is left.
    type Seen = (&'static str, f64);
    async fn check(players: Players, nature: Nature, made: Seen, done: &[Seen], left: Seen) {
        let Some(bus) = Bus::start() else { return };
        let player = Player::start(&bus, "player", nature).await;
        let duck = start(&bus, players);
        duck.show(State::Listening);
        until(&player, made).await;
        rest().await;
        for (status, volume) in done {
            player.set(status, *volume).await;
        }
        duck.show(State::Idle);
        until(&player, left).await;
        rest().await;
        assert_eq!(player.seen(), left, "{players:?}, {done:?}");
        duck.end().await;
    }
    run(|_| async {
        let (lowered, paused) = (("Playing", 0.16), ("Paused", 0.8));
        check(Players::Volume, PLAYS, lowered, &[("Playing", 0.5)], ("Playing", 0.5)).await;
        check(Players::Volume, PLAYS, lowered, &[("Paused", 0.16)], paused).await;
        check(Players::Pause, PLAYS, paused, &[], ("Playing", 0.8)).await;
        check(Players::Pause, PLAYS, paused, &[("Stopped", 0.8)], ("Stopped", 0.8)).await;
        // Nobody would see from the end that it was paused by somebody else.
        check(Players::Pause, PLAYS, paused, &[("Playing", 0.8), paused], paused).await;
        check(Players::Off, PLAYS, ("Playing", 0.8), &[], ("Playing", 0.8)).await;
    });
}

#[test]
fn a_player_that_vanishes_or_hangs_keeps_no_other_waiting() {
    run(|bus| async move {
        let player = Player::start(&bus, "player", PLAYS).await;
        let vanishing = Player::start(&bus, "vanishing", PLAYS).await;
        let hanging = Player::start(&bus, "hanging", Nature { hangs: true, ..PLAYS }).await;
        let duck = start(&bus, Players::Volume);
        let begun = Instant::now();
        duck.show(State::Listening);
        until(&player, ("Playing", 0.16)).await;
        until(&vanishing, ("Playing", 0.16)).await;
        assert!(begun.elapsed() < Duration::from_millis(450), "{:?}", begun.elapsed());
        vanishing.vanish().await;
        // One that is started anew under its name was never touched.
        let anew = Player::start(&bus, "vanishing", Nature { volume: 0.16, ..PLAYS }).await;
        duck.show(State::Idle);
        until(&player, ("Playing", 0.8)).await;
        rest().await;
        assert_eq!((anew.seen().1, hanging.seen().1), (0.16, 0.8));

        // One that hangs once it was lowered is given up, and no other is.
        duck.show(State::Listening);
        until(&player, ("Playing", 0.16)).await;
        rest().await;
        anew.nature.borrow_mut().hangs = true;
        duck.show(State::Idle);
        until(&player, ("Playing", 0.8)).await;
        sleep(Duration::from_millis(600)).await;
        duck.show(State::Speaking);
        until(&player, ("Playing", 0.16)).await;
        duck.end().await;
        assert_eq!(player.seen(), ("Playing", 0.8));
    });
}

#[test]
fn without_a_bus_nothing_happens() {
    run(|_| async {
        let nowhere = "unix:path=/nonexistent/bus".to_owned();
        let duck = Duck::start(&DuckConfig::default(), Some(nowhere));
        for state in [State::Listening, State::Idle, State::Listening] {
            duck.show(state);
            rest().await;
        }
        let begun = Instant::now();
        duck.end().await;
        assert!(begun.elapsed() < Duration::from_millis(500));
    });
}
