//! What the model may write: Gemma's call syntax over the tools that there are, as a mask over tokens.
//!
//! ```text
//! reply  = answer | calls                     the first token decides
//! answer = [text] <turn|>                     text only if the model may phrase answers
//! calls  = call+ <|tool_response>
//! call   = <|tool_call> call:NAME{...} <tool_call|>
//! ```
//!
//! Names, keys, listed values and numbers in range are as in the tool specs; keys are in order, required ones there. Every
//! list, text and number of calls is bounded, so decoding ends. Pure: no I/O, no clock. A [`Grammar`] is compiled when the
//! tools change, a [`Decoding`] started per reply. Both belong to the inference thread.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, SimpleVob};
use llguidance::{Matcher, ParserFactory};

use crate::dialogue::{Kind, Parameter, ToolSpec, is_word};
use crate::model::tokenizer::Tokenizer;

/// Calls in one reply.
const MAX_CALLS: usize = 8;
/// Any text; [`Decoding`] bounds it.
const TEXT: &str = "/(?s:.)+/";
/// Tokens of whole characters: all of them may come next in any text, which is found out at once instead of one by one.
/// Whatever else a grammar here allows is a few words. Each further set would cost a pass over the vocabulary, and memory
/// for more copies of it: 17 MB on average with Gemma 4 and the sets that llguidance has for JSON.
const WHOLE: &str = "(?s:.)+";
/// Items in a list.
const MAX_ITEMS: usize = 8;
/// Tokens of a free text argument; one that ends within a character is completed. A bound in the pattern itself would cost
/// 10 ms for each of the last tokens: what is left of it would be held against all of the vocabulary.
const MAX_TEXT: usize = 64;
/// Tokens of a spoken answer: two minutes of speech.
const MAX_ANSWER: usize = 500;
/// Decimal places of a number.
const MAX_PLACES: usize = 2;
/// Bounds of a number are cut to this: all of it can be said, and no digit is lost.
const MAX_NUMBER: f64 = 1e12;

/// Why there is no grammar, or no way on in it.
#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    /// A tool cannot be written in the call syntax. Remedy: change the tool.
    #[error("tool {tool}: {reason}")]
    Tool {
        /// Name of the tool.
        tool: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The grammar could not be compiled.
    #[error("the grammar of the tools does not compile: {0}")]
    Compile(String),
    /// A token that the mask did not allow, or a bound inside the matcher. The turn fails.
    #[error("decoding under the grammar failed: {0}")]
    Decoding(String),
}

/// What an answer without a call may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// The stop token at once: the model does not phrase.
    StopOnly,
    /// Words, then the stop token.
    Text,
    /// None: every reply is one call. For measuring models with random weights, whose answers are chance.
    OneCall,
}

/// The compiled grammar of one set of tools.
pub struct Grammar {
    factory: Arc<ParserFactory>,
    start: Matcher,
    ends: Ends,
}

/// What ends a text.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// In a call.
    quote: u32,
    /// As an answer.
    turn_close: u32,
}

impl Grammar {
    /// Compiles the grammar. Takes half a second with the vocabulary of Gemma 4, milliseconds with a small one.
    pub fn compile(words: &Tokenizer, tools: &[ToolSpec], answers: Answers) -> Result<Self, GrammarError> {
        let factory = ParserFactory::new(&words.env(), InferenceCapabilities::default(), &[WHOLE.to_owned()]);
        let mut factory = factory.map_err(|e| GrammarError::Compile(e.to_string()))?;
        factory.quiet();
        Self::with(Arc::new(factory), words, tools, answers)
    }

    /// The grammar of other tools over the same vocabulary: what takes long is done already.
    pub fn of(&self, words: &Tokenizer, tools: &[ToolSpec], answers: Answers) -> Result<Self, GrammarError> {
        Self::with(Arc::clone(&self.factory), words, tools, answers)
    }

    fn with(
        factory: Arc<ParserFactory>,
        words: &Tokenizer,
        tools: &[ToolSpec],
        answers: Answers,
    ) -> Result<Self, GrammarError> {
        let lark = lark(words, tools, answers)?;
        let start = Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(lark)));
        match start.get_error() {
            None => {
                let special = words.special();
                Ok(Self { factory, start, ends: Ends { quote: special.quote, turn_close: special.turn_close } })
            }
            Some(error) => Err(GrammarError::Compile(error)),
        }
    }

    /// The start of a reply. Cheap; what one reply teaches the matcher speeds up the next.
    pub fn start(&self) -> Decoding {
        Decoding { matcher: self.start.clone(), ends: self.ends, quoted: false, run: 0 }
    }
}

/// One reply on its way through the grammar.
#[derive(Clone)]
pub struct Decoding {
    matcher: Matcher,
    ends: Ends,
    /// Is it within quotes?
    quoted: bool,
    /// Tokens since the last quote.
    run: usize,
}

impl Decoding {
    /// The tokens that may come next, a bit each, one for every id of the tokenizer. At least one is set; once
    /// [`Self::finished`], only the tokenizer's `<eos>`. Logits may be wider: ids from `Tokenizer::size` on are never allowed.
    pub fn mask(&mut self) -> Result<SimpleVob, GrammarError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|e| GrammarError::Decoding(e.to_string()))?;
        let (most, end) = if self.quoted { (MAX_TEXT, self.ends.quote) } else { (MAX_ANSWER, self.ends.turn_close) };
        // Within a character it cannot end.
        if self.run < most || !mask.is_allowed(end) {
            return Ok(mask);
        }
        let mut only = SimpleVob::alloc(mask.len());
        only.allow_token(end);
        Ok(only)
    }

    /// Goes on with a token that the mask allows.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(|e| GrammarError::Decoding(e.to_string()))?;
        self.quoted ^= token == self.ends.quote;
        self.run = if token == self.ends.quote { 0 } else { self.run + 1 };
        Ok(())
    }

    /// The tokens that must come next whatever the model wants, so that they can be fed in one step without asking it.
    /// May be empty. They are not accepted yet.
    pub fn forced(&mut self) -> Vec<u32> {
        if self.finished() { Vec::new() } else { self.matcher.compute_ff_tokens() }
    }

    /// Is the reply complete, its stop token included?
    pub fn finished(&self) -> bool {
        self.matcher.is_stopped()
    }
}

/// The grammar in llguidance's dialect of Lark.
fn lark(words: &Tokenizer, tools: &[ToolSpec], answers: Answers) -> Result<String, GrammarError> {
    let special = words.special();
    let mut writer = Writer { out: String::new(), rules: 0, quote: special.quote, terminals: HashMap::new() };
    let answer = match answers {
        Answers::StopOnly => format!("<[{}]>", special.turn_close),
        Answers::Text => {
            let text = writer.terminal(TEXT);
            format!("{text}? <[{}]>", special.turn_close)
        }
        Answers::OneCall => String::new(),
    };
    let mut calls = Vec::new();
    for (i, tool) in tools.iter().enumerate() {
        let refuse = |reason: String| GrammarError::Tool { tool: tool.name.clone(), reason };
        if !is_word(&tool.name) {
            return Err(refuse("its name is not made of letters, digits and underscores".to_owned()));
        }
        if tools[..i].iter().any(|other| other.name == tool.name) {
            return Err(refuse("there are two of this name".to_owned()));
        }
        let arguments = writer.arguments(&tool.parameters).map_err(refuse)?;
        calls.push(format!("{} {arguments}", literal(&format!("call:{}{{", tool.name))));
    }
    if calls.is_empty() {
        // A reply of nothing is none, so without tools even one that should call may stop.
        let stop = format!("<[{}]>", special.turn_close);
        writer.named("start", if answer.is_empty() { &stop } else { &answer });
    } else {
        let (open, close) = (special.tool_call_open, special.tool_call_close);
        let call = writer.rule(&format!("<[{open}]> ( {} ) <[{close}]>", calls.join(" | ")));
        let stop = special.tool_response_open;
        writer.named(
            "start",
            &match answers {
                Answers::OneCall => format!("{call} <[{stop}]>"),
                Answers::StopOnly | Answers::Text => format!("{answer} | {call}{{1,{MAX_CALLS}}} <[{stop}]>"),
            },
        );
    }
    Ok(writer.out)
}

/// Writes rules and hands out their names.
struct Writer {
    out: String,
    rules: usize,
    quote: u32,
    /// Name by body: many tools share a list of names, which is one lexeme then.
    terminals: HashMap<String, String>,
}

impl Writer {
    fn named(&mut self, name: &str, body: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{name}: {body}");
    }

    fn rule(&mut self, body: &str) -> String {
        self.rules += 1;
        let name = format!("r{}", self.rules);
        self.named(&name, body);
        name
    }

    /// A rule that is one lexeme.
    fn terminal(&mut self, body: &str) -> String {
        if let Some(name) = self.terminals.get(body) {
            return name.clone();
        }
        self.rules += 1;
        let name = format!("T{}", self.rules);
        self.named(&name, body);
        self.terminals.insert(body.to_owned(), name.clone());
        name
    }

    /// Everything between `{` and `}`, the latter included. From the last key to the first: what may follow a key is a rule
    /// for "nothing written yet" and one for "something before".
    fn arguments(&mut self, parameters: &[Parameter]) -> Result<String, String> {
        let mut sorted: Vec<&Parameter> = parameters.iter().collect();
        sorted.sort_by_key(|p| p.name.to_lowercase());
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(format!("the parameter {} is there twice", pair[0].name));
        }
        let mut first = literal("}");
        let mut later = literal("}");
        for parameter in sorted.into_iter().rev() {
            if !is_word(&parameter.name) {
                return Err(format!(
                    "the parameter {:?} is not made of letters, digits and underscores",
                    parameter.name
                ));
            }
            let value = self.value(parameter)?;
            let given = |comma: &str, rest: &str| {
                let key = literal(&format!("{comma}{}:", parameter.name));
                format!("{key} {value} {rest}")
            };
            let mut now_first = given("", &later);
            let mut now_later = given(",", &later);
            if !parameter.required {
                now_first = format!("{now_first} | {first}");
                now_later = format!("{now_later} | {later}");
            }
            first = self.rule(&now_first);
            later = self.rule(&now_later);
        }
        Ok(first)
    }

    fn value(&mut self, parameter: &Parameter) -> Result<String, String> {
        self.kind(&parameter.kind).map_err(|reason| format!("the parameter {}: {reason}", parameter.name))
    }

    fn kind(&mut self, kind: &Kind) -> Result<String, String> {
        let quote = format!("<[{}]>", self.quote);
        match kind {
            Kind::Text => {
                let text = self.terminal(TEXT);
                Ok(format!("{quote} {text}? {quote}"))
            }
            Kind::Choice(values) => {
                let full: Vec<String> = values.iter().filter(|v| !v.is_empty()).map(|v| literal(v)).collect();
                if values.is_empty() {
                    return Err("there is no value to choose from".to_owned());
                }
                if full.is_empty() {
                    return Ok(format!("{quote} {quote}"));
                }
                let optional = if full.len() < values.len() { "?" } else { "" };
                let choice = self.terminal(&full.join(" | "));
                Ok(format!("{quote} {choice}{optional} {quote}"))
            }
            Kind::Integer { min, max } => self.number(integers(*min, *max)),
            Kind::Number { min, max } => self.number(decimals(*min, *max)),
            Kind::Bool => Ok(self.terminal("\"true\" | \"false\"")),
            Kind::List(item) => {
                let item = self.kind(item)?;
                let item = self.rule(&item);
                Ok(self.rule(&format!("\"[\" ( {item} ( \",\" {item} ){{0,{}}} )? \"]\"", MAX_ITEMS - 1)))
            }
            Kind::Object(parameters) => {
                let arguments = self.arguments(parameters)?;
                Ok(self.rule(&format!("\"{{\" {arguments}")))
            }
        }
    }

    fn number(&mut self, patterns: Vec<String>) -> Result<String, String> {
        if patterns.is_empty() {
            return Err("there is no number in its range".to_owned());
        }
        Ok(self.terminal(&format!("/{}/", patterns.join("|"))))
    }
}

/// A Lark string is written like one of JSON.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Patterns of all whole numbers from `min` to `max`, without leading zeros.
fn integers(min: i64, max: i64) -> Vec<String> {
    signed(i128::from(min), i128::from(max), 0)
}

/// Patterns of all numbers from `min` to `max` with up to [`MAX_PLACES`] decimal places.
fn decimals(min: f64, max: f64) -> Vec<String> {
    let mut patterns = Vec::new();
    for places in 0..=MAX_PLACES {
        let scale = 10f64.powi(places as i32);
        let bound = |x: f64| x.clamp(-MAX_NUMBER, MAX_NUMBER) * scale;
        // NaN becomes 0: the range is empty or a point, never wider than asked for.
        patterns.extend(signed(bound(min).ceil() as i128, bound(max).floor() as i128, places));
    }
    patterns
}

/// Patterns of the numbers from `min` to `max` in units of `10^-places`.
fn signed(min: i128, max: i128, places: usize) -> Vec<String> {
    let mut patterns = Vec::new();
    if min < 0 && min <= max {
        let least = if max < 0 { max.unsigned_abs() } else { 1 };
        patterns.extend(magnitudes(least, min.unsigned_abs(), places).into_iter().map(|p| format!("-{p}")));
    }
    if max >= 0 && min <= max {
        patterns.extend(magnitudes(min.max(0).unsigned_abs(), max.unsigned_abs(), places));
    }
    patterns
}

/// The same without sign: a pattern per number of digits, of which at least one stands before the point.
fn magnitudes(min: u128, max: u128, places: usize) -> Vec<String> {
    let mut patterns = Vec::new();
    let mut width = places + 1;
    let mut least = 0;
    while least <= max {
        let most = 10u128.pow(width as u32) - 1;
        let (from, to) = (min.max(least), max.min(most));
        if from <= to {
            let digits = |n: u128| format!("{n:0width$}").into_bytes();
            patterns.push(between(&digits(from), &digits(to), places));
        }
        least = most + 1;
        width += 1;
    }
    patterns
}

/// Pattern of all digit strings from `from` to `to`, which are of one length; a point before the last `places` digits.
fn between(from: &[u8], to: &[u8], places: usize) -> String {
    let Some((&a, rest_from)) = from.split_first() else {
        return String::new();
    };
    let Some((&b, rest_to)) = to.split_first() else {
        return String::new();
    };
    let point = if places > 0 && from.len() == places { "\\." } else { "" };
    let (zeros, nines) = (vec![b'0'; rest_from.len()], vec![b'9'; rest_from.len()]);
    let (low_whole, high_whole) = (rest_from == zeros.as_slice(), rest_to == nines.as_slice());
    let one = |from: u8, to: u8, rest: String| match from == to {
        true => format!("{point}{}{rest}", char::from(from)),
        false => format!("{point}[{}-{}]{rest}", char::from(from), char::from(to)),
    };
    if a == b {
        return one(a, b, between(rest_from, rest_to, places));
    }
    let mut parts = Vec::new();
    let (mut first, mut last) = (a, b);
    if !low_whole {
        parts.push(one(a, a, between(rest_from, &nines, places)));
        first += 1;
    }
    if !high_whole {
        last -= 1;
    }
    if first <= last {
        parts.push(one(first, last, between(&zeros, &nines, places)));
    }
    if !high_whole {
        parts.push(one(b, b, between(&zeros, rest_to, places)));
    }
    format!("({})", parts.join("|"))
}

#[cfg(test)]
mod tests;
