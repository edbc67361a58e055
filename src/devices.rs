//! `hearth devices`: which microphones and loudspeakers there are, whether they work, and whether the wake words do.
//! Blocking; needs no model.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::audio::capture::{CaptureConfig, CaptureState, Microphone};
use crate::audio::device::{self, DeviceInfo};
use crate::audio::playback::{Play, Speaker};
use crate::audio::{Clip, MODEL_RATE_HZ};
use crate::config::WakeWordsConfig;
use crate::failure::{CONFIG, Failure, INTERNAL, UNAVAILABLE};
use crate::listen::wake::{Sound, Spot, WakeWords};

/// How often the microphone is read.
const POLL: Duration = Duration::from_millis(10);
/// Sound behind one reading of the meter.
const METER_MS: usize = 100;
/// Width of the meter's bar, for 60 dB.
const BAR: usize = 40;
/// As long may a microphone take to give its first sound.
const PATIENCE: Duration = Duration::from_secs(8);
/// Length of the recording that is played back.
const LOOP_SECONDS: u32 = 3;

/// What is asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// Microphone; none for the default.
    pub input: Option<String>,
    /// Loudspeaker; none for the default.
    pub output: Option<String>,
    /// List as one JSON object.
    pub json: bool,
    /// Show the microphone's level for so many seconds.
    pub meter_seconds: Option<u32>,
    /// Show the scores of these wake words for so many seconds. ONNX Runtime is loaded already.
    pub wake: Option<(u32, WakeWordsConfig)>,
    /// Record and play back.
    pub record: bool,
}

#[derive(Serialize)]
struct Listing {
    inputs: Vec<DeviceInfo>,
    outputs: Vec<DeviceInfo>,
}

/// Lists the devices, or tries them.
///
/// # Errors
/// [`Failure`] when a device that is to be tried is not there.
pub fn run(options: &Options) -> Result<(), Failure> {
    if let Some(seconds) = options.meter_seconds {
        meter(options, seconds)?;
    }
    if let Some((seconds, config)) = &options.wake {
        wake_meter(options, *seconds, config)?;
    }
    if options.record {
        record_and_play(options)?;
    }
    if options.meter_seconds.is_none() && options.wake.is_none() && !options.record {
        list(options.json)?;
    }
    Ok(())
}

fn list(json: bool) -> Result<(), Failure> {
    let listing = Listing { inputs: device::inputs(), outputs: device::outputs() };
    if json {
        println!("{}", serde_json::to_string(&listing).map_err(|e| Failure::new(INTERNAL, e))?);
        return Ok(());
    }
    for (title, devices) in [("inputs", &listing.inputs), ("outputs", &listing.outputs)] {
        println!("{title}{}", if devices.is_empty() { ": none" } else { "" });
        for device in devices {
            println!("{}", row(device));
        }
    }
    Ok(())
}

/// A device on one line; `*` is the default.
fn row(device: &DeviceInfo) -> String {
    let mark = if device.default { '*' } else { ' ' };
    let monitor = if device.monitor { "; hears an output" } else { "" };
    let own = match (device.rate_hz, device.channels, device.format) {
        (Some(rate_hz), Some(channels), Some(format)) => format!("{rate_hz} Hz, {channels} ch, {format}"),
        _ => "cannot be opened now".to_string(),
    };
    format!("{mark} {}  [{}]  {own}{monitor}", device.name, device.id)
}

/// Reads the microphone until `enough` samples are there, and hands on what comes. The time until the first sound does
/// not count.
fn hear(options: &Options, enough: usize, mut heard: impl FnMut(&[f32])) -> Result<(), Failure> {
    let mut microphone = Microphone::open(&CaptureConfig { device: options.input.clone() });
    let (mut block, mut n, mut last) = (Vec::new(), 0, Instant::now());
    let mut named = false;
    while n < enough {
        let state = microphone.read(&mut block);
        if let CaptureState::Running { device, rate_hz, channels, format } = &state
            && !named
        {
            eprintln!("{device}: {rate_hz} Hz, {channels} ch, {format}");
            named = true;
        }
        if !block.is_empty() {
            block.truncate(enough - n);
            n += block.len();
            last = Instant::now();
            heard(&block);
            block.clear();
        } else if last.elapsed() > PATIENCE {
            let reason = match state {
                CaptureState::Missing { reason, .. } => reason.to_string(),
                CaptureState::Running { .. } | CaptureState::Ended => "it gives no sound".to_string(),
            };
            let wanted = options.input.as_deref().unwrap_or("by default");
            return Err(Failure::new(UNAVAILABLE, format!("no input {wanted}: {reason}")));
        }
        std::thread::sleep(POLL);
    }
    if microphone.overruns() > 0 {
        eprintln!("{} samples were lost", microphone.overruns());
    }
    Ok(())
}

/// Where a meter is shown: in place on a terminal, else a line every half second.
struct Screen {
    watched: bool,
    shown: usize,
}

impl Screen {
    fn new() -> Self {
        Self { watched: std::io::stdout().is_terminal(), shown: 0 }
    }

    /// Shows the latest reading. Says whether a new one begins.
    fn show(&mut self, line: &str) -> bool {
        self.shown += 1;
        if self.watched {
            print!("\r{line}");
            // A meter that cannot be shown is no error.
            let _ = std::io::stdout().flush();
        } else if self.shown.is_multiple_of(5) {
            println!("{line}");
        }
        self.watched || self.shown.is_multiple_of(5)
    }

    /// The next line is another.
    fn next(&self) {
        if self.watched {
            println!();
        }
    }
}

fn meter(options: &Options, seconds: u32) -> Result<(), Failure> {
    let span = MODEL_RATE_HZ as usize * METER_MS / 1_000;
    let (mut waiting, mut screen) = (Vec::new(), Screen::new());
    hear(options, (seconds * MODEL_RATE_HZ) as usize, |block| {
        waiting.extend_from_slice(block);
        while waiting.len() >= span {
            screen.show(&reading(&waiting[..span]));
            waiting.drain(..span);
        }
    })?;
    screen.next();
    Ok(())
}

/// Listens for wake words as the daemon does, but always, and shows how near they come.
fn wake_meter(options: &Options, seconds: u32, config: &WakeWordsConfig) -> Result<(), Failure> {
    if config.words.is_empty() {
        return Err(Failure::new(CONFIG, "there is no wake word: `wake.words` is empty"));
    }
    let mut words = WakeWords::load(&config.dir, &config.words, None)?;
    let span = MODEL_RATE_HZ as usize * METER_MS / 1_000;
    let (mut waiting, mut screen) = (Vec::new(), Screen::new());
    let mut highest = vec![0.0_f32; config.words.len()];
    let mut fault = None;
    hear(options, (seconds * MODEL_RATE_HZ) as usize, |block| {
        waiting.extend_from_slice(block);
        while waiting.len() >= span && fault.is_none() {
            match words.push(Sound::plain(&waiting[..span]), true) {
                Ok(Some(woken)) => {
                    screen.next();
                    println!("{} was said ({:.2})", woken.word, woken.score);
                }
                Ok(None) => {}
                Err(error) => fault = Some(error),
            }
            waiting.drain(..span);
            let scores: Vec<(&str, f32)> = words.scores().collect();
            highest.iter_mut().zip(&scores).for_each(|(highest, (_, score))| *highest = highest.max(*score));
            let shown = scores.iter().zip(&highest).map(|((word, _), highest)| score_of(word, *highest));
            if screen.show(&shown.collect::<Vec<_>>().join("  ")) {
                highest.fill(0.0);
            }
        }
    })?;
    screen.next();
    fault.map_or(Ok(()), |error| Err(error.into()))
}

/// A word's score from 0 to 1, and a bar.
fn score_of(word: &str, score: f32) -> String {
    const WIDTH: usize = BAR / 2;
    let filled = (score * WIDTH as f32).round().clamp(0.0, WIDTH as f32) as usize;
    format!("{word} {score:.2} [{:WIDTH$}]", "#".repeat(filled))
}

/// Root mean square and peak of samples in dB of full scale, and a bar.
fn reading(samples: &[f32]) -> String {
    let (rms_db, peak_db) = levels_db(samples);
    let filled = ((rms_db + 60.0) / 60.0 * BAR as f32).clamp(0.0, BAR as f32) as usize;
    format!("{rms_db:6.1} dB, peak {peak_db:6.1} dB  [{:BAR$}]", "#".repeat(filled))
}

fn levels_db(samples: &[f32]) -> (f32, f32) {
    let db = |level: f32| 20.0 * level.max(1e-5).log10();
    let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len().max(1) as f32;
    (db(power.sqrt()), db(samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))))
}

fn record_and_play(options: &Options) -> Result<(), Failure> {
    let unavailable = |error| Failure::new(UNAVAILABLE, error);
    let mut speaker = Speaker::open(options.output.as_deref()).map_err(unavailable)?;
    eprintln!("recording {LOOP_SECONDS} s");
    let mut samples = Vec::new();
    hear(options, (LOOP_SECONDS * MODEL_RATE_HZ) as usize, |block| samples.extend_from_slice(block))?;
    println!("heard  {}", reading(&samples));
    speaker.play(&Clip { samples, rate_hz: MODEL_RATE_HZ }).map_err(unavailable)?;
    println!("played on {}", speaker.device().unwrap_or("nothing"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_shows_levels_of_full_scale() {
        let check = |samples: &[f32], expected: &str| assert_eq!(reading(samples), expected);
        check(&[1.0, -1.0], &format!("   0.0 dB, peak    0.0 dB  [{}]", "#".repeat(BAR)));
        check(&[0.0; 4], &format!("-100.0 dB, peak -100.0 dB  [{}]", " ".repeat(BAR)));
        check(&[0.1, 0.1], &format!(" -20.0 dB, peak  -20.0 dB  [{:BAR$}]", "#".repeat(26)));
        check(&[], &format!("-100.0 dB, peak -100.0 dB  [{}]", " ".repeat(BAR)));
    }

    #[test]
    fn a_score_has_a_bar() {
        let check = |score: f32, expected: &str| assert_eq!(score_of("jarvis", score), expected);
        check(0.0, "jarvis 0.00 [                    ]");
        check(0.5, "jarvis 0.50 [##########          ]");
        check(1.0, "jarvis 1.00 [####################]");
    }

    #[test]
    fn a_row_says_what_a_person_needs() {
        let device = DeviceInfo {
            id: "pulseaudio:mic".into(),
            name: "Microphone".into(),
            default: true,
            monitor: false,
            rate_hz: Some(48_000),
            channels: Some(1),
            format: Some("i16"),
        };
        assert_eq!(row(&device), "* Microphone  [pulseaudio:mic]  48000 Hz, 1 ch, i16");
        let device = DeviceInfo { default: false, monitor: true, rate_hz: None, ..device };
        assert_eq!(row(&device), "  Microphone  [pulseaudio:mic]  cannot be opened now; hears an output");
    }
}
