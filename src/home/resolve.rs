//! Which device is meant: from a name, or from a kind of device and a room.
//!
//! Pure: plain data in, plain data out. Never acts and never guesses between two devices: what is not clear comes back
//! as [`Found::Ambiguous`] with the candidates, for a question (field notes, S14).

use super::device::Device;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Exactly one device is meant.
    One(&'a Device),
    /// All of these are meant.
    All(Vec<&'a Device>),
    /// One of these is meant; at least two.
    Ambiguous(Vec<&'a Device>),
    /// No device fits; perhaps one of these was meant.
    Nothing(Vec<&'a Device>),
    /// The home has no such room.
    NoRoom,
}

/// Kinds that "light" and "lights" may stand for.
pub const LIGHTING: [&str; 2] = ["light", "lamp"];

/// A word for a kind, and the kind that it may mean where there is none of the first.
const STAND_INS: [(&str, &str); 8] = [
    ("light", "lamp"),
    ("door", "lock"),
    ("lock", "door"),
    ("plug", "switch"),
    ("heater", "thermostat"),
    ("thermostat", "heater"),
    ("air conditioner", "thermostat"),
    ("radio", "speaker"),
];
/// Kinds whose word is a plural although each is one device: several in one room are meant together.
pub(super) const PAIRS: [&str; 3] = ["blinds", "curtains", "shutters"];

/// Most parts of a "name, alias, alias" string that are looked at.
const MAX_PARTS: usize = 8;
/// Most near misses that are named.
const MAX_NEAR: usize = 3;
/// Longest name, in characters, that is compared letter by letter.
const MAX_CHARS: usize = 64;

/// Finds a device by what it was called: id, then name, then alias, then the parts of a "name, alias" string, then the
/// only name that is spelled nearly so.
///
/// Never gives [`Found::All`] or [`Found::NoRoom`].
#[must_use]
pub fn by_name<'a>(devices: &'a [Device], wanted: &str) -> Found<'a> {
    let folded = fold(wanted);
    if folded.is_empty() {
        return Found::Nothing(Vec::new());
    }
    for matches in [is_id, is_name, is_alias] {
        let hits: Vec<&Device> = devices.iter().filter(|device| matches(device, &folded)).collect();
        if !hits.is_empty() {
            return one_of(hits);
        }
    }
    let parts: Vec<String> = wanted.split(',').take(MAX_PARTS).map(fold).collect();
    let count = |device: &Device| {
        parts.iter().filter(|part| is_id(device, part) || is_name(device, part) || is_alias(device, part)).count()
    };
    if let Some(most) = devices.iter().map(count).max().filter(|most| *most > 0) {
        return one_of(devices.iter().filter(|device| count(device) == most).collect());
    }
    let close: Vec<&Device> =
        devices.iter().filter(|device| names(device).any(|name| is_close(&fold(name), &folded))).collect();
    if close.is_empty() { Found::Nothing(near(devices, &folded)) } else { one_of(close) }
}

/// The place and the kind that a name is made of: "kitchen lights", "lights", "the bedroom lamp". `None` where a device is
/// called just so, and where it is no kind of device that this home has.
#[must_use]
pub fn kind_in_place<'a>(devices: &'a [Device], name: &str) -> Option<(Option<&'a str>, String)> {
    let folded = fold(name);
    if devices.iter().any(|device| is_id(device, &folded) || is_name(device, &folded) || is_alias(device, &folded)) {
        return None;
    }
    let is_kind = |words: &str| {
        let singular = words.strip_suffix('s');
        let is = |kind: &str| kind == words || singular == Some(kind);
        devices.iter().any(|device| is(&fold(&device.kind)))
            || (LIGHTING.iter().any(|kind| is(kind)) && has_light(devices))
    };
    if is_kind(&folded) {
        return Some((None, folded));
    }
    let places = devices.iter().flat_map(|device| device.room.iter().chain(&device.places));
    let mut split = places.filter_map(|place| {
        let kind = folded.strip_prefix(&fold(place))?.strip_prefix(' ')?;
        is_kind(kind).then(|| (Some(place.as_str()), kind.to_owned()))
    });
    split.next()
}

fn has_light(devices: &[Device]) -> bool {
    devices.iter().any(|device| LIGHTING.contains(&device.kind.as_str()))
}

/// Finds devices by kind and room. A plural kind means all there are, in the room or in the house; `lights` includes
/// lamps. A singular kind without a room means the one `here`, in the speaker's own room, or the only one in the house.
///
/// [`Found::Nothing`] carries what else there is of this kind (no room fits) or in this room (no kind fits).
#[must_use]
pub fn by_place<'a>(devices: &'a [Device], kind: &str, room: Option<&str>, here: Option<&str>) -> Found<'a> {
    let kind = fold(kind);
    let in_room: Vec<&Device> = match room {
        None => devices.iter().collect(),
        Some(wanted) => match room_named(devices, wanted) {
            None => return Found::NoRoom,
            Some(room) => devices.iter().filter(|device| is_in(device, room)).collect(),
        },
    };
    if let Some(kinds) = plural(devices, &kind) {
        let all: Vec<&Device> =
            in_room.iter().copied().filter(|device| kinds.contains(&device.kind.as_str())).collect();
        return if all.is_empty() {
            Found::Nothing(alternatives(devices, &in_room, kinds[0], room))
        } else {
            Found::All(all)
        };
    }
    let mut hits = of_kind(&in_room, &kind);
    if room.is_none()
        && hits.len() > 1
        && let Some(here) = here.and_then(|here| room_named(devices, here))
    {
        let local: Vec<&Device> = devices.iter().filter(|device| is_in(device, here)).collect();
        let local = of_kind(&local, &kind);
        if !local.is_empty() {
            hits = local;
        }
    }
    if hits.len() > 1 && PAIRS.contains(&kind.as_str()) && hits.iter().all(|hit| hit.room == hits[0].room) {
        return Found::All(hits);
    }
    if hits.is_empty() { Found::Nothing(alternatives(devices, &in_room, &kind, room)) } else { one_of(hits) }
}

/// Devices of a kind, or where there are none of it, of the kind that people may mean by it.
fn of_kind<'a>(devices: &[&'a Device], kind: &str) -> Vec<&'a Device> {
    let of = |kind: &str| -> Vec<&'a Device> {
        devices.iter().copied().filter(|device| fold(&device.kind) == kind).collect()
    };
    let hits = of(kind);
    if !hits.is_empty() {
        return hits;
    }
    STAND_INS
        .iter()
        .filter(|(meant, _)| *meant == kind)
        .map(|(_, other)| of(other))
        .find(|hits| !hits.is_empty())
        .unwrap_or_default()
}

/// The kinds that a plural stands for, `None` for a singular.
fn plural<'a>(devices: &'a [Device], kind: &str) -> Option<Vec<&'a str>> {
    if kind == "lights" {
        return Some(LIGHTING.to_vec());
    }
    let singular = kind.strip_suffix('s')?;
    let device = devices.iter().find(|device| fold(&device.kind) == singular)?;
    Some(vec![&device.kind])
}

fn alternatives<'a>(devices: &'a [Device], in_room: &[&'a Device], kind: &str, room: Option<&str>) -> Vec<&'a Device> {
    match room {
        Some(_) => in_room.iter().copied().take(MAX_NEAR).collect(),
        None => devices.iter().filter(|device| fold(&device.kind) == kind).take(MAX_NEAR).collect(),
    }
}

/// The place's own spelling: the same words, or the only place that is spelled nearly so. A room goes before what else
/// places are called.
#[must_use]
pub fn room_named<'a>(devices: &'a [Device], wanted: &str) -> Option<&'a str> {
    let wanted = fold(wanted);
    let rooms = || devices.iter().filter_map(|device| device.room.as_deref());
    let others = || devices.iter().flat_map(|device| &device.places).map(String::as_str);
    if let Some(room) = rooms().chain(others()).find(|place| fold(place) == wanted) {
        return Some(room);
    }
    let mut close: Vec<&str> = rooms().chain(others()).filter(|place| is_close(&fold(place), &wanted)).collect();
    close.sort_unstable();
    close.dedup();
    match close.as_slice() {
        [room] => Some(room),
        _ => None,
    }
}

/// Is the device in this place, spelled as [`room_named`] gives it?
#[must_use]
pub fn is_in(device: &Device, place: &str) -> bool {
    device.room.iter().chain(&device.places).any(|own| own == place)
}

fn one_of(mut hits: Vec<&Device>) -> Found<'_> {
    if hits.len() == 1 { Found::One(hits.remove(0)) } else { Found::Ambiguous(hits) }
}

fn is_id(device: &Device, folded: &str) -> bool {
    fold(&device.id) == folded
}

fn is_name(device: &Device, folded: &str) -> bool {
    fold(&device.name) == folded
}

fn is_alias(device: &Device, folded: &str) -> bool {
    device.aliases.iter().any(|alias| fold(alias) == folded)
}

fn names(device: &Device) -> impl Iterator<Item = &String> {
    [&device.id, &device.name].into_iter().chain(&device.aliases)
}

/// Lower case, words apart by single spaces, no article in front: what is equal so is called the same.
pub(super) fn fold(text: &str) -> String {
    let text = text.to_lowercase().replace(['_', '-'], " ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let skip = usize::from(words.len() > 1 && ["the", "my", "a"].contains(&words[0]));
    words[skip..].join(" ")
}

/// Are two folded names the same but for a slip? Digits must agree: lamp 2 is never taken for lamp 3, however alike.
fn is_close(a: &str, b: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    if a.is_empty() || b.is_empty() || a.chars().count().max(b.chars().count()) > MAX_CHARS || digits(a) != digits(b) {
        return false;
    }
    let (words_a, words_b): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    if words_a.len() == words_b.len() {
        return words_a.iter().zip(&words_b).all(|(a, b)| distance(a, b) <= slips(a, b));
    }
    let (a, b) = (a.replace(' ', ""), b.replace(' ', ""));
    distance(&a, &b) <= slips(&a, &b).min(1)
}

/// How many letters may differ between two words: none in short ones, where a letter makes another word.
fn slips(a: &str, b: &str) -> usize {
    match a.chars().count().max(b.chars().count()) {
        0..=4 => 0,
        5..=7 => 1,
        _ => 2,
    }
}

/// Edit distance: letters put in, left out or exchanged.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The devices whose names are nearest, if at least half of the letters agree.
fn near<'a>(devices: &'a [Device], folded: &str) -> Vec<&'a Device> {
    let length = folded.chars().count();
    if length > MAX_CHARS {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, &Device)> = devices
        .iter()
        .filter(|device| device.name.chars().count() <= MAX_CHARS)
        .map(|device| (distance(&fold(&device.name), folded), device))
        .filter(|(distance, _)| *distance <= length / 2)
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.into_iter().take(MAX_NEAR).map(|(_, device)| device).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn device(id: &str, name: &str, aliases: &[&str], room: &str, kind: &str) -> Device {
        Device {
            id: id.to_owned(),
            name: name.to_owned(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            room: (!room.is_empty()).then(|| room.to_owned()),
            places: Vec::new(),
            kind: kind.to_owned(),
            range_dc: None,
        }
    }

    /// What was found, as a word and the ids.
    fn shown(found: &Found<'_>) -> String {
        let ids = |devices: &[&Device]| devices.iter().map(|device| device.id.as_str()).collect::<Vec<_>>().join(" ");
        match found {
            Found::One(device) => device.id.clone(),
            Found::All(devices) => format!("all {}", ids(devices)),
            Found::Ambiguous(devices) => format!("which {}", ids(devices)),
            Found::Nothing(devices) => format!("none {}", ids(devices)).trim().to_owned(),
            Found::NoRoom => "no room".to_owned(),
        }
    }

    #[test]
    fn names_as_people_and_models_write_them() {
        let devices = [
            device("light.kitchen", "Kitchen Light", &["Ceiling", "Big Light"], "kitchen", "light"),
            device("light.lamp_1", "Lamp 1", &["Reading Lamp"], "living room", "lamp"),
            device("light.lamp_2", "Lamp 2", &["Big Light"], "living room", "lamp"),
            device("fan.tower", "Kitchen Light Fan", &[], "office", "fan"),
            device("light.den", "den lantern", &["light.kitchen_old"], "den", "light"),
        ];
        let check = |wanted: &str, expected: &str| {
            assert_eq!(shown(&by_name(&devices, wanted)), expected, "{wanted}");
        };
        check("light.kitchen", "light.kitchen");
        check("LIGHT.KITCHEN", "light.kitchen");
        check("kitchen light", "light.kitchen");
        check("the  Kitchen-Light", "light.kitchen");
        check("reading lamp", "light.lamp_1");
        check("big light", "which light.kitchen light.lamp_2");
        // "name, alias" strings: core #176324.
        check("Kitchen Light, Ceiling", "light.kitchen");
        check("Lamp 2, Big Light", "light.lamp_2");
        check("Lamp 1, Lamp 2", "which light.lamp_1 light.lamp_2");
        check("Nonsense, Ceiling", "light.kitchen");
        // Slips of the pen.
        check("kitchin light", "light.kitchen");
        check("kitchen lights", "light.kitchen");
        check("readinglamp", "light.lamp_1");
        check("den lanterns", "light.den");
        // Other names, however near.
        check("lamp 3", "none light.lamp_1 light.lamp_2");
        check("hen lantern", "none light.den");
        check("light.garage_main", "none");
        check("kitchen lamp", "none light.kitchen");
        check("", "none");
        check(" , ", "none");
        check(&"x".repeat(10_000), "none");
    }

    #[test]
    fn rooms_and_kinds() {
        let devices = [
            device("k", "kitchen light", &[], "kitchen", "light"),
            device("l", "living room light", &[], "living room", "light"),
            device("ll", "living room lamp", &[], "living room", "lamp"),
            device("b", "bedroom lamp", &[], "bedroom", "lamp"),
            device("f", "bedroom fan", &[], "bedroom", "fan"),
        ];
        let check = |kind: &str, room: Option<&str>, here: Option<&str>, expected: &str| {
            assert_eq!(shown(&by_place(&devices, kind, room, here)), expected, "{kind} {room:?} {here:?}");
        };
        check("light", Some("kitchen"), None, "k");
        check("Light", Some("Living Room"), Some("kitchen"), "l");
        check("lamp", Some("livingroom"), None, "ll");
        check("light", Some("bedroom"), None, "b");
        check("lights", Some("living room"), None, "all l ll");
        check("lamps", None, None, "all ll b");
        check("lights", None, Some("kitchen"), "all k l ll b");
        check("light", None, None, "which k l");
        check("light", None, Some("kitchen"), "k");
        check("light", None, Some("bedroom"), "b");
        check("lamp", None, Some("kitchen"), "which ll b");
        check("light", None, Some("attic"), "which k l");
        check("fan", None, Some("kitchen"), "f");
        check("fan", Some("kitchen"), None, "none k");
        check("fans", Some("kitchen"), None, "none k");
        check("heater", None, None, "none");
        check("light", Some("garage"), Some("kitchen"), "no room");
    }

    #[test]
    fn rooms_have_other_names_and_some_devices_no_room() {
        let up = |device: Device| Device { places: vec!["upstairs".to_owned(), "boudoir".to_owned()], ..device };
        let devices = [
            up(device("b", "bedroom light", &[], "bedroom", "light")),
            up(device("n", "nursery light", &[], "nursery", "light")),
            device("k", "kitchen light", &[], "kitchen", "light"),
            device("v", "dusty", &[], "", "vacuum"),
            device("l", "left blinds", &[], "kitchen", "blinds"),
            device("r", "right blinds", &[], "kitchen", "blinds"),
            device("d", "front door", &[], "hallway", "lock"),
        ];
        let check = |kind: &str, room: Option<&str>, here: Option<&str>, expected: &str| {
            assert_eq!(shown(&by_place(&devices, kind, room, here)), expected, "{kind} {room:?} {here:?}");
        };
        check("lights", Some("upstairs"), None, "all b n");
        check("light", Some("Boudoir"), None, "which b n");
        check("vacuum", None, Some("kitchen"), "v");
        check("vacuum", Some("kitchen"), None, "none k l r");
        check("blinds", None, Some("bedroom"), "all l r");
        check("door", None, None, "d");
        check("door", Some("hallway"), None, "d");
    }

    #[test]
    fn names_that_are_a_place_and_a_kind() {
        let devices = [
            device("k", "Ceiling", &["Kitchen Spot"], "Kitchen", "light"),
            device("l", "Reading Lamp", &[], "Living Room", "lamp"),
            device("f", "Living Room Fan", &[], "Living Room", "fan"),
            device("b", "Left Blinds", &[], "Kitchen", "blinds"),
        ];
        let check = |name: &str, expected: Option<(Option<&str>, &str)>| {
            let found = kind_in_place(&devices, name);
            assert_eq!(found.as_ref().map(|(place, kind)| (*place, kind.as_str())), expected, "{name}");
        };
        check("kitchen lights", Some((Some("Kitchen"), "lights")));
        check("the Living Room lamp", Some((Some("Living Room"), "lamp")));
        check("living room lights", Some((Some("Living Room"), "lights")));
        check("lights", Some((None, "lights")));
        check("blinds", Some((None, "blinds")));
        check("kitchen blinds", Some((Some("Kitchen"), "blinds")));
        // These are called so.
        check("living room fan", None);
        check("kitchen spot", None);
        // And these are nothing.
        check("kitchen heater", None);
        check("garage lights", None);
        check("ceiling lights", None);
        check("", None);
    }

    #[test]
    fn distances() {
        let check = |a: &str, b: &str, expected: usize| assert_eq!(distance(a, b), expected, "{a} {b}");
        check("", "", 0);
        check("", "abc", 3);
        check("lamp", "lamp", 0);
        check("lamp", "light", 4);
        check("kitten", "sitting", 3);
        check("stöve", "stove", 1);
    }
}
