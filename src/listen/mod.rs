//! Sound to utterances: who speaks when, and for how long. Knows no models of language.
//!
//! [`vad`] gives each 16 ms a probability of speech, [`segment`] makes utterances of them. [`utterances`] does both
//! for a recording: silence or noise alone gives none, so that no model runs for it. [`listener`] does it for a
//! microphone, with [`echo`] taking out what the speaker plays, [`process`] the noise, and [`wake`] hearing the wake words.
//! No I/O.

use std::ops::Range;

use serde::Deserialize;

pub mod echo;
pub mod listener;
pub mod process;
pub mod segment;
pub mod vad;
pub mod wake;

use process::{ModelHears, NoiseSuppression};
use segment::{Frame, Segment, SegmentEvent, Segmenter};
use vad::{FRAME, Vad};

/// How utterances are cut. All times in ms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Kept from before the speech, so that no first consonant is lost.
    pub pre_roll_ms: u32,
    /// Kept from the silence at the end; no more than `silence_ms`.
    pub post_roll_ms: u32,
    /// Silence that ends an utterance.
    pub silence_ms: u32,
    /// Silence that ends a command of which two drafts in a row made the same call.
    pub early_silence_ms: Option<u32>,
    /// Silence that ends what no draft has made anything of.
    pub late_silence_ms: Option<u32>,
    /// Likely speech within half a second that makes an utterance; what is shorter is a tap. At most 512.
    pub min_speech_ms: u32,
    /// The greatest length, pre-roll included: the model hears 30 s.
    pub max_ms: u32,
    /// What voice detection and wake words hear: how much of the noise is taken out.
    pub noise_suppression: NoiseSuppression,
    /// The same: is quiet speech made louder?
    pub gain_control: bool,
    /// What the model hears.
    pub model_hears: ModelHears,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            pre_roll_ms: 800,
            post_roll_ms: 300,
            silence_ms: 700,
            early_silence_ms: None,
            late_silence_ms: None,
            min_speech_ms: 128,
            max_ms: 30_000,
            noise_suppression: NoiseSuppression::Off,
            gain_control: false,
            model_hears: ModelHears::Raw,
        }
    }
}

impl ListenConfig {
    /// The same, with all the processing there is, for voice detection, wake words and model.
    pub fn all_processed(mut self) -> Self {
        if self.noise_suppression == NoiseSuppression::Off {
            self.noise_suppression = NoiseSuppression::Moderate;
        }
        (self.gain_control, self.model_hears) = (true, ModelHears::Processed);
        self
    }
}

/// The utterances of a recording of 16 kHz samples, in order: ranges of samples that never overlap.
pub fn utterances(samples_16k: &[f32], config: &ListenConfig) -> Vec<Range<usize>> {
    segments(samples_16k, config).into_iter().map(|segment| segment.range).collect()
}

/// Like [`utterances`], with the reason why each of them ended.
pub fn segments(samples_16k: &[f32], config: &ListenConfig) -> Vec<Segment> {
    let ended = |(_, event)| match event {
        SegmentEvent::Ended(segment) => Some(segment),
        _ => None,
    };
    events(samples_16k, config).into_iter().filter_map(ended).collect()
}

/// All that a segmenter says of a recording, each with the number of samples that it had heard by then.
pub fn events(samples_16k: &[f32], config: &ListenConfig) -> Vec<(usize, SegmentEvent)> {
    let (mut vad, mut segmenter) = (Vad::new(), Segmenter::new(config));
    let gain = gain(samples_16k);
    let (mut found, mut probabilities) = (Vec::new(), Vec::with_capacity(1));
    let mut heard = 0;
    for samples in samples_16k.chunks(FRAME) {
        let louder: Vec<f32> = samples.iter().map(|v| v * gain).collect();
        vad.push(&louder, &mut probabilities);
        // The last frame may be incomplete.
        vad.push(&[0.0; FRAME][samples.len()..], &mut probabilities);
        heard += samples.len();
        for probability in probabilities.drain(..) {
            found.extend(segmenter.push(Frame::new(probability, samples)).map(|event| (heard, event)));
        }
    }
    found.extend(segmenter.finish(samples_16k.len()).map(|event| (heard, event)));
    found
}

/// How much louder the detector hears a quiet recording: of words at -20 dB it misses one in eight by itself,
/// and one in 160 with this.
/// No more than 20 dB, or the hiss of a silent room would be as loud as speech.
fn gain(samples: &[f32]) -> f32 {
    let peak = samples.iter().filter(|v| v.is_finite()).fold(0f32, |peak, v| peak.max(v.abs()));
    (0.3 / peak.max(1e-6)).clamp(1.0, 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav;
    use std::f64::consts::PI;
    use std::path::Path;

    const N: usize = 5 * 16_000;

    /// Numbers in [-1, 1) without structure: a linear congruential generator.
    pub(super) fn white(n: usize) -> Vec<f32> {
        let mut state = 12_345u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Power of full scale.
    pub(super) fn level_db(samples: &[f32]) -> f32 {
        10.0 * (samples.iter().map(|v| v * v).sum::<f32>() / samples.len() as f32 + 1e-12).log10()
    }

    /// White noise through one-pole filters an octave and more apart: falls by about 3 dB an octave.
    fn pink(n: usize) -> Vec<f32> {
        let mut poles =
            [(0.997, 0.029, 0.0), (0.985, 0.032, 0.0), (0.95, 0.048, 0.0), (0.85, 0.09, 0.0), (0.55, 0.25, 0f32)];
        let mut filtered = |v: f32| {
            poles.iter_mut().for_each(|(keep, gain, state)| *state = *keep * *state + *gain * v);
            poles.iter().map(|(_, _, state)| state).sum::<f32>() * 1.2
        };
        white(n).into_iter().map(|v| filtered(v).clamp(-1.0, 1.0)).collect()
    }

    /// The mains and its harmonics.
    pub(super) fn hum(n: usize) -> Vec<f32> {
        let harmonic = |i: usize, k: f64| (2.0 * PI * 50.0 * k * i as f64 / 16_000.0).sin() / k;
        (0..n).map(|i| ((1..20).step_by(2).map(|k| harmonic(i, f64::from(k))).sum::<f64>() / 1.5) as f32).collect()
    }

    /// Three short bursts: a finger on a key.
    fn taps(n: usize) -> Vec<f32> {
        let age = |i: usize| (i % (n / 3)) as f32;
        white(n).into_iter().enumerate().map(|(i, v)| v * (-age(i) / 60.0).exp()).collect()
    }

    #[test]
    fn silence_and_noise_are_no_utterances() {
        for gain in [0.001, 0.01, 0.1, 0.3, 0.8] {
            for (name, sound) in
                [("silence", vec![0.0; N]), ("white", white(N)), ("pink", pink(N)), ("hum", hum(N)), ("taps", taps(N))]
            {
                let sound: Vec<f32> = sound.into_iter().map(|v| v * gain).collect();
                assert!(utterances(&sound, &ListenConfig::default()).is_empty(), "{name} at {gain}");
            }
        }
        assert!(utterances(&[], &ListenConfig::default()).is_empty());
        assert!(utterances(&[f32::NAN; 1000], &ListenConfig::default()).is_empty());
    }

    #[test]
    fn people_are_utterances() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/speech/coffee");
        let Ok(files) = std::fs::read_dir(&folder) else {
            println!("SKIPPED: there are no recordings of people in {}", folder.display());
            return;
        };
        let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "flac"));
        paths.sort();
        let (mut split, mut heard) = (0, 0);
        for path in paths.iter().take(40) {
            let clip = wav::read_at(path, 16_000).expect("the recordings are sound");
            let found = utterances(&clip.samples, &ListenConfig::default());
            assert!(!found.is_empty(), "{}: nothing heard", path.display());
            heard += 1;
            split += usize::from(found.len() > 1);
        }
        println!("{heard} recordings heard, {split} of them in more than one piece");
    }
}
