//! Reply tokens to reply events: spoken text, calls, and what tried to be a call and is none.
//!
//! Pure, total and incremental: any sequence of tokens is accepted, nothing panics, and everything is bounded. Text is
//! passed on as soon as it is whole; a call only when it is complete and sound. Nothing from inside a call or a thinking
//! channel ever becomes text. Special tokens are told apart by id, never by their spelling, so a string in a call may hold
//! anything. Special tokens that the model spells out as plain text open and close nothing that is executed: a spelled call
//! is malformed, a spelled channel is silent.

mod call;

use crate::dialogue::{ReplyEvent, Stop};
use crate::model::tokenizer::{Special, Tokenizer};

/// A call longer than this is malformed, in bytes. The longest sensible one is a tenth of it.
const CALL_LIMIT_BYTES: usize = 16 * 1024;

/// How models begin a thought when they leave out the special token.
const BARE_THOUGHT: &str = "thought\n";

/// What a special token means inside a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    CallOpen,
    CallClose,
    Quote,
    ChannelOpen,
    ChannelClose,
    /// The reply is over, or the model writes on as somebody else.
    End,
    Other,
}

/// Spellings of special tokens that are acted on in text. All others of the form are known to [`SPELLED_OTHER`].
const SPELLED: [(&str, Mark); 8] = [
    ("<|tool_call>", Mark::CallOpen),
    ("<tool_call|>", Mark::CallClose),
    ("<|channel>", Mark::ChannelOpen),
    ("<channel|>", Mark::ChannelClose),
    ("<|turn>", Mark::End),
    ("<turn|>", Mark::End),
    ("<|tool_response>", Mark::End),
    ("<eos>", Mark::End),
];

/// Spellings that are dropped from text.
const SPELLED_OTHER: [&str; 12] = [
    "<tool_response|>",
    "<|\"|>",
    "<|think|>",
    "<|tool>",
    "<tool|>",
    "<|audio|>",
    "<|audio>",
    "<audio|>",
    "<|image|>",
    "<bos>",
    "<pad>",
    "<unk>",
];

/// One element of a call's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Char(char),
    /// The token that begins and ends a string.
    Quote,
    /// A special token that has no place in a call.
    Stray,
}

#[derive(Debug)]
enum State {
    Text,
    /// Between the special tokens of a call.
    Call(Body),
    /// Inside a call that was spelled out as text: its raw text, for the message.
    SpelledCall(String),
    Channel,
    Ended,
}

/// The collected body of a call.
#[derive(Debug, Default)]
struct Body {
    symbols: Vec<Symbol>,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    size_bytes: usize,
    broken: Option<&'static str>,
}

/// Turns the tokens of one reply into events. One parser per reply.
#[derive(Debug)]
pub struct ReplyParser {
    words: Tokenizer,
    text: Assembler,
}

impl ReplyParser {
    /// A parser for one reply in the vocabulary of `words`.
    pub fn new(words: &Tokenizer) -> Self {
        Self { words: words.clone(), text: Assembler::new() }
    }

    /// Takes the next token, the stop token included if there was one.
    pub fn push(&mut self, token: u32) -> Vec<ReplyEvent> {
        let mut events = Vec::new();
        if self.words.is_special(token) {
            self.text.mark(mark_of(self.words.special(), token), &mut events);
        } else {
            self.text.bytes(self.words.piece(token), &mut events);
        }
        events
    }

    /// The reply is over. The last event is [`ReplyEvent::End`].
    pub fn finish(&mut self, stop: Stop) -> Vec<ReplyEvent> {
        let mut events = Vec::new();
        self.text.finish(stop, &mut events);
        events
    }
}

fn mark_of(special: &Special, token: u32) -> Mark {
    match token {
        t if t == special.tool_call_open => Mark::CallOpen,
        t if t == special.tool_call_close => Mark::CallClose,
        t if t == special.quote => Mark::Quote,
        t if t == special.channel_open => Mark::ChannelOpen,
        t if t == special.channel_close => Mark::ChannelClose,
        t if [special.turn_open, special.turn_close, special.tool_response_open, special.eos].contains(&t) => Mark::End,
        _ => Mark::Other,
    }
}

/// The state machine, apart from the vocabulary.
#[derive(Debug)]
struct Assembler {
    state: State,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    /// Text that is kept back because it may become the spelling of a special token, or a bare thought.
    held: String,
    /// Nothing but white space was seen so far.
    fresh: bool,
}

impl Assembler {
    fn new() -> Self {
        Self { state: State::Text, partial: Vec::new(), held: String::new(), fresh: true }
    }

    fn bytes(&mut self, bytes: &[u8], events: &mut Vec<ReplyEvent>) {
        match &mut self.state {
            State::Ended => {}
            State::Call(body) => body.bytes(bytes),
            State::Text | State::Channel | State::SpelledCall(_) => {
                self.partial.extend_from_slice(bytes);
                take_whole(&mut self.partial, |c| self.held.push(c));
                self.advance(events);
            }
        }
    }

    fn mark(&mut self, mark: Mark, events: &mut Vec<ReplyEvent>) {
        if let State::Call(body) = &mut self.state {
            match mark {
                Mark::Quote => body.symbol(Symbol::Quote),
                Mark::ChannelOpen | Mark::ChannelClose | Mark::Other => body.symbol(Symbol::Stray),
                Mark::CallOpen | Mark::CallClose | Mark::End => {
                    events.extend(body.events());
                    self.state = next_state(mark);
                }
            }
            return;
        }
        if matches!(self.state, State::Ended) {
            return;
        }
        self.flush(events);
        self.fresh &= mark == Mark::Other;
        let silent = matches!(self.state, State::Channel | State::SpelledCall(_));
        match mark {
            // The special token is really there, so the thought before it was not closed, and is over.
            Mark::CallOpen | Mark::End => self.leave(next_state(mark), events),
            Mark::ChannelOpen => self.leave(State::Channel, events),
            Mark::ChannelClose if matches!(self.state, State::Channel) => self.state = State::Text,
            Mark::CallClose if silent => self.leave(State::Text, events),
            Mark::ChannelClose | Mark::CallClose | Mark::Quote | Mark::Other => {}
        }
    }

    fn finish(&mut self, stop: Stop, events: &mut Vec<ReplyEvent>) {
        if let State::Call(body) = &mut self.state {
            let ended = matches!(stop, Stop::EndOfTurn | Stop::AwaitsTools);
            if !ended {
                body.broken = Some("the call was cut off");
            }
            events.extend(body.events());
        } else {
            self.flush(events);
        }
        self.leave(State::Ended, events);
        events.push(ReplyEvent::End(stop));
    }

    /// Changes the state; a spelled call that ends here is reported.
    fn leave(&mut self, next: State, events: &mut Vec<ReplyEvent>) {
        if let State::SpelledCall(text) = std::mem::replace(&mut self.state, next) {
            events.push(ReplyEvent::Malformed { text, reason: "the call was spelled out as text".to_owned() });
        }
    }

    /// Works off `held` as far as its meaning is certain.
    fn advance(&mut self, events: &mut Vec<ReplyEvent>) {
        while !self.held.is_empty() {
            if matches!(self.state, State::Ended) {
                self.held.clear();
                return;
            }
            if self.fresh && matches!(self.state, State::Text) {
                let begin = self.held.trim_start();
                if begin.starts_with(BARE_THOUGHT) {
                    self.held.clear();
                    self.state = State::Channel;
                    self.fresh = false;
                    return;
                }
                if BARE_THOUGHT.starts_with(begin) {
                    return;
                }
                self.fresh = false;
            }
            match find_spelled(&self.held) {
                Spelled::Whole { at, len, mark } => {
                    let before: String = self.held.drain(..at).collect();
                    let spelled: String = self.held.drain(..len).collect();
                    self.give(before, events);
                    self.spelled(mark, spelled, events);
                }
                Spelled::Begun { at } => {
                    let before: String = self.held.drain(..at).collect();
                    self.give(before, events);
                    return;
                }
            }
        }
    }

    /// A special token's name stands in the text.
    fn spelled(&mut self, mark: Mark, name: String, events: &mut Vec<ReplyEvent>) {
        match (&self.state, mark) {
            (State::Text, Mark::CallOpen) => self.state = State::SpelledCall(name),
            (State::Text, Mark::ChannelOpen) | (State::SpelledCall(_), Mark::ChannelOpen) => {
                self.leave(State::Channel, events);
            }
            (State::SpelledCall(_), Mark::CallClose) => {
                self.give(name, events);
                self.leave(State::Text, events);
            }
            (State::Channel, Mark::ChannelClose) => self.state = State::Text,
            (State::Text | State::SpelledCall(_), Mark::End) => self.leave(State::Ended, events),
            _ => self.give_spelled(name, events),
        }
    }

    fn give_spelled(&mut self, name: String, events: &mut Vec<ReplyEvent>) {
        if matches!(self.state, State::SpelledCall(_)) {
            self.give(name, events);
        }
    }

    /// Text whose meaning is certain goes where the state says.
    fn give(&mut self, text: String, events: &mut Vec<ReplyEvent>) {
        match &mut self.state {
            State::Text if !text.is_empty() => events.push(ReplyEvent::Text(text)),
            State::SpelledCall(raw) if raw.len() < CALL_LIMIT_BYTES => raw.push_str(&text),
            _ => {}
        }
    }

    /// What was kept back turns out to be just text: a special token or the end follows.
    fn flush(&mut self, events: &mut Vec<ReplyEvent>) {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
            self.advance(events);
        }
        let rest = std::mem::take(&mut self.held);
        let bare_thought = self.fresh && rest.trim() == BARE_THOUGHT.trim();
        if !bare_thought {
            self.give(rest, events);
        }
    }
}

fn next_state(mark: Mark) -> State {
    match mark {
        Mark::CallOpen => State::Call(Body::default()),
        Mark::End => State::Ended,
        Mark::ChannelOpen => State::Channel,
        Mark::CallClose | Mark::ChannelClose | Mark::Quote | Mark::Other => State::Text,
    }
}

impl Body {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.grow(bytes.len()) {
            self.partial.extend_from_slice(bytes);
            take_whole(&mut self.partial, |c| self.symbols.push(Symbol::Char(c)));
        }
    }

    fn symbol(&mut self, symbol: Symbol) {
        if self.grow(1) {
            if !self.partial.is_empty() {
                self.partial.clear();
                self.symbols.push(Symbol::Char(char::REPLACEMENT_CHARACTER));
            }
            self.symbols.push(symbol);
        }
    }

    fn grow(&mut self, bytes: usize) -> bool {
        self.size_bytes += bytes;
        if self.size_bytes > CALL_LIMIT_BYTES {
            self.broken = Some("the call is too long");
        }
        self.size_bytes <= CALL_LIMIT_BYTES
    }

    /// The call is over: what was it?
    fn events(&mut self) -> Vec<ReplyEvent> {
        let replaced = Symbol::Char(char::REPLACEMENT_CHARACTER);
        let parsed = match self.broken {
            Some(reason) => Err(reason),
            None if !self.partial.is_empty() || self.symbols.contains(&replaced) => {
                Err("the call holds bytes that are no text")
            }
            None => call::parse(&self.symbols),
        };
        match parsed {
            Ok(calls) => calls.into_iter().map(ReplyEvent::Call).collect(),
            Err(reason) => vec![ReplyEvent::Malformed { text: call::show(&self.symbols), reason: reason.to_owned() }],
        }
    }
}

/// Takes all whole characters out of `bytes`; what can be none becomes U+FFFD, an unfinished one stays.
fn take_whole(bytes: &mut Vec<u8>, mut give: impl FnMut(char)) {
    let mut done = 0;
    while done < bytes.len() {
        match std::str::from_utf8(&bytes[done..]) {
            Ok(text) => {
                text.chars().for_each(&mut give);
                done = bytes.len();
            }
            Err(error) => {
                let valid = done + error.valid_up_to();
                String::from_utf8_lossy(&bytes[done..valid]).chars().for_each(&mut give);
                done = valid;
                let Some(bad) = error.error_len() else { break };
                give(char::REPLACEMENT_CHARACTER);
                done += bad;
            }
        }
    }
    bytes.drain(..done);
}

enum Spelled {
    /// A special token's name at byte `at`.
    Whole { at: usize, len: usize, mark: Mark },
    /// Everything before byte `at` is plain text; the rest may become a name.
    Begun { at: usize },
}

fn find_spelled(text: &str) -> Spelled {
    for (at, _) in text.match_indices('<') {
        let rest = &text[at..];
        let others = SPELLED_OTHER.iter().map(|&name| (name, Mark::Other));
        for (name, mark) in SPELLED.into_iter().chain(others) {
            if rest.starts_with(name) {
                let len = name.len();
                return Spelled::Whole { at, len, mark };
            }
            if name.starts_with(rest) {
                return Spelled::Begun { at };
            }
        }
    }
    Spelled::Begun { at: text.len() }
}

#[cfg(test)]
mod tests;
