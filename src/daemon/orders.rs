//! What is asked of the daemon over its socket: the key, mute, text, and to read its configuration again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Daemon, MICROPHONE, turn_taking};
use crate::config::Config;
use crate::control::{self, Order, PttAction, Request};
use crate::conversation::{Input, Key, State};
use crate::failure::{CONFIG, UNAVAILABLE};
use crate::listen::listener::ListenCommand;
use crate::mouth::Line;

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
                self.key_down_at = Some(Instant::now());
                self.input(Input::Key(Key::Down));
            }
            PttAction::Toggle => self.input(Input::Key(Key::Toggle)),
            PttAction::Stop => {
                let least = Duration::from_millis(self.config.turn.min_hold_ms.into());
                let is_tap = self.key_down_at.take().is_some_and(|down| down.elapsed() < least);
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
