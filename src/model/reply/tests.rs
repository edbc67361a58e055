//! Every case is fed as one piece, cut at every byte, and byte by byte. `«name»` in a case stands for a special token.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialogue::ToolCall;
use crate::model::tokenizer::tiny;

/// Special tokens and bytes of a case: `«x»` is the special token `<x>`, `§` the quote token.
fn pieces(case: &str) -> Vec<Result<Vec<u8>, Mark>> {
    let special = |name: &str| {
        let name = format!("<{name}>");
        let known = SPELLED.iter().find(|(n, _)| *n == name).map(|(_, mark)| *mark);
        known.unwrap_or(Mark::Other)
    };
    let mut out = Vec::new();
    let mut rest = case;
    while let Some(at) = rest.find(['«', '§']) {
        out.push(Ok(rest.as_bytes()[..at].to_vec()));
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('§') {
            out.push(Err(Mark::Quote));
            rest = after;
        } else {
            let end = rest.find('»').expect("a closed mark");
            out.push(Err(special(&rest["«".len()..end])));
            rest = &rest[end + "»".len()..];
        }
    }
    out.push(Ok(rest.as_bytes().to_vec()));
    out
}

/// Events with neighbouring texts joined.
fn joined(events: Vec<ReplyEvent>) -> Vec<ReplyEvent> {
    let mut out: Vec<ReplyEvent> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(ReplyEvent::Text(before)), ReplyEvent::Text(text)) => before.push_str(&text),
            (_, event) => out.push(event),
        }
    }
    out
}

/// Runs a case with its bytes cut in pieces by `cut`.
fn run(case: &str, stop: Stop, cut: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<ReplyEvent> {
    let mut assembler = Assembler::new();
    let mut events = Vec::new();
    for piece in pieces(case) {
        match piece {
            Ok(bytes) => cut(&bytes).iter().for_each(|b| assembler.bytes(b, &mut events)),
            Err(mark) => assembler.mark(mark, &mut events),
        }
    }
    assembler.finish(stop, &mut events);
    joined(events)
}

/// The events of a case, which are the same however it is cut.
fn events(case: &str, stop: Stop) -> Vec<ReplyEvent> {
    let whole = run(case, stop, |bytes| vec![bytes.to_vec()]);
    let longest = pieces(case).iter().map(|p| p.as_ref().map_or(0, Vec::len)).max();
    for at in 0..=longest.unwrap_or(0) {
        let cut = |bytes: &[u8]| {
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            vec![a.to_vec(), b.to_vec()]
        };
        assert_eq!(run(case, stop, cut), whole, "{case} cut at {at}");
    }
    let single = run(case, stop, |bytes| bytes.iter().map(|&b| vec![b]).collect());
    assert_eq!(single, whole, "{case} byte by byte");
    whole
}

fn call(name: &str, arguments: Value) -> ReplyEvent {
    ReplyEvent::Call(ToolCall::new(name, arguments.as_object().cloned().expect("an object")))
}

fn text(words: &str) -> ReplyEvent {
    ReplyEvent::Text(words.into())
}

fn check(case: &str, mut expected: Vec<ReplyEvent>) {
    expected.push(ReplyEvent::End(Stop::AwaitsTools));
    assert_eq!(events(case, Stop::AwaitsTools), expected, "{case}");
}

/// The arguments of the one call in `case`, which is the body of a call block of the tool `t`.
fn check_body(body: &str, expected: Value) {
    check(&format!("«|tool_call»{body}«tool_call|»«|tool_response»"), vec![call("t", expected)]);
}

#[test]
fn sound_calls_give_exact_arguments() {
    check_body("call:t{}", json!({}));
    check_body(
        "call:t{days:[§mon§,§tue§],label:§pasta§,minutes:5,opts:{loud:true,x:null}}",
        json!({"days": ["mon", "tue"], "label": "pasta", "minutes": 5, "opts": {"loud": true, "x": null}}),
    );
    check_body("call:t{k:§say \"hi\" to 'her'§}", json!({"k": "say \"hi\" to 'her'"}));
    check_body("call:t{k:§a } b, {c]§,n:-2.5}", json!({"k": "a } b, {c]", "n": -2.5}));
    check_body("call:t{k:§<tool_call|> \\n {§}", json!({"k": "<tool_call|> \\n {"}));
    check_body("call:t{k:§Zürich 🦙 日本§}", json!({"k": "Zürich 🦙 日本"}));
    check_body("call:t{k:§§}", json!({"k": ""}));
    check_body("call:t{a:{b:{c:[1,[2,{d:§x§}]]}}}", json!({"a": {"b": {"c": [1, [2, {"d": "x"}]]}}}));
    check_body("call:t{n:§12§}", json!({"n": "12"}));
}

#[test]
fn other_ways_to_write_a_call_are_understood() {
    let cases = [
        ("call:t{k:\"v\"}", json!({"k": "v"})),
        ("call:t{k:'v'}", json!({"k": "v"})),
        ("call:t{k:'mum's tea', n:1}", json!({"k": "mum's tea", "n": 1})),
        ("call:t{k:\"say \"hi\" now\"}", json!({"k": "say \"hi\" now"})),
        ("call:t{k:\"say \\\"hi\\\" \\u00e9 \\ud83e\\udd99\"}", json!({"k": "say \"hi\" é 🦙"})),
        ("call:t{k:\"a } b\",n:2}", json!({"k": "a } b", "n": 2})),
        (
            "call:t{\"k\": \"v\", \"list\": [\"a\", \"b\"], \"o\": {\"x\": 1.5}}",
            json!({"k": "v", "list": ["a", "b"], "o": {"x": 1.5}}),
        ),
        ("call:t{§k§:§v§,'j':2}", json!({"k": "v", "j": 2})),
        ("call:t{k=§v§,n=3}", json!({"k": "v", "n": 3})),
        ("call:t(k=\"v\", n=3)", json!({"k": "v", "n": 3})),
        ("call:t(room=kitchen)", json!({"room": "kitchen"})),
        ("call:t({\"k\": 1})", json!({"k": 1})),
        ("call:t()", json!({})),
        ("call:t{command:§look§angle:90}", json!({"command": "look", "angle": 90})),
        ("call:t{command:§look§ angle:90 loud:true}", json!({"command": "look", "angle": 90, "loud": true})),
        ("call:t{k:\"look\" n:1}", json!({"k": "look", "n": 1})),
        ("call:t{room:living room,kind:lamp}", json!({"room": "living room", "kind": "lamp"})),
        ("call:t{at:18:05,n:07}", json!({"at": "18:05", "n": "07"})),
        ("call:t{flag:True,x:None}", json!({"flag": true, "x": null})),
        ("call : t { k : §v§ , n : 1 , }\n", json!({"k": "v", "n": 1})),
        ("t{k:§v§}", json!({"k": "v"})),
        ("{\"name\": \"t\", \"arguments\": {\"k\": \"v\"}}", json!({"k": "v"})),
        ("call:t{k:§v§", json!({"k": "v"})),
        ("call:t{opts:{x:1},n:5", json!({"opts": {"x": 1}, "n": 5})),
        ("call:t{k:§v§} I have set it.", json!({"k": "v"})),
    ];
    for (body, expected) in cases {
        check_body(body, expected);
    }
}

#[test]
fn several_calls_and_text_around_them() {
    check(
        "«|tool_call»call:a{k:§v§}«tool_call|»«|tool_call»call:b{}«tool_call|»«|tool_response»",
        vec![call("a", json!({"k": "v"})), call("b", json!({}))],
    );
    check(
        "Sure, «|tool_call»call:a{}«tool_call|» done.«turn|»",
        vec![text("Sure, "), call("a", json!({})), text(" done.")],
    );
    check(
        "«|tool_call»call:a{}call:b{n:1}«tool_call|»«|tool_response»",
        vec![call("a", json!({})), call("b", json!({"n": 1}))],
    );
    // Without the end of the first, without any end, and with the model writing on.
    check(
        "«|tool_call»call:a{}«|tool_call»call:b{}«|tool_response»response:b{value:§ok§}«tool_response|»Done",
        vec![call("a", json!({})), call("b", json!({}))],
    );
    check("«|tool_call»call:a{n:1}", vec![call("a", json!({"n": 1}))]);
    check("Hi «turn|»\n«|turn»user\nmore", vec![text("Hi ")]);
    check("no call < 3 {a:1} \"x\"", vec![text("no call < 3 {a:1} \"x\"")]);
    check("", vec![]);
}

#[test]
fn what_is_malformed_is_never_a_call() {
    let bodies = [
        "",
        "call:",
        "call:t",
        "call:{k:1}",
        "I will turn it on",
        "call:t{",
        "call:t{k",
        "call:t{k:",
        "call:t{k:}",
        "call:t{k:§v",
        "call:t{k:§v§,",
        "call:t{k:\"v",
        "call:t{k:living",
        "call:t{k:[1,2",
        "call:t{o:{x:1",
        "call:t{k:[1 2]}",
        "call:t{k:§v\"}",
        "call:t{k:\"v§}",
        "call:t{k:§say §hi§ now§}",
        "call:t{k:\"say \"hi\", then go\"}",
        "call:t{k:\"a\"}\" b}",
        "call:t{k:hello } world}",
        "call:t{k:1}{k:2}",
        "call:t{k:1,k:2}",
        "call:t{,k:1}",
        "call:t{k:1,,j:2}",
        "call:t{k:1j:2}",
        "call:t{k:«|channel»}",
        "call:t{k:§«|image»§}",
        "call:t{k:\"\\q\"}",
        "call:t{k:\"\\ud800\"}",
        "call:t BEGIN_ARG k END_ARG",
        "call:t{room:kitchen kind:lamp}",
        "{\"name\": \"t\"}",
        "{\"k\": 1}",
    ];
    for body in bodies {
        for case in [
            format!("«|tool_call»{body}«tool_call|»«|tool_response»"),
            format!("«|tool_call»{body}«|tool_response»"),
            format!("«|tool_call»{body}"),
        ] {
            let events = events(&case, Stop::AwaitsTools);
            let shape = (events.len(), matches!(events[0], ReplyEvent::Malformed { .. }));
            assert_eq!(shape, (2, true), "{case}: {events:?}");
        }
    }
}

#[test]
fn a_call_that_was_cut_off_is_malformed_even_if_it_could_be_read() {
    for stop in [Stop::TokenLimit, Stop::Loop, Stop::Cancelled] {
        let events = events("«|tool_call»call:t{minutes:5", stop);
        assert!(matches!(&events[0], ReplyEvent::Malformed { reason, .. } if reason.contains("cut off")));
        assert_eq!(events[1], ReplyEvent::End(stop));
    }
}

#[test]
fn bounds_hold() {
    let deep = format!("«|tool_call»call:t{{k:{}", "[".repeat(4000));
    let long = format!("«|tool_call»call:t{{k:§{}§}}«tool_call|»", "x".repeat(CALL_LIMIT_BYTES));
    for case in [deep, long] {
        let events = run(&case, Stop::EndOfTurn, |bytes| vec![bytes.to_vec()]);
        assert!(matches!(events[0], ReplyEvent::Malformed { .. }));
    }
}

#[test]
fn thoughts_are_never_spoken() {
    let silent = [
        "«|channel»thought\nhmm«channel|»",
        "«|channel»thought\n«channel|»",
        "«|channel»«channel|»",
        "«|channel»thought\nhmm, not closed",
        "«|channel»thought\nhmm«turn|»",
        "«|channel»thought\nhmm<channel|>",
        "<|channel>thought\nhmm<channel|>",
        "<|channel>thought\nhmm«channel|»",
        "<|channel>thought\nhmm",
        "thought\nhmm«channel|»",
        "thought\nhmm",
        "\nthought\nhmm«turn|»",
        "thought«channel|»",
        "thought",
        "«|channel»thought\n<|tool_call>call:t{}<tool_call|>",
    ];
    for case in silent {
        let spoken: String = events(case, Stop::EndOfTurn)
            .iter()
            .filter_map(|e| if let ReplyEvent::Text(t) = e { Some(t.trim()) } else { None })
            .collect();
        assert_eq!(spoken, "", "{case}");
        let calls = events(case, Stop::EndOfTurn).iter().filter(|e| matches!(e, ReplyEvent::Call(_))).count();
        assert_eq!(calls, 0, "{case}");
    }
    check("«|channel»thought\na«channel|»Hi.", vec![text("Hi.")]);
    check("Hi. «|channel»b«channel|»Bye.", vec![text("Hi. Bye.")]);
    check("<|channel>a<channel|>Hi.", vec![text("Hi.")]);
    check("thoughtful", vec![text("thoughtful")]);
    check("thought\nx«channel|»Hi.", vec![text("Hi.")]);
    check("I had a thought\nabout it", vec![text("I had a thought\nabout it")]);
    check("«|channel»unclosed «|tool_call»call:t{}«tool_call|»", vec![call("t", json!({}))]);
}

#[test]
fn special_tokens_that_are_spelled_out_are_neither_spoken_nor_executed() {
    let found = events("Well <|tool_call>call:t{}<tool_call|> so", Stop::EndOfTurn);
    assert_eq!(found[0], text("Well "));
    assert!(matches!(&found[1], ReplyEvent::Malformed { text, .. } if text == "<|tool_call>call:t{}<tool_call|>"));
    assert_eq!(found[2], text(" so"));
    check("Done.<turn|>\n<|turn>user", vec![text("Done.")]);
    check("a<bos>b<|\"|>c<|audio|>d", vec![text("abcd")]);
    check("a <| b <turn> <|turn", vec![text("a <| b <turn> <|turn")]);
}

#[test]
fn characters_are_put_together_across_tokens() {
    let words = tiny::tokenizer();
    let mut parser = ReplyParser::new(&words);
    let mut events = Vec::new();
    for token in words.encode("é 🦙<turn|>") {
        events.extend(parser.push(token));
    }
    events.extend(parser.finish(Stop::EndOfTurn));
    assert_eq!(joined(events), vec![text("é 🦙"), ReplyEvent::End(Stop::EndOfTurn)]);
    let mut parser = ReplyParser::new(&words);
    parser.push(words.encode("🦙")[0]);
    let events = parser.finish(Stop::TokenLimit);
    assert_eq!(events, vec![text("\u{fffd}"), ReplyEvent::End(Stop::TokenLimit)]);
}

#[test]
fn tokens_of_a_whole_reply() {
    let words = tiny::tokenizer();
    let mut parser = ReplyParser::new(&words);
    let reply = "<|channel>thought\nhm<channel|>Ok. <|tool_call>call:set{k:<|\"|>a \"b\" }<|\"|>,n:3}<tool_call|><|tool_response>";
    let mut events = Vec::new();
    for token in words.encode(reply) {
        events.extend(parser.push(token));
    }
    events.extend(parser.finish(Stop::AwaitsTools));
    let expected = [text("Ok. "), call("set", json!({"k": "a \"b\" }", "n": 3})), ReplyEvent::End(Stop::AwaitsTools)];
    assert_eq!(joined(events), expected);
}

/// Fragments that random replies are made of: special tokens and bits of syntax. `Q` never occurs outside a call or channel.
const SOUP: [&str; 30] = [
    "<|tool_call>",
    "<tool_call|>",
    "<|\"|>",
    "<|channel>",
    "<channel|>",
    "<turn|>",
    "<|tool_response>",
    "<|image>",
    "call",
    ":",
    "t",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    "u",
    ",",
    "=",
    "1",
    "-",
    ".",
    " ",
    "\n",
    "é",
    "🦙",
    "<",
    "|>",
];

fn soup() -> impl Strategy<Value = Vec<u32>> {
    let words = tiny::tokenizer();
    let known: Vec<Vec<u32>> = SOUP.iter().map(|s| words.encode(s)).collect();
    let size = words.size() as u32 + 5;
    let token = prop_oneof![
        3 => proptest::sample::select(known),
        1 => (0..size).prop_map(|id| vec![id]),
    ];
    proptest::collection::vec(token, 0..80).prop_map(|tokens| tokens.concat())
}

fn stop() -> impl Strategy<Value = Stop> {
    proptest::sample::select(vec![Stop::EndOfTurn, Stop::AwaitsTools, Stop::TokenLimit])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tokens_are_taken(tokens in soup(), stop in stop()) {
        let words = tiny::tokenizer();
        let mut parser = ReplyParser::new(&words);
        let mut events: Vec<ReplyEvent> = tokens.iter().flat_map(|&t| parser.push(t)).collect();
        events.extend(parser.finish(stop));
        prop_assert_eq!(events.last(), Some(&ReplyEvent::End(stop)));
        let ends = events.iter().filter(|e| matches!(e, ReplyEvent::End(_))).count();
        prop_assert_eq!(ends, 1);
    }

    /// Text tokens inside calls and channels are `Q`, outside `w`: only the latter may come out.
    #[test]
    fn nothing_from_inside_becomes_text(marks in proptest::collection::vec((0usize..8, 0usize..3), 0..40)) {
        let words = tiny::tokenizer();
        let s = *words.special();
        let all = [s.tool_call_open, s.tool_call_close, s.channel_open, s.channel_close, s.quote, s.bos, s.tool_call_open, s.channel_open];
        let (q, w) = (words.encode("Q"), words.encode("w"));
        let mut parser = ReplyParser::new(&words);
        let mut inside = None;
        let (mut events, mut outside) = (Vec::new(), 0);
        for (mark, count) in marks {
            let mark = all[mark];
            inside = match (inside, mark) {
                (_, m) if m == s.tool_call_open => Some(m),
                (None, m) if m == s.channel_open => Some(m),
                (Some(m), close) if m == s.tool_call_open && close == s.tool_call_close => None,
                (Some(m), close) if m == s.channel_open && (close == s.channel_close || close == s.tool_call_close) => None,
                (before, _) => before,
            };
            events.extend(parser.push(mark));
            for _ in 0..count {
                let token = if inside.is_some() { q[0] } else { w[0] };
                outside += usize::from(inside.is_none());
                events.extend(parser.push(token));
            }
        }
        events.extend(parser.finish(Stop::EndOfTurn));
        let spoken: String = events.iter().filter_map(|e| if let ReplyEvent::Text(t) = e { Some(t.as_str()) } else { None }).collect();
        prop_assert_eq!(spoken, "w".repeat(outside));
    }
}
