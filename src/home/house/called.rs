//! Which devices a call means, from what it names: a name, a kind and a room, or nothing where the tool says enough.
//!
//! Pure. Never guesses: what is not clear comes back as such, for a question (field notes, S14).

use serde_json::Value;

use super::orders::Action;
use super::speak::Subject;
use crate::dialogue::Arguments;
use crate::home::device::Device;
use crate::home::resolve::{Found, PAIRS, by_name, by_place, kind_in_place, room_named};

/// What a call names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called<'a> {
    by: By,
    /// As it was called.
    pub(super) words: &'a str,
    /// The kind that it is, as far as the call says.
    pub(super) kind: &'a str,
    pub(super) room: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Name,
    Kind,
    /// By nothing: the tool itself says what it is for.
    Tool,
}

impl<'a> Called<'a> {
    /// `None` when nothing is named. A name says more than a kind and a room.
    pub(super) fn from(action: Action, arguments: &'a Arguments) -> Option<Self> {
        let word = |key: &str| arguments.get(key).and_then(Value::as_str);
        let name = word("name").or_else(|| word("scene").filter(|_| action == Action::Scene));
        let (kind, own) = (word("kind"), action.kinds().first().copied());
        let called = |by, words| Self { by, words, kind: kind.or(own).unwrap_or("device"), room: word("room") };
        match (name, kind, own) {
            (Some(name), ..) => Some(Self { room: None, ..called(By::Name, name) }),
            (None, Some(kind), _) => Some(called(By::Kind, kind)),
            (None, None, Some(own)) => Some(called(By::Tool, own)),
            (None, None, None) => None,
        }
    }

    /// The devices among which it is looked for.
    pub(super) fn among(&self, action: Action, devices: &[Device]) -> Vec<Device> {
        let kinds = action.kinds();
        let fits = |device: &&Device| kinds.contains(&device.kind.as_str());
        match self.by {
            By::Name if !kinds.is_empty() => devices.iter().filter(fits).cloned().collect(),
            By::Name | By::Kind => devices.to_vec(),
            // Several kinds do for this tool: for finding they are one.
            By::Tool => {
                let like = |device: &Device| match kinds.contains(&device.kind.as_str()) {
                    true => Device { kind: self.words.to_owned(), ..device.clone() },
                    false => device.clone(),
                };
                devices.iter().map(like).collect()
            }
        }
    }

    pub(super) fn found<'d>(&self, among: &'d [Device], action: Action, here: Option<&str>) -> Found<'d> {
        if self.by != By::Name {
            return match (by_place(among, self.words, self.room, here), self.room) {
                // No room, but perhaps a part of a name: "the light over the stove" may be called just that.
                (Found::NoRoom, Some(room)) => match by_name(among, &format!("{room} {}", self.words)) {
                    Found::One(device) => Found::One(device),
                    _ => Found::NoRoom,
                },
                (found, _) => found,
            };
        }
        if let Some((room, kind)) = kind_in_place(among, self.words) {
            return by_place(among, &kind, room, here);
        }
        match (by_name(among, self.words), action.kinds().first()) {
            (Found::Nothing(_), Some(kind)) => by_name(among, &format!("{} {kind}", self.words)),
            (found, _) => found,
        }
    }
}

/// How several devices are called together.
pub(super) fn together(all: &[Device], devices: &[Device], called: &Called<'_>) -> Subject {
    let named = match called.by {
        By::Name => kind_in_place(devices, called.words),
        _ => None,
    };
    let (room, words) = named.unwrap_or((called.room, called.words.to_owned()));
    let place = room.map(|room| room_named(devices, room).unwrap_or(room));
    let place = place.or_else(|| if speak_of_room(all, &words) { all[0].room.as_deref() } else { None });
    Subject::all(all, &words, place)
}

/// Several that only one room has are spoken of with it.
fn speak_of_room(devices: &[Device], kind: &str) -> bool {
    PAIRS.contains(&kind) && devices.iter().all(|device| device.room == devices[0].room)
}
