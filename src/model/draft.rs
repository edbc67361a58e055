//! A reply on its way: what the model chose so far, what of it is ready to be told, where it stands. Holds no context.

use super::grammar::Decoding;
use super::reply::ReplyParser;
use super::sample::{LoopDetector, SampleConfig, Sampler};
use super::tokenizer::Tokenizer;
use crate::dialogue::{Drafted, ReplyEvent, Stop, ToolCall};

/// A token that the model chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Which.
    pub token: u32,
    /// By how much its logit was above the next allowed one's; infinite where the grammar left no other.
    pub gap: f32,
}

/// A reply being decoded.
pub(super) struct Draft {
    pub(super) grammar: Decoding,
    /// Where the grammar is that of yes and no: all that could be said instead.
    pub(super) wide: Option<Decoding>,
    pub(super) parser: ReplyParser,
    pub(super) sampler: Sampler,
    pub(super) loops: LoopDetector,
    pub(super) events: Vec<ReplyEvent>,
    pub(super) logits: Vec<f32>,
    /// All choices so far.
    pub(super) choices: Vec<Choice>,
    pub(super) tokens: usize,
    /// All that was chosen or forced.
    pub(super) written: Vec<u32>,
    /// Computing spent on it.
    pub(super) spent_ms: f64,
    /// Chosen, but not in the context yet.
    pub(super) unfed: Vec<u32>,
    /// Where the model was least sure, and less than it should be.
    pub(super) fork: Option<Fork>,
    /// The least margin of the choices since the last call.
    pub(super) margin: f32,
    pub(super) ended: Option<Stop>,
}

/// A choice that might have been another.
pub(super) struct Fork {
    pub(super) margin: f32,
    /// The second best token.
    pub(super) rival: u32,
    /// How much was written before it.
    pub(super) at: usize,
    /// Rows of the context at that point.
    pub(super) rows: usize,
    pub(super) grammar: Decoding,
}

impl Draft {
    /// Nothing is chosen yet; `logits` are those of the first token.
    pub(super) fn new(grammar: Decoding, words: &Tokenizer, sample: SampleConfig, logits: Vec<f32>) -> Self {
        Self {
            grammar,
            wide: None,
            parser: ReplyParser::new(words),
            sampler: Sampler::new(sample),
            loops: LoopDetector::default(),
            events: Vec::new(),
            logits,
            choices: Vec::new(),
            tokens: 0,
            written: Vec::new(),
            spent_ms: 0.0,
            unfed: Vec::new(),
            fork: None,
            margin: f32::INFINITY,
            ended: None,
        }
    }

    /// What it comes to, if it is decoded to its end: calls of a margin below `doubt` are doubtful.
    pub(super) fn comes_to(&self, doubt: f32) -> Option<Drafted> {
        Some(comes_to(&self.events, self.ended?, doubt))
    }

    /// Keeps events to be released; a call among them is told how sure the model was. Is there one?
    pub(super) fn keep(&mut self, events: Vec<ReplyEvent>) -> bool {
        let is_call = events.iter().any(|event| matches!(event, ReplyEvent::Call(_)));
        let margin = self.margin.is_finite().then_some(self.margin);
        self.events.extend(events.into_iter().map(|event| match event {
            ReplyEvent::Call(call) => ReplyEvent::Call(ToolCall { margin, ..call }),
            other => other,
        }));
        if is_call {
            self.margin = f32::INFINITY;
        }
        is_call
    }
}

/// What a whole reply comes to.
fn comes_to(events: &[ReplyEvent], ended: Stop, doubt: f32) -> Drafted {
    let mut calls = Vec::new();
    for event in events {
        match event {
            ReplyEvent::Call(call) if call.margin.is_none_or(|margin| margin >= doubt) => calls.push(call.clone()),
            ReplyEvent::Text(text) if text.trim().is_empty() => {}
            ReplyEvent::End(_) => {}
            ReplyEvent::Call(_) | ReplyEvent::Text(_) | ReplyEvent::Malformed { .. } => return Drafted::Other,
        }
    }
    match (ended, calls.is_empty()) {
        (Stop::EndOfTurn | Stop::AwaitsTools, false) => Drafted::Calls(calls),
        (Stop::EndOfTurn | Stop::AwaitsTools, true) => Drafted::Nothing,
        _ => Drafted::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_calls_without_doubt_count_as_calls() {
        let call = |margin| {
            let call = ToolCall::new("turn_on", crate::dialogue::Arguments::new());
            ReplyEvent::Call(ToolCall { margin, ..call })
        };
        let text = |text: &str| ReplyEvent::Text(text.to_owned());
        let check = |events: &[ReplyEvent], ended: Stop, expected: &str| {
            let mut all = events.to_vec();
            all.push(ReplyEvent::End(ended));
            let found = match comes_to(&all, ended, 0.5) {
                Drafted::Calls(calls) => format!("{} calls", calls.len()),
                Drafted::Nothing => "nothing".to_owned(),
                Drafted::Other => "other".to_owned(),
            };
            assert_eq!(found, expected, "{all:?}");
        };
        check(&[call(None)], Stop::AwaitsTools, "1 calls");
        check(&[call(Some(0.5)), call(Some(7.0))], Stop::AwaitsTools, "2 calls");
        check(&[text("\n"), call(Some(0.5))], Stop::AwaitsTools, "1 calls");
        check(&[call(Some(7.0)), call(Some(0.4))], Stop::AwaitsTools, "other");
        check(&[text("Well."), call(None)], Stop::AwaitsTools, "other");
        check(&[], Stop::EndOfTurn, "nothing");
        check(&[text(" ")], Stop::EndOfTurn, "nothing");
        check(&[text("It is late.")], Stop::EndOfTurn, "other");
        check(&[call(None)], Stop::EndOfTurn, "1 calls");
        // A reply that never came to its end.
        check(&[call(None)], Stop::TokenLimit, "other");
        check(&[], Stop::Loop, "other");
        let malformed = ReplyEvent::Malformed { text: "turn".into(), reason: "no end".into() };
        check(&[malformed], Stop::AwaitsTools, "other");
    }
}
