//! The calls about alarms and reminders.
//!
//! Pure. An alarm is for a time of day, on a day that is named or else the next time it is that late; a reminder has
//! words, and is for a time of day or after a length of time.

use jiff::ToSpan;
use jiff::civil::{DateTime, Time, Weekday};
use serde_json::Value;

use super::book::{Timers, when};
use super::entry::{Due, Entry, Now, What, time_and_day, unix_ms};
use super::lengths::{MAX_NAMED, length_of, millis};
use crate::dialogue::{Arguments, Outcome, Parameter, ToolResult, ToolSpec};
use crate::home::phrase::{duration, list, sentence};
use crate::home::{asked, refused, result};

/// Longest text of a reminder, in characters.
const MAX_TEXT_CHARS: usize = 200;
/// How far off a reminder may be, in days.
const MAX_DAYS: u64 = 366;

impl Timers {
    /// `{hour, minute?, day?}`: sets an alarm.
    pub(super) fn set_alarm(&mut self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let at = match local_time(tool, arguments, now) {
            Ok(Some(at)) => at,
            Ok(None) => return asked(tool, "For what time should I set the alarm?".to_owned()),
            Err(refused) => return *refused,
        };
        let words = time_and_day(at, now);
        let known = |entry: &&Entry| matches!(entry.what, What::Alarm { .. }) && entry.due == Due::At(at);
        if let Some(twin) = self.entries.iter().find(known) {
            let say = format!("The alarm for {words} is already set.");
            return result(tool, Outcome::Done, &details(twin, now), say);
        }
        match self.add(tool, |id| Entry::at(id, What::Alarm { at }, at)) {
            Err(refused) => *refused,
            Ok(alarm) => {
                let say = format!("The alarm is set for {words}.");
                result(tool, Outcome::Done, &details(alarm, now), say)
            }
        }
    }

    /// `{hour?, minute?, day?, all?}`: cancels an alarm. Where the declaration has no word for which, the one that rings or
    /// else the next is meant, and what stays is said.
    pub(super) fn cancel_alarm(&mut self, spec: &ToolSpec, arguments: &Arguments, now: &Now) -> ToolResult {
        let tool = &spec.name;
        let mut alarms: Vec<Entry> =
            self.entries.iter().filter(|entry| matches!(entry.what, What::Alarm { .. })).cloned().collect();
        alarms.sort_by_key(|alarm| alarm.left_ms(now));
        if alarms.is_empty() {
            return refused(tool, "no alarm is set", "No alarm is set.".to_owned());
        }
        let hour = arguments.get("hour").and_then(Value::as_i64);
        let minute = arguments.get("minute").and_then(Value::as_i64);
        let fits = |alarm: &Entry| match alarm.what {
            What::Alarm { at } => {
                hour.is_none_or(|hour| i64::from(at.hour()) == hour)
                    && minute.is_none_or(|minute| i64::from(at.minute()) == minute)
            }
            _ => false,
        };
        let all = arguments.get("all") == Some(&Value::Bool(true));
        let mut fitting: Vec<Entry> = alarms.iter().filter(|alarm| fits(alarm)).cloned().collect();
        let can_say_which = spec.parameters.iter().any(|parameter: &Parameter| parameter.name == "hour");
        if !all && fitting.len() > 1 && (fitting[0].is_due(now) || !can_say_which) {
            fitting.truncate(1);
        }
        match fitting.as_slice() {
            [] => {
                let say = format!("There is no such alarm. The next is for {}.", when(&alarms[0], now));
                refused(tool, "no such alarm", say)
            }
            [one] => {
                self.remove(one.id);
                let rest = alarms.iter().find(|alarm| alarm.id != one.id);
                let rest = rest.map(|next| format!(" The one for {} stays.", when(next, now))).unwrap_or_default();
                let say = format!("{}{rest}", sentence(&format!("{} is cancelled", one.what.phrase())));
                result(tool, Outcome::Done, &details(one, now), say)
            }
            several if all => {
                for alarm in several {
                    self.remove(alarm.id);
                }
                let say = format!("All {} alarms are cancelled.", several.len());
                result(tool, Outcome::Done, &[("cancelled", Value::from(several.len()))], say)
            }
            several => {
                let words: Vec<String> = several.iter().take(MAX_NAMED).map(|alarm| when(alarm, now)).collect();
                asked(tool, format!("Which alarm: the one for {}?", list(&words, "or")))
            }
        }
    }

    /// `{text, hours?, minutes?, seconds?, hour?, minute?, day?}`: sets a reminder.
    pub(super) fn set_reminder(&mut self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let text = arguments.get("text").and_then(Value::as_str).unwrap_or_default();
        let text = text.trim().trim_end_matches('.');
        if text.is_empty() {
            return asked(tool, "What should I remind you of?".to_owned());
        }
        if text.chars().count() > MAX_TEXT_CHARS {
            return refused(tool, "the text is too long", "That is too long for a reminder.".to_owned());
        }
        let what = What::Reminder { text: text.to_owned() };
        let (added, words) = match length_of(arguments).filter(|length| !length.is_zero()) {
            Some(length) if length.as_secs() > MAX_DAYS * 86_400 => {
                return refused(tool, "too far off", format!("I can remind you within {MAX_DAYS} days."));
            }
            Some(length) => {
                let words = format!("in {}", duration(length));
                (self.add(tool, |id| Entry::after(id, what, millis(length), now)), words)
            }
            None => match local_time(tool, arguments, now) {
                Ok(Some(at)) => (self.add(tool, |id| Entry::at(id, what, at)), format!("at {}", time_and_day(at, now))),
                Ok(None) => return asked(tool, "When should I remind you?".to_owned()),
                Err(refused) => return *refused,
            },
        };
        match added {
            Err(refused) => *refused,
            Ok(reminder) => {
                let say = format!("I will remind you {words}: {text}.");
                result(tool, Outcome::Done, &details(reminder, now), say)
            }
        }
    }

    /// `{text?}`: cancels the reminder that holds these words, and asks when several do.
    pub(super) fn cancel_reminder(&mut self, tool: &str, arguments: &Arguments, now: &Now) -> ToolResult {
        let wanted = arguments.get("text").and_then(Value::as_str).unwrap_or_default().trim().to_lowercase();
        let fitting: Vec<(u64, String)> = self
            .reminders(now)
            .into_iter()
            .filter(|(_, text)| text.to_lowercase().contains(&wanted))
            .map(|(entry, text)| (entry.id, text.to_owned()))
            .collect();
        match fitting.as_slice() {
            [] => refused(tool, "no such reminder", "There is no such reminder.".to_owned()),
            [(id, text)] => {
                self.remove(*id);
                let details = [("reminder", Value::from(text.as_str()))];
                result(tool, Outcome::Done, &details, format!("The reminder is cancelled: {text}."))
            }
            several => {
                let texts: Vec<String> = several.iter().take(MAX_NAMED).map(|(_, text)| text.clone()).collect();
                asked(tool, format!("Which reminder: {}?", list(&texts, "or")))
            }
        }
    }

    /// `{}`: names the reminders, the next first.
    pub(super) fn list_reminders(&self, tool: &str, now: &Now) -> ToolResult {
        let reminders = self.reminders(now);
        let named: Vec<String> =
            reminders.iter().take(MAX_NAMED).map(|(entry, text)| format!("{text}, at {}", when(entry, now))).collect();
        let say = match reminders.len() {
            0 => "There are no reminders.".to_owned(),
            1 => format!("There is 1 reminder: {}.", named[0]),
            count if count > named.len() => format!("There are {count} reminders. The next: {}.", named.join("; ")),
            count => format!("There are {count} reminders: {}.", named.join("; ")),
        };
        result(tool, Outcome::Done, &[("reminders", Value::from(reminders.len()))], say)
    }

    fn reminders(&self, now: &Now) -> Vec<(&Entry, &str)> {
        let mut found: Vec<(&Entry, &str)> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Reminder { text } => Some((entry, text.as_str())),
                _ => None,
            })
            .collect();
        found.sort_by_key(|(entry, _)| entry.left_ms(now));
        found
    }
}

/// The local time that `hour`, `minute` and `day` name, `None` where no hour is given.
fn local_time(tool: &str, arguments: &Arguments, now: &Now) -> Result<Option<DateTime>, Box<ToolResult>> {
    let no = |error: &str, say: &str| Box::new(refused(tool, error, say.to_owned()));
    let number = |key: &str| arguments.get(key).and_then(Value::as_i64);
    let Some(hour) = number("hour") else { return Ok(None) };
    let part = |value: i64| i8::try_from(value).ok();
    let time = part(hour).zip(part(number("minute").unwrap_or(0))).and_then(|(h, m)| Time::new(h, m, 0, 0).ok());
    let Some(time) = time else {
        return Err(no("no such time", "There is no such time of day."));
    };
    let today = now.wall.date();
    let is_past = unix_ms(today.to_datetime(time), &now.wall) <= now.wall_ms();
    let day = arguments.get("day").and_then(Value::as_str).unwrap_or_default().trim().to_lowercase();
    let days = match day.as_str() {
        "" => i64::from(is_past),
        "today" if is_past => {
            let say = format!("It is already past {}.", time_and_day(today.to_datetime(time), now));
            return Err(no("the time has passed", &say));
        }
        "today" => 0,
        "tomorrow" => 1,
        name => match weekday(name).map(|day| i64::from(today.weekday().until(day))) {
            Some(0) if is_past => 7,
            Some(days) => days,
            None => return Err(no("no such day", "I do not know that day.")),
        },
    };
    let date = today.checked_add(days.days());
    date.map(|date| Some(date.to_datetime(time)))
        .map_err(|error| no(&error.to_string(), "That is beyond the calendar."))
}

fn weekday(name: &str) -> Option<Weekday> {
    use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let days = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
    days.into_iter().find(|day| format!("{day:?}").to_lowercase() == name)
}

fn details(entry: &Entry, now: &Now) -> [(&'static str, Value); 4] {
    [
        ("number", Value::from(entry.id)),
        ("kind", Value::from(entry.what.kind())),
        ("when", Value::from(when(entry, now))),
        ("left_s", Value::from(entry.left(now).as_secs())),
    ]
}
