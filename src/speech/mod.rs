//! Text to sound.

pub mod normalise;
