//! What is asked of the daemon over its socket: the key, mute, text, and to read its configuration again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Daemon, MICROPHONE, turn_taking};
use crate::config::Config;
use crate::control::{self, Order, PttAction, Request};
use crate::conversation::{Input, Key, State};
use crate::dialogue::TurnId;
use crate::failure::{CONFIG, UNAVAILABLE};
use crate::listen::listener::ListenCommand;
use crate::mouth::Line;

/// When the push-to-talk key was pressed, and the turn that this began.
#[derive(Default)]
pub(super) struct Press(Option<(TurnId, Instant)>);

impl Press {
    /// The key is down, in this turn. A key that is held repeats itself: only what begins a turn is a press.
    fn down(&mut self, turn: Option<TurnId>, now: Instant) {
        if self.0.map(|(begun, _)| begun) != turn {
            self.0 = turn.map(|turn| (turn, now));
        }
    }

    /// The key is up: was it a tap, and is its turn still the one in progress?
    fn up(&mut self, turn: Option<TurnId>, now: Instant, least: Duration) -> bool {
        self.0.take().is_some_and(|(begun, at)| Some(begun) == turn && now - at < least)
    }
}

impl Daemon {
    pub(super) fn order(&mut self, Order { request, reply }: Order) {
        let loading = || control::refused("hearth is still loading", Some(UNAVAILABLE));
        let answer = match request {
            Request::Mute(mute) => self.mute(mute),
            Request::Cancel => {
                self.answering = true;
                self.input(Input::Cancel);
                self.answered();
                control::done()
            }
            Request::Reload => match self.reload() {
                Ok(restart) => json!({"restart_for": restart}),
                Err(reason) => control::refused(reason, Some(CONFIG)),
            },
            Request::Figures => {
                let (capture, playback) = (&self.threads.capture_times, &self.threads.playback_times);
                json!({"callbacks": {"capture": capture.figures(), "playback": playback.figures()}})
            }
            _ if !self.is_ready() => loading(),
            Request::Ptt(action) => self.key(action),
            Request::Say(text) => {
                self.input(Input::Announce(text));
                control::done()
            }
            Request::Ask(text) => {
                self.turns.because("text".into());
                self.input(Input::Ask(text));
                // Answered when the turn is over.
                self.asked = self.conversation.turn().map(|turn| (turn, reply));
                return;
            }
        };
        let _ = reply.send(answer);
    }

    fn key(&mut self, action: PttAction) -> Value {
        if self.conversation.state() == State::Muted && action != PttAction::Stop {
            return control::refused("the microphone is off", None);
        }
        let missing = self.publisher.public().missing.into_iter().find(|missing| missing.what == MICROPHONE);
        if let Some(missing) = missing.filter(|_| action != PttAction::Stop) {
            let reason = format!("there is no microphone ({}): {}", missing.name, missing.reason);
            return control::refused(reason, Some(UNAVAILABLE));
        }
        self.answering = true;
        self.turns.because("the key".into());
        match action {
            PttAction::Start => {
                let now = Instant::now();
                self.input(Input::Key(Key::Down));
                self.press.down(self.conversation.turn(), now);
            }
            PttAction::Toggle => self.input(Input::Key(Key::Toggle)),
            PttAction::Stop => {
                let least = Duration::from_millis(self.config.turn.min_hold_ms.into());
                let is_tap = self.press.up(self.conversation.turn(), Instant::now(), least);
                self.input(if is_tap { Input::Tap } else { Input::Key(Key::Up) });
            }
        }
        control::done()
    }

    pub(super) fn mute(&mut self, mute: bool) -> Value {
        self.input(Input::Mute(mute));
        let file = self.mute_file();
        let kept = if mute {
            std::fs::create_dir_all(self.config.state.path()).and_then(|()| std::fs::write(&file, "muted\n"))
        } else if file.exists() {
            std::fs::remove_file(&file)
        } else {
            Ok(())
        };
        match kept {
            Ok(()) => control::done(),
            Err(error) => {
                tracing::warn!(%error, path = %file.display(), "muting will not outlive a restart");
                json!({"ok": true, "warning": format!("this will not outlive a restart: {error}")})
            }
        }
    }

    pub(super) fn mute_file(&self) -> PathBuf {
        self.config.state.path().join("muted")
    }

    /// Reads the configuration again. What can change does; the names of sections that need a restart are given back, as
    /// long as they differ from those that it runs with.
    pub(super) fn reload(&mut self) -> Result<Vec<&'static str>, String> {
        if self.is_ready() {
            self.service.reloading();
        }
        let result = match (self.read)() {
            Ok(new) => Ok(self.adopt(new)),
            Err(error) => {
                tracing::error!(%error, "the configuration stays as it was");
                self.publisher.event("error", &json!({"error": error.to_string()}));
                Err(error.to_string())
            }
        };
        if self.is_ready() {
            self.service.ready("listening");
        }
        result
    }

    fn adopt(&mut self, new: Config) -> Vec<&'static str> {
        let (old, old_volume) = (&self.started_with, self.config.speech.volume);
        let words = |config: &Config| config.wake.all().into_iter().map(|w| w.word).collect::<Vec<_>>();
        let voices = |config: &Config| crate::config::SpeechConfig { volume: 1.0, ..config.speech.clone() };
        let changed = [
            ("runtime", new.runtime != old.runtime),
            ("model", new.model != old.model),
            ("wake", new.wake.dir != old.wake.dir || words(&new) != words(old)),
            ("speech", voices(&new) != voices(old)),
            ("control", new.control != old.control),
            ("state", new.state != old.state),
            ("home", new.home != old.home),
            ("risk", new.risk != old.risk),
            ("audit", new.audit != old.audit),
            ("history", new.history.turns != old.history.turns),
            ("timers", new.timers != old.timers),
        ];
        let restart: Vec<&'static str> = changed.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        if new.audio.input != old.audio.input {
            self.threads.hear_with(new.audio.capture());
        }
        if new.audio.output != self.config.audio.output {
            self.say(Line::Output(new.audio.output.clone()));
        }
        self.ears(ListenCommand::Configure(new.listen.clone(), new.wake.all()));
        if new.speech.volume != old_volume {
            self.volume = new.speech.volume;
            self.say(Line::Volume(self.volume));
        }
        self.turns.configure(&new);
        self.duck.configure(&new.duck);
        let taking = turn_taking(&new, self.phrases, self.reads_text);
        self.config = new;
        self.input(Input::Configure(taking));
        tracing::info!(?restart, "configuration read again");
        restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_repeats_itself_is_no_tap() {
        let begun = Instant::now();
        // When the key is down, in ms, each time with the turn in progress; when it is up, and so again; is it a tap?
        let check = |name: &str, downs: &[(u64, u64)], up: (u64, u64), expected: bool| {
            let at = |ms: u64| begun + Duration::from_millis(ms);
            let mut press = Press::default();
            for &(ms, turn) in downs {
                press.down(Some(TurnId(turn)), at(ms));
            }
            let mut up = |after: u64| press.up(Some(TurnId(up.1)), at(up.0 + after), Duration::from_millis(200));
            assert_eq!((up(0), up(1)), (expected, false), "{name}");
        };
        check("never pressed", &[], (0, 1), false);
        check("a tap", &[(0, 1)], (199, 1), true);
        check("held", &[(0, 1)], (200, 1), false);
        check("held, and it repeats itself", &[(0, 1), (500, 1), (530, 1), (560, 1)], (570, 1), false);
        check("a tap, and it repeats itself", &[(0, 1), (100, 1)], (150, 1), true);
        check("its turn is over, and another key asks", &[(0, 1)], (100, 2), false);
        check("its turn is over, and it begins the next", &[(0, 1), (6000, 2)], (6100, 2), true);
        check("it was never let go before", &[(0, 1), (6000, 2), (6500, 2)], (6510, 2), false);
    }
}
