//! The four threads of the daemon: what each owns, how it is given work, how it ends.
//!
//! Each makes what it owns on itself, so that a model that loads for a minute keeps nobody waiting. All report over one
//! bounded channel; of what they report only sound may be dropped when it is full, which is counted and logged.

use std::sync::Arc;
use std::sync::mpsc::{Receiver as StdReceiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc::{Receiver, Sender};

use crate::audio::callback::CallbackTimes;
use crate::audio::capture::{CaptureConfig, CaptureState, Microphone};
use crate::audio::playback::{RenderTap, Speaker};
use crate::config::{Config, SpeechConfig};
use crate::conversation::Job;
use crate::dialogue::{Declared, TurnId};
use crate::failure::{Failure, INTERNAL};
use crate::listen::listener::{self, DeviceState, Ear, ListenCommand, ListenEvent, Listener};
use crate::listen::wake::{Spot, WakeWords};
use crate::model::Gemma;
use crate::model::generate::ModelConfig;
use crate::mouth::{self, Hush, Line, Mouth, Sound, Voice};
use crate::onnx::Interrupt;
use crate::threads::{Ended, Pulse, join_until, spawn_named};
use crate::{ask, infer, speech};

/// Reports that may wait for the daemon, which takes them at once: a second of a busy turn.
const NOTICES: usize = 256;
/// Jobs that may wait for the model: 80 ms of sound each, the longest command and more.
const JOBS: usize = 1024;
/// Commands that may wait to be heard.
const ORDERS: usize = 64;
/// Sentences that may wait to be spoken: all of the longest text that a model may write, since it writes faster than
/// anybody speaks (a sentence has at least two tokens, and `model.max_tokens` ends at 4096).
const LINES: usize = 2048;

/// What a thread does until there is nothing more to do.
type Body = Box<dyn FnOnce(&Pulse, &Sender<Notice>) -> Result<(), Failure> + Send>;

/// What the threads report.
pub(super) enum Notice {
    /// The model is there.
    Loaded(Loaded),
    /// The voice is there.
    HasVoice,
    /// Something was heard.
    Heard(ListenEvent),
    /// From the model.
    Model(infer::Report),
    /// From the voice and the mouth.
    Mouth(mouth::Report),
    /// Something that the daemon cannot be without could not be loaded.
    Failed(Failure),
    /// A thread ended.
    Ended(Ended),
}

/// What there is to know of the model.
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) phrases: bool,
    pub(super) reads_text: bool,
    pub(super) interrupt: Arc<Interrupt>,
}

/// The daemon's ends of the threads.
pub(super) struct Threads {
    pub(super) jobs: SyncSender<(TurnId, Job)>,
    pub(super) lines: SyncSender<Line>,
    pub(super) ears: SyncSender<ListenCommand>,
    /// How long the callbacks of the devices take.
    pub(super) capture_times: Arc<CallbackTimes>,
    pub(super) playback_times: Arc<CallbackTimes>,
    /// Other microphones than the one that is open; the last one counts.
    microphones: SyncSender<CaptureConfig>,
    /// Keeps the mouth from ending with a voice that failed: the voice's own end says why.
    sounds: SyncSender<Sound>,
    handles: Vec<(&'static str, JoinHandle<()>, Pulse, u64)>,
    /// How often in a row one of them had not moved.
    still: u32,
}

impl Threads {
    /// A thread that has not moved since this was last asked, and not the time before: a long prefill takes a while.
    pub(super) fn stuck(&mut self) -> Option<&'static str> {
        let mut stuck = None;
        for (name, _, pulse, last) in &mut self.handles {
            let now = pulse.count();
            if std::mem::replace(last, now) == now {
                stuck = Some(*name);
            }
        }
        self.still = if stuck.is_some() { self.still + 1 } else { 0 };
        stuck.filter(|_| self.still > 1)
    }

    /// Another microphone, from now on.
    pub(super) fn hear_with(&mut self, config: CaptureConfig) {
        if self.microphones.try_send(config).is_err() {
            tracing::error!("the listener does not take another microphone");
        }
    }

    /// Ends all threads; gives the names of those that did not end by the deadline.
    pub(super) fn end(self, deadline: Instant) -> Vec<&'static str> {
        // Without an other end each of them has nothing more to do.
        drop((self.jobs, self.lines, self.ears, self.microphones, self.sounds));
        let late =
            self.handles.into_iter().filter_map(|(name, handle, ..)| (!join_until(handle, deadline)).then_some(name));
        late.collect()
    }
}

/// Starts all threads.
pub(super) fn threads(config: &Config, told: Declared, hush: &Hush) -> Result<(Threads, Receiver<Notice>), Failure> {
    let (notices, inbox) = tokio::sync::mpsc::channel(NOTICES);
    let (jobs, job_queue) = sync_channel(JOBS);
    let (lines, line_queue) = sync_channel(LINES);
    let (ears, ear_queue) = sync_channel(ORDERS);
    // Reloads within one poll of the listener.
    let (microphones, other) = sync_channel(8);
    let (capture_times, playback_times) = (Arc::<CallbackTimes>::default(), Arc::<CallbackTimes>::default());
    // Without room: nothing is played before somebody hears it.
    let (give_tap, tap) = sync_channel(0);
    let mut handles = Vec::with_capacity(4);
    let mut start = |name, body: Body| {
        let (pulse, send, end) = (Pulse::default(), notices.clone(), notices.clone());
        let own = pulse.clone();
        let body = move || {
            body(&own, &send).map_err(|failure| {
                let message = failure.message.clone();
                // Nobody listens when the daemon has ended already.
                let _ = send.blocking_send(Notice::Failed(failure));
                message
            })
        };
        let report = move |ended| {
            let _ = end.blocking_send(Notice::Ended(ended));
        };
        let handle = spawn_named(name, report, body)
            .map_err(|error| Failure::new(INTERNAL, format!("thread {name} cannot be started: {error}")))?;
        handles.push((name, handle, pulse, 0));
        Ok::<(), Failure>(())
    };
    let own = config.clone();
    start("infer", Box::new(move |pulse, notices| infer(&own, told, &job_queue, pulse, notices)))?;
    let (give_sound, sounds) = mouth::sounds();
    let (own, own_hush, own_sounds) = (config.clone(), hush.clone(), give_sound.clone());
    start("voice", Box::new(move |pulse, notices| voice(&own, (own_sounds, &line_queue), &own_hush, pulse, notices)))?;
    let own_hush = hush.clone();
    let output = Speaker::timed(config.audio.output.as_deref(), playback_times.clone());
    start(
        "speak",
        Box::new(move |pulse, notices| {
            speak(output, (give_tap, &sounds), &own_hush, pulse, notices);
            Ok(())
        }),
    )?;
    let own = config.clone();
    let microphone = (Microphone::timed(&config.audio.capture(), capture_times.clone()), other);
    start("listen", Box::new(move |pulse, notices| listen(&own, microphone, (&tap, &ear_queue), pulse, notices)))?;
    let sounds = give_sound;
    let threads = Threads { jobs, lines, ears, capture_times, playback_times, microphones, sounds, handles, still: 0 };
    Ok((threads, inbox))
}

fn infer(
    config: &Config,
    told: Declared,
    jobs: &StdReceiver<(TurnId, Job)>,
    pulse: &Pulse,
    notices: &Sender<Notice>,
) -> Result<(), Failure> {
    let Declared { system, tools } = told;
    let mut model = Gemma::load(ModelConfig { system, ..config.model.clone() }, &tools)?;
    let (interrupt, manifest) = (model.interrupt(), &model.folder().manifest);
    let (name, phrases, reads_text) = (manifest.name.clone(), manifest.phrases, manifest.reads_text);
    let _ = notices.blocking_send(Notice::Loaded(Loaded { name, phrases, reads_text, interrupt: interrupt.clone() }));
    infer::run(&mut model, &interrupt, pulse, jobs, &mut |report| {
        let _ = notices.blocking_send(Notice::Model(report));
    });
    Ok(())
}

fn voice(
    config: &Config,
    (sounds, lines): (SyncSender<Sound>, &StdReceiver<Line>),
    hush: &Hush,
    pulse: &Pulse,
    notices: &Sender<Notice>,
) -> Result<(), Failure> {
    // How loud it is comes with each line, so that it can change.
    let speech = SpeechConfig { volume: 1.0, ..config.speech.clone() };
    let mut voice = ask::voice(&Config { speech, ..config.clone() })?;
    // The first sentence should not pay for what the runtime does once.
    let _ = speech::say(&mut voice, "Ready.");
    let _ = notices.blocking_send(Notice::HasVoice);
    let mut report = |report| {
        let _ = notices.blocking_send(Notice::Mouth(report));
    };
    Voice::new(&mut voice, sounds, hush, pulse, &mut report).run(lines);
    Ok(())
}

fn speak(
    mut output: Speaker,
    (give_tap, sounds): (SyncSender<RenderTap>, &StdReceiver<Sound>),
    hush: &Hush,
    pulse: &Pulse,
    notices: &Sender<Notice>,
) {
    // The listener may have ended already.
    let _ = give_tap.send(output.take_render_tap());
    drop(give_tap);
    let mut report = |report| {
        let _ = notices.blocking_send(Notice::Mouth(report));
    };
    Mouth::new(&mut output, hush, pulse, &mut report).run(sounds);
}

fn listen(
    config: &Config,
    (microphone, other): (Microphone, StdReceiver<CaptureConfig>),
    (tap, commands): (&StdReceiver<RenderTap>, &StdReceiver<ListenCommand>),
    pulse: &Pulse,
    notices: &Sender<Notice>,
) -> Result<(), Failure> {
    let (words, stop) = (config.wake.words.as_slice(), config.wake.stop());
    let spotter: Option<Box<dyn Spot>> = match (words, &stop) {
        ([], None) => None,
        _ => Some(Box::new(WakeWords::load(&config.wake.dir, words, stop.as_ref())?)),
    };
    let Ok(tap) = tap.recv() else { return Ok(()) };
    let ears = Ears { microphone, other, tap, pulse: pulse.clone(), last: None, overruns: 0 };
    let mut lost = 0_usize;
    let deliver = |event| match event {
        ListenEvent::Audio(samples) => {
            let n = samples.len();
            if notices.try_send(Notice::Heard(ListenEvent::Audio(samples))).is_err() {
                lost += n;
                tracing::warn!(samples = n, in_all = lost, "the daemon does not keep up: sound was dropped");
            }
            !notices.is_closed()
        }
        event => notices.blocking_send(Notice::Heard(event)).is_ok(),
    };
    Ok(listener::run(ears, Listener::new(&config.listen, spotter), commands, deliver)?)
}

/// The microphone, and what the loudspeaker plays.
struct Ears {
    microphone: Microphone,
    /// Others to hear with instead.
    other: StdReceiver<CaptureConfig>,
    tap: RenderTap,
    pulse: Pulse,
    last: Option<CaptureState>,
    overruns: u64,
}

impl Ear for Ears {
    fn read(&mut self, heard: &mut Vec<f32>, rendered: &mut Vec<f32>) -> Option<DeviceState> {
        self.pulse.beat();
        if let Some(config) = self.other.try_iter().last() {
            self.microphone.choose(&config);
        }
        let state = self.microphone.read(heard);
        self.tap.read(rendered);
        let overruns = self.microphone.overruns();
        if overruns > self.overruns {
            tracing::warn!(
                samples = overruns - self.overruns,
                in_all = overruns,
                "sound was lost: nobody read it in time"
            );
            self.overruns = overruns;
        }
        if self.last.as_ref() == Some(&state) {
            return None;
        }
        let told = match &state {
            CaptureState::Running { device, rate_hz, channels, format } => {
                DeviceState::Running(format!("{device}, {rate_hz} Hz, {channels} channels, {format}"))
            }
            CaptureState::Missing { reason, .. } => DeviceState::Missing(reason.to_string()),
            CaptureState::Ended => DeviceState::Ended,
        };
        self.last = Some(state);
        Some(told)
    }
}
