//! Timers, alarms and reminders: set, asked after, snoozed, stopped, by voice or from the command line; none is lost.
//!
//! [`Timers`] is pure and is told the time; this file gives it a clock, a lock and, with [`SharedTimers::open`], a file
//! that outlives the process. A change is on the disk before it is answered. Several processes may use one file: each takes
//! the others' changes over before it makes its own.
//!
//! A timer ends after its length whatever happens to the wall clock. After a restart the wall clock decides, and what was
//! missed meanwhile is due at once and says by how much it is late.

mod alarms;
mod book;
mod entry;
mod lengths;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::ZonedDateTime;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::{Answer, Tool};
use crate::dialogue::{Arguments, ToolResult, ToolSpec};

pub use book::{MAX_TIMERS, TimerConfig, TimerState, Timers};
pub use entry::{Due, Entry, Now, Ring, What, time_of_day};
pub use lengths::MAX_HOURS;
use store::Change;
pub use store::StoreError;

/// Tells the time; a test's clock stands still until told.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// The clocks of the machine.
#[must_use]
pub fn clock() -> Clock {
    Arc::new(|| {
        let boot = clock_gettime(ClockId::Boottime);
        Now { boot_ms: boot.tv_sec * 1000 + boot.tv_nsec / 1_000_000, wall: ZonedDateTime::now() }
    })
}

/// The timers and the file that they are kept in.
#[derive(Default)]
struct Kept {
    timers: Timers,
    store: Option<store::Store>,
    /// What the file held when it was last read or written.
    last: Vec<Entry>,
}

impl Kept {
    /// Makes a change and stores it. What others changed meanwhile is taken over first.
    fn change<T>(&mut self, now: &Now, make: impl FnOnce(&mut Timers) -> T) -> (T, Result<(), StoreError>) {
        let Some(store) = &self.store else { return (make(&mut self.timers), Ok(())) };
        // Without the lock it is still done, in memory, and stored with the next change.
        let lock = store.lock();
        let mended = if lock.is_ok() { self.take_over(now) } else { Ok(false) };
        let made = make(&mut self.timers);
        let stored = lock.and_then(|_lock| mended.and_then(|mended| self.save(mended)));
        (made, stored)
    }

    /// Reads the file if it is another than the one known. The caller holds the lock.
    fn take_over(&mut self, now: &Now) -> Result<bool, StoreError> {
        match self.store.as_mut().map_or(Ok(Change::None), store::Store::changed)? {
            Change::None => Ok(false),
            Change::Gone => {
                self.last.clear();
                Ok(false)
            }
            Change::Read(content) => {
                self.timers.merge(content.entries.clone(), content.next_id, &self.last, now);
                self.last = content.entries;
                Ok(content.mended)
            }
        }
    }

    /// Writes the file if it does not hold what is known. The caller holds the lock.
    fn save(&mut self, anyway: bool) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        if anyway || self.timers.entries != self.last {
            store.write(self.timers.next_id, &self.timers.entries)?;
            self.last.clone_from(&self.timers.entries);
        }
        Ok(())
    }
}

/// The timers as the tools, the daemon and the command line share them.
///
/// A lock and no message, because `hearth ask` has no task that would own them and answer; it is never held across an
/// await. It is held while the disk syncs, so [`SharedTimers::due`] and others may block for some milliseconds when
/// something was changed, and for two seconds at worst when another process hangs on the file.
#[derive(Clone)]
pub struct SharedTimers {
    kept: Arc<Mutex<Kept>>,
    clock: Clock,
}

impl SharedTimers {
    /// No timers yet, and none that outlives the process.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { kept: Arc::default(), clock }
    }

    /// The timers in the file `path`, which is made when the first is set. A damaged file is set aside.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or the file cannot be read.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let mut kept = Kept { store: Some(store::Store::open(path)?), ..Kept::default() };
        let (_, stored) = kept.change(&clock(), |_| ());
        stored?;
        Ok(Self { kept: Arc::new(Mutex::new(kept)), clock })
    }

    /// The same with other settings.
    #[must_use]
    pub fn with(self, config: TimerConfig) -> Self {
        self.lock().timers.config = config;
        self
    }

    /// What began to ring since this was last asked, as [`Timers::due`]. Once it has rung long enough it is taken out.
    #[must_use]
    pub fn due(&self) -> Vec<Ring> {
        let now = (self.clock)();
        let mut kept = self.fresh(&now);
        let moved = kept.timers.follow(&now);
        let over = kept.timers.ring_out(&now);
        for ring in &over {
            tracing::info!(kind = ring.what.kind(), "rang for as long as it may; nobody stopped it");
        }
        if moved || !over.is_empty() {
            let (_, stored) = kept.change(&now, |_| ());
            report(&stored);
        }
        kept.timers.due(&now)
    }

    /// What rings now, as [`Timers::ringing`].
    #[must_use]
    pub fn ringing(&self) -> Vec<Ring> {
        let now = (self.clock)();
        self.fresh(&now).timers.ringing(&now)
    }

    /// When to ask [`SharedTimers::due`] again, at the latest; `None` when there is nothing to wait for.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let now = (self.clock)();
        let wait_ms = self.fresh(&now).timers.next_ms(&now)?;
        Some(Instant::now() + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
    }

    /// What there is, as [`Timers::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<TimerState> {
        let now = (self.clock)();
        self.fresh(&now).timers.snapshot(&now)
    }

    /// Ends whatever rings, as [`Timers::stop`].
    pub fn stop(&self) -> Vec<Ring> {
        let now = (self.clock)();
        let (stopped, stored) = self.lock().change(&now, |timers| timers.stop(&now));
        report(&stored);
        stopped
    }

    /// Takes out the entry with this number; `None` when there is none.
    ///
    /// # Errors
    /// When it could not be stored: it comes back at the next start.
    pub fn remove(&self, id: u64) -> Result<Option<Entry>, StoreError> {
        let now = (self.clock)();
        let (gone, stored) = self.lock().change(&now, |timers| timers.remove(id));
        stored.map(|()| gone)
    }

    /// The tool that `spec` declares, `None` when it is none of a timer's.
    #[must_use]
    pub fn tool(&self, spec: &ToolSpec) -> Option<Box<dyn Tool>> {
        let action = Self::action(&spec.name)?;
        Some(Box::new(TimerTool { spec: spec.clone(), action, shared: self.clone() }))
    }

    /// Carries out the call of a timer's tool, for callers without a registry; `None` when `tool` is none.
    #[must_use]
    pub fn call(&self, tool: &str, arguments: &Arguments) -> Option<ToolResult> {
        let action = Self::action(tool)?;
        let spec = ToolSpec { name: tool.to_owned(), description: String::new(), parameters: Vec::new(), schema: None };
        Some(self.carry_out(&spec, action, arguments))
    }

    fn action(name: &str) -> Option<Action> {
        Some(match name {
            "set_timer" => Action::Set,
            "cancel_timer" => Action::Cancel,
            "timer_left" => Action::Left,
            "set_alarm" => Action::SetAlarm,
            "cancel_alarm" => Action::CancelAlarm,
            "snooze" => Action::Snooze,
            "stop" => Action::Stop,
            "set_reminder" => Action::SetReminder,
            "cancel_reminder" => Action::CancelReminder,
            "list_reminders" => Action::ListReminders,
            _ => return None,
        })
    }

    /// Carries out a call and stores what it changed; the result says so where it could not be stored.
    fn carry_out(&self, spec: &ToolSpec, action: Action, arguments: &Arguments) -> ToolResult {
        let now = (self.clock)();
        let (mut result, stored) = self.lock().change(&now, |timers| action.carry_out(timers, spec, arguments, &now));
        if stored.is_err() {
            report(&stored);
            result.content.insert("stored".to_owned(), Value::from(false));
            let say = result.say.unwrap_or_default();
            result.say = Some(format!("{say} I could not save it, so a restart would forget it."));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Every change is one push or one removal: what a panic left behind is whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked, with what other processes changed.
    fn fresh(&self, now: &Now) -> MutexGuard<'_, Kept> {
        let mut kept = self.lock();
        if kept.store.as_ref().is_some_and(store::Store::is_stale) {
            let (_, stored) = kept.change(now, |_| ());
            report(&stored);
        }
        kept
    }
}

fn report(stored: &Result<(), StoreError>) {
    if let Err(error) = stored {
        tracing::error!(%error, "the timers cannot be stored; they are kept in memory");
    }
}

#[derive(Clone, Copy)]
enum Action {
    Set,
    Cancel,
    Left,
    SetAlarm,
    CancelAlarm,
    Snooze,
    Stop,
    SetReminder,
    CancelReminder,
    ListReminders,
}

impl Action {
    fn carry_out(self, timers: &mut Timers, spec: &ToolSpec, arguments: &Arguments, now: &Now) -> ToolResult {
        let tool = spec.name.as_str();
        match self {
            Self::Set => timers.set(tool, arguments, now),
            Self::Cancel => timers.cancel(tool, arguments, now),
            Self::Left => timers.left(tool, arguments, now),
            Self::SetAlarm => timers.set_alarm(tool, arguments, now),
            Self::CancelAlarm => timers.cancel_alarm(spec, arguments, now),
            Self::Snooze => timers.snooze(tool, arguments, now),
            Self::Stop => timers.stop_aloud(tool, now),
            Self::SetReminder => timers.set_reminder(tool, arguments, now),
            Self::CancelReminder => timers.cancel_reminder(tool, arguments, now),
            Self::ListReminders => timers.list_reminders(tool, now),
        }
    }
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
        if self.shared.lock().store.is_none() {
            let result = self.shared.carry_out(&self.spec, self.action, arguments);
            return Box::pin(std::future::ready(result));
        }
        // The disk may take longer than this thread may wait.
        let (shared, spec, action, arguments) =
            (self.shared.clone(), self.spec.clone(), self.action, arguments.clone());
        Box::pin(async move {
            let name = spec.name.clone();
            let work = tokio::task::spawn_blocking(move || shared.carry_out(&spec, action, &arguments));
            work.await.unwrap_or_else(|error| {
                super::failed(&name, &error.to_string(), "Something went wrong with the timers.".to_owned())
            })
        })
    }
}
