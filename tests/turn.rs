//! Whole turns of the model through its interface: drafts, resumes, rounds, history. On small random models, whose
//! answers are chance but always well-formed.

use std::path::PathBuf;
use std::sync::Once;
use std::sync::mpsc::sync_channel;

use hearth::conversation::Job;
use hearth::dialogue::{Drafted, Outcome, ReplyEvent, Stop, ToolCall, ToolResult, ToolSpec, TurnId};
use hearth::home::schema;
use hearth::infer::{self, Report, Worker};
use hearth::model::generate::ModelConfig;
use hearth::model::{Gemma, ModelError, Respond, Start};
use hearth::onnx;
use hearth::threads::Pulse;
use serde_json::Map;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tools() -> Vec<ToolSpec> {
    schema::load(&root().join("onnx/starter/tools.json")).expect("the starter's tools load")
}

fn load(name: &str) -> Gemma {
    load_with(name, &tools())
}

fn load_with(name: &str, tools: &[ToolSpec]) -> Gemma {
    load_bounded(name, tools, 48)
}

fn load_bounded(name: &str, tools: &[ToolSpec], max_tokens: usize) -> Gemma {
    static RUNTIME: Once = Once::new();
    RUNTIME.call_once(|| {
        onnx::init(&root().join(".local/lib/libonnxruntime.so")).expect("scripts/setup installs ONNX Runtime");
    });
    let dir = root().join("target/fixtures").join(name);
    let config = ModelConfig { dir, max_tokens, ..ModelConfig::default() };
    Gemma::load(config, tools).expect("scripts/setup builds the fixtures")
}

/// A chirp that changes all the time, so that every row differs.
fn sound(n: usize) -> Vec<f32> {
    let sample = |i: usize| {
        let t = i as f32 / 16_000.0;
        0.4 * (std::f32::consts::TAU * (150.0 * t + 220.0 * t * t)).sin() * (7.0 * t).sin()
    };
    (0..n).map(sample).collect()
}

fn commit(model: &mut Gemma) -> Vec<ReplyEvent> {
    let mut events = Vec::new();
    model.commit(&mut |event| events.push(event)).expect("the model answers");
    events
}

/// The batch case: everything is heard, then drafted and committed.
fn batch(model: &mut Gemma, samples: &[f32], start: Start) -> Vec<ReplyEvent> {
    model.begin(TurnId(1), start).expect("a turn begins");
    model.hear(samples).expect("it is heard");
    model.draft().expect("it drafts");
    commit(model)
}

/// The reply to the last, token by token: those that were chosen, how many there were, and how many the grammar forced.
fn tokens(model: &Gemma) -> (Vec<u32>, usize, usize) {
    let times = model.timeline();
    (model.choices().iter().map(|choice| choice.token).collect(), times.tokens, times.forced_tokens)
}

#[test]
fn a_resumed_draft_equals_hearing_it_all_at_once() {
    check_resume(&mut load("tiny-split-fp32"));
}

/// A published folder has the whole encoder only.
#[test]
fn a_resumed_draft_equals_hearing_it_all_at_once_in_a_published_folder() {
    check_resume(&mut load_with("lookalike-fp32", &tools()[4..5]));
}

fn check_resume(model: &mut Gemma) {
    // No length is a multiple of a row (640 samples), but for two that are, and the shortest has no whole row.
    for cuts in [vec![700, 16_123], vec![15_999, 16_000, 16_001, 20_480], vec![5_000, 9_999, 15_360, 31_313]] {
        let all = sound(*cuts.last().expect("a length"));
        let expected = (batch(model, &all, Start::Fresh), tokens(model));
        assert!(!expected.1.0.is_empty(), "something is chosen");
        model.begin(TurnId(2), Start::Fresh).expect("a turn begins");
        let mut from = 0;
        for (i, &to) in cuts.iter().enumerate() {
            model.hear(&all[from..to]).expect("it is heard");
            from = to;
            if i + 1 < cuts.len() {
                model.draft().expect("it drafts");
                for _ in 0..=i {
                    model.advance().expect("it decodes");
                }
                // Part of what follows arrives while the draft stands.
                let queued = (to + 333).min(cuts[i + 1]);
                model.hear(&all[from..queued]).expect("it is queued");
                from = queued;
                model.resume().expect("it resumes");
            }
        }
        model.draft().expect("it drafts");
        assert_eq!((commit(model), tokens(model)), expected, "{cuts:?}");
    }
}

#[test]
fn a_streamed_turn_equals_a_batch_however_it_is_cut() {
    check_streamed(&mut load("tiny-split-fp32"));
}

#[test]
fn a_streamed_turn_equals_a_batch_in_a_published_folder() {
    check_streamed(&mut load_with("lookalike-fp32", &tools()[4..5]));
}

fn check_streamed(model: &mut Gemma) {
    let mut state = 7_u32;
    let mut below = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % n
    };
    for round in 0..12 {
        let all = sound(3_000 + below(45_000));
        let expected = (batch(model, &all, Start::Fresh), tokens(model));
        assert!(!expected.1.0.is_empty(), "something is chosen");
        model.begin(TurnId(2), Start::Fresh).expect("a turn begins");
        // From single samples' worth of time to 50 rows in one piece.
        let longest = [100, 641, 5_000, 32_000][round % 4];
        // As many drafts as come of it: up to some dozens.
        let one_in = [20, 6, 2, 1][round % 4];
        let mut rest = all.as_slice();
        let mut drafts = 0;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + below(longest)).min(rest.len()));
            model.hear(piece).expect("it is heard");
            rest = after;
            if !rest.is_empty() && below(one_in) == 0 {
                drafts += 1;
                model.draft().expect("it drafts");
                for _ in 0..below(4) {
                    model.advance().expect("it decodes");
                }
                model.resume().expect("it resumes");
            }
        }
        model.draft().expect("it drafts");
        println!("round {round}: {} samples, {drafts} drafts, {} tokens", all.len(), expected.1.1);
        assert_eq!((commit(model), tokens(model)), expected, "round {round}, {} samples, {drafts} drafts", all.len());
    }
}

#[test]
fn a_committed_draft_drops_what_was_queued() {
    let mut model = load("tiny-split-fp32");
    let all = sound(20_000);
    let expected = batch(&mut model, &all[..12_345], Start::Fresh);
    model.begin(TurnId(2), Start::Fresh).expect("a turn begins");
    model.hear(&all[..12_345]).expect("it is heard");
    model.draft().expect("it drafts");
    while model.advance().expect("it decodes") {}
    model.hear(&all[12_345..]).expect("it is queued");
    assert_eq!(commit(&mut model), expected);
    let t = model.timeline();
    assert_eq!((t.drafts, t.drafted_tokens, t.drafted_forced_tokens), (1, t.tokens, t.forced_tokens));
}

#[test]
fn the_timeline_tells_what_was_done_when() {
    let mut model = load("tiny-split-q8");
    let all = sound(30_000);
    model.begin(TurnId(2), Start::Fresh).expect("a turn begins");
    model.hear(&all[..20_000]).expect("it is heard");
    assert!(model.timeline().while_heard_ms > 0.0, "rows are taken in while it hears");
    model.draft().expect("it drafts");
    while model.advance().expect("it decodes") {}
    model.resume().expect("it resumes");
    model.hear(&all[20_000..]).expect("it is heard");
    model.draft().expect("it drafts");
    let choices = model.choices().len();
    assert!(model.advance().expect("it decodes"));
    assert_eq!(model.choices().len(), choices + 1);
    commit(&mut model);
    let t = model.timeline();
    assert!(t.dropped_ms > 0.0);
    assert_eq!(t.drafts, 2);
    // What the dropped draft wrote is not counted: one choice and what it forced stood when the turn was committed.
    assert_eq!(t.drafted_tokens, 1 + t.drafted_forced_tokens);
    assert!(t.tokens <= 48 && t.drafted_tokens <= t.tokens);
    assert_eq!(model.choices().len(), t.tokens - t.forced_tokens);
}

#[test]
fn every_layout_answers_the_same() {
    let samples = sound(30_001);
    let answers: Vec<Vec<ReplyEvent>> = ["tiny-split-fp32", "tiny-merged-fp32", "tiny-merged-in-place"]
        .iter()
        .map(|name| batch(&mut load(name), &samples, Start::Fresh))
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn random_weights_give_valid_calls_or_none() {
    let specs: Vec<ToolSpec> = tools().into_iter().filter(|tool| tool.name.ends_with("timer")).collect();
    let mut called = 0;
    for name in ["tiny-split-q8", "tiny-split-q4", "lookalike-q4"] {
        let mut model = load_with(name, &specs);
        for n in [4_000, 9_001, 16_000, 27_183] {
            let events = batch(&mut model, &sound(n), Start::Fresh);
            assert!(matches!(events.last(), Some(ReplyEvent::End(_))), "{events:?}");
            for event in &events {
                match event {
                    ReplyEvent::Call(call) => {
                        let spec = specs.iter().find(|spec| spec.name == call.name).expect("a known tool");
                        schema::check(spec, &call.arguments).expect("arguments that fit");
                        called += 1;
                    }
                    // Only a reply that ran into its bound may hold half a call.
                    ReplyEvent::Malformed { .. } => {
                        assert_eq!(events.last(), Some(&ReplyEvent::End(Stop::TokenLimit)), "{events:?}");
                    }
                    ReplyEvent::Text(_) | ReplyEvent::End(_) => {}
                }
            }
        }
    }
    println!("{called} calls");
    assert!(called > 0, "these models only call");
}

#[test]
fn a_model_that_is_biased_towards_silence_calls_nothing() {
    let source = root().join("target/fixtures/tiny-split-q8");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("onnx")).expect("it is made");
    for file in ["", "onnx"].iter().flat_map(|sub| std::fs::read_dir(source.join(sub)).expect("a folder").flatten()) {
        let path = file.path();
        let name = path.strip_prefix(&source).expect("it lies there");
        if path.is_file() {
            std::fs::copy(&path, dir.path().join(name)).expect("it is copied");
        }
    }
    let shortest: Vec<ToolSpec> = tools().into_iter().filter(|tool| tool.name == "cancel_timer").collect();
    let calls = |bias: f32| {
        let path = dir.path().join("manifest.json");
        let text = std::fs::read_to_string(&path).expect("a manifest");
        let mut manifest: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        manifest["phrases"] = false.into();
        manifest["quiet_bias"] = bias.into();
        std::fs::write(&path, manifest.to_string()).expect("it is written");
        let mut model = load_bounded(&dir.path().display().to_string(), &shortest, 256);
        batch(&mut model, &sound(20_000), Start::Fresh).iter().any(|event| matches!(event, ReplyEvent::Call(_)))
    };
    assert!(calls(-1e4), "a call had to come");
    assert!(!calls(1e4), "no call was to come");
}

#[test]
fn a_rehearsal_leaves_no_trace() {
    let model = &mut load("tiny-split-fp32");
    let all = sound(16_000);
    let expected = (batch(model, &all, Start::Fresh), tokens(model));
    let (prefill, decode) = model.rehearse(40, 3).expect("there is room");
    assert!(!prefill.is_zero() && !decode.is_zero());
    assert!(matches!(model.rehearse(1_000_000, 1), Err(ModelError::ContextFull { .. })));
    assert_eq!((batch(model, &all, Start::Fresh), tokens(model)), expected);
}

#[test]
fn a_settled_turn_is_known_to_the_next_and_a_cancelled_one_is_not() {
    // Calls end by themselves if they may be long enough: only what ended is remembered.
    let mut model = load_bounded("tiny-split-q8", &tools(), 400);
    let first = sound(11_111);
    let seconds: Vec<Vec<f32>> = (1..=6).map(|n| sound(n * 5_555)).collect();
    let alone: Vec<_> = seconds.iter().map(|second| batch(&mut model, second, Start::Fresh)).collect();
    let result =
        ToolResult { name: "turn_on".into(), outcome: Outcome::Done, content: Map::new(), say: None, effect: None };
    let mut answers = [Vec::new(), Vec::new()];
    for (second, alone) in seconds.iter().zip(&alone) {
        batch(&mut model, &first, Start::Fresh);
        model.cancel().expect("it is forgotten");
        assert_eq!(&batch(&mut model, second, Start::Continue), alone, "cancelled");

        batch(&mut model, &first, Start::Fresh);
        assert_eq!(&batch(&mut model, second, Start::Continue), alone, "not settled");

        for answers in &mut answers {
            let events = batch(&mut model, &first, Start::Fresh);
            assert_eq!(events.last(), Some(&ReplyEvent::End(Stop::AwaitsTools)), "the first turn calls");
            model.settle(std::slice::from_ref(&result), "The light is on.").expect("it is settled");
            answers.push(batch(&mut model, second, Start::Continue));
        }
        assert_eq!(&batch(&mut model, second, Start::Fresh), alone, "afresh");
    }
    assert_eq!(answers[0], answers[1], "the same history gives the same answers");
    assert_ne!(answers[0], alone, "history makes a difference");
}

#[test]
fn results_are_answered_in_the_same_turn() {
    let mut model = load("tiny-split-fp32");
    batch(&mut model, &sound(8_000), Start::Fresh);
    let result =
        ToolResult { name: "turn_on".into(), outcome: Outcome::Failed, content: Map::new(), say: None, effect: None };
    let mut events = Vec::new();
    model.answer(&[result], &mut |event| events.push(event)).expect("it goes on");
    assert!(matches!(events.last(), Some(ReplyEvent::End(_))));
}

#[test]
fn an_interrupt_ends_a_turn_and_the_next_one_works() {
    let mut model = load("tiny-split-fp32");
    let samples = sound(16_000);
    let expected = batch(&mut model, &samples, Start::Fresh);
    let interrupt = model.interrupt();
    model.begin(TurnId(2), Start::Fresh).expect("a turn begins");
    model.hear(&samples).expect("it is heard");
    model.draft().expect("it drafts");
    interrupt.raise();
    let mut events = Vec::new();
    let error = model.commit(&mut |event| events.push(event)).expect_err("it is interrupted");
    assert!(matches!(error, ModelError::Interrupted));
    assert_eq!(events, [ReplyEvent::End(Stop::Cancelled)]);
    interrupt.clear();
    model.cancel().expect("it is forgotten");
    assert_eq!(batch(&mut model, &samples, Start::Fresh), expected);
}

#[test]
fn calls_out_of_order_are_errors_not_panics() {
    let mut model = load("tiny-split-fp32");
    let check = |result: Result<(), ModelError>| assert!(matches!(result, Err(ModelError::OutOfOrder(_))));
    check(model.hear(&[0.0]));
    check(model.draft());
    check(model.resume());
    check(model.commit(&mut |_| {}));
    model.begin(TurnId(1), Start::Fresh).expect("a turn begins");
    check(model.draft());
    check(model.resume());
    model.hear(&sound(1000)).expect("it is heard");
    model.draft().expect("it drafts");
    check(model.draft());
    commit(&mut model);
    check(model.resume());
}

/// What the inference thread reports of these jobs, without the times.
fn reports(name: &str, interrupted: bool, jobs: &[(u64, Job)]) -> Vec<Report> {
    let mut model = load(name);
    let interrupt = model.interrupt();
    let (send, receive) = sync_channel(jobs.len());
    for (turn, job) in jobs {
        send.send((TurnId(*turn), job.clone())).expect("there is room");
    }
    drop(send);
    if interrupted {
        interrupt.raise();
    }
    let mut found = Vec::new();
    infer::run(&mut model, &interrupt, &Pulse::default(), &receive, &mut |report| {
        if !matches!(report, Report::Times(..) | Report::Drafted(..)) {
            found.push(report);
        }
    });
    found
}

#[test]
fn what_was_heard_is_written_down_in_words_and_leaves_no_trace() {
    let turn = |turn: u64, samples: usize| {
        let settle = Job::Settle { results: Vec::new(), said: "It is on.".into() };
        let jobs = [Job::Begin(Start::Continue), Job::Hear(sound(samples)), Job::Draft(0), Job::Commit, settle];
        jobs.map(|job| (turn, job)).to_vec()
    };
    let asked = vec![(1, Job::Transcribe(sound(30_000)))];
    let without = reports("tiny-split-fp32", false, &[turn(1, 30_000), turn(2, 24_000)].concat());
    let mut with = reports("tiny-split-fp32", false, &[turn(1, 30_000), asked.clone(), turn(2, 24_000)].concat());
    let at = with.iter().position(|report| matches!(report, Report::Transcript(..))).expect("it was asked");
    let Report::Transcript(of, words, again) = with.remove(at) else { panic!("it was found") };
    println!("it heard {words:?}");
    assert!(of == TurnId(1) && words.is_some() && !again);
    assert_eq!(with, without);

    // It gives way to a turn that begins, and is asked again; one that cannot write is not.
    assert_eq!(reports("tiny-split-fp32", true, &asked), [Report::Transcript(TurnId(1), None, true)]);
    let deaf = reports("tiny-split-q8", false, &[asked.clone(), turn(2, 24_000)].concat());
    assert_eq!(deaf[0], Report::Transcript(TurnId(1), None, false));
    assert!(matches!(deaf.last(), Some(Report::Reply(TurnId(2), ReplyEvent::End(_)))), "{deaf:?}");
}

/// What a draft comes to is reported once it is whole, with the number of its pause, and nothing of it is released before
/// the commit. A pause that is told again is heard to its new end.
#[test]
fn a_draft_says_what_it_comes_to_and_releases_nothing() {
    drop(load("tiny-split-fp32"));
    let dir = root().join("target/fixtures/tiny-split-fp32");
    let config = ModelConfig { dir, max_tokens: 400, one_call: true, ..ModelConfig::default() };
    let mut model = Gemma::load(config, &tools()).expect("scripts/setup builds the fixtures");
    let all = sound(24_000);
    let calls = |events: &[ReplyEvent]| -> Vec<ToolCall> {
        let call = |event: &ReplyEvent| if let ReplyEvent::Call(call) = event { Some(call.clone()) } else { None };
        events.iter().filter_map(call).collect()
    };
    let expected: Vec<Vec<ToolCall>> =
        [16_000, 20_000].iter().map(|&n| calls(&batch(&mut model, &all[..n], Start::Fresh))).collect();
    assert!(expected.iter().all(|calls| !calls.is_empty()), "this model calls: {expected:?}");
    let (interrupt, pulse) = (model.interrupt(), Pulse::default());
    let mut worker = Worker::new(&mut model, &interrupt, &pulse);
    let mut reports = Vec::new();
    let mut step = |jobs: Vec<Job>| {
        jobs.into_iter().for_each(|job| worker.job(TurnId(5), job, &mut |r| reports.push(r)).expect("it is done"));
        while worker.is_drafting() {
            worker.advance(&mut |report| reports.push(report)).expect("it decodes");
        }
        std::mem::take(&mut reports)
    };
    let begun = step(vec![Job::Begin(Start::Fresh), Job::Hear(all[..16_000].to_vec()), Job::Draft(7)]);
    assert_eq!(begun, [Report::Drafted(TurnId(5), 7, Drafted::Calls(expected[0].clone()))]);
    let again = step(vec![Job::Hear(all[16_000..20_000].to_vec()), Job::Resume, Job::Draft(8)]);
    assert_eq!(again, [Report::Drafted(TurnId(5), 8, Drafted::Calls(expected[1].clone()))]);
    let committed = step(vec![Job::Hear(all[20_000..].to_vec()), Job::Commit]);
    let told: Vec<ReplyEvent> = committed
        .into_iter()
        .filter_map(|report| if let Report::Reply(TurnId(5), event) = report { Some(event) } else { None })
        .collect();
    assert_eq!(calls(&told), expected[1]);
}
