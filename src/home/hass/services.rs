//! Which service of Home Assistant carries an order out, with what data, and how the state shows that it came true.
//!
//! Pure. [`SERVICES`] is the one place that knows services: an order that has no row there cannot be carried out.
//! `toggle` is not among them: who calls it twice has done nothing.

use serde_json::{Map, Value};

use super::states::{COLORS, Entity, Unit, domain, state_of};
use crate::home::device::{Fault, Order, State};

/// What an [`Order`] asks for, without its amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
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
}

/// What goes along with a call, beside the entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    Nothing,
    /// `brightness_pct`.
    Brightness,
    /// `rgb_color`, or `color_temp_kelvin` for whites.
    Color,
    /// `position`.
    Position,
    /// `temperature`, in the server's unit.
    Temperature,
    /// `volume_level`, 0 to 1.
    Volume,
}

/// May a call be made again when nobody knows whether it arrived?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

use Again::{No, Yes};
use Data::Nothing;

/// Domain, verb, service, data, the bit of `supported_features` that an entity needs for it (0 for none), and whether it
/// may be made twice.
#[rustfmt::skip]
const SERVICES: [(&str, Verb, &str, Data, u64, Again); 44] = [
    ("light",         Verb::On,          "turn_on",             Nothing,           0,     Yes),
    ("light",         Verb::Off,         "turn_off",            Nothing,           0,     Yes),
    ("light",         Verb::Brightness,  "turn_on",             Data::Brightness,  0,     Yes),
    ("light",         Verb::Color,       "turn_on",             Data::Color,       0,     Yes),
    ("switch",        Verb::On,          "turn_on",             Nothing,           0,     Yes),
    ("switch",        Verb::Off,         "turn_off",            Nothing,           0,     Yes),
    ("input_boolean", Verb::On,          "turn_on",             Nothing,           0,     Yes),
    ("input_boolean", Verb::Off,         "turn_off",            Nothing,           0,     Yes),
    ("fan",           Verb::On,          "turn_on",             Nothing,           0,     Yes),
    ("fan",           Verb::Off,         "turn_off",            Nothing,           0,     Yes),
    ("cover",         Verb::Open,        "open_cover",          Nothing,           1,     Yes),
    ("cover",         Verb::Close,       "close_cover",         Nothing,           2,     Yes),
    ("cover",         Verb::Position,    "set_cover_position",  Data::Position,    4,     Yes),
    ("cover",         Verb::Stop,        "stop_cover",          Nothing,           8,     Yes),
    ("lock",          Verb::Lock,        "lock",                Nothing,           0,     Yes),
    ("lock",          Verb::Unlock,      "unlock",              Nothing,           0,     Yes),
    ("climate",       Verb::On,          "turn_on",             Nothing,           0,     Yes),
    ("climate",       Verb::Off,         "turn_off",            Nothing,           0,     Yes),
    ("climate",       Verb::Temperature, "set_temperature",     Data::Temperature, 1,     Yes),
    ("media_player",  Verb::On,          "turn_on",             Nothing,           128,   Yes),
    ("media_player",  Verb::Off,         "turn_off",            Nothing,           256,   Yes),
    ("media_player",  Verb::Play,        "media_play",          Nothing,           16384, Yes),
    ("media_player",  Verb::Pause,       "media_pause",         Nothing,           1,     Yes),
    ("media_player",  Verb::Stop,        "media_stop",          Nothing,           4096,  Yes),
    ("media_player",  Verb::Next,        "media_next_track",    Nothing,           32,    No),
    ("media_player",  Verb::Previous,    "media_previous_track", Nothing,          16,    No),
    ("media_player",  Verb::Volume,      "volume_set",          Data::Volume,      4,     Yes),
    ("vacuum",        Verb::On,          "start",               Nothing,           8192,  Yes),
    ("vacuum",        Verb::Start,       "start",               Nothing,           8192,  Yes),
    ("vacuum",        Verb::Stop,        "stop",                Nothing,           8,     Yes),
    ("vacuum",        Verb::Pause,       "pause",               Nothing,           4,     Yes),
    ("vacuum",        Verb::Off,         "return_to_base",      Nothing,           16,    Yes),
    ("vacuum",        Verb::Dock,        "return_to_base",      Nothing,           16,    Yes),
    ("scene",         Verb::Activate,    "turn_on",             Nothing,           0,     Yes),
    ("scene",         Verb::On,          "turn_on",             Nothing,           0,     Yes),
    ("script",        Verb::Activate,    "turn_on",             Nothing,           0,     No),
    ("script",        Verb::On,          "turn_on",             Nothing,           0,     No),
    ("script",        Verb::Start,       "turn_on",             Nothing,           0,     No),
    ("script",        Verb::Off,         "turn_off",            Nothing,           0,     Yes),
    ("script",        Verb::Stop,        "turn_off",            Nothing,           0,     Yes),
    ("button",        Verb::Activate,    "press",               Nothing,           0,     No),
    ("button",        Verb::On,          "press",               Nothing,           0,     No),
    ("input_button",  Verb::Activate,    "press",               Nothing,           0,     No),
    ("input_button",  Verb::On,          "press",               Nothing,           0,     No),
];

/// Domains whose entities are asked after and take no orders.
const ASKED_ONLY: [&str; 3] = ["todo", "sensor", "binary_sensor"];

/// Modes of lights that can be dimmed.
const DIMMABLE: [&str; 8] = ["brightness", "color_temp", "hs", "xy", "rgb", "rgbw", "rgbww", "white"];
/// Modes of lights that have colours.
const COLORED: [&str; 5] = ["hs", "xy", "rgb", "rgbw", "rgbww"];
/// White by name, in kelvin.
const WHITES_K: [(&str, u32); 3] = [("warm white", 2700), ("white", 4000), ("cold white", 6500)];
/// What a thermostat takes that does not say so, in the server's unit; Home Assistant's own limits.
const TARGETS_C: [f64; 2] = [7.0, 35.0];

/// A call as it is to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) domain: &'static str,
    pub(super) service: &'static str,
    pub(super) data: Map<String, Value>,
    /// May it be made twice?
    pub(super) again: bool,
    /// What it is to bring about: the order, steps as the amount they lead to.
    pub(super) goal: Order,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// Not at all, as far as can be seen.
    Not,
    /// On the way, and the end can still differ: a lock that is being locked.
    Coming,
    /// As near as this device may come, or it does not show.
    Near,
    /// It came true, or visibly begins to, as with blinds.
    Done,
}

/// Can entities of this domain be asked after or ordered about?
pub(super) fn serves(domain: &str) -> bool {
    ASKED_ONLY.contains(&domain) || SERVICES.iter().any(|(served, ..)| *served == domain)
}

/// The call that carries `order` out on an entity that is as `entity` says.
///
/// # Errors
/// [`Fault::Refused`] when such an entity cannot do that.
pub(super) fn call(id: &str, entity: &Entity, order: &Order, unit: Unit) -> Result<Call, Fault> {
    let refused = || Fault::Refused(order.cannot().to_owned());
    let state = state_of(id, entity, unit).unwrap_or_default();
    let goal = settled(order, &state).ok_or_else(refused)?;
    let verb = verb(&goal).ok_or_else(refused)?;
    let row = SERVICES.iter().find(|(of, does, ..)| *of == domain(id) && *does == verb);
    let (domain, _, service, data, feature, again) = *row.ok_or_else(refused)?;
    if entity.features() & feature != feature {
        return Err(refused());
    }
    let data = fill(data, entity, &goal, unit)?;
    Ok(Call { domain, service, data, again: again == Yes, goal })
}

/// The order with steps turned into the amount that they lead to, which can be confirmed and repeated; `None` where
/// there is nothing to step from.
fn settled(order: &Order, state: &State) -> Option<Order> {
    Some(match order {
        Order::Brightness(0) => Order::Off,
        Order::BrightnessStep(step) => {
            state.on?;
            // What is dark becomes brighter from nothing; what is lit stays lit.
            let lit = state.on == Some(true);
            let now = if lit { state.brightness.unwrap_or(100) } else { 0 };
            match (lit, *step > 0) {
                (false, false) => Order::Off,
                _ => Order::Brightness(now.saturating_add_signed(*step).clamp(1, 100)),
            }
        }
        Order::TemperatureStep(step) => Order::Temperature(state.target_c? + step),
        Order::VolumeStep(step) => Order::Volume(state.volume?.saturating_add_signed(*step).min(100)),
        other => other.clone(),
    })
}

fn verb(order: &Order) -> Option<Verb> {
    Some(match order {
        Order::On => Verb::On,
        Order::Off => Verb::Off,
        Order::Brightness(_) => Verb::Brightness,
        Order::Color(_) => Verb::Color,
        Order::Open => Verb::Open,
        Order::Close => Verb::Close,
        Order::Position(_) => Verb::Position,
        Order::Lock => Verb::Lock,
        Order::Unlock => Verb::Unlock,
        Order::Temperature(_) => Verb::Temperature,
        Order::Play => Verb::Play,
        Order::Pause => Verb::Pause,
        Order::Next => Verb::Next,
        Order::Previous => Verb::Previous,
        Order::Volume(_) => Verb::Volume,
        Order::Start => Verb::Start,
        Order::Stop => Verb::Stop,
        Order::Dock => Verb::Dock,
        Order::Activate => Verb::Activate,
        Order::BrightnessStep(_) | Order::TemperatureStep(_) | Order::VolumeStep(_) | Order::Brew(_) => return None,
    })
}

/// The data of a call.
fn fill(data: Data, entity: &Entity, goal: &Order, unit: Unit) -> Result<Map<String, Value>, Fault> {
    let refused = || Fault::Refused(goal.cannot().to_owned());
    let (key, value) = match (data, goal) {
        (Data::Nothing, _) => return Ok(Map::new()),
        (Data::Brightness, Order::Brightness(percent)) => {
            if !entity.has_mode(&DIMMABLE) {
                return Err(refused());
            }
            ("brightness_pct", Value::from((*percent).min(100)))
        }
        (Data::Color, Order::Color(name)) => color(entity, name)?,
        (Data::Position, Order::Position(percent)) => ("position", Value::from((*percent).min(100))),
        (Data::Volume, Order::Volume(percent)) => ("volume_level", Value::from(f64::from((*percent).min(100)) / 100.0)),
        (Data::Temperature, Order::Temperature(celsius)) => {
            let least = entity.number("min_temp").unwrap_or(unit.of_celsius(TARGETS_C[0]));
            let most = entity.number("max_temp").unwrap_or(unit.of_celsius(TARGETS_C[1]));
            let degrees = unit.of_celsius(*celsius);
            if !(least..=most).contains(&degrees) {
                let (least, most) = (unit.to_celsius(least), unit.to_celsius(most));
                return Err(Fault::Refused(format!("can only be set to {least} to {most} degrees")));
            }
            ("temperature", Value::from(degrees))
        }
        _ => return Err(refused()),
    };
    Ok(Map::from_iter([(key.to_owned(), value)]))
}

fn color(entity: &Entity, name: &str) -> Result<(&'static str, Value), Fault> {
    let white = WHITES_K.iter().find(|(white, _)| *white == name);
    if let Some((_, kelvin)) = white
        && entity.has_mode(&["color_temp"])
    {
        return Ok(("color_temp_kelvin", Value::from(*kelvin)));
    }
    if !entity.has_mode(&COLORED) {
        return Err(Fault::Refused(Order::Color(String::new()).cannot().to_owned()));
    }
    let known = COLORS.iter().find(|(color, _)| *color == name);
    let (_, rgb) = known.ok_or_else(|| Fault::Refused(format!("cannot be turned {name}")))?;
    Ok(("rgb_color", Value::from(rgb.to_vec())))
}

/// How far `goal` has come on an entity that was as `before` says and now is as `now` says.
pub(super) fn progress(id: &str, goal: &Order, before: &Entity, now: &Entity, unit: Unit) -> Progress {
    use Progress::{Coming, Done, Near, Not};
    let Some(state) = state_of(id, now, unit) else { return Not };
    let is = |came: bool| if came { Done } else { Not };
    let text = state.text.as_deref();
    let heard = if now.heard > before.heard { Done } else { Near };
    let docking = matches!(text, Some("docked" | "on its way to the dock"));
    match (domain(id), goal) {
        ("scene" | "script" | "button" | "input_button", Order::On | Order::Activate | Order::Start) => heard,
        ("script", Order::Off | Order::Stop) => is(text != Some("running")),
        ("vacuum", Order::On | Order::Start) => is(text == Some("cleaning")),
        ("vacuum", Order::Off | Order::Dock) => is(docking),
        ("vacuum", Order::Stop | Order::Pause) => is(text != Some("cleaning") && !docking || text == Some("docked")),
        ("cover", Order::Stop) => is(!matches!(text, Some("opening" | "closing"))),
        (_, Order::On) => is(state.on == Some(true)),
        (_, Order::Off) => is(state.on == Some(false)),
        (_, Order::Brightness(wanted)) if state.on == Some(true) => amount(state.brightness, *wanted, 5),
        (_, Order::Volume(wanted)) => amount(state.volume, *wanted, 3),
        (_, Order::Color(wanted)) => match state.color.as_deref() {
            Some(color) if state.on == Some(true) && color == wanted => Done,
            // Whites look much alike in red, green and blue.
            Some(color) if state.on == Some(true) && color.ends_with("white") && wanted.ends_with("white") => Near,
            _ => Not,
        },
        (_, Order::Open) => moved(id, 100, before, &state, unit),
        (_, Order::Close) => moved(id, 0, before, &state, unit),
        (_, Order::Position(wanted)) => moved(id, *wanted, before, &state, unit),
        (_, Order::Lock) if text == Some("being locked") => Coming,
        (_, Order::Unlock) if text == Some("being unlocked") => Coming,
        (_, Order::Lock) => is(state.locked == Some(true)),
        (_, Order::Unlock) => is(state.locked == Some(false)),
        (_, Order::Temperature(wanted)) => match state.target_c.map(|target| (target - wanted).abs()) {
            Some(off) if off < 0.3 => Done,
            Some(off) if off <= 0.5 => Near,
            _ => Not,
        },
        (_, Order::Play) => is(state.playing == Some(true)),
        (_, Order::Pause | Order::Stop) => is(state.playing == Some(false)),
        (_, Order::Next | Order::Previous) => heard,
        _ => Not,
    }
}

/// Devices round to the steps that they have.
fn amount(found: Option<u8>, wanted: u8, slack: u8) -> Progress {
    match found.map(|found| found.abs_diff(wanted)) {
        Some(0 | 1) => Progress::Done,
        Some(off) if off <= slack => Progress::Near,
        _ => Progress::Not,
    }
}

/// Where a cover is, or that it visibly moves there.
fn moved(id: &str, wanted: u8, before: &Entity, now: &State, unit: Unit) -> Progress {
    if heading(id, wanted, before, now, unit).is_some() {
        return Progress::Done;
    }
    match &now.text {
        None => amount(now.position, wanted, 5),
        Some(_) => Progress::Not,
    }
}

/// `opening` or `closing`, if a cover moves towards the wanted position and is not there.
fn heading(id: &str, wanted: u8, before: &Entity, now: &State, unit: Unit) -> Option<&'static str> {
    let from = state_of(id, before, unit).and_then(|state| state.position);
    let up = match from {
        Some(from) if from != wanted => wanted > from,
        // On its way already, or nobody knows from where.
        _ => wanted >= 50,
    };
    let word = if up { "opening" } else { "closing" };
    let says_so = now.text.as_deref() == Some(word);
    let seen = match (from, now.position, &now.text) {
        (Some(from), Some(now), None) if up => now > from && now < wanted,
        (Some(from), Some(now), None) => now < from && now > wanted,
        _ => false,
    };
    (says_so || seen).then_some(word)
}

/// The state to tell after an order, with what can be seen only by comparing.
pub(super) fn told(id: &str, goal: &Order, before: &Entity, now: &Entity, unit: Unit) -> State {
    let state = state_of(id, now, unit).unwrap_or_default();
    let wanted = match goal {
        Order::Open => 100,
        Order::Close => 0,
        Order::Position(wanted) => *wanted,
        _ => return state,
    };
    match heading(id, wanted, before, &state, unit) {
        // Within reach is there.
        Some(word) if state.text.is_some() || amount(state.position, wanted, 5) == Progress::Not => {
            State { text: Some(word.to_owned()), ..state }
        }
        _ => state,
    }
}

#[cfg(test)]
mod tests;
