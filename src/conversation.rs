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

use std::time::Instant;

use crate::assistant::{Assistant, Command, Event};
use crate::dialogue::{Drafted, Outcome, TurnId};
use crate::followup::Memory;
use crate::listen::listener::{DeviceState, EndReason, ListenCommand, ListenEvent};
use crate::model::Start;
use crate::speech;

mod ends;
mod messages;

pub use ends::EndSilences;
use ends::{Drafts, Wish};
pub use messages::{Earcon, Input, Job, Key, Output, State, TurnTaking};

/// The turn in progress.
#[derive(Debug)]
struct Turn {
    id: TurnId,
    assistant: Assistant,
    /// The pause in which a draft stands.
    drafted: Option<u32>,
    drafts: Drafts,
    /// As configured when it began, as in the listener's ears.
    ends: EndSilences,
    max_ms: u32,
    /// Does it come upon a question, and may be the answer?
    answers: bool,
    /// Everything is decided; what is left is to be heard.
    settled: bool,
    /// The home asked back.
    asked: bool,
    /// Something is to be done.
    called: bool,
    /// Why it hears, if it does.
    opened: Option<Opened>,
    /// What is said, for the ears: it may name the wake word.
    words: String,
}

impl Turn {
    /// Does it end with a question?
    fn asks(&self) -> bool {
        self.asked || self.assistant.asks()
    }

    /// Does it, or does what is said sound so?
    fn asks_aloud(&self) -> bool {
        self.asks() || self.words.trim_end().ends_with('?')
    }
}

/// Why the microphone opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// Somebody called.
    Called,
    /// The key is held.
    Held,
    /// The key was tapped: silence ends the command.
    Tapped,
    /// Somebody spoke into a reply.
    Interrupted,
    /// A reply is over.
    FollowUp,
    /// What came after the call was no command: a cough, or the word dying away.
    Again,
}

/// The conversation.
#[derive(Debug)]
pub struct Conversation {
    config: TurnTaking,
    state: State,
    turns: u64,
    turn: Option<Turn>,
    key_down: bool,
    /// There is no microphone: whoever spoke would not be heard.
    deaf: bool,
    /// The next turn knows nothing of those before.
    fresh: bool,
    /// What the turns leave to each other; the turn in progress has it.
    memory: Memory,
    /// As last told.
    now: Instant,
    /// Announcements that wait for the turn to end. Bounded by [`Self::MAX_WAITING`]; the oldest is dropped.
    waiting: Vec<String>,
}

impl Conversation {
    const MAX_WAITING: usize = 16;

    /// A conversation that waits; its next turn has the number after `turns`.
    pub fn new(config: TurnTaking, turns: u64, now: Instant) -> Self {
        let memory = Memory::new(config.consent);
        Self {
            memory,
            now,
            config,
            state: State::Idle,
            turns,
            turn: None,
            key_down: false,
            deaf: false,
            fresh: false,
            waiting: Vec::new(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The turn in progress.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn.as_ref().map(|turn| turn.id)
    }

    /// Takes what happened, and when; gives what is to be done, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        let mut out = Vec::new();
        self.now = now;
        if let Some(turn) = &mut self.turn {
            turn.assistant.at(now);
        }
        match input {
            Input::Heard(event) => self.heard(event, &mut out),
            Input::Key(key) => self.key(key, &mut out),
            Input::Tap => {
                if self.hearing().is_some() {
                    self.nothing_said(false, &mut out);
                }
            }
            Input::Cancel => {
                self.end(State::Idle, &mut out);
                self.memory.drop_question();
                self.next(&mut out);
            }
            Input::Mute(mute) => self.mute(mute, &mut out),
            Input::Ask(text) => self.ask(text, &mut out),
            Input::Voiced(id, samples) => self.voiced(id, samples, &mut out),
            Input::Announce(text) => self.announce(text, &mut out),
            Input::Ring => self.ring(&mut out),
            Input::Forget => {
                self.fresh = true;
                self.memory = Memory::new(self.config.consent);
            }
            Input::Configure(config) => self.config = config,
            Input::Reply(id, event) => self.turn_event(id, Event::Reply(event), &mut out),
            Input::Drafted(id, pause, drafted) => self.drafted(id, pause, drafted, &mut out),
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

    /// Ends the turn in progress, whatever it does, and goes to `state`. Does what comes next come upon a question?
    fn end(&mut self, state: State, out: &mut Vec<Output>) -> bool {
        self.key_down = false;
        let mut asks = false;
        if let Some(turn) = self.turn.take() {
            // What is not heard out leaves the question that it would have answered.
            asks = turn.asks_aloud() || (turn.answers && !turn.settled);
            out.push(Output::Hush(turn.id));
            if !turn.settled {
                out.push(Output::Model(turn.id, Job::Cancel));
            }
            if !turn.words.is_empty() {
                out.push(Output::Listen(ListenCommand::Speaking(None)));
            }
            self.memory = turn.assistant.remember(self.now);
            out.push(Output::Listen(ListenCommand::Disarm));
        }
        let state = if self.state == State::Muted { State::Muted } else { state };
        self.show(state, out);
        asks
    }

    fn new_turn(&mut self, opened: Option<Opened>) -> TurnId {
        self.turns += 1;
        let id = TurnId(self.turns);
        let memory = std::mem::take(&mut self.memory);
        let (assistant, words) = (Assistant::remembering(self.config.phrases, memory, self.now), String::new());
        self.turn = Some(Turn {
            id,
            assistant,
            drafted: None,
            drafts: Drafts::default(),
            ends: self.config.ends,
            max_ms: self.config.max_ms,
            answers: false,
            settled: false,
            asked: false,
            called: false,
            opened,
            words,
        });
        id
    }

    fn begin(&mut self) -> Job {
        Job::Begin(if std::mem::take(&mut self.fresh) { Start::Fresh } else { Start::Continue })
    }

    /// A turn in which somebody is to speak, upon a question if `asked`.
    fn listen(&mut self, opened: Opened, asked: bool, wait_ms: u32, out: &mut Vec<Output>) {
        // Who calls again may want something else.
        let yes_or_no = opened == Opened::FollowUp && self.memory.awaits(self.now);
        let id = self.new_turn(Some(opened));
        self.turn.iter_mut().for_each(|turn| turn.answers = asked);
        let begin = self.begin();
        out.push(Output::Model(id, if yes_or_no { Job::Begin(Start::Answer) } else { begin }));
        // What was said before a reply had drained is no answer to it.
        let pre_roll = opened != Opened::FollowUp;
        out.push(Output::Listen(ListenCommand::Arm { pre_roll, wait_ms, hold: opened == Opened::Held }));
        self.show(State::Listening, out);
    }

    fn heard(&mut self, event: ListenEvent, out: &mut Vec<Output>) {
        match event {
            ListenEvent::Wake { .. } | ListenEvent::BargeIn if self.state == State::Muted => {}
            // Also while a command is heard: who calls again begins anew (the listener has let go of it).
            ListenEvent::Wake { .. } => {
                let asked = self.end(State::Idle, out);
                self.listen(Opened::Called, asked, self.config.wait_ms, out);
            }
            // One that comes when the reply is over is late.
            ListenEvent::BargeIn if self.state != State::Speaking || !self.config.barge_in => {}
            ListenEvent::BargeIn => {
                let asked = self.end(State::Idle, out);
                self.listen(Opened::Interrupted, asked, self.config.wait_ms, out);
            }
            // Who says it may have been taken for somebody who speaks into the reply.
            ListenEvent::Stop { .. } => {
                let interrupted = self.hearing().is_some_and(|turn| turn.opened == Some(Opened::Interrupted));
                if interrupted || self.state == State::Speaking {
                    self.end(State::Idle, out);
                    self.memory.drop_question();
                    self.next(out);
                }
            }
            // Who went on speaking needs no sound, and who interrupts knows why.
            ListenEvent::Waiting => {
                let asks = |turn: &mut Turn| !matches!(turn.opened, Some(Opened::Interrupted | Opened::Again));
                if self.hearing().is_some_and(asks) {
                    out.push(Output::Play(Earcon::Listening));
                }
            }
            ListenEvent::Audio(samples) => self.model(Job::Hear(samples), out),
            ListenEvent::Pause(pause) => self.draft(pause, out),
            // The sound of the pause so far was queued behind the draft: taken back, it is heard.
            ListenEvent::StillPaused(pause) => {
                if self.hearing().is_some_and(|turn| turn.drafted.take().is_some()) {
                    self.model(Job::Resume, out);
                }
                self.draft(pause, out);
            }
            ListenEvent::Resumed => {
                let drafted = self.hearing().is_some_and(|turn| {
                    turn.drafts.resumed();
                    turn.drafted.take().is_some()
                });
                if drafted {
                    self.model(Job::Resume, out);
                }
            }
            ListenEvent::End(reason) => self.endpoint(reason, out),
            // What is waited for does not come any more.
            ListenEvent::Device(device) => {
                self.deaf = !matches!(device, DeviceState::Running(_));
                if self.deaf {
                    self.endpoint(EndReason::Nothing, out);
                }
            }
            ListenEvent::SpeechStarted | ListenEvent::Level(_) => {}
        }
    }

    fn draft(&mut self, pause: u32, out: &mut Vec<Output>) {
        if let Some(turn) = self.hearing() {
            turn.drafted = Some(pause);
            self.model(Job::Draft(pause), out);
        }
    }

    /// A draft may change when the pause that it was made in is the end. It changes nothing else: it is told by a commit.
    fn drafted(&mut self, id: TurnId, pause: u32, drafted: Drafted, out: &mut Vec<Output>) {
        let Some(turn) = self.hearing().filter(|turn| turn.id == id && turn.drafted == Some(pause)) else { return };
        // A yes may be the beginning of "yes, but", a name of "the lamp ... no, the fan": what may answer a question never ends
        // sooner.
        let ends = if turn.answers { EndSilences { early_ms: None, ..turn.ends } } else { turn.ends };
        out.extend(turn.drafts.come_to(drafted, ends).map(|wish| {
            Output::Listen(match wish {
                Wish::EndAfter(silence_ms) => ListenCommand::EndPause { pause, silence_ms },
                Wish::DraftAt(silence_ms) => ListenCommand::PauseAgain { pause, silence_ms },
            })
        }));
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
        let (id, drafted, max_ms) = (turn.id, turn.drafted.is_some(), turn.max_ms);
        // Silence fails only those who called.
        let called = matches!(turn.opened, Some(Opened::Called | Opened::Held | Opened::Tapped));
        self.key_down = false;
        match reason {
            EndReason::Nothing => self.nothing_said(called, out),
            EndReason::Silence(_) | EndReason::Cap | EndReason::Released => {
                if !drafted {
                    out.push(Output::Model(id, Job::Draft(0)));
                }
                out.push(Output::Model(id, Job::Commit));
                self.show(State::Thinking, out);
                if reason == EndReason::Cap {
                    self.turn_event(id, Event::TooLong(f64::from(max_ms) / 1000.0), out);
                }
            }
        }
    }

    /// Nobody spoke while it heard.
    fn nothing_said(&mut self, sorry: bool, out: &mut Vec<Output>) {
        out.push(Output::NothingSaid);
        self.end(State::Idle, out);
        // Silence is a no.
        self.memory.drop_question();
        if sorry {
            out.push(Output::Play(Earcon::Sorry));
        }
        self.next(out);
    }

    fn key(&mut self, key: Key, out: &mut Vec<Output>) {
        let down = match key {
            Key::Down => true,
            Key::Up => false,
            Key::Toggle => !self.key_down,
        };
        match (down, self.key_down) {
            (true, false) if self.state != State::Muted && !self.deaf => {
                let asked = self.end(State::Idle, out);
                let opened = if key == Key::Down { Opened::Held } else { Opened::Tapped };
                // While it is held only the cap ends the waiting.
                let wait_ms = if opened == Opened::Held { self.config.max_ms } else { self.config.wait_ms };
                self.listen(opened, asked, wait_ms, out);
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
        self.memory.drop_question();
        self.state = if mute { State::Muted } else { State::Idle };
        let earcon = if mute { Earcon::Muted } else { Earcon::Unmuted };
        out.extend([Output::Listen(ListenCommand::Mute(mute)), Output::Play(earcon), Output::Show(self.state)]);
        self.next(out);
    }

    fn ask(&mut self, text: String, out: &mut Vec<Output>) {
        self.end(State::Idle, out);
        let id = self.new_turn(None);
        out.push(Output::Model(id, self.begin()));
        if self.config.reads_text {
            out.extend([Job::Read(text), Job::Draft(0), Job::Commit].map(|job| Output::Model(id, job)));
        } else {
            out.push(Output::Voice(id, text));
        }
        self.show_busy(State::Thinking, out);
    }

    fn voiced(&mut self, id: TurnId, samples: Vec<f32>, out: &mut Vec<Output>) {
        if self.turn.as_ref().is_some_and(|turn| turn.id == id) {
            out.extend([Job::Hear(samples), Job::Draft(0), Job::Commit].map(|job| Output::Model(id, job)));
        }
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
        let id = self.said_turn();
        // The first is heard while the next is made.
        for sentence in speech::sentences(&text) {
            self.speak(id, sentence, out);
        }
        out.push(Output::EndSpeech(id));
    }

    /// A turn in which there is nothing to decide.
    fn said_turn(&mut self) -> TurnId {
        let id = self.new_turn(None);
        if let Some(turn) = &mut self.turn {
            turn.settled = true;
        }
        id
    }

    /// Rings as it speaks: whatever silences a reply silences this too.
    fn ring(&mut self, out: &mut Vec<Output>) {
        if self.turn.is_none() {
            let id = self.said_turn();
            out.push(Output::Ring(id));
            self.show_busy(State::Speaking, out);
            out.push(Output::EndSpeech(id));
        }
    }

    /// What waited for the end of the turn.
    fn next(&mut self, out: &mut Vec<Output>) {
        if self.turn.is_none() && !self.waiting.is_empty() {
            let text = self.waiting.remove(0);
            self.announce(text, out);
        }
    }

    /// Says something of the turn in progress, and tells the ears what.
    fn speak(&mut self, id: TurnId, sentence: String, out: &mut Vec<Output>) {
        if let Some(turn) = &mut self.turn {
            if !turn.words.is_empty() {
                turn.words.push(' ');
            }
            turn.words.push_str(&sentence);
            out.push(Output::Listen(ListenCommand::Speaking(Some(turn.words.clone()))));
        }
        out.push(Output::Say(id, sentence));
        self.show_busy(State::Speaking, out);
    }

    fn turn_event(&mut self, id: TurnId, event: Event, out: &mut Vec<Output>) {
        // What belongs to a past turn is dropped here.
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id && !turn.settled) else { return };
        for command in turn.assistant.handle(event) {
            match command {
                Command::Call(call) => {
                    if let Some(turn) = &mut self.turn {
                        turn.called = true;
                    }
                    out.push(Output::Call(id, call));
                    self.show_busy(State::Acting, out);
                }
                Command::Say(sentence) => self.speak(id, sentence, out),
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
        let (asked, answers) = (turn.asks_aloud(), turn.answers);
        let wait_ms = if turn.asks() { self.config.question_ms } else { self.config.follow_up_ms };
        if !turn.words.is_empty() {
            out.push(Output::Listen(ListenCommand::Speaking(None)));
        }
        let (opened, called, silent) = (turn.opened, turn.called, turn.words.is_empty());
        self.memory = turn.assistant.remember(self.now);
        let in_vain = opened == Some(Opened::Called) && !called && silent;
        if in_vain && self.waiting.is_empty() && self.state != State::Muted && !self.deaf {
            self.listen(Opened::Again, answers, self.config.wait_ms, out);
            return;
        }
        // The microphone opens only now that all has been heard (field notes, C14).
        if self.waiting.is_empty() && self.state == State::Speaking && wait_ms > 0 && !self.deaf {
            self.listen(Opened::FollowUp, asked, wait_ms, out);
        } else {
            self.show_busy(State::Idle, out);
            self.next(out);
        }
    }
}

#[cfg(test)]
mod tests;
