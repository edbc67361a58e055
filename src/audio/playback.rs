//! Plays clips on an output device. The only file that uses `rodio`.
//!
//! Owns the output stream, which stays open between clips so that a device does not fall asleep and swallow the start
//! of a reply (field note C12). [`Play::play`] blocks, so it runs on the thread that speaks; samples are finished before
//! they reach the device's own thread, which only copies them. Decides nothing and makes no sound of its own.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rodio::cpal::traits::{DeviceTrait, HostTrait};
use rodio::cpal::{self, ErrorKind};
use rodio::{ChannelCount, DeviceSinkBuilder, DeviceSinkError, MixerDeviceSink, SampleRate, Source};
use thiserror::Error;

use super::Clip;
use super::resample::resample;

/// Silence that follows a clip into the device, so that its last samples have left the device's buffers when the
/// silence has been taken. rodio asks for a buffer of 50 ms, which PulseAudio doubles.
const DRAIN_MS: u64 = 150;
/// Time for what was taken last to be heard.
const LATENCY: Duration = Duration::from_millis(60);
/// A device that takes no more samples for so long is gone, whether or not it said so (field note C2).
const STALLED: Duration = Duration::from_secs(2);
/// As long may the first sample take: PulseAudio's idle null sink and some ALSA devices need 2 s to wake up (measured).
const ASLEEP: Duration = Duration::from_secs(5);
/// How often the progress is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Devices named in an error at most.
const MOST_NAMES: usize = 16;

/// Plays clips one after another.
pub trait Play {
    /// Plays a clip and returns when it has been heard to its end; a clip without samples is over at once.
    ///
    /// # Errors
    /// [`PlayError`].
    fn play(&mut self, clip: &Clip) -> Result<(), PlayError>;
    /// Stand-in.
    ///
    /// # Errors
    /// x
    fn play_until(&mut self, clip: &Clip, _stop: &dyn Fn() -> bool) -> Result<(), PlayError> {
        self.play(clip)
    }
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

/// An output device.
pub struct Speaker {
    sink: MixerDeviceSink,
    device: String,
    /// Set by the device's thread when the stream is over.
    failed: Arc<AtomicBool>,
}

impl Speaker {
    /// Opens a device by its id, its name or an unambiguous part of it; the system's default when there is no name.
    ///
    /// # Errors
    /// [`PlayError::NoDevice`] and [`PlayError::Unavailable`].
    pub fn open(name: Option<&str>) -> Result<Self, PlayError> {
        let host = cpal::default_host();
        let device = match name {
            None => host.default_output_device(),
            Some(name) => find(&host, name),
        };
        let device = device.ok_or_else(|| no_device(name, &host))?;
        let device_name = device.to_string();
        let failed = Arc::new(AtomicBool::new(false));
        let flag = failed.clone();
        let on_error = move |error: cpal::Error| {
            if is_fatal(error.kind()) {
                flag.store(true, Ordering::Release);
            }
        };
        let unavailable = |error: DeviceSinkError| match is_absent(&error) {
            true => no_device(name, &host),
            false => PlayError::Unavailable { device: device_name.clone(), reason: with_causes(&error) },
        };
        let mut sink = DeviceSinkBuilder::from_device(device)
            .map_err(unavailable)?
            .with_error_callback(on_error)
            .open_sink_or_fallback()
            .map_err(unavailable)?;
        sink.log_on_drop(false);
        let config = sink.config();
        tracing::info!(
            device = device_name,
            rate_hz = config.sample_rate().get(),
            channels = config.channel_count().get(),
            format = %config.sample_format(),
            "output opened"
        );
        Ok(Self { sink, device: device_name, failed })
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.device
    }

    fn lost(&self, reason: String) -> PlayError {
        PlayError::Lost { device: self.device.clone(), reason }
    }
}

impl Play for Speaker {
    fn play(&mut self, clip: &Clip) -> Result<(), PlayError> {
        if clip.samples.is_empty() {
            return Ok(());
        }
        let (rate, channels) = (self.sink.config().sample_rate(), self.sink.config().channel_count());
        let mut samples =
            if clip.rate_hz == rate.get() { clip.samples.clone() } else { resample(clip, rate.get()).samples };
        let drain = u64::from(rate.get()) * DRAIN_MS / 1_000;
        samples.resize(samples.len() + drain as usize, 0.0);
        let total = samples.len();
        let taken = Arc::new(AtomicUsize::new(0));
        self.sink.mixer().add(Mono { samples, at: 0, channel: 0, channels, rate, taken: taken.clone() });
        let mut last = (0, Instant::now());
        while last.0 < total {
            std::thread::sleep(POLL);
            let now = taken.load(Ordering::Acquire);
            if now != last.0 {
                last = (now, Instant::now());
            } else if self.failed.load(Ordering::Acquire) {
                return Err(self.lost("the stream has ended".into()));
            } else if last.1.elapsed() > if now == 0 { ASLEEP } else { STALLED } {
                return Err(self.lost(format!("it has taken no sound for {} s", last.1.elapsed().as_secs())));
            }
        }
        std::thread::sleep(LATENCY);
        Ok(())
    }
}

/// Mono samples on every channel of the device, with a count of the samples that the device has taken.
struct Mono {
    samples: Vec<f32>,
    at: usize,
    channel: u16,
    channels: ChannelCount,
    rate: SampleRate,
    taken: Arc<AtomicUsize>,
}

impl Iterator for Mono {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        let sample = *self.samples.get(self.at)?;
        self.channel += 1;
        if self.channel == self.channels.get() {
            self.channel = 0;
            self.at += 1;
            self.taken.store(self.at, Ordering::Release);
        }
        Some(sample)
    }
}

impl Source for Mono {
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
        let rate = NonZero::<u64>::from(self.rate);
        Some(Duration::from_millis(self.samples.len() as u64 * 1_000 / rate))
    }
}

fn no_device(wanted: Option<&str>, host: &cpal::Host) -> PlayError {
    let name = |device: &cpal::Device| match device.id() {
        Ok(id) => format!("{device} ({id})"),
        Err(_) => device.to_string(),
    };
    let names: Vec<String> = output_devices(host).iter().map(name).take(MOST_NAMES).collect();
    let present = if names.is_empty() { "none".to_string() } else { names.join(", ") };
    PlayError::NoDevice { wanted: wanted.map(String::from), present }
}

/// Whether a device that was listed is not there: ALSA lists a default on machines without a sound card.
fn is_absent(error: &DeviceSinkError) -> bool {
    use DeviceSinkError::{BuildError, DefaultSinkConfigError, PlayError, SupportedConfigsError};
    match error {
        PlayError(error) | BuildError(error) | DefaultSinkConfigError(error) | SupportedConfigsError(error) => {
            matches!(error.kind(), ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable)
        }
        DeviceSinkError::NoDevice => true,
        DeviceSinkError::UnsupportedSampleFormat => false,
    }
}

/// Output devices; none when the host cannot list them.
fn output_devices(host: &cpal::Host) -> Vec<cpal::Device> {
    host.output_devices().map(Iterator::collect).unwrap_or_default()
}

fn find(host: &cpal::Host, name: &str) -> Option<cpal::Device> {
    let devices = output_devices(host);
    let names: Vec<[String; 2]> = devices
        .iter()
        .map(|device| [device.id().map(|id| id.to_string()).unwrap_or_default(), device.to_string()])
        .collect();
    let at = choose(&names, name)?;
    devices.into_iter().nth(at)
}

/// The device that `name` means, of all ids and names: the same, else the only one that contains it in any case.
fn choose(names: &[[String; 2]], name: &str) -> Option<usize> {
    if let Some(at) = names.iter().position(|names| names.iter().any(|n| n == name)) {
        return Some(at);
    }
    let name = name.to_lowercase();
    let contains = |names: &[String; 2]| names.iter().any(|n| n.to_lowercase().contains(&name));
    let found: Vec<usize> = (0..names.len()).filter(|at| contains(&names[*at])).collect();
    if let [only] = found[..] { Some(only) } else { None }
}

/// Whether a stream is over after this kind of error. An underrun or another route is not the end.
fn is_fatal(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied)
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
mod tests {
    use super::*;

    #[test]
    fn every_channel_gets_every_sample_and_progress_is_counted() {
        let check = |channels: u16, expected: &[f32]| {
            let taken = Arc::new(AtomicUsize::new(0));
            let channels = NonZero::new(channels).expect("not zero");
            let rate = NonZero::new(48_000).expect("not zero");
            let mono = Mono { samples: vec![0.1, 0.2], at: 0, channel: 0, channels, rate, taken: taken.clone() };
            assert_eq!(mono.collect::<Vec<_>>(), expected);
            assert_eq!(taken.load(Ordering::Acquire), 2);
        };
        check(1, &[0.1, 0.2]);
        check(2, &[0.1, 0.1, 0.2, 0.2]);
        check(3, &[0.1, 0.1, 0.1, 0.2, 0.2, 0.2]);
    }

    #[test]
    fn a_device_is_found_by_its_name_or_a_part_that_only_it_has() {
        let names = [["pulse:spk", "Speaker"], ["pulse:spk2", "USB Speaker"], ["alsa:hdmi", "HDMI"]]
            .map(|names| names.map(String::from));
        let check = |name: &str, expected: Option<usize>| assert_eq!(choose(&names, name), expected, "{name}");
        check("pulse:spk", Some(0));
        check("Speaker", Some(0));
        check("usb", Some(1));
        check("speaker", None);
        check("hdmi", Some(2));
        check("bluetooth", None);
    }

    #[test]
    fn only_real_ends_end_a_stream() {
        assert!(!is_fatal(ErrorKind::Xrun));
        assert!(is_fatal(ErrorKind::DeviceNotAvailable));
        assert!(is_fatal(ErrorKind::StreamInvalidated));
    }

    #[test]
    fn an_error_names_what_was_wanted_and_what_there_is() {
        let error = PlayError::NoDevice { wanted: Some("usb".into()), present: "Speaker".into() };
        assert_eq!(error.to_string(), "no output device \"usb\"; present: Speaker");
        let error = PlayError::NoDevice { wanted: None, present: "none".into() };
        assert_eq!(error.to_string(), "no output device; present: none");
    }
}
