//! What becomes of the turns: the record of the one in progress, and the history of those before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ask::Action;
use crate::config::Config;
use crate::dialogue::{ToolCall, ToolResult, TurnId};
use crate::history::{Ending, History, Record};
use crate::listen::listener::EndReason;
use crate::telemetry;
use crate::timeline::{Timeline, ms};

/// Records of turns.
pub(super) struct Turns {
    history: History,
    /// Is sound kept?
    clips: bool,
    current: Option<Current>,
    /// Why the next turn begins.
    because: Option<String>,
    /// Is the model to be asked what it heard?
    transcribe: bool,
    /// Turns that it has not been asked about, oldest first; with [`MOST_WAITING`] of them the oldest is dropped.
    waiting: VecDeque<(u64, Vec<f32>)>,
    /// What it is being asked about.
    asked: Option<(u64, Vec<f32>)>,
}

/// Sound of turns in memory, at most 2 MB each.
const MOST_WAITING: usize = 8;

struct Current {
    id: TurnId,
    began: Instant,
    /// The last sample of speech, as near as the endpoint tells.
    spoke_until: Option<Instant>,
    /// Is everything decided?
    settled: bool,
    sound: Vec<f32>,
    record: Record,
}

/// Milliseconds since 1970.
pub(super) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Turns {
    /// None yet in this run; also the number of the last turn of those before.
    pub(super) fn open(config: &Config) -> (Self, u64) {
        let (history, last) = History::open(&config.state.path(), &config.history);
        let (clips, transcribe) = (config.record.clips, config.history.transcribe);
        let (waiting, asked) = (VecDeque::new(), None);
        (Self { history, clips, current: None, because: None, transcribe, waiting, asked }, last)
    }

    /// What of it can change while the daemon runs.
    pub(super) fn configure(&mut self, config: &Config) {
        (self.clips, self.transcribe) = (config.record.clips, config.history.transcribe);
        if !self.transcribe {
            self.waiting.clear();
        }
    }

    /// A turn that the model may be asked about, unless it is being asked already.
    pub(super) fn untranscribed(&mut self) -> Option<(TurnId, Vec<f32>)> {
        if self.asked.is_some() {
            return None;
        }
        self.asked = self.waiting.pop_front();
        self.asked.as_ref().map(|(turn, samples)| (TurnId(*turn), samples.clone()))
    }

    /// What the model heard in a turn; none when it could not tell, and whether it is asked again later.
    pub(super) fn transcribed(&mut self, turn: TurnId, heard: Option<String>, again: bool) {
        let asked = self.asked.take().filter(|_| again && self.transcribe && self.waiting.len() < MOST_WAITING);
        if let Some(asked) = asked {
            self.waiting.push_front(asked);
        }
        if let Some(heard) = heard
            && let Err(error) = self.history.add_heard(turn.0, heard)
        {
            tracing::warn!(%error, "what was heard is not in the history");
        }
    }

    /// Why the next turn begins.
    pub(super) fn because(&mut self, why: String) {
        self.because = Some(why);
    }

    pub(super) fn begin(&mut self, turn: TurnId) {
        self.finish(Ending::Open);
        let by = self.because.take().unwrap_or_else(|| "an open microphone".into());
        let record = Record { turn: turn.0, at_unix_ms: now_unix_ms(), by, ..Record::default() };
        let (began, sound) = (Instant::now(), Vec::new());
        self.current = Some(Current { id: turn, began, spoke_until: None, settled: false, sound, record });
    }

    fn of(&mut self, turn: TurnId) -> Option<&mut Current> {
        self.current.as_mut().filter(|current| current.id == turn)
    }

    pub(super) fn sound(&mut self, turn: Option<TurnId>, samples: &[f32]) {
        let is_kept = self.clips;
        if let Some(current) = turn.and_then(|turn| self.of(turn)).filter(|_| is_kept) {
            current.sound.extend_from_slice(samples);
        }
    }

    pub(super) fn endpoint(&mut self, turn: Option<TurnId>, reason: EndReason) {
        if let Some(current) = turn.and_then(|turn| self.of(turn)) {
            // The endpoint comes that much after the last sample of speech.
            let waited_ms = if let EndReason::Silence(silence_ms) = reason { silence_ms } else { 0 };
            let until = Instant::now().checked_sub(Duration::from_millis(waited_ms.into()));
            current.spoke_until = until;
            current.record.after.endpoint_ms = current.after();
        }
    }

    pub(super) fn calls(&mut self, turn: TurnId) {
        if let Some(current) = self.of(turn) {
            current.record.after.call_ms = current.record.after.call_ms.or(current.after());
        }
    }

    pub(super) fn called(&mut self, turn: TurnId, call: ToolCall, result: ToolResult) {
        if let Some(current) = self.of(turn) {
            current.record.after.done_ms = current.after();
            current.record.actions.push(Action { call, result });
        }
    }

    pub(super) fn times(&mut self, turn: TurnId, timeline: Timeline) {
        if let Some(current) = self.of(turn) {
            current.record.timeline = timeline;
        }
    }

    pub(super) fn began_to_speak(&mut self, turn: TurnId) {
        if let Some(current) = self.of(turn) {
            current.record.after.first_sound_ms = current.after();
        }
    }

    /// All is decided; gives the calls for whoever asked.
    pub(super) fn settled(&mut self, turn: TurnId, said: &str) -> Vec<Action> {
        let Some(current) = self.of(turn) else { return Vec::new() };
        current.settled = true;
        said.clone_into(&mut current.record.said);
        current.record.actions.clone()
    }

    pub(super) fn cancelled(&mut self, turn: TurnId) {
        if self.of(turn).is_some() {
            self.finish(Ending::Cancelled);
        }
    }

    /// The rest of what it says is not heard. One in which all is decided is over; any other is cancelled.
    pub(super) fn hushed(&mut self, turn: TurnId) {
        if self.of(turn).is_some_and(|current| current.settled) {
            self.finish(Ending::Done);
        }
    }

    /// The turn that ended last did so because nobody spoke.
    pub(super) fn nothing_said(&mut self) {
        self.finish(Ending::NothingSaid);
    }

    /// All has been said.
    pub(super) fn close(&mut self, turn: TurnId) {
        if self.of(turn).is_some() {
            self.finish(Ending::Done);
        }
    }

    fn finish(&mut self, ending: Ending) {
        let Some(mut current) = self.current.take() else { return };
        let record = &mut current.record;
        record.ending = if current.settled { Ending::Done } else { ending };
        record.timeline.total_ms = ms(current.began.elapsed());
        record.timeline.first_sound_ms = record.after.first_sound_ms.unwrap_or_default();
        telemetry::turn(record.turn, &record.timeline);
        let kept = self.history.keep(record).and_then(|()| match current.sound {
            sound if sound.is_empty() => Ok(()),
            sound => {
                if self.transcribe && record.ending == Ending::Done {
                    if self.waiting.len() == MOST_WAITING {
                        self.waiting.pop_front();
                    }
                    self.waiting.push_back((record.turn, sound.clone()));
                }
                self.history.keep_sound(record.turn, sound)
            }
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "the turn is not in the history");
        }
    }
}

impl Current {
    /// Since the last sample of speech, in ms.
    fn after(&self) -> Option<f64> {
        self.spoke_until.map(|until| ms(until.elapsed()))
    }
}
