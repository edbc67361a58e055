//! Sound to utterances.

pub mod segment;
pub mod vad;
