//! The listener: sound in, events out. Hears the wake word, and the utterance that it is told to wait for.
//!
//! Owns the echo canceller, the detector of voice, the wake words, the segmenter and the last seconds of sound. Counts
//! samples, reads no clock, touches no device and waits for nobody: [`Listener::push`] takes what was heard and what
//! was played meanwhile. [`run`] is the body of the `listen` thread around it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::ListenConfig;
use super::echo::EchoCanceller;
use super::segment::{self, Frame, SegmentEvent, Segmenter};
use super::vad::{FRAME, Vad};
use super::wake::{Spot, WakeConfig};
use crate::onnx::OnnxError;

/// Sound kept for pre-rolls: 3.2 s, the onset's window, a late command and the wake word included.
const KEPT: usize = 200 * FRAME;
/// Samples of one [`ListenEvent::Audio`]: 80 ms.
const CHUNK: usize = 5 * FRAME;
/// Voice enough for the wake word's graphs to look.
const VOICE: f32 = 0.5;
/// A wake word so long ago is no longer what a command begins after: 2.5 s.
const WAKE_AGE: usize = 2_500 * 16;
/// How long what was rendered can still be heard in the room: the device's latency, and the room's.
const ECHO_TAIL: usize = 250 * 16;
/// Of a frame that the canceller makes this much quieter, most was echo: nobody spoke.
const MOSTLY_ECHO_DB: f32 = 10.0;
/// A wake word within so much of an utterance's beginning begins it anew: 1.6 s.
const REWAKE: usize = 1_600 * 16;
/// Speech that interrupts a reply lasts at least so long: a cough must not.
const BARGE_IN_MS: u32 = 320;
/// How often a device is asked for sound.
const POLL: Duration = Duration::from_millis(10);

/// Why listening to an utterance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Silence for as long as the configuration says.
    Silence,
    /// It reached the greatest length.
    Cap,
    /// The key was let go.
    Released,
    /// Nobody said anything. There was no [`ListenEvent::SpeechStarted`].
    Nothing,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub enum ListenEvent {
    /// A wake word. The listener waits for [`ListenCommand::Arm`].
    Wake {
        /// Which.
        word: String,
        /// How sure, in [0, 1].
        score: f32,
    },
    /// The awaited utterance begins.
    SpeechStarted,
    /// Samples of it, 16 kHz, pre-roll first, without gaps; the wake word is not among them. Of all events this one
    /// may be dropped when a queue is full.
    Audio(Vec<f32>),
    /// Nobody has spoken for 208 ms: this may be the end. No sound follows until it is taken back.
    Pause,
    /// It was not the end; the sound of the pause follows.
    Resumed,
    /// The utterance is over, and with it the waiting.
    End(EndReason),
    /// Somebody speaks while a reply plays.
    BargeIn,
    /// The microphone was found or lost.
    Device(DeviceState),
    /// Loudest sample of the last 80 ms, when asked for.
    Level(f32),
}

/// Where sound comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// A device, and how it was opened.
    Running(String),
    /// None, and why.
    Missing(String),
}

/// What the listener is told.
#[derive(Debug, Clone, PartialEq)]
pub enum ListenCommand {
    /// Wait for an utterance.
    Arm {
        /// May it have begun before now? After a wake word, and for a key; not after a reply.
        pre_roll: bool,
        /// Give up when nobody speaks for so long.
        wait_ms: u32,
        /// A key is held: silence is no end.
        hold: bool,
    },
    /// The key was let go: the utterance ends now.
    Release,
    /// Wait no more, and say nothing of it.
    Disarm,
    /// A reply begins to play, with the words it says; none: it is over and has drained.
    Speaking(Option<String>),
    /// Be deaf, or hear again.
    Mute(bool),
    /// Tell the level, for a meter, or stop telling.
    Meter(bool),
    /// Cut utterances and hear wake words in another way, from the next one on.
    Configure(ListenConfig, Vec<WakeConfig>),
    /// End the thread.
    Shutdown,
}

/// The listener of one microphone.
pub struct Listener {
    config: ListenConfig,
    vad: Vad,
    spotter: Option<Box<dyn Spot>>,
    echo: EchoCanceller,
    /// Peak that decays: what counts as loud here.
    peak: f32,
    muted: bool,
    meter: Option<(usize, f32)>,
    /// Samples in whole frames so far, and the last of each.
    now: usize,
    sound: VecDeque<f32>,
    /// Position of the first sample kept.
    sound_from: usize,
    frames: VecDeque<Frame>,
    unfinished: Vec<f32>,
    /// What was heard before the canceller, for the frame under way.
    raw_power: VecDeque<f32>,
    /// No utterance begins earlier: the last one's end, the wake word's.
    free_from: usize,
    woken_at: Option<usize>,
    /// End of the last sound that was rendered.
    rendered_until: usize,
    armed: Option<Armed>,
    /// Looks for speech while a reply plays; none once it was found.
    barge_in: Option<Segmenter>,
}

/// An utterance that is waited for, or under way.
struct Armed {
    segmenter: Segmenter,
    /// Position of the segmenter's first sample.
    base: usize,
    hold: bool,
    /// Give up here.
    deadline: usize,
    speech: Option<Speech>,
}

struct Speech {
    onset: usize,
    /// Next sample to tell.
    told: usize,
    paused: bool,
}

impl Listener {
    /// A listener that has heard nothing; without wake words it only hears what it is told to wait for.
    pub fn new(config: &ListenConfig, spotter: Option<Box<dyn Spot>>) -> Self {
        Self {
            config: config.clone(),
            vad: Vad::new(),
            spotter,
            echo: EchoCanceller::new(),
            // Until somebody has spoken, they may be quiet.
            peak: 0.03,
            muted: false,
            meter: None,
            now: 0,
            sound: VecDeque::with_capacity(KEPT + FRAME),
            sound_from: 0,
            frames: VecDeque::with_capacity(KEPT / FRAME + 1),
            unfinished: Vec::with_capacity(FRAME),
            raw_power: VecDeque::new(),
            free_from: 0,
            woken_at: None,
            rendered_until: 0,
            armed: None,
            barge_in: None,
        }
    }

    /// Takes what arrived since the last call: 16 kHz samples of the microphone, and what was played meanwhile.
    ///
    /// # Errors
    /// When a graph of the wake words fails.
    pub fn push(&mut self, heard: &[f32], rendered: &[f32]) -> Result<Vec<ListenEvent>, OnnxError> {
        let mut events = Vec::new();
        if self.muted {
            return Ok(events);
        }
        let heard: Vec<f32> = heard.iter().map(|v| if v.is_finite() { v.clamp(-1.0, 1.0) } else { 0.0 }).collect();
        self.raw_power.extend(heard.iter().map(|v| v * v));
        let mut clean = Vec::with_capacity(heard.len() + FRAME);
        self.echo.push(&heard, rendered, &mut clean);
        if rendered.iter().any(|v| v.abs() > 1e-3) {
            self.rendered_until = self.now + self.unfinished.len() + clean.len();
        }
        let mut rest = clean.as_slice();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(FRAME - self.unfinished.len()));
            self.unfinished.extend_from_slice(head);
            rest = tail;
            if self.unfinished.len() == FRAME {
                let samples = std::mem::take(&mut self.unfinished);
                self.frame(&samples, &mut events)?;
                self.unfinished = samples;
                self.unfinished.clear();
            }
        }
        Ok(events)
    }

    /// Does as told; [`ListenCommand::Shutdown`] is for [`run`].
    pub fn command(&mut self, command: ListenCommand) -> Vec<ListenEvent> {
        let mut events = Vec::new();
        match command {
            ListenCommand::Arm { pre_roll, wait_ms, hold } => {
                if !self.muted {
                    self.arm(pre_roll, wait_ms, hold, &mut events);
                }
            }
            ListenCommand::Release => self.release(&mut events),
            ListenCommand::Disarm => self.armed = None,
            ListenCommand::Speaking(words) => {
                if let Some(spotter) = &mut self.spotter {
                    spotter.replying(words.as_deref());
                }
                let config = ListenConfig { min_speech_ms: BARGE_IN_MS, ..self.config.clone() };
                self.barge_in = words.is_some().then(|| Segmenter::new(&config));
            }
            ListenCommand::Mute(muted) => self.mute(muted),
            ListenCommand::Meter(on) => self.meter = on.then_some((0, 0.0)),
            ListenCommand::Configure(config, words) => {
                self.config = config;
                if let Some(spotter) = &mut self.spotter {
                    spotter.set_thresholds(&words);
                }
            }
            ListenCommand::Shutdown => {}
        }
        events
    }

    /// Is an utterance waited for or under way?
    pub fn armed(&self) -> bool {
        self.armed.is_some()
    }

    fn mute(&mut self, muted: bool) {
        self.muted = muted;
        self.armed = None;
        self.woken_at = None;
        self.vad.reset();
        self.unfinished.clear();
        self.raw_power.clear();
        // What was heard before is not part of what comes after.
        self.sound.clear();
        self.sound_from = self.now;
        self.frames.clear();
        self.free_from = self.now;
        if let Some(spotter) = &mut self.spotter {
            spotter.reset();
        }
    }

    /// Takes a whole frame of clean sound.
    fn frame(&mut self, samples: &[f32], events: &mut Vec<ListenEvent>) -> Result<(), OnnxError> {
        let frame = self.look(samples);
        self.now += FRAME;
        self.sound.extend(samples);
        self.frames.push_back(frame);
        if self.frames.len() > KEPT / FRAME {
            self.frames.pop_front();
        }
        self.measure(samples, events);
        if let Some(spotter) = &mut self.spotter
            && let Some(woken) = spotter.push(samples, frame.probability >= VOICE)?
        {
            self.woken(woken.word, woken.score, events);
        }
        match (self.armed.take(), &mut self.barge_in) {
            (Some(armed), _) => self.armed = self.hear(armed, frame, events),
            (None, Some(segmenter)) => {
                if let Some(SegmentEvent::Started { .. }) = segmenter.push(frame) {
                    self.barge_in = None;
                    events.push(ListenEvent::BargeIn);
                }
            }
            (None, None) => {}
        }
        // A pause while a key is held may be long; its sound is still owed.
        let owed = self.armed.as_ref().and_then(|armed| armed.speech.as_ref()).map_or(self.now, |speech| speech.told);
        let keep_from = owed.min(self.now.saturating_sub(KEPT)).max(self.sound_from);
        self.sound.drain(..keep_from - self.sound_from);
        self.sound_from = keep_from;
        Ok(())
    }

    /// How likely a frame is speech. The detector hears a quiet room louder, as it does a quiet recording.
    fn look(&mut self, samples: &[f32]) -> Frame {
        let peak = samples.iter().fold(0f32, |peak, v| peak.max(v.abs()));
        // Falls by 2 dB a second, to no less than the 20 dB of gain that hiss can bear.
        self.peak = peak.max(self.peak * 0.996_32).max(0.03);
        let gain = (0.3 / self.peak).clamp(1.0, 10.0);
        let louder: Vec<f32> = samples.iter().map(|v| v * gain).collect();
        let mut probabilities = Vec::with_capacity(1);
        self.vad.push(&louder, &mut probabilities);
        let mut frame = Frame::new(probabilities.pop().unwrap_or(0.0), samples);
        let n = FRAME.min(self.raw_power.len());
        let raw = self.raw_power.drain(..n).sum::<f32>() / FRAME as f32;
        if self.echo.awake() && 10.0 * (raw + 1e-10).log10() - frame.level_db > MOSTLY_ECHO_DB {
            frame.probability = 0.0;
        }
        frame
    }

    fn measure(&mut self, samples: &[f32], events: &mut Vec<ListenEvent>) {
        let Some((n, peak)) = &mut self.meter else { return };
        *n += samples.len();
        *peak = samples.iter().fold(*peak, |peak, v| peak.max(v.abs()));
        if *n >= CHUNK {
            events.push(ListenEvent::Level(*peak));
            self.meter = Some((0, 0.0));
        }
    }

    fn woken(&mut self, word: String, score: f32, events: &mut Vec<ListenEvent>) {
        if let Some(armed) = &self.armed {
            // A command may name the word; only who calls again begins anew.
            let fresh = armed.speech.as_ref().is_none_or(|speech| self.now < speech.onset + REWAKE);
            if armed.hold || !fresh {
                return;
            }
        }
        self.armed = None;
        self.barge_in = None;
        let end = self.now - word_end(self.frames.make_contiguous()) * FRAME;
        self.free_from = self.free_from.max(end);
        self.woken_at = Some(self.now);
        events.push(ListenEvent::Wake { word, score });
    }

    fn arm(&mut self, pre_roll: bool, wait_ms: u32, hold: bool, events: &mut Vec<ListenEvent>) {
        let woken = self.woken_at.take().is_some_and(|at| self.now - at < WAKE_AGE);
        let reach = if woken { KEPT } else { self.config.pre_roll_ms as usize * 16 };
        let from = if pre_roll { self.free_from.max(self.now.saturating_sub(reach)) } else { self.now };
        let frames = ((self.now - from.min(self.now)) / FRAME).min(self.frames.len());
        // Silence never ends what a held key began, only the cap does.
        let silence_ms = if hold { u32::MAX / 16 } else { self.config.silence_ms };
        let config = ListenConfig { silence_ms, ..self.config.clone() };
        let mut armed = Armed {
            segmenter: Segmenter::new(&config),
            base: self.now - frames * FRAME,
            hold,
            deadline: self.now + wait_ms as usize * 16,
            speech: None,
        };
        // What was said meanwhile is heard now. Positions go back with it, so that no chunk runs ahead.
        let (now, past) = (self.now, self.frames.len() - frames);
        let replay: Vec<Frame> = self.frames.range(past..).copied().collect();
        self.now = armed.base;
        for frame in replay {
            self.now += FRAME;
            match self.hear(armed, frame, events) {
                Some(going_on) => armed = going_on,
                None => {
                    self.now = now;
                    return;
                }
            }
        }
        self.now = now;
        self.armed = Some(armed);
    }

    /// Takes a frame of the utterance that is waited for; nothing is left of it once it has ended.
    fn hear(&mut self, mut armed: Armed, frame: Frame, events: &mut Vec<ListenEvent>) -> Option<Armed> {
        match armed.segmenter.push(frame) {
            Some(SegmentEvent::Started { from, onset }) => {
                let (from, onset) = (armed.base + from, armed.base + onset);
                events.push(ListenEvent::SpeechStarted);
                armed.speech = Some(Speech { onset, told: self.after_earcon(from, onset), paused: false });
            }
            Some(SegmentEvent::Paused) => {
                let now = self.now;
                if let Some(speech) = &mut armed.speech {
                    self.tell(speech, now, events);
                    speech.paused = true;
                }
                events.push(ListenEvent::Pause);
            }
            Some(SegmentEvent::Resumed) => {
                armed.speech.iter_mut().for_each(|speech| speech.paused = false);
                events.push(ListenEvent::Resumed);
            }
            Some(SegmentEvent::Ended(segment)) => {
                if let Some(speech) = armed.speech.as_mut().filter(|speech| !speech.paused) {
                    self.tell(speech, armed.base + segment.range.end, events);
                }
                let reason = match segment.reason {
                    segment::EndReason::Cap => EndReason::Cap,
                    segment::EndReason::Silence | segment::EndReason::EndOfInput => EndReason::Silence,
                };
                self.free_from = self.now;
                events.push(ListenEvent::End(reason));
                return None;
            }
            None => {}
        }
        match &mut armed.speech {
            Some(speech) if !speech.paused && self.now >= speech.told + CHUNK => {
                let now = self.now;
                self.tell(speech, now, events);
            }
            None if self.now >= armed.deadline && frame.probability < VOICE => {
                self.free_from = self.now;
                events.push(ListenEvent::End(EndReason::Nothing));
                return None;
            }
            _ => {}
        }
        Some(armed)
    }

    fn release(&mut self, events: &mut Vec<ListenEvent>) {
        let Some(mut armed) = self.armed.take() else { return };
        self.free_from = self.now;
        let reason = match &mut armed.speech {
            Some(speech) => {
                if !speech.paused {
                    let now = self.now;
                    self.tell(speech, now, events);
                    // The frame under way belongs to it too.
                    if !self.unfinished.is_empty() {
                        events.push(ListenEvent::Audio(self.unfinished.clone()));
                    }
                }
                EndReason::Released
            }
            None => EndReason::Nothing,
        };
        events.push(ListenEvent::End(reason));
    }

    /// Where an utterance begins, so that no sound of ours is in what precedes the speech.
    fn after_earcon(&self, from: usize, onset: usize) -> usize {
        if onset < self.rendered_until { from } else { from.max((self.rendered_until + ECHO_TAIL).min(onset)) }
    }

    fn tell(&self, speech: &mut Speech, to: usize, events: &mut Vec<ListenEvent>) {
        let start = self.sound_from;
        let range = speech.told.max(start)..to.min(start + self.sound.len());
        if !range.is_empty() {
            let samples: Vec<f32> = self.sound.range(range.start - start..range.end - start).copied().collect();
            events.extend(samples.chunks(CHUNK).map(|chunk| ListenEvent::Audio(chunk.to_vec())));
        }
        speech.told = speech.told.max(to);
    }
}

/// How many frames before the end of `frames`, in which a wake word was just found, the word ended: at the beginning
/// of the last silence of 96 ms within 400 ms that follows speech (a consonant's closure is shorter), else now.
fn word_end(frames: &[Frame]) -> usize {
    const SILENCE: usize = 6;
    const SPEECH: usize = 8;
    const REACH: usize = 25;
    let recent = &frames[frames.len().saturating_sub(60)..];
    let loudest = recent.iter().map(|frame| frame.level_db).fold(f32::MIN, f32::max);
    let quiet = |frame: &Frame| frame.level_db < loudest - 18.0 || frame.probability < 0.3;
    let (mut end, mut run, mut loud) = (0, 0, 0);
    for (i, frame) in recent.iter().enumerate() {
        (run, loud) = if quiet(frame) { (run + 1, loud) } else { (0, loud + 1) };
        if run == SILENCE && loud >= SPEECH {
            // Two frames of it are the word dying away.
            end = recent.len() - (i + 1 - SILENCE) - 2;
        }
    }
    if end <= REACH { end } else { 0 }
}

/// Where a listener's sound comes from: the microphone and the speaker's tap, or a test.
pub trait Ear {
    /// Appends the 16 kHz samples that arrived, and what was rendered meanwhile. Never blocks. Says what changed.
    fn read(&mut self, heard: &mut Vec<f32>, rendered: &mut Vec<f32>) -> Option<DeviceState>;
}

/// The body of the `listen` thread: asks for sound every 10 ms, does as told, hands every event to `deliver`.
///
/// `deliver` may drop an [`ListenEvent::Audio`] when its queue is full; it says false when nobody is there any more.
/// Ends on [`ListenCommand::Shutdown`], or when either side is gone.
///
/// # Errors
/// When a graph of the wake words fails.
pub fn run(
    mut ear: impl Ear,
    mut listener: Listener,
    commands: &Receiver<ListenCommand>,
    mut deliver: impl FnMut(ListenEvent) -> bool,
) -> Result<(), OnnxError> {
    let (mut heard, mut rendered) = (Vec::new(), Vec::new());
    loop {
        let mut events = match commands.recv_timeout(POLL) {
            Ok(ListenCommand::Shutdown) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            // Sound that came before the command is heard before it: a key that is let go keeps its last samples.
            Ok(command) => {
                let mut events = pump(&mut ear, &mut listener, (&mut heard, &mut rendered))?;
                events.extend(listener.command(command));
                events
            }
            Err(RecvTimeoutError::Timeout) => Vec::new(),
        };
        events.extend(pump(&mut ear, &mut listener, (&mut heard, &mut rendered))?);
        if !events.into_iter().all(&mut deliver) {
            return Ok(());
        }
    }
}

fn pump(
    ear: &mut impl Ear,
    listener: &mut Listener,
    (heard, rendered): (&mut Vec<f32>, &mut Vec<f32>),
) -> Result<Vec<ListenEvent>, OnnxError> {
    heard.clear();
    rendered.clear();
    let change = ear.read(heard, rendered);
    let mut events: Vec<ListenEvent> = change.map(ListenEvent::Device).into_iter().collect();
    events.extend(listener.push(heard, rendered)?);
    Ok(events)
}

#[cfg(test)]
mod tests;
