//! The microphone: opened, watched and opened again, its sound at 16 kHz.
//!
//! Three threads. The device's callback makes mono f32 of what comes and pushes it into a ring: it neither locks,
//! allocates, logs nor waits ([`Intake`]). A thread of its own (`capture`) opens the device, watches that the callback
//! keeps coming, and opens again, because a sound server may take its time and an error callback may never come (field
//! note C2); what a server may never answer it asks through `Patient`. The `listen` thread owns the [`Microphone`], whose
//! [`Microphone::read`] never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{FromSample, I24, SampleFormat, SizedSample, StreamConfig};
use ringbuf::traits::{Consumer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use super::MODEL_RATE_HZ;
use super::callback::CallbackTimes;
use super::device::{self, Chosen, Direction, Host, Patient, Streams};
use super::resample::Resampler;

/// Sound between two callbacks. With PulseAudio each costs 0.1 ms of processor time whatever its length, since its client
/// zeroes a megabyte at every wake-up and asks for the latency after every callback (profiled): 20 ms cost 0.9 % of a core
/// more.
const PERIOD_MS: u32 = 40;
/// Sound that the ring holds: as long may the reader be away.
const RING_MS: u32 = 2_000;
/// Callbacks that stay away for so long mean that the device is gone.
const STALLED: Duration = Duration::from_millis(1_000);
/// Nothing from the ring for so long, and the thread that should have said so waits for the server.
const SILENT: Duration = Duration::from_millis(1_700);
/// As long may an opened device take to its first callback.
const ASLEEP: Duration = Duration::from_secs(5);
/// How often the callback's count is looked at.
const WATCH: Duration = Duration::from_millis(50);
/// How often it is asked whether the open device is still the wanted one: a server may have moved the stream.
const ASK: Duration = Duration::from_secs(1);
/// First wait before a device is tried again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest wait before a device is tried again.
const LAST_RETRY: Duration = Duration::from_secs(2);
/// A device that ran for so long was fine: the next loss is tried again at once.
const RAN: Duration = Duration::from_secs(10);
/// A question to the sound server that is late by so much is left behind: it hangs for ever when the device goes away in the
/// middle of it, and nobody is heard meanwhile. Not at once: where all of the server hangs, another connection finds none.
const FOR_GOOD: Duration = Duration::from_secs(5);

/// Which microphone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Name, id, or a part of one that no other input has; none for the system's default.
    pub device: Option<String>,
}

/// How it is with the microphone. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum CaptureState {
    /// Sound comes.
    Running {
        /// The device's name.
        device: Arc<str>,
        /// Its own rate; what is read has 16 kHz.
        rate_hz: u32,
        /// Its own channels; what is read is mono.
        channels: u16,
        /// Its own sample format.
        format: &'static str,
    },
    /// There is no sound; the device is tried again until it comes back.
    Missing {
        /// The name asked for; none for the system's default.
        wanted: Option<Arc<str>>,
        /// Since when.
        since: Instant,
        /// Why, for a person.
        reason: Arc<str>,
    },
    /// The thread that looked after the device has ended by itself: there will be no sound any more.
    Ended,
}

/// The callback's end of the ring.
pub struct Intake {
    ring: HeapProd<f32>,
    channels: usize,
    counts: Arc<Counts>,
    times: Arc<CallbackTimes>,
}

/// What the callback counts.
#[derive(Default)]
struct Counts {
    callbacks: AtomicU64,
    overruns: AtomicU64,
}

impl Intake {
    /// Takes interleaved samples of any format: downmixed to mono, into the ring. What finds no room is lost and
    /// counted. No lock, no allocation, no log.
    pub fn push<T>(&mut self, interleaved: &[T])
    where
        T: Copy,
        f32: FromSample<T>,
    {
        self.push_as(interleaved, f32::from_sample_);
    }

    /// As [`Intake::push`]. Of the four bytes of such a sample the highest is not part of it: PulseAudio leaves it zero
    /// for negative samples too (measured).
    pub fn push_i24(&mut self, interleaved: &[I24]) {
        self.push_as(interleaved, |sample: I24| f32::from_sample_(sample.inner() << 8));
    }

    fn push_as<T: Copy>(&mut self, interleaved: &[T], as_f32: impl Fn(T) -> f32) {
        let begun = Instant::now();
        let scale = 1.0 / self.channels as f32;
        let frames = interleaved.chunks_exact(self.channels);
        let n = frames.len();
        let mono = frames.map(|frame| frame.iter().map(|&sample| as_f32(sample)).sum::<f32>() * scale);
        let lost = n - self.ring.push_iter(mono);
        self.counts.overruns.fetch_add(lost as u64, Ordering::Relaxed);
        self.counts.callbacks.fetch_add(1, Ordering::Release);
        self.times.lost(lost);
        self.times.took(begun.elapsed());
    }
}

/// The reading end of a device that is open.
struct Outlet {
    ring: HeapCons<f32>,
    counts: Arc<Counts>,
    device: Arc<str>,
    rate_hz: u32,
    channels: u16,
    format: &'static str,
}

/// Both ends of a ring for a device.
fn ring(
    device: &str,
    rate_hz: u32,
    channels: u16,
    format: &'static str,
    times: Arc<CallbackTimes>,
) -> (Intake, Outlet) {
    let capacity = u64::from(rate_hz) * u64::from(RING_MS) / 1_000;
    let (producer, consumer) = HeapRb::new(capacity.max(1) as usize).split();
    let counts = Arc::new(Counts::default());
    let intake = Intake { ring: producer, channels: usize::from(channels.max(1)), counts: counts.clone(), times };
    (intake, Outlet { ring: consumer, counts, device: device.into(), rate_hz, channels, format })
}

enum Update {
    Opened(Outlet),
    Missing(Arc<str>),
}

/// A microphone, whether or not it is there.
pub struct Microphone {
    updates: Receiver<Update>,
    wanted: Option<Arc<str>>,
    state: CaptureState,
    open: Option<Open>,
    overruns_before: u64,
    /// Has it no thread that looks after a device?
    is_fed: bool,
    /// Tells the other thread that nobody listens any more.
    closed: Arc<AtomicBool>,
    times: Arc<CallbackTimes>,
}

struct Open {
    outlet: Outlet,
    resampler: Resampler,
    /// When sound came last, or since when it is waited for.
    heard: Instant,
    /// Samples on their way from the ring to the resampler.
    block: Vec<f32>,
}

impl Microphone {
    /// Starts to open the device and to keep it open. Does not fail and does not wait: a missing device is a state.
    pub fn open(config: &CaptureConfig) -> Self {
        Self::timed(config, Arc::default())
    }

    /// As [`Microphone::open`]; how long its callbacks take is counted in `times`.
    pub fn timed(config: &CaptureConfig, times: Arc<CallbackTimes>) -> Self {
        let wanted: Option<Arc<str>> = config.device.as_deref().map(Arc::from);
        // More updates than this wait for a reader that is away.
        let (sender, updates) = sync_channel(4);
        let closed = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            wanted: wanted.clone(),
            updates: sender,
            closed: closed.clone(),
            host: Patient::new(FOR_GOOD),
            times: times.clone(),
        };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || keeper.run());
        if let Err(error) = thread {
            tracing::error!(%error, "no thread can be started");
        }
        let reason = "it has not been opened yet".into();
        let state = CaptureState::Missing { wanted: wanted.clone(), since: Instant::now(), reason };
        Self { updates, wanted, state, open: None, overruns_before: 0, is_fed: false, closed, times }
    }

    /// Lets go of the device and opens another one instead. Does not wait.
    pub fn choose(&mut self, config: &CaptureConfig) {
        let mut other = Self::timed(config, self.times.clone());
        other.overruns_before = self.overruns();
        *self = other;
    }

    /// A microphone without a device: what is pushed into the other end is heard.
    pub fn fed(rate_hz: u32, channels: u16) -> (Intake, Self) {
        let times = Arc::<CallbackTimes>::default();
        let (intake, outlet) = ring("fed", rate_hz, channels, "f32", times.clone());
        let (sender, updates) = sync_channel(1);
        let state = CaptureState::Missing { wanted: None, since: Instant::now(), reason: "not read yet".into() };
        let mut microphone = Self {
            updates,
            wanted: None,
            state,
            open: None,
            overruns_before: 0,
            is_fed: true,
            closed: Arc::new(AtomicBool::new(false)),
            times,
        };
        drop(sender);
        microphone.take(Update::Opened(outlet));
        (intake, microphone)
    }

    /// Appends what has arrived, 16 kHz mono, and says how it is with the device. Does not wait; to be called every
    /// 10 ms or so, and at least every 2 s.
    pub fn read(&mut self, out: &mut Vec<f32>) -> CaptureState {
        self.drain(out);
        // Bounded by the channel: the other thread makes one update per attempt.
        for _ in 0..8 {
            match self.updates.try_recv() {
                Ok(update) => {
                    self.take(update);
                    self.drain(out);
                }
                Err(TryRecvError::Disconnected) if !self.is_fed => {
                    self.open = None;
                    self.state = CaptureState::Ended;
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.state.clone()
    }

    /// Samples at the device's rate that were lost since the start because nobody read them in time.
    pub fn overruns(&self) -> u64 {
        let now = self.open.as_ref().map_or(0, |open| open.outlet.counts.overruns.load(Ordering::Relaxed));
        self.overruns_before + now
    }

    fn drain(&mut self, out: &mut Vec<f32>) {
        let Some(open) = &mut self.open else { return };
        // What comes in meanwhile waits for the next call.
        let n = open.outlet.ring.pop_slice(&mut open.block);
        if n > 0 {
            open.resampler.push(&open.block[..n], out);
            open.heard = Instant::now();
        }
        let is_running = matches!(self.state, CaptureState::Running { .. });
        if n > 0 && !is_running {
            self.state = running(&open.outlet);
        } else if n == 0 && is_running && open.heard.elapsed() > SILENT {
            self.miss("it gives no sound".into());
        }
    }

    fn take(&mut self, update: Update) {
        self.overruns_before = self.overruns();
        match update {
            Update::Opened(outlet) => {
                let resampler = Resampler::new(outlet.rate_hz, MODEL_RATE_HZ);
                let block = vec![0.0; outlet.rate_hz as usize * RING_MS as usize / 1_000];
                self.state = running(&outlet);
                self.open = Some(Open { outlet, resampler, heard: Instant::now(), block });
            }
            Update::Missing(reason) => {
                self.open = None;
                self.miss(reason);
            }
        }
    }

    fn miss(&mut self, reason: Arc<str>) {
        let since = match self.state {
            CaptureState::Missing { since, .. } => since,
            CaptureState::Running { .. } | CaptureState::Ended => Instant::now(),
        };
        self.state = CaptureState::Missing { wanted: self.wanted.clone(), since, reason };
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        // The thread is not waited for: it may hang in the sound server.
        self.closed.store(true, Ordering::Release);
    }
}

fn running(outlet: &Outlet) -> CaptureState {
    let (rate_hz, channels, format) = (outlet.rate_hz, outlet.channels, outlet.format);
    CaptureState::Running { device: outlet.device.clone(), rate_hz, channels, format }
}

/// The thread that opens the device, watches it, and opens it again.
struct Keeper {
    wanted: Option<Arc<str>>,
    updates: SyncSender<Update>,
    closed: Arc<AtomicBool>,
    host: Patient,
    times: Arc<CallbackTimes>,
}

/// A device that is open.
struct Running {
    /// The one that hears, and its pacemaker.
    _streams: Streams,
    failure: Receiver<String>,
    counts: Arc<Counts>,
    chosen: Chosen,
}

impl Keeper {
    fn run(mut self) {
        let mut retry = FIRST_RETRY;
        let mut reported: Option<Arc<str>> = None;
        while !self.is_closed() {
            let begun = Instant::now();
            let reason: Arc<str> = match self.attempt() {
                Ok((running, outlet)) => {
                    let Outlet { device, rate_hz, channels, format, .. } = &outlet;
                    tracing::info!(device = &**device, rate_hz, channels, format, "input opened");
                    if self.updates.send(Update::Opened(outlet)).is_err() {
                        return;
                    }
                    reported = None;
                    self.watch(&running).into()
                }
                Err(reason) => reason.into(),
            };
            if self.is_closed() {
                return;
            }
            if reported.is_none() {
                tracing::error!(
                    wanted = self.wanted.as_deref().unwrap_or("default"),
                    reason = &*reason,
                    "input missing"
                );
            }
            if reported.as_ref() != Some(&reason) && self.updates.send(Update::Missing(reason.clone())).is_err() {
                return;
            }
            reported = Some(reason);
            retry = if begun.elapsed() > RAN { FIRST_RETRY } else { retry };
            self.rest(retry);
            retry = (retry * 2).min(LAST_RETRY);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_closed() && Instant::now() < until {
            std::thread::sleep(WATCH.min(time));
        }
    }

    fn attempt(&mut self) -> Result<(Running, Outlet), String> {
        let (wanted, times) = (self.wanted.clone(), self.times.clone());
        let opened = self.host.ask(ASLEEP, move |host| open(host, wanted.as_deref(), &times));
        opened.unwrap_or_else(|| Err("the sound server does not answer".into()))
    }

    /// Returns when the stream is over, and why.
    fn watch(&mut self, running: &Running) -> String {
        let mut last = (0, Instant::now());
        let mut asked = Instant::now();
        loop {
            match running.failure.recv_timeout(WATCH) {
                Ok(reason) => return reason,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return "the stream has ended".into(),
            }
            if self.is_closed() {
                return "closed".into();
            }
            let callbacks = running.counts.callbacks.load(Ordering::Acquire);
            if callbacks != last.0 {
                last = (callbacks, Instant::now());
            } else if last.1.elapsed() > if callbacks == 0 { ASLEEP } else { STALLED } {
                return format!("it has given no sound for {:.1} s", last.1.elapsed().as_secs_f32());
            }
            if asked.elapsed() > ASK {
                if self.host.is_current(self.wanted.as_deref(), &running.chosen, Direction::Input) == Some(false) {
                    return "it has been removed, or another input has become the default".into();
                }
                asked = Instant::now();
            }
        }
    }
}

/// A second stream that hears nothing, for PulseAudio: it makes the server take sound from the device every 40 ms.
///
/// Without a size for its buffer the stream that is heard would get 2 s at a time. With one, cpal allows the server to
/// queue no more than that, and a server that is late by one period throws a period of sound away, unnoticed: on a busy
/// machine words were lost with 10, 40 and 80 ms (measured). So the size goes to this stream, which loses nothing of value.
fn pacemaker(device: &cpal::Device, config: &cpal::SupportedStreamConfig) -> Option<cpal::Stream> {
    let buffer_size = device::buffer(config, config.sample_rate() * PERIOD_MS / 1_000);
    let (sample_rate, channels, format) = (config.sample_rate(), config.channels(), config.sample_format());
    let config = StreamConfig { channels, sample_rate, buffer_size };
    let stream = device.build_input_stream_raw(config, format, |_, _| {}, |_| {}, Some(ASLEEP)).ok()?;
    stream.play().ok().map(|()| stream)
}

/// Opens a device at its own configuration and starts it. May hang.
fn open(host: &mut Host, wanted: Option<&str>, times: &Arc<CallbackTimes>) -> Result<(Running, Outlet), String> {
    let none = |present: String| format!("there is no such input; present: {present}");
    let device = &host.find(wanted, Direction::Input).map_err(|error| none(error.present))?;
    let chosen = host.chosen(device, Direction::Input);
    let config = device::configuration(device, Direction::Input).ok_or("it offers no usable configuration")?;
    let (rate_hz, channels, format) = (config.sample_rate(), config.channels(), config.sample_format());
    let pacemaker = if device::id(device).starts_with(device::PULSE) { pacemaker(device, &config) } else { None };
    let fixed = device::buffer(&config, rate_hz * PERIOD_MS / 1_000);
    let sizes =
        if pacemaker.is_some() { [cpal::BufferSize::Default, fixed] } else { [fixed, cpal::BufferSize::Default] };
    let mut failed = String::new();
    for buffer_size in sizes {
        let name = device::format_name(format);
        let (intake, outlet) = ring(&device.to_string(), rate_hz, channels, name, times.clone());
        let (sender, failure) = sync_channel(1);
        let on_error = move |error: cpal::Error| {
            if device::is_fatal(error.kind()) {
                // The first failure is enough.
                let _ = sender.try_send(error.to_string());
            }
        };
        let config = StreamConfig { channels, sample_rate: rate_hz, buffer_size };
        let stream = match format {
            SampleFormat::F32 => build(device, config, intake, Intake::push::<f32>, on_error),
            SampleFormat::I16 => build(device, config, intake, Intake::push::<i16>, on_error),
            SampleFormat::I24 => build(device, config, intake, Intake::push_i24, on_error),
            SampleFormat::I32 => build(device, config, intake, Intake::push::<i32>, on_error),
            SampleFormat::U16 => build(device, config, intake, Intake::push::<u16>, on_error),
            SampleFormat::U8 => build(device, config, intake, Intake::push::<u8>, on_error),
            other => return Err(format!("samples of format {other} are not supported")),
        };
        let started = stream.and_then(|stream| stream.play().map(|()| stream));
        match started {
            Ok(stream) => {
                let counts = outlet.counts.clone();
                let streams = Streams([stream].into_iter().chain(pacemaker).collect());
                return Ok((Running { _streams: streams, failure, counts, chosen }, outlet));
            }
            Err(error) => failed = error.to_string(),
        }
    }
    Err(format!("it cannot be opened: {failed}"))
}

fn build<T>(
    device: &cpal::Device,
    config: StreamConfig,
    mut intake: Intake,
    push: impl Fn(&mut Intake, &[T]) + Send + 'static,
    on_error: impl FnMut(cpal::Error) + Send + 'static,
) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample + Send + 'static,
{
    device.build_input_stream(config, move |samples: &[T], _| push(&mut intake, samples), on_error, Some(ASLEEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate_hz: u32, seconds: f64) -> Vec<f32> {
        let n = (f64::from(rate_hz) * seconds) as usize;
        (0..n).map(|i| (i as f64 * hz * std::f64::consts::TAU / f64::from(rate_hz)).sin() as f32 * 0.5).collect()
    }

    fn level_db(samples: &[f32]) -> f64 {
        let power = samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64;
        10.0 * power.max(1e-20).log10()
    }

    /// What a microphone of this kind hears of a tone.
    fn heard(hz: f64, rate_hz: u32, channels: u16) -> Vec<f32> {
        let (mut intake, mut microphone) = Microphone::fed(rate_hz, channels);
        let mut out = Vec::new();
        for block in tone(hz, rate_hz, 1.0).chunks(rate_hz as usize / 100) {
            let interleaved: Vec<f32> = block.iter().flat_map(|&x| vec![x; usize::from(channels)]).collect();
            intake.push(&interleaved);
            microphone.read(&mut out);
        }
        assert_eq!(microphone.overruns(), 0);
        out
    }

    #[test]
    fn what_lies_above_8_khz_is_gone_and_not_folded() {
        for (rate_hz, channels) in [(48_000, 1), (44_100, 2), (96_000, 6), (32_000, 1)] {
            let pass = level_db(&heard(1_000.0, rate_hz, channels)[1_600..]);
            let stop = level_db(&heard(10_000.0, rate_hz, channels)[1_600..]);
            println!("{rate_hz} Hz, {channels} channels: 1 kHz {pass:.1} dB, 10 kHz {stop:.1} dB");
            assert!((pass + 9.03).abs() < 0.2, "{rate_hz}: 1 kHz comes out at {pass} dB");
            assert!(pass - stop > 60.0, "{rate_hz}: 10 kHz comes out at {stop} dB");
        }
    }

    #[test]
    fn the_end_of_the_thread_is_not_taken_for_a_missing_device() {
        let (_intake, mut microphone) = Microphone::fed(16_000, 1);
        assert!(matches!(microphone.read(&mut Vec::new()), CaptureState::Running { .. }));
        // As after a panic: its end of the updates is gone.
        microphone.is_fed = false;
        assert_eq!(microphone.read(&mut Vec::new()), CaptureState::Ended);
    }

    #[test]
    fn every_format_gives_the_same_sound() {
        let check = |push: &dyn Fn(&mut Intake)| {
            let (mut intake, mut microphone) = Microphone::fed(16_000, 2);
            push(&mut intake);
            let mut out = Vec::new();
            microphone.read(&mut out);
            assert_eq!(out.len(), 2);
            assert!((out[0] - 0.25).abs() < 0.01 && (out[1] + 0.5).abs() < 0.01, "{out:?}");
        };
        check(&|intake| intake.push(&[0.5f32, 0.0, -0.5, -0.5]));
        check(&|intake| intake.push(&[16_384i16, 0, -16_384, -16_384]));
        check(&|intake| intake.push(&[1i32 << 30, 0, -(1 << 30), -(1 << 30)]));
        check(&|intake| intake.push(&[49_152u16, 32_768, 16_384, 16_384]));
        check(&|intake| intake.push(&[192u8, 128, 64, 64]));
        let i24 = |value| I24::new(value).expect("it fits");
        check(&|intake| intake.push_i24(&[i24(1 << 22), i24(0), i24(-(1 << 22)), i24(-(1 << 22))]));
        // As PulseAudio gives them.
        let bytes = |value: i32| I24::new_unchecked(value & 0xff_ffff);
        check(&|intake| intake.push_i24(&[bytes(1 << 22), bytes(0), bytes(-(1 << 22)), bytes(-(1 << 22))]));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (mut intake, mut microphone) = Microphone::fed(16_000, 1);
        intake.push(&vec![0.5f32; 32_000]);
        assert_eq!(microphone.overruns(), 0);
        intake.push(&[0.5f32; 7]);
        assert_eq!(microphone.overruns(), 7);
        let mut out = Vec::new();
        microphone.read(&mut out);
        assert_eq!(out.len(), 32_000);
    }

    #[test]
    fn a_microphone_that_gives_nothing_is_missing_and_then_back() {
        let (mut intake, mut microphone) = Microphone::fed(16_000, 1);
        let mut out = Vec::new();
        assert!(matches!(microphone.read(&mut out), CaptureState::Running { .. }));
        std::thread::sleep(SILENT + Duration::from_millis(50));
        assert!(matches!(microphone.read(&mut out), CaptureState::Missing { .. }));
        intake.push(&[0.1f32; 160]);
        assert!(matches!(microphone.read(&mut out), CaptureState::Running { .. }));
        assert_eq!(out.len(), 160);
    }
}
