//! One timer, alarm or reminder, the moment it is due, and the words for both.
//!
//! Pure: the time is an argument. A length of time is measured on the clock that only goes forwards; a time of day is
//! kept as local time and looked up in the time zone whenever it is asked, so that it follows a change of the clocks.

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::{ToSpan, ZonedDateTime};
use serde::{Deserialize, Serialize};

use crate::home::phrase::{duration, duration_before_noun, sentence};

/// Rung later than this, it was missed, and what is said tells so.
const LATE_FROM_MS: i64 = 60_000;

/// What the clocks show at one moment.
#[derive(Debug, Clone)]
pub struct Now {
    /// Milliseconds since the machine was started, time asleep included: never set, never goes back.
    pub boot_ms: i64,
    /// The wall clock with its time zone: may be set at any time.
    pub wall: ZonedDateTime,
}

impl Now {
    /// The wall clock in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        self.wall.timestamp().as_millisecond()
    }
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A length of time that runs out.
    Timer {
        /// What it is called, without the word timer.
        name: Option<String>,
        /// How long it was set for.
        length_s: u64,
    },
    /// A time of day.
    Alarm {
        /// Local date and time it was set for.
        at: DateTime,
    },
    /// Words for a certain time.
    Reminder {
        /// What to remind of.
        text: String,
    },
}

impl What {
    /// "timer", "alarm", "reminder".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timer { .. } => "timer",
            Self::Alarm { .. } => "alarm",
            Self::Reminder { .. } => "reminder",
        }
    }

    /// "the pasta timer", "the 10 minute timer", "the alarm for 7:00 AM", "the reminder to water the plants".
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Self::Timer { name: Some(name), .. } => format!("the {name} timer"),
            Self::Timer { length_s, .. } => {
                format!("the {} timer", duration_before_noun(Duration::from_secs(*length_s)))
            }
            Self::Alarm { at } => format!("the alarm for {}", time_of_day(at.time())),
            Self::Reminder { text } => format!("the reminder, {text},"),
        }
    }
}

/// When it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// After a length of time.
    After {
        /// The end on the wall clock, in milliseconds since 1970: what a restart goes by.
        unix_ms: i64,
        /// The whole wait in milliseconds. However wrong the wall clock is at a restart, it is not longer than this.
        wait_ms: i64,
    },
    /// At a local time.
    At(DateTime),
}

/// The end of a wait on the clock that only goes forwards. Not stored: it begins anew with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    ends_ms: i64,
    /// Set in this run, so the wall clock has no say. One that comes out of the file is due when either clock says so.
    exact: bool,
}

/// A timer, an alarm or a reminder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Never used twice in a file.
    pub id: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
    /// When it is due.
    pub due: Due,
    #[serde(skip)]
    anchor: Option<Anchor>,
    /// Since when it rings, by `boot_ms`.
    #[serde(skip)]
    pub(super) rings_from_ms: Option<i64>,
}

impl PartialEq for Entry {
    /// The same in the file.
    fn eq(&self, other: &Self) -> bool {
        (self.id, &self.what, &self.due) == (other.id, &other.what, &other.due)
    }
}

impl Entry {
    /// Due after `wait_ms` from now.
    pub(super) fn after(id: u64, what: What, wait_ms: i64, now: &Now) -> Self {
        let due = Due::After { unix_ms: now.wall_ms().saturating_add(wait_ms), wait_ms };
        let anchor = Some(Anchor { ends_ms: now.boot_ms.saturating_add(wait_ms), exact: true });
        Self { id, what, due, anchor, rings_from_ms: None }
    }

    /// Due at a local time.
    pub(super) fn at(id: u64, what: What, at: DateTime) -> Self {
        Self { id, what, due: Due::At(at), anchor: None, rings_from_ms: None }
    }

    /// The same, due again after `wait_ms` from now.
    pub(super) fn snoozed(&self, wait_ms: i64, now: &Now) -> Self {
        Self::after(self.id, self.what.clone(), wait_ms, now)
    }

    /// The same, just read from the file: from here on the clock that only goes forwards is looked at too.
    pub(super) fn restored(mut self, now: &Now) -> Self {
        if let Due::After { unix_ms, wait_ms } = self.due {
            let left_ms = unix_ms.saturating_sub(now.wall_ms()).min(wait_ms);
            self.anchor = Some(Anchor { ends_ms: now.boot_ms.saturating_add(left_ms), exact: false });
        }
        self
    }

    /// Milliseconds until it is due, below zero once it is.
    #[must_use]
    pub fn left_ms(&self, now: &Now) -> i64 {
        match (&self.due, self.anchor) {
            (Due::At(at), _) => unix_ms(*at, &now.wall).saturating_sub(now.wall_ms()),
            (Due::After { .. }, Some(Anchor { ends_ms, exact: true })) => ends_ms.saturating_sub(now.boot_ms),
            (Due::After { unix_ms, wait_ms }, anchor) => {
                let by_wall = unix_ms.saturating_sub(now.wall_ms()).min(*wait_ms);
                anchor.map_or(by_wall, |anchor| by_wall.min(anchor.ends_ms.saturating_sub(now.boot_ms)))
            }
        }
    }

    /// Has its time come, whether it rings already or not?
    #[must_use]
    pub fn is_due(&self, now: &Now) -> bool {
        self.rings_from_ms.is_some() || self.left_ms(now) <= 0
    }

    /// How long until it is due, zero once it is.
    #[must_use]
    pub fn left(&self, now: &Now) -> Duration {
        Duration::from_millis(u64::try_from(self.left_ms(now)).unwrap_or(0))
    }

    /// Brings the end on the wall clock in line after that clock was set; says whether it had to. A restart would
    /// otherwise go by the time of the old one.
    pub(super) fn follow(&mut self, now: &Now) -> bool {
        let (Due::After { unix_ms, .. }, Some(Anchor { ends_ms, exact: true })) = (&mut self.due, self.anchor) else {
            return false;
        };
        let should_be = now.wall_ms().saturating_add(ends_ms.saturating_sub(now.boot_ms));
        let moved = should_be.abs_diff(*unix_ms) > 2_000;
        if moved {
            *unix_ms = should_be;
        }
        moved
    }

    /// The name of a timer.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.what {
            What::Timer { name, .. } => name.as_deref(),
            _ => None,
        }
    }

    /// The length of a timer.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        match &self.what {
            What::Timer { length_s, .. } => Some(Duration::from_secs(*length_s)),
            _ => None,
        }
    }
}

/// Something that rings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Id of the entry.
    pub id: u64,
    /// What rings.
    #[serde(flatten)]
    pub what: What,
    /// By how much it is late, in milliseconds: more than a moment where the daemon was not there at the time.
    pub late_ms: i64,
}

impl Ring {
    /// What to say when it rings.
    #[must_use]
    pub fn rings(&self) -> String {
        let late = (self.late_ms >= LATE_FROM_MS).then(|| format!("due {} ago", ago(self.late_ms)));
        sentence(&match (&self.what, late) {
            (What::Timer { .. }, None) => format!("{} is done", self.what.phrase()),
            (What::Alarm { at }, None) => format!("it is {}, this is your alarm", time_of_day(at.time())),
            (What::Reminder { text }, None) => format!("reminder: {text}"),
            (What::Reminder { text }, Some(late)) => format!("a reminder was {late}: {text}"),
            (what, Some(late)) => format!("{} was {late}", what.phrase()),
        })
    }
}

/// A local time in milliseconds since 1970. Where the clocks skip it, it is as long after the skip; where they show it
/// twice, the first is meant.
pub(super) fn unix_ms(at: DateTime, wall: &ZonedDateTime) -> i64 {
    // Out of range only at the ends of the calendar.
    at.to_zoned_datetime(wall.time_zone().clone()).map_or(i64::MAX, |zoned| zoned.timestamp().as_millisecond())
}

/// How long ago, to the greatest unit that says enough: "5 minutes", "3 hours", "2 days".
fn ago(late_ms: i64) -> String {
    let minutes = u64::try_from(late_ms / 60_000).unwrap_or(0);
    match minutes {
        0..120 => duration(Duration::from_secs(minutes * 60)),
        120..2880 => duration(Duration::from_secs(minutes / 60 * 3600)),
        _ => format!("{} days", minutes / 1440),
    }
}

/// "7:00 AM", "noon", "midnight".
#[must_use]
pub fn time_of_day(at: Time) -> String {
    match (at.hour(), at.minute()) {
        (0, 0) => "midnight".to_owned(),
        (12, 0) => "noon".to_owned(),
        (hour, minute) => {
            let half = if hour < 12 { "AM" } else { "PM" };
            format!("{}:{minute:02} {half}", (hour + 11) % 12 + 1)
        }
    }
}

/// "7:00 AM tomorrow", "7:00 AM on Friday", "7:00 AM on December 24".
#[must_use]
pub fn time_and_day(at: DateTime, now: &Now) -> String {
    let (today, time) = (now.wall.date(), time_of_day(at.time()));
    let is_in = |days: i64| today.checked_add(days.days()).is_ok_and(|day| day == at.date());
    if is_in(0) {
        format!("{time} today")
    } else if is_in(1) {
        format!("{time} tomorrow")
    } else if (2..7).any(is_in) {
        format!("{time} on {}", at.strftime("%A"))
    } else {
        format!("{time} on {}", at.strftime("%B %-d"))
    }
}
