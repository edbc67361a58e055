//! What a person at the terminal sees. Standard output holds results, standard error what goes on meanwhile.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::failure::{Failure, INTERNAL};

/// Prints a line of the result. Whoever closes the pipe early has seen enough: that is no error.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    let printed = writeln!(io::stdout().lock(), "{text}");
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(INTERNAL, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// As [`line()`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(|error| Failure::new(INTERNAL, error))?)
}

/// Tells a person what takes a while; says nothing to a log or a pipe.
pub fn notice(what: &str) {
    let mut err = io::stderr();
    if err.is_terminal() {
        // When even the terminal is gone, there is nobody to tell.
        let _ = writeln!(err, "hearth: {what}");
    }
}

/// Shows a person how far something is, on one line that is written over.
pub fn progress(what: &str, done: usize, all: usize) {
    let mut err = io::stderr();
    if err.is_terminal() {
        // As above.
        let _ = write!(err, "\r{done} of {all} {what}{}", if done == all { "\n" } else { "" });
    }
}

/// Shows a person a state on one line that the next one takes; an empty one clears it.
pub fn status(text: &str) {
    let mut err = io::stderr();
    if err.is_terminal() {
        // As above. The code clears to the end of the line.
        let _ = write!(err, "\r{text}\x1b[K");
        let _ = err.flush();
    }
}
