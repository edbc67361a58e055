//! The real vocabulary of Gemma 4: tokenisation vectors, the golden clip's prompt, and what constrained decoding costs.
//!
//! Needs what `scripts/fetch-vocab` leaves in `.local/gemma4`; without it every test says SKIPPED and passes.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use hearth::dialogue::{Kind, Parameter, ReplyEvent, Stop, ToolSpec};
use hearth::model::grammar::{Answers, Grammar};
use hearth::model::prompt::{self, Part};
use hearth::model::reply::ReplyParser;
use hearth::model::tokenizer::Tokenizer;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".local/gemma4")
}

/// Loaded once for all tests of this file.
fn vocabulary() -> Option<Tokenizer> {
    static WORDS: OnceLock<Option<Tokenizer>> = OnceLock::new();
    let load = || {
        let path = folder().join("tokenizer.json");
        if !path.exists() {
            return None;
        }
        let begin = Instant::now();
        let words = Tokenizer::load(&path).expect("the file that scripts/fetch-vocab made");
        println!("{} tokens loaded in {:?}", words.size(), begin.elapsed());
        Some(words)
    };
    let words = WORDS.get_or_init(load).clone();
    if words.is_none() {
        assert!(std::env::var_os("HEARTH_SLOW").is_none(), "scripts/test fetches the vocabulary for the slow tests");
        println!("SKIPPED: {} has no tokenizer.json; scripts/fetch-vocab makes it", folder().display());
    }
    words
}

#[test]
fn all_vectors_pass() {
    let Some(words) = vocabulary() else { return };
    let read = |name| std::fs::read_to_string(folder().join(name)).expect("fetched with the vocabulary");
    let (texts, ids) = (read("vectors.inp"), read("vectors.out"));
    // The marker stands on a line of its own after every text.
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<u32>> =
        ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().expect("an id")).collect()).collect();
    assert!(texts.len() >= ids.len() && ids.len() > 40, "{} texts, {} lines of ids", texts.len(), ids.len());
    for (text, ids) in texts.iter().zip(&ids) {
        assert_eq!(&words.encode(text), ids, "{text:?}");
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| words.piece(id).to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&bytes), *text);
    }
    println!("{} vectors", ids.len());
}

#[test]
fn the_golden_prompt_comes_out_exactly() {
    let Some(words) = vocabulary() else { return };
    let turn = prompt::user(&[Part::Audio(228), Part::Text("Transcribe this audio.")]);
    let ids = words.encode(&(prompt::prefix("", &[], false) + &turn + prompt::GENERATE));
    let mut expected = vec![2, 105, 2364, 107, 256000];
    expected.extend([258881; 228]);
    expected.extend([258883, 5183, 17038, 672, 9855, 236761, 106, 107, 105, 4368, 107]);
    assert_eq!(ids, expected);
    assert_eq!(ids.len(), 244);
}

fn tools() -> Vec<ToolSpec> {
    let choice = |n: usize| Kind::Choice((0..n).map(|i| format!("thing number {i}")).collect());
    let parameter = |name: &str, kind, required| Parameter { name: name.into(), kind, required };
    let tool =
        |name: &str, parameters| ToolSpec { name: name.into(), description: String::new(), parameters, schema: None };
    vec![
        tool("turn_on", vec![parameter("kind", choice(5), true), parameter("room", choice(40), false)]),
        tool("turn_off", vec![parameter("kind", choice(5), true), parameter("room", choice(40), false)]),
        tool(
            "set_brightness",
            vec![
                parameter("kind", choice(5), true),
                parameter("percent", Kind::Integer { min: 0, max: 100 }, true),
                parameter("room", choice(40), false),
            ],
        ),
        tool(
            "add_item",
            vec![
                parameter("item", Kind::Text, true),
                parameter("celsius", Kind::Number { min: 5.0, max: 30.0 }, false),
            ],
        ),
    ]
}

#[test]
fn replies_under_the_grammar() {
    let Some(words) = vocabulary() else { return };
    let tools = tools();
    let begin = Instant::now();
    let grammar = Grammar::compile(&words, &tools, Answers::Text).expect("compiles");
    println!("grammar compiled in {:?}", begin.elapsed());
    let replies = [
        "<|tool_call>call:set_brightness{kind:<|\"|>thing number 3<|\"|>,percent:47,room:<|\"|>thing number 12<|\"|>}<tool_call|><|tool_response>",
        "<|tool_call>call:add_item{celsius:21.5,item:<|\"|>Gurken \u{1f952} und {mehr}<|\"|>}<tool_call|><|tool_response>",
        "<|tool_call>call:turn_on{kind:<|\"|>thing number 1<|\"|>}<tool_call|><|tool_call>call:turn_off{kind:<|\"|>thing number 2<|\"|>}<tool_call|><|tool_response>",
        "The light in the living room is on now.<turn|>",
    ];
    for round in 0..2 {
        let (mut masks, mut worst, mut spent, mut forced) = (0, 0.0f64, 0.0f64, 0);
        for reply in replies {
            let ids = words.encode(reply);
            let begin = Instant::now();
            let mut decoding = grammar.start();
            println!("start {:?}", begin.elapsed());
            let mut done = 0;
            while done < ids.len() {
                let begin = Instant::now();
                let next = decoding.forced();
                let mut micros = begin.elapsed().as_secs_f64() * 1e6;
                let step = if next.is_empty() {
                    let begin = Instant::now();
                    let mask = decoding.mask().expect("a mask");
                    micros += begin.elapsed().as_secs_f64() * 1e6;
                    assert!(mask.is_allowed(ids[done]), "{reply} at {done}");
                    vec![ids[done]]
                } else {
                    forced += next.len();
                    assert_eq!(words.show(&next), words.show(&ids[done..done + next.len()]), "{reply}");
                    next
                };
                masks += 1;
                spent += micros;
                worst = worst.max(micros);
                for &token in &step {
                    decoding.accept(token).expect("allowed");
                }
                done += step.len();
            }
            assert!(decoding.finished(), "{reply}");
            let mut parser = ReplyParser::new(&words);
            let mut events: Vec<ReplyEvent> = ids.iter().flat_map(|&id| parser.push(id)).collect();
            events.extend(parser.finish(Stop::EndOfTurn));
            assert!(events.iter().all(|e| !matches!(e, ReplyEvent::Malformed { .. })), "{events:?}");
        }
        println!(
            "round {round}: {masks} masks, mean {:.0} us, worst {worst:.0} us, {forced} tokens forced",
            spent / f64::from(masks)
        );
    }
}
