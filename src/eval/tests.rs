//! What the figures of an evaluation are made of, clip by clip.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

fn calls(value: &Value) -> Vec<Call> {
    value.as_array().unwrap().iter().map(|call| call_from(call).unwrap()).collect()
}

fn on(slots: Value) -> Value {
    json!({"intent": "turn_on", "slots": slots})
}

#[test]
fn clips_are_scored() {
    let check = |expected: Value, heard: Value, verdict: (bool, bool)| {
        let score = score(&calls(&expected), &calls(&heard));
        assert_eq!((score.right, score.strict), verdict, "{expected} {heard}");
    };
    let kitchen = || on(json!({"kind": "light", "room": "kitchen"}));
    let (both, right, wrong) = ((true, true), (true, false), (false, false));
    check(json!([]), json!([]), both);
    check(json!([]), json!([kitchen()]), wrong);
    check(json!([kitchen()]), json!([]), wrong);
    check(json!([kitchen()]), json!([kitchen()]), both);
    check(json!([kitchen()]), json!([kitchen(), kitchen()]), wrong);
    check(json!([kitchen()]), json!([{"intent": "turn_off", "slots": {"kind": "light", "room": "kitchen"}}]), wrong);
    check(json!([kitchen()]), json!([on(json!({"kind": "Light", "room": " KITCHEN"}))]), both);
    check(json!([kitchen()]), json!([on(json!({"kind": "light"}))]), wrong);
    check(json!([on(json!({"kind": "light"}))]), json!([kitchen()]), right);
    check(json!([on(json!({"kind": "light", "room": null}))]), json!([kitchen()]), wrong);
    check(json!([on(json!({"kind": "light", "room": null}))]), json!([on(json!({"kind": "light"}))]), both);
    check(json!([on(json!({"kind": "light"}))]), json!([on(json!({"kind": "light", "room": null}))]), both);
    for (label, given, same) in [
        (json!(5), json!("5"), true),
        (json!("5"), json!(5.0), true),
        (json!("05"), json!(5), true),
        (json!(0.1), json!("0.10"), true),
        (json!(5), json!(6), false),
        (json!(5), json!("five"), false),
        (json!("inf"), json!("INF"), true),
        (json!(true), json!("True"), true),
        (json!(true), json!(1), false),
        (json!(["A", 1]), json!(["a", "1"]), true),
        (json!(["a", "b"]), json!(["b", "a"]), false),
        (json!({"h": 7}), json!({"h": "7"}), true),
        (json!({"h": 7}), json!({"h": 7, "m": 1}), false),
        (json!(""), json!(null), false),
    ] {
        check(json!([on(json!({"x": label}))]), json!([on(json!({"x": given}))]), (same, same));
    }
}

#[test]
fn several_calls_in_any_order() {
    let check = |expected: &[Value], heard: &[Value], verdict: (bool, bool), arguments: (usize, usize)| {
        let score = score(&calls(&json!(expected)), &calls(&json!(heard)));
        assert_eq!((score.right, score.strict), verdict, "{expected:?} {heard:?}");
        assert_eq!(score.arguments.get("x").copied().unwrap_or_default(), arguments, "{expected:?} {heard:?}");
    };
    let (a, b, ab, bare) = (on(json!({"x": 1})), on(json!({"x": 2})), on(json!({"x": 1, "y": 2})), on(json!({})));
    check(&[a.clone(), b.clone()], &[b.clone(), a.clone()], (true, true), (2, 2));
    check(&[a.clone(), a.clone()], &[a.clone(), b.clone()], (false, false), (2, 1));
    check(&[a.clone(), b.clone()], std::slice::from_ref(&b), (false, false), (2, 1));
    // The bare label fits either call; only one assignment serves both.
    check(&[bare.clone(), a.clone()], &[a.clone(), b.clone()], (true, false), (1, 1));
    check(&[a.clone(), bare.clone()], &[a.clone(), b.clone()], (true, false), (1, 1));
    // Strict and not strict may need different assignments.
    check(&[bare.clone(), a.clone()], &[a.clone(), bare.clone()], (true, true), (1, 1));
    check(&[a.clone(), ab.clone()], &[ab.clone(), a.clone()], (true, true), (2, 2));
    check(&[ab.clone(), a.clone()], &[ab.clone(), ab.clone()], (true, false), (2, 2));
    let eight: Vec<Value> = (0..8).map(|x| on(json!({"x": x}))).collect();
    let reversed: Vec<Value> = eight.iter().rev().cloned().collect();
    check(&eight, &reversed, (true, true), (8, 8));
    let flood: Vec<Value> = (0..100).map(|x| on(json!({"x": x}))).collect();
    check(&eight, &flood, (false, false), (8, 8));
}

#[test]
fn labels() {
    let check = |text: &str, expected: Result<usize, &str>| {
        let found = parse_labels(text).map(|labels| labels[0].calls.len());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|error| *error), "{text}");
    };
    check(r#"{"a.wav": {"intent": "turn_on", "slots": {"room": "den"}}}"#, Ok(1));
    check(r#"{"a.wav": {"intent": "timer_left", "text": "how long?"}}"#, Ok(1));
    check(r#"{"a.wav": {"intent": null, "slots": {}}}"#, Ok(0));
    check(r#"{"a.wav": {"calls": []}}"#, Ok(0));
    check(r#"{"a.wav": {"calls": [{"intent": "a"}, {"intent": "b", "slots": null}]}}"#, Ok(2));
    check("{}", Err("names no clips"));
    check("[]", Err("must be an object of file to label"));
    check(r#"{"a.wav": "turn_on"}"#, Err("a.wav: must be an object with intent or calls"));
    check(r#"{"a.wav": {}}"#, Err("a.wav: has neither intent nor calls"));
    check(r#"{"a.wav": {"intent": "a", "calls": []}}"#, Err("a.wav: has both intent and calls"));
    check(r#"{"a.wav": {"intent": 5}}"#, Err("a.wav: intent must be a string"));
    check(r#"{"a.wav": {"calls": [{"intent": null}]}}"#, Err("a.wav: intent must be a string"));
    check(r#"{"a.wav": {"calls": {}}}"#, Err("a.wav: calls must be a list"));
    check(r#"{"a.wav": {"intent": "a", "slots": []}}"#, Err("a.wav: slots must be an object"));
    assert!(parse_labels("{").unwrap_err().starts_with("not JSON: "));
    let nine = [r#"{"intent": "a"}"#; 9].join(",");
    check(&format!(r#"{{"a.wav": {{"calls": [{nine}]}}}}"#), Err("a.wav: more than 8 calls"));
}

#[test]
fn percentiles() {
    let check = |values: &[f64], p50: Option<f64>, p95: Option<f64>| {
        assert_eq!((percentile(values, 50), percentile(values, 95)), (p50, p95), "{values:?}");
    };
    check(&[], None, None);
    check(&[3.0], Some(3.0), Some(3.0));
    check(&[1.0, 2.0], Some(1.0), Some(2.0));
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    check(&hundred, Some(50.0), Some(95.0));
}
