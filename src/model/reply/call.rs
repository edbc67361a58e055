//! The body of one call to name and arguments. Pure and total.
//!
//! Gemma writes `call:NAME{k:<|"|>v<|"|>,n:3,flag:true,list:[<|"|>a<|"|>],obj:{x:1}}`. Models have been seen to write a good
//! deal else, and what has just one sensible reading is accepted: `"v"` and `'v'`, quoted keys, `k=v`, `(k=v)`, a missing
//! comma after a quoted value, a missing last brace, words without quotes, plain JSON. Everything that could be read in two
//! ways is refused, since a wrong call does harm and a refused one is asked again.

use serde_json::{Number, Value};

use super::Symbol;
use crate::dialogue::{Arguments, ToolCall};

/// Lists and objects inside each other.
const MAX_DEPTH: usize = 16;

type Parsed<T> = Result<T, &'static str>;

/// All calls in the body of one call block: normally one.
pub(super) fn parse(symbols: &[Symbol]) -> Parsed<Vec<ToolCall>> {
    let mut reader = Reader { symbols, at: 0 };
    let mut calls = Vec::new();
    reader.skip_space();
    loop {
        calls.push(reader.call()?);
        let spaced = reader.skip_space();
        if reader.at_end() || (spaced && reader.rest_is_prose()) {
            return Ok(calls);
        }
        if !reader.looks_like_call() {
            return Err("something follows the arguments");
        }
    }
}

/// The body as readable text.
pub(super) fn show(symbols: &[Symbol]) -> String {
    let mut text = String::new();
    for symbol in symbols {
        match symbol {
            Symbol::Char(c) => text.push(*c),
            Symbol::Quote => text.push_str("<|\"|>"),
            Symbol::Stray => text.push_str("<?>"),
        }
    }
    text
}

/// How a value ended, which decides what may be left out after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// By its own closing sign.
    Closed,
    /// A number, true, false or null.
    Plain,
    /// A word without quotes: only a comma or bracket shows that it is whole.
    Bare,
}

struct Reader<'a> {
    symbols: &'a [Symbol],
    at: usize,
}

impl Reader<'_> {
    fn get(&self, at: usize) -> Option<Symbol> {
        self.symbols.get(at).copied()
    }

    fn char_at(&self, at: usize) -> Option<char> {
        match self.get(at) {
            Some(Symbol::Char(c)) => Some(c),
            _ => None,
        }
    }

    fn peek(&self) -> Option<char> {
        self.char_at(self.at)
    }

    fn at_end(&self) -> bool {
        self.at >= self.symbols.len()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// Was there any?
    fn skip_space(&mut self) -> bool {
        let begin = self.at;
        self.at = self.after_space(begin);
        self.at > begin
    }

    fn after_space(&self, mut at: usize) -> usize {
        while self.char_at(at).is_some_and(char::is_whitespace) {
            at += 1;
        }
        at
    }

    /// The end of the word that begins at `at`.
    fn after_word(&self, mut at: usize) -> usize {
        while self.char_at(at).is_some_and(is_word) {
            at += 1;
        }
        at
    }

    fn text(&self, from: usize, to: usize) -> String {
        (from..to).filter_map(|at| self.char_at(at)).collect()
    }

    fn looks_like_call(&self) -> bool {
        let end = self.after_word(self.at);
        self.text(self.at, end) == "call" && self.char_at(self.after_space(end)) == Some(':')
    }

    /// Words after a call: no sign in them that could belong to arguments.
    fn rest_is_prose(&self) -> bool {
        let harmless = |s: &Symbol| matches!(s, Symbol::Char(c) if !"{}[]()<>\"':=|`".contains(*c));
        !self.looks_like_call() && self.symbols[self.at..].iter().all(harmless)
    }

    fn call(&mut self) -> Parsed<ToolCall> {
        if self.looks_like_call() {
            self.at = self.after_space(self.after_word(self.at)) + 1;
            self.skip_space();
        } else if self.peek() == Some('{') {
            return self.json_call();
        }
        let end = self.after_word(self.at);
        let name = self.text(self.at, end);
        if name.is_empty() {
            return Err("no name of a tool");
        }
        self.at = end;
        self.skip_space();
        let arguments = if self.eat('{') {
            self.object('}', 0)?
        } else if self.eat('(') {
            self.skip_space();
            if self.eat('{') {
                let inner = self.object('}', 1)?;
                self.skip_space();
                if !self.at_end() && !self.eat(')') {
                    return Err("something follows the arguments");
                }
                inner
            } else {
                self.object(')', 0)?
            }
        } else {
            return Err("no arguments");
        };
        Ok(ToolCall::new(name, arguments))
    }

    /// `{"name": ..., "arguments": {...}}`
    fn json_call(&mut self) -> Parsed<ToolCall> {
        self.at += 1;
        let mut call = self.object('}', 1)?;
        let name = call.remove("name");
        let arguments = call.remove("arguments").or_else(|| call.remove("parameters"));
        match (name, arguments) {
            (Some(Value::String(name)), Some(Value::Object(arguments))) if call.is_empty() && !name.is_empty() => {
                Ok(ToolCall::new(name, arguments))
            }
            _ => Err("no name of a tool with its arguments"),
        }
    }

    /// Entries up to `close`. At the outermost level (`depth` 0) the closing sign may be missing at the end.
    fn object(&mut self, close: char, depth: usize) -> Parsed<Arguments> {
        if depth > MAX_DEPTH {
            return Err("the arguments are nested too deep");
        }
        let mut map = Arguments::new();
        let mut last = None;
        let mut comma = false;
        loop {
            let spaced = self.skip_space();
            if self.eat(close) {
                return Ok(map);
            }
            if self.at_end() {
                let whole = depth == 0 && !comma && matches!(last, Some(Shape::Closed | Shape::Plain));
                return if whole { Ok(map) } else { Err("the arguments are not complete") };
            }
            if self.eat(',') {
                if comma || last.is_none() {
                    return Err("a comma too many");
                }
                comma = true;
                continue;
            }
            let separated = match last {
                None | Some(Shape::Closed) => true,
                Some(Shape::Plain) => comma || spaced,
                Some(Shape::Bare) => comma,
            };
            if !separated {
                return Err("a comma is missing");
            }
            let (key, value, shape) = self.entry(close, depth)?;
            if map.insert(key, value).is_some() {
                return Err("an argument is given twice");
            }
            last = Some(shape);
            comma = false;
        }
    }

    fn entry(&mut self, close: char, depth: usize) -> Parsed<(String, Value, Shape)> {
        let key = self.key()?;
        self.skip_space();
        if !self.eat(':') && !self.eat('=') {
            return Err("an argument has no value");
        }
        self.skip_space();
        let (value, shape) = self.value(close, depth)?;
        Ok((key, value, shape))
    }

    fn key(&mut self) -> Parsed<String> {
        let key = match self.get(self.at) {
            Some(Symbol::Quote) => self.marked()?,
            Some(Symbol::Char(quote @ ('"' | '\''))) => self.quoted(quote)?,
            _ => {
                let end = self.after_word(self.at);
                let key = self.text(self.at, end);
                self.at = end;
                key
            }
        };
        if key.is_empty() {
            return Err("an argument has no name");
        }
        Ok(key)
    }

    fn value(&mut self, close: char, depth: usize) -> Parsed<(Value, Shape)> {
        match self.get(self.at) {
            Some(Symbol::Quote) => Ok((Value::String(self.marked()?), Shape::Closed)),
            Some(Symbol::Stray) => Err("a special token inside the arguments"),
            Some(Symbol::Char(quote @ ('"' | '\''))) => Ok((Value::String(self.quoted(quote)?), Shape::Closed)),
            Some(Symbol::Char('{')) => {
                self.at += 1;
                Ok((Value::Object(self.object('}', depth + 1)?), Shape::Closed))
            }
            Some(Symbol::Char('[')) => {
                self.at += 1;
                Ok((Value::Array(self.list(depth + 1)?), Shape::Closed))
            }
            Some(Symbol::Char(_)) => match self.plain() {
                Some(value) => Ok((value, Shape::Plain)),
                None => Ok((Value::String(self.bare(close)?), Shape::Bare)),
            },
            None => Err("an argument has no value"),
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Vec<Value>> {
        if depth > MAX_DEPTH {
            return Err("the arguments are nested too deep");
        }
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.eat(']') {
                return Ok(items);
            }
            let (value, _) = self.value(']', depth)?;
            items.push(value);
            self.skip_space();
            if !self.eat(',') && self.peek() != Some(']') {
                return Err("a list is not closed");
            }
        }
    }

    /// A string between two quote tokens: verbatim.
    fn marked(&mut self) -> Parsed<String> {
        let begin = self.at + 1;
        let mut end = begin;
        loop {
            match self.get(end) {
                Some(Symbol::Char(_)) => end += 1,
                Some(Symbol::Quote) => break,
                Some(Symbol::Stray) => return Err("a special token inside a string"),
                None => return Err("a string is not closed"),
            }
        }
        self.at = end + 1;
        Ok(self.text(begin, end))
    }

    /// A string between `"` or `'`, with JSON's escapes. A quote that nothing fitting follows belongs to the string.
    fn quoted(&mut self, quote: char) -> Parsed<String> {
        self.at += 1;
        let mut text = String::new();
        let mut inner = 0;
        loop {
            let Some(symbol) = self.get(self.at) else {
                return Err("a string is not closed");
            };
            let Symbol::Char(c) = symbol else {
                return Err("a string begins and ends with different quotes");
            };
            self.at += 1;
            if c == '\\' {
                text.push(self.escaped()?);
            } else if c == quote && self.may_end_string() {
                // An apostrophe stands alone, other quotes come in pairs.
                return if quote == '"' && inner % 2 == 1 {
                    Err("the quotes in a string do not pair")
                } else {
                    Ok(text)
                };
            } else {
                inner += usize::from(c == quote);
                text.push(c);
            }
        }
    }

    fn escaped(&mut self) -> Parsed<char> {
        let c = self.peek();
        self.at += 1;
        Ok(match c {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\'' | '\\' | '/')) => c,
            Some('u') => {
                let high = self.hex()?;
                if !(0xD800..0xDC00).contains(&high) {
                    return char::from_u32(high).ok_or("an escape that is no character");
                }
                if !(self.eat('\\') && self.eat('u')) {
                    return Err("an escape that is no character");
                }
                let low = self.hex()?.wrapping_sub(0xDC00);
                if low >= 0x400 {
                    return Err("an escape that is no character");
                }
                char::from_u32(0x10000 + ((high - 0xD800) << 10) + low).ok_or("an escape that is no character")?
            }
            _ => return Err("an unknown escape in a string"),
        })
    }

    fn hex(&mut self) -> Parsed<u32> {
        let digits = self.text(self.at, self.at + 4);
        self.at += 4;
        let sound = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
        let value = u32::from_str_radix(&digits, 16).ok().filter(|_| sound);
        value.ok_or("an escape that is no character")
    }

    /// Can what follows a quote stand after a whole string?
    fn may_end_string(&self) -> bool {
        let next = self.after_space(self.at);
        match self.get(next) {
            None => true,
            Some(Symbol::Char(',' | '}' | ']' | ')' | ':' | '=')) => true,
            _ => self.key_at(next),
        }
    }

    /// Does `word:` or `word=` stand at `at`?
    fn key_at(&self, at: usize) -> bool {
        let end = self.after_word(at);
        end > at && matches!(self.char_at(self.after_space(end)), Some(':' | '='))
    }

    /// A number, true, false or null, if one stands here and nothing else is glued to it.
    fn plain(&mut self) -> Option<Value> {
        let mut end = self.at;
        while self.char_at(end).is_some_and(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
            end += 1;
        }
        let value = match self.text(self.at, end).as_str() {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" => Value::Null,
            text => Value::Number(serde_json::from_str::<Number>(text).ok()?),
        };
        let next = self.after_space(end);
        let fits = match self.get(next) {
            None | Some(Symbol::Char(',' | '}' | ']' | ')')) => true,
            _ => next > end && self.key_at(next),
        };
        fits.then(|| {
            self.at = end;
            value
        })
    }

    /// Words without quotes, up to a comma or the closing sign.
    fn bare(&mut self, close: char) -> Parsed<String> {
        let begin = self.at;
        loop {
            match self.get(self.at) {
                Some(Symbol::Char(c)) if c == ',' || c == close => break,
                Some(Symbol::Char(c)) if c.is_alphanumeric() || " _-.'%°/+&!?".contains(c) => self.at += 1,
                Some(Symbol::Char(':')) if self.between_digits() => self.at += 1,
                None => return Err("the arguments are not complete"),
                Some(_) => return Err("a value that is neither quoted nor plain"),
            }
        }
        let text = self.text(begin, self.at).trim().to_owned();
        if text.is_empty() {
            return Err("an argument has no value");
        }
        if text.contains(' ') && !text.contains(char::is_alphabetic) {
            return Err("several numbers where one belongs");
        }
        Ok(text)
    }

    /// A colon in a time of day.
    fn between_digits(&self) -> bool {
        let digit = |at| self.char_at(at).is_some_and(|c| c.is_ascii_digit());
        self.at > 0 && digit(self.at - 1) && digit(self.at + 1)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}
