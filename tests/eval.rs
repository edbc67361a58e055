//! A folder of labelled clips, evaluated from its `labels.json` to its figures.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

use hearth::dialogue::ToolCall;
use hearth::eval::{EvalError, Heard, run};
use serde_json::{Value, json};

#[test]
fn a_folder_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let unheard = |_: &Path| -> Result<Heard, String> { panic!("nothing may be heard") };
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
        let call = |slots: Value| ToolCall::new("turn_on", slots.as_object().unwrap().clone());
        let heard = |calls, latency_ms, margin| Ok(Heard { calls, latency_ms: Some(latency_ms), margin: Some(margin) });
        match path.file_name().and_then(|name| name.to_str()).unwrap() {
            "1.wav" => heard(vec![call(json!({"room": "den", "kind": "lamp"}))], 10.0, 0.25),
            "2.wav" => heard(vec![call(light)], 20.0, 2.5),
            "3.wav" => heard(vec![call(light)], 30.0, 0.5),
            "4.wav" => heard(vec![], 40.0, 3.5),
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
        (
            "curve",
            json!([
                {"share": 1.0, "margin": 0.25, "accuracy": 0.5},
                {"share": 0.75, "margin": 0.5, "accuracy": 2.0 / 3.0},
                {"share": 0.5, "margin": 2.5, "accuracy": 1.0},
            ]),
        ),
    ] {
        assert_eq!(json[key], expected, "{key}");
    }
    let missed: Vec<&str> = report.misses.iter().map(|miss| miss.file.as_str()).collect();
    assert_eq!(missed, ["1.wav", "3.wav", "5.wav"]);
    assert_eq!(report.misses[2].error.as_deref(), Some("not audio"));
    let table = report.to_string();
    assert!(table.contains("accuracy                  40.0 %\n"), "{table}");
    assert!(table.contains("false_calls               1 of 3\n"), "{table}");
    assert!(table.contains("answered 50 %            100.0 % right, margin 2.50\n"), "{table}");
    let light = r#"turn_on {"room":"den","kind":"light"}"#;
    let named: Vec<&str> = table.lines().filter(|line| line.contains(".wav")).collect();
    let expected = [
        "5.wav: expected nothing, could not be heard: not audio",
        &format!(r#"1.wav: expected {light}, called turn_on {{"room":"den","kind":"lamp"}}"#),
        r#"3.wav: expected nothing, called turn_on {"room":"Den","kind":"light"}"#,
    ];
    assert_eq!(named, expected);
}

#[test]
fn clips_without_sound_have_no_latency() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("labels.json"), r#"{"1.wav": {"intent": null}, "2.wav": {"intent": null}}"#)
        .unwrap();
    for name in ["1.wav", "2.wav"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let heard = |latency_ms| Heard { latency_ms, ..Heard::default() };
    let evaluate = |latencies: [Option<f64>; 2]| {
        let mut latencies = latencies.into_iter();
        let report = run(dir.path(), |_| Ok(heard(latencies.next().unwrap())), |_, _| ()).unwrap();
        assert_eq!(report.accuracy, 1.0);
        (report.latency_ms.p50, report.latency_ms.p95)
    };
    assert_eq!(evaluate([None, Some(80.0)]), (Some(80.0), Some(80.0)));
    assert_eq!(evaluate([None, None]), (None, None));
}

#[test]
fn at_most_twenty_misses_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<String> = (0..25).map(|number| format!("{number}.wav")).collect();
    let labels: serde_json::Map<String, Value> =
        files.iter().map(|file| (file.clone(), json!({"intent": "timer_left"}))).collect();
    std::fs::write(dir.path().join("labels.json"), Value::from(labels).to_string()).unwrap();
    for file in &files {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    let table = run(dir.path(), |_| Ok(Heard::default()), |_, _| ()).unwrap().to_string();
    assert_eq!(table.matches("expected timer_left {}, called nothing\n").count(), 20, "{table}");
    assert!(table.ends_with("and 5 more; --json names all\n"), "{table}");
}

/// `hearth eval` on the folder, with the configuration of the repository and a small model without training.
fn hearth_eval(dir: &Path, args: &[&str]) -> Output {
    hearth_eval_with("tiny-split-q8", dir, args)
}

fn hearth_eval_with(model: &str, dir: &Path, args: &[&str]) -> Output {
    let model = format!("target/fixtures/{model}\"");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = std::fs::read_to_string(root.join("config.toml")).unwrap();
    for (path, actual) in
        [(".local/lib", ".local/lib"), (".local/voice", ".local/voice"), ("onnx/starter\"", model.as_str())]
    {
        config = config.replace(&format!("\"{path}"), &format!("\"{}", root.join(actual).display()));
    }
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.current_dir(dir).arg("eval").arg(".").args(args).env_remove("HEARTH_LOG").output().unwrap()
}

#[test]
fn the_program_evaluates_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let clips = ["light-over-the-stove.flac", "pasta-timer-ten-minutes.flac"];
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples");
    for clip in clips {
        std::fs::copy(samples.join(clip), dir.path().join(clip)).unwrap();
    }
    let label = |minutes: u64| json!({"intent": "set_timer", "slots": {"minutes": minutes, "name": "pasta"}});
    let labels =
        json!({clips[0]: {"intent": "turn_on", "slots": {"kind": "light", "room": "stove"}}, clips[1]: label(10)});
    std::fs::write(dir.path().join("labels.json"), labels.to_string()).unwrap();

    let output = hearth_eval(dir.path(), &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["clips"], &report["failed"]), (&json!(2), &json!(0)), "{report}");
    assert!(report["latency_ms"]["p50"].as_f64().is_some_and(|ms| ms > 0.0), "{report}");

    std::fs::write(dir.path().join(clips[1]), "no sound").unwrap();
    let output = hearth_eval(dir.path(), &[]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("could not be heard             1\n"), "{table}");
    assert!(table.contains(&format!("\n{}: expected set_timer ", clips[1])), "{table}");
}

#[test]
fn eval_fails_when_no_clip_could_be_heard() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("1.wav"), "no sound").unwrap();
    std::fs::write(dir.path().join("labels.json"), r#"{"1.wav": {"intent": null}}"#).unwrap();
    let output = hearth_eval(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(70), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none of 1 clips could be heard"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1.wav: expected nothing, could not be heard: "));
}

/// Tasks in words, on a model without training: what is tried is the way from the folder to the figures.
#[test]
fn the_program_evaluates_tasks_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks");
    for name in ["home.json", "tasks.json"] {
        std::fs::copy(fixtures.join(name), dir.path().join(name)).unwrap();
    }
    let reading = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let report: Value =
        serde_json::from_str(&reading(hearth_eval_with("tiny-split-fp32", dir.path(), &["--json"]))).unwrap();
    assert_eq!((&report["sentences"], &report["failed"]), (&json!(9), &json!(0)), "{report}");
    assert_eq!(report["categories"]["light"]["sentences"], 4, "{report}");
    let misses = report["misses"].as_array().unwrap();
    let right = report["accuracy"].as_f64().unwrap() * 9.0;
    assert!((right + misses.len() as f64 - 9.0).abs() < 1e-6, "{report}");
    let table = reading(hearth_eval_with("tiny-split-fp32", dir.path(), &[]));
    assert!(table.contains("sentences                      9\n") && table.contains("\nquestions "), "{table}");
    std::fs::write(dir.path().join("tasks.json"), r#"[{"sentences": ["x"], "setup": {"light.den": {}}}]"#).unwrap();
    let output = hearth_eval_with("tiny-split-fp32", dir.path(), &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("home.json has no light.den"), "{output:?}");
}
