//! Takes what the speaker plays out of what the microphone hears.
//!
//! Owns the canceller (WebRTC's AEC3, through `sonora-aec3`) and the samples of unfinished blocks of 4 ms. It gives two
//! sounds: one with the echo subtracted and nothing else done, for the model, which was trained on raw sound; and one in
//! which what is left of the echo is suppressed as well, for the detector of voice and the wake words, which would take it
//! for a person. Suppression also takes away from whoever speaks, most of all in the first second, when it knows nothing
//! of the room yet. While nothing plays the canceller sleeps: sound passes as it came, and what it learnt of the room is
//! kept. No I/O. Runs on the `listen` thread.

use std::collections::VecDeque;

use sonora_aec3::block::Block;
use sonora_aec3::block_processor::BlockProcessor;
use sonora_aec3::config::EchoCanceller3Config;

/// Samples per block: 4 ms, fixed by the canceller.
const BLOCK: usize = sonora_aec3::common::BLOCK_SIZE;
/// What the canceller takes for full scale.
const SCALE: f32 = 32_768.0;
/// A microphone this loud, of full scale, is saturated.
const SATURATED: f32 = 0.998;
/// A rendered sample below -60 dB of full scale is silence.
const SILENT: f32 = 1e-3;
/// Blocks that it stays awake after the last sound, one second: the echo comes later by the device's latency and the
/// room's.
const AWAKE: usize = 250;
/// Rendered blocks that may wait: half a second. Beyond it the oldest are dropped.
const MOST_WAITING: usize = 125;
/// Rendered blocks given per block heard, so that a burst is caught up with.
const AT_ONCE: usize = 2;

/// What was heard, without what was played. Both sounds are as long and 4 ms late.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Cleaned {
    /// The echo is subtracted, as well as the room is known; all else is as it came.
    pub subtracted: Vec<f32>,
    /// What is left of the echo is suppressed too, and at times what lies beneath it.
    pub suppressed: Vec<f32>,
}

impl Cleaned {
    /// Takes the first `n` samples of each, or as many as there are.
    pub fn take(&mut self, n: usize) -> Self {
        let first = |sound: &mut Vec<f32>| sound.drain(..n.min(sound.len())).collect();
        Self { subtracted: first(&mut self.subtracted), suppressed: first(&mut self.suppressed) }
    }
}

/// The canceller. One per microphone.
pub struct EchoCanceller {
    processor: Box<BlockProcessor>,
    heard: Vec<f32>,
    rendered: VecDeque<f32>,
    /// Blocks rendered more than heard since it woke up.
    ahead: usize,
    /// Blocks until it sleeps.
    awake: usize,
    /// The block before: suppression works across two of them, so the other sound waits for it.
    subtracted: [f32; BLOCK],
    /// Blocks of the canceller's own kind: heard, subtracted, rendered.
    blocks: [Block; 3],
}

impl Default for EchoCanceller {
    fn default() -> Self {
        let rate_hz = crate::audio::MODEL_RATE_HZ as usize;
        Self {
            processor: Box::new(BlockProcessor::new(&EchoCanceller3Config::default(), rate_hz, 1, 1)),
            heard: Vec::with_capacity(BLOCK),
            rendered: VecDeque::new(),
            ahead: 0,
            awake: 0,
            subtracted: [0.0; BLOCK],
            blocks: std::array::from_fn(|_| Block::new(1, 1)),
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
    /// `out` what is left of the whole blocks heard so far: at most 63 samples wait for the next call.
    pub fn push(&mut self, heard: &[f32], rendered: &[f32], out: &mut Cleaned) {
        if rendered.iter().any(|v| v.abs() > SILENT) {
            if self.awake == 0 {
                self.rendered.clear();
                self.ahead = 0;
            }
            self.awake = AWAKE;
        }
        if self.awake > 0 {
            self.rendered.extend(rendered.iter().map(|v| if v.is_finite() { v.clamp(-1.0, 1.0) } else { 0.0 }));
            let excess = (self.rendered.len() / BLOCK).saturating_sub(MOST_WAITING) * BLOCK;
            self.rendered.drain(..excess);
        }
        let mut rest = heard;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(BLOCK - self.heard.len()));
            self.heard.extend_from_slice(head);
            rest = tail;
            if self.heard.len() == BLOCK {
                self.block(out);
                self.heard.clear();
            }
        }
    }

    /// Forgets the sound under way; what it knows of the room is kept.
    pub fn reset(&mut self) {
        self.heard.clear();
        self.subtracted = [0.0; BLOCK];
    }

    fn block(&mut self, out: &mut Cleaned) {
        out.subtracted.extend_from_slice(&self.subtracted);
        if self.awake == 0 {
            out.suppressed.extend_from_slice(&self.subtracted);
            return self.subtracted.copy_from_slice(&self.heard);
        }
        self.awake -= 1;
        for _ in 0..AT_ONCE {
            if self.rendered.len() >= BLOCK {
                let block: Vec<f32> = self.rendered.drain(..BLOCK).collect();
                self.render(&block);
            }
        }
        if self.ahead == 0 {
            self.render(&[0.0; BLOCK]);
        }
        self.ahead -= 1;
        let saturated = self.heard.iter().any(|v| v.abs() > SATURATED);
        let [heard, subtracted, _] = &mut self.blocks;
        // Left as it is while the canceller knows no delay.
        for block in [&mut *heard, &mut *subtracted] {
            block.view_mut(0, 0).iter_mut().zip(&self.heard).for_each(|(to, from)| *to = from * SCALE);
        }
        self.processor.process_capture(false, saturated, Some(subtracted), heard);
        out.suppressed.extend(heard.view(0, 0).iter().map(|v| v / SCALE));
        self.subtracted.iter_mut().zip(subtracted.view(0, 0)).for_each(|(to, from)| *to = from / SCALE);
    }

    fn render(&mut self, samples: &[f32]) {
        self.ahead += 1;
        let block = &mut self.blocks[2];
        block.view_mut(0, 0).iter_mut().zip(samples).for_each(|(to, from)| *to = from * SCALE);
        self.processor.buffer_render(block);
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
    /// An echo is at most so many frames late: 1.2 s, for loudspeakers without a wire.
    const LATEST: usize = 75;
    /// Levels are cut here: below it is the room.
    const FLOOR_DB: f32 = -60.0;
    /// What correlates more is an echo. Echoes have 0.94 and more, a person 0.80 at most; beside an echo a person brings it
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
    use crate::listen::tests::level_db;
    use std::path::Path;

    /// A person's sentence, over and over, 16 kHz.
    fn speech(seconds: usize) -> Vec<f32> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/pasta-timer-ten-minutes.flac");
        let clip = wav::read_at(&path, 16_000).expect("the sample is in the repository");
        clip.samples.iter().copied().cycle().take(seconds * 16_000).collect()
    }

    /// The rendered sound as the microphone hears it: later, quieter, with one reflection.
    fn echo(rendered: &[f32], delay: usize) -> Vec<f32> {
        let at = |i: usize, delay: usize| i.checked_sub(delay).map_or(0.0, |i| rendered[i]);
        (0..rendered.len()).map(|i| 0.5 * at(i, delay) + 0.2 * at(i, delay + 400)).collect()
    }

    fn run(heard: &[f32], rendered: &[f32], block: usize) -> Cleaned {
        let (mut canceller, mut out) = (EchoCanceller::new(), Cleaned::default());
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
            let [before, subtracted, suppressed] =
                [&heard, &out.subtracted, &out.suppressed].map(|sound| level_db(&sound[16_000..out.suppressed.len()]));
            let name = format!("delay {delay_ms} ms, blocks of {block}: {before:.1} dB");
            println!("{name} -> {subtracted:.1} dB subtracted, {suppressed:.1} dB suppressed");
            assert!(suppressed < before - 20.0, "{name} -> {suppressed} dB");
            assert!(subtracted < before - 10.0, "{name} -> {subtracted} dB");
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

    /// The earcon of a speaker whose sound does not reach the microphone, and a person right after it.
    #[test]
    fn a_person_without_an_echo_is_left_alone() {
        let heard = speech(3);
        let rendered: Vec<f32> =
            (0..heard.len()).map(|i| if i < 4_000 { 0.2 * (i as f32 * 0.3).sin() } else { 0.0 }).collect();
        let out = run(&heard, &rendered, 160);
        let lost: Vec<f32> = out.subtracted[BLOCK..].iter().zip(&heard).map(|(a, b)| a - b).collect();
        let (before, lost) = (level_db(&heard), level_db(&lost));
        println!("{before:.1} dB, changed by {lost:.1} dB");
        assert!(lost < before - 25.0, "{before} dB, changed by {lost} dB");
    }

    #[test]
    fn asleep_it_passes_sound_as_it_came() {
        let heard = speech(2);
        let out = run(&heard, &vec![0.0; heard.len()], 250);
        assert_eq!(out.subtracted, out.suppressed);
        assert_eq!(out.subtracted[BLOCK..], heard[..out.subtracted.len() - BLOCK]);
        assert!(heard.len() - out.subtracted.len() < BLOCK);
        assert!(!EchoCanceller::new().awake());
    }

    #[test]
    fn it_falls_asleep_a_second_after_the_last_sound() {
        let mut canceller = EchoCanceller::new();
        let mut out = Cleaned::default();
        canceller.push(&[0.0; BLOCK], &[0.1; BLOCK], &mut out);
        assert!(canceller.awake());
        for _ in 1..AWAKE {
            canceller.push(&[0.0; BLOCK], &[], &mut out);
        }
        assert!(!canceller.awake());
        assert_eq!((out.subtracted.len(), out.suppressed.len()), (AWAKE * BLOCK, AWAKE * BLOCK));
    }
}
