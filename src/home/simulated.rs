//! A home without a house: devices that exist in memory, as one backend.
//!
//! What a thing does with an order is in `things`. Never decides which device is meant and says nothing.

mod things;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::device::{Backend, Device, Fault, Order, State};
use super::house::{HomeConfig, House};
use super::own::calendar;
use super::phrase::thing;
use super::resolve::room_named;
use super::risk::RiskConfig;
use super::timers::{Clock, SharedTimers, TimerState};
use super::{HomeError, Registry, registry};
use crate::dialogue::ToolSpec;

/// `[home.simulated]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatedConfig {
    /// Names of scenes.
    pub scenes: Vec<String>,
    /// Ids of devices (`light.living_room`) that never answer, to see what a fault sounds like.
    pub unreachable: Vec<String>,
    /// Room, or place in one, to the kinds of device in it, one of each. A kind that hearth does not know is a switch.
    pub rooms: BTreeMap<String, Vec<String>>,
}

impl SimulatedConfig {
    /// Is anything simulated?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.scenes.is_empty()
    }
}

/// The simulated home as a backend: a handle, clones of which show the same home.
///
/// A lock and no message, because `hearth ask` has no task that would own the home and answer; it is held for
/// microseconds and never across an await.
#[derive(Debug, Clone)]
pub struct Simulated(Arc<Mutex<Things>>);

/// A thing of a simulated home that is described by itself.
#[derive(Debug, Clone, Deserialize)]
pub struct Furniture {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// How it is; off, closed, locked and so on if not given.
    #[serde(default)]
    pub state: Option<State>,
}

/// The devices and their states, in the same order.
#[derive(Debug)]
struct Things {
    devices: Vec<Device>,
    states: Vec<State>,
    unreachable: BTreeSet<String>,
}

impl Simulated {
    /// The home as described, everything off and closed.
    ///
    /// # Errors
    /// [`HomeError::Config`] when the description contradicts itself.
    pub fn new(config: &SimulatedConfig) -> Result<Self, HomeError> {
        let wrong = |what: &str| Err(HomeError::Config(what.to_owned()));
        let mut devices = Vec::new();
        for (room, kinds) in &config.rooms {
            for kind in kinds {
                if kind.trim().is_empty() || room.trim().is_empty() {
                    return wrong("rooms and kinds need names");
                }
                if kind == "lights" {
                    return wrong(&format!("{room}: lights is a word for several devices, list light and lamp"));
                }
                let kind = kind.to_lowercase();
                devices.push(Device {
                    id: format!("{kind}.{room}").to_lowercase().replace(' ', "_"),
                    name: thing(room, &kind),
                    aliases: vec![format!("{room} {kind}")],
                    room: Some(room.clone()),
                    places: Vec::new(),
                    kind,
                    range_dc: None,
                });
            }
        }
        for scene in &config.scenes {
            if scene.trim().is_empty() {
                return wrong("scenes need names");
            }
            devices.push(Device {
                id: format!("scene.{scene}").to_lowercase().replace(' ', "_"),
                name: format!("{scene} scene"),
                aliases: vec![scene.clone()],
                kind: "scene".to_owned(),
                ..Device::default()
            });
        }
        let ids: BTreeSet<&String> = devices.iter().map(|device| &device.id).collect();
        if ids.len() < devices.len() {
            return wrong("a room may have one device of each kind, and a scene one name");
        }
        if let Some(id) = config.unreachable.iter().find(|id| !ids.contains(id)) {
            return wrong(&format!("unreachable: there is no {id}"));
        }
        let states = devices.iter().map(|device| things::fresh(&device.kind)).collect();
        let unreachable = config.unreachable.iter().cloned().collect();
        Ok(Self(Arc::new(Mutex::new(Things { devices, states, unreachable }))))
    }

    /// A home of these things, as they are described.
    ///
    /// # Errors
    /// [`HomeError::Config`] when two have one id, or one has none, no name or no kind.
    pub fn furnished(furniture: &[Furniture]) -> Result<Self, HomeError> {
        let devices: Vec<Device> = furniture.iter().map(|thing| thing.device.clone()).collect();
        let nameless = |device: &&Device| [&device.id, &device.name, &device.kind].iter().any(|text| text.is_empty());
        if let Some(device) = devices.iter().find(nameless) {
            return Err(HomeError::Config(format!("{:?} needs an id, a name and a kind", device.id)));
        }
        let ids: BTreeSet<&String> = devices.iter().map(|device| &device.id).collect();
        if ids.len() < devices.len() {
            return Err(HomeError::Config("two devices have one id".to_owned()));
        }
        let state = |thing: &Furniture| thing.state.clone().unwrap_or_else(|| things::fresh(&thing.device.kind));
        let states = furniture.iter().map(state).collect();
        Ok(Self(Arc::new(Mutex::new(Things { devices, states, unreachable: BTreeSet::new() }))))
    }

    /// Makes a thing be so. Nothing happens where there is none.
    pub fn put(&self, id: &str, state: State) {
        let mut things = self.lock();
        if let Some(index) = things.devices.iter().position(|device| device.id == id) {
            things.states[index] = state;
        }
    }

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

    /// How everything is.
    #[must_use]
    pub fn snapshot(&self) -> Vec<DeviceState> {
        let things = self.lock();
        let state = |(device, state): (&Device, &State)| DeviceState {
            id: device.id.clone(),
            name: device.name.clone(),
            state: state.clone(),
        };
        things.devices.iter().zip(&things.states).map(state).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Things> {
        // States are replaced whole: what a panic left behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device as shown to people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceState {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
}

/// The whole home as shown to people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// By room.
    pub devices: Vec<DeviceState>,
    /// The next to ring first.
    pub timers: Vec<TimerState>,
}

/// The simulated home from outside: to look at it, and to fetch timers that have rung.
#[derive(Clone)]
pub struct SimulatedHome {
    home: Simulated,
    timers: SharedTimers,
}

impl SimulatedHome {
    /// How everything is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { devices: self.home.snapshot(), timers: self.timers.snapshot() }
    }

    /// The timers, for whoever lets them ring.
    #[must_use]
    pub fn timers(&self) -> &SharedTimers {
        &self.timers
    }
}

/// A registry of all `tools` over a simulated home alone, and the home itself to look at.
///
/// # Errors
/// [`HomeError::NoHandler`] for a tool that nothing here carries out, [`HomeError::DuplicateTool`], and
/// [`HomeError::Config`] when the description of the home contradicts itself.
pub fn simulated_registry(
    tools: &[ToolSpec],
    config: &HomeConfig,
    clock: Clock,
) -> Result<(Registry, SimulatedHome), HomeError> {
    let home = Simulated::new(&config.simulated)?;
    let timers = SharedTimers::new(clock);
    let house = House::new(vec![Backend::Simulated(home.clone())], config, &RiskConfig::default());
    if let Some(here) = config.here.as_ref().filter(|here| room_named(&house.devices(), here).is_none()) {
        return Err(HomeError::Config(format!("here: there is no {here}")));
    }
    let registry = registry(tools, &Arc::new(house), &timers, &calendar())?;
    Ok((registry, SimulatedHome { home, timers }))
}
