//! The calls about timers: set, cancel, how long is left.
//!
//! Pure. Several timers may run, also under one name. One of several with the same name is told apart by its length, where
//! the declared tool takes `hours`, `minutes` or `seconds`, or all of them are meant, where it takes `all`.

use std::time::Duration;

use serde_json::Value;

use super::book::Timers;
use super::entry::{Entry, Now, What};
use crate::dialogue::{Arguments, Outcome, ToolResult};
use crate::home::phrase::{duration, duration_before_noun, list, sentence};
use crate::home::{asked, refused, result};

/// Longest timer, in hours: what is further off is a reminder.
pub const MAX_HOURS: u64 = 24;
/// Most timers that one sentence names.
pub(super) const MAX_NAMED: usize = 4;
/// From this many seconds on, what is left is told to the minute.
const ROUND_FROM_S: u64 = 600;
/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 60;

/// Which timers a call means.
#[derive(Debug, Default)]
struct Wanted {
    name: Option<String>,
    length: Option<Duration>,
    all: bool,
}

impl Wanted {
    fn from(arguments: &Arguments) -> Self {
        let name = name_of(arguments);
        let length = length_of(arguments).filter(|length| !length.is_zero());
        let all = arguments.get("all") == Some(&Value::Bool(true));
        Self { name, length, all }
    }

    fn fits(&self, timer: &Entry) -> bool {
        let same = |name: &String| timer.name().is_some_and(|other| other.to_lowercase() == name.to_lowercase());
        self.name.as_ref().is_none_or(same) && self.length.is_none_or(|length| timer.length() == Some(length))
    }

    /// "timer", "pasta timer": what is said of timers that fit.
    fn noun(&self) -> String {
        let length = self.length.map(|length| format!("{} ", duration_before_noun(length))).unwrap_or_default();
        let name = self.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
        format!("{length}{name}timer")
    }
}

impl Timers {
    /// All timers, the next to ring first; those that ring are before all others.
    fn timers(&self, now: &Now) -> Vec<&Entry> {
        let mut timers: Vec<&Entry> =
            self.entries.iter().filter(|entry| matches!(entry.what, What::Timer { .. })).collect();
        timers.sort_by_key(|timer| timer.left_ms(now));
        timers
    }

    /// `{hours?, minutes?, seconds?, name?}`: starts a timer.
    pub(super) fn set(&mut self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let name = name_of(arguments);
        let Some(length) = length_of(arguments) else {
            let noun = Wanted { name, ..Wanted::default() }.noun();
            return asked(tool, format!("How long should the {noun} run?"));
        };
        let refuse = |error: &str, say: &str| refused(tool, error, say.to_owned());
        if length.is_zero() {
            return refuse("length is zero", "A timer needs a length of more than 0 seconds.");
        }
        if length.as_secs() > MAX_HOURS * 3600 {
            let say = format!("A timer can run for at most {MAX_HOURS} hours.");
            return refuse("too long", &say);
        }
        let same = |other: &&Entry| !other.is_due(now) && other.name() == name.as_deref();
        let twins = self.timers(now).into_iter().filter(same).count();
        let subject = match &name {
            Some(name) if twins > 0 => format!("another {name} timer"),
            Some(name) => format!("the {name} timer"),
            None if twins > 0 => "another timer".to_owned(),
            None => "the timer".to_owned(),
        };
        let what = What::Timer { name, length_s: length.as_secs() };
        match self.add(tool, |id| Entry::after(id, what, millis(length), now)) {
            Err(refused) => *refused,
            Ok(timer) => {
                let say = sentence(&format!("{subject} is set for {}", duration(length)));
                result(tool, Outcome::Done, &details(timer, now), say)
            }
        }
    }

    /// `{name?}`: stops a timer, and asks when several fit. With nothing said, those that ring are meant before others.
    pub(super) fn cancel(&mut self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let wanted = Wanted::from(arguments);
        let mut fitting = self.fitting(&wanted, now);
        if fitting.iter().any(|timer| timer.is_due(now)) && !wanted.all {
            fitting.retain(|timer| timer.is_due(now));
        }
        match fitting.as_slice() {
            [] => self.none_fits(tool, &wanted, now),
            [one] => {
                let say = sentence(&format!("{} is cancelled", one.what.phrase()));
                let details = details(one, now);
                self.remove(one.id);
                result(tool, Outcome::Done, &details, say)
            }
            several if wanted.all || several.iter().all(|timer| timer.is_due(now)) => {
                let say = sentence(&format!("all {} {}s are cancelled", several.len(), wanted.noun()));
                for timer in several {
                    self.remove(timer.id);
                }
                result(tool, Outcome::Done, &[("cancelled", Value::from(fitting.len()))], say)
            }
            several => asked(tool, which(several, &wanted, now)),
        }
    }

    /// `{name?}`: says how long a timer still runs, or all that fit.
    pub(super) fn left(&self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let wanted = Wanted::from(arguments);
        let fitting = self.fitting(&wanted, now);
        let told = |timer: &Entry| {
            let phrase = timer.what.phrase();
            if timer.is_due(now) {
                format!("{phrase} is done")
            } else {
                format!("{phrase} has {} left", left(timer, now))
            }
        };
        match fitting.as_slice() {
            [] => self.none_fits(tool, &wanted, now),
            [one] => result(tool, Outcome::Done, &details(one, now), sentence(&told(one))),
            several => {
                let named: Vec<String> = several.iter().take(MAX_NAMED).map(told).collect();
                let more = several.len() - named.len();
                let rest = if more > 0 { format!(" There are {more} more.") } else { String::new() };
                let say = format!("{}{rest}", sentence(&named.join(", ")));
                result(tool, Outcome::Done, &[("timers", Value::from(several.len()))], say)
            }
        }
    }

    fn fitting(&self, wanted: &Wanted, now: &Now) -> Vec<Entry> {
        self.timers(now).into_iter().filter(|timer| wanted.fits(timer)).cloned().collect()
    }

    fn none_fits(&self, tool: &str, wanted: &Wanted, now: &Now) -> ToolResult {
        let count = self.timers(now).len();
        let say = if count == 0 {
            "No timer is running.".to_owned()
        } else {
            let others = if count == 1 { "timer is" } else { "timers are" };
            format!("No {} is running, but {count} other {others}.", wanted.noun())
        };
        refused(tool, "no such timer is running", say)
    }
}

/// "Which timer: the pasta timer or the 10 minute timer?" What does not tell them apart is how long they still run.
fn which(several: &[Entry], wanted: &Wanted, now: &Now) -> String {
    let mut phrases: Vec<String> = several.iter().take(MAX_NAMED).map(|timer| timer.what.phrase()).collect();
    let mut distinct = phrases.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if several.len() > MAX_NAMED {
        return format!("Which {}? There are {}.", wanted.noun(), several.len());
    }
    if distinct.len() < phrases.len() {
        phrases = several.iter().map(|timer| format!("the one with {} left", left(timer, now))).collect();
    }
    format!("Which {}: {}?", wanted.noun(), list(&phrases, "or"))
}

fn left(timer: &Entry, now: &Now) -> String {
    let left = timer.left(now);
    if left.as_secs() < ROUND_FROM_S || left.as_millis().is_multiple_of(60_000) {
        return duration(left);
    }
    let minutes = (left.as_secs() + 30) / 60;
    format!("about {}", duration(Duration::from_secs(minutes * 60)))
}

fn details(timer: &Entry, now: &Now) -> [(&'static str, Value); 4] {
    [
        ("number", Value::from(timer.id)),
        ("timer", Value::from(timer.name())),
        ("length_s", Value::from(timer.length().map(|length| length.as_secs()))),
        ("left_s", Value::from(timer.left(now).as_secs())),
    ]
}

/// Milliseconds of a length that was checked to be short enough.
pub(super) fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// The name without the word timer; an empty one is none.
fn name_of(arguments: &Arguments) -> Option<String> {
    let name = arguments.get("name")?.as_str()?.trim();
    let name = name.strip_suffix("timer").map_or(name, str::trim_end);
    (!name.is_empty()).then(|| name.chars().take(MAX_NAME_CHARS).collect())
}

/// The length to the second, `None` when no part of it was given. Nonsense is zero, too much is too much.
pub(super) fn length_of(arguments: &Arguments) -> Option<Duration> {
    let part = |key: &str| arguments.get(key).and_then(Value::as_f64);
    let parts = [part("hours"), part("minutes"), part("seconds")];
    if parts.iter().all(Option::is_none) {
        return None;
    }
    let seconds: f64 = parts.into_iter().zip([3600.0, 60.0, 1.0]).map(|(part, unit)| part.unwrap_or(0.0) * unit).sum();
    let seconds = seconds.round().max(0.0);
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
