//! One connection, from its first message to its last: keeps devices and states in step with the server, makes the calls
//! and waits for what comes of them.
//!
//! Runs in the connection's task and never blocks. Everything it waits for has a limit: an order its deadline, the
//! server's lists [`SYNC`], a silent server [`PONG`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::connection::{Command, Connection};
use super::link::{Link, Lost, quote};
use super::registry::{Replies, devices, exposed};
use super::services::{Call, Progress, call, progress, told};
use super::states::{Entity, Unit};
use crate::home::device::{Fault, Health, State};

/// All replies about devices must come within this time.
const SYNC: Duration = Duration::from_secs(10);
/// Changes of the registries come in bursts; they are read once, so long after the first.
const BURST: Duration = Duration::from_millis(500);
/// What no event tells of, such as exposing an entity that has no unique id, is looked for this often.
const REFRESH: Duration = Duration::from_secs(300);
/// A server that said nothing for so long is asked for a sign of life.
const PING: Duration = Duration::from_secs(20);
/// It has so long to give one.
const PONG: Duration = Duration::from_secs(5);
/// A state that is near what was wanted and stays so for this long is as near as it gets.
const SETTLED: Duration = Duration::from_millis(800);
/// Orders at once; the next ones wait in the queue.
const MAX_ORDERS: usize = 64;

/// Events after which the devices may be others.
const CHANGES: [&str; 6] = [
    "entity_registry_updated",
    "device_registry_updated",
    "area_registry_updated",
    "floor_registry_updated",
    "label_registry_updated",
    "homeassistant_started",
];

/// An order that went out.
struct Pending {
    command: Command,
    call: Call,
    /// The entity when it went out.
    before: Entity,
    sent_at: Instant,
    /// When the server said that the service had been carried out.
    accepted_at: Option<Instant>,
}

/// One connection, from its first message to its last.
pub(super) struct Session<'a> {
    connection: &'a mut Connection,
    link: Link,
    last_id: u64,
    /// Requests whose answers are awaited, and answers that have come.
    asked: HashSet<u64>,
    answers: HashMap<u64, Result<Value, String>>,
    /// Event subscriptions after whose events the devices are read again.
    changes: HashSet<u64>,
    /// The subscription to states and whose they are.
    states: Option<u64>,
    subscribed: Vec<String>,
    /// Has the subscription told its first states?
    told_states: bool,
    orders: HashMap<u64, Pending>,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    /// When the devices are to be read again.
    sync_at: Instant,
    ready: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(connection: &'a mut Connection, link: Link) -> Self {
        let now = Instant::now();
        Self {
            connection,
            link,
            last_id: 0,
            asked: HashSet::new(),
            answers: HashMap::new(),
            changes: HashSet::new(),
            states: None,
            subscribed: Vec::new(),
            told_states: false,
            orders: HashMap::new(),
            heard_at: now,
            pinged_at: None,
            sync_at: now,
            ready: false,
        }
    }

    /// Serves until the connection is lost; gives the reason.
    pub(super) async fn live(&mut self, told: &mut bool) -> Lost {
        match self.serve(told).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn serve(&mut self, told: &mut bool) -> Result<std::convert::Infallible, Lost> {
        let late = |_| Lost::Gone(format!("the devices did not come within {} s", SYNC.as_secs()));
        timeout(SYNC, self.watch_changes()).await.map_err(late)??;
        loop {
            if self.sync_at <= Instant::now() {
                self.sync_at = Instant::now() + REFRESH;
                timeout(SYNC, self.sync()).await.map_err(late)??;
                if !std::mem::replace(&mut self.ready, true) {
                    self.connection.shared.set_health(Health::Ready);
                    let (url, version) = (&self.connection.url, &self.link.version);
                    info!(url, version, devices = self.connection.shared.view().devices.len(), "Home Assistant");
                    *told = false;
                    for command in std::mem::take(&mut self.connection.backlog) {
                        self.begin(command).await?;
                    }
                }
            }
            self.step().await?;
        }
    }

    /// Whatever comes next: a message, an order, a time that is up.
    async fn step(&mut self) -> Result<(), Lost> {
        let wake = self.wake_at();
        let room = self.ready && self.orders.len() < MAX_ORDERS;
        tokio::select! {
            message = self.link.next() => {
                let message = message?;
                self.heard_at = Instant::now();
                self.pinged_at = None;
                self.dispatch(&message);
            }
            command = self.connection.commands.recv(), if room => match command {
                Some(command) => self.begin(command).await?,
                None => return Err(Lost::Closed),
            },
            () = sleep_until(wake) => self.look().await?,
        }
        Ok(())
    }

    fn wake_at(&self) -> Instant {
        let life = self.pinged_at.map_or(self.heard_at + PING, |at| at + PONG);
        let orders = self.orders.values().map(|pending| {
            let settled = pending.accepted_at.map(|at| at + SETTLED).filter(|at| *at > Instant::now());
            settled.map_or(pending.command.deadline, |at| at.min(pending.command.deadline))
        });
        // A sync in progress steps too, and must not spin on its own date.
        let sync = (self.sync_at > Instant::now()).then_some(self.sync_at);
        orders.chain(sync).fold(life, Instant::min)
    }

    /// Looks at every order and at the server's pulse.
    async fn look(&mut self) -> Result<(), Lost> {
        let now = Instant::now();
        let mut dead = false;
        let ids: Vec<u64> = self.orders.keys().copied().collect();
        for id in ids {
            // Every call is followed by a ping: a server that said nothing at all since then is not there.
            dead |= self.orders.get(&id).is_some_and(|p| p.command.deadline <= now && self.heard_at < p.sent_at);
            self.judge(id);
        }
        if dead || self.pinged_at.is_some_and(|at| at + PONG <= now) {
            return Err(Lost::Gone("the server does not answer".to_owned()));
        }
        if self.pinged_at.is_none() && self.heard_at + PING <= now {
            self.ping().await?;
        }
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Lost> {
        self.pinged_at.get_or_insert(Instant::now());
        self.send(json!({"type": "ping"})).await.map(|_| ())
    }

    async fn send(&mut self, mut message: Value) -> Result<u64, Lost> {
        self.last_id += 1;
        message["id"] = Value::from(self.last_id);
        self.link.send(&message).await?;
        Ok(self.last_id)
    }

    /// Asks all at once and gives the answers in the same order. Everything else goes on meanwhile.
    async fn ask<const N: usize>(&mut self, requests: [Value; N]) -> Result<[Result<Value, String>; N], Lost> {
        let mut ids = [0; N];
        for (id, request) in ids.iter_mut().zip(requests) {
            *id = self.send(request).await?;
            self.asked.insert(*id);
        }
        while ids.iter().any(|id| !self.answers.contains_key(id)) {
            self.step().await?;
        }
        Ok(ids.map(|id| self.answers.remove(&id).unwrap_or_else(|| Err(String::new()))))
    }

    async fn watch_changes(&mut self) -> Result<(), Lost> {
        for event in CHANGES {
            let id = self.send(json!({"type": "subscribe_events", "event_type": event})).await?;
            self.changes.insert(id);
        }
        Ok(())
    }

    /// Reads what there is, and subscribes to the states of what is exposed.
    async fn sync(&mut self) -> Result<(), Lost> {
        let list = |what: &str| json!({"type": format!("config/{what}_registry/list")});
        let expose = json!({"type": "homeassistant/expose_entity/list"});
        let requests =
            [json!({"type": "get_config"}), expose, list("device"), list("area"), list("floor"), list("label")];
        let [config, exposed_reply, devices_reply, areas, floors, labels] = self.ask(requests).await?;
        let refused = |what: &str, code: String| match code.as_str() {
            "unauthorized" => Lost::Unauthorised(format!("its user is no administrator and may not read {what}")),
            _ => Lost::Gone(format!("the server does not tell {what}: {code}")),
        };
        let exposed_reply = exposed_reply.map_err(|code| refused("what is exposed to Assist", code))?;
        let ids = exposed(&exposed_reply);
        let [entries] = self.ask([json!({"type": "config/entity_registry/get_entries", "entity_ids": ids})]).await?;
        let unit = Unit::named(config.unwrap_or_default()["unit_system"]["temperature"].as_str());
        self.connection.shared.view().unit = unit;
        if ids.is_empty() {
            warn!("Home Assistant exposes nothing to Assist: hearth sees no devices there");
        }
        self.subscribe(ids).await?;
        let replies = Replies {
            exposed: exposed_reply,
            entries: entries.map_err(|code| refused("its entities", code))?,
            devices: devices_reply.map_err(|code| refused("its devices", code))?,
            areas: areas.map_err(|code| refused("its areas", code))?,
            // Servers before 2024.4 know neither.
            floors: floors.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
        };
        let mut view = self.connection.shared.view();
        let devices = devices(&replies, &view.states, unit);
        if *view.devices != devices {
            debug!(devices = devices.len(), "the devices of Home Assistant are others");
            view.devices = Arc::new(devices);
            view.version += 1;
        }
        Ok(())
    }

    /// Follows the states of these entities, and of no others.
    async fn subscribe(&mut self, ids: Vec<String>) -> Result<(), Lost> {
        if self.states.is_some() && ids == self.subscribed {
            return Ok(());
        }
        let old = self.states.take();
        self.subscribed.clone_from(&ids);
        self.told_states = ids.is_empty();
        // Without a list the server would tell of everything.
        if !ids.is_empty() {
            let id = self.send(json!({"type": "subscribe_entities", "entity_ids": ids})).await?;
            self.states = Some(id);
            while !self.told_states {
                self.step().await?;
            }
        }
        if let Some(old) = old {
            self.send(json!({"type": "unsubscribe_events", "subscription": old})).await?;
        }
        let keep: HashSet<String> = ids.into_iter().collect();
        self.connection.shared.view().states.retain(|id, _| keep.contains(id));
        Ok(())
    }

    fn dispatch(&mut self, message: &Value) {
        let Some(id) = message["id"].as_u64() else { return };
        match message["type"].as_str() {
            Some("result") if self.asked.remove(&id) => {
                let failed = || quote(&message["error"]["code"]);
                let good = message["success"] == Value::Bool(true);
                self.answers.insert(id, if good { Ok(message["result"].clone()) } else { Err(failed()) });
            }
            Some("result") if self.orders.contains_key(&id) => self.accepted(id, message),
            Some("event") if self.states == Some(id) => self.told(&message["event"]),
            Some("event") if self.changes.contains(&id) => {
                self.sync_at = self.sync_at.min(Instant::now() + BURST);
            }
            _ => {}
        }
    }

    /// States that came by subscription.
    fn told(&mut self, event: &Value) {
        self.told_states = true;
        let mut touched = HashSet::new();
        {
            let mut view = self.connection.shared.view();
            for (id, state) in event["a"].as_object().into_iter().flatten() {
                let heard = view.states.get(id).map_or(0, |entity| entity.heard);
                let mut entity = Entity::added(state);
                entity.heard += heard;
                view.states.insert(id.clone(), entity);
                touched.insert(id.clone());
            }
            for (id, difference) in event["c"].as_object().into_iter().flatten() {
                view.states.entry(id.clone()).or_default().change(difference);
                touched.insert(id.clone());
            }
            for id in event["r"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                view.states.remove(id);
                self.sync_at = self.sync_at.min(Instant::now() + BURST);
            }
        }
        let concerned = self.orders.iter().filter(|(_, pending)| touched.contains(&pending.command.id));
        let concerned: Vec<u64> = concerned.map(|(id, _)| *id).collect();
        for id in concerned {
            self.judge(id);
        }
    }

    /// Sends an order to the server, if somebody still waits for it.
    async fn begin(&mut self, command: Command) -> Result<(), Lost> {
        if command.reply.is_closed() || command.deadline <= Instant::now() {
            return Ok(());
        }
        let (entity, unit) = {
            let view = self.connection.shared.view();
            let known = view.devices.iter().any(|device| device.id == command.id);
            (view.states.get(&command.id).filter(|_| known).cloned(), view.unit)
        };
        let before = match entity {
            Some(entity) if !entity.is_away() => entity,
            _ => {
                let away = format!("{} is not available", command.id);
                command.answer(Err(Fault::Unreachable(away)));
                return Ok(());
            }
        };
        let call = match call(&command.id, &before, &command.order, unit) {
            Ok(call) => call,
            Err(fault) => {
                command.answer(Err(fault));
                return Ok(());
            }
        };
        let message = json!({
            "type": "call_service", "domain": call.domain, "service": call.service, "service_data": call.data,
            "target": {"entity_id": command.id},
        });
        command.sent.store(true, Ordering::Relaxed);
        let sent_at = Instant::now();
        // The number it will have: if sending fails it may still have arrived, and is treated so.
        let id = self.last_id + 1;
        self.orders.insert(id, Pending { command, call, before, sent_at, accepted_at: None });
        self.send(message).await?;
        self.ping().await
    }

    /// The server says what became of a call.
    fn accepted(&mut self, id: u64, message: &Value) {
        if message["success"] == Value::Bool(true) {
            if let Some(pending) = self.orders.get_mut(&id) {
                pending.accepted_at = Some(Instant::now());
            }
            self.judge(id);
            return;
        }
        let Some(pending) = self.orders.remove(&id) else { return };
        let (code, text) = (quote(&message["error"]["code"]), quote(&message["error"]["message"]));
        debug!(entity = pending.command.id, service = pending.call.service, code, text, "Home Assistant refused");
        let fault = match code.as_str() {
            "not_found" | "invalid_format" | "service_validation_error" | "not_supported" => {
                Fault::Refused(pending.command.order.cannot().to_owned())
            }
            "unauthorized" => Fault::Refused("may not be used by hearth".to_owned()),
            // The device's own trouble, such as not answering the server.
            "home_assistant_error" => Fault::Unreachable(text),
            _ => Fault::Unconfirmed(format!("{code}: {text}")),
        };
        pending.command.answer(Err(fault));
    }

    /// Answers an order if it is clear what became of it.
    fn judge(&mut self, id: u64) {
        let Some(pending) = self.orders.get(&id) else { return };
        let answer = {
            let view = self.connection.shared.view();
            verdict(pending, view.states.get(&pending.command.id), view.unit, Instant::now())
        };
        if let Some(answer) = answer
            && let Some(pending) = self.orders.remove(&id)
        {
            debug!(
                entity = pending.command.id,
                service = pending.call.service,
                ms = pending.sent_at.elapsed().as_millis(),
                came_true = answer.is_ok(),
                "call"
            );
            pending.command.answer(answer);
        }
    }

    /// The connection is lost: what may be done twice waits for the next one.
    pub(super) fn end(self) {
        let mut view = self.connection.shared.view();
        // They may be others by the time that anyone can ask again.
        view.states.clear();
        drop(view);
        for (_, pending) in self.orders {
            if pending.call.again {
                self.connection.backlog.push(pending.command);
            } else {
                let lost = "the connection ended before the answer".to_owned();
                pending.command.answer(Err(Fault::Unconfirmed(lost)));
            }
        }
    }
}

/// What became of an order, if that is clear by now.
fn verdict(pending: &Pending, now: Option<&Entity>, unit: Unit, at: Instant) -> Option<Result<State, Fault>> {
    let Pending { command, call, before, accepted_at, .. } = pending;
    let id = &command.id;
    let late = command.deadline <= at;
    let Some(entity) = now else {
        return late.then(|| Err(Fault::Unconfirmed(format!("{id} is gone"))));
    };
    let came = progress(id, &call.goal, before, entity, unit);
    let was = progress(id, &call.goal, before, before, unit);
    let settled = accepted_at.is_some_and(|accepted| accepted + SETTLED <= at);
    let good = match came {
        // What was so before says nothing until the server has answered.
        Progress::Done => accepted_at.is_some() || (entity.heard > before.heard && was != Progress::Done),
        Progress::Near => settled || (late && accepted_at.is_some()),
        Progress::Coming => late && accepted_at.is_some(),
        Progress::Not => false,
    };
    match (good, late, accepted_at) {
        (true, ..) => Some(Ok(told(id, &call.goal, before, entity, unit))),
        (false, false, _) => None,
        (false, true, Some(_)) => Some(Err(Fault::Unconfirmed(format!("{id} is {}", entity.state)))),
        (false, true, None) => Some(Err(Fault::TimedOut)),
    }
}
