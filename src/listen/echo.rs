//! Takes what the speaker plays out of what the microphone hears.
//!
//! Owns the canceller (WebRTC's, through `sonora`) and the samples of unfinished frames of 10 ms. While nothing plays
//! it sleeps: sound passes as it came, and what it learnt of the room is kept. It neither suppresses noise nor changes
//! the gain, since the model was trained on raw sound. No I/O. Runs on the `listen` thread.

use std::collections::VecDeque;

use sonora::config::EchoCanceller as Aec;
use sonora::{AudioProcessing, Config, StreamConfig};

/// Samples per frame: 10 ms, fixed by the canceller.
const FRAME: usize = 160;
/// A rendered sample below -60 dB of full scale is silence.
const SILENT: f32 = 1e-3;
/// Frames that it stays awake after the last sound: the echo comes later by the device's latency and the room's.
const AWAKE: usize = 100;
/// Rendered frames that may wait: half a second. Beyond it the oldest are dropped.
const MOST_WAITING: usize = 50;
/// Rendered frames given per frame heard, so that a burst is caught up with.
const AT_ONCE: usize = 2;

/// The canceller. One per microphone.
pub struct EchoCanceller {
    apm: Box<AudioProcessing>,
    heard: Vec<f32>,
    rendered: VecDeque<f32>,
    /// Frames rendered more than heard since it woke up.
    ahead: usize,
    /// Frames until it sleeps.
    awake: usize,
    cleaned: Vec<f32>,
}

impl Default for EchoCanceller {
    fn default() -> Self {
        let config = Config { echo_canceller: Some(Aec::default()), ..Config::default() };
        let stream = StreamConfig::new(crate::audio::MODEL_RATE_HZ, 1);
        let apm = AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build();
        Self {
            apm: Box::new(apm),
            heard: Vec::with_capacity(FRAME),
            rendered: VecDeque::new(),
            ahead: 0,
            awake: 0,
            cleaned: vec![0.0; FRAME],
        }
    }
}

impl EchoCanceller {
    /// One that knows nothing of the room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is there, or was there a moment ago, anything to cancel?
    pub fn awake(&self) -> bool {
        self.awake > 0
    }

    /// Takes 16 kHz samples that were heard and those that were rendered meanwhile (none: silence), and appends to
    /// `out` what is left of the whole frames heard so far: at most 159 samples wait for the next call.
    pub fn push(&mut self, heard: &[f32], rendered: &[f32], out: &mut Vec<f32>) {
        if rendered.iter().any(|v| v.abs() > SILENT) {
            if self.awake == 0 {
                self.rendered.clear();
                self.ahead = 0;
            }
            self.awake = AWAKE;
        }
        if self.awake > 0 {
            self.rendered.extend(rendered.iter().map(|v| if v.is_finite() { v.clamp(-1.0, 1.0) } else { 0.0 }));
            let excess = (self.rendered.len() / FRAME).saturating_sub(MOST_WAITING) * FRAME;
            self.rendered.drain(..excess);
        }
        let mut rest = heard;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(FRAME - self.heard.len()));
            self.heard.extend_from_slice(head);
            rest = tail;
            if self.heard.len() == FRAME {
                self.frame(out);
                self.heard.clear();
            }
        }
    }

    fn frame(&mut self, out: &mut Vec<f32>) {
        if self.awake == 0 {
            return out.extend_from_slice(&self.heard);
        }
        self.awake -= 1;
        for _ in 0..AT_ONCE {
            if self.rendered.len() >= FRAME {
                let frame: Vec<f32> = self.rendered.drain(..FRAME).collect();
                self.render(&frame);
            }
        }
        if self.ahead == 0 {
            self.render(&[0.0; FRAME]);
        }
        self.ahead = self.ahead.saturating_sub(1);
        // Without a delay given the canceller finds it by itself; both calls fail only for frames of another length.
        let result = self
            .apm
            .set_stream_delay_ms(0)
            .and_then(|()| self.apm.process_capture_f32(&[&self.heard], &mut [&mut self.cleaned]));
        match result {
            Ok(()) => out.extend_from_slice(&self.cleaned),
            Err(error) => {
                tracing::debug!(?error, "a frame kept its echo");
                out.extend_from_slice(&self.heard);
            }
        }
    }

    fn render(&mut self, frame: &[f32]) {
        self.ahead += 1;
        let mut unused = [0.0; FRAME];
        if let Err(error) = self.apm.process_render_f32(&[frame], &mut [&mut unused]) {
            tracing::debug!(?error, "a rendered frame was not heard by the echo canceller");
        }
    }
}

/// How alike the ups and downs of what is heard are to those of what is rendered. It tells an echo from a person where the
/// canceller cannot: before it knows the room, and when a busy machine shifts the two against each other.
#[derive(Debug, Default)]
pub struct Likeness {
    /// Levels of the last frames of 16 ms, in dB.
    heard: VecDeque<f32>,
    rendered: VecDeque<f32>,
    /// Power and number of the rendered samples of the frame under way.
    unfinished: (f32, usize),
}

impl Likeness {
    /// Samples of a frame.
    const FRAME: usize = 256;
    /// Frames that are compared: 0.96 s.
    const WINDOW: usize = 60;
    /// An echo is at most so many frames late: 0.48 s.
    const LATEST: usize = 30;
    /// Levels are cut here: below it is the room.
    const FLOOR_DB: f32 = -60.0;
    /// What correlates more is an echo. Echoes have 0.94 and more, a person 0.79 at most; beside an echo a person brings it
    /// from 0.91 down to 0.42 within a second (measured in the test below).
    const ECHO: f32 = 0.85;

    /// Takes 16 kHz samples that were rendered.
    pub fn rendered(&mut self, samples: &[f32]) {
        for sample in samples {
            self.unfinished.0 += sample * sample;
            self.unfinished.1 += 1;
            if self.unfinished.1 == Self::FRAME {
                let (power, n) = std::mem::take(&mut self.unfinished);
                Self::keep(&mut self.rendered, power / n as f32, Self::WINDOW + Self::LATEST);
            }
        }
    }

    /// Takes the mean power of a frame that was heard.
    pub fn heard(&mut self, power: f32) {
        Self::keep(&mut self.heard, power, Self::WINDOW);
    }

    fn keep(levels: &mut VecDeque<f32>, power: f32, most: usize) {
        levels.push_back((10.0 * power.max(1e-12).log10()).max(Self::FLOOR_DB));
        if levels.len() > most {
            levels.pop_front();
        }
    }

    /// The greatest correlation over all delays, in [-1, 1].
    pub fn correlation(&self) -> f32 {
        let heard: Vec<f32> = self.heard.iter().copied().collect();
        let rendered: Vec<f32> = self.rendered.iter().copied().collect();
        rendered.windows(heard.len().max(1)).map(|window| correlation(&heard, window)).fold(-1.0, f32::max)
    }

    /// Is what was heard in the last second an echo?
    pub fn is_echo(&self) -> bool {
        self.correlation() > Self::ECHO
    }
}

/// Pearson's; 0 where one does not vary.
fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let mean = |x: &[f32]| x.iter().sum::<f32>() / x.len().max(1) as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sums = a.iter().zip(b).fold((0.0, 0.0, 0.0), |(ab, aa, bb), (a, b)| {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab + a * b, aa + a * a, bb + b * b)
    });
    if sums.1 * sums.2 > 0.0 { sums.0 / (sums.1 * sums.2).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav;
    use std::path::Path;

    /// A person's sentence, over and over, 16 kHz.
    fn speech(seconds: usize) -> Vec<f32> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/pasta-timer-ten-minutes.flac");
        let clip = wav::read_at(&path, 16_000).expect("the sample is in the repository");
        clip.samples.iter().copied().cycle().take(seconds * 16_000).collect()
    }

    fn power_db(samples: &[f32]) -> f32 {
        10.0 * (samples.iter().map(|v| v * v).sum::<f32>() / samples.len() as f32 + 1e-12).log10()
    }

    /// The rendered sound as the microphone hears it: later, quieter, with one reflection.
    fn echo(rendered: &[f32], delay: usize) -> Vec<f32> {
        let at = |i: usize, delay: usize| i.checked_sub(delay).map_or(0.0, |i| rendered[i]);
        (0..rendered.len()).map(|i| 0.5 * at(i, delay) + 0.2 * at(i, delay + 400)).collect()
    }

    fn run(heard: &[f32], rendered: &[f32], block: usize) -> Vec<f32> {
        let (mut canceller, mut out) = (EchoCanceller::new(), Vec::new());
        for i in (0..heard.len()).step_by(block) {
            let range = i..(i + block).min(heard.len());
            canceller.push(&heard[range.clone()], &rendered[range], &mut out);
        }
        out
    }

    #[test]
    fn an_echo_is_gone_after_a_second() {
        let rendered = speech(6);
        let check = |delay_ms: usize, block: usize| {
            let heard = echo(&rendered, delay_ms * 16);
            let out = run(&heard, &rendered, block);
            let (before, after) = (power_db(&heard[16_000..out.len()]), power_db(&out[16_000..]));
            println!("delay {delay_ms} ms, blocks of {block}: {before:.1} -> {after:.1} dB");
            assert!(after < before - 20.0, "delay {delay_ms} ms, blocks of {block}: {before} -> {after} dB");
        };
        check(40, 160);
        check(120, 160);
        check(40, 333);
        // Bursts, as a sound server hands them over.
        check(120, 800);
    }

    #[test]
    fn an_echo_is_like_what_was_rendered_and_a_person_is_not() {
        let rendered = speech(6);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/light-over-the-stove.flac");
        let person = wav::read_at(&path, 16_000).expect("the sample is in the repository").samples;
        let check = |name: &str, person_gain: f32, echo_gain: f32, delay_ms: usize, is_echo: bool| {
            let mut heard: Vec<f32> = echo(&rendered, delay_ms * 16).iter().map(|v| v * echo_gain).collect();
            for (i, v) in person.iter().enumerate() {
                heard[32_000 + i] += v * person_gain;
            }
            let mut likeness = Likeness::default();
            let (mut least, mut most) = (1.0_f32, -1.0_f32);
            for (i, (heard, rendered)) in heard.chunks_exact(256).zip(rendered.chunks_exact(256)).enumerate() {
                likeness.rendered(rendered);
                likeness.heard(heard.iter().map(|v| v * v).sum::<f32>() / 256.0);
                // A second after the person began to speak.
                if (32_000 + 8_000..32_000 + 24_000).contains(&(i * 256)) {
                    least = least.min(likeness.correlation());
                    most = most.max(likeness.correlation());
                }
            }
            println!("{name}: {least:.2} to {most:.2}");
            assert_eq!(least > Likeness::ECHO, is_echo, "{name}");
        };
        check("echo after 40 ms", 0.0, 1.0, 40, true);
        check("echo after 300 ms", 0.0, 0.3, 300, true);
        check("person", 1.0, 0.0, 40, false);
        check("person beside an echo", 1.0, 0.3, 40, false);
    }

    #[test]
    fn asleep_it_passes_sound_as_it_came() {
        let heard = speech(2);
        let out = run(&heard, &vec![0.0; heard.len()], 250);
        assert_eq!(out, heard[..out.len()]);
        assert!(heard.len() - out.len() < FRAME);
        assert!(!EchoCanceller::new().awake());
    }

    #[test]
    fn it_falls_asleep_a_second_after_the_last_sound() {
        let mut canceller = EchoCanceller::new();
        let mut out = Vec::new();
        canceller.push(&[0.0; FRAME], &[0.1; FRAME], &mut out);
        assert!(canceller.awake());
        for _ in 1..AWAKE {
            canceller.push(&[0.0; FRAME], &[], &mut out);
        }
        assert!(!canceller.awake());
        assert_eq!(out.len(), AWAKE * FRAME);
    }
}
