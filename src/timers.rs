//! `hearth timers`: timers, alarms and reminders from the command line, in the file that the daemon uses too. Works
//! whether a daemon runs or not; one that runs sees a change when it next looks, a few seconds later at most.

use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Config;
use crate::dialogue::Outcome;
use crate::failure::{Failure, UNWRITABLE, USAGE};
use crate::home::timers::{SharedTimers, TimerState, clock};
use crate::terminal;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Show all.
    List,
    /// Start timers.
    Set {
        /// One each.
        lengths: Vec<Duration>,
        /// Of all of them.
        name: Option<String>,
    },
    /// Set an alarm.
    Alarm {
        /// Hour and minute.
        time: (u8, u8),
        /// A day of the week, today, tomorrow.
        day: Option<String>,
    },
    /// Set a reminder.
    Remind {
        /// Of what.
        text: String,
        /// In how long, or else
        after: Option<Duration>,
        /// at this hour and minute
        at: Option<(u8, u8)>,
        /// of this day.
        day: Option<String>,
    },
    /// Take these numbers out.
    Cancel(Vec<u64>),
    /// Ring again in so many minutes.
    Snooze(Option<u32>),
    /// End what rings.
    Stop,
}

/// Carries it out and prints one line for each change, after it is on the disk.
///
/// # Errors
/// When the file cannot be used (73), or what was asked for cannot be done (64).
pub fn run(config: &Config, order: Order, json: bool) -> Result<(), Failure> {
    let timers = SharedTimers::open(&config.state.timers(), clock())?.with(config.timers.clone());
    let call = |tool: &str, arguments: Value| tell(&timers, tool, &arguments, json);
    match order {
        Order::List => list(&timers.snapshot(), json),
        Order::Set { lengths, name } => lengths.into_iter().try_for_each(|length| {
            let mut arguments = json!({"seconds": length.as_secs()});
            if let Some(name) = &name {
                arguments["name"] = Value::from(name.as_str());
            }
            call("set_timer", arguments)
        }),
        Order::Alarm { time, day } => call("set_alarm", at(json!({}), time, day)),
        Order::Remind { text, after, at: time, day } => {
            let arguments = match (after, time) {
                (Some(after), _) => json!({"text": text, "seconds": after.as_secs()}),
                (None, Some(time)) => at(json!({"text": text}), time, day),
                (None, None) => json!({"text": text}),
            };
            call("set_reminder", arguments)
        }
        Order::Cancel(numbers) => numbers.into_iter().try_for_each(|number| match timers.remove(number)? {
            Some(_) => terminal::line(format!("{number}: cancelled")),
            None => Err(Failure::new(USAGE, format!("there is no number {number}"))),
        }),
        Order::Snooze(minutes) => call("snooze", minutes.map_or(json!({}), |minutes| json!({"minutes": minutes}))),
        Order::Stop => call("stop", json!({})),
    }
}

fn at(mut arguments: Value, (hour, minute): (u8, u8), day: Option<String>) -> Value {
    arguments["hour"] = Value::from(hour);
    arguments["minute"] = Value::from(minute);
    if let Some(day) = day {
        arguments["day"] = Value::from(day);
    }
    arguments
}

fn tell(timers: &SharedTimers, tool: &str, arguments: &Value, json: bool) -> Result<(), Failure> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let result = timers.call(tool, &arguments).expect("only a timer's tools are called here");
    let say = result.say.clone().unwrap_or_else(|| "Nothing is ringing.".to_owned());
    match result.outcome {
        Outcome::Done if result.content.get("stored") == Some(&Value::from(false)) => {
            Err(Failure::new(UNWRITABLE, say))
        }
        Outcome::Done if json => terminal::json(&result),
        Outcome::Done => match result.content.get("number") {
            Some(number) => terminal::line(format!("{number}: {say}")),
            None => terminal::line(say),
        },
        _ => Err(Failure::new(USAGE, say)),
    }
}

fn list(timers: &[TimerState], json: bool) -> Result<(), Failure> {
    if json {
        return terminal::json(&timers);
    }
    timers.iter().try_for_each(|timer| {
        let what = timer.name.as_deref().or(timer.text.as_deref()).unwrap_or_default();
        let left = if timer.ringing { "due".to_owned() } else { clock_face(timer.left_s) };
        // A name may come from anywhere; a terminal takes control characters for commands.
        let what: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = format!("{:>4}  {:<8}  {left:>9}  {:<22}  {what}", timer.id, timer.kind, timer.when);
        terminal::line(line.trim_end())
    })
}

/// "1:05:09".
fn clock_face(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Reads "90s", "10m", "1h30m".
///
/// # Errors
/// What would do.
pub fn length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length such as 90s, 10m or 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            _ => return Err(wrong()),
        };
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Reads "7:30" and "17:00", and "7" as a whole hour.
///
/// # Errors
/// What would do.
pub fn time_of_day(text: &str) -> Result<(u8, u8), String> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "00"));
    let part = |part: &str, below: u8| part.parse::<u8>().ok().filter(|value| *value < below && part.len() <= 2);
    part(hour, 24).zip(part(minute, 60)).ok_or_else(|| format!("`{text}` is no time of day such as 7:30 or 17:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_times() {
        let check = |text: &str, seconds: Option<u64>, time: Option<(u8, u8)>| {
            assert_eq!(length(text).ok().map(|length| length.as_secs()), seconds, "{text}");
            assert_eq!(time_of_day(text).ok(), time, "{text}");
        };
        check("90s", Some(90), None);
        check("10m", Some(600), None);
        check("1h30m5s", Some(5405), None);
        check("7", None, Some((7, 0)));
        check("7:05", None, Some((7, 5)));
        check("23:59", None, Some((23, 59)));
        for wrong in ["", "m", "0s", "10", "10x", "-5m", "24:00", "7:60", "7:005", "+7", "10ä", "99999999999999999999h"]
        {
            let time = if wrong == "10" { Some((10, 0)) } else { None };
            check(if wrong == "+7" { "+7h" } else { wrong }, None, time);
        }
    }
}
