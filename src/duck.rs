//! Makes other players quiet while hearth listens and speaks, and lets them go on afterwards: MPRIS over the session's
//! D-Bus.
//!
//! Owns the connection and what was done to which player. Touches only players that were playing, and gives back only what
//! is still as it left it: whoever turned a knob meanwhile knows better. A player that is gone or hangs is passed over,
//! and without a bus nothing happens. A task on the daemon's runtime: the daemon tells it a state and never waits for it.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};
use zbus::connection::Builder;
use zbus::export::futures_core::Stream;
use zbus::{Connection, DynamicType, MatchRule, Message, MessageStream, OwnedVariant, Variant};

use crate::conversation::State;

/// A player, or the bus, may take so long to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// All of it may take so long when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// Some players answer before they have done what they were asked: look again after this.
const SETTLE: Duration = Duration::from_millis(100);
/// As loud as this part of what it was: 14 dB less.
const LOWERED: f64 = 0.2;
/// Volumes that differ by less are the same: players round.
const SAME: f64 = 0.02;
/// More players than anybody has.
const MAX_PLAYERS: usize = 16;

/// Where a player is found.
const PREFIX: &str = "org.mpris.MediaPlayer2.";
/// Stands for another player; it would be made quiet twice.
const STAND_IN: &str = "org.mpris.MediaPlayer2.playerctld";
const PATH: &str = "/org/mpris/MediaPlayer2";
const PLAYER: &str = "org.mpris.MediaPlayer2.Player";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What happens to other players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Players {
    /// They play at a fifth of their volume; those whose volume cannot be set pause.
    #[default]
    Volume,
    /// They pause.
    Pause,
    /// Nothing.
    Off,
}

/// `[duck]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DuckConfig {
    /// What happens to other players while hearth listens and speaks.
    pub players: Players,
}

/// What is to be so. Only the newest counts, so that one is enough of a queue, and it is never full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    quiet: bool,
    players: Players,
}

/// The task that keeps other players quiet.
pub struct Duck {
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
}

impl Duck {
    /// Starts it, within a `LocalSet`. `bus` is a D-Bus address, if it is not the session's.
    pub fn start(config: &DuckConfig, bus: Option<String>) -> Self {
        let (wish, wishes) = watch::channel(Wish { quiet: false, players: config.players });
        let task = spawn_local(attend(wishes, Bus { address: bus, open: None, told: false }));
        Self { wish, task }
    }

    /// Tells it where the conversation stands.
    pub fn show(&self, state: State) {
        let quiet = matches!(state, State::Listening | State::Thinking | State::Acting | State::Speaking);
        self.wish.send_if_modified(|wish| std::mem::replace(&mut wish.quiet, quiet) != quiet);
    }

    /// Other settings, from the next time on.
    pub fn configure(&self, config: &DuckConfig) {
        self.wish.send_modify(|wish| wish.players = config.players);
    }

    /// Lets the players go on, and ends.
    pub async fn end(self) {
        drop(self.wish);
        if timeout(FAREWELL, self.task).await.is_err() {
            tracing::warn!("a player does not answer; it may still be quiet");
        }
    }
}

/// The body of the task.
async fn attend(mut wishes: watch::Receiver<Wish>, mut bus: Bus) {
    let mut held: Option<Vec<Held>> = None;
    loop {
        let wish = *wishes.borrow_and_update();
        match (wish.quiet && wish.players != Players::Off, held.take()) {
            (true, None) => held = Some(bus.hold(wish.players).await),
            (true, still) => held = still,
            (false, before) => release(before).await,
        }
        if wishes.changed().await.is_err() {
            return release(held).await;
        }
    }
}

async fn release(held: Option<Vec<Held>>) {
    let mut all: JoinSet<()> = JoinSet::new();
    for held in held.into_iter().flatten() {
        all.spawn_local(held.release());
    }
    all.join_all().await;
}

/// The session's bus, once there is need of it.
struct Bus {
    address: Option<String>,
    open: Option<Connection>,
    /// That there is none was said.
    told: bool,
}

impl Bus {
    async fn connection(&mut self) -> Option<Connection> {
        self.open.take_if(|bus| bus.is_closed());
        if self.open.is_none() {
            let builder = self.address.as_deref().map_or_else(Builder::session, Builder::address);
            let opened = timeout(PATIENCE, builder.method_timeout(PATIENCE).build()).await;
            let opened = opened.map_err(|_| "it does not answer".to_owned()).and_then(|r| r.map_err(|e| e.to_string()));
            match opened {
                Ok(bus) => self.open = Some(bus),
                Err(reason) if !self.told => {
                    self.told = true;
                    tracing::debug!(reason, "no session bus: other players are left alone");
                }
                Err(_) => {}
            }
        }
        self.open.clone()
    }

    /// Makes every player quiet that plays, all at once: one that hangs keeps no other waiting.
    async fn hold(&mut self, players: Players) -> Vec<Held> {
        let Some(bus) = self.connection().await else { return Vec::new() };
        let found = all_players(&bus).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the session bus does not say who is there");
            Vec::new()
        });
        let mut all = JoinSet::new();
        for player in found {
            all.spawn_local(async move {
                let held = player.hold(players).await;
                held.inspect_err(|error| tracing::debug!(player.name, %error, "this player is left alone")).ok()
            });
        }
        all.join_all().await.into_iter().flatten().flatten().collect()
    }
}

/// Every player once: some have several names.
async fn all_players(bus: &Connection) -> zbus::Result<Vec<Player>> {
    const BUS: &str = "org.freedesktop.DBus";
    let names = bus.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "ListNames", &()).await?;
    let names: Vec<String> = names.body().deserialize()?;
    let names = names.into_iter().filter(|name| name.starts_with(PREFIX) && name != STAND_IN);
    let mut found = BTreeMap::new();
    for name in names.take(MAX_PLAYERS) {
        let owner =
            bus.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "GetNameOwner", &name.as_str()).await;
        // It may have gone since.
        if let Some(owner) = owner.ok().and_then(|owner| owner.body().deserialize::<String>().ok()) {
            found.entry(owner.clone()).or_insert(Player { bus: bus.clone(), owner, name });
        }
    }
    Ok(found.into_values().collect())
}

/// A running player. One that is started anew is another.
#[derive(Clone)]
struct Player {
    bus: Connection,
    /// The name that is its own for as long as it runs.
    owner: String,
    name: String,
}

/// A player that was made quiet.
struct Held {
    player: Player,
    how: How,
}

enum How {
    /// Its volume was lowered, from and to.
    Lowered(f64, f64),
    /// It was paused and had this status then. A watcher ends when it plays again meanwhile.
    Paused(String, JoinSet<()>),
}

impl Player {
    async fn call<B>(&self, interface: &str, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: Serialize + DynamicType,
    {
        self.bus.call_method(Some(self.owner.as_str()), PATH, Some(interface), method, body).await
    }

    async fn get(&self, property: &str) -> zbus::Result<OwnedVariant> {
        self.call(PROPERTIES, "Get", &(PLAYER, property)).await?.body().deserialize()
    }

    async fn status(&self) -> zbus::Result<String> {
        self.get("PlaybackStatus").await?.try_into()
    }

    async fn volume(&self) -> zbus::Result<f64> {
        self.get("Volume").await?.try_into()
    }

    async fn set_volume(&self, volume: f64) -> zbus::Result<()> {
        self.call(PROPERTIES, "Set", &(PLAYER, "Volume", Variant::from(volume))).await.map(drop)
    }

    /// Makes it quiet. None when it does not play.
    async fn hold(&self, players: Players) -> zbus::Result<Option<Held>> {
        if self.status().await? != "Playing" {
            return Ok(None);
        }
        let lowered = if players == Players::Volume { self.lower().await } else { None };
        let how = match lowered {
            Some(how) => how,
            None => self.pause().await?,
        };
        tracing::debug!(self.name, paused = matches!(how, How::Paused(..)), "a player is made quiet");
        Ok(Some(Held { player: self.clone(), how }))
    }

    /// None when its volume cannot be set.
    async fn lower(&self) -> Option<How> {
        let before = self.volume().await.ok().filter(|volume| *volume > SAME)?;
        let target = before * LOWERED;
        match self.set_volume(target).await {
            // What was not answered in time may still be done.
            Err(error) if !is_late(&error) => return None,
            _ => {}
        }
        for wait in [Duration::ZERO, SETTLE] {
            sleep(wait).await;
            let now = self.volume().await.unwrap_or(target);
            if now < before * 0.9 {
                return Some(How::Lowered(before, now));
            }
        }
        // It may yet follow, and is to pause instead.
        let _ = self.set_volume(before).await;
        None
    }

    async fn pause(&self) -> zbus::Result<How> {
        let changes = MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(self.owner.as_str());
        let changes = changes.path(PATH).interface(PROPERTIES).member("PropertiesChanged").build()?;
        let mut watcher = JoinSet::new();
        watcher.spawn_local(plays(MessageStream::for_match_rule(changes, &self.bus, None).await?));
        match self.call(PLAYER, "Pause", &()).await {
            Err(error) if !is_late(&error) => return Err(error),
            _ => {}
        }
        for wait in [Duration::ZERO, SETTLE] {
            sleep(wait).await;
            // Some live streams can only stop.
            if let Some(status) = self.status().await.ok().filter(|status| status != "Playing") {
                return Ok(How::Paused(status, watcher));
            }
        }
        Ok(How::Paused("Paused".into(), watcher))
    }
}

fn is_late(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::InputOutput(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// Comes back when a player says that it plays.
async fn plays(mut changes: MessageStream) {
    while let Some(change) = poll_fn(|context| Pin::new(&mut changes).poll_next(context)).await {
        let Ok(change) = change else { continue };
        let body = change.body();
        let Ok((_, values, _)) = body.deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>() else {
            continue;
        };
        let status = values.into_iter().find(|(name, _)| name == "PlaybackStatus");
        if status.is_some_and(|(_, status)| String::try_from(status).is_ok_and(|status| status == "Playing")) {
            return;
        }
    }
}

impl Held {
    /// Lets the player go on, if it is still as it was left.
    async fn release(self) {
        let Self { player, how } = self;
        let released = match how {
            How::Lowered(before, lowered) => match player.volume().await {
                Ok(now) if (now - lowered).abs() < SAME => player.set_volume(before).await.map(|()| true),
                now => now.map(|_| false),
            },
            How::Paused(left, mut watcher) => match player.status().await {
                Ok(now) if now == left && watcher.try_join_next().is_none() => {
                    player.call(PLAYER, "Play", &()).await.map(|_| true)
                }
                now => now.map(|_| false),
            },
        };
        match released {
            Ok(as_before) => tracing::debug!(player.name, as_before, "a player may be heard again"),
            Err(error) => tracing::debug!(player.name, %error, "this player is gone or hangs"),
        }
    }
}
