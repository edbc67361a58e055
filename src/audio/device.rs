//! Which sound devices there are, which of them a name means, and at which configuration one is opened.
//!
//! Owns the connection to the sound server; opens no stream, but closes them. A call of `Host` may wait for the server
//! for ever, so [`super::capture`] and [`super::playback`] ask through `Patient`, which waits on their threads no longer
//! than it is told.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, ErrorKind, HostId, SampleFormat, SupportedBufferSize, SupportedStreamConfig};
use serde::Serialize;

/// Devices named in a message at most.
const MOST_NAMES: usize = 16;
/// Devices looked at, at most: a host that lists more is not believed.
const MOST_DEVICES: usize = 256;
/// Ranges looked at for one device, at most.
const MOST_RANGES: usize = 4_096;
/// Rates that a device is asked for, best first: 48 kHz is what most hardware runs at, 16 kHz needs no conversion.
const RATES_HZ: [u32; 4] = [48_000, 16_000, 44_100, 32_000];
/// Rates that are believed. Drivers claim up to 4,294,967,295 Hz (field note C9).
const SANE_RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Channels that are believed: PulseAudio's own limit.
const SANE_CHANNELS: std::ops::RangeInclusive<u16> = 1..=32;
/// What identifiers of PulseAudio's devices begin with.
pub(super) const PULSE: &str = "pulseaudio:";
/// Sample formats, best first.
const FORMATS: [SampleFormat; 6] =
    [SampleFormat::F32, SampleFormat::I16, SampleFormat::I32, SampleFormat::I24, SampleFormat::U16, SampleFormat::U8];

/// Whoever asks while an earlier question is late waits for that one so long.
const MOMENT: Duration = Duration::from_millis(250);
/// Threads left behind at most, of those that have not ended since.
const MOST_LEFT: usize = 3;
/// As long may it take to say whether the open device is the wanted one: whoever does not know goes on, and finds out.
const ANSWER: Duration = Duration::from_secs(1);
/// As long may the closing of a stream take that is not lost: PulseAudio refuses a second one of ours beside it.
const CLOSING: Duration = Duration::from_millis(500);

/// One direction of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Microphones.
    Input,
    /// Loudspeakers.
    Output,
}

/// A device, as a person chooses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// Stable identifier: the host, a colon and the host's own name.
    pub id: String,
    /// The name to show.
    pub name: String,
    /// Whether this is what no name stands for.
    pub default: bool,
    /// Whether it hears what an output plays, and is no microphone.
    pub monitor: bool,
    /// Frames per second, if the device says it.
    pub rate_hz: Option<u32>,
    /// Channels, if the device says it.
    pub channels: Option<u16>,
    /// Sample format, if the device says it.
    pub format: Option<&'static str>,
}

/// Input devices; none when the sound server cannot be reached.
pub fn inputs() -> Vec<DeviceInfo> {
    Host::default().list(Direction::Input)
}

/// Output devices; none when the sound server cannot be reached.
pub fn outputs() -> Vec<DeviceInfo> {
    Host::default().list(Direction::Output)
}

/// A connection to the sound server, which is made when it is first needed and again after it has failed.
/// One is kept for many calls: each connection costs a thread and a socket.
#[derive(Default)]
pub(super) struct Host {
    connected: Option<cpal::Host>,
}

/// A connection that may hang without its owner: each question is asked in a thread of its own, which is left behind when it
/// takes too long. Sound servers that are stopped, and those that lose a device in the middle of a request, never answer.
pub(super) struct Patient {
    host: Host,
    /// A question that is late by so much is never answered, and the server is asked over another connection.
    for_good: Duration,
    late: Option<Late>,
    /// Threads that nobody waits for any more, until they end.
    left: Vec<JoinHandle<()>>,
}

/// A question that took too long.
struct Late {
    /// Where its host comes back to.
    host: Receiver<Host>,
    thread: JoinHandle<()>,
    /// When it was given up.
    since: Instant,
}

impl Patient {
    /// Nothing is connected yet. A question that is late by `for_good` is left behind.
    pub fn new(for_good: Duration) -> Self {
        Self { host: Host::default(), for_good, late: None, left: Vec::new() }
    }

    /// The answer; none when it does not come within `limit`, and then none until that question is over or has been
    /// left behind for good. What comes too late is dropped.
    pub fn ask<T: Send + 'static>(
        &mut self,
        limit: Duration,
        question: impl FnOnce(&mut Host) -> T + Send + 'static,
    ) -> Option<T> {
        if let Some(Late { host, thread, since }) = self.late.take() {
            self.left.retain(|thread| !thread.is_finished());
            match host.recv_timeout(MOMENT) {
                Ok(host) => self.host = host,
                Err(RecvTimeoutError::Timeout) if since.elapsed() < self.for_good || self.left.len() == MOST_LEFT => {
                    self.late = Some(Late { host, thread, since });
                    return None;
                }
                Err(RecvTimeoutError::Timeout) => self.left.push(thread),
                // It panicked, and took its host along.
                Err(RecvTimeoutError::Disconnected) => {}
            }
        }
        let mut host = std::mem::take(&mut self.host);
        // Without room: what comes too late is dropped by the thread that made it, where it may hang.
        let (answers, answer) = sync_channel(0);
        let (back, late) = sync_channel(1);
        let ask = move || {
            // Whoever asked may not wait any more.
            let _ = answers.send(question(&mut host));
            let _ = back.send(host);
        };
        let thread = match std::thread::Builder::new().name("sound-server".into()).spawn(ask) {
            Ok(thread) => thread,
            Err(error) => {
                tracing::error!(%error, "no thread can be started");
                return None;
            }
        };
        let answer = answer.recv_timeout(limit).ok();
        match answer.is_some().then(|| late.recv().ok()).flatten() {
            Some(host) => self.host = host,
            None => self.late = Some(Late { host: late, thread, since: Instant::now() }),
        }
        answer
    }

    /// As `Host::is_current`; none, too, when the server takes more than a second to say it.
    pub fn is_current(&mut self, wanted: Option<&str>, open: &Chosen, direction: Direction) -> Option<bool> {
        let (wanted, open) = (wanted.map(String::from), open.clone());
        self.ask(ANSWER, move |host| host.is_current(wanted.as_deref(), &open, direction)).flatten()
    }
}

/// Streams that are open. When this is dropped they are closed in a thread of its own, for which a moment is waited: cpal
/// 0.18.2 waits for ever for a server that hangs, and for an output that PulseAudio has ended, as it does when the last one
/// goes away. The thread is left behind then, until the connection ends.
pub(super) struct Streams(pub Vec<cpal::Stream>);

impl Drop for Streams {
    fn drop(&mut self) {
        let streams = std::mem::take(&mut self.0);
        let (closed, closing) = sync_channel(1);
        let thread = std::thread::Builder::new().name("sound-close".into()).spawn(move || {
            drop(streams);
            // Nobody may be waiting any more.
            let _ = closed.send(());
        });
        match thread {
            Ok(_) => drop(closing.recv_timeout(CLOSING)),
            Err(error) => tracing::error!(%error, "no thread can be started"),
        }
    }
}

/// A device that was opened, and the default at that time: when the default changes, PulseAudio moves streams there that
/// were opened on the old one, even those that asked for it by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    id: String,
    default: Option<String>,
}

/// Why there is no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotFound {
    /// The devices there are, or why none is known.
    pub present: String,
}

impl Host {
    /// The device that `wanted` means, or the default one.
    pub fn find(&mut self, wanted: Option<&str>, direction: Direction) -> Result<Device, NotFound> {
        // Listing comes last: with ALSA it opens devices, and the default one can be had without.
        if let (None, Some(device)) = (wanted, self.default_device(direction)) {
            return Ok(device);
        }
        let devices = self.devices(direction);
        let chosen = wanted.and_then(|name| choose(&devices.iter().map(names).collect::<Vec<_>>(), name));
        let label = |device: &Device| format!("{device} ({})", id(device));
        chosen.map(|at| devices[at].clone()).ok_or_else(|| {
            let present: Vec<String> = devices.iter().map(label).take(MOST_NAMES).collect();
            NotFound { present: if present.is_empty() { "none".to_string() } else { present.join(", ") } }
        })
    }

    /// What is remembered of a device before it is opened.
    pub fn chosen(&mut self, device: &Device, direction: Direction) -> Chosen {
        let id = id(device);
        let default = if id.starts_with(PULSE) { self.default_id(direction) } else { None };
        Chosen { id, default }
    }

    /// Whether the device that is open is still the one that `wanted` means, and the stream there. None when nobody can say.
    pub fn is_current(&mut self, wanted: Option<&str>, open: &Chosen, direction: Direction) -> Option<bool> {
        let server = self.host().is_some_and(|host| host.id() == HostId::PulseAudio);
        if !open.id.starts_with(PULSE) {
            // Listing ALSA's devices opens them. A stream there ends when there is a server, which wants the card.
            return Some(!server);
        }
        let devices = self.devices(direction);
        if devices.is_empty() {
            return self.connected.is_some().then_some(false);
        }
        let there = devices.iter().any(|device| id(device) == open.id);
        let default = self.default_id(direction);
        let still = match wanted {
            None => default.is_none_or(|default| default == open.id),
            // The server may have taken the stream along to the new default.
            Some(_) => default.is_none() || open.default.is_none() || default == open.default,
        };
        Some(there && still)
    }

    fn default_id(&mut self, direction: Direction) -> Option<String> {
        self.default_device(direction).map(|device| id(&device))
    }

    fn list(&mut self, direction: Direction) -> Vec<DeviceInfo> {
        let default = self.default_id(direction);
        let info = |device: &Device| {
            let (id, config) = (id(device), configuration(device, direction));
            DeviceInfo {
                name: device.to_string(),
                default: default.as_ref() == Some(&id),
                monitor: direction == Direction::Input && id.ends_with(".monitor"),
                rate_hz: config.as_ref().map(SupportedStreamConfig::sample_rate),
                channels: config.as_ref().map(SupportedStreamConfig::channels),
                format: config.map(|config| format_name(config.sample_format())),
                id,
            }
        };
        let devices = self.devices(direction);
        let server = self.host().is_some_and(|host| host.id() == HostId::PulseAudio);
        // Most of what ALSA lists cannot be opened, and is no device of this direction.
        devices.iter().map(info).filter(|info| server || info.rate_hz.is_some()).collect()
    }

    fn default_device(&mut self, direction: Direction) -> Option<Device> {
        let host = self.host()?;
        match direction {
            Direction::Input => host.default_input_device(),
            Direction::Output => host.default_output_device(),
        }
    }

    /// All devices; none, and no connection any more, when the server does not answer.
    fn devices(&mut self, direction: Direction) -> Vec<Device> {
        let Some(host) = self.host() else { return Vec::new() };
        let devices: Result<Vec<Device>, _> = match direction {
            // Asking each one for its direction would open it, which wakes sound servers and prints warnings.
            // JACK's plugin prints even so.
            _ if host.id() == HostId::Alsa => host
                .devices()
                .map(|devices| devices.filter(|device| id(device) != "alsa:jack").take(MOST_DEVICES).collect()),
            Direction::Input => host.input_devices().map(|devices| devices.take(MOST_DEVICES).collect()),
            Direction::Output => host.output_devices().map(|devices| devices.take(MOST_DEVICES).collect()),
        };
        devices.unwrap_or_else(|_| {
            self.connected = None;
            Vec::new()
        })
    }

    /// PulseAudio's server, which is PipeWire's too; else ALSA, but only for as long as there is no server.
    fn host(&mut self) -> Option<&cpal::Host> {
        if !matches!(&self.connected, Some(host) if host.id() == HostId::PulseAudio) {
            let server = cpal::available_hosts().contains(&HostId::PulseAudio);
            let server = server.then(|| cpal::host_from_id(HostId::PulseAudio).ok()).flatten();
            let alsa = || self.connected.take().or_else(|| cpal::host_from_id(HostId::Alsa).ok());
            self.connected = server.or_else(alsa);
            hush();
        }
        self.connected.as_ref()
    }
}

/// Keeps ALSA's library from printing to standard error on this thread; what can be done about an error is in the error.
/// Each call forgets what was kept before.
fn hush() {
    // Without it there are more lines on standard error, and no other harm.
    let _ = alsa::Output::local_error_handler();
}

/// A device's identifier; its name where it has none.
pub(super) fn id(device: &Device) -> String {
    device.id().map_or_else(|_| device.to_string(), |id| id.to_string())
}

/// What a device answers to: its identifier, the host's own part of that, its name.
fn names(device: &Device) -> [String; 3] {
    let own = device.id().map(|id| id.id().to_string()).unwrap_or_default();
    [id(device), own, device.to_string()]
}

/// The device that `name` means, of all names: the same, else the only one that contains it in any case.
fn choose<const N: usize>(names: &[[String; N]], name: &str) -> Option<usize> {
    if let Some(at) = names.iter().position(|names| names.iter().any(|n| n == name)) {
        return Some(at);
    }
    let name = name.to_lowercase();
    let contains = |names: &[String; N]| names.iter().any(|n| n.to_lowercase().contains(&name));
    let found: Vec<usize> = (0..names.len()).filter(|at| contains(&names[*at])).collect();
    if let [only] = found[..] { Some(only) } else { None }
}

/// The configuration to open a device at: its own if that can be believed, else a sane one of those it lists.
pub(super) fn configuration(device: &Device, direction: Direction) -> Option<SupportedStreamConfig> {
    hush();
    let own = match direction {
        Direction::Input => device.default_input_config(),
        Direction::Output => device.default_output_config(),
    };
    let own_is_sane = |config: &SupportedStreamConfig| {
        SANE_RATES_HZ.contains(&config.sample_rate())
            && SANE_CHANNELS.contains(&config.channels())
            && FORMATS.contains(&config.sample_format())
    };
    // ALSA's own configuration is a guess out of its ranges, of the kind that field note C9 warns of.
    let is_a_guess = device.id().is_ok_and(|id| id.host() == HostId::Alsa);
    if let Some(own) = own.ok().filter(|own| own_is_sane(own) && !is_a_guess) {
        return Some(own);
    }
    let ranges: Vec<_> = match direction {
        Direction::Input => device.supported_input_configs().map(|all| all.take(MOST_RANGES).collect()),
        Direction::Output => device.supported_output_configs().map(|all| all.take(MOST_RANGES).collect()),
    }
    .unwrap_or_default();
    let plain: Vec<Range> = ranges.iter().map(Range::from).collect();
    let (at, rate_hz) = sanest(&plain, if direction == Direction::Input { 1 } else { 2 })?;
    ranges[at].try_with_sample_rate(rate_hz)
}

/// What a device says it can do.
#[derive(Debug, Clone, Copy)]
struct Range {
    channels: u16,
    lowest_hz: u32,
    highest_hz: u32,
    format: SampleFormat,
}

impl From<&cpal::SupportedStreamConfigRange> for Range {
    fn from(range: &cpal::SupportedStreamConfigRange) -> Self {
        Self {
            channels: range.channels(),
            lowest_hz: range.min_sample_rate(),
            highest_hz: range.max_sample_rate(),
            format: range.sample_format(),
        }
    }
}

/// The range to take and the rate in it: the best rate, then channels near those wanted, then the best format.
fn sanest(ranges: &[Range], channels: u16) -> Option<(usize, u32)> {
    let rank = |(at, range): (usize, &Range)| {
        let format = FORMATS.iter().position(|format| *format == range.format)?;
        SANE_CHANNELS.contains(&range.channels).then_some(())?;
        let listed = RATES_HZ.iter().position(|rate| (range.lowest_hz..=range.highest_hz).contains(rate));
        let rate_hz = match listed {
            Some(at) => RATES_HZ[at],
            // No usual rate: the lowest that can be believed.
            None => range.lowest_hz.max(*SANE_RATES_HZ.start()),
        };
        let fits = SANE_RATES_HZ.contains(&rate_hz) && rate_hz <= range.highest_hz;
        let order = (listed.unwrap_or(RATES_HZ.len()), range.channels.abs_diff(channels), format);
        fits.then_some((order, at, rate_hz))
    };
    let best = ranges.iter().enumerate().filter_map(rank).min_by_key(|(order, at, _)| (*order, *at))?;
    Some((best.1, best.2))
}

/// A buffer of `wanted` frames, as near as the device allows it; the device's own where that would be absurd.
pub(super) fn buffer(config: &SupportedStreamConfig, wanted: u32) -> cpal::BufferSize {
    let longest = config.sample_rate();
    match *config.buffer_size() {
        SupportedBufferSize::Range { min, max } if min <= max => match wanted.clamp(min, max) {
            frames if frames > 0 && frames <= longest => cpal::BufferSize::Fixed(frames),
            _ => cpal::BufferSize::Default,
        },
        _ => cpal::BufferSize::Fixed(wanted),
    }
}

/// The name of a sample format.
pub(super) fn format_name(format: SampleFormat) -> &'static str {
    match format {
        SampleFormat::F32 => "f32",
        SampleFormat::I16 => "i16",
        SampleFormat::I24 => "i24",
        SampleFormat::I32 => "i32",
        SampleFormat::U16 => "u16",
        SampleFormat::U8 => "u8",
        _ => "other",
    }
}

/// Whether a stream is over after this kind of error. An underrun or another route is not the end, nor what ALSA may say
/// in passing (its plugin for PulseAudio on a busy machine: an I/O error from `snd_pcm_avail_delay`): whether sound moves
/// on after it is for the caller to see.
pub(super) fn is_fatal(kind: ErrorKind) -> bool {
    use ErrorKind::{BackendError, DeviceChanged, RealtimeDenied, Xrun};
    !matches!(kind, Xrun | DeviceChanged | RealtimeDenied | BackendError)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn questions_that_hang_are_left_behind_a_few_at_a_time() {
        let (soon, in_time) = (Duration::from_millis(20), Duration::from_secs(5));
        // It hangs until what this gives is dropped.
        let hang = |patient: &mut Patient| {
            let (release, hold) = sync_channel::<()>(0);
            assert_eq!(patient.ask(soon, move |_| hold.recv().is_ok()), None);
            release
        };
        let mut patient = Patient::new(Duration::from_secs(60));
        let hanging = hang(&mut patient);
        assert_eq!(patient.ask(soon, |_| 1), None, "the late one is waited for");
        drop(hanging);
        assert_eq!(patient.ask(in_time, |_| 2), Some(2));

        let mut patient = Patient::new(Duration::ZERO);
        let hanging: Vec<_> = (0..=MOST_LEFT).map(|_| hang(&mut patient)).collect();
        assert_eq!(patient.ask(soon, |_| 3), None, "one too many hangs");
        drop(hanging);
        assert_eq!(patient.ask(in_time, |_| 4), Some(4));
        // Those that were left behind have ended, and as many may hang again.
        let _hanging: Vec<_> = (0..MOST_LEFT).map(|_| hang(&mut patient)).collect();
        assert_eq!(patient.ask(in_time, |_| 5), Some(5));
    }

    #[test]
    fn only_real_ends_end_a_stream() {
        assert!(!is_fatal(ErrorKind::Xrun));
        assert!(!is_fatal(ErrorKind::BackendError));
        assert!(is_fatal(ErrorKind::DeviceNotAvailable));
        assert!(is_fatal(ErrorKind::StreamInvalidated));
    }

    #[test]
    fn of_absurd_ranges_a_sane_configuration_is_taken() {
        use SampleFormat::{F32, F64, I16, I32, U8};
        let range = |channels, lowest_hz, highest_hz, format| Range { channels, lowest_hz, highest_hz, format };
        let check = |ranges: &[Range], channels, expected| assert_eq!(sanest(ranges, channels), expected, "{ranges:?}");
        // ALSA's default plugin, as in cpal #601.
        let absurd: Vec<Range> = (1..=32).map(|channels| range(channels, 4_000, u32::MAX, I16)).collect();
        check(&absurd, 1, Some((0, 48_000)));
        check(&absurd, 2, Some((1, 48_000)));
        check(&[range(2, 44_100, 44_100, I16), range(1, 8_000, 16_000, U8)], 1, Some((1, 16_000)));
        check(&[range(1, 44_100, 44_100, I32)], 1, Some((0, 44_100)));
        check(&[range(1, 22_050, 22_050, I16), range(1, 96_000, 96_000, F32)], 1, Some((1, 96_000)));
        check(
            &[range(8, 48_000, 48_000, U8), range(2, 48_000, 48_000, I16), range(2, 48_000, 48_000, F32)],
            1,
            Some((2, 48_000)),
        );
        check(&[range(1, 1, 6_000, F32)], 1, None);
        check(&[range(1, 400_000, u32::MAX, F32)], 1, None);
        check(&[range(1, 48_000, 44_100, F32)], 1, None);
        check(
            &[range(0, 48_000, 48_000, F32), range(1_000, 48_000, 48_000, F32), range(1, 48_000, 48_000, F64)],
            1,
            None,
        );
        check(&[], 1, None);
    }
}
