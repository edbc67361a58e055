//! English sentences for what the home answers: places, lists, lengths of time.
//!
//! Pure: words in, words out. Never decides what is true; whoever calls has the confirmed state in hand. Numbers stay
//! digits, which `speech` turns into words.

use std::time::Duration;

/// Places that are no rooms: name, where a light of theirs hangs, where a lamp of theirs stands.
const PLACES: [(&str, &str, &str); 35] = [
    ("armchair", "by", "by"),
    ("back door", "by", "by"),
    ("balcony", "on", "on"),
    ("bar", "over", "on"),
    ("bed", "over", "by"),
    ("bedside table", "over", "on"),
    ("bookshelf", "over", "on"),
    ("coffee table", "over", "on"),
    ("couch", "over", "by"),
    ("counter", "over", "on"),
    ("deck", "on", "on"),
    ("desk", "over", "on"),
    ("dining table", "over", "on"),
    ("door", "by", "by"),
    ("dresser", "over", "on"),
    ("fireplace", "over", "by"),
    ("front door", "by", "by"),
    ("garden gate", "by", "by"),
    ("kitchen counter", "over", "on"),
    ("kitchen island", "over", "on"),
    ("mirror", "over", "by"),
    ("nightstand", "over", "on"),
    ("patio", "on", "on"),
    ("piano", "over", "on"),
    ("porch", "on", "on"),
    ("shelf", "over", "on"),
    ("sink", "over", "by"),
    ("sofa", "over", "by"),
    ("stairs", "over", "by"),
    ("stove", "over", "by"),
    ("table", "over", "on"),
    ("terrace", "on", "on"),
    ("tv", "by", "by"),
    ("window", "by", "by"),
    ("workbench", "over", "on"),
];

/// The place as an adverb: "over the stove", `None` for a room.
fn place(room: &str, kind: &str) -> Option<String> {
    let room = room.to_lowercase();
    let (_, light, lamp) = PLACES.iter().find(|(name, _, _)| *name == room)?;
    let preposition = if kind.starts_with("lamp") { lamp } else { light };
    Some(format!("{preposition} the {room}"))
}

/// A thing by its room or place, without an article: "kitchen light", "light over the stove".
#[must_use]
pub fn thing(room: &str, kind: &str) -> String {
    // The door of the front door is the front door, the garage door of the garage the garage door.
    let (lower, ends) = (room.to_lowercase(), |whole: &str, part: &str| whole.ends_with(&format!(" {part}")));
    if lower == kind || ends(&lower, kind) {
        return room.to_owned();
    }
    if kind.starts_with(&format!("{lower} ")) {
        return kind.to_owned();
    }
    match place(room, kind) {
        Some(place) => format!("{kind} {place}"),
        None => format!("{room} {kind}"),
    }
}

/// Where something is: "in the kitchen", "over the stove", "upstairs".
#[must_use]
pub fn at(room: &str, kind: &str) -> String {
    match room {
        "upstairs" | "downstairs" | "outside" => room.to_owned(),
        _ => place(room, kind).unwrap_or_else(|| format!("in the {room}")),
    }
}

/// "one", "one or two", "one, two or three".
#[must_use]
pub fn list(items: &[String], last: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., tail] => format!("{} {last} {tail}", head.join(", ")),
    }
}

/// A clause as a sentence: a capital letter before and a full stop behind.
#[must_use]
pub fn sentence(clause: &str) -> String {
    let mut chars = clause.chars();
    match chars.next() {
        None => String::new(),
        Some(first) => first.to_uppercase().chain(chars).chain(['.']).collect(),
    }
}

/// Hours, minutes and seconds of a length of time, begun seconds counted whole.
fn parts(length: Duration) -> [(u64, &'static str); 3] {
    let total = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    [(total / 3600, "hour"), (total / 60 % 60, "minute"), (total % 60, "second")]
}

/// A length of time: "10 minutes", "1 hour, 5 minutes and 30 seconds".
#[must_use]
pub fn duration(length: Duration) -> String {
    let words: Vec<String> = parts(length)
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() {
        return "0 seconds".to_owned();
    }
    list(&words, "and")
}

/// A length of time before a noun: "10 minute", "1 hour 30 minute".
#[must_use]
pub fn duration_before_noun(length: Duration) -> String {
    let words: Vec<String> = parts(length)
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    words.join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn things_and_places() {
        let check = |room: &str, kind: &str, expected: (&str, &str)| {
            assert_eq!((thing(room, kind).as_str(), at(room, kind).as_str()), expected);
        };
        check("kitchen", "light", ("kitchen light", "in the kitchen"));
        check("upstairs", "lights", ("upstairs lights", "upstairs"));
        check("front door", "door", ("front door", "by the front door"));
        check("garage", "garage door", ("garage door", "in the garage"));
        check("stove", "light", ("light over the stove", "over the stove"));
        check("Stove", "lamp", ("lamp by the stove", "by the stove"));
        check("desk", "lamp", ("lamp on the desk", "on the desk"));
        check("desk", "lamps", ("lamps on the desk", "on the desk"));
        check("dining table", "lights", ("lights over the dining table", "over the dining table"));
    }

    #[test]
    fn lengths_of_time() {
        let check = |length_ms: u64, expected: (&str, &str)| {
            let length = Duration::from_millis(length_ms);
            assert_eq!((duration(length).as_str(), duration_before_noun(length).as_str()), expected);
        };
        check(0, ("0 seconds", ""));
        check(1_000, ("1 second", "1 second"));
        check(1_001, ("2 seconds", "2 second"));
        check(600_000, ("10 minutes", "10 minute"));
        check(5_400_000, ("1 hour and 30 minutes", "1 hour 30 minute"));
        check(3_930_000, ("1 hour, 5 minutes and 30 seconds", "1 hour 5 minute 30 second"));
        check(86_400_000, ("24 hours", "24 hour"));
    }

    #[test]
    fn sentences() {
        assert_eq!(sentence("élan is off"), "Élan is off.");
        assert_eq!(sentence(""), "");
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&items, "or"), "a, b or c");
        assert_eq!(list(&items[..1], "or"), "a");
    }
}
