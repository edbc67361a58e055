//! What a model that reads declarations is told of the home: the tools, and which things there are.
//!
//! Pure: declarations and devices in, declarations out. A prompt is short of room (200 devices have to fit in 1,500
//! tokens), so it shows each tool without lists of values, and the things once, by room. The names themselves, what is in a
//! room and what it can be set to are in the checked parameters, from which the grammar is made: what is not there cannot
//! be decoded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::Degrees;
use super::orders::Action;
use crate::dialogue::{Kind, Parameter, ToolSpec};
use crate::home::device::Device;
use crate::home::resolve::{PAIRS, fold};
use crate::home::schema;

/// The declarations that go with the handlers, for a model folder that brings none.
const TOOLS: &str = include_str!("tools.json");
/// Longest list of things, in characters: about 270 tokens. What has no room is in the grammar alone.
const MAX_LIST_CHARS: usize = 1000;
/// Longest name that can be said.
const MAX_NAME_CHARS: usize = 64;
/// What a thermostat can be set to that does not say, in tenths of a degree Celsius.
const TARGETS_DC: (i32, i32) = (50, 300);

/// All tools that hearth has handlers for, as a model that reads declarations is told them.
#[must_use]
pub fn tools() -> Vec<ToolSpec> {
    let specs = schema::parse(TOOLS).expect("a fixed list, tried in a test");
    specs.into_iter().map(shortened).collect()
}

/// The tools as they are in a home with these devices: with its names, places and ranges; without those that nothing in it
/// is for.
#[must_use]
pub fn narrowed(specs: &[ToolSpec], devices: &[Device], degrees: Degrees) -> Vec<ToolSpec> {
    specs.iter().filter_map(|spec| narrow(spec, devices, degrees)).collect()
}

fn narrow(spec: &ToolSpec, devices: &[Device], degrees: Degrees) -> Option<ToolSpec> {
    let mut spec = spec.clone();
    let Some(action) = Action::named(&spec.name) else { return Some(spec) };
    let fitting: Vec<&Device> = devices.iter().filter(|device| action.takes(&device.kind)).collect();
    if fitting.is_empty() {
        return None;
    }
    // Of one there is no need to say which.
    let alone = fitting.len() == 1;
    spec.parameters.retain(|parameter| !(alone && parameter.name == "name" && !parameter.required));
    for Parameter { name, kind, .. } in &mut spec.parameters {
        let listed = match (name.as_str(), &kind) {
            ("name", Kind::Text) => names(&fitting),
            ("scene", Kind::Text) => own_names(&fitting),
            ("room", Kind::Text) => unique(fitting.iter().flat_map(|device| places(device))),
            ("degrees", Kind::Number { .. } | Kind::Integer { .. }) => {
                *kind = range(&fitting, degrees);
                continue;
            }
            _ => continue,
        };
        if listed.is_empty() {
            return None;
        }
        *kind = Kind::Choice(listed);
    }
    trim(&mut spec);
    Some(spec)
}

/// A prompt needs no list of what can be chosen and must be given: the grammar has that.
fn shortened(mut spec: ToolSpec) -> ToolSpec {
    if let Some(schema) = spec.schema.as_mut().and_then(Value::as_object_mut) {
        schema.shift_remove("required");
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for property in properties.into_iter().flat_map(|all| all.values_mut()).filter_map(Value::as_object_mut) {
            property.shift_remove("enum");
        }
    }
    spec
}

/// Takes out of the schema what is no parameter any more.
fn trim(spec: &mut ToolSpec) {
    if spec.parameters.is_empty() {
        spec.schema = None;
    }
    let schema = spec.schema.as_mut().and_then(Value::as_object_mut);
    if let Some(properties) = schema.and_then(|all| all.get_mut("properties")).and_then(Value::as_object_mut) {
        properties.retain(|name, _| spec.parameters.iter().any(|parameter| parameter.name == *name));
    }
}

/// What devices may be called: their names, and those of all of a kind in a place or everywhere.
fn names(devices: &[&Device]) -> Vec<String> {
    let kinds = devices.iter().flat_map(|device| {
        let plural =
            if PAIRS.contains(&device.kind.as_str()) { device.kind.clone() } else { format!("{}s", device.kind) };
        let both = [device.kind.clone(), plural];
        let in_room = device.room.iter().flat_map(|room| both.iter().map(move |kind| format!("{room} {kind}")));
        in_room.chain(both.clone()).collect::<Vec<_>>()
    });
    unique(own_names(devices).into_iter().chain(kinds))
}

fn own_names(devices: &[&Device]) -> Vec<String> {
    unique(devices.iter().flat_map(|device| std::iter::once(&device.name).chain(&device.aliases)).cloned())
}

fn places(device: &Device) -> Vec<String> {
    device.room.iter().chain(&device.places).cloned().collect()
}

/// Each once, however it is written; without what cannot be said or written.
fn unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let sayable = |name: &String| {
        let length = name.chars().count();
        (1..=MAX_NAME_CHARS).contains(&length) && !name.chars().any(char::is_control) && name.trim() == name.as_str()
    };
    names.into_iter().filter(|name| sayable(name) && seen.insert(fold(name))).collect()
}

/// What can be set on at least one of these, as people say it.
fn range(devices: &[&Device], degrees: Degrees) -> Kind {
    let ranges = || devices.iter().map(|device| device.range_dc.unwrap_or(TARGETS_DC));
    let show = |tenths: i32| degrees.of_c(f64::from(tenths) / 10.0);
    let least = ranges().map(|(least, _)| least).min().unwrap_or(TARGETS_DC.0);
    let most = ranges().map(|(_, most)| most).max().unwrap_or(TARGETS_DC.1);
    Kind::Number { min: (show(least) * 2.0).round() / 2.0, max: (show(most) * 2.0).round() / 2.0 }
}

/// The things of the home by room, for the system text: by name where there is room for that, else by kind. Empty for a
/// home without devices.
#[must_use]
pub fn overview(devices: &[Device]) -> String {
    let mut rooms: Vec<(&str, Vec<&Device>)> = Vec::new();
    for device in devices {
        let room = device.room.as_deref().unwrap_or("Elsewhere");
        match rooms.iter_mut().find(|(known, _)| *known == room) {
            Some((_, there)) => there.push(device),
            None => rooms.push((room, vec![device])),
        }
    }
    let named = listed(&rooms, |room, there| there.iter().map(|device| short_name(room, device)).collect());
    if named.chars().count() <= MAX_LIST_CHARS {
        return named;
    }
    // Each room has its share.
    let share = MAX_LIST_CHARS / rooms.len();
    let mut text = listed(&rooms, |room, there| {
        let mut left = share.saturating_sub(room.chars().count() + 3);
        let fits = |kind: &String| {
            let length = kind.chars().count() + 2;
            let fits = length <= left;
            left = left.saturating_sub(if fits { length } else { 0 });
            fits
        };
        kinds(there).into_iter().filter(fits).collect()
    });
    if let Some((end, _)) = text.char_indices().nth(MAX_LIST_CHARS) {
        text.truncate(text[..end].rfind('\n').unwrap_or(0));
    }
    text
}

fn listed(rooms: &[(&str, Vec<&Device>)], words: impl Fn(&str, &[&Device]) -> Vec<String>) -> String {
    let mut text = String::new();
    for (room, there) in rooms {
        let words = words(room, there);
        // Writing to a String cannot fail.
        let _ = match words.is_empty() {
            true => write!(text, "\n{room}"),
            false => write!(text, "\n{room}: {}", words.join(", ")),
        };
    }
    text
}

/// The name without the room that it begins with.
fn short_name(room: &str, device: &Device) -> String {
    let (name, room) = (&device.name, room.to_lowercase());
    let rest = name.to_lowercase().starts_with(&format!("{room} ")).then(|| name.get(room.len() + 1..)).flatten();
    rest.unwrap_or(name).to_owned()
}

/// Each kind once, in the plural where there are several; those first of which there are most.
fn kinds(devices: &[&Device]) -> Vec<String> {
    let mut found: Vec<(&str, usize)> = Vec::new();
    for device in devices {
        match found.iter_mut().find(|(kind, _)| *kind == device.kind) {
            Some((_, count)) => *count += 1,
            None => found.push((&device.kind, 1)),
        }
    }
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let word = |(kind, count): (&str, usize)| {
        if count == 1 || PAIRS.contains(&kind) { kind.to_owned() } else { format!("{kind}s") }
    };
    found.into_iter().map(word).collect()
}

#[cfg(test)]
mod tests;
