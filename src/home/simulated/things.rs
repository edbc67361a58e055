//! How things behave that are not there: what each kind is at first, and what an order makes of it.
//!
//! Pure. Whatever is ordered comes true at once, so that a state follows every order. A kind that is not listed is a
//! switch.

use crate::home::device::{Fault, Order, State};

/// The temperature of every room.
const ROOM_C: f64 = 20.5;
/// What a thermostat can be set to.
const TARGETS_C: std::ops::RangeInclusive<f64> = 5.0..=30.0;

/// Kinds that behave alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Light,
    Cover,
    Lock,
    Climate,
    Media,
    Vacuum,
    Scene,
    Coffee,
    Thermometer,
    Contact,
    Switch,
}

fn class(kind: &str) -> Class {
    match kind {
        "light" | "lamp" => Class::Light,
        "blinds" | "curtains" | "shutters" | "window" | "garage door" | "gate" => Class::Cover,
        "door" | "lock" | "alarm system" => Class::Lock,
        "thermostat" | "heater" | "air conditioner" => Class::Climate,
        "tv" | "radio" | "speaker" | "music" => Class::Media,
        "vacuum" => Class::Vacuum,
        "scene" | "script" => Class::Scene,
        "coffee machine" => Class::Coffee,
        "thermometer" => Class::Thermometer,
        "contact" => Class::Contact,
        _ => Class::Switch,
    }
}

/// How a thing of this kind is when the home comes up: off, closed, locked, docked.
pub(super) fn fresh(kind: &str) -> State {
    let off = State { on: Some(false), ..State::default() };
    match class(kind) {
        Class::Light => State { brightness: Some(100), color: Some("white".to_owned()), ..off },
        Class::Cover | Class::Contact => State { position: Some(0), ..State::default() },
        Class::Lock => State { locked: Some(true), ..State::default() },
        // A thermostat has no switch of its own.
        Class::Climate => {
            let on = (kind != "thermostat").then_some(false);
            State { on, target_c: Some(20.0), current_c: Some(ROOM_C), ..State::default() }
        }
        Class::Media => State { playing: Some(false), volume: Some(50), ..off },
        Class::Vacuum => State { text: Some("docked".to_owned()), ..State::default() },
        Class::Scene => State::default(),
        Class::Coffee => State { text: Some("ready".to_owned()), ..off },
        Class::Thermometer => State { current_c: Some(ROOM_C), ..State::default() },
        Class::Switch => off,
    }
}

/// The state after an order.
///
/// # Errors
/// [`Fault::Refused`] when such a thing cannot do that.
pub(super) fn changed(kind: &str, state: &State, order: &Order) -> Result<State, Fault> {
    let new = state.clone();
    let text = |text: &str| Some(text.to_owned());
    let can = match (class(kind), order) {
        (Class::Climate, Order::On | Order::Off) if new.on.is_none() => None,
        (Class::Light | Class::Climate | Class::Media | Class::Coffee | Class::Switch, Order::On) => {
            Some(State { on: Some(true), ..new })
        }
        (Class::Media, Order::Off) => Some(State { on: Some(false), playing: Some(false), ..new }),
        (Class::Light | Class::Climate | Class::Coffee | Class::Switch, Order::Off)
        | (Class::Light, Order::Brightness(0)) => Some(State { on: Some(false), ..new }),
        (Class::Light, Order::Brightness(percent)) => {
            Some(State { on: Some(true), brightness: Some((*percent).min(100)), ..new })
        }
        (Class::Light, Order::BrightnessStep(step)) => {
            // What is dark becomes brighter from nothing, not from what it last had.
            let now = if new.on == Some(true) { new.brightness.unwrap_or(0) } else { 0 };
            let percent = now.saturating_add_signed(*step).clamp(1, 100);
            let dark = now == 0 && *step <= 0;
            Some(if dark { new } else { State { on: Some(true), brightness: Some(percent), ..new } })
        }
        (Class::Light, Order::Color(color)) => Some(State { on: Some(true), color: Some(color.clone()), ..new }),
        (Class::Cover, Order::Open) => Some(State { position: Some(100), ..new }),
        (Class::Cover, Order::Close) => Some(State { position: Some(0), ..new }),
        (Class::Cover, Order::Position(percent)) => Some(State { position: Some((*percent).min(100)), ..new }),
        (Class::Cover, Order::Stop) => Some(new),
        (Class::Lock, Order::Lock) => Some(State { locked: Some(true), ..new }),
        (Class::Lock, Order::Unlock) => Some(State { locked: Some(false), ..new }),
        (Class::Climate, Order::Temperature(degrees)) => warmed(new, *degrees)?,
        (Class::Climate, Order::TemperatureStep(step)) => {
            let target_c = (new.target_c.unwrap_or(ROOM_C) + step).clamp(*TARGETS_C.start(), *TARGETS_C.end());
            warmed(new, target_c)?
        }
        (Class::Media, Order::Play | Order::Next | Order::Previous) => {
            Some(State { on: Some(true), playing: Some(true), ..new })
        }
        (Class::Media, Order::Pause | Order::Stop) => Some(State { playing: Some(false), ..new }),
        (Class::Media, Order::Volume(percent)) => Some(State { volume: Some((*percent).min(100)), ..new }),
        (Class::Media, Order::VolumeStep(step)) => {
            Some(State { volume: Some(new.volume.unwrap_or(0).saturating_add_signed(*step).min(100)), ..new })
        }
        (Class::Vacuum, Order::Start | Order::On) => Some(State { text: text("cleaning"), ..new }),
        (Class::Vacuum, Order::Stop | Order::Pause) => Some(State { text: text("stopped"), ..new }),
        (Class::Vacuum, Order::Dock | Order::Off) => Some(State { text: text("docked"), ..new }),
        (Class::Scene, Order::Activate | Order::On) => Some(new),
        (Class::Coffee, Order::Brew(drink)) => {
            Some(State { on: Some(true), text: Some(format!("making {drink}")), ..new })
        }
        _ => None,
    };
    can.ok_or_else(|| Fault::Refused(order.cannot().to_owned()))
}

fn warmed(state: State, target_c: f64) -> Result<Option<State>, Fault> {
    if !TARGETS_C.contains(&target_c) {
        let (least, most) = (TARGETS_C.start(), TARGETS_C.end());
        return Err(Fault::Refused(format!("can only be set to {least} to {most} degrees")));
    }
    let on = state.on.map(|_| true);
    Ok(Some(State { on, target_c: Some(target_c), ..state }))
}
