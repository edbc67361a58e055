//! The live conversation as a pure state machine: what the threads report goes in, what they are to do comes out.
//! No I/O, no clock, no thread. One turn of it is an [`Assistant`]; this file decides when a turn begins, when it is
//! heard out, what interrupts it, and what comes after it.
//!
//! ```text
//! idle -> wake or key -> hearing -> thinking -> acting -> speaking -> (follow-up) -> idle
//! ```
//!
//! Everything carries the number of its turn. What arrives for a past turn is dropped in [`Conversation::handle`], in one
//! place, so that barge-in, cancel and mute are the same thing: the turn is over.

use serde::Serialize;

use crate::assistant::{Assistant, Command, Event};
use crate::dialogue::{Outcome, ReplyEvent, ToolCall, ToolResult, TurnId};
use crate::listen::listener::{EndReason, ListenCommand, ListenEvent};
use crate::model::Start;

/// Where the conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for the wake word or the key.
    Idle,
    /// Hears a command.
    Listening,
    /// Decodes the answer.
    Thinking,
    /// A call is being carried out.
    Acting,
    /// Speaks.
    Speaking,
    /// The microphone is off.
    Muted,
}

/// A short sound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earcon {
    /// Speak now.
    Listening,
    /// Not understood, or given up.
    Sorry,
}

/// What the key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Pressed.
    Down,
    /// Released.
    Up,
    /// Pressed if up, released if down.
    Toggle,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// From the listen thread.
    Heard(ListenEvent),
    /// The push-to-talk key.
    Key(Key),
    /// The model wrote something.
    Reply(TurnId, ReplyEvent),
    /// The model failed.
    Failed(TurnId),
    /// A call came back.
    Done(TurnId, ToolResult),
    /// All that was to be said in this turn has been heard.
    Spoken(TurnId),
    /// Stop whatever goes on.
    Cancel,
    /// Microphone off or on.
    Mute(bool),
    /// A command as text.
    Ask(String),
    /// A sentence to speak, for instance that a timer rings.
    Announce(String),
}

/// Work for the model, in the order of its interface.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// A turn begins.
    Begin(Start),
    /// Samples at 16 kHz.
    Hear(Vec<f32>),
    /// A turn as text.
    Read(String),
    /// The pause may be the end.
    Draft,
    /// It was not.
    Resume,
    /// It was.
    Commit,
    /// Results of the calls.
    Answer(Vec<ToolResult>),
    /// Remember the turn.
    Settle {
        /// Results of the last round.
        results: Vec<ToolResult>,
        /// All that was said.
        said: String,
    },
    /// Forget the turn.
    Cancel,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// For the inference thread.
    Model(TurnId, Job),
    /// For the listen thread.
    Listen(ListenCommand),
    /// For the home.
    Call(TurnId, ToolCall),
    /// Speak a whole sentence.
    Say(TurnId, String),
    /// Speak the model's own text as its sentences become complete.
    Stream(TurnId, String),
    /// Nothing more will be said in this turn: report [`Input::Spoken`] when all has been heard.
    EndSpeech(TurnId),
    /// Stop speaking at once.
    Hush,
    /// Play a sound.
    Play(Earcon),
    /// Show the state.
    Show(State),
}

/// How turns are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnTaking {
    /// May the model put results into words (manifest)?
    pub phrases: bool,
    /// How long somebody may take to begin to speak, in ms.
    pub wait_ms: u32,
    /// How long the microphone stays open after an answer, in ms; 0 closes it unless the answer was a question.
    pub follow_up_ms: u32,
    /// The same after a question, in ms.
    pub question_ms: u32,
}

/// The turn in progress.
#[derive(Debug)]
struct Turn {
    id: TurnId,
    assistant: Assistant,
    drafted: bool,
    /// Everything is decided; what is left is to be heard.
    settled: bool,
    /// The home asked back.
    asked: bool,
    /// The microphone opened by itself after an answer: silence is no failure.
    follow_up: bool,
}

/// The conversation.
#[derive(Debug)]
pub struct Conversation {
    config: TurnTaking,
    state: State,
    turns: u64,
    turn: Option<Turn>,
    key_down: bool,
    /// Announcements that wait for the turn to end. Bounded by [`Self::MAX_WAITING`]; the oldest is dropped.
    waiting: Vec<String>,
}

impl Conversation {
    const MAX_WAITING: usize = 16;

    /// A conversation that waits.
    pub fn new(config: TurnTaking) -> Self {
        Self { config, state: State::Idle, turns: 0, turn: None, key_down: false, waiting: Vec::new() }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes what happened; gives what is to be done, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Heard(event) => self.heard(event, &mut out),
            Input::Key(key) => self.key(key, &mut out),
            Input::Cancel => self.end(State::Idle, &mut out),
            Input::Mute(mute) => self.mute(mute, &mut out),
            Input::Ask(text) => self.ask(text, &mut out),
            Input::Announce(text) => self.announce(text, &mut out),
            Input::Reply(id, event) => self.turn_event(id, Event::Reply(event), &mut out),
            Input::Failed(id) => self.turn_event(id, Event::ModelFailed, &mut out),
            Input::Done(id, result) => {
                if let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id) {
                    turn.asked |= result.outcome == Outcome::Asked;
                }
                self.turn_event(id, Event::ToolDone(result), &mut out);
            }
            Input::Spoken(id) => self.spoken(id, &mut out),
        }
        out
    }

    fn show(&mut self, state: State, out: &mut Vec<Output>) {
        if self.state != state {
            self.state = state;
            out.push(Output::Show(state));
        }
    }

    /// Ends the turn in progress, whatever it does, and goes to `state`.
    fn end(&mut self, state: State, out: &mut Vec<Output>) {
        self.key_down = false;
        if let Some(turn) = self.turn.take() {
            out.push(Output::Hush);
            if !turn.settled {
                out.push(Output::Model(turn.id, Job::Cancel));
            }
            out.push(Output::Listen(ListenCommand::Disarm));
        }
        let state = if self.state == State::Muted { State::Muted } else { state };
        self.show(state, out);
    }

    fn new_turn(&mut self, follow_up: bool) -> TurnId {
        self.turns += 1;
        let id = TurnId(self.turns);
        let assistant = Assistant::new(self.config.phrases);
        self.turn = Some(Turn { id, assistant, drafted: false, settled: false, asked: false, follow_up });
        id
    }

    /// A turn in which somebody is to speak.
    fn listen(&mut self, follow_up: bool, wait_ms: u32, out: &mut Vec<Output>) {
        let id = self.new_turn(follow_up);
        out.push(Output::Model(id, Job::Begin(Start::Continue)));
        if !follow_up {
            out.push(Output::Play(Earcon::Listening));
        }
        out.push(Output::Listen(ListenCommand::Arm { wait_ms }));
        self.show(State::Listening, out);
    }

    fn heard(&mut self, event: ListenEvent, out: &mut Vec<Output>) {
        match event {
            ListenEvent::Wake { .. } | ListenEvent::BargeIn if self.state == State::Muted => {}
            ListenEvent::Wake { .. } | ListenEvent::BargeIn => {
                if self.state == State::Listening {
                    return;
                }
                self.end(State::Idle, out);
                self.listen(false, self.config.wait_ms, out);
            }
            ListenEvent::Audio(samples) => self.model(Job::Hear(samples), out),
            ListenEvent::Pause => {
                if let Some(turn) = self.hearing() {
                    turn.drafted = true;
                    self.model(Job::Draft, out);
                }
            }
            ListenEvent::Resumed => {
                if self.hearing().is_some_and(|turn| std::mem::take(&mut turn.drafted)) {
                    self.model(Job::Resume, out);
                }
            }
            ListenEvent::End(reason) => self.endpoint(reason, out),
            _ => {}
        }
    }

    fn hearing(&mut self) -> Option<&mut Turn> {
        if self.state == State::Listening { self.turn.as_mut() } else { None }
    }

    fn model(&mut self, job: Job, out: &mut Vec<Output>) {
        if let Some(turn) = self.hearing() {
            let id = turn.id;
            out.push(Output::Model(id, job));
        }
    }

    fn endpoint(&mut self, reason: EndReason, out: &mut Vec<Output>) {
        let Some(turn) = self.hearing() else { return };
        let (id, drafted, follow_up) = (turn.id, turn.drafted, turn.follow_up);
        self.key_down = false;
        match reason {
            EndReason::Nothing => {
                self.end(State::Idle, out);
                if !follow_up {
                    out.push(Output::Play(Earcon::Sorry));
                }
                self.next(out);
            }
            EndReason::Silence | EndReason::Cap | EndReason::Released => {
                if !drafted {
                    out.push(Output::Model(id, Job::Draft));
                }
                out.push(Output::Model(id, Job::Commit));
                self.show(State::Thinking, out);
            }
        }
    }

    fn key(&mut self, key: Key, out: &mut Vec<Output>) {
        let down = match key {
            Key::Down => true,
            Key::Up => false,
            Key::Toggle => !self.key_down,
        };
        match (down, self.key_down) {
            (true, false) if self.state != State::Muted => {
                self.end(State::Idle, out);
                self.listen(false, self.config.wait_ms, out);
                self.key_down = true;
            }
            (false, true) => {
                self.key_down = false;
                if self.state == State::Listening {
                    out.push(Output::Listen(ListenCommand::Release));
                }
            }
            _ => {}
        }
    }

    fn mute(&mut self, mute: bool, out: &mut Vec<Output>) {
        if mute == (self.state == State::Muted) {
            return;
        }
        self.end(State::Idle, out);
        out.push(Output::Listen(ListenCommand::Mute(mute)));
        self.show(if mute { State::Muted } else { State::Idle }, out);
    }

    fn ask(&mut self, text: String, out: &mut Vec<Output>) {
        self.end(State::Idle, out);
        let id = self.new_turn(false);
        let jobs = [Job::Begin(Start::Continue), Job::Read(text), Job::Draft, Job::Commit];
        out.extend(jobs.map(|job| Output::Model(id, job)));
        self.show_busy(State::Thinking, out);
    }

    /// Shows what goes on, unless the microphone is off: that is what has to be seen.
    fn show_busy(&mut self, state: State, out: &mut Vec<Output>) {
        if self.state != State::Muted {
            self.show(state, out);
        }
    }

    fn announce(&mut self, text: String, out: &mut Vec<Output>) {
        if self.turn.is_some() {
            if self.waiting.len() == Self::MAX_WAITING {
                self.waiting.remove(0);
            }
            self.waiting.push(text);
            return;
        }
        let id = self.new_turn(false);
        if let Some(turn) = &mut self.turn {
            turn.settled = true;
        }
        out.extend([Output::Say(id, text), Output::EndSpeech(id)]);
        self.show_busy(State::Speaking, out);
    }

    /// What waited for the end of the turn.
    fn next(&mut self, out: &mut Vec<Output>) {
        if self.turn.is_none() && !self.waiting.is_empty() {
            let text = self.waiting.remove(0);
            self.announce(text, out);
        }
    }

    fn turn_event(&mut self, id: TurnId, event: Event, out: &mut Vec<Output>) {
        // What belongs to a past turn is dropped here.
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id && !turn.settled) else { return };
        for command in turn.assistant.handle(event) {
            match command {
                Command::Call(call) => {
                    out.push(Output::Call(id, call));
                    self.show_busy(State::Acting, out);
                }
                Command::Say(sentence) => {
                    out.push(Output::Say(id, sentence));
                    self.show_busy(State::Speaking, out);
                }
                Command::Stream(piece) => {
                    out.push(Output::Stream(id, piece));
                    self.show_busy(State::Speaking, out);
                }
                Command::Answer(results) => out.push(Output::Model(id, Job::Answer(results))),
                Command::Settle { results, said } => {
                    out.push(Output::EndSpeech(id));
                    out.push(Output::Model(id, Job::Settle { results, said }));
                    if let Some(turn) = &mut self.turn {
                        turn.settled = true;
                    }
                }
            }
        }
    }

    fn spoken(&mut self, id: TurnId, out: &mut Vec<Output>) {
        let Some(turn) = self.turn.take_if(|turn| turn.id == id && turn.settled) else { return };
        let wait_ms = if turn.asked { self.config.question_ms } else { self.config.follow_up_ms };
        // The microphone opens only now that all has been heard (field notes, C14).
        if self.waiting.is_empty() && self.state == State::Speaking && wait_ms > 0 {
            self.listen(true, wait_ms, out);
        } else {
            self.show_busy(State::Idle, out);
            self.next(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::dialogue::Stop;

    const CONFIG: TurnTaking = TurnTaking { phrases: false, wait_ms: 4000, follow_up_ms: 0, question_ms: 6000 };

    /// Outputs in short: `begin 1`, `call 1`, `say 1 text`, `show idle`, ...
    fn short(output: Output) -> String {
        match output {
            Output::Model(id, job) => {
                let job = match job {
                    Job::Begin(_) => "begin".into(),
                    Job::Hear(samples) => format!("hear {}", samples.len()),
                    Job::Read(text) => format!("read {text}"),
                    Job::Draft => "draft".into(),
                    Job::Resume => "resume".into(),
                    Job::Commit => "commit".into(),
                    Job::Answer(_) => "answer".into(),
                    Job::Settle { .. } => "settle".into(),
                    Job::Cancel => "forget".into(),
                };
                format!("{}:{job}", id.0)
            }
            Output::Listen(ListenCommand::Arm { wait_ms }) => format!("arm {wait_ms}"),
            Output::Listen(command) => format!("{command:?}").to_lowercase(),
            Output::Call(id, call) => format!("{}:call {}", id.0, call.name),
            Output::Say(id, text) | Output::Stream(id, text) => format!("{}:say {text}", id.0),
            Output::EndSpeech(id) => format!("{}:end", id.0),
            Output::Hush => "hush".into(),
            Output::Play(earcon) => format!("{earcon:?}").to_lowercase(),
            Output::Show(state) => format!("[{state:?}]").to_lowercase(),
        }
    }

    struct Talk(Conversation);

    impl Talk {
        fn new(config: TurnTaking) -> Self {
            Self(Conversation::new(config))
        }

        fn check(&mut self, input: Input, expected: &str) {
            let found: Vec<String> = self.0.handle(input.clone()).into_iter().map(short).collect();
            assert_eq!(found.join(", "), expected, "{input:?}");
        }
    }

    fn wake() -> Input {
        Input::Heard(ListenEvent::Wake { word: "computer".into(), score: 0.9 })
    }

    fn heard(event: ListenEvent) -> Input {
        Input::Heard(event)
    }

    fn call(turn: u64) -> Input {
        Input::Reply(TurnId(turn), ReplyEvent::Call(ToolCall { name: "turn_on".into(), arguments: Map::new() }))
    }

    fn stop(turn: u64, stop: Stop) -> Input {
        Input::Reply(TurnId(turn), ReplyEvent::End(stop))
    }

    fn done(turn: u64, outcome: Outcome, say: &str) -> Input {
        let result = ToolResult { name: "turn_on".into(), outcome, content: Map::new(), say: Some(say.into()) };
        Input::Done(TurnId(turn), result)
    }

    #[test]
    fn a_command_from_wake_word_to_idle() {
        let mut talk = Talk::new(CONFIG);
        talk.check(wake(), "1:begin, listening, arm 4000, [listening]");
        talk.check(heard(ListenEvent::SpeechStarted), "");
        talk.check(heard(ListenEvent::Audio(vec![0.0; 3])), "1:hear 3");
        talk.check(heard(ListenEvent::Pause), "1:draft");
        talk.check(heard(ListenEvent::Audio(vec![0.0; 2])), "1:hear 2");
        talk.check(heard(ListenEvent::Resumed), "1:resume");
        talk.check(heard(ListenEvent::Pause), "1:draft");
        talk.check(heard(ListenEvent::End(EndReason::Silence)), "1:commit, [thinking]");
        talk.check(call(1), "");
        talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
        talk.check(done(1, Outcome::Done, "It is on."), "1:say It is on., [speaking], 1:end, 1:settle");
        talk.check(Input::Spoken(TurnId(1)), "[idle]");
    }

    #[test]
    fn an_end_without_a_pause_is_drafted_first() {
        let mut talk = Talk::new(CONFIG);
        talk.check(Input::Key(Key::Down), "1:begin, listening, arm 4000, [listening]");
        talk.check(Input::Key(Key::Down), "");
        talk.check(heard(ListenEvent::Audio(vec![0.0])), "1:hear 1");
        talk.check(Input::Key(Key::Up), "release");
        talk.check(heard(ListenEvent::End(EndReason::Released)), "1:draft, 1:commit, [thinking]");
        talk.check(stop(1, Stop::EndOfTurn), "1:end, 1:settle");
        talk.check(Input::Spoken(TurnId(1)), "[idle]");
        talk.check(Input::Key(Key::Up), "");
    }

    #[test]
    fn nobody_speaks() {
        let mut talk = Talk::new(CONFIG);
        talk.check(wake(), "1:begin, listening, arm 4000, [listening]");
        talk.check(heard(ListenEvent::End(EndReason::Nothing)), "hush, 1:forget, disarm, [idle], sorry");
    }

    #[test]
    fn barge_in_cancel_and_mute_end_the_turn_and_what_is_late_is_dropped() {
        for (interruption, expected) in [
            (wake(), "hush, 1:forget, disarm, [idle], 2:begin, listening, arm 4000, [listening]"),
            (heard(ListenEvent::BargeIn), "hush, 1:forget, disarm, [idle], 2:begin, listening, arm 4000, [listening]"),
            (Input::Cancel, "hush, 1:forget, disarm, [idle]"),
            (Input::Mute(true), "hush, 1:forget, disarm, [idle], mute(true), [muted]"),
        ] {
            let mut talk = Talk::new(CONFIG);
            talk.check(wake(), "1:begin, listening, arm 4000, [listening]");
            talk.check(heard(ListenEvent::End(EndReason::Cap)), "1:draft, 1:commit, [thinking]");
            talk.check(interruption, expected);
            talk.check(call(1), "");
            talk.check(stop(1, Stop::AwaitsTools), "");
            talk.check(done(1, Outcome::Done, "It is on."), "");
            talk.check(Input::Spoken(TurnId(1)), "");
            talk.check(Input::Failed(TurnId(1)), "");
        }
    }

    #[test]
    fn muted_is_deaf_but_not_dumb() {
        let mut talk = Talk::new(CONFIG);
        talk.check(Input::Mute(false), "");
        talk.check(Input::Mute(true), "mute(true), [muted]");
        talk.check(wake(), "");
        talk.check(heard(ListenEvent::BargeIn), "");
        talk.check(Input::Key(Key::Down), "");
        talk.check(Input::Announce("The egg timer is over.".into()), "1:say The egg timer is over., 1:end");
        talk.check(Input::Spoken(TurnId(1)), "");
        talk.check(Input::Ask("hello".into()), "2:begin, 2:read hello, 2:draft, 2:commit");
        talk.check(Input::Mute(false), "hush, 2:forget, disarm, mute(false), [idle]");
    }

    #[test]
    fn the_microphone_opens_after_a_question_once_it_was_heard() {
        let mut talk = Talk::new(CONFIG);
        talk.check(wake(), "1:begin, listening, arm 4000, [listening]");
        talk.check(heard(ListenEvent::End(EndReason::Silence)), "1:draft, 1:commit, [thinking]");
        talk.check(call(1), "");
        talk.check(stop(1, Stop::AwaitsTools), "1:call turn_on, [acting]");
        talk.check(done(1, Outcome::Asked, "Which one?"), "1:say Which one?, [speaking], 1:end, 1:settle");
        talk.check(Input::Spoken(TurnId(1)), "2:begin, arm 6000, [listening]");
        talk.check(heard(ListenEvent::End(EndReason::Nothing)), "hush, 2:forget, disarm, [idle]");
    }

    #[test]
    fn announcements_wait_for_the_turn_to_end() {
        let mut talk = Talk::new(CONFIG);
        talk.check(wake(), "1:begin, listening, arm 4000, [listening]");
        talk.check(Input::Announce("The egg timer is over.".into()), "");
        talk.check(heard(ListenEvent::End(EndReason::Silence)), "1:draft, 1:commit, [thinking]");
        talk.check(stop(1, Stop::EndOfTurn), "1:end, 1:settle");
        talk.check(Input::Spoken(TurnId(1)), "[idle], 2:say The egg timer is over., 2:end, [speaking]");
        talk.check(Input::Spoken(TurnId(2)), "[idle]");
    }

    #[test]
    fn a_failing_model_apologises() {
        let mut talk = Talk::new(CONFIG);
        talk.check(Input::Ask("hello".into()), "1:begin, 1:read hello, 1:draft, 1:commit, [thinking]");
        let sorry = "1:say Sorry, something went wrong., [speaking], 1:end, 1:settle";
        talk.check(Input::Failed(TurnId(1)), sorry);
        talk.check(Input::Spoken(TurnId(1)), "[idle]");
    }
}
