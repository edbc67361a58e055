//! A home without a house: lights, lamps and switches that exist in memory, and timers.
//!
//! `House` is pure: a call and a table of devices in, a result out. What is said is made from the state that the table
//! holds *after* the call. Tools are declared by a `tools.json`; this file carries them out by name and knows the keys
//! `kind`, `room` and `percent`, and `name`, which a declaration may have instead of `kind` and `room`, or beside them.

mod things;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::device::{Device, Fault, Order, State};
use super::phrase::{at, list, sentence, thing};
use super::resolve::{Found, LIGHTING, by_name, by_place, room_named};
use super::timers::{Clock, SharedTimers, TimerState};
use super::{Answer, DEADLINE_S, HomeError, Registry, Tool, asked, failed, refused, result};
use crate::dialogue::{Arguments, Outcome, ToolResult, ToolSpec};

/// Most candidates that a question names.
const MAX_NAMED: usize = 4;

/// What the simulated home is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatedConfig {
    /// Room, or place in one, to the kinds of device in it, one of each. Lights and lamps can be dimmed, any other kind
    /// is a switch.
    pub rooms: BTreeMap<String, Vec<String>>,
    /// The room that the speaker is in.
    pub here: Option<String>,
    /// Ids of devices (`light.living_room`) that never answer, to see what a fault sounds like.
    pub unreachable: Vec<String>,
}

/// The simulated home as a backend: a handle, clones of which show the same home.
#[derive(Debug, Clone)]
pub struct Simulated(Arc<Mutex<Things>>);

/// The devices and their states, in the same order.
#[derive(Debug)]
struct Things {
    devices: Vec<Device>,
    states: Vec<State>,
    unreachable: BTreeSet<String>,
}

impl Simulated {
    /// All devices.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.lock().devices.clone()
    }

    /// How a device is.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<State> {
        let things = self.lock();
        let index = things.devices.iter().position(|device| device.id == id)?;
        Some(things.states[index].clone())
    }

    /// Carries out an order, at once.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] for one of the devices that never answer, [`Fault::Refused`] for what such a thing cannot.
    pub fn apply(&self, id: &str, order: &Order) -> Result<State, Fault> {
        let mut things = self.lock();
        let index = things.devices.iter().position(|device| device.id == id);
        let Some(index) = index.filter(|_| !things.unreachable.contains(id)) else {
            return Err(Fault::Unreachable(id.to_owned()));
        };
        let state = things::changed(&things.devices[index].kind, &things.states[index], order)?;
        things.states[index] = state.clone();
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, Things> {
        // States are replaced whole: what a panic left behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a device is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    on: bool,
    /// In percent, 1 to 100; kept while off. `None` for what cannot be dimmed.
    brightness: Option<u8>,
}

/// What a call wants of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    On,
    Off,
    Brightness(u8),
}

/// A device as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceState {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Is it on?
    pub on: bool,
    /// Percent, `None` for what cannot be dimmed.
    pub brightness: Option<u8>,
}

/// The whole home as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// By room.
    pub devices: Vec<DeviceState>,
    /// The next to ring first.
    pub timers: Vec<TimerState>,
}

/// The devices and their settings.
#[derive(Debug)]
struct House {
    devices: Vec<Device>,
    /// By device, in the same order.
    settings: Vec<Setting>,
    here: Option<String>,
    unreachable: BTreeSet<String>,
}

impl House {
    fn new(config: &SimulatedConfig) -> Result<Self, HomeError> {
        let wrong = |what: String| Err(HomeError::Config(what));
        let mut devices = Vec::new();
        for (room, kinds) in &config.rooms {
            for kind in kinds {
                if kind.trim().is_empty() || room.trim().is_empty() {
                    return wrong("rooms and kinds need names".to_owned());
                }
                if kind == "lights" {
                    return wrong(format!("{room}: lights is a word for several devices, list light and lamp"));
                }
                let id = format!("{kind}.{room}").to_lowercase().replace(' ', "_");
                let name = thing(room, kind);
                let aliases = vec![format!("{room} {kind}")];
                let (kind, places) = (kind.to_lowercase(), Vec::new());
                devices.push(Device { id, name, aliases, room: Some(room.clone()), places, kind });
            }
        }
        let ids: BTreeSet<&String> = devices.iter().map(|device| &device.id).collect();
        if ids.len() < devices.len() {
            return wrong("a room may have one device of each kind".to_owned());
        }
        if let Some(id) = config.unreachable.iter().find(|id| !ids.contains(id)) {
            return wrong(format!("unreachable: there is no {id}"));
        }
        if let Some(here) = config.here.as_ref().filter(|here| room_named(&devices, here).is_none()) {
            return wrong(format!("here: there is no {here}"));
        }
        let dark = |device: &Device| Setting { on: false, brightness: is_dimmable(device).then_some(100) };
        Ok(Self {
            settings: devices.iter().map(dark).collect(),
            devices,
            here: config.here.clone(),
            unreachable: config.unreachable.iter().cloned().collect(),
        })
    }

    fn snapshot(&self) -> Vec<DeviceState> {
        let state = |(device, setting): (&Device, &Setting)| DeviceState {
            id: device.id.clone(),
            name: device.name.clone(),
            on: setting.on,
            brightness: setting.brightness,
        };
        self.devices.iter().zip(&self.settings).map(state).collect()
    }

    /// Finds what is meant, sets it and says how it now is.
    fn apply(&mut self, tool: &str, arguments: &Arguments, wish: Wish) -> ToolResult {
        let word = |key: &str| arguments.get(key).and_then(Value::as_str);
        let room = word("room");
        // A name says more than a kind and a room.
        let (found, kind, room) = match (word("name"), word("kind")) {
            (Some(name), _) => (by_name(&self.devices, name), name, None),
            (None, Some(kind)) => (by_place(&self.devices, kind, room, self.here.as_deref()), kind, room),
            (None, None) => return asked(tool, "Which device do you mean?".to_owned()),
        };
        let (indices, subject) = match found {
            Found::One(device) => (vec![self.index(device)], Subject::one(device)),
            Found::All(devices) => {
                let indices = devices.iter().map(|device| self.index(device)).collect();
                (indices, Subject::all(&devices, kind, room.is_some()))
            }
            Found::Ambiguous(devices) => return asked(tool, which(kind, &devices)),
            Found::Nothing(near) => return missing(tool, kind, room, &near),
            Found::NoRoom => return missing(tool, kind, room, &[]),
        };
        let (indices, fixed): (Vec<usize>, Vec<usize>) =
            indices.into_iter().partition(|&index| matches!(wish, Wish::On | Wish::Off) || self.can_dim(index));
        if indices.is_empty() {
            let say = sentence(&format!("{} cannot be dimmed", subject.text));
            return refused(tool, &format!("{} of {kind} cannot be dimmed", fixed.len()), say);
        }
        self.set(tool, &indices, &subject, wish)
    }

    fn set(&mut self, tool: &str, indices: &[usize], subject: &Subject, wish: Wish) -> ToolResult {
        let already = indices.iter().all(|&index| self.is(index, wish));
        for &index in indices {
            if !self.unreachable.contains(&self.devices[index].id) {
                self.settings[index] = wished(self.settings[index], wish);
            }
        }
        let silent: Vec<&Device> =
            indices.iter().map(|&index| &self.devices[index]).filter(|d| self.unreachable.contains(&d.id)).collect();
        let state = spoken(wish);
        if !silent.is_empty() {
            let names: Vec<String> =
                silent.iter().take(MAX_NAMED).map(|device| format!("the {}", device.name)).collect();
            let clause = if silent.len() == indices.len() {
                format!("{} {} not answer", subject.text, if subject.several { "do" } else { "does" })
            } else if silent.len() > MAX_NAMED {
                format!("{} devices do not answer, the rest are {state}", silent.len())
            } else {
                let verb = if silent.len() == 1 { "does" } else { "do" };
                format!("{} {verb} not answer, the rest are {state}", list(&names, "and"))
            };
            return failed(tool, &format!("{} of {} did not answer", silent.len(), indices.len()), sentence(&clause));
        }
        let details = [("device", Value::from(subject.text.as_str())), ("state", Value::from(state.as_str()))];
        if indices.iter().any(|&index| !self.is(index, wish)) {
            return failed(tool, "the state did not change", sentence(&format!("{} did not change", subject.text)));
        }
        let verb = if subject.several { "are" } else { "is" };
        let already = if already { "already " } else { "" };
        let say = sentence(&format!("{} {verb} {already}{state}", subject.text));
        result(tool, Outcome::Done, &details, say)
    }

    fn index(&self, device: &Device) -> usize {
        self.devices.iter().position(|other| other.id == device.id).expect("found among these devices, ids are unique")
    }

    fn can_dim(&self, index: usize) -> bool {
        self.settings[index].brightness.is_some()
    }

    fn is(&self, index: usize, wish: Wish) -> bool {
        wished(self.settings[index], wish) == self.settings[index]
    }
}

fn is_dimmable(device: &Device) -> bool {
    LIGHTING.contains(&device.kind.as_str())
}

/// A setting after a wish. Brightness 0 is off; a light that is switched on has the brightness it last had.
fn wished(setting: Setting, wish: Wish) -> Setting {
    match wish {
        Wish::On => Setting { on: true, ..setting },
        Wish::Off | Wish::Brightness(0) => Setting { on: false, ..setting },
        Wish::Brightness(percent) => Setting { on: true, brightness: Some(percent) },
    }
}

fn spoken(wish: Wish) -> String {
    match wish {
        Wish::On => "on".to_owned(),
        Wish::Off | Wish::Brightness(0) => "off".to_owned(),
        Wish::Brightness(percent) => format!("at {percent} percent"),
    }
}

/// Of whom a sentence speaks.
struct Subject {
    text: String,
    several: bool,
}

impl Subject {
    fn one(device: &Device) -> Self {
        Self { text: format!("the {}", device.name), several: false }
    }

    fn all(devices: &[&Device], kind: &str, in_room: bool) -> Self {
        match devices {
            [device] => Self::one(device),
            [device, ..] if in_room => {
                Self { text: format!("the {}", thing(device.room.as_deref().unwrap_or_default(), kind)), several: true }
            }
            _ => Self { text: format!("all {kind}"), several: true },
        }
    }
}

/// "Which light: the kitchen light or the bedroom light?"
fn which(kind: &str, devices: &[&Device]) -> String {
    if devices.len() > MAX_NAMED {
        return format!("Which {kind} do you mean? There are {}.", devices.len());
    }
    let names: Vec<String> = devices.iter().map(|device| format!("the {}", device.name)).collect();
    format!("Which {kind}: {}?", list(&names, "or"))
}

/// The home has no such thing; what else is in the room is named.
fn missing(tool: &str, kind: &str, room: Option<&str>, near: &[&Device]) -> ToolResult {
    let is = if kind.ends_with('s') { "are" } else { "is" };
    let clause = match room {
        None => format!("there {is} no {kind} in this home"),
        Some(room) => {
            let names: Vec<String> = near.iter().map(|device| format!("the {}", device.name)).collect();
            let only = if names.is_empty() { String::new() } else { format!(", only {}", list(&names, "and")) };
            format!("there {is} no {kind} {}{only}", at(room, kind))
        }
    };
    refused(tool, &clause, sentence(&clause))
}

/// The simulated home from outside: to look at it, and to fetch timers that have rung.
#[derive(Clone)]
pub struct SimulatedHome {
    house: SharedHouse,
    timers: SharedTimers,
}

impl SimulatedHome {
    /// How everything is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { devices: self.house.lock().snapshot(), timers: self.timers.snapshot() }
    }

    /// The timers, for whoever lets them ring.
    #[must_use]
    pub fn timers(&self) -> &SharedTimers {
        &self.timers
    }
}

/// The house as several tools share it.
///
/// A lock and no message, because `hearth ask` has no task that would own it and answer; it is held for microseconds
/// and never across an await.
#[derive(Clone)]
struct SharedHouse(Arc<Mutex<House>>);

impl SharedHouse {
    fn lock(&self) -> MutexGuard<'_, House> {
        // Settings are replaced whole: what a panic left behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the house's tools.
#[derive(Clone, Copy)]
enum Action {
    TurnOn,
    TurnOff,
    SetBrightness,
}

struct HouseTool {
    spec: ToolSpec,
    action: Action,
    house: SharedHouse,
}

impl HouseTool {
    fn answer(&self, arguments: &Arguments) -> ToolResult {
        let name = &self.spec.name;
        let wish = match self.action {
            Action::TurnOn => Wish::On,
            Action::TurnOff => Wish::Off,
            Action::SetBrightness => match arguments.get("percent").and_then(Value::as_i64) {
                None => return asked(name, "How bright, in percent?".to_owned()),
                Some(percent) => match u8::try_from(percent) {
                    Ok(percent @ 0..=100) => Wish::Brightness(percent),
                    _ => {
                        let error = format!("percent is {percent}");
                        return refused(name, &error, "Brightness goes from 0 to 100 percent.".to_owned());
                    }
                },
            },
        };
        self.house.lock().apply(name, arguments, wish)
    }
}

impl Tool for HouseTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        Box::pin(std::future::ready(self.answer(arguments)))
    }
}

/// A registry of all `tools` over a simulated home, and the home itself to look at.
///
/// # Errors
/// [`HomeError::NoHandler`] for a tool that nothing here carries out, [`HomeError::DuplicateTool`], and
/// [`HomeError::Config`] when the description of the home contradicts itself.
pub fn simulated_registry(
    tools: &[ToolSpec],
    config: &SimulatedConfig,
    clock: Clock,
) -> Result<(Registry, SimulatedHome), HomeError> {
    let house = SharedHouse(Arc::new(Mutex::new(House::new(config)?)));
    let timers = SharedTimers::new(clock);
    let mut handlers: Vec<Box<dyn Tool>> = Vec::with_capacity(tools.len());
    for spec in tools {
        let action = match spec.name.as_str() {
            "turn_on" => Some(Action::TurnOn),
            "turn_off" => Some(Action::TurnOff),
            "set_brightness" => Some(Action::SetBrightness),
            _ => None,
        };
        handlers.push(match action {
            Some(action) => Box::new(HouseTool { spec: spec.clone(), action, house: house.clone() }),
            None => timers.tool(spec).ok_or_else(|| HomeError::NoHandler(spec.name.clone()))?,
        });
    }
    let registry = Registry::new(handlers, Duration::from_secs(DEADLINE_S))?;
    Ok((registry, SimulatedHome { house, timers }))
}
