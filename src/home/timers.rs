//! Timers: set, cancelled, asked after, by voice.
//!
//! [`Timers`] is pure and is told the time; the tools around it read the clock that they were given. Kept in memory
//! only, for now: a restart loses them. A store that survives belongs here and is not written yet.
//!
//! Several timers may run, also under one name. One of several with the same name is told apart by its length, where
//! the declared tool takes `hours`, `minutes` or `seconds`, or all of them are meant, where it takes `all`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::phrase::{duration, duration_before_noun, list, sentence};
use super::{Answer, Tool, asked, refused, result};
use crate::dialogue::{Arguments, Outcome, ToolResult, ToolSpec};

/// Most timers at once, rung ones that nobody has fetched included.
pub const MAX_TIMERS: usize = 32;
/// Longest timer, in hours: what is further off is a reminder.
pub const MAX_HOURS: u64 = 24;
/// Most timers that one sentence names.
const MAX_NAMED: usize = 4;
/// From this many seconds on, what is left is told to the minute.
const ROUND_FROM_S: u64 = 600;

/// Tells the time; a test's clock stands still until told.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The clock of the machine.
#[must_use]
pub fn clock() -> Clock {
    Arc::new(Instant::now)
}

/// One timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// What it is called, without the word timer.
    pub name: Option<String>,
    /// How long it was set for.
    pub length: Duration,
    /// When it rings.
    pub ends: Instant,
}

impl Timer {
    /// What to say when it rings.
    #[must_use]
    pub fn rings(&self) -> String {
        sentence(&format!("{} is done", self.phrase()))
    }

    /// "the pasta timer", "the 10 minute timer".
    fn phrase(&self) -> String {
        match &self.name {
            Some(name) => format!("the {name} timer"),
            None => format!("the {} timer", duration_before_noun(self.length)),
        }
    }

    fn left(&self, now: Instant) -> String {
        let left = self.ends.saturating_duration_since(now);
        if left.as_secs() < ROUND_FROM_S || left.as_millis().is_multiple_of(60_000) {
            return duration(left);
        }
        let minutes = (left.as_secs() + 30) / 60;
        format!("about {}", duration(Duration::from_secs(minutes * 60)))
    }
}

/// A timer as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimerState {
    /// What it is called.
    pub name: Option<String>,
    /// How long it was set for, in seconds.
    pub length_s: u64,
    /// How long it still runs, in seconds.
    pub left_s: u64,
}

/// All timers.
#[derive(Debug, Default)]
pub struct Timers {
    timers: Vec<Timer>,
}

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

    fn fits(&self, timer: &Timer) -> bool {
        let same = |name: &String| timer.name.as_ref().is_some_and(|other| other.to_lowercase() == name.to_lowercase());
        self.name.as_ref().is_none_or(same) && self.length.is_none_or(|length| timer.length == length)
    }

    /// "timer", "pasta timer": what is said of timers that fit.
    fn noun(&self) -> String {
        let length = self.length.map(|length| format!("{} ", duration_before_noun(length))).unwrap_or_default();
        let name = self.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
        format!("{length}{name}timer")
    }
}

impl Timers {
    /// Timers that still run, the next to ring first.
    fn running(&self, now: Instant) -> Vec<&Timer> {
        let mut running: Vec<&Timer> = self.timers.iter().filter(|timer| timer.ends > now).collect();
        running.sort_by_key(|timer| timer.ends);
        running
    }

    /// Takes out the timers that have rung by now, the first to ring first.
    pub fn due(&mut self, now: Instant) -> Vec<Timer> {
        let mut due: Vec<Timer> = self.timers.extract_if(.., |timer| timer.ends <= now).collect();
        due.sort_by_key(|timer| timer.ends);
        due
    }

    /// When the next timer rings.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.timers.iter().map(|timer| timer.ends).min()
    }

    /// What runs, the next to ring first.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Vec<TimerState> {
        let state = |timer: &Timer| TimerState {
            name: timer.name.clone(),
            length_s: timer.length.as_secs(),
            left_s: timer.ends.saturating_duration_since(now).as_secs(),
        };
        self.running(now).into_iter().map(state).collect()
    }

    /// `{hours?, minutes?, seconds?, name?}`: starts a timer.
    fn set(&mut self, tool: &str, arguments: &Arguments, now: Instant) -> ToolResult {
        let name = name_of(arguments);
        let Some(length) = length_of(arguments) else {
            let noun = Wanted { name, ..Wanted::default() }.noun();
            return asked(tool, format!("How long should the {noun} run?"));
        };
        let refuse = |error: &str, say: &str| refused(tool, error, say.to_owned());
        if length.is_zero() {
            return refuse("length is zero", "A timer needs a length of more than 0 seconds.");
        }
        let Some(ends) = now.checked_add(length).filter(|_| length.as_secs() <= MAX_HOURS * 3600) else {
            let say = format!("A timer can run for at most {MAX_HOURS} hours.");
            return refuse("too long", &say);
        };
        if self.timers.len() >= MAX_TIMERS {
            let say = format!("There are {MAX_TIMERS} timers already, which is all I can keep.");
            return refuse("too many timers", &say);
        }
        let timer = Timer { name, length, ends };
        let twins = self.running(now).iter().filter(|other| other.name == timer.name).count();
        let subject = match &timer.name {
            Some(name) if twins > 0 => format!("another {name} timer"),
            Some(name) => format!("the {name} timer"),
            None if twins > 0 => "another timer".to_owned(),
            None => "the timer".to_owned(),
        };
        let say = sentence(&format!("{subject} is set for {}", duration(length)));
        let details = details(&timer, now);
        self.timers.push(timer);
        result(tool, Outcome::Done, &details, say)
    }

    /// `{name?}`: stops a timer, and asks when several fit.
    fn cancel(&mut self, tool: &str, arguments: &Arguments, now: Instant) -> ToolResult {
        let wanted = Wanted::from(arguments);
        let fitting = fitting(&self.running(now), &wanted);
        match fitting.as_slice() {
            [] => self.none_fits(tool, &wanted, now),
            [one] => {
                let say = sentence(&format!("{} is cancelled", one.phrase()));
                let details = details(one, now);
                self.remove(&fitting);
                result(tool, Outcome::Done, &details, say)
            }
            several if wanted.all => {
                let say = sentence(&format!("all {} {}s are cancelled", several.len(), wanted.noun()));
                self.remove(&fitting);
                result(tool, Outcome::Done, &[("cancelled", Value::from(fitting.len()))], say)
            }
            several => asked(tool, which(several, &wanted, now)),
        }
    }

    /// `{name?}`: says how long a timer still runs, or all that fit.
    fn left(&self, tool: &str, arguments: &Arguments, now: Instant) -> ToolResult {
        let wanted = Wanted::from(arguments);
        let fitting = fitting(&self.running(now), &wanted);
        match fitting.as_slice() {
            [] => self.none_fits(tool, &wanted, now),
            [one] => {
                let say = sentence(&format!("{} has {} left", one.phrase(), one.left(now)));
                result(tool, Outcome::Done, &details(one, now), say)
            }
            several => {
                let named: Vec<String> = several
                    .iter()
                    .take(MAX_NAMED)
                    .map(|timer| format!("{} has {} left", timer.phrase(), timer.left(now)))
                    .collect();
                let more = several.len() - named.len();
                let rest = if more > 0 { format!(" There are {more} more.") } else { String::new() };
                let say = format!("{}{rest}", sentence(&named.join(", ")));
                result(tool, Outcome::Done, &[("timers", Value::from(several.len()))], say)
            }
        }
    }

    fn none_fits(&self, tool: &str, wanted: &Wanted, now: Instant) -> ToolResult {
        let running = self.running(now);
        let say = if running.is_empty() {
            "No timer is running.".to_owned()
        } else {
            let (count, others) = (running.len(), if running.len() == 1 { "timer is" } else { "timers are" });
            format!("No {} is running, but {count} other {others}.", wanted.noun())
        };
        refused(tool, "no such timer is running", say)
    }

    /// Takes out each of `gone` once.
    fn remove(&mut self, gone: &[Timer]) {
        for timer in gone {
            if let Some(index) = self.timers.iter().position(|other| other == timer) {
                self.timers.remove(index);
            }
        }
    }
}

fn fitting(running: &[&Timer], wanted: &Wanted) -> Vec<Timer> {
    running.iter().filter(|timer| wanted.fits(timer)).map(|&timer| timer.clone()).collect()
}

/// "Which timer: the pasta timer or the 10 minute timer?" What does not tell them apart is how long they still run.
fn which(several: &[Timer], wanted: &Wanted, now: Instant) -> String {
    let mut phrases: Vec<String> = several.iter().take(MAX_NAMED).map(Timer::phrase).collect();
    let mut distinct = phrases.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if several.len() > MAX_NAMED {
        return format!("Which {}? There are {}.", wanted.noun(), several.len());
    }
    if distinct.len() < phrases.len() {
        phrases = several.iter().map(|timer| format!("the one with {} left", timer.left(now))).collect();
    }
    format!("Which {}: {}?", wanted.noun(), list(&phrases, "or"))
}

fn details(timer: &Timer, now: Instant) -> [(&'static str, Value); 3] {
    let left = timer.ends.saturating_duration_since(now);
    [
        ("timer", Value::from(timer.name.clone())),
        ("length_s", Value::from(timer.length.as_secs())),
        ("left_s", Value::from(left.as_secs())),
    ]
}

/// The name without the word timer; an empty one is none.
fn name_of(arguments: &Arguments) -> Option<String> {
    let name = arguments.get("name")?.as_str()?.trim();
    let name = name.strip_suffix("timer").map_or(name, str::trim_end);
    (!name.is_empty()).then(|| name.to_owned())
}

/// The length to the second, `None` when no part of it was given. Nonsense is zero, too much is too much.
fn length_of(arguments: &Arguments) -> Option<Duration> {
    let part = |key: &str| arguments.get(key).and_then(Value::as_f64);
    let parts = [part("hours"), part("minutes"), part("seconds")];
    if parts.iter().all(Option::is_none) {
        return None;
    }
    let seconds: f64 = parts.into_iter().zip([3600.0, 60.0, 1.0]).map(|(part, unit)| part.unwrap_or(0.0) * unit).sum();
    let seconds = seconds.round().max(0.0);
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The timers as the tools and the daemon share them.
///
/// A lock and no message, because `hearth ask` has no task that would own them and answer; it is held for microseconds
/// and never across an await.
#[derive(Clone)]
pub struct SharedTimers {
    timers: Arc<Mutex<Timers>>,
    clock: Clock,
}

impl SharedTimers {
    /// No timers yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { timers: Arc::default(), clock }
    }

    /// As [`Timers::due`], now.
    #[must_use]
    pub fn due(&self) -> Vec<Timer> {
        self.lock().due((self.clock)())
    }

    /// As [`Timers::next_due`].
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.lock().next_due()
    }

    /// As [`Timers::snapshot`], now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<TimerState> {
        self.lock().snapshot((self.clock)())
    }

    /// The tool that `spec` declares, `None` when it is none of a timer's.
    #[must_use]
    pub fn tool(&self, spec: &ToolSpec) -> Option<Box<dyn Tool>> {
        let action = match spec.name.as_str() {
            "set_timer" => Action::Set,
            "cancel_timer" => Action::Cancel,
            "timer_left" => Action::Left,
            _ => return None,
        };
        Some(Box::new(TimerTool { spec: spec.clone(), action, shared: self.clone() }))
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        // Every change is one push or one removal: what a panic left behind is whole.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Action {
    Set,
    Cancel,
    Left,
}

struct TimerTool {
    spec: ToolSpec,
    action: Action,
    shared: SharedTimers,
}

impl Tool for TimerTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        let now = (self.shared.clock)();
        let mut timers = self.shared.lock();
        let result = match self.action {
            Action::Set => timers.set(&self.spec.name, arguments, now),
            Action::Cancel => timers.cancel(&self.spec.name, arguments, now),
            Action::Left => timers.left(&self.spec.name, arguments, now),
        };
        Box::pin(std::future::ready(result))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    /// Steps of a story: seconds to wait, a call, its outcome and the sentence.
    fn check(steps: &[(u64, &str, Value, Outcome, &str)]) {
        let mut timers = Timers::default();
        let mut now = Instant::now();
        for (wait_s, tool, arguments, outcome, say) in steps {
            now += Duration::from_secs(*wait_s);
            let given = arguments.as_object().unwrap();
            let result = match *tool {
                "set" => timers.set("set", given, now),
                "cancel" => timers.cancel("cancel", given, now),
                _ => timers.left("left", given, now),
            };
            assert_eq!(result.say.as_deref(), Some(*say), "{tool} {arguments}");
            assert_eq!(result.outcome, *outcome, "{tool} {arguments}");
        }
    }

    use Outcome::{Asked, Done, Refused};

    #[test]
    fn one_timer() {
        check(&[
            (0, "left", json!({}), Refused, "No timer is running."),
            (0, "cancel", json!({"name": "egg"}), Refused, "No timer is running."),
            (0, "set", json!({"minutes": 10, "name": "pasta"}), Done, "The pasta timer is set for 10 minutes."),
            (0, "left", json!({}), Done, "The pasta timer has 10 minutes left."),
            (75, "left", json!({"name": "Pasta"}), Done, "The pasta timer has 8 minutes and 45 seconds left."),
            (0, "left", json!({"name": "egg"}), Refused, "No egg timer is running, but 1 other timer is."),
            (0, "cancel", json!({"name": "pasta timer"}), Done, "The pasta timer is cancelled."),
            (0, "cancel", json!({}), Refused, "No timer is running."),
            (0, "set", json!({"seconds": 30}), Done, "The timer is set for 30 seconds."),
            (30, "left", json!({}), Refused, "No timer is running."),
        ]);
    }

    #[test]
    fn lengths() {
        check(&[
            (0, "set", json!({"name": "tea"}), Asked, "How long should the tea timer run?"),
            (0, "set", json!({}), Asked, "How long should the timer run?"),
            (0, "set", json!({"minutes": 0}), Refused, "A timer needs a length of more than 0 seconds."),
            (0, "set", json!({"minutes": -5}), Refused, "A timer needs a length of more than 0 seconds."),
            (0, "set", json!({"hours": 25}), Refused, "A timer can run for at most 24 hours."),
            (0, "set", json!({"hours": 24, "seconds": 1}), Refused, "A timer can run for at most 24 hours."),
            (0, "set", json!({"hours": i64::MAX}), Refused, "A timer can run for at most 24 hours."),
            (0, "set", json!({"hours": 1e300}), Refused, "A timer can run for at most 24 hours."),
            (0, "set", json!({"hours": 24}), Done, "The timer is set for 24 hours."),
            (0, "cancel", json!({}), Done, "The 24 hour timer is cancelled."),
            (0, "set", json!({"hours": 1.5}), Done, "The timer is set for 1 hour and 30 minutes."),
            (10, "left", json!({}), Done, "The 1 hour 30 minute timer has about 1 hour and 30 minutes left."),
        ]);
    }

    #[test]
    fn several_timers() {
        check(&[
            (0, "set", json!({"minutes": 10, "name": "pasta"}), Done, "The pasta timer is set for 10 minutes."),
            (0, "set", json!({"minutes": 5}), Done, "The timer is set for 5 minutes."),
            (0, "cancel", json!({}), Asked, "Which timer: the 5 minute timer or the pasta timer?"),
            (0, "left", json!({}), Done, "The 5 minute timer has 5 minutes left, the pasta timer has 10 minutes left."),
            (60, "set", json!({"minutes": 10, "name": "pasta"}), Done, "Another pasta timer is set for 10 minutes."),
            (
                0,
                "cancel",
                json!({"name": "pasta"}),
                Asked,
                "Which pasta timer: the one with 9 minutes left or the one with 10 minutes left?",
            ),
            (0, "cancel", json!({"minutes": 5}), Done, "The 5 minute timer is cancelled."),
            (0, "cancel", json!({"minutes": 7}), Refused, "No 7 minute timer is running, but 2 other timers are."),
            (0, "cancel", json!({"name": "pasta", "all": true}), Done, "All 2 pasta timers are cancelled."),
            (0, "left", json!({}), Refused, "No timer is running."),
        ]);
    }

    #[test]
    fn bounded_and_fetched_in_order() {
        let mut timers = Timers::default();
        let start = Instant::now();
        for seconds in (1..=MAX_TIMERS).rev() {
            let arguments = json!({"seconds": seconds});
            let result = timers.set("set", arguments.as_object().unwrap(), start);
            assert_eq!(result.outcome, Done);
        }
        let one_more = json!({"seconds": 1});
        let result = timers.set("set", one_more.as_object().unwrap(), start);
        assert_eq!(result.say.as_deref(), Some("There are 32 timers already, which is all I can keep."));
        let all = timers.cancel("cancel", &Arguments::new(), start);
        assert_eq!(all.say.as_deref(), Some("Which timer? There are 32."));
        let left = timers.left("left", &Arguments::new(), start);
        assert!(left.say.is_some_and(|say| say.ends_with("has 4 seconds left. There are 28 more.")));

        assert_eq!(timers.next_due(), Some(start + Duration::from_secs(1)));
        let due = timers.due(start + Duration::from_secs(2));
        let said: Vec<String> = due.iter().map(Timer::rings).collect();
        assert_eq!(said, ["The 1 second timer is done.", "The 2 second timer is done."]);
        assert_eq!(timers.snapshot(start).len(), MAX_TIMERS - 2);
    }
}
