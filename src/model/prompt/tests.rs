//! Renderings of Google's canonical template of 2026-07-09, which the pieces of a prompt must add up to.

use super::*;
use crate::dialogue::Outcome;

const SYSTEM: &str = "You are a kitchen voice assistant.";

fn tool(name: &str, description: &str, schema: Option<Value>) -> ToolSpec {
    ToolSpec { name: name.into(), description: description.into(), parameters: Vec::new(), schema }
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall::new(name, map(arguments))
}

fn result(name: &str, content: Value) -> ToolResult {
    ToolResult { name: name.into(), outcome: Outcome::Done, content: map(content), say: None, effect: None }
}

/// `expected` is the template's own output, in which one `<|audio|>` stands for all of the sound; the processor widens it.
fn check(pieces: &[String], expected: &str) {
    let expected = expected.replace(AUDIO_ROW, "<|audio><|audio|><audio|>");
    assert_eq!(pieces.concat(), expected);
}

fn spoken() -> String {
    user(&[Part::Audio(1)]) + GENERATE
}

fn timer() -> String {
    calls(&[call(
        "set_timer",
        json!({"minutes": 5, "opts": {"x": null, "loud": true}, "label": "pasta", "days": ["mon", "tue"]}),
    )])
}

#[test]
fn tools_and_audio() {
    let schema = json!({
        "type": "object",
        "properties": {
            "mode": {"type": "string", "description": "Mode", "enum": ["once", "repeat"]},
            "minutes": {"type": "number", "description": "Length in minutes"},
            "label": {"type": "string", "description": "Name"},
            "days": {"type": "array", "description": "Days", "items": {"type": "string"}},
        },
        "required": ["minutes"],
    });
    let tools = [
        tool("set_timer", "Start a timer", Some(schema)),
        tool("get_time", "Current time", Some(json!({"type": "object", "properties": {}}))),
        tool("stop", "Stop", None),
    ];
    check(
        &[prefix(SYSTEM, &tools, false), spoken()],
        "<bos><|turn>system\nYou are a kitchen voice assistant.<|tool>declaration:set_timer{description:<|\"|>Start a timer<|\"|>,parameters:{properties:{days:{description:<|\"|>Days<|\"|>,items:{type:<|\"|>STRING<|\"|>},type:<|\"|>ARRAY<|\"|>},label:{description:<|\"|>Name<|\"|>,type:<|\"|>STRING<|\"|>},minutes:{description:<|\"|>Length in minutes<|\"|>,type:<|\"|>NUMBER<|\"|>},mode:{description:<|\"|>Mode<|\"|>,enum:[<|\"|>once<|\"|>,<|\"|>repeat<|\"|>],type:<|\"|>STRING<|\"|>}},required:[<|\"|>minutes<|\"|>],type:<|\"|>OBJECT<|\"|>}}<tool|><|tool>declaration:get_time{description:<|\"|>Current time<|\"|>,parameters:{type:<|\"|>OBJECT<|\"|>}}<tool|><|tool>declaration:stop{description:<|\"|>Stop<|\"|>}<tool|><turn|>\n<|turn>user\n<|audio|><turn|>\n<|turn>model\n",
    );
}

#[test]
fn text_then_audio() {
    let turn = user(&[Part::Text(" Answer the spoken request. "), Part::Audio(1)]);
    check(
        &[prefix(SYSTEM, &[], false), turn, GENERATE.into()],
        "<bos><|turn>system\nYou are a kitchen voice assistant.<turn|>\n<|turn>user\nAnswer the spoken request.<|audio|><turn|>\n<|turn>model\n",
    );
}

#[test]
fn a_call_without_and_with_its_response() {
    let begin = prefix(SYSTEM, &[], false) + &spoken();
    check(
        &[begin.clone(), timer(), "<|tool_response>".into()],
        "<bos><|turn>system\nYou are a kitchen voice assistant.<turn|>\n<|turn>user\n<|audio|><turn|>\n<|turn>model\n<|tool_call>call:set_timer{days:[<|\"|>mon<|\"|>,<|\"|>tue<|\"|>],label:<|\"|>pasta<|\"|>,minutes:5,opts:{loud:true,x:null}}<tool_call|><|tool_response>",
    );
    let results = [result("set_timer", json!({"value": "ok, ends 18:05"}))];
    let expected = "<bos><|turn>system\nYou are a kitchen voice assistant.<turn|>\n<|turn>user\n<|audio|><turn|>\n<|turn>model\n<|tool_call>call:set_timer{days:[<|\"|>mon<|\"|>,<|\"|>tue<|\"|>],label:<|\"|>pasta<|\"|>,minutes:5,opts:{loud:true,x:null}}<tool_call|><|tool_response>response:set_timer{value:<|\"|>ok, ends 18:05<|\"|>}<tool_response|>";
    check(&[begin.clone(), timer(), responses(&results, false)], expected);
    let opened = "<|tool_response>".to_owned() + &responses(&results, true);
    check(&[begin, timer(), opened], expected);
}

#[test]
fn a_response_with_thinking_on() {
    check(
        &[
            prefix(SYSTEM, &[], true),
            spoken(),
            timer(),
            responses(&[result("set_timer", json!({"value": "ok, ends 18:05"}))], false),
            THOUGHT.into(),
        ],
        "<bos><|turn>system\n<|think|>\nYou are a kitchen voice assistant.<turn|>\n<|turn>user\n<|audio|><turn|>\n<|turn>model\n<|tool_call>call:set_timer{days:[<|\"|>mon<|\"|>,<|\"|>tue<|\"|>],label:<|\"|>pasta<|\"|>,minutes:5,opts:{loud:true,x:null}}<tool_call|><|tool_response>response:set_timer{value:<|\"|>ok, ends 18:05<|\"|>}<tool_response|><|channel>thought\n",
    );
}

#[test]
fn the_final_answer_and_the_next_turn() {
    check(
        &[
            prefix(SYSTEM, &[], false),
            spoken(),
            timer(),
            responses(&[result("set_timer", json!({"value": "ok, ends 18:05"}))], false),
            said("Timer set."),
            user(&[Part::Text("thanks")]),
            GENERATE.into(),
        ],
        "<bos><|turn>system\nYou are a kitchen voice assistant.<turn|>\n<|turn>user\n<|audio|><turn|>\n<|turn>model\n<|tool_call>call:set_timer{days:[<|\"|>mon<|\"|>,<|\"|>tue<|\"|>],label:<|\"|>pasta<|\"|>,minutes:5,opts:{loud:true,x:null}}<tool_call|><|tool_response>response:set_timer{value:<|\"|>ok, ends 18:05<|\"|>}<tool_response|>Timer set.<turn|>\n<|turn>user\nthanks<turn|>\n<|turn>model\n",
    );
}

#[test]
fn several_calls() {
    check(
        &[
            prefix("", &[], false),
            spoken(),
            calls(&[call("a", json!({"k": "v"})), call("b", json!({}))]),
            responses(&[result("a", json!({"value": "ok"})), result("b", json!({"value": "done"}))], false),
        ],
        "<bos><|turn>user\n<|audio|><turn|>\n<|turn>model\n<|tool_call>call:a{k:<|\"|>v<|\"|>}<tool_call|><|tool_call>call:b{}<tool_call|><|tool_response>response:a{value:<|\"|>ok<|\"|>}<tool_response|><|tool_response>response:b{value:<|\"|>done<|\"|>}<tool_response|>",
    );
}

#[test]
fn a_plain_prior_turn_and_thinking() {
    check(
        &[
            prefix("", &[], false),
            user(&[Part::Text("hi")]),
            GENERATE.into(),
            said("hello"),
            user(&[Part::Text("more")]),
            GENERATE.into(),
        ],
        "<bos><|turn>user\nhi<turn|>\n<|turn>model\nhello<turn|>\n<|turn>user\nmore<turn|>\n<|turn>model\n",
    );
    check(
        &[prefix(SYSTEM, &[], true), spoken()],
        "<bos><|turn>system\n<|think|>\nYou are a kitchen voice assistant.<turn|>\n<|turn>user\n<|audio|><turn|>\n<|turn>model\n",
    );
}

#[test]
fn a_response_that_is_a_mapping() {
    check(
        &[
            prefix("", &[], false),
            spoken(),
            timer(),
            responses(&[result("set_timer", json!({"status": "ok", "nested": {"b": 1, "A": "x"}, "n": 2}))], false),
        ],
        "<bos><|turn>user\n<|audio|><turn|>\n<|turn>model\n<|tool_call>call:set_timer{days:[<|\"|>mon<|\"|>,<|\"|>tue<|\"|>],label:<|\"|>pasta<|\"|>,minutes:5,opts:{loud:true,x:null}}<tool_call|><|tool_response>response:set_timer{n:2,nested:{A:<|\"|>x<|\"|>,b:1},status:<|\"|>ok<|\"|>}<tool_response|>",
    );
}

#[test]
fn the_pieces_of_a_spoken_turn_add_up() {
    let pieces = [AUDIO_HEAD, AUDIO_ROW, AUDIO_ROW, AUDIO_TAIL].concat();
    assert_eq!(pieces, user(&[Part::Audio(2)]) + GENERATE);
    let pieces = [AUDIO_HEAD, AUDIO_ROW, AUDIO_END, &question(TRANSCRIBE)].concat();
    assert_eq!(pieces, user(&[Part::Audio(1), Part::Text(TRANSCRIBE)]) + GENERATE);
    assert_eq!(TURN_END, "<turn|>".to_owned() + AFTER_STOP);
}

#[test]
fn nested_and_nullable_parameters() {
    let schema = json!({
        "type": "object",
        "properties": {
            "Zone": {"type": ["string", "null"], "description": "Where"},
            "at": {"type": "object", "properties": {"hour": {"type": "integer"}}, "required": ["hour"]},
            "steps": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}},
        },
    });
    let text = declaration(&tool("plan", "Plan", Some(schema)));
    assert_eq!(
        text.replace(QUOTE, "'"),
        "<|tool>declaration:plan{description:'Plan',parameters:{properties:{\
         at:{properties:{hour:{type:'INTEGER'}},required:['hour'],type:'OBJECT'},\
         steps:{items:{properties:{n:{type:'NUMBER'}},required:['n'],type:'OBJECT'},type:'ARRAY'},\
         Zone:{description:'Where',nullable:true,type:'STRING'}},type:'OBJECT'}}<tool|>"
    );
}

#[test]
fn a_tool_without_schema_is_declared_from_its_parameters() {
    let mut spec = tool("turn_on", "Turn on", None);
    spec.parameters = vec![
        Parameter { name: "kind".into(), kind: Kind::Choice(vec!["light".into(), "lamp".into()]), required: true },
        Parameter { name: "percent".into(), kind: Kind::Integer { min: 0, max: 100 }, required: false },
    ];
    assert_eq!(
        declaration(&spec).replace(QUOTE, "'"),
        "<|tool>declaration:turn_on{description:'Turn on',parameters:{properties:{kind:{enum:['light','lamp'],\
         type:'STRING'},percent:{type:'INTEGER'}},required:['kind'],type:'OBJECT'}}<tool|>"
    );
}

#[test]
fn nothing_from_outside_reads_as_a_special_token() {
    let words = crate::model::tokenizer::tiny::tokenizer();
    for name in crate::model::tokenizer::tiny::SPECIAL {
        for text in [
            name.to_owned(),
            format!("a<{name}>b"),
            name.replace('|', "||"),
            name.replace('|', "|<|"),
            name.replace('|', "\u{0}|\u{7}"),
        ] {
            let clean = plain(&text);
            assert!(words.encode(&clean).iter().all(|&id| !words.is_special(id)), "{text} -> {clean}");
        }
    }
    for text in ["a | b", "x || y", "1 < 2 > 0", "tea & cake\n"] {
        assert_eq!(plain(text), text);
    }
}
