//! Replies that the grammar takes or refuses, and random replies under its mask, which must all be valid calls.

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::Value;

use super::*;
use crate::dialogue::{Arguments, ReplyEvent, Stop, ToolCall};
use crate::model::reply::ReplyParser;
use crate::model::tokenizer::tiny;

/// Bytes of the longest token of the small vocabulary, and more.
const LONGEST_TOKEN: usize = 32;

fn parameter(name: &str, kind: Kind, required: bool) -> Parameter {
    Parameter { name: name.into(), kind, required }
}

fn choice(values: &[&str]) -> Kind {
    Kind::Choice(values.iter().map(|&v| v.to_owned()).collect())
}

fn tool(name: &str, parameters: Vec<Parameter>) -> ToolSpec {
    ToolSpec { name: name.into(), description: String::new(), parameters, schema: None }
}

fn tools() -> Vec<ToolSpec> {
    vec![
        tool(
            "turn_on",
            vec![
                parameter("room", choice(&["kitchen", "living room", "dining \"table\""]), false),
                parameter("kind", choice(&["light", "lights", "lamp"]), true),
            ],
        ),
        tool(
            "turn_off",
            vec![
                parameter("a", Kind::Bool, false),
                parameter("B", Kind::Integer { min: 0, max: 100 }, false),
                parameter("c", Kind::Number { min: -1.5, max: 20.25 }, false),
            ],
        ),
        tool(
            "note",
            vec![
                parameter("text", Kind::Text, true),
                parameter("days", Kind::List(Box::new(choice(&["mon", "tue"]))), false),
                parameter("at", Kind::Object(vec![parameter("h", Kind::Integer { min: 0, max: 23 }, true)]), false),
            ],
        ),
        tool("stop", vec![]),
    ]
}

/// Is `reply` taken whole, and finished by its last token?
fn takes(grammar: &Grammar, words: &Tokenizer, reply: &str) -> bool {
    let mut decoding = grammar.start();
    for token in words.encode(reply) {
        if decoding.finished() || !decoding.mask().expect("a mask").is_allowed(token) {
            return false;
        }
        decoding.accept(token).expect("the mask allows it");
    }
    decoding.finished()
}

#[test]
fn replies_that_are_taken_and_refused() {
    let words = tiny::tokenizer();
    let silent = Grammar::compile(&words, &tools(), Answers::StopOnly).expect("compiles");
    let phrasing = Grammar::compile(&words, &tools(), Answers::Text).expect("compiles");
    let wrap = |body: &str| format!("<|tool_call>call:{}<tool_call|><|tool_response>", body.replace('§', "<|\"|>"));
    let calling = Grammar::compile(&words, &tools(), Answers::OneCall).expect("compiles");
    let two = "<|tool_call>call:stop{}<tool_call|>".repeat(2) + "<|tool_response>";
    assert!(takes(&calling, &words, &wrap("stop{}")) && takes(&silent, &words, &two));
    assert!(!takes(&calling, &words, &two) && !takes(&calling, &words, "<turn|>"));
    let good = [
        "turn_on{kind:§light§}",
        "turn_on{kind:§lights§,room:§living room§}",
        "turn_on{kind:§lamp§,room:§dining \"table\"§}",
        "turn_off{}",
        "turn_off{a:true}",
        "turn_off{B:7}",
        "turn_off{a:false,B:100,c:20.25}",
        "turn_off{B:0,c:-1.5}",
        "note{text:§a } b <x> 🦙 \"c\"§}",
        "note{at:{h:23},days:[§mon§,§mon§],text:§§}",
        "note{days:[],text:§x§}",
        "stop{}",
    ];
    let bad = [
        "turn_on{}",
        "turn_on{room:§kitchen§}",
        "turn_on{room:§kitchen§,kind:§light§}",
        "turn_on{kind:§car§}",
        "turn_on{kind:light}",
        "turn_on{kind:§light§,}",
        "turn_on{kind:§light§,kind:§light§}",
        "turn_off{,B:7}",
        "turn_off{B:101}",
        "turn_off{B:07}",
        "turn_off{B:-1}",
        "turn_off{c:20.3}",
        "turn_off{c:-1.6}",
        "turn_off{c:1.}",
        "turn_off{b:1}",
        "note{text:x}",
        "note{at:{},text:§x§}",
        "note{at:{h:24},text:§x§}",
        "stop{a:1}",
        "go{}",
    ];
    for grammar in [&silent, &phrasing] {
        for body in good {
            assert!(takes(grammar, &words, &wrap(body)), "{body}");
        }
        for body in bad {
            assert!(!takes(grammar, &words, &wrap(body)), "{body}");
        }
        assert!(takes(grammar, &words, "<turn|>"));
        let two = wrap("stop{}").replace("<|tool_response>", "") + &wrap("turn_off{a:true}");
        assert!(takes(grammar, &words, &two));
        for reply in ["<|tool_response>", "<|tool_call>call:stop{}<tool_call|><turn|>", "<eos>", "<|turn>"] {
            assert!(!takes(grammar, &words, reply), "{reply}");
        }
    }
    for (reply, phrased) in [("It is on.<turn|>", true), ("It <b> é 🦙\n<turn|>", true), ("no<|tool_call>", false)] {
        assert_eq!(takes(&phrasing, &words, reply), phrased, "{reply}");
        assert!(!takes(&silent, &words, reply), "{reply}");
    }
}

/// Free text ends by itself, after so many tokens, and costs no more near its end.
#[test]
fn free_text_is_bounded() {
    let words = tiny::tokenizer();
    let grammar = Grammar::compile(&words, &tools(), Answers::StopOnly).expect("compiles");
    let quote = words.special().quote;
    let letter = words.encode("z")[0];
    let mut decoding = grammar.start();
    let mut take = |token| decoding.mask().expect("a mask").is_allowed(token) && decoding.accept(token).is_ok();
    let head = words.encode("<|tool_call>call:note{text:<|\"|>");
    assert!(head.iter().all(|&token| take(token)));
    let taken = (0..2 * MAX_TEXT).take_while(|_| take(letter)).count();
    assert_eq!(taken, MAX_TEXT);
    assert!(take(quote) && words.encode("}<tool_call|><|tool_response>").iter().all(|&token| take(token)));
    assert!(decoding.finished());
}

#[test]
fn the_first_token_decides() {
    let words = tiny::tokenizer();
    let special = *words.special();
    let grammar = Grammar::compile(&words, &tools(), Answers::StopOnly).expect("compiles");
    let mut allowed = Vec::new();
    grammar.start().mask().expect("a mask").iter_set_entries(|id| allowed.push(id as u32));
    assert_eq!(allowed, [special.tool_call_open, special.turn_close]);
    // Every decoding goes its own way, a copy too.
    let mut one = grammar.start();
    one.accept(special.tool_call_open).expect("a call");
    let mut copy = one.clone();
    copy.accept(words.encode("call:")[0]).expect("a call");
    assert!(grammar.start().mask().expect("a mask").is_allowed(special.turn_close));
    assert!(one.mask().expect("a mask").is_allowed(words.encode("call:")[0]));
    assert!(one.accept(special.turn_close).is_err());
    let none = Grammar::compile(&words, &[], Answers::StopOnly).expect("compiles");
    assert_eq!(none.start().forced(), [special.turn_close]);
}

#[test]
fn a_grammar_may_move_to_the_inference_thread() {
    fn moves<T: Send>() {}
    moves::<Grammar>();
    moves::<Decoding>();
}

#[test]
fn forced_tokens_are_those_of_the_text() {
    let words = tiny::tokenizer();
    let one = [tool("turn_on", vec![parameter("kind", choice(&["light"]), true)])];
    let grammar = Grammar::compile(&words, &one, Answers::StopOnly).expect("compiles");
    let expected = words.encode("<|tool_call>call:turn_on{kind:<|\"|>light<|\"|>}<tool_call|>");
    let mut decoding = grammar.start();
    decoding.accept(expected[0]).expect("a call");
    let mut reply = vec![expected[0]];
    let mut asked = 0;
    while reply.len() < expected.len() {
        let mut next = decoding.forced();
        if next.is_empty() {
            asked += 1;
            next.push(expected[reply.len()]);
        }
        for token in next {
            decoding.accept(token).expect("forced tokens are allowed");
            reply.push(token);
        }
    }
    assert_eq!(words.show(&reply), words.show(&expected));
    assert!(asked <= 2, "{asked} tokens of a call without choice were not forced");
}

#[test]
fn numbers_are_taken_exactly_within_their_range() {
    let words = tiny::tokenizer();
    let check = |kind: Kind, values: &[String], inside: &dyn Fn(f64) -> bool| {
        let grammar =
            Grammar::compile(&words, &[tool("t", vec![parameter("n", kind.clone(), true)])], Answers::StopOnly);
        let grammar = grammar.expect("compiles");
        for value in values {
            let reply = format!("<|tool_call>call:t{{n:{value}}}<tool_call|><|tool_response>");
            let number: f64 = value.parse().expect("a number");
            assert_eq!(takes(&grammar, &words, &reply), inside(number), "{value} in {kind:?}");
        }
    };
    let whole: Vec<String> = (-130..=1250).map(|n| n.to_string()).collect();
    for (min, max) in [(0, 100), (1, 1), (-12, 7), (-120, -99), (17, 1234), (0, 0), (95, 1005)] {
        check(Kind::Integer { min, max }, &whole, &|n| n >= min as f64 && n <= max as f64);
    }
    let extremes = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX].map(|n| n.to_string());
    check(Kind::Integer { min: i64::MIN, max: i64::MAX }, &extremes, &|_| true);
    let tenths: Vec<String> =
        (-250..=350).filter(|n| n % 10 != 0).map(|n| format!("{:.1}", f64::from(n) / 10.0)).collect();
    let hundredths: Vec<String> = (-250..=350).map(|n| format!("{:.2}", f64::from(n) / 100.0)).collect();
    for (min, max) in [(0.0, 1.0), (-1.5, 2.25), (0.05, 0.07), (16.0, 30.5), (-20.0, -0.1)] {
        let inside = move |n: f64| n >= min - 1e-9 && n <= max + 1e-9;
        check(Kind::Number { min, max }, &tenths, &inside);
        let signed: Vec<String> = hundredths.iter().filter(|v| !v.starts_with("-0.00")).cloned().collect();
        check(Kind::Number { min, max }, &signed, &inside);
    }
    check(Kind::Number { min: f64::MIN, max: f64::MAX }, &hundredths, &|_| true);
}

#[test]
fn tools_that_cannot_be_written_are_named() {
    let words = tiny::tokenizer();
    let check = |tools: &[ToolSpec], expected: &str| {
        let error = Grammar::compile(&words, tools, Answers::StopOnly).err().expect(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[tool("turn on", vec![])], "tool turn on: its name");
    check(&[tool("a", vec![]), tool("a", vec![])], "tool a: there are two");
    check(&[tool("a", vec![parameter("x:y", Kind::Bool, true)])], "tool a: the parameter \"x:y\"");
    check(&[tool("a", vec![parameter("k", choice(&[]), true)])], "the parameter k: there is no value");
    check(
        &[tool("a", vec![parameter("k", Kind::Integer { min: 2, max: 1 }, true)])],
        "the parameter k: there is no number",
    );
    let twice = vec![parameter("k", Kind::Bool, true), parameter("k", Kind::Bool, true)];
    check(&[tool("a", twice)], "the parameter k is there twice");
}

fn kind() -> impl Strategy<Value = Kind> {
    let word = "[a-zé\"}{:, ]{0,6}";
    let leaf = prop_oneof![
        Just(Kind::Text),
        Just(Kind::Bool),
        proptest::collection::vec(word, 1..5).prop_map(Kind::Choice),
        (any::<i16>(), 0i64..5000)
            .prop_map(|(min, more)| Kind::Integer { min: i64::from(min), max: i64::from(min) + more }),
        (-500i32..500, 1i32..900)
            .prop_map(|(min, more)| Kind::Number { min: f64::from(min) / 10.0, max: f64::from(min + more) / 10.0 }),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|kind| Kind::List(Box::new(kind))),
            proptest::collection::btree_map("[a-z_]{1,5}", (inner, any::<bool>()), 0..3)
                .prop_map(|map| Kind::Object(parameters(map))),
        ]
    })
}

fn parameters(map: std::collections::BTreeMap<String, (Kind, bool)>) -> Vec<Parameter> {
    map.into_iter().map(|(name, (kind, required))| Parameter { name, kind, required }).collect()
}

fn specs() -> impl Strategy<Value = Vec<ToolSpec>> {
    let parameters = proptest::collection::btree_map("[a-z_]{1,5}", (kind(), any::<bool>()), 0..4).prop_map(parameters);
    let named = proptest::collection::btree_map("[a-z_]{1,6}", parameters, 1..4);
    named.prop_map(|map| map.into_iter().map(|(name, parameters)| tool(&name, parameters)).collect())
}

fn fits(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Text, Value::String(text)) => text.len() <= (MAX_TEXT + 1) * LONGEST_TOKEN,
        (Kind::Choice(values), Value::String(text)) => values.contains(text),
        (Kind::Bool, Value::Bool(_)) => true,
        (Kind::Integer { min, max }, Value::Number(n)) => n.as_i64().is_some_and(|n| (*min..=*max).contains(&n)),
        (Kind::Number { min, max }, Value::Number(n)) => n.as_f64().is_some_and(|n| n >= min - 1e-9 && n <= max + 1e-9),
        (Kind::List(item), Value::Array(items)) => items.len() <= MAX_ITEMS && items.iter().all(|v| fits(item, v)),
        (Kind::Object(parameters), Value::Object(map)) => all_fit(parameters, map),
        _ => false,
    }
}

fn all_fit(parameters: &[Parameter], map: &Arguments) -> bool {
    let known = |key: &String| parameters.iter().any(|p| &p.name == key);
    map.keys().all(known)
        && parameters.iter().all(|p| match map.get(&p.name) {
            Some(value) => fits(&p.kind, value),
            None => !p.required,
        })
}

fn call_fits(tools: &[ToolSpec], call: &ToolCall) -> bool {
    tools.iter().any(|t| t.name == call.name && all_fit(&t.parameters, &call.arguments))
}

/// A reply that random choices under the mask lead to. Forced tokens are taken as such now and then.
fn random_reply(grammar: &Grammar, rng: &mut TestRng) -> Vec<u32> {
    let mut decoding = grammar.start();
    let mut reply = Vec::new();
    while !decoding.finished() {
        assert!(reply.len() < 20_000, "the reply does not end");
        let forced = if rng.next_u32().is_multiple_of(2) { decoding.forced() } else { Vec::new() };
        let mut next = forced;
        if next.is_empty() {
            let mut allowed = Vec::new();
            decoding.mask().expect("a mask").iter_set_entries(|id| allowed.push(id as u32));
            next.push(allowed[rng.next_u32() as usize % allowed.len()]);
        }
        for token in next {
            decoding.accept(token).expect("allowed");
            reply.push(token);
        }
    }
    reply
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_reply_under_the_mask_is_valid_calls_or_an_answer(tools in specs(), phrase in any::<bool>(), seed in any::<[u8; 32]>()) {
        let words = tiny::tokenizer();
        let answers = if phrase { Answers::Text } else { Answers::StopOnly };
        let grammar = Grammar::compile(&words, &tools, answers).expect("compiles");
        let mut rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
        for _ in 0..4 {
            let reply = random_reply(&grammar, &mut rng);
            let called = reply[0] == words.special().tool_call_open;
            let stop = if called { Stop::AwaitsTools } else { Stop::EndOfTurn };
            let mut parser = ReplyParser::new(&words);
            let mut events: Vec<ReplyEvent> = reply.iter().flat_map(|&t| parser.push(t)).collect();
            events.extend(parser.finish(stop));
            let end = events.pop();
            prop_assert_eq!(end, Some(ReplyEvent::End(stop)));
            prop_assert_eq!(events.is_empty(), !called && reply.len() == 1);
            for event in &events {
                let sound = match event {
                    ReplyEvent::Call(call) => called && call_fits(&tools, call),
                    ReplyEvent::Text(_) => !called && phrase,
                    _ => false,
                };
                prop_assert!(sound, "{:?} from {} under {:?}", event, words.show(&reply), tools);
            }
        }
    }
}
