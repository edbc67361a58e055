//! `hearth home`: the home without a conversation. Blocking, on the caller's thread.
//!
//! The configured home is opened for the length of the command; a simulated one begins anew each time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::ask::{self, Household, Presence};
use crate::config::Config;
use crate::dialogue::{Consent, Outcome, ToolCall};
use crate::failure::{Failure, INTERNAL, UNAVAILABLE, USAGE};
use crate::home::audit::AuditLog;
use crate::home::device::{Device, Health, State};
use crate::home::house::House;
use crate::home::own;
use crate::terminal;

/// How often it is looked whether something changed.
const LOOK: Duration = Duration::from_millis(50);
/// A server that is there answers within this time.
const MEETING: Duration = Duration::from_secs(3);
/// What a server tells at first comes within this time.
const FIRST_STATES: Duration = Duration::from_millis(200);

/// Prints all devices and how they are.
///
/// # Errors
/// When the home cannot be opened.
pub fn list(config: &Config, as_json: bool) -> Result<(), Failure> {
    let Household { house, .. } = ask::household(config)?;
    met(&house);
    let devices = house.devices();
    if as_json {
        let rows: Vec<Value> =
            devices.iter().map(|device| json!({"device": device, "state": house.state(&device.id)})).collect();
        let health: Vec<Value> =
            house.health().into_iter().map(|(name, health)| json!({"backend": name, "health": health})).collect();
        return terminal::json(&json!({"devices": rows, "backends": health}));
    }
    let width = devices.iter().map(|device| device.id.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for device in &devices {
        let state = house.words(device).unwrap_or_else(|| "unknown".to_owned());
        let room = device.room.as_deref().map(|room| format!(" ({room})")).unwrap_or_default();
        let _ = writeln!(text, "{:width$}  {}{room}: {state}", device.id, device.name);
    }
    for (name, health) in house.health() {
        if health != Health::Ready {
            let _ = writeln!(text, "{name} {}", told(&health));
        }
    }
    if text.is_empty() {
        text.push_str("no devices\n");
    }
    terminal::line(text.trim_end())
}

/// Waits until every server has answered or is known not to, and a moment more for what it tells at first.
pub fn met(house: &House) {
    let begun = Instant::now();
    let waits = || house.health().iter().any(|(_, health)| matches!(health, Health::Connecting(_)));
    if !waits() && house.devices().iter().all(|device| house.state(&device.id).is_some()) {
        return;
    }
    while waits() && begun.elapsed() < MEETING {
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(FIRST_STATES);
}

/// Prints a line for every change, of a device or of a server, as it happens; goes on until it is stopped.
///
/// # Errors
/// When the home cannot be opened, or standard output fails.
pub fn watch(config: &Config, as_json: bool) -> Result<(), Failure> {
    let Household { house, .. } = ask::household(config)?;
    met(&house);
    let mut watched = Watched::default();
    // What is so already is no change.
    watched.changes(&house);
    loop {
        for change in watched.changes(&house) {
            let text = if as_json { change.json().to_string() } else { change.line() };
            match writeln!(std::io::stdout(), "{text}") {
                // Who closes the pipe has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                printed => printed.map_err(|error| Failure::new(INTERNAL, format!("standard output: {error}")))?,
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// What was seen last.
#[derive(Debug, Default)]
struct Watched {
    states: BTreeMap<String, (String, State)>,
    health: Vec<(&'static str, Health)>,
}

/// Something that changed.
#[derive(Debug)]
enum Change {
    Device { device: Device, words: String, state: Box<State> },
    Server { name: &'static str, health: Health },
}

impl Watched {
    /// What changed since this was last asked. A state that nobody knows for now, while a server is away, is no change.
    fn changes(&mut self, house: &House) -> Vec<Change> {
        let mut changes = Vec::new();
        let health = house.health();
        let known = std::mem::replace(&mut self.health, health.clone());
        for (index, (name, health)) in health.into_iter().enumerate() {
            if known.get(index).is_none_or(|(_, known)| *known != health) {
                changes.push(Change::Server { name, health });
            }
        }
        for device in house.devices() {
            let (Some(words), Some(state)) = (house.words(&device), house.state(&device.id)) else { continue };
            let now = (words.clone(), state.clone());
            if self.states.insert(device.id.clone(), now.clone()).is_none_or(|known| known != now) {
                changes.push(Change::Device { device, words, state: Box::new(state) });
            }
        }
        changes
    }
}

impl Change {
    /// "19:03:12  Kitchen Light (Kitchen): on at 40 percent"
    fn line(&self) -> String {
        let time = own::calendar()().strftime("%H:%M:%S").to_string();
        match self {
            Self::Device { device, words, .. } => {
                let room = device.room.as_deref().map(|room| format!(" ({room})")).unwrap_or_default();
                format!("{time}  {}{room}: {words}", device.name)
            }
            Self::Server { name, health } => format!("{time}  {name}: {}", told(health)),
        }
    }

    fn json(&self) -> Value {
        let time = own::calendar()().timestamp().to_string();
        match self {
            Self::Device { device, words, state } => {
                json!({"at": time, "device": device.id, "name": device.name, "words": words, "state": state})
            }
            Self::Server { name, health } => json!({"at": time, "backend": name, "health": health}),
        }
    }
}

/// How a server is, in words.
pub fn told(health: &Health) -> String {
    match health {
        Health::Ready => "connected".to_owned(),
        Health::Connecting(why) => format!("cannot be reached: {why}"),
        Health::Unauthorised(why) => format!("does not let hearth in: {why}"),
    }
}

/// Calls a tool as a person at this machine: no question is asked, whatever the level of the call.
///
/// # Errors
/// When the arguments are no JSON object, the home cannot be opened, or the call was not carried out.
pub fn call(config: &Config, tool: &str, arguments: &str) -> Result<(), Failure> {
    let arguments: Map<String, Value> = serde_json::from_str(arguments)
        .map_err(|error| Failure::new(USAGE, format!("the arguments are no JSON object: {error}")))?;
    let Household { tools, .. } = ask::household_with(config, ask::kept_timers(config), Presence::Visit)?;
    let tools = tools.audited(AuditLog::new(&config.state.path(), &config.audit));
    let names: Vec<String> = tools.specs().into_iter().map(|spec| spec.name).collect();
    if !names.iter().any(|name| name == tool) {
        return Err(Failure::new(USAGE, format!("there is no tool {tool}, but {}", names.join(", "))));
    }
    let call = ToolCall { consent: Consent::ByHand, ..ToolCall::new(tool, arguments) };
    let result = tools.call_blocking(&call);
    terminal::json(&result)?;
    match result.outcome {
        Outcome::Done => Ok(()),
        Outcome::Asked | Outcome::Refused => Err(Failure::new(USAGE, format!("{tool} was not carried out"))),
        Outcome::Failed => Err(Failure::new(UNAVAILABLE, format!("{tool} failed"))),
    }
}
