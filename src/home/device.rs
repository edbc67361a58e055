//! The seam between the tools and whatever the devices hang on: a device, an order, the state that came back, a fault.
//!
//! Plain data, and [`Backend`], which only passes on. Never decides which device is meant (`resolve`) or what is said
//! (`house`). A backend is a handle: its connection lives in a task of its own, [`Backend::apply`] awaits it.

use serde::{Deserialize, Serialize};

use super::hass::HomeAssistant;
use super::mqtt::Mqtt;
use super::simulated::Simulated;

/// A device as far as finding it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// The backend's own name for it, for example `light.kitchen`. Unique in the home.
    pub id: String,
    /// What people call it, without an article.
    pub name: String,
    /// What else people call it.
    pub aliases: Vec<String>,
    /// Room, or a place in one, if it is anywhere.
    pub room: Option<String>,
    /// What else the place is called: other names of the room, its floor, labels.
    pub places: Vec<String>,
    /// What it is, as people say it: `light`, `lamp`, `fan`, `plug`, `heater`, `thermostat`, `blinds`, `curtains`,
    /// `window`, `garage door`, `door`, `lock`, `tv`, `radio`, `speaker`, `vacuum`, `scene`, `script`, `coffee machine`,
    /// `sensor`, `alarm system`. `blinds` and `curtains` are one device each. Any other word is a kind too.
    pub kind: String,
    /// The temperatures that it can be set to, in tenths of a degree Celsius, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_dc: Option<(i32, i32)>,
}

/// What is wanted of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// On, as it last was.
    On,
    /// Off.
    Off,
    /// Percent, 0 to 100; 0 is off.
    Brightness(u8),
    /// Percentage points up or down; a light that is dimmed down to nothing stays at 1.
    BrightnessStep(i8),
    /// A name of a colour, such as `red` or `warm white`.
    Color(String),
    /// All the way open.
    Open,
    /// All the way closed.
    Close,
    /// Percent, 0 is closed and 100 open.
    Position(u8),
    /// Lock; an alarm system: arm.
    Lock,
    /// Unlock; an alarm system: disarm.
    Unlock,
    /// Degrees Celsius.
    Temperature(f64),
    /// Degrees warmer or cooler.
    TemperatureStep(f64),
    /// Play, or go on.
    Play,
    /// Pause.
    Pause,
    /// The next piece.
    Next,
    /// The one before.
    Previous,
    /// Percent, 0 to 100.
    Volume(u8),
    /// Percentage points louder or quieter.
    VolumeStep(i8),
    /// Begin to work.
    Start,
    /// Stop working where it is.
    Stop,
    /// Go home.
    Dock,
    /// Set a scene, run a script.
    Activate,
    /// Make a drink, as it was ordered: "a large latte with soy milk".
    Brew(String),
}

impl Order {
    /// What follows the name of a device that cannot carry it out: the text of a [`Fault::Refused`].
    #[must_use]
    pub fn cannot(&self) -> &'static str {
        match self {
            Self::On | Self::Off => "cannot be switched on or off",
            Self::Brightness(_) | Self::BrightnessStep(_) => "cannot be dimmed",
            Self::Color(_) => "has no colours",
            Self::Open | Self::Close => "cannot be opened or closed",
            Self::Position(_) => "cannot be set to a position",
            Self::Lock | Self::Unlock => "cannot be locked or unlocked",
            Self::Temperature(_) | Self::TemperatureStep(_) => "has no temperature to set",
            Self::Play | Self::Pause | Self::Next | Self::Previous => "plays nothing",
            Self::Volume(_) | Self::VolumeStep(_) => "has no volume",
            Self::Start | Self::Stop | Self::Dock => "cannot be started or stopped",
            Self::Activate => "is no scene",
            Self::Brew(_) => "makes no drinks",
        }
    }
}

/// What is known of a device; what it does not have or nobody knows is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Is it on?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// Percent, 1 to 100; may be kept while off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brightness: Option<u8>,
    /// Name of the colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Percent, 0 is closed and 100 open, also where a device knows nothing in between. A contact has it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u8>,
    /// Is it locked? An alarm system: is it armed?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Wanted, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_c: Option<f64>,
    /// Measured, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_c: Option<f64>,
    /// Does it play?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playing: Option<bool>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<u8>,
    /// What the other fields cannot say, so that it can follow "is": `opening`, `closing`, `jammed`, `cleaning`,
    /// `docked`, `on its way to the dock`. While something is `opening` or `closing`, `position` is where it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Why an order did not come true. The texts are for logs and `hearth home`, not for speech, but for `Refused`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The device or its server is not there. Nothing was done.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The device cannot do that. Nothing was done. The text can follow the device's name in a sentence: "cannot be
    /// dimmed".
    #[error("refused: {0}")]
    Refused(String),
    /// No answer within the deadline. It may yet come true.
    #[error("no answer in time")]
    TimedOut,
    /// The server does not accept hearth's token or password.
    #[error("not authorised: {0}")]
    Unauthorised(String),
    /// The server took the order, but the state did not change.
    #[error("not confirmed: {0}")]
    Unconfirmed(String),
}

/// How a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Connected; the states are fresh.
    Ready,
    /// Not connected yet, or connecting again.
    Connecting(String),
    /// The server refuses hearth's token or password; it is not tried again until the configuration is read again.
    Unauthorised(String),
}

/// The name of the backend that is no server.
pub const SIMULATED: &str = "the simulated home";

/// Whatever devices hang on. Clones are handles to the same.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A home without a house.
    Simulated(Simulated),
    /// Devices on an MQTT broker.
    Mqtt(Mqtt),
    /// Devices of a Home Assistant.
    HomeAssistant(HomeAssistant),
}

impl Backend {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Simulated(_) => SIMULATED,
            Self::Mqtt(_) => "the MQTT broker",
            Self::HomeAssistant(_) => "Home Assistant",
        }
    }

    /// All devices, in an order that stays.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        match self {
            Self::Simulated(home) => home.devices(),
            Self::Mqtt(mqtt) => mqtt.devices(),
            Self::HomeAssistant(home) => home.devices(),
        }
    }

    /// What was last heard of a device; `None` for a device that is not there or of which nothing is known.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<State> {
        match self {
            Self::Simulated(home) => home.state(id),
            Self::Mqtt(mqtt) => mqtt.state(id),
            Self::HomeAssistant(home) => home.state(id),
        }
    }

    /// Carries out an order and gives the state as the device or its server confirmed it. The future never blocks, and
    /// an order whose future is dropped is not sent later.
    ///
    /// # Errors
    /// When it did not come true, or nobody knows.
    pub async fn apply(&self, id: &str, order: &Order) -> Result<State, Fault> {
        match self {
            Self::Simulated(home) => home.apply(id, order),
            Self::Mqtt(mqtt) => mqtt.apply(id, order).await,
            Self::HomeAssistant(home) => home.apply(id, order).await,
        }
    }

    /// Another number whenever the devices are others (not their states).
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Self::Simulated(_) => 0,
            Self::Mqtt(mqtt) => mqtt.version(),
            Self::HomeAssistant(home) => home.version(),
        }
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        match self {
            Self::Simulated(_) => Health::Ready,
            Self::Mqtt(mqtt) => mqtt.health(),
            Self::HomeAssistant(home) => home.health(),
        }
    }
}
