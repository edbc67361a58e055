//! What a turn means by what was said before: yes, no, "I meant the bedroom", "say that again", "stop".
//!
//! Pure: no I/O, no clock, no thread; the time is told. A [`Memory`] outlives the turns: a turn takes it, and gives it
//! back when it ends. A question that waits for a yes is answered in the very next turn or never: a turn in which
//! nothing is said, or something else is, drops it (field notes, S15).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dialogue::{Consent, Effect, Outcome, ToolCall, ToolResult};

/// Said when the yes came too late.
const TOO_LATE: &str = "That was too long ago, so I left it. Say it again if you still want it.";
/// Said to a yes that answers nothing.
const NOTHING_ASKED: &str = "There is nothing that I wanted to know.";
/// Said to a yes that answers two questions.
const ONE_AT_A_TIME: &str = "I asked more than one thing, so I left them. Say them one at a time.";
/// Said to a no.
const ALL_RIGHT: &str = "All right.";
/// Said to a yes that answers which of two.
const WHICH: &str = "Which of the two?";
/// Said when there is nothing to say again.
const NOTHING_SAID: &str = "I have not said anything yet.";
/// Said to a correction of nothing.
const NOTHING_TO_CORRECT: &str = "There is nothing to correct.";
/// Said to a correction that fits nothing in the last call.
const WHAT_TO_CORRECT: &str = "I do not know what to change about that.";

/// What is remembered from turn to turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// How long a question waits for a yes.
    window: Duration,
    /// The last call, whatever became of it.
    last: Option<ToolCall>,
    /// What was said in the last turn that said something.
    said: String,
    /// What was asked in the last turn: at most one question can be answered.
    pending: Vec<Pending>,
}

/// A call that waits for a yes.
#[derive(Debug, Clone, PartialEq)]
struct Pending {
    call: ToolCall,
    /// What the yes is to: "unlock the front door".
    to: String,
    /// When the question had been asked; `None` until its turn is over.
    since: Option<Instant>,
}

impl Memory {
    /// Nothing yet. A yes counts for so long after the question.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, ..Self::default() }
    }

    /// Does a question wait for a yes?
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Does a question still wait for a yes now?
    #[must_use]
    pub fn awaits(&self, now: Instant) -> bool {
        let late = |pending: &Pending| pending.since.is_none_or(|since| now.duration_since(since) > self.window);
        // "The lamp or the fan?" is answered by neither yes nor no.
        self.asks() && !self.pending.iter().any(|pending| late(pending) || pending.call.rival.is_some())
    }

    /// The question is void: what was going on was cancelled.
    pub fn drop_question(&mut self) {
        self.pending.clear();
    }
}

/// What is to be done about one call of the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Carry this out.
    Call(ToolCall),
    /// Say this; the call is answered with that.
    Say(String),
}

/// The memory while a turn has it.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    memory: Memory,
    /// What the turn before asked; the memory's own is what this turn asks.
    pending: Vec<Pending>,
    now: Option<Instant>,
    /// Calls on their way, in the order in which their results come.
    out: Vec<ToolCall>,
    /// Was it only said again?
    repeated: bool,
}

impl Recall {
    pub(crate) fn new(mut memory: Memory, now: Option<Instant>) -> Self {
        let pending = std::mem::take(&mut memory.pending);
        Self { memory, pending, now, ..Self::default() }
    }

    /// It is later.
    pub(crate) fn at(&mut self, now: Instant) {
        self.now = Some(now);
    }

    pub(crate) fn asks(&self) -> bool {
        self.memory.asks()
    }

    /// What the calls of one reply come to, in order. The question that waited is gone afterwards, unless it was only to
    /// be said again.
    pub(crate) fn resolve(&mut self, calls: Vec<ToolCall>) -> Vec<Step> {
        // Whoever says no and yes says no.
        let is_no = |call: &ToolCall| matches!(call.name.as_str(), "deny" | "stop");
        let asked = !self.pending.is_empty();
        if calls.iter().any(is_no) {
            self.pending.clear();
        }
        let only_again = calls.iter().all(|call| call.name == "repeat");
        let steps: Vec<Step> = calls
            .into_iter()
            .map(|call| match call.name.as_str() {
                "confirm" => self.confirm(&call),
                "deny" => Step::Say(ALL_RIGHT.to_owned()),
                "stop" if asked => Step::Say(ALL_RIGHT.to_owned()),
                "repeat" if self.memory.said.is_empty() => Step::Say(NOTHING_SAID.to_owned()),
                "repeat" => Step::Say(self.memory.said.clone()),
                "correct" => self.correct(&call),
                // What rings is the home's to stop; that is no command that could be corrected.
                "stop" => Step::Call(call),
                _ => {
                    self.memory.last = Some(call.clone());
                    Step::Call(call)
                }
            })
            .collect();
        let pending = std::mem::take(&mut self.pending);
        if only_again && !pending.iter().any(|pending| self.is_late(pending)) {
            // It is asked again, and waits again.
            self.memory.pending = pending;
        }
        self.repeated = only_again;
        for step in &steps {
            if let Step::Call(call) = step {
                self.out.push(call.clone());
            }
        }
        steps
    }

    /// A yes: to what the turn before asked, and to nothing that this turn asks itself.
    fn confirm(&mut self, yes: &ToolCall) -> Step {
        let mut pending = std::mem::take(&mut self.pending);
        match (pending.pop(), pending.is_empty()) {
            (None, _) => Step::Say(NOTHING_ASKED.to_owned()),
            (Some(_), false) => Step::Say(ONE_AT_A_TIME.to_owned()),
            (Some(pending), true) if self.is_late(&pending) => Step::Say(TOO_LATE.to_owned()),
            // It waits on.
            (Some(pending), true) if pending.call.rival.is_some() => {
                self.memory.pending = vec![pending];
                Step::Say(WHICH.to_owned())
            }
            // How sure the yes was is for the home to judge.
            (Some(Pending { call, to, .. }), true) => {
                Step::Call(ToolCall { margin: yes.margin, consent: Consent::Spoken(to), ..call })
            }
        }
    }

    /// Without a clock everything is late.
    fn is_late(&self, pending: &Pending) -> bool {
        match (pending.since, self.now) {
            (Some(since), Some(now)) => now.saturating_duration_since(since) > self.memory.window,
            _ => true,
        }
    }

    /// "No, the bedroom": the last call again with what was said now in the place of what was said then.
    fn correct(&mut self, correction: &ToolCall) -> Step {
        let pending = std::mem::take(&mut self.pending);
        let Some(last) = &self.memory.last else { return Step::Say(NOTHING_TO_CORRECT.to_owned()) };
        let mut call = ToolCall { margin: correction.margin, ..ToolCall::new(&last.name, last.arguments.clone()) };
        let mut changed = false;
        for (key, value) in &correction.arguments {
            let key = if key == "value" { number_of(&call) } else { Some(key.as_str()) };
            let Some(key) = key else { return Step::Say(WHAT_TO_CORRECT.to_owned()) };
            let key = key.to_owned();
            changed |= call.arguments.get(&key) != Some(value);
            // In the place of a name, which would go before a kind and a room.
            if ["room", "kind"].contains(&key.as_str()) && call.arguments.contains_key("kind") {
                call.arguments.shift_remove("name");
            }
            call.arguments.insert(key, value.clone());
        }
        if !changed {
            // "The lamp" after "the lamp or the fan?": it was right.
            let chosen = pending.first().filter(|pending| pending.call == call && pending.call.rival.is_some());
            return match chosen.filter(|pending| !self.is_late(pending)) {
                Some(chosen) => Step::Call(ToolCall { consent: Consent::Spoken(chosen.to.clone()), ..call }),
                None => Step::Say(WHAT_TO_CORRECT.to_owned()),
            };
        }
        self.memory.last = Some(call.clone());
        Step::Call(call)
    }

    /// A call came back; one that waits for a yes is kept for the next turn.
    pub(crate) fn done(&mut self, result: &ToolResult) {
        let index = self.out.iter().position(|call| call.name == result.name);
        let Some(call) = index.map(|index| self.out.remove(index)) else { return };
        let (to, rival) = match (result.outcome, &result.effect) {
            // What the call might have been is no matter where it was not asked.
            (Outcome::Asked, Some(Effect::Confirm(to))) => (to.clone(), None),
            (Outcome::Asked, Some(Effect::Choose(to))) => (to.clone(), call.rival.clone()),
            _ => return,
        };
        self.memory.pending.push(Pending { call: ToolCall { rival, ..call }, to, since: None });
    }

    /// The turn is over: what was said has been heard now, and a question in it waits from now on.
    pub(crate) fn remember(mut self, said: &str, now: Instant) -> Memory {
        if !said.is_empty() && !self.repeated {
            said.clone_into(&mut self.memory.said);
        }
        for pending in &mut self.memory.pending {
            pending.since = Some(now);
        }
        self.memory
    }
}

/// The number that a call is about, if there is one.
fn number_of(call: &ToolCall) -> Option<&'static str> {
    let keys: &[&'static str] = match call.name.as_str() {
        "set_brightness" | "set_position" | "set_volume" => &["percent"],
        "set_temperature" => &["degrees"],
        // The last is what is meant where none was said.
        "set_timer" => &["hours", "seconds", "minutes"],
        "set_alarm" => &["hour"],
        "snooze" => &["minutes"],
        _ => {
            let is_number = |key: &&&str| call.arguments.get(**key).is_some_and(Value::is_number);
            return ["percent", "degrees", "minutes", "hour", "seconds", "hours"].iter().find(is_number).copied();
        }
    };
    let given: Vec<_> = keys.iter().filter(|key| call.arguments.contains_key(**key)).collect();
    match given.as_slice() {
        [] => keys.last().copied(),
        [one] => Some(one),
        // Hours and minutes: who knows which was wrong.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
