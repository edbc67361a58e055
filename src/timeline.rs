//! Where the time of one turn went. Plain data and a stopwatch.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds of a duration.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Runs `work` and adds its time in ms to `total_ms`.
pub fn timed<T>(total_ms: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total_ms += ms(start.elapsed());
    result
}

/// One record per turn. Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// Length of what was heard.
    pub speech_ms: f64,
    /// Log-mel.
    pub features_ms: f64,
    /// Audio encoder.
    pub encode_ms: f64,
    /// Decoder over the prompt and the audio rows, up to the first logits.
    pub prefill_ms: f64,
    /// From the start of the turn to the first logits of the reply.
    pub first_token_ms: f64,
    /// Decoder from the first token to the last.
    pub decode_ms: f64,
    /// Tokens of the reply.
    pub tokens: usize,
    /// Those of them that the grammar forced and that were fed together with their predecessor.
    pub forced_tokens: usize,
    /// Those of them that stood in the draft when the turn was committed.
    pub drafted_tokens: usize,
    /// Those of the drafted ones that the grammar forced.
    pub drafted_forced_tokens: usize,
    /// Drafts that were made, the one of the reply among them.
    pub drafts: usize,
    /// Computing done while the turn was heard: features, encoder and decoder over the rows that were final.
    pub while_heard_ms: f64,
    /// The longest piece of it that nothing interrupted.
    pub longest_block_ms: f64,
    /// Computing spent on drafts that were taken back.
    pub dropped_ms: f64,
    /// From the start of the turn to the first call that was whole, told or not.
    pub call_ready_ms: Option<f64>,
    /// Least log p(best) - log p(second) of these tokens, where the grammar left a choice; `None`: nowhere.
    pub margin: Option<f64>,
    /// Handlers of the home.
    pub tool_ms: f64,
    /// From the start of the turn to the first sentence as sound.
    pub first_sound_ms: f64,
    /// Synthesis of everything that was said.
    pub speak_ms: f64,
    /// From the start of the turn to the end of the synthesis.
    pub total_ms: f64,
}
