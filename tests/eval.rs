//! A folder of labelled clips, evaluated from its `labels.json` to its figures.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;

use hearth::dialogue::ToolCall;
use hearth::eval::{EvalError, run};
use serde_json::{Value, json};

#[test]
fn a_folder_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let unheard = |_: &Path| -> Result<(Vec<ToolCall>, f64), String> { panic!("nothing may be heard") };
    let error = run(dir.path(), unheard, |_, _| ()).unwrap_err();
    assert!(matches!(error, EvalError::Unreadable { .. }) && error.to_string().contains("labels.json"));
    write("labels.json", "{");
    assert!(matches!(run(dir.path(), unheard, |_, _| ()), Err(EvalError::BadLabels { .. })));
    write(
        "labels.json",
        r#"{"1.wav": {"intent": "turn_on", "slots": {"room": "den", "kind": "light"}},
            "2.wav": {"intent": "turn_on", "slots": {"room": "den"}},
            "3.wav": {"intent": null}, "4.wav": {"calls": []}, "5.wav": {"calls": []}}"#,
    );
    for name in ["1.wav", "2.wav", "4.wav"] {
        write(name, "");
    }
    let error = run(dir.path(), unheard, |_, _| ()).unwrap_err();
    assert!(error.to_string().ends_with("2 of the labelled clips are missing: 3.wav, 5.wav"), "{error}");
    write("3.wav", "");
    write("5.wav", "");

    let mut seen = Vec::new();
    let hear = |path: &Path| {
        let light = json!({"room": "Den", "kind": "light"});
        let call =
            |slots: Value| ToolCall { name: "turn_on".to_owned(), arguments: slots.as_object().unwrap().clone() };
        match path.file_name().and_then(|name| name.to_str()).unwrap() {
            "1.wav" => Ok((vec![call(json!({"room": "den", "kind": "lamp"}))], 10.0)),
            "2.wav" => Ok((vec![call(light)], 20.0)),
            "3.wav" => Ok((vec![call(light)], 30.0)),
            "4.wav" => Ok((vec![], 40.0)),
            _ => Err("not audio".to_owned()),
        }
    };
    let report = run(dir.path(), hear, |done, of| seen.push((done, of))).unwrap();
    assert_eq!(seen, [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
    let json = serde_json::to_value(&report).unwrap();
    for (key, expected) in [
        ("clips", json!(5)),
        ("accuracy", json!(0.4)),
        ("accuracy_strict", json!(0.2)),
        ("false_calls", json!(1)),
        ("false_call_share", json!(1.0 / 3.0)),
        ("no_call_clips", json!(3)),
        ("per_argument", json!({"kind": 0.0, "room": 1.0})),
        ("latency_ms", json!({"p50": 20.0, "p95": 40.0})),
        ("failed", json!(1)),
    ] {
        assert_eq!(json[key], expected, "{key}");
    }
    let missed: Vec<&str> = report.misses.iter().map(|miss| miss.file.as_str()).collect();
    assert_eq!(missed, ["1.wav", "3.wav", "5.wav"]);
    assert_eq!(report.misses[2].error.as_deref(), Some("not audio"));
    let table = report.to_string();
    assert!(table.contains("accuracy                  40.0 %\n"), "{table}");
    assert!(table.contains("false_calls               1 of 3\n"), "{table}");
}
