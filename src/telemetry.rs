//! Logging.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::timeline::Timeline;

/// Names the filter of what is logged, such as `hearth=debug`.
const VARIABLE: &str = "HEARTH_LOG";
/// What is logged without it.
const DEFAULT: &str = "warn,ort=error";

/// Starts logging to standard error, with colours only for a terminal.
pub fn init() {
    let wanted = std::env::var(VARIABLE).ok().filter(|filter| !filter.is_empty());
    let parsed = wanted.as_deref().map(EnvFilter::try_new);
    let (filter, wrong) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(DEFAULT), Some(error)),
        None => (EnvFilter::new(DEFAULT), None),
    };
    let stderr = std::io::stderr;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(stderr().is_terminal()).with_writer(stderr);
    // A second call (tests) keeps the first.
    let _ = log.try_init();
    if let Some(error) = wrong {
        tracing::warn!(%error, variable = VARIABLE, "the log filter is wrong and was not used");
    }
}

/// The one line that a turn leaves in the log. What was said and heard is not in it.
pub fn turn(turn: u64, timeline: &Timeline) {
    let t = timeline;
    tracing::info!(
        turn,
        speech_ms = t.speech_ms,
        while_heard_ms = t.while_heard_ms,
        encode_ms = t.encode_ms,
        prefill_ms = t.prefill_ms,
        first_token_ms = t.first_token_ms,
        decode_ms = t.decode_ms,
        tokens = t.tokens,
        drafted_tokens = t.drafted_tokens,
        drafts = t.drafts,
        tool_ms = t.tool_ms,
        first_sound_ms = t.first_sound_ms,
        total_ms = t.total_ms,
        "turn"
    );
}
