//! All timers, alarms and reminders: what is due, what rings, stop and snooze, and two copies of the list made one.
//!
//! Pure: the time is an argument, nothing is read or written. An entry stays until it is stopped, cancelled or has rung
//! for as long as the settings allow; fetching it with [`Timers::due`] does not take it out, so a crash between the two
//! rings it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Due, Entry, Now, Ring, What, time_and_day};
use crate::dialogue::{Arguments, Outcome, ToolResult};
use crate::home::phrase::{duration, list, sentence};
use crate::home::{refused, result};

/// Most entries of a kind at once, rung ones that nobody has stopped included.
pub const MAX_TIMERS: usize = 32;
/// Whoever waits looks again after this, because the wall clock may be set and the machine may sleep.
const LOOK_AGAIN_MS: i64 = 15_000;

/// `[timers]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimerConfig {
    /// How long it rings when nobody stops it, in seconds.
    pub ring_s: u64,
    /// How long a snooze lasts when no time is given, in minutes.
    pub snooze_minutes: u64,
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self { ring_s: 300, snooze_minutes: 9 }
    }
}

/// An entry as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimerState {
    /// Its number, to cancel it by.
    pub id: u64,
    /// "timer", "alarm" or "reminder".
    pub kind: &'static str,
    /// What a timer is called.
    pub name: Option<String>,
    /// What a reminder says.
    pub text: Option<String>,
    /// How long a timer was set for, in seconds.
    pub length_s: Option<u64>,
    /// How long until it is due, in seconds.
    pub left_s: u64,
    /// When it is due, in words: "7:00 AM tomorrow".
    pub when: String,
    /// Has its time come, and has nobody stopped it?
    pub ringing: bool,
}

/// All timers, alarms and reminders.
#[derive(Debug, Default)]
pub struct Timers {
    pub(super) entries: Vec<Entry>,
    pub(super) next_id: u64,
    pub(super) config: TimerConfig,
}

impl Timers {
    /// What begins to ring now, the first due first. It goes on ringing until it is stopped.
    pub fn due(&mut self, now: &Now) -> Vec<Ring> {
        let mut rings: Vec<Ring> = Vec::new();
        for entry in &mut self.entries {
            if entry.rings_from_ms.is_none() && entry.is_due(now) {
                rings.push(ring(entry, now));
                entry.rings_from_ms = Some(now.boot_ms);
            }
        }
        rings.sort_by_key(|ring| -ring.late_ms);
        rings
    }

    /// What rings, fetched with [`Timers::due`] and not stopped yet.
    #[must_use]
    pub fn ringing(&self, now: &Now) -> Vec<Ring> {
        self.entries.iter().filter(|entry| entry.rings_from_ms.is_some()).map(|entry| ring(entry, now)).collect()
    }

    /// Takes out what has rung for as long as the settings allow.
    pub fn ring_out(&mut self, now: &Now) -> Vec<Ring> {
        let limit_ms = i64::try_from(self.config.ring_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let over = |entry: &mut Entry| entry.rings_from_ms.is_some_and(|from| now.boot_ms - from >= limit_ms);
        self.entries.extract_if(.., over).map(|entry| ring(&entry, now)).collect()
    }

    /// In how many milliseconds to look again: when the next is due or the next has rung out, and every few seconds in
    /// between. `None` when there is nothing to wait for.
    #[must_use]
    pub fn next_ms(&self, now: &Now) -> Option<i64> {
        let limit_ms = i64::try_from(self.config.ring_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let wait = |entry: &Entry| match entry.rings_from_ms {
            Some(from) => from.saturating_add(limit_ms) - now.boot_ms,
            None => entry.left_ms(now),
        };
        self.entries.iter().map(wait).min().map(|wait_ms| wait_ms.clamp(0, LOOK_AGAIN_MS))
    }

    /// What there is, the next due first.
    #[must_use]
    pub fn snapshot(&self, now: &Now) -> Vec<TimerState> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| entry.left_ms(now));
        let state = |entry: &Entry| TimerState {
            id: entry.id,
            kind: entry.what.kind(),
            name: entry.name().map(str::to_owned),
            text: match &entry.what {
                What::Reminder { text } => Some(text.clone()),
                _ => None,
            },
            length_s: entry.length().map(|length| length.as_secs()),
            left_s: entry.left(now).as_secs(),
            when: when(entry, now),
            ringing: entry.is_due(now),
        };
        entries.into_iter().map(state).collect()
    }

    /// Ends whatever rings.
    pub fn stop(&mut self, now: &Now) -> Vec<Ring> {
        self.entries.extract_if(.., |entry| entry.is_due(now)).map(|entry| ring(&entry, now)).collect()
    }

    /// `stop{}`: ends whatever rings, and says so. When nothing rings there is nothing to talk about.
    pub(super) fn stop_aloud(&mut self, tool: &str, now: &Now) -> ToolResult {
        let stopped = self.stop(now);
        let phrases: Vec<String> = stopped.iter().map(|ring| ring.what.phrase()).collect();
        let verb = if stopped.len() == 1 { "is" } else { "are" };
        let said = sentence(&format!("{} {verb} stopped", list(&phrases, "and")));
        let result = result(tool, Outcome::Done, &[("stopped", Value::from(stopped.len()))], said);
        ToolResult { say: result.say.filter(|_| !stopped.is_empty()), ..result }
    }

    /// `{minutes?}`: whatever rings is due again later.
    pub(super) fn snooze(&mut self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let minutes = arguments.get("minutes").and_then(Value::as_u64).unwrap_or(self.config.snooze_minutes);
        if !(1..=1440).contains(&minutes) {
            return refused(tool, "minutes out of range", "I can snooze for 1 minute to 24 hours.".to_owned());
        }
        let wait = Duration::from_secs(minutes * 60);
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let mut snoozed = 0;
        for entry in self.entries.iter_mut().filter(|entry| entry.is_due(now)) {
            *entry = entry.snoozed(wait_ms, now);
            snoozed += 1;
        }
        if snoozed == 0 {
            return refused(tool, "nothing is ringing", "Nothing is ringing.".to_owned());
        }
        let details = [("snoozed", Value::from(snoozed)), ("minutes", Value::from(minutes))];
        result(tool, Outcome::Done, &details, format!("I will ring again in {}.", duration(wait)))
    }

    /// Takes out the entry of this number.
    pub fn remove(&mut self, id: u64) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        Some(self.entries.remove(index))
    }

    /// The entry, if no more of its kind are there than can be kept.
    pub(super) fn add(&mut self, tool: &str, make: impl FnOnce(u64) -> Entry) -> Result<&Entry, Box<ToolResult>> {
        let entry = make(self.next_id);
        let kind = entry.what.kind();
        if self.entries.iter().filter(|other| other.what.kind() == kind).count() >= MAX_TIMERS {
            let say = format!("There are {MAX_TIMERS} {kind}s already, which is all I can keep.");
            return Err(Box::new(refused(tool, &format!("too many {kind}s"), say)));
        }
        self.next_id += 1;
        self.entries.push(entry);
        Ok(self.entries.last().expect("it was just put there"))
    }

    /// Brings the stored ends in line with a wall clock that was set; says whether any had to be.
    pub(super) fn follow(&mut self, now: &Now) -> bool {
        self.entries.iter_mut().fold(false, |moved, entry| entry.follow(now) | moved)
    }

    /// Takes over what another process wrote. `before` is what both knew last: what is here and was not there is new here,
    /// what was there and is not here is gone.
    pub(super) fn merge(&mut self, read: Vec<Entry>, next_id: u64, before: &[Entry], now: &Now) {
        self.next_id = self.next_id.max(next_id);
        let knows = |entries: &[Entry], id: u64| entries.iter().any(|entry| entry.id == id);
        let mine = std::mem::take(&mut self.entries);
        for entry in read {
            match mine.iter().find(|own| own.id == entry.id) {
                // Changed here and not written yet, or not changed at all: this one knows its anchor and whether it rings.
                Some(own) if before.contains(&entry) => self.entries.push(own.clone()),
                None if knows(before, entry.id) => {}
                _ => self.entries.push(entry.restored(now)),
            }
        }
        for mut own in mine {
            if knows(before, own.id) {
                continue;
            }
            if knows(&self.entries, own.id) {
                own.id = self.next_id;
                self.next_id += 1;
            }
            self.entries.push(own);
        }
        let greatest = self.entries.iter().map(|entry| entry.id).max();
        self.next_id = self.next_id.max(greatest.map_or(0, |id| id.saturating_add(1)));
    }
}

fn ring(entry: &Entry, now: &Now) -> Ring {
    Ring { id: entry.id, what: entry.what.clone(), late_ms: -entry.left_ms(now).min(0) }
}

/// When it is due, in words.
pub(super) fn when(entry: &Entry, now: &Now) -> String {
    let local = match &entry.due {
        Due::At(at) => *at,
        Due::After { .. } => {
            let left = jiff::SignedDuration::from_millis(entry.left_ms(now));
            now.wall.checked_add(left).map_or_else(|_| now.wall.datetime(), |end| end.datetime())
        }
    };
    time_and_day(local, now)
}
