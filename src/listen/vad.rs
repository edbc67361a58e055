//! Voice activity: 16 kHz samples to one probability of speech per frame of 16 ms.
//!
//! Owns the detector's state and the samples of an unfinished frame; decides nothing (that is
//! [`segment`](super::segment)). No I/O. Runs on the `listen` thread, or on that of a subcommand for a file.

use earshot::Detector;

/// Samples per frame: 16 ms, fixed by the detector.
pub const FRAME: usize = 256;

/// A detector with memory of what came before. One per stream.
pub struct Vad {
    detector: Box<Detector>,
    frame: Vec<f32>,
}

impl Default for Vad {
    fn default() -> Self {
        Self { detector: Detector::default_boxed(), frame: Vec::with_capacity(FRAME) }
    }
}

impl Vad {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes samples in [-1, 1] and appends the probability of speech in [0, 1] of every frame that is now full.
    pub fn push(&mut self, mut samples: &[f32], probabilities: &mut Vec<f32>) {
        while !samples.is_empty() {
            let (head, rest) = samples.split_at(samples.len().min(FRAME - self.frame.len()));
            // The detector asks for samples in range, and a value that is no number would stay in its memory.
            self.frame.extend(head.iter().map(|&v| if v.is_finite() { v.clamp(-1.0, 1.0) } else { 0.0 }));
            samples = rest;
            if self.frame.len() == FRAME {
                probabilities.push(self.detector.predict_f32(&self.frame));
                self.frame.clear();
            }
        }
    }

    /// Forgets all it has heard: for another device, or another recording.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.frame.clear();
    }
}
