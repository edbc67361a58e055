//! What a home costs a model that reads declarations, and what can be decoded in it: tokens of the prompt, time to set the
//! grammar up, time of a mask, and that no reply whatever calls what is not there. With the starter's vocabulary, and with
//! the real one of Gemma 4 where `scripts/fetch-vocab` has left it.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth::dialogue::{Declared, ReplyEvent, Stop};
use hearth::home::device::Device;
use hearth::home::house::{Degrees, declare};
use hearth::home::resolve::{Found, by_name, kind_in_place, room_named};
use hearth::home::schema;
use hearth::model::generate::ModelConfig;
use hearth::model::grammar::{Answers, Grammar};
use hearth::model::prompt;
use hearth::model::reply::ReplyParser;
use hearth::model::tokenizer::Tokenizer;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

const ROOMS: [&str; 16] = [
    "Kitchen",
    "Living Room",
    "Bedroom",
    "Bathroom",
    "Hallway",
    "Office",
    "Garage",
    "Dining Room",
    "Guest Room",
    "Kids Room",
    "Laundry Room",
    "Basement",
    "Attic",
    "Terrace",
    "Garden",
    "Library",
];
/// Name, where it does not begin with the room's, and kind.
const THINGS: [(&str, bool, &str); 13] = [
    ("Ceiling Light", true, "light"),
    ("Blinds", true, "blinds"),
    ("Thermostat", true, "thermostat"),
    ("Reading Lamp", false, "lamp"),
    ("Speaker", true, "speaker"),
    ("Wall Lights", true, "light"),
    ("Temperature", true, "thermometer"),
    ("Window", true, "window"),
    ("Tall Fan", false, "fan"),
    ("Door Lock", true, "lock"),
    ("Socket by the door", false, "plug"),
    ("Night Mode", false, "scene"),
    ("Robot", false, "vacuum"),
];

/// So many devices, of every sort, spread over the rooms as in a real home.
fn home(count: usize) -> Vec<Device> {
    let rooms = ROOMS.len().min(count.div_ceil(4));
    let device = |number: usize| {
        let (room, (thing, of_room, kind)) = (ROOMS[number % rooms], THINGS[number / rooms]);
        let name = if of_room { format!("{room} {thing}") } else { format!("{thing} {}", number % rooms + 1) };
        Device {
            id: format!("{kind}.number_{number}"),
            name,
            aliases: if number.is_multiple_of(7) { vec![format!("Alias {number}")] } else { Vec::new() },
            room: Some(room.to_owned()),
            kind: kind.to_owned(),
            range_dc: (kind == "thermostat").then_some((50, 300)),
            ..Device::default()
        }
    };
    (0..count).map(device).collect()
}

fn declared(devices: &[Device]) -> Declared {
    let system = ModelConfig::default().system + &declare::overview(devices);
    Declared { system, tools: declare::narrowed(&declare::tools(), devices, Degrees::Celsius) }
}

fn vocabulary(path: &Path) -> Option<Tokenizer> {
    if !path.exists() {
        println!("SKIPPED: there is no {} (scripts/fetch-vocab makes it)", path.display());
        return None;
    }
    Some(Tokenizer::load(path).unwrap())
}

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/tokenizer.json")
}

fn gemma() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/gemma4/tokenizer.json")
}

#[test]
fn two_hundred_devices_fit_in_1500_tokens() {
    let Some(words) = vocabulary(&gemma()) else { return };
    for count in [0, 10, 50, 200] {
        let told = declared(&home(count));
        let all = words.encode(&prompt::prefix(&told.system, &told.tools, false)).len();
        let list = words.encode(&told.system).len();
        println!(
            "{count} devices: {all} tokens, of which {list} for system text and things, {} tools",
            told.tools.len()
        );
        assert!(all <= 1500, "{count} devices take {all} tokens");
    }
}

/// A stream of numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Time that this thread has computed: what else the machine does is not in it.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Times of the masks of a run: computed, and by the clock on the wall.
#[derive(Default)]
struct Masks {
    computed: Vec<Duration>,
    passed: Vec<Duration>,
    /// The longest computed, and what had been written by then.
    slowest: Vec<(Duration, String)>,
}

impl Masks {
    fn take(&mut self, computed: Duration, passed: Duration, written: impl FnOnce() -> String) {
        self.computed.push(computed);
        self.passed.push(passed);
        if computed > Duration::from_micros(500) {
            self.slowest.push((computed, written()));
        }
    }

    fn mean(&self) -> Duration {
        self.computed.iter().sum::<Duration>() / self.computed.len() as u32
    }

    /// Mean, the least that 99.9 % do not exceed, and worst.
    fn print(&mut self, what: &str) {
        for (clock, times) in [("computed", &mut self.computed), ("on the wall", &mut self.passed)] {
            times.sort_unstable();
            let mean = times.iter().sum::<Duration>() / times.len() as u32;
            let (most, worst) = (times[(times.len() * 999).div_ceil(1000) - 1], times[times.len() - 1]);
            println!(
                "{what}, {} masks, {clock}: mean {mean:.1?}, 99.9 % within {most:.1?}, worst {worst:.1?}",
                times.len()
            );
        }
        self.slowest.sort_unstable_by(|a, b| b.cmp(a));
        for (took, written) in self.slowest.iter().take(8) {
            println!("  {took:.1?} after {written}");
        }
    }
}

/// The reply that random logits lead to: the best of those that the mask allows.
fn reply(grammar: &Grammar, words: &Tokenizer, random: &mut Random, masks: &mut Masks) -> Vec<u32> {
    let mut decoding = grammar.start();
    let mut reply = Vec::new();
    // An answer would be text: what is looked at are calls.
    decoding.accept(words.special().tool_call_open).unwrap();
    reply.push(words.special().tool_call_open);
    while !decoding.finished() {
        assert!(reply.len() < 20_000, "the reply does not end");
        let (begun, before) = (Instant::now(), computed());
        let mask = decoding.mask().unwrap();
        let (after, passed) = (computed(), begun.elapsed());
        masks.take(after - before, passed, || words.show(&reply));
        let mut best: Option<(u64, u32)> = None;
        mask.iter_set_entries(|token| best = best.max(Some((random.next(), token as u32))));
        let (_, token) = best.expect("something is allowed");
        decoding.accept(token).unwrap();
        reply.push(token);
    }
    reply
}

/// Is a text that a call gives for a device or a place one of this home?
fn is_known(devices: &[Device], key: &str, text: &str) -> bool {
    match key {
        "room" => room_named(devices, text).is_some(),
        _ => kind_in_place(devices, text).is_some() || !matches!(by_name(devices, text), Found::Nothing(_)),
    }
}

fn only_what_is_there_can_be_called(words: &Tokenizer, replies: u64) {
    let devices = home(200);
    let told = declared(&devices);
    let begun = Instant::now();
    let grammar = Grammar::compile(words, &told.tools, Answers::Text).unwrap();
    let first = begun.elapsed();
    let begun = Instant::now();
    let again = grammar.of(words, &told.tools, Answers::Text).unwrap();
    println!(
        "grammar of 200 devices over {} tokens: {first:?} at first, {:?} when the home changes",
        words.size(),
        begun.elapsed()
    );
    let (mut masks, mut known, mut calls) = (Masks::default(), Masks::default(), 0);
    for seed in 0..replies {
        let grammar = if seed % 2 == 0 { &grammar } else { &again };
        let reply = reply(grammar, words, &mut Random(seed), &mut masks);
        let mut parser = ReplyParser::new(words);
        let mut events: Vec<ReplyEvent> = reply.iter().flat_map(|&token| parser.push(token)).collect();
        events.extend(parser.finish(Stop::AwaitsTools));
        assert_eq!(events.pop(), Some(ReplyEvent::End(Stop::AwaitsTools)), "{}", words.show(&reply));
        for event in events {
            let ReplyEvent::Call(call) = event else { panic!("{event:?} in {}", words.show(&reply)) };
            let spec = told.tools.iter().find(|tool| tool.name == call.name);
            let spec = spec.unwrap_or_else(|| panic!("unknown tool in {}", words.show(&reply)));
            let checked = schema::check(spec, &call.arguments);
            assert!(checked.is_ok(), "{checked:?}: {} {:?}", call.name, call.arguments);
            let of_house = !call.name.contains("timer") && !call.name.contains("reminder");
            for (key, value) in call.arguments.iter().filter(|_| of_house) {
                if let (true, Value::String(text)) = (["name", "room", "scene"].contains(&key.as_str()), value) {
                    assert!(is_known(&devices, key, text), "{} {key} {text}", call.name);
                }
            }
            calls += 1;
        }
    }
    for seed in 0..replies {
        reply(if seed % 2 == 0 { &grammar } else { &again }, words, &mut Random(seed), &mut known);
    }
    println!("{calls} calls in {replies} replies");
    masks.print("at first");
    known.print("the same again");
    assert!(calls >= replies);
    assert!(masks.mean() < Duration::from_millis(5), "{:?}", masks.mean());
}

#[test]
fn only_what_is_there_can_be_called_with_the_vocabulary_of_the_starter() {
    only_what_is_there_can_be_called(&vocabulary(&starter()).unwrap(), 300);
}

#[test]
fn only_what_is_there_can_be_called_with_the_vocabulary_of_gemma() {
    if let Some(words) = vocabulary(&gemma()) {
        only_what_is_there_can_be_called(&words, 100);
    }
}

/// Of the answer to a question: yes, no and the like, and nothing else.
#[test]
fn a_question_is_answered_by_yes_or_no() {
    let words = vocabulary(&starter()).unwrap();
    let told = declared(&home(50));
    let grammar = Grammar::compile(&words, &told.tools, Answers::Text).unwrap();
    let answers: Vec<_> =
        told.tools.into_iter().filter(|tool| ["confirm", "deny"].contains(&tool.name.as_str())).collect();
    let narrow = grammar.of(&words, &answers, Answers::StopOnly).unwrap();
    let takes = |grammar: &Grammar, text: &str| {
        let mut decoding = grammar.start();
        words
            .encode(text)
            .iter()
            .all(|&token| decoding.mask().unwrap().is_allowed(token) && decoding.accept(token).is_ok())
            && decoding.finished()
    };
    let call = |body: &str| format!("<|tool_call>call:{body}<tool_call|><|tool_response>").replace('§', "<|\"|>");
    for (reply, yes_no) in [
        (call("confirm{}"), true),
        (call("deny{}"), true),
        ("<turn|>".to_owned(), true),
        (call("turn_on{name:§Kitchen Ceiling Light§}"), false),
        (call("get_time{}"), false),
    ] {
        assert_eq!(takes(&narrow, &reply), yes_no, "{reply}");
        assert!(takes(&grammar, &reply), "{reply}");
    }
}
