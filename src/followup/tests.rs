//! What a turn makes of those before it, through [`Assistant`]: stories of turns.

use serde_json::{Map, Value, json};

use super::*;
use crate::assistant::{Assistant, Command, Event};
use crate::dialogue::{ReplyEvent, Stop};

/// What happens in one turn.
enum Turn {
    /// The model calls these; the home answers each.
    Calls(Vec<(&'static str, Value)>),
    /// Nothing is said, or noise, and no model runs.
    Nothing,
    /// The model hears something that is no command.
    Talk,
    /// The reply is malformed.
    Malformed,
}

use Turn::{Calls, Malformed, Nothing, Talk};

fn call(name: &'static str, arguments: Value) -> Turn {
    Calls(vec![(name, arguments)])
}

/// A home in which `unlock` and `open` are asked back, unless somebody agreed to just that.
fn home(call: &ToolCall) -> ToolResult {
    let to = format!("{} {}", call.name, Value::Object(call.arguments.clone()));
    let risky = ["unlock", "open"].contains(&call.name.as_str()) && call.consent != Consent::Spoken(to.clone());
    let (outcome, say) =
        if risky { (Outcome::Asked, format!("Shall I {to}?")) } else { (Outcome::Done, "Done.".to_owned()) };
    let effect = risky.then_some(Effect::Confirm(to));
    ToolResult { name: call.name.clone(), outcome, content: Map::new(), say: Some(say), effect }
}

/// Turns, each so many seconds after the end of the one before, and what each carries out and says.
fn check(turns: Vec<(u64, Turn, &str)>) {
    let mut memory = Memory::new(Duration::from_secs(15));
    let mut now = Instant::now();
    for (index, (wait_s, turn, expected)) in turns.into_iter().enumerate() {
        now += Duration::from_secs(wait_s);
        let mut assistant = Assistant::remembering(false, memory, now);
        let mut found = Vec::new();
        let mut commands = Vec::new();
        match turn {
            Nothing => {}
            Talk => commands.extend(assistant.handle(Event::Reply(ReplyEvent::End(Stop::EndOfTurn)))),
            Malformed => {
                let event = ReplyEvent::Malformed { text: "call:confirm".into(), reason: "no end".into() };
                commands.extend(assistant.handle(Event::Reply(event)));
                commands.extend(assistant.handle(Event::Reply(ReplyEvent::End(Stop::Loop))));
            }
            Calls(calls) => {
                for (name, arguments) in calls {
                    let call = ToolCall::new(name, arguments.as_object().cloned().unwrap_or_default());
                    commands.extend(assistant.handle(Event::Reply(ReplyEvent::Call(call))));
                }
                commands.extend(assistant.handle(Event::Reply(ReplyEvent::End(Stop::AwaitsTools))));
            }
        }
        let mut queue: std::collections::VecDeque<Command> = commands.into();
        while let Some(command) = queue.pop_front() {
            match command {
                Command::Call(call) => {
                    let result = home(&call);
                    if result.outcome == Outcome::Done {
                        found.push(format!("{} {}", call.name, Value::Object(call.arguments.clone())));
                    }
                    queue.extend(assistant.handle(Event::ToolDone(result)));
                }
                Command::Say(text) => found.push(format!("say {text}")),
                Command::Settle { .. } => {}
                other => found.push(format!("{other:?}")),
            }
        }
        memory = assistant.remember(now);
        assert_eq!(found.join("; "), expected, "turn {index}");
    }
}

const SHALL_I: &str = "say Shall I unlock {}?";

/// S15: only an explicit yes, in time, in the next turn.
#[test]
fn risky_calls_want_a_yes() {
    let ask = || (0, call("unlock", json!({})), SHALL_I);
    let yes = || call("confirm", json!({}));
    let void = "say There is nothing that I wanted to know.";
    check(vec![ask(), (1, yes(), "unlock {}; say Done.")]);
    check(vec![ask(), (15, yes(), "unlock {}; say Done.")]);
    check(vec![ask(), (16, yes(), &format!("say {TOO_LATE}"))]);
    check(vec![ask(), (16, yes(), &format!("say {TOO_LATE}")), (0, yes(), void)]);
    // Silence, noise, talk and nonsense are a no.
    check(vec![ask(), (1, Nothing, ""), (1, yes(), void)]);
    check(vec![ask(), (1, Talk, ""), (1, yes(), void)]);
    check(vec![ask(), (1, Malformed, "say Sorry, I did not get that."), (1, yes(), void)]);
    // So are a no, and another command.
    check(vec![ask(), (1, call("deny", json!({})), "say All right."), (1, yes(), void)]);
    check(vec![ask(), (1, call("stop", json!({})), "say All right."), (1, yes(), void)]);
    check(vec![ask(), (1, call("lock", json!({})), "lock {}; say Done."), (1, yes(), void)]);
    check(vec![
        ask(),
        (1, Calls(vec![("deny", json!({})), ("confirm", json!({}))]), &format!("say All right.; {void}")),
    ]);
    // One yes is for one call.
    check(vec![ask(), (1, yes(), "unlock {}; say Done."), (1, yes(), void)]);
    // A yes in the breath that asks is none.
    let breath = Calls(vec![("unlock", json!({})), ("confirm", json!({}))]);
    check(vec![(0, breath, &format!("{void}; {SHALL_I}"))]);
    let breath = Calls(vec![("confirm", json!({})), ("unlock", json!({}))]);
    check(vec![(0, breath, &format!("{void}; {SHALL_I}")), (1, yes(), "unlock {}; say Done.")]);
    // Another risky call is another question, and its yes is not for the first.
    check(vec![
        ask(),
        (1, call("open", json!({"kind": "garage door"})), "say Shall I open {\"kind\":\"garage door\"}?"),
        (1, yes(), "open {\"kind\":\"garage door\"}; say Done."),
        (1, yes(), void),
    ]);
    let two = Calls(vec![("unlock", json!({})), ("open", json!({}))]);
    check(vec![(0, two, "say Shall I unlock {}?; say Shall I open {}?"), (1, yes(), &format!("say {ONE_AT_A_TIME}"))]);
    // Asked again, it waits again; a correction is a new question.
    check(vec![ask(), (14, call("repeat", json!({})), SHALL_I), (14, yes(), "unlock {}; say Done.")]);
    check(vec![
        ask(),
        (1, call("correct", json!({"room": "garage"})), "say Shall I unlock {\"room\":\"garage\"}?"),
        (1, yes(), "unlock {\"room\":\"garage\"}; say Done."),
    ]);
    // Yes, and something else.
    let both = Calls(vec![("confirm", json!({})), ("get_time", json!({}))]);
    check(vec![ask(), (1, both, "unlock {}; get_time {}; say Done.; say Done.")]);
}

#[test]
fn the_last_call_is_corrected() {
    let light = |room: &str| json!({"kind": "light", "room": room});
    let on = |room: &str| format!("turn_on {}; say Done.", light(room));
    check(vec![
        (0, call("correct", json!({"room": "bedroom"})), "say There is nothing to correct."),
        (0, call("turn_on", light("kitchen")), &on("kitchen")),
        (60, call("correct", json!({"room": "bedroom"})), &on("bedroom")),
        (1, call("get_time", json!({})), "get_time {}; say Done."),
    ]);
    check(vec![
        (0, call("turn_on", light("kitchen")), &on("kitchen")),
        (0, call("deny", json!({})), "say All right."),
        (0, Nothing, ""),
        (0, call("correct", json!({"room": "bedroom"})), &on("bedroom")),
        (0, call("correct", json!({"kind": "lamp"})), "turn_on {\"kind\":\"lamp\",\"room\":\"bedroom\"}; say Done."),
        (0, call("correct", json!({"kind": "lamp"})), &format!("say {WHAT_TO_CORRECT}")),
        (0, call("correct", json!({"value": 5})), &format!("say {WHAT_TO_CORRECT}")),
        (0, call("correct", json!({})), &format!("say {WHAT_TO_CORRECT}")),
    ]);
    let value = |tool: &'static str, arguments: Value, expected: &str| {
        let first = format!("{tool} {arguments}; say Done.");
        let expected = match expected {
            "" => format!("say {WHAT_TO_CORRECT}"),
            arguments => format!("{tool} {arguments}; say Done."),
        };
        check(vec![(0, call(tool, arguments), &first), (0, call("correct", json!({"value": 7})), &expected)]);
    };
    value("set_brightness", json!({"kind": "light", "percent": 70}), r#"{"kind":"light","percent":7}"#);
    value("set_timer", json!({"seconds": 20}), r#"{"seconds":7}"#);
    value("set_timer", json!({"name": "tea"}), r#"{"name":"tea","minutes":7}"#);
    value("set_timer", json!({"hours": 1, "minutes": 20}), "");
    value("set_alarm", json!({"hour": 11, "minute": 30}), r#"{"hour":7,"minute":30}"#);
    value("water_garden", json!({"minutes": 3}), r#"{"minutes":7}"#);
    value("get_time", json!({}), "");
}

#[test]
fn it_says_that_again() {
    check(vec![
        (0, call("repeat", json!({})), "say I have not said anything yet."),
        (0, call("get_time", json!({})), "get_time {}; say Done."),
        (0, Nothing, ""),
        (0, call("repeat", json!({})), "say Done."),
        (0, call("repeat", json!({})), "say Done."),
        // What rings is the home's.
        (0, call("stop", json!({})), "stop {}; say Done."),
    ]);
}

#[test]
fn without_a_clock_no_yes_counts() {
    let mut assistant = Assistant::new(false);
    let mut handle = |event| assistant.handle(Event::Reply(event));
    handle(ReplyEvent::Call(ToolCall::new("confirm", Map::new())));
    let commands = handle(ReplyEvent::End(Stop::AwaitsTools));
    assert!(commands.iter().all(|command| !matches!(command, Command::Call(_))), "{commands:?}");
}

/// "The lamp or the fan?" is answered by one of them; a yes is asked which.
#[test]
fn one_of_two_is_chosen_by_naming_it() {
    let thing = |kind: &str| ToolCall::new("turn_on", Map::from_iter([("kind".to_owned(), Value::from(kind))]));
    let check = |either: bool, answers: &[(&str, &str)], expected: &[&str]| {
        let now = Instant::now();
        let mut assistant = Assistant::remembering(false, Memory::new(Duration::from_secs(15)), now);
        let doubtful = ToolCall { rival: Some(Box::new(thing("fan"))), ..thing("lamp") };
        assistant.handle(Event::Reply(ReplyEvent::Call(doubtful)));
        assistant.handle(Event::Reply(ReplyEvent::End(Stop::AwaitsTools)));
        let to = "turn on the lamp".to_owned();
        let effect = Some(if either { Effect::Choose(to) } else { Effect::Confirm(to) });
        let say = Some("Did you want me to turn on the lamp or the fan?".to_owned());
        let asked = ToolResult { name: "turn_on".into(), outcome: Outcome::Asked, content: Map::new(), say, effect };
        assistant.handle(Event::ToolDone(asked));
        let mut found = Vec::new();
        for (name, kind) in answers {
            let memory = assistant.remember(now);
            assert!(memory.asks() && memory.awaits(now) != either, "neither yes nor no answers which of two");
            assistant = Assistant::remembering(false, memory, now);
            let call = ToolCall { name: (*name).to_owned(), ..thing(kind) };
            let call = if kind.is_empty() { ToolCall::new(*name, Map::new()) } else { call };
            assistant.handle(Event::Reply(ReplyEvent::Call(call)));
            for command in assistant.handle(Event::Reply(ReplyEvent::End(Stop::AwaitsTools))) {
                match command {
                    Command::Call(call) => found.push(format!("{} {:?}", call.arguments["kind"], call.consent)),
                    Command::Say(text) => found.push(text),
                    _ => {}
                }
            }
        }
        assert_eq!(found, expected, "{answers:?}");
    };
    check(true, &[("correct", "lamp")], &["\"lamp\" Spoken(\"turn on the lamp\")"]);
    check(true, &[("correct", "fan")], &["\"fan\" None"]);
    check(true, &[("confirm", ""), ("correct", "lamp")], &[WHICH, "\"lamp\" Spoken(\"turn on the lamp\")"]);
    check(true, &[("deny", "")], &[ALL_RIGHT]);
    // Where only one was asked for, a yes does it, whatever else the call might have been.
    check(false, &[("confirm", "")], &["\"lamp\" Spoken(\"turn on the lamp\")"]);
}
