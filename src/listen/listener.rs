//! The listener: sound in, events out. Hears the wake word, and the utterance that it is told to wait for.
//!
//! Owns the echo canceller, the detector of voice, the wake words, the segmenter and the last seconds of sound. Counts
//! samples, reads no clock, touches no device and waits for nobody: [`Listener::push`] takes what was heard and what
//! was played meanwhile. [`run`] is the body of the `listen` thread around it.

use std::collections::VecDeque;

use super::ListenConfig;
use super::echo::{Cleaned, EchoCanceller, Likeness};
use super::process::{ModelHears, Processor};
use super::segment::{self, Frame, SegmentEvent, Segmenter};
use super::vad::{FRAME, Vad};
use super::wake::{Sound, Spot, WakeConfig, Woken};
use crate::onnx::OnnxError;

mod thread;
pub use thread::{Ear, run};

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
/// A wake word is recognised up to so long before its last sound: 350 ms.
const WORD_TAIL: usize = 350 * 16;
/// A wait that is over while somebody may be speaking goes on for so long: by then it is speech, or it was a hum or a
/// fan.
const ONSET: usize = segment::WINDOW * FRAME;
/// Frames without voice until whoever called is told to go on: 240 ms.
const HESITATION: u32 = 15;

/// Why listening to an utterance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// So much silence, in ms.
    Silence(u32),
    /// It reached the greatest length, and somebody spoke or held the key.
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
    /// The stop word, while hearth speaks or something rings.
    Stop {
        /// How sure, in [0, 1].
        score: f32,
    },
    /// Nobody has spoken for 240 ms since [`ListenCommand::Arm`]: the time for a sound that says "go on". Who went on
    /// speaking after the wake word needs none, and would be spoken over.
    Waiting,
    /// The awaited utterance begins.
    SpeechStarted,
    /// Samples of it, 16 kHz, pre-roll first, without gaps; the wake word is not among them. Of all events this one
    /// may be dropped when a queue is full.
    Audio(Vec<f32>),
    /// Nobody has spoken for 208 ms: this may be the end. No sound follows until it is taken back or told again. Pauses are
    /// numbered, as long as the listener lives.
    Pause(u32),
    /// Nobody has spoken since, as [`ListenCommand::PauseAgain`] wished to be told: the sound of the pause so far came just
    /// before. The pause has another number from now on.
    StillPaused(u32),
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
    /// None ever again: what looks after it is gone.
    Ended,
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
    /// The pause of this number ends the utterance when it has lasted so long; without this, `listen.silence_ms` counts.
    EndPause {
        /// Which.
        pause: u32,
        /// How long, in ms.
        silence_ms: u32,
    },
    /// Tell the pause of this number again when it has lasted so long; not if it has already.
    PauseAgain {
        /// Which.
        pause: u32,
        /// How long, in ms.
        silence_ms: u32,
    },
    /// The key was let go: the utterance ends now.
    Release,
    /// Wait no more, and say nothing of it.
    Disarm,
    /// A reply begins to play, with the words it says; none: it is over and has drained.
    Speaking(Option<String>),
    /// Something begins to ring, or no longer does.
    Ringing(bool),
    /// Be deaf, or hear again.
    Mute(bool),
    /// Tell the level, for a meter, or stop telling.
    Meter(bool),
    /// Cut utterances, process sound and hear words in another way, from the next one on.
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
    processor: Processor,
    /// Of what is heard to what is rendered, for when the canceller is at a loss.
    likeness: Likeness,
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
    /// What waits to become a frame: as it came, without echo, and without noise. They begin at the same sample.
    raw: VecDeque<f32>,
    clean: Cleaned,
    processed: VecDeque<f32>,
    /// No utterance begins earlier: the last one's end, the wake word's.
    free_from: usize,
    woken_at: Option<usize>,
    /// Told to wait for an utterance while the wake word may still be dying away.
    to_arm: Option<ToArm>,
    /// End of the last sound that was rendered.
    rendered_until: Option<usize>,
    armed: Option<Armed>,
    /// Pauses told so far.
    pauses: u32,
    /// Looks for speech while a reply plays; none once it was found.
    barge_in: Option<Segmenter>,
}

/// [`ListenCommand::Arm`], put off.
#[derive(Clone, Copy)]
struct ToArm {
    pre_roll: bool,
    wait_ms: u32,
    /// Until when at the latest.
    until: usize,
}

/// An utterance that is waited for, or under way.
struct Armed {
    segmenter: Segmenter,
    /// Position of the segmenter's first sample.
    base: usize,
    hold: bool,
    /// Give up here.
    deadline: usize,
    /// Frames without voice so far, up to [`HESITATION`].
    quiet: u32,
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
            processor: Processor::new(config),
            likeness: Likeness::default(),
            // Until somebody has spoken, they may be quiet.
            peak: 0.03,
            muted: false,
            meter: None,
            now: 0,
            sound: VecDeque::with_capacity(KEPT + FRAME),
            sound_from: 0,
            frames: VecDeque::with_capacity(KEPT / FRAME + 1),
            raw: VecDeque::new(),
            clean: Cleaned::default(),
            processed: VecDeque::new(),
            free_from: 0,
            woken_at: None,
            to_arm: None,
            rendered_until: None,
            armed: None,
            pauses: 0,
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
        let mut processed = Vec::with_capacity(heard.len() + FRAME);
        let before = self.clean.suppressed.len();
        self.echo.push(&heard, rendered, &mut self.clean);
        self.processor.push(&self.clean.suppressed[before..], &mut processed);
        self.raw.extend(heard);
        self.processed.extend(processed);
        self.likeness.rendered(rendered);
        if let Some(spotter) = &mut self.spotter {
            spotter.rendered(rendered)?;
        }
        if rendered.iter().any(|v| v.abs() > 1e-3) {
            self.rendered_until = Some(self.now + self.clean.suppressed.len());
        }
        let whole = |waiting: &[usize]| waiting.iter().all(|&n| n >= FRAME);
        while whole(&[self.raw.len(), self.clean.suppressed.len(), self.processed.len()]) {
            let [raw, processed] =
                [&mut self.raw, &mut self.processed].map(|waiting| waiting.drain(..FRAME).collect::<Vec<f32>>());
            let clean = self.clean.take(FRAME);
            self.frame(&raw, &clean, &processed, &mut events)?;
        }
        Ok(events)
    }

    /// Does as told; [`ListenCommand::Shutdown`] is for [`run`].
    pub fn command(&mut self, command: ListenCommand) -> Vec<ListenEvent> {
        let mut events = Vec::new();
        match command {
            ListenCommand::Arm { pre_roll, wait_ms, hold } => {
                let word_goes_on = self.woken_at.filter(|&at| at == self.free_from && self.now < at + WORD_TAIL);
                match word_goes_on {
                    _ if self.muted => {}
                    Some(at) if !hold => self.to_arm = Some(ToArm { pre_roll, wait_ms, until: at + WORD_TAIL }),
                    _ => self.arm(pre_roll, wait_ms, hold, &mut events),
                }
            }
            ListenCommand::EndPause { pause, silence_ms } => {
                self.paused(pause, |segmenter| segmenter.end_pause_after(silence_ms));
            }
            ListenCommand::PauseAgain { pause, silence_ms } => {
                self.paused(pause, |segmenter| segmenter.tell_pause_again(silence_ms));
            }
            ListenCommand::Release => self.release(&mut events),
            ListenCommand::Disarm => (self.armed, self.to_arm) = (None, None),
            ListenCommand::Speaking(words) => {
                if let Some(spotter) = &mut self.spotter {
                    spotter.replying(words.is_some());
                }
                self.barge_in = words.is_some().then(|| barge_in(&self.config));
            }
            ListenCommand::Ringing(ringing) => self.spotter.iter_mut().for_each(|spotter| spotter.ringing(ringing)),
            ListenCommand::Mute(muted) => self.mute(muted),
            ListenCommand::Meter(on) => self.meter = on.then_some((0, 0.0)),
            ListenCommand::Configure(config, words) => {
                let processing = |config: &ListenConfig| (config.noise_suppression, config.gain_control);
                if processing(&config) != processing(&self.config) {
                    // Without what waits in the old one, all that follows would be early.
                    let old = std::mem::replace(&mut self.processor, Processor::new(&config));
                    self.processed.extend(old.finish());
                }
                self.config = config;
                if let Some(spotter) = &mut self.spotter {
                    spotter.set_thresholds(&words);
                }
            }
            ListenCommand::Shutdown => {}
        }
        events
    }

    /// Says something of the pause of that number to the segmenter, unless that pause is over or a key ends the command.
    fn paused(&mut self, pause: u32, tell: impl FnOnce(&mut Segmenter)) {
        if let Some(armed) = self.armed.as_mut().filter(|armed| !armed.hold && pause == self.pauses) {
            tell(&mut armed.segmenter);
        }
    }

    /// Is an utterance waited for or under way?
    pub fn armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Is the room quiet, nothing played and nothing waited for, so that a few ms more or less change nothing?
    pub(super) fn at_rest(&self) -> bool {
        let voice = self.frames.back().is_some_and(|frame| frame.probability >= VOICE);
        let waiting = self.armed.is_some() || self.to_arm.is_some() || self.barge_in.is_some() || self.meter.is_some();
        !voice && !waiting && !self.echo.awake()
    }

    fn mute(&mut self, muted: bool) {
        self.muted = muted;
        (self.armed, self.to_arm) = (None, None);
        self.woken_at = None;
        self.vad.reset();
        // What was heard before is not part of what comes after, nor is what waits for the rest of a block: it would put
        // the three sounds out of step.
        self.echo.reset();
        self.processor.reset();
        [&mut self.raw, &mut self.processed].into_iter().for_each(VecDeque::clear);
        self.clean.take(usize::MAX);
        self.sound.clear();
        self.sound_from = self.now;
        self.frames.clear();
        self.free_from = self.now;
        if let Some(spotter) = &mut self.spotter {
            spotter.reset();
        }
    }

    /// Takes a whole frame of sound: as it came, without echo, and without noise.
    fn frame(
        &mut self,
        raw: &[f32],
        clean: &Cleaned,
        processed: &[f32],
        events: &mut Vec<ListenEvent>,
    ) -> Result<(), OnnxError> {
        let frame = self.look(raw, &clean.suppressed, processed);
        self.now += FRAME;
        let for_model = if self.config.model_hears == ModelHears::Raw { &clean.subtracted[..] } else { processed };
        self.sound.extend(for_model);
        self.frames.push_back(frame);
        if self.frames.len() > KEPT / FRAME {
            self.frames.pop_front();
        }
        self.measure(&clean.subtracted, events);
        let echo = self.echo.awake() && self.likeness.is_echo();
        if let Some(spotter) = &mut self.spotter
            && let Some(woken) = spotter.push(Sound { processed, raw, echo }, frame.probability >= VOICE)?
        {
            self.woken(woken, events);
        }
        self.after_the_word(events);
        match (self.armed.take(), &mut self.barge_in) {
            (Some(armed), _) => self.armed = self.hear(armed, frame, events),
            (None, Some(segmenter)) => {
                if let Some(SegmentEvent::Started { .. }) = segmenter.push(frame) {
                    if self.likeness.is_echo() {
                        *segmenter = barge_in(&self.config);
                    } else {
                        self.barge_in = None;
                        events.push(ListenEvent::BargeIn);
                    }
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
    fn look(&mut self, raw: &[f32], clean: &[f32], processed: &[f32]) -> Frame {
        let peak = processed.iter().fold(0f32, |peak, v| peak.max(v.abs()));
        // Falls by 2 dB a second, to no less than the 20 dB of gain that hiss can bear.
        self.peak = peak.max(self.peak * 0.996_32).max(0.03);
        let gain = (0.3 / self.peak).clamp(1.0, 10.0);
        let louder: Vec<f32> = processed.iter().map(|v| v * gain).collect();
        let mut probabilities = Vec::with_capacity(1);
        self.vad.push(&louder, &mut probabilities);
        let mut frame = Frame::new(probabilities.pop().unwrap_or(0.0), processed);
        let power = |samples: &[f32]| samples.iter().map(|v| v * v).sum::<f32>() / FRAME as f32;
        let (raw, clean) = (power(raw), power(clean));
        self.likeness.heard(raw);
        if self.echo.awake() && 10.0 * ((raw + 1e-10) / (clean + 1e-10)).log10() > MOSTLY_ECHO_DB {
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

    fn woken(&mut self, Woken { word, score, stop }: Woken, events: &mut Vec<ListenEvent>) {
        if stop {
            return events.push(ListenEvent::Stop { score });
        }
        if let Some(armed) = &self.armed {
            // A command may name the word; only who calls again begins anew.
            let fresh = armed.speech.as_ref().is_none_or(|speech| self.now < speech.onset + REWAKE);
            if armed.hold || !fresh {
                return;
            }
        }
        (self.armed, self.to_arm) = (None, None);
        self.barge_in = None;
        let end = self.now - word_end(self.frames.make_contiguous()) * FRAME;
        self.free_from = self.free_from.max(end);
        self.woken_at = Some(self.now);
        events.push(ListenEvent::Wake { word, score });
    }

    /// Arms once the wake word has died away, or when it is clear that what goes on is no longer the word.
    fn after_the_word(&mut self, events: &mut Vec<ListenEvent>) {
        let Some(ToArm { pre_roll, wait_ms, until }) = self.to_arm else { return };
        let silence = word_end(self.frames.make_contiguous()) * FRAME;
        if silence > 0 && self.now - silence > self.free_from {
            self.free_from = self.now - silence;
        } else if self.now < until {
            return;
        }
        self.to_arm = None;
        self.arm(pre_roll, wait_ms, false, events);
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
            // A key asks nothing of what came before it: whoever pressed it may speak first.
            quiet: if woken { 0 } else { HESITATION },
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
        if !woken {
            armed.quiet = 0;
        }
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
                self.pauses = self.pauses.wrapping_add(1);
                events.push(ListenEvent::Pause(self.pauses));
            }
            Some(SegmentEvent::StillPaused) => {
                let now = self.now;
                if let Some(speech) = &mut armed.speech {
                    self.tell(speech, now, events);
                }
                self.pauses = self.pauses.wrapping_add(1);
                events.push(ListenEvent::StillPaused(self.pauses));
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
                    // Whoever holds the key is not done; only the cap can have come.
                    segment::EndReason::Silence if armed.hold => EndReason::Cap,
                    segment::EndReason::Silence | segment::EndReason::EndOfInput => {
                        EndReason::Silence((segment.quiet / 16) as u32)
                    }
                };
                self.free_from = self.now;
                events.push(ListenEvent::End(reason));
                return None;
            }
            None => {}
        }
        if armed.speech.is_none() && armed.quiet < HESITATION {
            armed.quiet = if frame.probability < VOICE { armed.quiet + 1 } else { 0 };
            if armed.quiet == HESITATION {
                events.push(ListenEvent::Waiting);
            }
        }
        let grace = if frame.probability < VOICE { 0 } else { ONSET };
        match &mut armed.speech {
            Some(speech) if !speech.paused && self.now >= speech.told + CHUNK => {
                let now = self.now;
                self.tell(speech, now, events);
            }
            None if self.now >= armed.deadline + grace => {
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
                    let rest = match self.config.model_hears {
                        ModelHears::Raw => self.clean.subtracted.clone(),
                        ModelHears::Processed => self.processed.iter().copied().collect(),
                    };
                    if !rest.is_empty() {
                        self.free_from += rest.len();
                        events.push(ListenEvent::Audio(rest));
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
        match self.rendered_until {
            Some(until) if onset >= until => from.max((until + ECHO_TAIL).min(onset)),
            _ => from,
        }
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

/// Finds speech that interrupts a reply.
fn barge_in(config: &ListenConfig) -> Segmenter {
    Segmenter::new(&ListenConfig { min_speech_ms: BARGE_IN_MS, ..config.clone() })
}

/// How many frames before the end of `frames`, in which a wake word was just found, the word ended: in the last silence of
/// 96 ms or more (a consonant's closure is shorter) that follows speech, at its beginning if that is within 560 ms, or else
/// at its end if that is within 400 ms: whoever speaks on at once is not to lose the first syllable. Else now.
fn word_end(frames: &[Frame]) -> usize {
    const SILENCE: usize = 6;
    const SPEECH: usize = 8;
    const REACH: usize = 35;
    const REACH_OF_END: usize = 25;
    let recent = &frames[frames.len().saturating_sub(60)..];
    let loudest = recent.iter().map(|frame| frame.level_db).fold(f32::MIN, f32::max);
    let quiet = |frame: &Frame| frame.level_db < loudest - 18.0 || frame.probability < 0.3;
    let (mut silence, mut run, mut loud) = (None, 0, 0);
    for (i, frame) in recent.iter().enumerate() {
        (run, loud) = if quiet(frame) { (run + 1, loud) } else { (0, loud + 1) };
        if run >= SILENCE && loud >= SPEECH {
            silence = Some((i + 1 - run, i));
        }
    }
    let Some((first, last)) = silence else { return 0 };
    // Two frames of it are the word dying away.
    let (beginning, end) = (recent.len() - first - 2, recent.len() - last);
    match () {
        () if beginning <= REACH => beginning,
        () if end <= REACH_OF_END => end + SILENCE / 2,
        () => 0,
    }
}

#[cfg(test)]
mod tests;
