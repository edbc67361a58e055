//! Stories of timers, alarms and reminders, with the time as data; and of the file they are kept in.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::dialogue::Outcome::{self, Asked, Done, Refused};

/// A Friday, an hour and a half before the clocks of Berlin go back in the night to Sunday.
const START: &str = "2026-10-23T18:30:00+02:00[Europe/Berlin]";

/// `seconds` after the start on the clock that only goes forwards; the wall clock was set forward by `jump_s` besides.
fn at(seconds: i64, jump_s: i64) -> Now {
    let start: ZonedDateTime = START.parse().unwrap();
    let wall = start.checked_add(SignedDuration::from_secs(seconds + jump_s)).unwrap();
    Now { boot_ms: 5_000 + seconds * 1000, wall }
}

fn call(timers: &mut Timers, tool: &str, arguments: &Value, now: &Now) -> ToolResult {
    let declaration =
        json!({"name": tool, "description": "A tool", "parameters": {"type": "object", "properties": {}}});
    let spec = ToolSpec::from_json(&declaration).unwrap();
    let action = SharedTimers::action(tool).unwrap();
    action.carry_out(timers, &spec, arguments.as_object().unwrap(), now)
}

/// Steps of a story: seconds to wait, a call, its outcome and the sentence. `ring` stands for what begins to ring.
fn check(steps: &[(i64, &str, Value, Outcome, &str)]) {
    let mut timers = Timers::default();
    let mut seconds = 0;
    for (wait_s, tool, arguments, outcome, say) in steps {
        seconds += wait_s;
        let now = at(seconds, 0);
        if *tool == "ring" {
            let said: Vec<String> = timers.due(&now).iter().map(Ring::rings).collect();
            assert_eq!(said.join(" "), *say, "after {seconds} s");
            continue;
        }
        let result = call(&mut timers, tool, arguments, &now);
        assert_eq!(result.say.unwrap_or_default(), *say, "{tool} {arguments}");
        assert_eq!(result.outcome, *outcome, "{tool} {arguments}");
    }
}

#[test]
fn one_timer() {
    check(&[
        (0, "timer_left", json!({}), Refused, "No timer is running."),
        (0, "cancel_timer", json!({"name": "egg"}), Refused, "No timer is running."),
        (0, "set_timer", json!({"minutes": 10, "name": "pasta"}), Done, "The pasta timer is set for 10 minutes."),
        (0, "timer_left", json!({}), Done, "The pasta timer has 10 minutes left."),
        (75, "timer_left", json!({"name": "Pasta"}), Done, "The pasta timer has 8 minutes and 45 seconds left."),
        (0, "timer_left", json!({"name": "egg"}), Refused, "No egg timer is running, but 1 other timer is."),
        (0, "cancel_timer", json!({"name": "pasta timer"}), Done, "The pasta timer is cancelled."),
        (0, "cancel_timer", json!({}), Refused, "No timer is running."),
        (0, "set_timer", json!({"seconds": 30}), Done, "The timer is set for 30 seconds."),
        (29, "ring", json!({}), Done, ""),
        (1, "timer_left", json!({}), Done, "The 30 second timer is done."),
        (0, "ring", json!({}), Done, "The 30 second timer is done."),
        (0, "ring", json!({}), Done, ""),
        (9, "stop", json!({}), Done, "The 30 second timer is stopped."),
        (0, "stop", json!({}), Done, ""),
        (0, "timer_left", json!({}), Refused, "No timer is running."),
        (0, "set_timer", json!({"seconds": 5}), Done, "The timer is set for 5 seconds."),
        (5, "ring", json!({}), Done, "The 5 second timer is done."),
    ]);
}

#[test]
fn lengths() {
    check(&[
        (0, "set_timer", json!({"name": "tea"}), Asked, "How long should the tea timer run?"),
        (0, "set_timer", json!({}), Asked, "How long should the timer run?"),
        (0, "set_timer", json!({"minutes": 0}), Refused, "A timer needs a length of more than 0 seconds."),
        (0, "set_timer", json!({"minutes": -5}), Refused, "A timer needs a length of more than 0 seconds."),
        (0, "set_timer", json!({"hours": 25}), Refused, "A timer can run for at most 24 hours."),
        (0, "set_timer", json!({"hours": 24, "seconds": 1}), Refused, "A timer can run for at most 24 hours."),
        (0, "set_timer", json!({"hours": i64::MAX}), Refused, "A timer can run for at most 24 hours."),
        (0, "set_timer", json!({"hours": 1e300}), Refused, "A timer can run for at most 24 hours."),
        (0, "set_timer", json!({"hours": 24}), Done, "The timer is set for 24 hours."),
        (0, "cancel_timer", json!({}), Done, "The 24 hour timer is cancelled."),
        (0, "set_timer", json!({"hours": 1.5}), Done, "The timer is set for 1 hour and 30 minutes."),
        (10, "timer_left", json!({}), Done, "The 1 hour 30 minute timer has about 1 hour and 30 minutes left."),
    ]);
}

#[test]
fn several_timers() {
    let which = "Which pasta timer: the one with 9 minutes left or the one with 10 minutes left?";
    let both = "The 5 minute timer has 5 minutes left, the pasta timer has 10 minutes left.";
    check(&[
        (0, "set_timer", json!({"minutes": 10, "name": "pasta"}), Done, "The pasta timer is set for 10 minutes."),
        (0, "set_timer", json!({"minutes": 5}), Done, "The timer is set for 5 minutes."),
        (0, "cancel_timer", json!({}), Asked, "Which timer: the 5 minute timer or the pasta timer?"),
        (0, "timer_left", json!({}), Done, both),
        (60, "set_timer", json!({"minutes": 10, "name": "pasta"}), Done, "Another pasta timer is set for 10 minutes."),
        (0, "cancel_timer", json!({"name": "pasta"}), Asked, which),
        (0, "cancel_timer", json!({"minutes": 5}), Done, "The 5 minute timer is cancelled."),
        (0, "cancel_timer", json!({"minutes": 7}), Refused, "No 7 minute timer is running, but 2 other timers are."),
        (0, "cancel_timer", json!({"name": "pasta", "all": true}), Done, "All 2 pasta timers are cancelled."),
        (0, "timer_left", json!({}), Refused, "No timer is running."),
        (0, "set_timer", json!({"seconds": 10, "name": "egg"}), Done, "The egg timer is set for 10 seconds."),
        (0, "set_timer", json!({"minutes": 5}), Done, "The timer is set for 5 minutes."),
        (10, "ring", json!({}), Done, "The egg timer is done."),
        // While one rings, it is the one that is meant; the other goes on.
        (2, "snooze", json!({"minutes": 1}), Done, "I will ring again in 1 minute."),
        (59, "ring", json!({}), Done, ""),
        (1, "ring", json!({}), Done, "The egg timer is done."),
        (0, "cancel_timer", json!({}), Done, "The egg timer is cancelled."),
        (0, "snooze", json!({}), Refused, "Nothing is ringing."),
        (228, "ring", json!({}), Done, "The 5 minute timer is done."),
    ]);
}

#[test]
fn alarms() {
    check(&[
        (0, "cancel_alarm", json!({}), Refused, "No alarm is set."),
        (0, "snooze", json!({}), Refused, "Nothing is ringing."),
        (0, "set_alarm", json!({}), Asked, "For what time should I set the alarm?"),
        (0, "set_alarm", json!({"hour": 24}), Refused, "There is no such time of day."),
        (0, "set_alarm", json!({"hour": 7, "day": "today"}), Refused, "It is already past 7:00 AM today."),
        (0, "set_alarm", json!({"hour": 7, "day": "someday"}), Refused, "I do not know that day."),
        (0, "set_alarm", json!({"hour": 7, "minute": 5}), Done, "The alarm is set for 7:05 AM tomorrow."),
        (
            0,
            "set_alarm",
            json!({"hour": 7, "minute": 5, "day": "saturday"}),
            Done,
            "The alarm for 7:05 AM tomorrow is already set.",
        ),
        (0, "set_alarm", json!({"hour": 19}), Done, "The alarm is set for 7:00 PM today."),
        (0, "set_alarm", json!({"hour": 12, "day": "friday"}), Done, "The alarm is set for noon on October 30."),
        (0, "set_alarm", json!({"hour": 0, "day": "sunday"}), Done, "The alarm is set for midnight on Sunday."),
        (
            0,
            "cancel_alarm",
            json!({"hour": 0}),
            Done,
            "The alarm for midnight is cancelled. The one for 7:00 PM today stays.",
        ),
        (1799, "ring", json!({}), Done, ""),
        (1, "ring", json!({}), Done, "It is 7:00 PM, this is your alarm."),
        (5, "snooze", json!({}), Done, "I will ring again in 9 minutes."),
        (540, "ring", json!({}), Done, "It is 7:00 PM, this is your alarm."),
        (0, "stop", json!({}), Done, "The alarm for 7:00 PM is stopped."),
        (
            0,
            "cancel_alarm",
            json!({}),
            Done,
            "The alarm for 7:05 AM is cancelled. The one for noon on October 30 stays.",
        ),
        (0, "cancel_alarm", json!({}), Done, "The alarm for noon is cancelled."),
        (0, "set_alarm", json!({"hour": 8, "day": "sunday"}), Done, "The alarm is set for 8:00 AM on Sunday."),
        // The night to Sunday has 25 hours.
        (38 * 3600 + 1800 - 2346, "ring", json!({}), Done, ""),
        (1, "ring", json!({}), Done, "It is 8:00 AM, this is your alarm."),
    ]);
}

#[test]
fn reminders() {
    let plants = "water the plants";
    check(&[
        (0, "set_reminder", json!({}), Asked, "What should I remind you of?"),
        (0, "set_reminder", json!({"text": plants}), Asked, "When should I remind you?"),
        (0, "list_reminders", json!({}), Done, "There are no reminders."),
        (
            0,
            "set_reminder",
            json!({"text": plants, "minutes": 90}),
            Done,
            "I will remind you in 1 hour and 30 minutes: water the plants.",
        ),
        (
            0,
            "set_reminder",
            json!({"text": "Call mom.", "hour": 20}),
            Done,
            "I will remind you at 8:00 PM today: Call mom.",
        ),
        (
            0,
            "list_reminders",
            json!({}),
            Done,
            "There are 2 reminders: water the plants, at 8:00 PM today; Call mom, at 8:00 PM today.",
        ),
        (0, "cancel_reminder", json!({}), Asked, "Which reminder: water the plants or Call mom?"),
        (0, "cancel_reminder", json!({"text": "Mom"}), Done, "The reminder is cancelled: Call mom."),
        (0, "cancel_reminder", json!({"text": "dad"}), Refused, "There is no such reminder."),
        (0, "set_reminder", json!({"text": "x".repeat(300), "hour": 1}), Refused, "That is too long for a reminder."),
        (0, "set_reminder", json!({"text": "far", "hours": 9000}), Refused, "I can remind you within 366 days."),
        (5400, "ring", json!({}), Done, "Reminder: water the plants."),
        (0, "stop", json!({}), Done, "The reminder, water the plants, is stopped."),
    ]);
}

#[test]
fn bounded_and_fetched_in_order() {
    let mut timers = Timers::default();
    let start = at(0, 0);
    for seconds in (1..=MAX_TIMERS).rev() {
        assert_eq!(call(&mut timers, "set_timer", &json!({"seconds": seconds}), &start).outcome, Done);
    }
    let mut say = |tool: &str, arguments: Value| call(&mut timers, tool, &arguments, &start).say.unwrap();
    assert_eq!(say("set_timer", json!({"seconds": 1})), "There are 32 timers already, which is all I can keep.");
    assert_eq!(say("cancel_timer", json!({})), "Which timer? There are 32.");
    assert!(say("timer_left", json!({})).ends_with("has 4 seconds left. There are 28 more."));
    // Alarms are counted by themselves.
    assert_eq!(say("set_alarm", json!({"hour": 5})), "The alarm is set for 5:00 AM tomorrow.");

    assert_eq!(timers.next_ms(&start), Some(1000));
    let due = timers.due(&at(2, 0));
    let said: Vec<String> = due.iter().map(Ring::rings).collect();
    assert_eq!(said, ["The 1 second timer is done.", "The 2 second timer is done."]);
    let snapshot = timers.snapshot(&at(2, 0));
    assert_eq!((snapshot.len(), snapshot[1].ringing, snapshot[2].ringing), (MAX_TIMERS + 1, true, false));
}

#[test]
fn rings_until_it_may_no_longer() {
    let mut timers = Timers { config: TimerConfig { ring_s: 60, snooze_minutes: 9 }, ..Timers::default() };
    call(&mut timers, "set_timer", &json!({"seconds": 10}), &at(0, 0));
    assert_eq!(timers.due(&at(12, 0)).len(), 1);
    assert_eq!(timers.ringing(&at(30, 0)).len(), 1);
    assert_eq!(timers.ring_out(&at(71, 0)).len(), 0);
    // A clock that is set back does not silence it, and does not ring it again.
    assert_eq!((timers.ringing(&at(71, -3600)).len(), timers.due(&at(71, -3600)).len()), (1, 0));
    assert_eq!(timers.ring_out(&at(72, 0)).len(), 1);
    assert_eq!((timers.ringing(&at(72, 0)).len(), timers.next_ms(&at(72, 0))), (0, None));
}

/// A timer of ten minutes and an alarm in half an hour, then a moment by both clocks: what rings, what goes on.
#[test]
fn the_wall_clock_is_set() {
    let check = |restart: bool, seconds: i64, jump_s: i64, expected: &[&str]| {
        let mut timers = Timers::default();
        call(&mut timers, "set_timer", &json!({"minutes": 10, "name": "tea"}), &at(0, 0));
        call(&mut timers, "set_alarm", &json!({"hour": 19}), &at(0, 0));
        if restart {
            let text = serde_json::to_string(&timers.entries).unwrap();
            timers = Timers::default();
            timers.merge(serde_json::from_str(&text).unwrap(), 0, &[], &at(seconds - 1, jump_s));
            assert_eq!(timers.next_id, 2);
        }
        let said: Vec<String> = timers.due(&at(seconds, jump_s)).iter().map(Ring::rings).collect();
        assert_eq!(said, expected, "{restart} {seconds} {jump_s}");
    };
    let tea = "The tea timer is done.";
    let alarm = "It is 7:00 PM, this is your alarm.";
    check(false, 599, 0, &[]);
    check(false, 600, 0, &[tea]);
    // Set while it runs: a length stays a length, a time of day is reached when the clock shows it.
    check(false, 599, 86_400, &["The alarm for 7:00 PM was due 23 hours ago."]);
    check(false, 600, -86_400, &[tea]);
    check(false, 1801, -86_400, &["The tea timer was due 20 minutes ago."]);
    check(false, 1800, 0, &["The tea timer was due 20 minutes ago.", alarm]);
    // After a restart the wall clock decides.
    check(true, 599, 0, &[]);
    check(true, 600, 0, &[tea]);
    check(true, 300, 300, &[tea]);
    check(true, 900, 0, &["The tea timer was due 5 minutes ago."]);
    check(true, 900, -600, &[]);
    check(true, 9600, 0, &["The tea timer was due 2 hours ago.", "The alarm for 7:00 PM was due 2 hours ago."]);
    check(true, 3 * 86_400, 0, &["The tea timer was due 2 days ago.", "The alarm for 7:00 PM was due 2 days ago."]);
}

#[test]
fn a_clock_that_is_set_again_after_a_restart_loses_nothing() {
    // Started with a clock that stands in the past, as on a board without a battery; later it is right.
    let mut timers = Timers::default();
    call(&mut timers, "set_timer", &json!({"minutes": 10}), &at(0, 0));
    let entries = timers.entries.clone();
    let year_s = 365 * 86_400;
    let restarted = |jump_s: i64| {
        let mut timers = Timers::default();
        timers.merge(entries.clone(), 1, &[], &at(60, jump_s));
        timers
    };
    assert_eq!(restarted(-year_s).due(&at(61, 0)).len(), 0);
    assert_eq!(restarted(-year_s).due(&at(600, 0)).len(), 1);
    // It never becomes right: ten minutes after the restart at the latest.
    assert_eq!(restarted(-year_s).due(&at(659, -year_s)).len(), 0);
    assert_eq!(restarted(-year_s).due(&at(660, -year_s)).len(), 1);

    // Set while it ran: what the file says follows, so that the restart is right.
    assert!(timers.follow(&at(60, year_s)) && !timers.follow(&at(61, year_s)));
    let mut next = Timers::default();
    next.merge(timers.entries.clone(), 1, &[], &at(70, year_s));
    assert_eq!((next.due(&at(599, year_s)).len(), next.due(&at(600, year_s)).len()), (0, 1));
}

#[test]
fn two_lists_become_one() {
    let now = at(0, 0);
    let timer =
        |id: u64, name: &str| Entry::after(id, What::Timer { name: Some(name.to_owned()), length_s: 60 }, 60_000, &now);
    let check = |mine: &[(u64, &str)], read: &[(u64, &str)], before: &[(u64, &str)], expected: &[(u64, &str)]| {
        let list = |list: &[(u64, &str)]| list.iter().map(|(id, name)| timer(*id, name)).collect::<Vec<_>>();
        let mut timers = Timers { entries: list(mine), next_id: 9, ..Timers::default() };
        timers.merge(list(read), 4, &list(before), &now);
        let mut merged: Vec<(u64, &str)> = timers.entries.iter().map(|e| (e.id, e.name().unwrap())).collect();
        merged.sort_unstable();
        assert_eq!(merged, expected, "{mine:?} {read:?} {before:?}");
        assert!(timers.next_id > merged.last().map_or(0, |last| last.0));
    };
    check(&[], &[(1, "a")], &[], &[(1, "a")]);
    check(&[(1, "a")], &[(1, "a"), (2, "b")], &[(1, "a")], &[(1, "a"), (2, "b")]);
    check(&[(1, "a")], &[], &[(1, "a")], &[]);
    check(&[], &[(1, "a")], &[(1, "a")], &[]);
    check(&[(1, "a"), (2, "mine")], &[(1, "a"), (2, "theirs")], &[(1, "a")], &[(1, "a"), (2, "theirs"), (9, "mine")]);
    check(&[(1, "new")], &[(1, "a")], &[(1, "a")], &[(1, "new")]);
    check(&[(1, "a")], &[(1, "new")], &[(1, "a")], &[(1, "new")]);
}

/// A clock that a test sets; both clocks go together.
fn settable() -> (Arc<AtomicI64>, Clock) {
    let seconds = Arc::new(AtomicI64::new(0));
    let shown = Arc::clone(&seconds);
    (seconds, Arc::new(move || at(shown.load(Ordering::Relaxed), 0)))
}

fn set(timers: &SharedTimers, arguments: &Value) -> Option<String> {
    let declaration = json!({"name": "set_timer", "description": "A tool"});
    let spec = ToolSpec::from_json(&declaration).unwrap();
    timers.carry_out(&spec, Action::Set, arguments.as_object().unwrap()).say
}

fn names(timers: &SharedTimers) -> Vec<String> {
    timers.snapshot().into_iter().map(|timer| timer.name.unwrap()).collect()
}

fn set_aside(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-")).count()
}

#[test]
fn two_processes_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/timers.json");
    let (seconds, clock) = settable();
    let daemon = SharedTimers::open(&path, Arc::clone(&clock)).unwrap();
    let other = SharedTimers::open(&path, Arc::clone(&clock)).unwrap();
    assert_eq!(daemon.next_due(), None);
    set(&other, &json!({"minutes": 1, "name": "tea"}));
    set(&daemon, &json!({"minutes": 5, "name": "egg"}));
    assert_eq!((names(&daemon), names(&other)), (names(&other), vec!["tea".to_owned(), "egg".to_owned()]));
    seconds.store(60, Ordering::Relaxed);
    assert_eq!(daemon.due()[0].rings(), "The tea timer is done.");
    assert_eq!((daemon.due().len(), daemon.ringing().len()), (0, 1));
    // Nobody stopped it before the restart: it is still there, late.
    drop(daemon);
    seconds.store(180, Ordering::Relaxed);
    let daemon = SharedTimers::open(&path, clock).unwrap();
    assert_eq!(daemon.due()[0].rings(), "The tea timer was due 2 minutes ago.");
    assert_eq!(other.stop().len(), 1);
    assert_eq!((daemon.ringing().len(), names(&daemon)), (0, vec!["egg".to_owned()]));
    assert_eq!(daemon.remove(7).unwrap(), None);
    assert!(daemon.remove(1).unwrap().is_some() && names(&other).is_empty());
}

#[test]
fn a_damaged_file_is_set_aside_and_the_rest_goes_on() {
    let good = json!({"id": 3, "kind": "timer", "name": "tea", "length_s": 60,
                      "due": {"after": {"unix_ms": 1_792_774_900_000_i64, "wait_ms": 60_000}}});
    let check = |text: &str, expected: &[&str], aside: usize| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timers.json");
        fs::write(&path, text).unwrap();
        let (_, clock) = settable();
        let timers = SharedTimers::open(&path, Arc::clone(&clock)).unwrap();
        assert_eq!(names(&timers), expected, "{text}");
        set(&timers, &json!({"minutes": 1, "name": "new"}));
        let again = names(&SharedTimers::open(&path, clock).unwrap());
        assert!(again.contains(&"new".to_owned()) && again.len() == expected.len() + 1, "{text}");
        assert_eq!(set_aside(dir.path()), aside, "{text}");
    };
    let file = |entries: Value| json!({"format": 1, "next_id": 4, "entries": entries}).to_string();
    check(&file(json!([good])), &["tea"], 0);
    check(&file(json!([])), &[], 0);
    check("", &[], 1);
    check("{\"format\": 1, \"next_id\": 4, \"entr", &[], 1);
    check("\0\0\0\0", &[], 1);
    check(&json!({"format": 2, "next_id": 4, "entries": []}).to_string(), &[], 1);
    check(&file(json!([good, {"id": 4, "kind": "sundial"}])), &["tea"], 1);
    check(&file(json!([good, good, 7])), &["tea"], 1);
    check(&" ".repeat(1_000_001), &[], 1);
}

#[test]
fn a_file_that_is_lost_or_cannot_be_written_loses_nothing_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/timers.json");
    let (_, clock) = settable();
    let timers = SharedTimers::open(&path, Arc::clone(&clock)).unwrap();
    set(&timers, &json!({"minutes": 1, "name": "tea"}));
    fs::remove_file(&path).unwrap();
    assert_eq!(names(&timers), ["tea"]);
    assert!(path.exists(), "written again");
    fs::write(&path, "garbage").unwrap();
    assert_eq!((names(&timers), set_aside(path.parent().unwrap())), (vec!["tea".to_owned()], 1));
    // No folder, no lock, no file.
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let said = set(&timers, &json!({"minutes": 2, "name": "egg"})).unwrap();
    assert_eq!(said, "The egg timer is set for 2 minutes. I could not save it, so a restart would forget it.");
    assert_eq!(names(&timers), ["tea", "egg"]);
    fs::create_dir(path.parent().unwrap()).unwrap();
    set(&timers, &json!({"minutes": 3, "name": "cake"}));
    assert_eq!(names(&SharedTimers::open(&path, clock).unwrap()), ["tea", "egg", "cake"]);
}
