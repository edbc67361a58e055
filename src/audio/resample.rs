//! Sample rate conversion with an anti-alias filter, for whole clips and for streams.
//!
//! One filter for both: a clip resampled at once and the same clip pushed in pieces give the same samples, and the
//! filter's delay is taken off, so sample `i` of the output lies at the same time as sample `i * from / to` of the
//! input. Pure. A stream's resampler runs on the `listen` thread, never in an audio callback.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::Clip;

/// Samples per block on the slower side, at least: 20 ms at 16 kHz. The filter is as long, so a longer block has a
/// steeper edge and a longer delay. At 320 samples 7.6 kHz keeps its level (-6 dB at 7.8 kHz)
/// and what lies above 8 kHz is 120 dB down, 70 where the ratio is rounded.
const BLOCK: usize = 320;
/// Bound on the terms of the ratio, of which the length of the transform is made: 44.1 kHz to 16 kHz is 441 to 160,
/// but 44,101 Hz would need 44,101 to 16,000. Such a ratio is rounded, by less than a sound card's
/// clock is off: 3 parts in 100,000.
const MAX_TERM: u64 = 1 << 14;

/// Converts a whole clip. Its new length is `round(n * rate_hz / clip.rate_hz)`.
///
/// # Panics
/// If one of the rates is 0.
pub fn resample(clip: &Clip, rate_hz: u32) -> Clip {
    let mut resampler = Resampler::new(clip.rate_hz, rate_hz);
    let mut samples = Vec::with_capacity(resampler.output_samples(clip.samples.len()));
    resampler.push(&clip.samples, &mut samples);
    resampler.finish(&mut samples);
    Clip { samples, rate_hz }
}

/// Converts a stream. Delay: one block and half of it, 30 ms for the usual rates.
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    /// None when the rates are the same.
    engine: Option<Engine>,
    n_in: usize,
    n_out: usize,
}

struct Engine {
    fft: Fft<f32>,
    /// Samples that wait for a full block.
    waiting: Vec<f32>,
    block_in: usize,
    block_out: Vec<f32>,
    /// Samples of the filter's delay that are still to be dropped.
    skip: usize,
}

impl Resampler {
    /// A converter before its first sample.
    ///
    /// # Panics
    /// If one of the rates is 0.
    pub fn new(from_hz: u32, to_hz: u32) -> Self {
        assert!(from_hz > 0 && to_hz > 0, "a sample rate of 0 Hz");
        let engine = (from_hz != to_hz).then(|| Engine::new(from_hz, to_hz));
        Self { from_hz, to_hz, engine, n_in: 0, n_out: 0 }
    }

    /// Takes samples at the first rate and appends what is ready at the second rate to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.n_in += samples.len();
        let before = out.len();
        match &mut self.engine {
            None => out.extend_from_slice(samples),
            Some(engine) => engine.push(samples, out),
        }
        self.n_out += out.len() - before;
    }

    /// Ends the stream: appends what the filter still holds and starts anew.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let missing = self.output_samples(self.n_in).saturating_sub(self.n_out);
        if let Some(engine) = &mut self.engine {
            let enough = out.len() + missing;
            let silence = vec![0.0; engine.block_in];
            // The filter holds less than two blocks.
            for _ in 0..3 {
                if out.len() < enough {
                    engine.push(&silence[engine.waiting.len()..], out);
                }
            }
            out.truncate(enough);
            engine.reset();
        }
        (self.n_in, self.n_out) = (0, 0);
    }

    /// How many samples come out for `n` samples in all.
    fn output_samples(&self, n: usize) -> usize {
        let (n, from, to) = (n as u128, u128::from(self.from_hz), u128::from(self.to_hz));
        usize::try_from((2 * n * to + from) / (2 * from)).expect("a clip in memory resampled fits an address space")
    }
}

impl Engine {
    fn new(from_hz: u32, to_hz: u32) -> Self {
        let (from, to) = ratio(u64::from(from_hz), u64::from(to_hz));
        let mut times = BLOCK.div_ceil(from.min(to));
        // An odd block has its middle, and so its delay, between two samples.
        if from * times % 2 == 1 || to * times % 2 == 1 {
            times += times % 2;
        }
        let block_in = from * times;
        let fft = Fft::new_custom(from, to, block_in, 1, 1, WindowFunction::BlackmanHarris, FixedSync::Both)
            .expect("neither a rate nor the block is zero");
        let block_out = vec![0.0; fft.output_frames_next()];
        let skip = fft.output_delay();
        Self { waiting: Vec::with_capacity(block_in), block_in, block_out, skip, fft }
    }

    fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) {
        while !samples.is_empty() {
            let (head, rest) = samples.split_at(samples.len().min(self.block_in - self.waiting.len()));
            self.waiting.extend_from_slice(head);
            samples = rest;
            if self.waiting.len() == self.block_in {
                self.block(out);
            }
        }
    }

    /// Converts the full block that waits.
    fn block(&mut self, out: &mut Vec<f32>) {
        let length = self.block_out.len();
        let input = InterleavedSlice::new(&self.waiting, 1, self.block_in).expect("the block is full");
        let mut output = InterleavedSlice::new_mut(&mut self.block_out, 1, length).expect("it has its own length");
        self.fft.process_into_buffer(&input, &mut output, None).expect("both blocks have the converter's own lengths");
        let skipped = self.skip.min(length);
        self.skip -= skipped;
        out.extend_from_slice(&self.block_out[skipped..]);
        self.waiting.clear();
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.waiting.clear();
        self.skip = self.fft.output_delay();
    }
}

/// `from : to` in lowest terms, or the nearest ratio with terms up to [`MAX_TERM`].
fn ratio(from: u64, to: u64) -> (usize, usize) {
    let (large, small) = (from.max(to), from.min(to));
    let mut best = (0, 0, u64::MAX);
    for b in 1..=MAX_TERM {
        let a = (2 * b * large + small) / (2 * small);
        if b > 1 && a > MAX_TERM {
            break;
        }
        // Off by this share of `b * large`; compared as fractions, so that the first of equals is in lowest terms.
        let off = (a * small).abs_diff(b * large);
        if best.2 == u64::MAX || u128::from(off) * u128::from(best.1) < u128::from(best.2) * u128::from(b) {
            best = (a, b, off);
        }
        if off == 0 {
            break;
        }
    }
    let (a, b) = (best.0 as usize, best.1 as usize);
    if from > to { (a, b) } else { (b, a) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::PI;

    fn tone(hz: f64, rate_hz: u32, seconds: f64) -> Clip {
        let n = (seconds * f64::from(rate_hz)).round() as usize;
        let sample = |i: usize| (0.5 * (2.0 * PI * hz * i as f64 / f64::from(rate_hz)).sin()) as f32;
        Clip { samples: (0..n).map(sample).collect(), rate_hz }
    }

    /// Level against a tone of amplitude 0.5, away from the ends.
    fn level_db(samples: &[f32]) -> f64 {
        let inner = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let power = inner.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / inner.len() as f64;
        10.0 * (power / 0.125 + 1e-20).log10()
    }

    #[test]
    fn tones_above_the_new_limit_are_gone() {
        let mut worst = f64::NEG_INFINITY;
        for rate_hz in [192_000, 96_000, 48_000, 44_100, 32_000, 22_050, 44_101, 18_000] {
            for hz in [8_001.0, 8_050.0, 8_200.0, 8_700.0, 10_000.0, 12_000.0, 15_000.0, 20_000.0, 23_000.0] {
                if hz < f64::from(rate_hz) / 2.0 {
                    let level = level_db(&resample(&tone(hz, rate_hz, 1.0), 16_000).samples);
                    assert!(level < -60.0, "{hz} Hz at {rate_hz} Hz: {level:.1} dB");
                    worst = worst.max(level);
                }
            }
        }
        println!("strongest alias: {worst:.1} dB");
    }

    #[test]
    fn tones_below_keep_level_and_place() {
        let mut worst = 0f32;
        for (rate_hz, to_hz) in [
            (48_000, 16_000),
            (44_100, 16_000),
            (96_000, 16_000),
            (22_050, 16_000),
            (11_025, 16_000),
            (8_000, 16_000),
            (44_101, 16_000),
            (16_000, 48_000),
            (22_050, 48_000),
        ] {
            for hz in [50.0, 440.0, 1_000.0, 3_000.0, 7_000.0] {
                if hz < f64::from(rate_hz.min(to_hz)) * 0.45 {
                    let found = resample(&tone(hz, rate_hz, 1.0), to_hz);
                    let expected = tone(hz, to_hz, 1.0);
                    assert_eq!(found.samples.len(), expected.samples.len(), "{hz} Hz, {rate_hz} to {to_hz}");
                    let inner = 1_000..expected.samples.len() - 1_000;
                    let error = inner.map(|i| (found.samples[i] - expected.samples[i]).abs()).fold(0.0, f32::max);
                    assert!(error < 1e-3, "{hz} Hz, {rate_hz} to {to_hz}: {error}");
                    worst = worst.max(error);
                }
            }
        }
        println!("largest deviation of a tone of 0.5: {worst:.1e}");
    }

    #[test]
    fn lengths_are_rounded() {
        // samples, from, to, samples
        for (n, from, to, expected) in [
            (0, 48_000, 16_000, 0),
            (1, 48_000, 16_000, 0),
            (2, 48_000, 16_000, 1),
            (48_000, 48_000, 16_000, 16_000),
            (44_100, 44_100, 16_000, 16_000),
            (100, 44_100, 16_000, 36),
            (7, 8_000, 16_000, 14),
            (12_345, 16_000, 16_000, 12_345),
            (1_000, 767_999, 16_000, 21),
            (1_000, 2_000, 768_000, 384_000),
        ] {
            let clip = Clip { samples: vec![0.25; n], rate_hz: from };
            let found = resample(&clip, to);
            assert_eq!((found.samples.len(), found.rate_hz), (expected, to), "{n} samples, {from} to {to}");
        }
    }

    #[test]
    fn ratios_stay_small() {
        for (from, to, expected) in [
            (48_000, 16_000, (3, 1)),
            (44_100, 16_000, (441, 160)),
            (8_000, 16_000, (1, 2)),
            (22_050, 48_000, (147, 320)),
            (768_000, 1, (768_000, 1)),
        ] {
            assert_eq!(ratio(from, to), expected, "{from} to {to}");
        }
        for from in (2_000u64..768_000).step_by(997) {
            let (p, q) = ratio(from, 16_000);
            assert!(p.max(q) as u64 <= MAX_TERM);
            let off = (p as f64 / q as f64) / (from as f64 / 16_000.0) - 1.0;
            assert!(off.abs() < 3e-5, "{from}: {p} to {q} is off by {off:e}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_stream_gives_what_the_whole_gives(
            samples in proptest::collection::vec(-1f32..1.0, 0..6000),
            cuts in proptest::collection::vec(0usize..1500, 0..8),
            rate_hz in proptest::sample::select(vec![48_000u32, 44_100, 16_000, 8_000, 22_050]),
        ) {
            let clip = Clip { samples, rate_hz };
            let whole = resample(&clip, 16_000);
            let mut resampler = Resampler::new(rate_hz, 16_000);
            // Twice: the second run must not hear the first.
            for _ in 0..2 {
                let (mut out, mut rest) = (Vec::new(), &clip.samples[..]);
                for &cut in &cuts {
                    let (head, tail) = rest.split_at(cut.min(rest.len()));
                    let mut piece = Vec::new();
                    resampler.push(head, &mut piece);
                    out.append(&mut piece);
                    rest = tail;
                }
                let mut piece = vec![0.5; 3];
                resampler.push(rest, &mut piece);
                resampler.finish(&mut piece);
                out.extend_from_slice(&piece[3..]);
                prop_assert_eq!(&out, &whole.samples);
            }
        }
    }
}
