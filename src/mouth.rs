//! The bodies of the two threads that speak. [`Voice`] makes sound of what it is told, sentence by sentence; [`Mouth`]
//! owns the output, plays one sound after another, reports when all of a turn has been heard, and falls silent at once
//! when it is hushed. So the next sentence is made while one is heard, and follows it without a gap. They decide nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::audio::playback::{Play, PlayError};
use crate::audio::resample::resample;
use crate::audio::{Clip, MODEL_RATE_HZ};
use crate::conversation::Earcon;
use crate::dialogue::TurnId;
use crate::speech::{self, Kept, Synthesize};
use crate::threads::Pulse;

/// Rate of the earcons in Hz.
const EARCON_RATE_HZ: u32 = 24_000;
/// How often an output that is not needed is looked after.
const LOOK: Duration = Duration::from_secs(1);
/// Sounds that wait while one is heard; with one more in its hands the voice waits too.
const AHEAD: usize = 1;
/// How often a voice that waits looks again.
const POLL: Duration = Duration::from_millis(5);

/// Work for the voice.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A whole sentence.
    Say(TurnId, String),
    /// Nothing more in this turn.
    End(TurnId),
    /// A sound.
    Play(Earcon),
    /// The sound of ringing, once.
    Ring(TurnId),
    /// From now on another output, by name; none: the system's default.
    Output(Option<String>),
    /// Make sound of a text for a model that does not read, and give it back.
    Voice(TurnId, String),
    /// How loud everything is from now on: 1 is as it was made.
    Volume(f32),
}

/// Work for the mouth, made by the voice.
#[derive(Debug)]
pub enum Sound {
    /// A sentence.
    Speech(TurnId, Clip),
    /// An earcon, or the ringing of a turn.
    Signal(Option<TurnId>, Clip),
    /// Nothing more in this turn.
    End(TurnId),
    /// From now on another output, as [`Line::Output`].
    Output(Option<String>),
}

/// The way from a voice to a mouth.
pub fn sounds() -> (SyncSender<Sound>, Receiver<Sound>) {
    sync_channel(AHEAD)
}

/// What the threads report.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The first sound of the turn goes to the device.
    Began(TurnId),
    /// All that was to be said in the turn has been heard.
    Spoken(TurnId),
    /// The text of [`Line::Voice`] as 16 kHz samples; without any, it could not be spoken.
    Voiced(TurnId, Vec<f32>),
    /// There is no output, and why; or there is one again.
    Output(Option<String>),
}

/// Silences turns, from any thread: everything up to a turn's number.
#[derive(Debug, Clone, Default)]
pub struct Hush(Arc<AtomicU64>);

impl Hush {
    /// Silences this turn and all before it.
    pub fn up_to(&self, turn: TurnId) {
        self.0.fetch_max(turn.0, Ordering::SeqCst);
    }

    /// Is that turn silenced?
    pub fn covers(&self, turn: TurnId) -> bool {
        turn.0 <= self.0.load(Ordering::SeqCst)
    }
}

/// What makes sound of lines.
pub struct Voice<'a> {
    voice: &'a mut dyn Synthesize,
    /// What it said lately.
    kept: Kept,
    sounds: SyncSender<Sound>,
    hush: &'a Hush,
    pulse: &'a Pulse,
    report: &'a mut dyn FnMut(Report),
    /// How loud: 1 is as it was made.
    volume: f32,
}

impl<'a> Voice<'a> {
    /// Makes with `voice` what `sounds` takes, but not what `hush` covers; `pulse` beats while the thread moves.
    pub fn new(
        voice: &'a mut dyn Synthesize,
        sounds: SyncSender<Sound>,
        hush: &'a Hush,
        pulse: &'a Pulse,
        report: &'a mut dyn FnMut(Report),
    ) -> Self {
        Self { voice, kept: Kept::default(), sounds, hush, pulse, report, volume: 1.0 }
    }

    /// Makes sound until the other end of the lines is dropped, or nobody plays it any more.
    pub fn run(mut self, lines: &Receiver<Line>) {
        loop {
            self.pulse.beat();
            let made = match lines.recv_timeout(LOOK) {
                Ok(line) => self.make(line),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => None,
            };
            if made.is_some_and(|sound| !self.give(sound)) {
                return;
            }
        }
    }

    fn make(&mut self, line: Line) -> Option<Sound> {
        match line {
            Line::Say(turn, _) | Line::Ring(turn) | Line::End(turn) | Line::Voice(turn, _)
                if self.hush.covers(turn) =>
            {
                None
            }
            Line::Say(turn, sentence) => match self.kept.say(self.voice, &sentence) {
                // Silenced while it was made.
                Ok(_) if self.hush.covers(turn) => None,
                Ok(clip) => Some(Sound::Speech(turn, self.at_volume(clip))),
                Err(error) => {
                    tracing::error!(%error, "a sentence could not be spoken");
                    None
                }
            },
            Line::Ring(turn) => Some(Sound::Signal(Some(turn), self.at_volume(ring_clip()))),
            Line::Play(earcon) => Some(Sound::Signal(None, self.at_volume(earcon_clip(earcon)))),
            Line::End(turn) => Some(Sound::End(turn)),
            Line::Output(name) => Some(Sound::Output(name)),
            Line::Volume(volume) => {
                self.volume = volume;
                None
            }
            // Another take each time: who is not understood asks again.
            Line::Voice(turn, text) => {
                let clip = speech::say(self.voice, &text).unwrap_or_else(|error| {
                    tracing::error!(%error, "a text could not be spoken");
                    Clip { samples: Vec::new(), rate_hz: MODEL_RATE_HZ }
                });
                (self.report)(Report::Voiced(turn, resample(&clip, MODEL_RATE_HZ).samples));
                None
            }
        }
    }

    fn at_volume(&self, mut clip: Clip) -> Clip {
        clip.samples.iter_mut().for_each(|v| *v = (*v * self.volume).clamp(-1.0, 1.0));
        clip
    }

    /// Hands a sound on, once there is room; false when nobody takes it.
    fn give(&self, mut sound: Sound) -> bool {
        loop {
            match self.sounds.try_send(sound) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => sound = back,
            }
            self.pulse.beat();
            std::thread::sleep(POLL);
        }
    }
}

/// The output, and what is under way.
pub struct Mouth<'a> {
    output: &'a mut dyn Play,
    hush: &'a Hush,
    pulse: &'a Pulse,
    report: &'a mut dyn FnMut(Report),
    /// The last turn of which something was heard.
    begun: TurnId,
    /// Why there is no output, as last reported.
    missing: Option<String>,
}

impl<'a> Mouth<'a> {
    /// Plays through `output`, but not what `hush` covers; `pulse` beats while the thread moves.
    pub fn new(output: &'a mut dyn Play, hush: &'a Hush, pulse: &'a Pulse, report: &'a mut dyn FnMut(Report)) -> Self {
        Self { output, hush, pulse, report, begun: TurnId(0), missing: None }
    }

    /// Plays until the voice has ended and all of its sounds are over.
    pub fn run(mut self, sounds: &Receiver<Sound>) {
        loop {
            self.pulse.beat();
            match sounds.recv_timeout(LOOK) {
                Ok(sound) => self.sound(sound),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let state = self.output.ready();
                    self.output_is(state);
                }
            }
        }
    }

    fn sound(&mut self, sound: Sound) {
        match sound {
            Sound::Speech(turn, _) | Sound::Signal(Some(turn), _) | Sound::End(turn) if self.hush.covers(turn) => {}
            Sound::Speech(turn, clip) => {
                if self.begun != turn {
                    self.begun = turn;
                    (self.report)(Report::Began(turn));
                }
                self.play(&clip, Some(turn));
            }
            Sound::Signal(turn, clip) => self.play(&clip, turn),
            Sound::End(turn) => {
                self.output.drain(&stop(self.hush, self.pulse, Some(turn)));
                if !self.hush.covers(turn) {
                    (self.report)(Report::Spoken(turn));
                }
            }
            Sound::Output(name) => {
                self.output.choose(name.as_deref());
                let state = self.output.ready();
                self.output_is(state);
            }
        }
    }

    fn play(&mut self, clip: &Clip, turn: Option<TurnId>) {
        let state = self.output.play_until(clip, &stop(self.hush, self.pulse, turn)).map(|_| ());
        self.output_is(state);
    }

    fn output_is(&mut self, state: Result<(), PlayError>) {
        let missing = state.err().map(|error| error.to_string());
        if missing != self.missing {
            match &missing {
                Some(reason) => tracing::error!(reason, "no output"),
                None => tracing::info!("the output is back"),
            }
            (self.report)(Report::Output(missing.clone()));
            self.missing = missing;
        }
    }
}

/// Is the turn silenced? Asked while the thread waits for the device, so it beats.
fn stop(hush: &Hush, pulse: &Pulse, turn: Option<TurnId>) -> impl Fn() -> bool {
    let (hush, pulse) = (hush.clone(), pulse.clone());
    move || {
        pulse.beat();
        turn.is_some_and(|turn| hush.covers(turn))
    }
}

/// A small bell, our own: a chord broken upwards, struck twice; sines that die away, two partials each.
fn ring_clip() -> Clip {
    const CHORD_HZ: [f32; 3] = [784.0, 987.8, 1174.7];
    const STROKE_S: f32 = 0.6;
    let length = (STROKE_S * EARCON_RATE_HZ as f32) as usize;
    let stroke = (0..length).map(|i| {
        let t = i as f32 / EARCON_RATE_HZ as f32;
        let note = |(n, hz): (usize, f32)| {
            let t = t - 0.09 * n as f32;
            if t < 0.0 {
                return 0.0;
            }
            // A soft beginning and an end at zero: no click at either.
            let envelope = (t / 0.004).min(1.0) * (-7.0 * t).exp() * (1.0 - i as f32 / length as f32);
            let sine = |hz: f32| (std::f32::consts::TAU * hz * t).sin();
            0.2 * envelope * (sine(hz) + 0.25 * sine(2.0 * hz))
        };
        CHORD_HZ.into_iter().enumerate().map(note).sum::<f32>()
    });
    let stroke: Vec<f32> = stroke.collect();
    Clip { samples: [stroke.clone(), stroke].concat(), rate_hz: EARCON_RATE_HZ }
}

/// Two short notes, sines with soft ends, our own: rising for "speak", falling for "nothing", down and up an octave for
/// the microphone.
fn earcon_clip(earcon: Earcon) -> Clip {
    const NOTE_S: f32 = 0.07;
    let notes_hz = match earcon {
        Earcon::Listening => [659.3, 987.8],
        Earcon::Sorry => [493.9, 329.6],
        Earcon::Muted => [440.0, 220.0],
        Earcon::Unmuted => [220.0, 440.0],
    };
    let length = (NOTE_S * EARCON_RATE_HZ as f32) as usize;
    let note = |hz: f32| {
        (0..length).map(move |i| {
            let t = i as f32 / EARCON_RATE_HZ as f32;
            // Half a sine as the envelope: no click at either end.
            let envelope = (std::f32::consts::PI * i as f32 / length as f32).sin();
            0.25 * envelope * (std::f32::consts::TAU * hz * t).sin()
        })
    };
    Clip { samples: notes_hz.into_iter().flat_map(note).collect(), rate_hz: EARCON_RATE_HZ }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::audio::playback::Played;
    use crate::speech::SpeechError;

    /// As many samples as a sentence has letters; says which sentence it makes.
    struct Letters(Sender<String>);

    impl Synthesize for Letters {
        fn synthesize(&mut self, sentence: &str) -> Result<Clip, SpeechError> {
            let _ = self.0.send(sentence.to_owned());
            Ok(Clip { samples: vec![1.0; sentence.len()], rate_hz: MODEL_RATE_HZ })
        }
    }

    /// Does with a clip what the test says; without one it drains.
    struct Output<F>(F);

    impl<F: FnMut(Option<&Clip>)> Play for Output<F> {
        fn play_until(&mut self, clip: &Clip, stop: &dyn Fn() -> bool) -> Result<Played, PlayError> {
            (self.0)(Some(clip));
            Ok(if stop() { Played::Stopped { after: Duration::ZERO } } else { Played::Whole })
        }

        fn drain(&mut self, _stop: &dyn Fn() -> bool) {
            (self.0)(None);
        }

        fn ready(&mut self) -> Result<(), PlayError> {
            Ok(())
        }

        fn choose(&mut self, _name: Option<&str>) {}
    }

    /// What the mouth reports when these lines are said.
    fn spoken(lines: Vec<Line>, made: Sender<String>, hush: &Hush, output: impl FnMut(Option<&Clip>)) -> Vec<Report> {
        let (send, receive) = sync_channel(lines.len());
        lines.into_iter().for_each(|line| send.send(line).expect("there is room"));
        drop(send);
        let (give, sounds) = sounds();
        let mut reports = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut letters, mut report) = (Letters(made), |_| ());
                Voice::new(&mut letters, give, hush, &Pulse::default(), &mut report).run(&receive);
            });
            let mut report = |report| reports.push(report);
            Mouth::new(&mut Output(output), hush, &Pulse::default(), &mut report).run(&sounds);
        });
        reports
    }

    #[test]
    fn the_next_sentence_is_made_while_one_is_heard() {
        let (turn, (made, making)) = (TurnId(1), channel());
        let lines = ["one", "three"].map(|text| Line::Say(turn, text.into())).into_iter().chain([Line::End(turn)]);
        let mut heard = Vec::new();
        let reports = spoken(lines.collect(), made, &Hush::default(), |clip| {
            heard.push(clip.map(|clip| clip.samples.len()));
            // The first is not over before the second is made.
            if heard.len() == 1 {
                let made: Vec<String> =
                    (0..2).map(|_| making.recv_timeout(Duration::from_secs(20)).expect("it is made")).collect();
                assert_eq!(made, ["one", "three"]);
            }
        });
        // Between sentences nothing is waited for, and at the end all has been heard before it is reported.
        assert_eq!(heard, [Some(3), Some(5), None]);
        assert_eq!(reports, [Report::Began(turn), Report::Spoken(turn)]);
    }

    #[test]
    fn what_was_made_for_a_silenced_turn_is_not_heard() {
        let (hush, (made, making)) = (Hush::default(), channel());
        let (old, new) = (TurnId(1), TurnId(2));
        let lines = vec![
            Line::Say(old, "one".into()),
            Line::Say(old, "three".into()),
            Line::End(old),
            Line::Volume(0.5),
            Line::Say(new, "again".into()),
            Line::End(new),
        ];
        let mut heard = Vec::new();
        let reports = spoken(lines, made, &hush, |clip| {
            heard.push(clip.map(|clip| (clip.samples.len(), clip.samples[0])));
            if heard.len() == 1 {
                // The second is made already.
                (0..2).for_each(|_| drop(making.recv_timeout(Duration::from_secs(20)).expect("it is made")));
                hush.up_to(old);
            }
        });
        assert_eq!(heard, [Some((3, 1.0)), Some((5, 0.5)), None]);
        assert_eq!(reports, [Report::Began(old), Report::Began(new), Report::Spoken(new)]);
    }

    #[test]
    fn a_turn_that_is_silenced_at_its_very_end_is_not_reported_as_spoken() {
        let (hush, turn) = (Hush::default(), TurnId(1));
        let lines = vec![Line::Say(turn, "one".into()), Line::End(turn)];
        let reports = spoken(lines, channel().0, &hush, |clip| {
            if clip.is_none() {
                hush.up_to(turn);
            }
        });
        assert_eq!(reports, [Report::Began(turn)]);
    }

    #[test]
    fn no_sound_of_ours_clicks_or_is_too_loud() {
        let earcons = [Earcon::Listening, Earcon::Sorry, Earcon::Muted, Earcon::Unmuted].map(earcon_clip);
        for clip in earcons.into_iter().chain([ring_clip()]) {
            let peak = clip.samples.iter().fold(0.0_f32, |peak, v| peak.max(v.abs()));
            let (first, last) = (clip.samples[0].abs(), clip.samples[clip.samples.len() - 1].abs());
            assert!((0.1..0.7).contains(&peak), "a peak of {peak}");
            assert!(first < 0.01 && last < 0.01, "it begins at {first} and ends at {last}");
            assert!(clip.seconds() < 1.5);
        }
    }
}
