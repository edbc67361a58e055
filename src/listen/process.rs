//! Noise suppression and gain control (WebRTC's, through `sonora`), for the ears that want more than raw sound.
//!
//! Stands after the echo canceller and before the detector of voice and the wake words. The model was trained on raw sound
//! and hears it, unless the configuration says otherwise. Owns the processing's state and the samples of an unfinished
//! frame of 10 ms. With both switched off sound passes as it came. No I/O. Runs on the `listen` thread.

use serde::Deserialize;
use sonora::config::{
    AdaptiveDigital, GainController2, HighPassFilter, NoiseSuppression as Suppression, NoiseSuppressionLevel,
};
use sonora::{AudioProcessing, Config, StreamConfig};

use super::ListenConfig;

/// Samples per frame: 10 ms, fixed by the processing.
const FRAME: usize = 160;

/// How much of the noise is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSuppression {
    /// None.
    #[default]
    Off,
    /// About 6 dB.
    Low,
    /// About 12 dB.
    Moderate,
    /// About 18 dB.
    High,
}

/// What the model hears; the echo is taken out of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelHears {
    /// Otherwise raw sound.
    #[default]
    Raw,
    /// What voice detection and wake words hear.
    Processed,
}

/// The processing of one microphone.
pub struct Processor {
    /// None while all of it is off.
    apm: Option<Box<AudioProcessing>>,
    unfinished: Vec<f32>,
    done: Vec<f32>,
}

impl Processor {
    /// One that has heard nothing.
    pub fn new(config: &ListenConfig) -> Self {
        let level = match config.noise_suppression {
            NoiseSuppression::Off => None,
            NoiseSuppression::Low => Some(NoiseSuppressionLevel::Low),
            NoiseSuppression::Moderate => Some(NoiseSuppressionLevel::Moderate),
            NoiseSuppression::High => Some(NoiseSuppressionLevel::High),
        };
        let gain = || GainController2 { adaptive_digital: Some(AdaptiveDigital::default()), ..Default::default() };
        let apm = (level.is_some() || config.gain_control).then(|| {
            let stream = StreamConfig::new(crate::audio::MODEL_RATE_HZ, 1);
            let config = Config {
                high_pass_filter: Some(HighPassFilter::default()),
                noise_suppression: level.map(|level| Suppression { level, ..Suppression::default() }),
                gain_controller2: config.gain_control.then(gain),
                ..Config::default()
            };
            Box::new(AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build())
        });
        Self { apm, unfinished: Vec::with_capacity(FRAME), done: vec![0.0; FRAME] }
    }

    /// Forgets the samples that wait; what it knows of the noise and of how loud people speak is kept.
    pub fn reset(&mut self) {
        self.unfinished.clear();
    }

    /// The samples that wait, as they came, for when another takes its place.
    pub fn finish(self) -> Vec<f32> {
        self.unfinished
    }

    /// Takes 16 kHz samples in [-1, 1] and appends to `out` the whole frames of them: at most 159 samples wait for the
    /// next call.
    pub fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) {
        let Some(apm) = &mut self.apm else { return out.extend_from_slice(samples) };
        while !samples.is_empty() {
            let (head, rest) = samples.split_at(samples.len().min(FRAME - self.unfinished.len()));
            self.unfinished.extend_from_slice(head);
            samples = rest;
            if self.unfinished.len() == FRAME {
                // Fails only for frames of another length.
                match apm.process_capture_f32(&[&self.unfinished], &mut [&mut self.done]) {
                    Ok(()) => out.extend_from_slice(&self.done),
                    Err(error) => {
                        tracing::debug!(?error, "a frame was left as it came");
                        out.extend_from_slice(&self.unfinished);
                    }
                }
                self.unfinished.clear();
            }
        }
    }
}

/// A whole recording of 16 kHz samples after processing; as long as it was.
pub fn processed(samples: &[f32], config: &ListenConfig) -> Vec<f32> {
    let mut out = Vec::with_capacity(samples.len() + FRAME);
    let mut processor = Processor::new(config);
    processor.push(samples, &mut out);
    processor.push(&[0.0; FRAME - 1], &mut out);
    out.truncate(samples.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::{level_db, white};

    const N: usize = 8 * 16_000;

    fn config(noise_suppression: NoiseSuppression, gain_control: bool) -> ListenConfig {
        ListenConfig { noise_suppression, gain_control, ..ListenConfig::default() }
    }

    #[test]
    fn noise_gets_quieter_by_its_level() {
        let noise: Vec<f32> = white(N).iter().map(|v| v * 0.02).collect();
        let mut last = level_db(&noise[N / 2..]) + 1.0;
        for level in [NoiseSuppression::Off, NoiseSuppression::Low, NoiseSuppression::Moderate, NoiseSuppression::High]
        {
            let out = processed(&noise, &config(level, false));
            assert_eq!(out.len(), N);
            let left = level_db(&out[N / 2..]);
            println!("{level:?}: {left:.1} dB");
            assert!(left < last - 0.5, "{level:?}: {left} dB after {last}");
            last = left;
        }
    }

    #[test]
    fn quiet_speech_gets_louder() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/starter/samples/light-over-the-stove.flac");
        let clip = crate::audio::wav::read_at(&path, 16_000).expect("the sample is in the repository").samples;
        let quiet: Vec<f32> = clip.iter().cycle().take(N).map(|v| v * 0.05).collect();
        let out = processed(&quiet, &config(NoiseSuppression::Off, true));
        let (before, after) = (level_db(&quiet[N / 2..]), level_db(&out[N / 2..]));
        println!("{before:.1} -> {after:.1} dB");
        assert!(after > before + 6.0, "{before} -> {after} dB");
        assert!(out.iter().all(|v| v.abs() <= 1.0));
    }

    #[test]
    fn switched_off_it_passes_sound_as_it_came() {
        let sound = white(1001);
        assert_eq!(processed(&sound, &config(NoiseSuppression::Off, false)), sound);
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let (sound, config) = (white(8000), config(NoiseSuppression::Moderate, true));
        let (mut processor, mut out) = (Processor::new(&config), Vec::new());
        sound.chunks(333).for_each(|piece| processor.push(piece, &mut out));
        assert_eq!(out, processed(&sound, &config)[..out.len()]);
        assert!(sound.len() - out.len() < FRAME);
    }
}
