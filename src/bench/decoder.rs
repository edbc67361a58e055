//! The decoder alone: rows prefilled into an empty context, and tokens decoded behind them, as `llama-bench` measures its own.

use std::fmt;

use serde::Serialize;

use super::{DECODED, Memory, Started};
use crate::config::Config;
use crate::failure::Failure;
use crate::timeline::ms;

/// What was measured; memory at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Decoder {
    start: Started,
    contexts: Vec<Context>,
    memory: Memory,
}

/// At one length of context.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Context {
    rows: u32,
    /// In blocks as of text, with the logits of the last row.
    prefill_ms_per_row: f64,
    /// One token after another, with its logits.
    decode_ms_per_token: f64,
}

/// Loads the model, and measures each length once after a short rehearsal.
pub(super) fn measure(config: &Config, contexts: &[u32]) -> Result<Decoder, Failure> {
    let (start, mut hearth) = Started::measure(config)?;
    hearth.model().forget_prefix()?;
    hearth.model().rehearse(16, 1)?;
    let mut measured = Vec::with_capacity(contexts.len());
    for &rows in contexts {
        let (prefill, decode) = hearth.model().rehearse(rows as usize, DECODED)?;
        measured.push(Context {
            rows,
            prefill_ms_per_row: ms(prefill) / f64::from(rows),
            decode_ms_per_token: ms(decode) / DECODED as f64,
        });
    }
    Ok(Decoder { start, contexts: measured, memory: Memory::now() })
}

impl fmt::Display for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        for Context { rows, prefill_ms_per_row, decode_ms_per_token } in &self.contexts {
            writeln!(
                f,
                "{rows:>6} rows {prefill_ms_per_row:>8.2} ms each, then tokens of {decode_ms_per_token:.2} ms"
            )?;
        }
        write!(f, "           {} in the end", self.memory)
    }
}
