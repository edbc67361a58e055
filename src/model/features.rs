//! The log-mel front end: 16 kHz samples to the frames that the audio encoder reads.
//!
//! The same numbers as `Gemma4AudioFeatureExtractor` of `transformers`: semicausal frames of 20 ms every 10 ms,
//! periodic Hann window, FFT of 512, magnitudes, 128 HTK mel filters, `ln(mel + 0.001)`. Frame `i` covers the samples
//! `160i - 160 .. 160i + 160` and is final as soon as sample `160i + 160` has been heard, so frames can be made while
//! a person speaks: how the samples were cut never changes a bit of them.
//!
//! Pure: no I/O, no clock. Runs on whichever thread feeds the encoder. Never truncates: the model's limit of
//! [`MAX_SAMPLES`] is for the caller to keep.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use serde_json::Value;

/// Mel bins per frame.
pub const BINS: usize = 128;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;
/// The most samples that the model takes in one piece: 30 s.
pub const MAX_SAMPLES: usize = 480_000;
/// The most audio tokens of one piece: 30 s of 40 ms each.
pub const MAX_TOKENS: usize = 750;

/// Samples under the window: 20 ms.
const FRAME: usize = 320;
/// Zeros in front of the first sample.
const PAD_LEFT: usize = FRAME / 2;
const FFT: usize = 512;
const SPECTRUM: usize = FFT / 2 + 1;
const FLOOR: f64 = 1e-3;
const NYQUIST_HZ: f64 = 8000.0;

/// Frames that `n_samples` make final.
pub fn frames(n_samples: usize) -> usize {
    n_samples.saturating_sub(1) / HOP
}

/// Rows of the encoder's output that no later sample can change: row `u` once `n_samples >= 640u + 641`.
pub fn final_rows(n_samples: usize) -> usize {
    (n_samples.saturating_sub(1) / (4 * HOP)).min(MAX_TOKENS)
}

/// What the model's `processor_config.json` says about the front end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureConfig {
    /// Subtracted from each bin, [`BINS`] values.
    pub per_bin_mean: Option<Vec<f32>>,
    /// Each bin is divided by it, [`BINS`] values, none of them zero.
    pub per_bin_stddev: Option<Vec<f32>>,
}

impl FeatureConfig {
    /// Reads the text of `processor_config.json` (its `feature_extractor`), or of a bare feature extractor's file.
    ///
    /// # Errors
    /// One line that names the key: not JSON, no extractor in it, or a front end other than this one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let extractor = match root.get("feature_extractor") {
            Some(nested) => nested,
            None if root.get("feature_size").is_some() => &root,
            None => return Err("`feature_extractor` is missing".to_owned()),
        };
        // A missing key means the extractor's default, which is the value here.
        let fixed = [
            ("feature_size", BINS as f64),
            ("sampling_rate", 16_000.0),
            ("frame_length", FRAME as f64),
            ("frame_length_ms", 20.0),
            ("hop_length", HOP as f64),
            ("hop_length_ms", 10.0),
            ("fft_length", FFT as f64),
            ("min_frequency", 0.0),
            ("max_frequency", NYQUIST_HZ),
            ("mel_floor", FLOOR),
            ("preemphasis", 0.0),
            ("dither", 0.0),
            ("input_scale_factor", 1.0),
        ];
        for (key, expected) in fixed {
            match extractor.get(key) {
                None | Some(Value::Null) => {}
                Some(value) if value.as_f64().is_some_and(|found| (found - expected).abs() < 1e-9) => {}
                Some(value) => {
                    return Err(format!("`feature_extractor.{key}` is {value}, this front end has {expected}"));
                }
            }
        }
        if extractor.get("fft_overdrive").and_then(Value::as_bool) == Some(true) {
            return Err("`feature_extractor.fft_overdrive` is true, this front end has false".to_owned());
        }
        let config = Self {
            per_bin_mean: per_bin(extractor, "per_bin_mean")?,
            per_bin_stddev: per_bin(extractor, "per_bin_stddev")?,
        };
        if config.per_bin_stddev.iter().flatten().any(|&value| value == 0.0) {
            return Err("`feature_extractor.per_bin_stddev` holds a zero".to_owned());
        }
        Ok(config)
    }
}

/// A list of [`BINS`] finite numbers, or nothing.
fn per_bin(extractor: &Value, key: &str) -> Result<Option<Vec<f32>>, String> {
    let list = match extractor.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_array().ok_or_else(|| format!("`feature_extractor.{key}` is not a list"))?,
    };
    let values: Vec<f32> = list.iter().filter_map(Value::as_f64).map(|v| v as f32).filter(|v| v.is_finite()).collect();
    if values.len() != BINS || list.len() != BINS {
        return Err(format!("`feature_extractor.{key}` must hold {BINS} numbers"));
    }
    Ok(Some(values))
}

/// Makes frames as samples arrive. One per stream; [`LogMel::reset`] before the next one.
pub struct LogMel {
    config: FeatureConfig,
    fft: Arc<dyn RealToComplex<f64>>,
    window: Vec<f32>,
    filters: Vec<Filter>,
    /// Samples that a frame to come still needs; begins with [`PAD_LEFT`] zeros.
    pending: Vec<f32>,
    n_samples: usize,
    input: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    magnitudes: Vec<f64>,
}

/// One triangle of the mel filter bank: its weights from `first_bin` on.
struct Filter {
    first_bin: usize,
    weights: Vec<f64>,
}

impl LogMel {
    /// A front end before its first sample.
    pub fn new(config: FeatureConfig) -> Self {
        let fft = RealFftPlanner::<f64>::new().plan_fft_forward(FFT);
        // The extractor keeps its window and its windowed samples in f32 and everything after in double precision.
        // With a window in f64 a pure tone's quiet bins are off by 8e-4.
        let window = (0..FRAME)
            .map(|n| (0.5 - 0.5 * (2.0 * std::f64::consts::PI * n as f64 / FRAME as f64).cos()) as f32)
            .collect();
        Self {
            config,
            window,
            filters: mel_filters(),
            pending: vec![0.0; PAD_LEFT],
            n_samples: 0,
            input: vec![0.0; FFT],
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            magnitudes: vec![0.0; SPECTRUM],
            fft,
        }
    }

    /// Back to before the first sample.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.pending.resize(PAD_LEFT, 0.0);
        self.n_samples = 0;
    }

    /// Samples heard since the start or the last reset.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// Takes 16 kHz samples in [-1, 1] and appends the frames that became final to `out`, [`BINS`] values each.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.n_samples += samples.len();
        self.pending.extend_from_slice(samples);
        // The extractor cuts windows of FRAME + 1 and drops the last sample.
        let ready = self.pending.len().saturating_sub(FRAME + 1 - HOP) / HOP;
        out.reserve(ready * BINS);
        for frame in 0..ready {
            self.frame(frame * HOP, out);
        }
        self.pending.drain(..ready * HOP);
    }

    /// Appends the frame whose window starts at `start` in `pending`.
    fn frame(&mut self, start: usize, out: &mut Vec<f32>) {
        let samples = &self.pending[start..start + FRAME];
        for ((value, &sample), &weight) in self.input.iter_mut().zip(samples).zip(&self.window) {
            *value = f64::from(sample * weight);
        }
        self.input[FRAME..].fill(0.0);
        self.fft
            .process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch)
            .expect("the buffers have the lengths that the plan asks for");
        for (magnitude, value) in self.magnitudes.iter_mut().zip(&self.spectrum) {
            *magnitude = value.norm_sqr().sqrt();
        }
        for (bin, filter) in self.filters.iter().enumerate() {
            let magnitudes = &self.magnitudes[filter.first_bin..];
            let mel: f64 = filter.weights.iter().zip(magnitudes).map(|(weight, magnitude)| weight * magnitude).sum();
            let mut value = (mel + FLOOR).ln();
            if let Some(mean) = &self.config.per_bin_mean {
                value -= f64::from(mean[bin]);
            }
            if let Some(deviation) = &self.config.per_bin_stddev {
                value /= f64::from(deviation[bin]);
            }
            out.push(value as f32);
        }
    }
}

/// 128 triangles, evenly spaced in HTK mel between 0 and 8 kHz, peak 1. The lowest holds no FFT bin at all.
fn mel_filters() -> Vec<Filter> {
    let highest = 2595.0 * (1.0 + NYQUIST_HZ / 700.0).log10();
    let edge_hz = |i: usize| 700.0 * (10f64.powf(highest * i as f64 / (BINS + 1) as f64 / 2595.0) - 1.0);
    let bin_hz = |k: usize| NYQUIST_HZ * k as f64 / (SPECTRUM - 1) as f64;
    (0..BINS)
        .map(|m| {
            let (low, centre, high) = (edge_hz(m), edge_hz(m + 1), edge_hz(m + 2));
            let weight = |k: usize| ((bin_hz(k) - low) / (centre - low)).min((high - bin_hz(k)) / (high - centre));
            let inside: Vec<usize> = (0..SPECTRUM).filter(|&k| weight(k) > 0.0).collect();
            Filter {
                first_bin: inside.first().copied().unwrap_or(0),
                weights: inside.into_iter().map(weight).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `amplitude * sin(2 pi hz t)`.
    fn tone(hz: f64, amplitude: f64, n: usize) -> Vec<f32> {
        let phase = |i: usize| 2.0 * std::f64::consts::PI * hz * i as f64 / 16_000.0;
        (0..n).map(|i| (amplitude * phase(i).sin()) as f32).collect()
    }

    fn rows_with(config: FeatureConfig, samples: &[f32]) -> Vec<f32> {
        let mut rows = Vec::new();
        LogMel::new(config).push(samples, &mut rows);
        rows
    }

    fn rows(samples: &[f32]) -> Vec<f32> {
        rows_with(FeatureConfig::default(), samples)
    }

    #[test]
    fn counts_are_those_of_the_processor() {
        // samples, tokens
        let table = [
            (0, 0),
            (1, 0),
            (100, 0),
            (160, 0),
            (161, 1),
            (800, 1),
            (801, 2),
            (16_000, 25),
            (48_000, 75),
            (145_840, 228),
            (160_000, 250),
            (208_000, 325),
            (480_000, 750),
        ];
        for (n, expected) in table {
            assert_eq!(frames(n).div_ceil(4), expected, "{n} samples");
        }
        assert_eq!([0, 161, 16_000, 145_840].map(frames), [0, 1, 99, 911]);
        assert_eq!([0, 640, 641, 1280, 1281, 16_000].map(final_rows), [0, 0, 1, 1, 2, 24]);
    }

    #[test]
    fn rows_are_final_exactly_when_their_last_frame_is() {
        for n in 0..5000 {
            // Row u reads the frames up to 4u + 3.
            assert_eq!(final_rows(n), frames(n) / 4, "{n} samples");
        }
    }

    #[test]
    fn reference_vectors() {
        // Computed with transformers 5.23's Gemma4AudioFeatureExtractor: tone, mean, five bins of frame 10.
        let table = [
            (440.0, 0.5, -5.016_65, [-0.337_931_5, 2.400_531_3, 2.832_594_2, 2.915_645_4, 3.527_270_3]),
            (1000.0, 1.0, -4.856_481_6, [-5.588_954, -4.214_786_5, -5.376_898, -5.171_918_4, -4.381_308_6]),
            (7000.0, 0.9, -6.181_147_6, [-6.905_740_7, -6.899_118, -6.905_791, -6.905_374, -6.902_405]),
        ];
        for (hz, amplitude, mean, expected) in table {
            let rows = rows(&tone(hz, amplitude, 16_000));
            assert_eq!(rows.len(), 99 * BINS);
            let found_mean = rows.iter().map(|&v| f64::from(v)).sum::<f64>() / rows.len() as f64;
            assert!((found_mean - mean).abs() < 1e-4, "{hz} Hz: mean {found_mean}");
            for (bin, value) in expected.into_iter().enumerate() {
                let found = rows[10 * BINS + 20 + bin];
                assert!((found - value).abs() < 1e-4, "{hz} Hz, bin {}: {found} for {value}", 20 + bin);
            }
        }
        let first = rows(&tone(440.0, 0.5, 16_000));
        for (found, expected) in first.iter().zip([-6.907_755_4, 0.808_556, -0.376_335_47]) {
            assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
        }
        assert!(rows(&[0.0; 16_000]).iter().all(|v| (v + 6.907_755_4).abs() < 1e-6), "silence");
    }

    #[test]
    fn mean_and_deviation_are_applied() {
        let samples = tone(440.0, 0.5, 4001);
        let plain = rows(&samples);
        let config = FeatureConfig {
            per_bin_mean: Some((0..BINS).map(|i| i as f32 / 10.0).collect()),
            per_bin_stddev: Some((0..BINS).map(|i| 1.0 + i as f32).collect()),
        };
        let scaled = rows_with(config, &samples);
        for (i, (a, b)) in plain.iter().zip(&scaled).enumerate() {
            let bin = (i % BINS) as f32;
            assert!(((a - bin / 10.0) / (1.0 + bin) - b).abs() < 1e-5, "value {i}");
        }
    }

    #[test]
    fn config_is_read_and_checked() {
        let list = |value: &str| format!("[{}]", vec![value; BINS].join(","));
        let nested = |body: &str| format!(r#"{{"feature_extractor": {{"feature_size": 128{body}}}}}"#);
        let check = |text: &str, expected: Result<FeatureConfig, &str>| match (FeatureConfig::parse(text), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
            (found, expected) => panic!("{text}: {found:?} for {expected:?}"),
        };
        let both = FeatureConfig { per_bin_mean: Some(vec![0.5; BINS]), per_bin_stddev: Some(vec![2.0; BINS]) };
        check(&nested(""), Ok(FeatureConfig::default()));
        check(
            &nested(r#", "per_bin_mean": null, "mel_floor": 0.001, "hop_length": 160"#),
            Ok(FeatureConfig::default()),
        );
        check(r#"{"feature_size": 128}"#, Ok(FeatureConfig::default()));
        check(&nested(&format!(r#", "per_bin_mean": {}, "per_bin_stddev": {}"#, list("0.5"), list("2"))), Ok(both));
        check(&nested(r#", "per_bin_mean": [1, 2]"#), Err("per_bin_mean` must hold 128"));
        check(&nested(&format!(r#", "per_bin_mean": {}"#, list("\"x\""))), Err("must hold 128"));
        check(&nested(&format!(r#", "per_bin_stddev": {}"#, list("0"))), Err("holds a zero"));
        check(&nested(r#", "hop_length": 320"#), Err("hop_length` is 320"));
        check(&nested(r#", "fft_overdrive": true"#), Err("fft_overdrive"));
        check("{}", Err("`feature_extractor` is missing"));
        check("nonsense", Err("not JSON"));
    }

    #[test]
    fn many_times_faster_than_real_time() {
        let samples = tone(440.0, 0.5, 30 * 16_000);
        let mut front_end = LogMel::new(FeatureConfig::default());
        let mut out = Vec::new();
        let start = std::time::Instant::now();
        front_end.push(&samples, &mut out);
        let factor = 30.0 / start.elapsed().as_secs_f64();
        println!("log-mel: {factor:.0}x real time");
        // The aim is 1000; other work on the machine must not fail the test.
        assert!(factor > 100.0, "{factor:.0}x real time");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_cut_gives_the_same_bits(
            samples in proptest::collection::vec(-1f32..1.0, 0..4000),
            cuts in proptest::collection::vec(0usize..700, 0..20),
        ) {
            let mut front_end = LogMel::new(FeatureConfig::default());
            let mut whole = Vec::new();
            front_end.push(&samples, &mut whole);
            prop_assert_eq!(whole.len(), frames(samples.len()) * BINS);
            front_end.reset();
            let (mut pieces, mut rest, mut heard) = (Vec::new(), &samples[..], 0);
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                front_end.push(head, &mut pieces);
                heard += head.len();
                prop_assert_eq!(pieces.len(), frames(heard) * BINS);
                rest = tail;
            }
            front_end.push(rest, &mut pieces);
            prop_assert!(whole.iter().zip(&pieces).all(|(a, b)| a.to_bits() == b.to_bits()));
            prop_assert_eq!(whole.len(), pieces.len());
        }
    }
}
