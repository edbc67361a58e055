//! Which devices there are: what Home Assistant's registries say, joined into [`Device`]s.
//!
//! Pure: the server's replies in, devices out. Floors and labels came with 2024.4; a server without them has none.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::services::serves;
use super::states::{Entity, Unit, domain};
use crate::home::device::Device;

/// The server's replies, as they came. What is `Null` is empty.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// `homeassistant/expose_entity/list`.
    pub(super) exposed: Value,
    /// `config/entity_registry/get_entries`, of those that are exposed: only this has the aliases.
    pub(super) entries: Value,
    /// `config/device_registry/list`.
    pub(super) devices: Value,
    /// `config/area_registry/list`.
    pub(super) areas: Value,
    /// `config/floor_registry/list`.
    pub(super) floors: Value,
    /// `config/label_registry/list`.
    pub(super) labels: Value,
}

/// Of an entity's registry entry; those described in YAML without a unique id have none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: Option<String>,
    original_name: Option<String>,
    area_id: Option<String>,
    device_id: Option<String>,
    device_class: Option<String>,
    original_device_class: Option<String>,
    disabled_by: Option<String>,
    /// Newer servers write a null for the entity's own name.
    aliases: Vec<Option<String>>,
    labels: Vec<String>,
}

/// Of a device in Home Assistant's sense, to which several entities may belong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Machine {
    id: String,
    area_id: Option<String>,
    name: Option<String>,
    name_by_user: Option<String>,
    labels: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Area {
    area_id: String,
    name: String,
    aliases: Vec<String>,
    floor_id: Option<String>,
    labels: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Floor {
    floor_id: String,
    name: String,
    aliases: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Label {
    label_id: String,
    name: String,
}

/// The ids of all that is exposed to Assist and that hearth knows how to treat, sorted.
pub(super) fn exposed(reply: &Value) -> Vec<String> {
    let all = reply["exposed_entities"].as_object().into_iter().flatten();
    let shown = all.filter(|(id, to)| to["conversation"] == Value::Bool(true) && serves(domain(id)));
    let mut ids: Vec<String> = shown.map(|(id, _)| id.clone()).collect();
    ids.sort_unstable();
    ids
}

/// The devices, sorted by id. An entity that has neither a state nor a registry entry is left out: it is gone.
pub(super) fn devices(replies: &Replies, states: &HashMap<String, Entity>, unit: Unit) -> Vec<Device> {
    let entries: BTreeMap<String, Option<Entry>> = lenient(&replies.entries).into_iter().collect();
    let machines: HashMap<String, Machine> = by_id(&replies.devices, |machine: &Machine| &machine.id);
    let areas: HashMap<String, Area> = by_id(&replies.areas, |area: &Area| &area.area_id);
    let floors: HashMap<String, Floor> = by_id(&replies.floors, |floor: &Floor| &floor.floor_id);
    let labels: HashMap<String, Label> = by_id(&replies.labels, |label: &Label| &label.label_id);
    let mut devices = Vec::new();
    for id in exposed(&replies.exposed) {
        let entry = entries.get(&id).and_then(Option::as_ref);
        let entity = states.get(&id);
        if (entry.is_none() && entity.is_none()) || entry.is_some_and(|entry| entry.disabled_by.is_some()) {
            continue;
        }
        let none = Entry::default();
        let entry = entry.unwrap_or(&none);
        let machine = entry.device_id.as_ref().and_then(|id| machines.get(id));
        let area = entry.area_id.as_ref().or_else(|| machine?.area_id.as_ref()).and_then(|id| areas.get(id));
        let floor = area.and_then(|area| floors.get(area.floor_id.as_ref()?));
        let name = name(&id, entry, machine, entity);
        let mut places: Vec<String> = area.map(|area| area.aliases.clone()).unwrap_or_default();
        places.extend(floor.into_iter().flat_map(|floor| [&floor.name].into_iter().chain(&floor.aliases)).cloned());
        let marks = [Some(&entry.labels), machine.map(|machine| &machine.labels), area.map(|area| &area.labels)];
        let marks = marks.into_iter().flatten().flatten().filter_map(|label| labels.get(label));
        places.extend(marks.map(|label| label.name.clone()));
        let places = unique(places);
        let aliases = unique(entry.aliases.iter().flatten().cloned().collect());
        let kind = kind(&id, class(entry, entity), &name).to_owned();
        let room = area.map(|area| area.name.clone()).filter(|room| !room.trim().is_empty());
        let range_dc = entity.and_then(|entity| range_dc(&id, entity, unit));
        devices.push(Device { id, name, aliases, room, places, kind, range_dc });
    }
    devices
}

/// What a thermostat says that it can be set to.
fn range_dc(id: &str, entity: &Entity, unit: Unit) -> Option<(i32, i32)> {
    let tenths = |key: &str| entity.number(key).map(|degrees| (unit.to_celsius(degrees) * 10.0).round());
    let (least, most) = (tenths("min_temp")?, tenths("max_temp")?);
    let sane = domain(id) == "climate" && least <= most && least.abs().max(most.abs()) < 10_000.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
    sane.then_some((least as i32, most as i32))
}

/// Each key with what could be understood of it: one odd entry must not hide a home.
fn lenient<T: DeserializeOwned>(reply: &Value) -> impl IntoIterator<Item = (String, Option<T>)> {
    let all = reply.as_object().into_iter().flatten();
    all.map(|(id, value)| (id.clone(), T::deserialize(value).ok())).collect::<Vec<_>>()
}

fn by_id<T: DeserializeOwned>(reply: &Value, id: impl Fn(&T) -> &String) -> HashMap<String, T> {
    let all = reply.as_array().into_iter().flatten().filter_map(|value| T::deserialize(value).ok());
    all.map(|item: T| (id(&item).clone(), item)).collect()
}

/// Without empty ones and repetitions, in the order in which they were given.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !name.trim().is_empty() && !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

/// What the entity is called in Home Assistant: by its owner, else as its state says.
fn name(id: &str, entry: &Entry, machine: Option<&Machine>, entity: Option<&Entity>) -> String {
    let given = entry.name.as_deref().filter(|name| !name.trim().is_empty());
    let friendly = entity.and_then(|entity| entity.text("friendly_name"));
    let machine = machine.and_then(|machine| machine.name_by_user.as_deref().or(machine.name.as_deref()));
    let composed = match (machine, entry.original_name.as_deref()) {
        (Some(machine), Some(part)) => Some(format!("{machine} {part}")),
        (machine, part) => machine.or(part).map(str::to_owned),
    };
    let from_id = || id.split_once('.').map_or(id, |(_, object)| object).replace('_', " ");
    given.or(friendly).map(str::to_owned).or(composed).unwrap_or_else(from_id).trim().to_owned()
}

fn class<'a>(entry: &'a Entry, entity: Option<&'a Entity>) -> Option<&'a str> {
    let registered = entry.device_class.as_deref().or(entry.original_device_class.as_deref());
    registered.or_else(|| entity.and_then(|entity| entity.text("device_class")))
}

/// Words in a name that say what a thing is, where its domain allows that; the last that fits counts.
const NAMED_KINDS: [(&str, &str, &str); 21] = [
    ("light", "lamp", "lamp"),
    ("switch", "coffee", "coffee machine"),
    ("switch", "espresso", "coffee machine"),
    ("switch", "heater", "heater"),
    ("switch", "fan", "fan"),
    ("switch", "lamp", "lamp"),
    ("switch", "light", "light"),
    ("switch", "tv", "tv"),
    ("switch", "radio", "radio"),
    ("cover", "curtain", "curtains"),
    ("cover", "curtains", "curtains"),
    ("cover", "window", "window"),
    ("cover", "garage", "garage door"),
    ("cover", "blinds", "blinds"),
    ("cover", "shutters", "blinds"),
    ("climate", "heater", "heater"),
    ("climate", "conditioner", "air conditioner"),
    ("media_player", "tv", "tv"),
    ("media_player", "television", "tv"),
    ("media_player", "radio", "radio"),
    ("media_player", "speaker", "speaker"),
];

/// What people call such a thing: by its device class, else by a word in its name, else by its domain.
fn kind<'a>(id: &'a str, class: Option<&str>, name: &str) -> &'a str {
    let domain = match domain(id) {
        "input_boolean" => "switch",
        domain => domain,
    };
    let by_class = match (domain, class) {
        ("cover", Some("blind" | "shade" | "shutter")) => "blinds",
        ("cover", Some("curtain")) => "curtains",
        ("cover" | "binary_sensor", Some("garage" | "garage_door")) => "garage door",
        ("cover" | "binary_sensor", Some("window")) => "window",
        ("cover" | "binary_sensor", Some("door")) => "door",
        ("cover", Some("gate")) => "gate",
        ("cover", Some("awning")) => "awning",
        ("binary_sensor", Some("lock")) => "lock",
        ("media_player", Some("tv")) => "tv",
        ("media_player", Some("receiver")) => "receiver",
        ("media_player", Some("speaker")) => "speaker",
        ("sensor", Some("temperature")) => "thermometer",
        _ => "",
    };
    if !by_class.is_empty() {
        return by_class;
    }
    let words = name.to_lowercase();
    let words: Vec<&str> = words.split(|c: char| !c.is_alphanumeric()).collect();
    let named = words
        .iter()
        .rev()
        .find_map(|word| NAMED_KINDS.iter().find(|(of, in_name, _)| *of == domain && in_name == word));
    match (named, domain, class) {
        (Some((_, _, kind)), ..) => kind,
        (None, "switch", Some("outlet")) => "plug",
        (None, "cover", _) => "blinds",
        (None, "climate", _) => "thermostat",
        (None, "media_player", _) => "speaker",
        (None, "binary_sensor", _) => "sensor",
        (None, "input_button", _) => "button",
        (None, "todo", _) => "list",
        (None, domain, _) => domain,
    }
}

#[cfg(test)]
mod tests;
