//! One turn of the conversation as a pure state machine: what happened goes in, what is to be done comes out.
//! No I/O, no clock, no thread.
//!
//! What is said follows what happened: a sentence about an action comes from the result of the call, never from the
//! model's hope. A reply that is malformed, loops or runs into its bound executes nothing.

use std::time::Instant;

use serde_json::{Map, Value};

use crate::dialogue::{Outcome, ReplyEvent, Stop, ToolCall, ToolResult};
use crate::followup::{Memory, Recall, Step};
use crate::speech::Splitter;

mod claims;

use claims::claims;

/// A model that keeps calling tools is stopped after so many rounds.
const MAX_ROUNDS: usize = 3;
/// Spoken when the model gave nothing usable, twice.
const APOLOGY: &str = "Sorry, I did not get that.";
/// What a model is told whose call made no sense.
const MALFORMED: &str = "the call was malformed, nothing was done; call again";
/// What a model is told that claims to have done something.
const NO_CALL: &str = "nothing was called, so nothing was done; call a tool or say that you cannot";
/// Spoken when something inside failed.
const FAILURE: &str = "Sorry, something went wrong.";

/// What can happen in a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The model said something.
    Reply(ReplyEvent),
    /// A call came back.
    ToolDone(ToolResult),
    /// What was heard is longer than the limit, in seconds, and was cut there.
    TooLong(f64),
    /// The model or its context failed.
    ModelFailed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Carry out a call and report [`Event::ToolDone`].
    Call(ToolCall),
    /// Speak a whole sentence.
    Say(String),
    /// Give results to the model and let it go on.
    Answer(Vec<ToolResult>),
    /// The turn is over; let the model remember results and what was said, in idle time.
    Settle {
        /// Results of the last round.
        results: Vec<ToolResult>,
        /// All that was said in this turn.
        said: String,
    },
}

/// The state of one turn.
#[derive(Debug)]
pub struct Assistant {
    phrases: bool,
    rounds: usize,
    asked_again: bool,
    calls: Vec<ToolCall>,
    malformed: bool,
    waiting: usize,
    results: Vec<ToolResult>,
    said: String,
    /// The model's own words from its last whole sentence on.
    sentences: Splitter,
    /// Was a deed claimed, and not said?
    boasts: bool,
    recall: Recall,
    /// All that was said in this turn.
    words: String,
}

impl Assistant {
    /// A turn that knows of none before it. `phrases` says whether the model may put results into words itself
    /// (manifest).
    pub fn new(phrases: bool) -> Self {
        Self::with(phrases, Recall::default())
    }

    /// A turn that begins now and knows what was said before it. Give the memory back with [`Assistant::remember`] when
    /// the turn is over, however it ended.
    pub fn remembering(phrases: bool, memory: Memory, now: Instant) -> Self {
        Self::with(phrases, Recall::new(memory, Some(now)))
    }

    /// Tells the time: what is handled from here on happens then.
    pub fn at(&mut self, now: Instant) {
        self.recall.at(now);
    }

    /// Does this turn end with a question that a yes or a no answers?
    pub fn asks(&self) -> bool {
        self.recall.asks()
    }

    /// The turn is over and has been heard by now, or was cut short.
    pub fn remember(self, now: Instant) -> Memory {
        self.recall.remember(&self.words, now)
    }

    fn with(phrases: bool, recall: Recall) -> Self {
        Self {
            phrases,
            rounds: 0,
            asked_again: false,
            calls: Vec::new(),
            malformed: false,
            waiting: 0,
            results: Vec::new(),
            said: String::new(),
            sentences: Splitter::new(),
            boasts: false,
            recall,
            words: String::new(),
        }
    }

    /// Takes an event; gives what is to be done, in order.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Reply(ReplyEvent::Text(piece)) => self.text(&piece),
            Event::Reply(ReplyEvent::Call(call)) => {
                self.calls.push(call);
                Vec::new()
            }
            Event::Reply(ReplyEvent::Malformed { .. }) => {
                self.malformed = true;
                Vec::new()
            }
            Event::Reply(ReplyEvent::End(stop)) => self.ended(stop),
            Event::ToolDone(result) => self.tool_done(result),
            Event::TooLong(limit_s) => vec![self.say(format!("I only listened to the first {limit_s:.0} seconds."))],
            Event::ModelFailed => self.finish_with(FAILURE),
        }
    }

    /// Words of the model, which are said a whole sentence at a time, while it writes the next.
    fn text(&mut self, piece: &str) -> Vec<Command> {
        let whole = self.sentences.push(piece);
        self.release(whole)
    }

    /// Before anything was carried out, a sentence that claims a deed is not said, nor what follows it.
    fn release(&mut self, sentences: Vec<String>) -> Vec<Command> {
        let mut commands = Vec::new();
        for sentence in sentences {
            self.boasts |= self.rounds == 0 && claims(&sentence);
            if !self.boasts {
                commands.push(self.say(sentence));
            }
        }
        commands
    }

    fn ended(&mut self, stop: Stop) -> Vec<Command> {
        let rest = self.sentences.finish();
        let mut commands = if stop == Stop::Cancelled { Vec::new() } else { self.release(rest) };
        commands.extend(self.decided(stop));
        commands
    }

    fn decided(&mut self, stop: Stop) -> Vec<Command> {
        let calls = std::mem::take(&mut self.calls);
        let malformed = std::mem::take(&mut self.malformed);
        let boasts = std::mem::take(&mut self.boasts);
        match stop {
            Stop::Cancelled => Vec::new(),
            // Words that were spoken already need no apology for being many.
            Stop::Loop | Stop::TokenLimit if calls.is_empty() && !malformed && !self.said.is_empty() => self.settle(),
            Stop::Loop | Stop::TokenLimit => self.finish_with(APOLOGY),
            Stop::EndOfTurn | Stop::AwaitsTools if malformed => self.ask_again(MALFORMED),
            Stop::EndOfTurn | Stop::AwaitsTools if calls.is_empty() && boasts => self.ask_again(NO_CALL),
            Stop::EndOfTurn | Stop::AwaitsTools if calls.is_empty() => self.settle(),
            Stop::EndOfTurn | Stop::AwaitsTools if self.rounds == MAX_ROUNDS => self.finish_with(APOLOGY),
            Stop::EndOfTurn | Stop::AwaitsTools => {
                self.rounds += 1;
                self.results.clear();
                self.carry_out(calls)
            }
        }
    }

    /// Calls for the home become commands; yes, no, corrections and the like are answered here.
    fn carry_out(&mut self, calls: Vec<ToolCall>) -> Vec<Command> {
        let names: Vec<String> = calls.iter().map(|call| call.name.clone()).collect();
        let steps = self.recall.resolve(calls);
        let mut commands = Vec::with_capacity(steps.len());
        for (name, step) in names.into_iter().zip(steps) {
            match step {
                Step::Call(call) => {
                    self.waiting += 1;
                    commands.push(Command::Call(call));
                }
                Step::Say(sentence) => {
                    let content = Map::from_iter([("said".to_owned(), Value::from(sentence.as_str()))]);
                    let say = Some(sentence.clone());
                    self.results.push(ToolResult { name, outcome: Outcome::Done, content, say, effect: None });
                    commands.push(self.say(sentence));
                }
            }
        }
        if self.waiting == 0 {
            commands.extend(self.settle());
        }
        commands
    }

    /// None of the calls of a reply with a malformed one is carried out.
    fn ask_again(&mut self, error: &str) -> Vec<Command> {
        if std::mem::replace(&mut self.asked_again, true) {
            return self.finish_with(APOLOGY);
        }
        let content = Map::from_iter([("error".to_owned(), Value::from(error))]);
        vec![Command::Answer(vec![ToolResult {
            name: "error".into(),
            outcome: Outcome::Refused,
            content,
            say: None,
            effect: None,
        }])]
    }

    fn tool_done(&mut self, result: ToolResult) -> Vec<Command> {
        let mut commands = Vec::new();
        self.recall.done(&result);
        let say = match (&result.say, self.phrases) {
            (Some(say), _) => Some(say.clone()),
            (None, true) => None,
            (None, false) => Some(plain(result.outcome).to_owned()),
        };
        commands.extend(say.filter(|say| !say.is_empty()).map(|say| self.say(say)));
        self.results.push(result);
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            let all_said = !self.phrases || self.results.iter().all(|r| r.say.is_some());
            commands.extend(if all_said {
                self.settle()
            } else {
                vec![Command::Answer(std::mem::take(&mut self.results))]
            });
        }
        commands
    }

    fn say(&mut self, sentence: String) -> Command {
        for said in [&mut self.said, &mut self.words] {
            if !said.is_empty() {
                said.push(' ');
            }
            said.push_str(&sentence);
        }
        Command::Say(sentence)
    }

    fn finish_with(&mut self, sentence: &str) -> Vec<Command> {
        let say = self.say(sentence.to_owned());
        let mut commands = vec![say];
        commands.extend(self.settle());
        commands
    }

    fn settle(&mut self) -> Vec<Command> {
        vec![Command::Settle { results: std::mem::take(&mut self.results), said: std::mem::take(&mut self.said) }]
    }
}

/// For a result without a sentence, when the model makes none.
fn plain(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "Done.",
        Outcome::Asked => "Which one do you mean?",
        Outcome::Refused => "I cannot do that.",
        Outcome::Failed => "That did not work.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str) -> Event {
        Event::Reply(ReplyEvent::Call(ToolCall::new(name, Map::new())))
    }

    fn text(piece: &str) -> Event {
        Event::Reply(ReplyEvent::Text(piece.into()))
    }

    fn end(stop: Stop) -> Event {
        Event::Reply(ReplyEvent::End(stop))
    }

    fn malformed() -> Event {
        Event::Reply(ReplyEvent::Malformed { text: "call:x{".into(), reason: "no end".into() })
    }

    fn done(outcome: Outcome, say: Option<&str>) -> Event {
        Event::ToolDone(ToolResult {
            name: "t".into(),
            outcome,
            content: Map::new(),
            say: say.map(str::to_owned),
            effect: None,
        })
    }

    /// Commands in short: `call t`, `say ...`, `answer n`, `settle n|said`.
    fn check(phrases: bool, events: Vec<Event>, expected: &[&str]) {
        let mut assistant = Assistant::new(phrases);
        let short = |command: Command| match command {
            Command::Call(call) => format!("call {}", call.name),
            Command::Say(text) => format!("say {text}"),
            Command::Answer(results) => format!("answer {}", results.len()),
            Command::Settle { results, said } => format!("settle {}|{said}", results.len()),
        };
        let found: Vec<String> =
            events.clone().into_iter().flat_map(|event| assistant.handle(event)).map(short).collect();
        assert_eq!(found, expected, "{events:?}");
    }

    #[test]
    fn a_call_is_carried_out_and_its_result_is_said() {
        let happy = vec![call("a"), end(Stop::AwaitsTools), done(Outcome::Done, Some("It is on."))];
        check(false, happy.clone(), &["call a", "say It is on.", "settle 1|It is on."]);
        check(true, happy, &["call a", "say It is on.", "settle 1|It is on."]);
        let silent = vec![call("a"), end(Stop::AwaitsTools), done(Outcome::Done, None)];
        check(false, silent.clone(), &["call a", "say Done.", "settle 1|Done."]);
        check(true, silent, &["call a", "answer 1"]);
        check(
            false,
            vec![
                call("a"),
                call("b"),
                end(Stop::AwaitsTools),
                done(Outcome::Failed, None),
                done(Outcome::Done, Some("On.")),
            ],
            &["call a", "call b", "say That did not work.", "say On.", "settle 2|That did not work. On."],
        );
    }

    #[test]
    fn nothing_to_do_is_silence() {
        check(false, vec![end(Stop::EndOfTurn)], &["settle 0|"]);
        check(true, vec![text("Hi."), end(Stop::EndOfTurn)], &["say Hi.", "settle 0|Hi."]);
    }

    /// A sentence is said when the next one begins, and no sooner: what follows a dot may show that it goes on.
    #[test]
    fn words_are_said_by_the_sentence() {
        let mut assistant = Assistant::new(true);
        let mut check = |piece: &str, expected: &[&str]| {
            let expected: Vec<Command> = expected.iter().map(|said| Command::Say((*said).to_owned())).collect();
            assert_eq!(assistant.handle(text(piece)), expected, "{piece:?}");
        };
        check("Mr. ", &[]);
        check("Smith comes at 5 p.m", &[]);
        check(". on Monday.", &[]);
        check(" ", &[]);
        check("It", &["Mr. Smith comes at 5 p.m. on Monday."]);
        check(" is 21", &[]);
        check(".", &[]);
        check("5 degrees. Good", &["It is 21.5 degrees."]);
        let rest = assistant.handle(end(Stop::EndOfTurn));
        let said = "Mr. Smith comes at 5 p.m. on Monday. It is 21.5 degrees. Good".to_owned();
        assert_eq!(rest, [Command::Say("Good".into()), Command::Settle { results: Vec::new(), said }]);
    }

    /// Field notes, S13: what was not done is not said to be done.
    #[test]
    fn a_deed_that_was_only_claimed_is_not_said() {
        let sorry = ["say Sorry, I did not get that.", "settle 0|Sorry, I did not get that."];
        let boast = || vec![text("I turned"), text(" on the light."), end(Stop::EndOfTurn)];
        check(true, boast(), &["answer 1"]);
        check(true, [boast(), boast()].concat(), &["answer 1", sorry[0], sorry[1]]);
        let honest = vec![text("I cannot do that."), end(Stop::EndOfTurn)];
        check(true, [boast(), honest].concat(), &["answer 1", "say I cannot do that.", "settle 0|I cannot do that."]);
        let more = vec![text("Hello. I turned"), text(" it on. Anything else?"), end(Stop::EndOfTurn)];
        check(true, more, &["say Hello.", "answer 1"]);
        // With a call it is the result that is said, and afterwards the model may phrase it.
        let called = vec![text("Turning on the light."), call("a"), end(Stop::AwaitsTools)];
        check(
            true,
            [called, vec![done(Outcome::Done, None), text("It is now on."), end(Stop::EndOfTurn)]].concat(),
            &["call a", "answer 1", "say It is now on.", "settle 0|It is now on."],
        );
    }

    #[test]
    fn what_is_malformed_or_endless_is_never_executed() {
        check(true, vec![call("a"), malformed(), end(Stop::AwaitsTools)], &["answer 1"]);
        let sorry = "say Sorry, I did not get that.";
        let settled = "settle 0|Sorry, I did not get that.";
        check(
            true,
            vec![malformed(), end(Stop::EndOfTurn), malformed(), end(Stop::EndOfTurn)],
            &["answer 1", sorry, settled],
        );
        check(true, vec![call("a"), end(Stop::Loop)], &[sorry, settled]);
        check(true, vec![call("a"), end(Stop::TokenLimit)], &[sorry, settled]);
        check(true, vec![text("Once"), text(" upon"), end(Stop::TokenLimit)], &["say Once upon", "settle 0|Once upon"]);
        check(true, vec![call("a"), end(Stop::Cancelled)], &[]);
    }

    #[test]
    fn at_most_three_rounds() {
        let round = || vec![call("a"), end(Stop::AwaitsTools), done(Outcome::Done, None)];
        let events = [round(), round(), round(), vec![call("a"), end(Stop::AwaitsTools)]].concat();
        let sorry = ["say Sorry, I did not get that.", "settle 0|Sorry, I did not get that."];
        let rounds = ["call a", "answer 1"].repeat(3);
        check(true, events, &[rounds, sorry.to_vec()].concat());
    }

    #[test]
    fn limits_and_failures_are_announced() {
        check(false, vec![Event::TooLong(30.0)], &["say I only listened to the first 30 seconds."]);
        check(
            false,
            vec![Event::ModelFailed],
            &["say Sorry, something went wrong.", "settle 0|Sorry, something went wrong."],
        );
    }
}
