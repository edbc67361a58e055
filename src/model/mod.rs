//! Samples to reply events.

pub mod decoder;
pub mod encoder;
pub mod features;
pub mod generate;
pub mod grammar;
pub mod manifest;
pub mod prompt;
pub mod reply;
pub mod sample;
pub mod tokenizer;
