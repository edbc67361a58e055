//! Plays clips on an output device. The only file that uses `rodio`.
//!
//! Owns the output stream, which stays open between clips so that a device does not fall asleep and swallow the start
//! of a reply (field note C12), and is opened again when the device was lost. One permanent source feeds it out of a
//! ring: what it emits, silence too, goes into a second ring for the echo canceller ([`RenderTap`]). [`Play::play`],
//! [`Play::play_until`] and [`Play::drain`] block, so they run on the thread that speaks; samples are finished before
//! they reach the device's own thread, which neither locks nor allocates here. Decides nothing and makes no sound of its
//! own.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use rodio::cpal::traits::{DeviceTrait, StreamTrait};
use rodio::cpal::{self, ErrorKind, FromSample, I24, SampleFormat, SizedSample, StreamConfig};
use rodio::mixer::{MixerSource, mixer};
use rodio::{ChannelCount, SampleRate, Source};
use thiserror::Error;

use super::callback::CallbackTimes;
use super::device::{self, Chosen, Direction, Host, Patient, Streams};
use super::resample::{Resampler, resample};
use super::{Clip, MODEL_RATE_HZ};

/// Sound between two callbacks. PulseAudio holds twice as much, and what it holds is heard after a stop. With 20 ms words
/// broke wherever the machine was busy elsewhere for that long (measured), and waking up cost twice as much.
const PERIOD_MS: u32 = 40;
/// Sound that waits for the device: as long may the thread that speaks be kept from running.
const RING_MS: u64 = 500;
/// Sound that the echo canceller may leave unread.
const TAP_MS: u64 = 2_000;
/// Frames that the source takes from the ring at once; a stop fades one of these blocks out: 5 ms at 48 kHz.
const BLOCK: usize = 240;
/// Fade at both ends of a clip, against the click of one that does not begin or end at zero (field note C11).
const EDGE_MS: u64 = 2;
/// Time for what was taken last to be heard.
const LATENCY: Duration = Duration::from_millis(2 * PERIOD_MS as u64 + 40);
/// A device that takes no more samples for so long is gone, whether or not it said so (field note C2).
const STALLED: Duration = Duration::from_secs(2);
/// As long may the first sample take: PulseAudio's idle null sink and some ALSA devices need 2 s to wake up (measured).
const ASLEEP: Duration = Duration::from_secs(5);
/// How often the progress is looked at.
const POLL: Duration = Duration::from_millis(5);
/// The open device is compared with the wanted one before a clip, but not more often than this.
const ASK: Duration = Duration::from_secs(1);
/// A question to the sound server that is late by so much is left behind: until then a speaker is quickly unavailable, and
/// after it whoever wants to speak waits for another opening.
const FOR_GOOD: Duration = Duration::from_secs(20);

/// Plays clips one after another.
pub trait Play {
    /// Plays a clip until the device has taken it to its end or `stop` says so, so that another can follow without a
    /// gap; a clip without samples is over at once.
    ///
    /// # Errors
    /// [`PlayError`].
    fn play_until(&mut self, clip: &Clip, stop: &dyn Fn() -> bool) -> Result<Played, PlayError>;

    /// Waits until what the device has taken has been heard, or until `stop` says so.
    fn drain(&mut self, stop: &dyn Fn() -> bool);

    /// Plays a clip until it has been heard to its end.
    ///
    /// # Errors
    /// [`PlayError`].
    fn play(&mut self, clip: &Clip) -> Result<(), PlayError> {
        self.play_until(clip, &|| false)?;
        self.drain(&|| false);
        Ok(())
    }

    /// Worth calling now and then while nothing plays, so that a device that comes back is ready before it is needed.
    ///
    /// # Errors
    /// [`PlayError`] while there is no device.
    fn ready(&mut self) -> Result<(), PlayError>;

    /// From now on another device, by name; none for the system's default. It is opened when it is next needed.
    fn choose(&mut self, name: Option<&str>);
}

/// How playing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    /// Taken by the device to its end.
    Whole,
    /// Stopped on request.
    Stopped {
        /// How much of the clip the device had taken.
        after: Duration,
    },
}

/// What can go wrong with an output, told apart by remedy.
#[derive(Debug, Error)]
pub enum PlayError {
    /// There is no such output: connect one, or correct the name in the configuration.
    #[error("no output device{}; present: {present}", wanted.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default())]
    NoDevice {
        /// The name asked for; none for the system's default.
        wanted: Option<String>,
        /// The devices there are.
        present: String,
    },
    /// The device is there and cannot be used now: wait and try again.
    #[error("the output device {device} cannot be opened: {reason}")]
    Unavailable {
        /// Its name.
        device: String,
        /// What the system said.
        reason: String,
    },
    /// The device went away while it was open: open again.
    #[error("the output device {device} was lost: {reason}")]
    Lost {
        /// Its name.
        device: String,
        /// What the system said, or how long it has been silent.
        reason: String,
    },
}

/// An output device, whether or not it is there.
pub struct Speaker {
    wanted: Option<String>,
    host: Patient,
    open: Option<Open>,
    /// Where the reading ends of new rings go, once somebody has asked for them.
    tap: Option<SyncSender<TapEnd>>,
    times: Arc<CallbackTimes>,
}

/// A device that is open.
struct Open {
    _streams: Streams,
    device: String,
    rate_hz: u32,
    /// The device's own channels and sample format, for the log.
    channels: u16,
    format: &'static str,
    chosen: Chosen,
    ring: HeapProd<f32>,
    shared: Arc<Shared>,
    /// Samples put into the ring so far.
    put: u64,
    /// When the end of what was taken last is heard.
    heard: Instant,
    /// When the device was last compared with the wanted one.
    asked: Instant,
}

/// What the device's thread and the speaking thread tell each other.
#[derive(Default)]
struct Shared {
    /// Samples taken out of the ring, played or thrown away.
    taken: AtomicU64,
    /// Asks the source to fade out and to throw away what is in the ring; the source clears it when it has.
    stop: AtomicBool,
    /// Set when the stream is over: why.
    ended: OnceLock<String>,
    /// Emitted samples that found no room in the tap.
    tap_overruns: AtomicU64,
}

impl Speaker {
    /// A speaker that is opened when it is first needed: for a device that may not be there yet.
    pub fn new(name: Option<&str>) -> Self {
        Self::timed(name, Arc::default())
    }

    /// As [`Speaker::new`]; how long its callbacks take is counted in `times`.
    pub fn timed(name: Option<&str>, times: Arc<CallbackTimes>) -> Self {
        Self { wanted: name.map(String::from), host: Patient::new(FOR_GOOD), open: None, tap: None, times }
    }

    /// Opens a device by its id, its name or an unambiguous part of it; the system's default when there is no name.
    ///
    /// # Errors
    /// [`PlayError::NoDevice`] and [`PlayError::Unavailable`].
    pub fn open(name: Option<&str>) -> Result<Self, PlayError> {
        let mut speaker = Self::new(name);
        speaker.ready()?;
        Ok(speaker)
    }

    /// The name of the device that is open.
    pub fn device(&self) -> Option<&str> {
        self.open.as_ref().map(|open| open.device.as_str())
    }

    /// What the device is given from now on, for an echo canceller. A later call takes it away from the earlier one.
    pub fn take_render_tap(&mut self) -> RenderTap {
        // As many devices may be opened while nobody reads.
        let (sender, ends) = sync_channel(4);
        self.tap = Some(sender);
        // The source got its ring when it was made: the stream has to be made anew.
        self.open = None;
        RenderTap { ends, end: None }
    }

    fn reopen(&mut self) -> Result<Open, PlayError> {
        let (wanted, times) = (self.wanted.clone(), self.times.clone());
        let opened = self.host.ask(ASLEEP, move |host| open(host, wanted, times));
        let (open, tap) = opened.unwrap_or_else(|| {
            let device = self.wanted.as_deref().unwrap_or("that is the default").to_string();
            Err(PlayError::Unavailable { device, reason: "the sound server does not answer".into() })
        })?;
        let Open { device, rate_hz, channels, format, .. } = &open;
        tracing::info!(device, rate_hz, channels, format, "output opened");
        if let Some(sender) = &self.tap {
            match sender.try_send(tap) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => tracing::warn!("nobody reads what the output plays"),
                Err(TrySendError::Disconnected(_)) => self.tap = None,
            }
        }
        Ok(open)
    }
}

/// Opens a device at its own configuration and starts it. May hang.
fn open(host: &mut Host, wanted: Option<String>, times: Arc<CallbackTimes>) -> Result<(Open, TapEnd), PlayError> {
    let no_device = |present: String| PlayError::NoDevice { wanted: wanted.clone(), present };
    let device = host.find(wanted.as_deref(), Direction::Output).map_err(|error| no_device(error.present))?;
    let (device_name, chosen) = (device.to_string(), host.chosen(&device, Direction::Output));
    let unavailable = |error: cpal::Error| match error.kind() {
        // ALSA lists a default on machines without a sound card.
        ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable => no_device("none that answers".into()),
        _ => PlayError::Unavailable { device: device_name.clone(), reason: with_causes(&error) },
    };
    let config = device::configuration(&device, Direction::Output).ok_or_else(|| PlayError::Unavailable {
        device: device_name.clone(),
        reason: "it offers no usable configuration".into(),
    })?;
    let shared = Arc::new(Shared::default());
    let on_error = {
        let shared = shared.clone();
        move |error: cpal::Error| {
            if device::is_fatal(error.kind()) {
                shared.ended.get_or_init(|| with_causes(&error));
            }
        }
    };
    let (rate_hz, channels, format) = (config.sample_rate(), config.channels(), config.sample_format());
    let (Some(rate), Some(channel_count)) = (NonZero::new(rate_hz), NonZero::new(channels)) else {
        return Err(no_device("none that answers".into()));
    };
    let build = |buffer_size| {
        let (mixer, source) = mixer(channel_count, rate);
        let (line, ring, tap) = Line::new(rate, channel_count, shared.clone(), times.clone());
        mixer.add(line);
        let config = StreamConfig { channels, sample_rate: rate_hz, buffer_size };
        let stream = stream(&device, config, format, Feed { source, times: times.clone() }, on_error.clone())?;
        stream.play()?;
        Ok((stream, ring, tap))
    };
    let fixed = device::buffer(&config, rate_hz * PERIOD_MS / 1_000);
    let (stream, ring, tap) = build(fixed).or_else(|_| build(cpal::BufferSize::Default)).map_err(unavailable)?;
    let now = Instant::now();
    let open = Open {
        _streams: Streams(vec![stream]),
        device: device_name,
        rate_hz,
        channels,
        format: device::format_name(format),
        chosen,
        ring,
        shared,
        put: 0,
        heard: now,
        asked: now,
    };
    Ok((open, tap))
}

/// What a callback plays.
struct Feed {
    source: MixerSource,
    times: Arc<CallbackTimes>,
}

impl Feed {
    fn fill<T: FromSample<f32>>(&mut self, out: &mut [T]) {
        let begun = Instant::now();
        out.iter_mut().for_each(|sample| *sample = T::from_sample_(self.source.next().unwrap_or(0.0)));
        self.times.took(begun.elapsed());
    }
}

/// A stream of a device, in its own format. May hang.
fn stream(
    device: &cpal::Device,
    config: StreamConfig,
    format: SampleFormat,
    feed: Feed,
    on_error: impl FnMut(cpal::Error) + Send + 'static,
) -> Result<cpal::Stream, cpal::Error> {
    fn build<T: SizedSample + FromSample<f32> + Send + 'static>(
        device: &cpal::Device,
        config: StreamConfig,
        mut feed: Feed,
        on_error: impl FnMut(cpal::Error) + Send + 'static,
    ) -> Result<cpal::Stream, cpal::Error> {
        device.build_output_stream(config, move |out: &mut [T], _| feed.fill(out), on_error, None)
    }
    match format {
        SampleFormat::F32 => build::<f32>(device, config, feed, on_error),
        SampleFormat::I16 => build::<i16>(device, config, feed, on_error),
        SampleFormat::I24 => build::<I24>(device, config, feed, on_error),
        SampleFormat::I32 => build::<i32>(device, config, feed, on_error),
        SampleFormat::U16 => build::<u16>(device, config, feed, on_error),
        SampleFormat::U8 => build::<u8>(device, config, feed, on_error),
        other => {
            let reason = format!("samples of format {other} are not supported");
            Err(cpal::Error::with_message(ErrorKind::UnsupportedConfig, reason))
        }
    }
}

impl Play for Speaker {
    /// Plays, and asks `stop` every 5 ms. A stopped clip is faded out within 10 ms, and what the device has already taken
    /// (80 to 120 ms) is still heard.
    /// After [`PlayError::Lost`] the next call opens the device again.
    fn play_until(&mut self, clip: &Clip, stop: &dyn Fn() -> bool) -> Result<Played, PlayError> {
        if clip.samples.is_empty() {
            return Ok(Played::Whole);
        }
        self.ready()?;
        let open = self.open.as_mut().expect("it is ready");
        let played = open.play(clip, stop);
        if played.is_err() {
            self.open = None;
        }
        played
    }

    fn drain(&mut self, stop: &dyn Fn() -> bool) {
        let Some(open) = &self.open else { return };
        while Instant::now() < open.heard && !stop() {
            std::thread::sleep(POLL);
        }
    }

    /// Opens the device unless it is open and still the wanted one.
    fn ready(&mut self) -> Result<(), PlayError> {
        if let Some(open) = &mut self.open {
            let failed = open.shared.ended.get().is_some();
            let mut current = Some(true);
            if !failed && open.asked.elapsed() > ASK {
                open.asked = Instant::now();
                current = self.host.is_current(self.wanted.as_deref(), &open.chosen, Direction::Output);
            }
            if !failed && current != Some(false) {
                return Ok(());
            }
            tracing::warn!(device = open.device, "output closed: it has failed, or is not the wanted one any more");
            if !failed {
                self.drain(&|| false);
            }
            self.open = None;
        }
        self.open = Some(self.reopen()?);
        Ok(())
    }

    fn choose(&mut self, name: Option<&str>) {
        self.drain(&|| false);
        self.wanted = name.map(String::from);
        self.open = None;
    }
}

impl Open {
    fn play(&mut self, clip: &Clip, stop: &dyn Fn() -> bool) -> Result<Played, PlayError> {
        let rate_hz = self.rate_hz;
        let mut samples = if clip.rate_hz == rate_hz { clip.samples.clone() } else { resample(clip, rate_hz).samples };
        fade_edges(&mut samples, (u64::from(rate_hz) * EDGE_MS / 1_000) as usize);
        let (start, mut at) = (self.put, 0);
        let mut last = (self.shared.taken.load(Ordering::Acquire), Instant::now());
        loop {
            let n = self.ring.push_slice(&samples[at..]);
            (at, self.put) = (at + n, self.put + n as u64);
            let taken = self.shared.taken.load(Ordering::Acquire);
            if at == samples.len() && taken >= self.put {
                break;
            }
            let asleep = taken <= start;
            if taken != last.0 {
                last = (taken, Instant::now());
            } else if let Some(reason) = self.shared.ended.get() {
                return Err(self.lost(reason.clone()));
            } else if last.1.elapsed() > if asleep { ASLEEP } else { STALLED } {
                return Err(self.lost(format!("it has taken no sound for {} s", last.1.elapsed().as_secs())));
            }
            if stop() {
                let after = Duration::from_millis(taken.saturating_sub(start) * 1_000 / u64::from(rate_hz));
                self.silence()?;
                return Ok(Played::Stopped { after });
            }
            std::thread::sleep(POLL);
        }
        // What was taken is on its way to the ear; a stop cannot call it back.
        self.heard = Instant::now() + LATENCY;
        Ok(Played::Whole)
    }

    /// Has the source fade out and forget the rest.
    fn silence(&mut self) -> Result<(), PlayError> {
        self.shared.stop.store(true, Ordering::Release);
        let asked = Instant::now();
        while self.shared.stop.load(Ordering::Acquire) {
            if self.shared.ended.get().is_some() || asked.elapsed() > STALLED {
                return Err(self.lost("it could not be stopped".into()));
            }
            std::thread::sleep(POLL / 5);
        }
        Ok(())
    }

    fn lost(&self, reason: String) -> PlayError {
        PlayError::Lost { device: self.device.clone(), reason }
    }
}

/// A linear ramp over the first and the last `n` samples.
fn fade_edges(samples: &mut [f32], n: usize) {
    let n = n.min(samples.len() / 2);
    let length = samples.len();
    for i in 0..n {
        let gain = i as f32 / n as f32;
        samples[i] *= gain;
        samples[length - 1 - i] *= gain;
    }
}

/// What the device was given, 16 kHz mono, silence included: the far end of an echo canceller.
pub struct RenderTap {
    ends: Receiver<TapEnd>,
    end: Option<TapEnd>,
}

/// The reading end of one device's tap.
struct TapEnd {
    ring: HeapCons<f32>,
    resampler: Resampler,
    block: Vec<f32>,
    shared: Arc<Shared>,
}

impl RenderTap {
    /// Appends what has been given to the device since the last call. Does not wait. Nothing comes while no device is
    /// open.
    pub fn read(&mut self, out: &mut Vec<f32>) {
        // Bounded by the channel.
        while let Ok(end) = self.ends.try_recv() {
            self.end = Some(end);
        }
        let Some(end) = &mut self.end else { return };
        let n = end.ring.pop_slice(&mut end.block);
        end.resampler.push(&end.block[..n], out);
    }

    /// Samples at the device's rate that were lost because nobody read them in time, since the device was opened.
    pub fn overruns(&self) -> u64 {
        self.end.as_ref().map_or(0, |end| end.shared.tap_overruns.load(Ordering::Relaxed))
    }
}

/// The permanent source: mono samples out of the ring on every channel, silence when there are none.
struct Line {
    ring: HeapCons<f32>,
    tap: HeapProd<f32>,
    shared: Arc<Shared>,
    times: Arc<CallbackTimes>,
    block: [f32; BLOCK],
    at: usize,
    channel: u16,
    channels: ChannelCount,
    rate: SampleRate,
}

impl Line {
    fn new(
        rate: SampleRate,
        channels: ChannelCount,
        shared: Arc<Shared>,
        times: Arc<CallbackTimes>,
    ) -> (Self, HeapProd<f32>, TapEnd) {
        let length = |ms: u64| (u64::from(rate.get()) * ms / 1_000).max(1) as usize;
        let (producer, ring) = HeapRb::new(length(RING_MS)).split();
        let (tap, consumer) = HeapRb::new(length(TAP_MS)).split();
        let end = TapEnd {
            ring: consumer,
            resampler: Resampler::new(rate.get(), MODEL_RATE_HZ),
            block: vec![0.0; length(TAP_MS)],
            shared: shared.clone(),
        };
        let line = Self { ring, tap, shared, times, block: [0.0; BLOCK], at: BLOCK, channel: 0, channels, rate };
        (line, producer, end)
    }

    /// The next block out of the ring, and into the tap.
    fn refill(&mut self) {
        // The flag first: whoever sets it puts nothing more into the ring.
        let stop = self.shared.stop.load(Ordering::Acquire);
        let mut n = self.ring.pop_slice(&mut self.block);
        self.block[n..].fill(0.0);
        if stop {
            for (i, sample) in self.block.iter_mut().enumerate() {
                *sample *= 1.0 - (i + 1) as f32 / BLOCK as f32;
            }
            n += self.ring.skip(self.ring.occupied_len());
        }
        self.shared.taken.fetch_add(n as u64, Ordering::Release);
        if stop {
            self.shared.stop.store(false, Ordering::Release);
        }
        let lost = BLOCK - self.tap.push_slice(&self.block);
        self.shared.tap_overruns.fetch_add(lost as u64, Ordering::Relaxed);
        self.times.lost(lost);
        self.at = 0;
    }
}

impl Iterator for Line {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        if self.at == BLOCK {
            self.refill();
        }
        let sample = self.block[self.at];
        self.channel += 1;
        if self.channel == self.channels.get() {
            self.channel = 0;
            self.at += 1;
        }
        Some(sample)
    }
}

impl Source for Line {
    fn current_span_len(&self) -> Option<usize> {
        None
    }

    fn channels(&self) -> ChannelCount {
        self.channels
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn total_duration(&self) -> Option<Duration> {
        None
    }
}

/// An error with what caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
