//! One device behind topics: how it is described, how an order becomes a message, and messages a state.
//!
//! Pure: configuration and messages in, messages and states out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::home::device::{Device, Order, State};

/// Longest payload of a state that is looked at, in bytes.
const MAX_PAYLOAD_BYTES: usize = 65_536;

/// Orders that a device may have a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the orders")]
pub enum OrderName {
    On,
    Off,
    Brightness,
    Color,
    Open,
    Close,
    Position,
    Lock,
    Unlock,
    Temperature,
    Play,
    Pause,
    Next,
    Previous,
    Volume,
    Start,
    Stop,
    Dock,
    Activate,
    Brew,
}

/// Parts of a state that a device may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of a state")]
pub enum Field {
    On,
    Brightness,
    Color,
    Position,
    Locked,
    TargetC,
    CurrentC,
    Playing,
    Volume,
    Text,
}

/// The message for an order: a payload, with a topic where it is not the device's `command_topic`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Template {
    /// The payload; `{value}` stands for the number or the words of the order.
    Payload(String),
    /// More about it.
    Full(FullTemplate),
}

/// A message for an order with all that may be said of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullTemplate {
    /// Where it goes, if not to `command_topic`.
    pub topic: Option<String>,
    /// As in [`Template::Payload`].
    pub payload: String,
    /// What 100 percent is for the device: 255, 254, 1.0. 100 if not given.
    pub max: Option<f64>,
    /// Should the broker keep it? A device that comes back then gets the order again.
    #[serde(default)]
    pub retain: bool,
}

/// How a part of the state is read from a message.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// Where it comes from, if not from `state_topic`.
    pub topic: Option<String>,
    /// Where it stands in a JSON payload, as a JSON pointer: `/state`. Without one the whole payload is it.
    pub pointer: Option<String>,
    /// What stands for yes; `ON`, `true`, `1`, `LOCKED`, `playing` and the like if not given.
    pub yes: Option<String>,
    /// What stands for no.
    pub no: Option<String>,
    /// What 100 percent is for the device. 100 if not given.
    pub max: Option<f64>,
}

/// `[[home.mqtt.device]]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThingConfig {
    /// What people call it, without an article.
    pub name: String,
    /// What else people call it.
    pub aliases: Vec<String>,
    /// Room, or a place in one.
    pub room: Option<String>,
    /// What it is: `light`, `lamp`, `fan`, `blinds`.
    pub kind: String,
    /// Where orders go.
    pub command_topic: Option<String>,
    /// Where its state comes from.
    pub state_topic: Option<String>,
    /// Where it says `offline`.
    pub availability_topic: Option<String>,
    /// Payloads by order; `ON` and `OFF` if none is given.
    pub orders: BTreeMap<OrderName, Template>,
    /// Where each part of its state stands; if none is given, the whole payload says whether it is on.
    pub states: BTreeMap<Field, Reading>,
}

/// A message to be published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) retain: bool,
}

/// May this be published to and subscribed to?
pub(super) fn is_topic(topic: &str) -> bool {
    (1..=1000).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

impl ThingConfig {
    /// `mqtt.desk_lamp`.
    pub(super) fn id(&self) -> String {
        format!("mqtt.{}", self.name.trim()).to_lowercase().replace(' ', "_")
    }

    /// As the house sees it.
    pub(super) fn device(&self) -> Device {
        Device {
            id: self.id(),
            name: self.name.trim().to_owned(),
            aliases: self.aliases.clone(),
            room: self.room.clone(),
            kind: self.kind.to_lowercase(),
            ..Device::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() || self.kind.trim().is_empty() {
            return Err("a device needs a name and a kind".to_owned());
        }
        let of_orders = self.orders.values().filter_map(|template| match template {
            Template::Full(full) => full.topic.as_ref(),
            Template::Payload(_) => None,
        });
        let of_states = self.states.values().filter_map(|reading| reading.topic.as_ref());
        let own = [&self.command_topic, &self.state_topic, &self.availability_topic].into_iter().flatten();
        if let Some(topic) = own.chain(of_orders).chain(of_states).find(|topic| !is_topic(topic)) {
            return Err(format!("`{topic}` is no topic without + and #"));
        }
        let needs_topic =
            |template: &Template| !matches!(template, Template::Full(FullTemplate { topic: Some(_), .. }));
        if self.command_topic.is_none() && self.orders.values().any(needs_topic) {
            return Err("orders need a command_topic, or a topic each".to_owned());
        }
        if self.state_topic.is_none() && self.states.values().any(|reading| reading.topic.is_none()) {
            return Err("states need a state_topic, or a topic each".to_owned());
        }
        let maxima = self.states.values().filter_map(|reading| reading.max);
        let more = self.orders.values().filter_map(|template| match template {
            Template::Full(full) => full.max,
            Template::Payload(_) => None,
        });
        if maxima.chain(more).any(|max| !(max.is_finite() && max > 0.0)) {
            return Err("max must be more than 0".to_owned());
        }
        Ok(())
    }

    /// The same with what it has if nothing is said: `ON` and `OFF`.
    pub(super) fn completed(mut self) -> Self {
        if self.orders.is_empty() && self.command_topic.is_some() {
            let on_off = [(OrderName::On, "ON"), (OrderName::Off, "OFF")];
            self.orders.extend(on_off.map(|(name, payload)| (name, Template::Payload(payload.to_owned()))));
        }
        if self.states.is_empty() && self.state_topic.is_some() {
            self.states.insert(Field::On, Reading::default());
        }
        self
    }

    /// All topics that tell something of it.
    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        let states = self.states.values().filter_map(|reading| reading.topic.as_ref().or(self.state_topic.as_ref()));
        states.chain(&self.availability_topic)
    }

    /// The message for an order, and the order as it is then meant: steps are taken from the known state. `None` when the
    /// device cannot do that.
    pub(super) fn command(&self, order: &Order, known: &State) -> Option<(Command, Order)> {
        let step = |from: Option<u8>, by: i8, least: i16| {
            let to = (i16::from(from?) + i16::from(by)).clamp(least, 100);
            u8::try_from(to).ok()
        };
        let brightness = if known.on == Some(false) { Some(0) } else { known.brightness };
        let order = match order {
            Order::BrightnessStep(by) => Order::Brightness(step(brightness, *by, 1)?),
            Order::VolumeStep(by) => Order::Volume(step(known.volume, *by, 0)?),
            Order::TemperatureStep(by) => Order::Temperature(known.target_c? + by),
            other => other.clone(),
        };
        let (name, percent, words) = match &order {
            Order::On => (OrderName::On, None, None),
            Order::Off => (OrderName::Off, None, None),
            Order::Brightness(0) if self.orders.contains_key(&OrderName::Off) => (OrderName::Off, None, None),
            Order::Brightness(percent) => (OrderName::Brightness, Some(*percent), None),
            Order::Color(color) => (OrderName::Color, None, Some(color.clone())),
            Order::Open if self.orders.contains_key(&OrderName::Open) => (OrderName::Open, None, None),
            Order::Close if self.orders.contains_key(&OrderName::Close) => (OrderName::Close, None, None),
            Order::Open => (OrderName::Position, Some(100), None),
            Order::Close => (OrderName::Position, Some(0), None),
            Order::Position(percent) => (OrderName::Position, Some(*percent), None),
            Order::Lock => (OrderName::Lock, None, None),
            Order::Unlock => (OrderName::Unlock, None, None),
            Order::Temperature(degrees) => (OrderName::Temperature, None, Some(degrees.to_string())),
            Order::Play => (OrderName::Play, None, None),
            Order::Pause => (OrderName::Pause, None, None),
            Order::Next => (OrderName::Next, None, None),
            Order::Previous => (OrderName::Previous, None, None),
            Order::Volume(percent) => (OrderName::Volume, Some(*percent), None),
            Order::Start => (OrderName::Start, None, None),
            Order::Stop => (OrderName::Stop, None, None),
            Order::Dock => (OrderName::Dock, None, None),
            Order::Activate => (OrderName::Activate, None, None),
            Order::Brew(drink) => (OrderName::Brew, None, Some(drink.clone())),
            Order::BrightnessStep(_) | Order::VolumeStep(_) | Order::TemperatureStep(_) => return None,
        };
        let (topic, payload, max, retain) = match self.orders.get(&name)? {
            Template::Payload(payload) => (None, payload, None, false),
            Template::Full(full) => (full.topic.clone(), &full.payload, full.max, full.retain),
        };
        let value = match percent {
            Some(percent) => scaled(percent, max.unwrap_or(100.0)),
            None => escaped(&words.unwrap_or_default()),
        };
        let topic = topic.or_else(|| self.command_topic.clone())?;
        Some((Command { topic, payload: payload.replace("{value}", &value), retain }, order))
    }

    /// Takes a message of the device's in; says whether it told something.
    pub(super) fn hear(&self, topic: &str, payload: &[u8], state: &mut State) -> bool {
        let Some(text) = (payload.len() <= MAX_PAYLOAD_BYTES).then(|| std::str::from_utf8(payload).ok()).flatten()
        else {
            return false;
        };
        let mut json: Option<Value> = None;
        let mut told = false;
        for (field, reading) in &self.states {
            if reading.topic.as_ref().or(self.state_topic.as_ref()).is_none_or(|own| own != topic) {
                continue;
            }
            let value = match &reading.pointer {
                None => Some(text.trim().to_owned()),
                Some(pointer) => {
                    let json = json.get_or_insert_with(|| serde_json::from_str(text).unwrap_or_default());
                    json.pointer(pointer).and_then(scalar)
                }
            };
            told |= value.is_some_and(|value| reading.read(*field, &value, state));
        }
        told
    }

    /// Does a message say that the device is there? `None` when it says nothing of that.
    pub(super) fn available(&self, topic: &str, payload: &[u8]) -> Option<bool> {
        if self.availability_topic.as_deref() != Some(topic) {
            return None;
        }
        let text = std::str::from_utf8(payload).unwrap_or_default().trim();
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let word = json.pointer("/state").and_then(Value::as_str).unwrap_or(text).to_lowercase();
        Some(!["offline", "false", "0", "lost", "disconnected"].contains(&word.as_str()))
    }

    /// Can its state tell whether this order came true?
    pub(super) fn tells(&self, order: &Order) -> bool {
        let field = match order {
            Order::On | Order::Off => Field::On,
            Order::Brightness(0) if self.states.contains_key(&Field::On) => Field::On,
            Order::Brightness(_) | Order::BrightnessStep(_) => Field::Brightness,
            Order::Color(_) => Field::Color,
            Order::Open | Order::Close | Order::Position(_) => Field::Position,
            Order::Lock | Order::Unlock => Field::Locked,
            Order::Temperature(_) | Order::TemperatureStep(_) => Field::TargetC,
            Order::Play | Order::Pause => Field::Playing,
            Order::Volume(_) | Order::VolumeStep(_) => Field::Volume,
            _ => return false,
        };
        self.states.contains_key(&field)
    }
}

impl Reading {
    /// Puts a value into the state; says whether it could be read.
    fn read(&self, field: Field, value: &str, state: &mut State) -> bool {
        let percent = || {
            let number: f64 = value.parse().ok()?;
            let percent = (number * 100.0 / self.max.unwrap_or(100.0)).round();
            // In range, so the cast keeps the value.
            (0.0..=100.0).contains(&percent).then_some(percent as u8)
        };
        let word = value.to_lowercase();
        let is = |own: &Option<String>, usual: &[&str]| match own {
            Some(own) => own == value,
            None => usual.contains(&word.as_str()),
        };
        let truth = || {
            if is(&self.yes, &["on", "true", "1", "yes", "locked", "lock", "playing", "armed"]) {
                Some(true)
            } else if is(&self.no, &["off", "false", "0", "no", "unlocked", "unlock", "paused", "idle", "disarmed"]) {
                Some(false)
            } else {
                None
            }
        };
        let position = || match word.as_str() {
            "open" => Some(100),
            "closed" => Some(0),
            _ => percent(),
        };
        let number = || value.parse::<f64>().ok().filter(|number| number.is_finite());
        /// Keeps what was known where a value cannot be read.
        fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
            let read = value.is_some();
            if read {
                *place = value;
            }
            read
        }
        match field {
            Field::On => put(&mut state.on, truth()),
            Field::Brightness => put(&mut state.brightness, percent()),
            Field::Color => put(&mut state.color, Some(value.to_owned())),
            Field::Position => put(&mut state.position, position()),
            Field::Locked => put(&mut state.locked, truth()),
            Field::TargetC => put(&mut state.target_c, number()),
            Field::CurrentC => put(&mut state.current_c, number()),
            Field::Playing => put(&mut state.playing, truth()),
            Field::Volume => put(&mut state.volume, percent()),
            Field::Text => put(&mut state.text, Some(word)),
        }
    }
}

/// Does the state say that the order came true? What moves in the right direction counts.
pub(super) fn came_true(order: &Order, state: &State) -> bool {
    let near = |known: Option<u8>, wanted: u8| known.is_some_and(|known| known.abs_diff(wanted) <= 1);
    let says = |word: &str| state.text.as_deref() == Some(word);
    match order {
        Order::On => state.on == Some(true),
        Order::Off => state.on == Some(false),
        Order::Brightness(0) => state.on == Some(false) || state.brightness == Some(0),
        Order::Brightness(percent) => state.on != Some(false) && near(state.brightness, *percent),
        Order::Color(color) => state.color.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(color)),
        Order::Open => near(state.position, 100) || says("opening"),
        Order::Close => near(state.position, 0) || says("closing"),
        Order::Position(percent) => near(state.position, *percent) || says("opening") || says("closing"),
        Order::Lock => state.locked == Some(true),
        Order::Unlock => state.locked == Some(false),
        Order::Temperature(degrees) => state.target_c.is_some_and(|known| (known - degrees).abs() < 0.3),
        Order::Play => state.playing == Some(true),
        Order::Pause => state.playing == Some(false),
        Order::Volume(percent) => near(state.volume, *percent),
        _ => false,
    }
}

/// The state that an order leads to, for a device that does not tell.
pub(super) fn assumed(order: &Order, known: &State) -> State {
    let mut state = known.clone();
    match order {
        Order::On => state.on = Some(true),
        Order::Off | Order::Brightness(0) => state.on = Some(false),
        Order::Brightness(percent) => (state.on, state.brightness) = (Some(true), Some(*percent)),
        Order::Color(color) => state.color = Some(color.clone()),
        Order::Open => state.position = Some(100),
        Order::Close => state.position = Some(0),
        Order::Position(percent) => state.position = Some(*percent),
        Order::Lock => state.locked = Some(true),
        Order::Unlock => state.locked = Some(false),
        Order::Temperature(degrees) => state.target_c = Some(*degrees),
        Order::Play => state.playing = Some(true),
        Order::Pause => state.playing = Some(false),
        Order::Volume(percent) => state.volume = Some(*percent),
        _ => {}
    }
    state
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Percent on the device's own scale: whole numbers, but for a scale of a few steps.
fn scaled(percent: u8, max: f64) -> String {
    let value = f64::from(percent) * max / 100.0;
    if max > 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Words for a place between the quotes of a JSON string.
fn escaped(words: &str) -> String {
    let quoted = Value::from(words).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
