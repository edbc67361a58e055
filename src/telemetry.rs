//! Logging, and the record of one turn.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `HEARTH_LOG` takes a filter such as `hearth=debug`; the default shows warnings.
pub fn init() {
    let filter = EnvFilter::try_from_env("HEARTH_LOG").unwrap_or_else(|_| EnvFilter::new("warn,ort=error"));
    // A second call (tests) keeps the first.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Tells a person at a terminal what takes a while; says nothing to a log or a pipe.
pub fn notice(what: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        // Without a terminal there is nobody to tell.
        let _ = writeln!(err, "hearth: {what}");
    }
}

/// Milliseconds of a duration.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Runs `work` and adds its time in ms to `total`.
pub fn timed<T>(total_ms: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total_ms += ms(start.elapsed());
    result
}

/// Where the time of one turn went. Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// Length of what was heard.
    pub speech_ms: f64,
    /// Log-mel.
    pub features_ms: f64,
    /// Audio encoder.
    pub encode_ms: f64,
    /// Decoder over the prompt and the audio rows, up to the first logits.
    pub prefill_ms: f64,
    /// From the start of the work to the first token.
    pub first_token_ms: f64,
    /// Decoder from the first token to the last.
    pub decode_ms: f64,
    /// Tokens of the reply.
    pub tokens: usize,
    /// Those of them that the grammar forced and that were fed together with their predecessor.
    pub forced_tokens: usize,
    /// Handlers of the home.
    pub tool_ms: f64,
    /// Synthesis of the first sentence.
    pub first_sound_ms: f64,
    /// Synthesis of everything that was said.
    pub speak_ms: f64,
    /// From the start of the work to the end of the synthesis.
    pub total_ms: f64,
}
