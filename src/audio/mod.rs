//! Sound in files and on devices. Knows no models.

pub mod callback;
pub mod capture;
pub mod device;
pub mod playback;
pub mod resample;
pub mod wav;

/// The rate that the listener and the model work at, in Hz (Gemma 4's feature extractor).
pub const MODEL_RATE_HZ: u32 = 16_000;

/// Mono sound, samples in [-1, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Samples.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub rate_hz: u32,
}

impl Clip {
    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz)
    }
}
