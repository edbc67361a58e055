//! A model that is told of a changed home, and one that is asked a question: on small random models, whose answers are
//! chance but always well-formed.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Once;

use hearth::dialogue::{Declared, Outcome, ReplyEvent, ToolCall, ToolResult, ToolSpec, TurnId};
use hearth::home::device::Device;
use hearth::home::house::{Degrees, declare};
use hearth::home::schema;
use hearth::model::generate::ModelConfig;
use hearth::model::{Gemma, ModelError, Respond, Start};
use hearth::onnx;
use serde_json::json;
use tempfile::TempDir;

mod models;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A model folder of the tests, as one that reads declarations.
fn reader(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    models::copy(&root().join("target/fixtures").join(name), dir.path(), &json!({"declares_tools": true}));
    dir
}

fn load(dir: &Path, told: &Declared) -> Gemma {
    static RUNTIME: Once = Once::new();
    RUNTIME.call_once(|| onnx::init(&root().join(".local/lib/libonnxruntime.so")).unwrap());
    let (dir, system) = (dir.to_path_buf(), told.system.clone());
    Gemma::load(ModelConfig { dir, max_tokens: 48, system, ..ModelConfig::default() }, &told.tools).unwrap()
}

/// What a small home declares: few tools, because the small vocabulary has a token for each letter.
fn home(lamps: &[&str]) -> Declared {
    let device = |name: &&str| Device {
        id: (*name).to_owned(),
        name: (*name).to_owned(),
        room: Some("den".to_owned()),
        kind: "lamp".to_owned(),
        ..Device::default()
    };
    let devices: Vec<Device> = lamps.iter().map(device).collect();
    let wanted = ["turn_on", "turn_off", "confirm", "deny"];
    let tools: Vec<ToolSpec> =
        declare::tools().into_iter().filter(|tool| wanted.contains(&tool.name.as_str())).collect();
    let system = format!("You help.{}", declare::overview(&devices));
    Declared { system, tools: declare::narrowed(&tools, &devices, Degrees::Celsius) }
}

/// A chirp that changes all the time.
fn sound(n: usize) -> Vec<f32> {
    let sample = |i: usize| {
        let t = i as f32 / 16_000.0;
        0.4 * (std::f32::consts::TAU * (150.0 * t + 220.0 * t * t)).sin() * (7.0 * t).sin()
    };
    (0..n).map(sample).collect()
}

fn reply(model: &mut Gemma, samples: usize, start: Start) -> Vec<ReplyEvent> {
    model.begin(TurnId(1), start).unwrap();
    model.hear(&sound(samples)).unwrap();
    model.draft().unwrap();
    let mut events = Vec::new();
    model.commit(&mut |event| events.push(event)).unwrap();
    events
}

fn replies(model: &mut Gemma) -> Vec<Vec<ReplyEvent>> {
    [4_000, 9_001, 16_000, 27_183].map(|samples| reply(model, samples, Start::Continue)).to_vec()
}

#[test]
fn a_home_that_changes_is_told_whole_or_not_at_all() {
    let (before, after) = (home(&["reading lamp", "floor lamp"]), home(&["reading lamp", "work lamp", "old lamp"]));
    for name in ["tiny-split-q8", "lookalike-fp32"] {
        let dir = reader(name);
        let mut model = load(dir.path(), &before);
        let (old, new) = (replies(&mut model), replies(&mut load(dir.path(), &after)));
        assert_ne!(old, new, "{name}: the prefix makes a difference");
        // Interrupted before anything, and after some of it.
        let interrupt = model.interrupt();
        interrupt.raise();
        assert!(matches!(model.declare(&after, &mut || ()), Err(ModelError::Interrupted)));
        interrupt.clear();
        assert_eq!(replies(&mut model), old, "{name}: nothing has changed");
        let mut blocks = 0;
        let mut alive = || {
            blocks += 1;
            interrupt.raise();
        };
        let result = model.declare(&after, &mut alive);
        assert!(matches!(result, Err(ModelError::Interrupted)), "{name}: {result:?} after {blocks} blocks");
        interrupt.clear();
        assert_eq!((blocks, replies(&mut model)), (1, old), "{name}: the old one serves");
        model.declare(&after, &mut || ()).unwrap();
        assert_eq!(replies(&mut model), new, "{name}: as if it had never known another");
        // What cannot be told leaves all as it is.
        let mut wrong = after.clone();
        wrong.tools.push(after.tools[0].clone());
        assert!(matches!(model.declare(&wrong, &mut || ()), Err(ModelError::Grammar(_))));
        let long = Declared { system: "word ".repeat(2_000), ..after.clone() };
        assert!(matches!(model.declare(&long, &mut || ()), Err(ModelError::Description { .. })));
        assert_eq!(replies(&mut model), new, "{name}: still");
    }
}

#[test]
fn the_answer_to_a_question_is_yes_or_no_or_nothing() {
    let yes_or_no = |tool: &ToolSpec| ["confirm", "deny"].contains(&tool.name.as_str());
    // The starter's own words for yes and no, and what else it says of a question, are left out.
    let mut starters = schema::load(&root().join("onnx/starter/tools.json")).unwrap();
    starters.retain(|tool| !yes_or_no(tool) && !["correct", "stop", "repeat"].contains(&tool.name.as_str()));
    let words = declare::tools().into_iter().filter(yes_or_no);
    let tools: Vec<ToolSpec> = starters.iter().cloned().chain(words).collect();
    let dir = root().join("target/fixtures/tiny-split-q8");
    let mut model = load(&dir, &Declared { system: String::new(), tools });
    // It has no word for yes, and decodes as always.
    let mut other = load(&dir, &Declared { system: String::new(), tools: starters });
    let (mut answers, mut others) = (0, 0);
    for samples in (1..40).map(|n| n * 1_111) {
        let called = |events: &[ReplyEvent]| {
            let calls = events.iter().filter_map(|event| match event {
                ReplyEvent::Call(call) => Some((call.name.clone(), call.margin)),
                _ => None,
            });
            calls.collect::<Vec<_>>()
        };
        let (free, asked) = (reply(&mut model, samples, Start::Continue), reply(&mut model, samples, Start::Answer));
        assert!(called(&asked).iter().all(|(name, _)| ["confirm", "deny"].contains(&name.as_str())), "{asked:?}");
        if let Some((name, margin)) = called(&asked).first() {
            // What would rather have been another call is a doubtful yes.
            let same = called(&free).first().is_some_and(|(first, _)| first == name);
            assert!(same || margin.is_some_and(|margin| margin < 0.0), "{name} {margin:?}, else {free:?}");
            answers += 1;
        }
        others += called(&free).iter().filter(|(name, _)| !["confirm", "deny"].contains(&name.as_str())).count();
        assert_eq!(reply(&mut other, samples, Start::Answer), reply(&mut other, samples, Start::Continue));
    }
    println!("{answers} answers; without the question {others} other calls");
    assert!(answers > 0 && others > 0);
}

/// A call that is doubtful is told with what it might have been, and what follows is as if nobody had looked.
#[test]
fn a_doubtful_call_has_a_rival() {
    let tools = schema::load(&root().join("onnx/starter/tools.json")).unwrap();
    let dir = root().join("target/fixtures/tiny-split-q8");
    let mut sure = load(&dir, &Declared { system: String::new(), tools: tools.clone() });
    let config = ModelConfig { dir, max_tokens: 48, min_margin: Some(100.0), ..ModelConfig::default() };
    let mut unsure = Gemma::load(config, &tools).unwrap();
    let result = |call: &ToolCall| {
        let (name, content) = (call.name.clone(), serde_json::Map::new());
        ToolResult { name, outcome: Outcome::Done, content, say: None, effect: None }
    };
    let mut rivals = 0;
    for samples in (1..30).map(|n| n * 1_111) {
        let (expected, found) = (reply(&mut sure, samples, Start::Fresh), reply(&mut unsure, samples, Start::Fresh));
        assert_eq!(found, expected, "the same is called");
        let calls: Vec<&ToolCall> = found
            .iter()
            .filter_map(|event| match event {
                ReplyEvent::Call(call) => Some(call),
                _ => None,
            })
            .collect();
        let [call] = calls.as_slice() else { continue };
        if let Some(rival) = &call.rival {
            assert_ne!(rival.as_ref(), *call);
            let spec = tools.iter().find(|tool| tool.name == rival.name).unwrap();
            schema::check(spec, &rival.arguments).unwrap();
            rivals += 1;
        }
        let after = [&mut sure, &mut unsure].map(|model| {
            model.settle(&[result(call)], "Done.").unwrap();
            reply(model, 7_000, Start::Continue)
        });
        assert_eq!(after[0], after[1], "the context is as if nobody had looked");
    }
    println!("{rivals} doubtful calls with another that they might have been");
    assert!(rivals > 0);
}
