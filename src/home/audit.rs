//! What was called and what became of it: one JSON object per line, in files that only their owner reads.
//!
//! Written between two events of the daemon (a few hundred bytes); a line that cannot be written is a warning and stops
//! nothing. When a file is full it is renamed (`audit.jsonl.1`, `.2`, ...) and the oldest goes.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hand_over;
use crate::dialogue::{Arguments, Consent, Outcome, ToolCall, ToolResult, TurnId};

/// Name of the file in the state folder.
const FILE: &str = "audit.jsonl";

/// `[audit]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// A file is full at this size; 0 keeps no log.
    pub max_kb: u64,
    /// How many full files are kept beside the one that is written.
    pub files: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { max_kb: 1024, files: 3 }
    }
}

/// One call.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// When it was made, in UTC.
    at: String,
    /// By which turn; none when a person made it by hand.
    turn: Option<u64>,
    tool: &'a str,
    arguments: &'a Arguments,
    /// Who agreed, if anybody had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<f32>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Value>,
    took_ms: u128,
}

/// The log.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    max_bytes: u64,
    files: usize,
}

impl AuditLog {
    /// The log in a folder; `None` when the configuration wants none. Touches no file yet.
    #[must_use]
    pub fn new(dir: &Path, config: &AuditConfig) -> Option<Self> {
        let max_bytes = config.max_kb.saturating_mul(1024);
        (max_bytes > 0).then(|| Self { path: dir.join(FILE), max_bytes, files: config.files })
    }

    /// Adds a line. What goes wrong is logged once per call and nothing more.
    pub fn write(&self, turn: Option<TurnId>, call: &ToolCall, result: &ToolResult, took: Duration) {
        let line = Line {
            at: jiff::Timestamp::now().to_string(),
            turn: turn.map(|turn| turn.0),
            tool: &call.name,
            arguments: &call.arguments,
            consent: match call.consent {
                Consent::None => None,
                Consent::Spoken(_) => Some("spoken"),
                Consent::ByHand => Some("by hand"),
            },
            margin: call.margin,
            outcome: result.outcome,
            error: result.content.get("error"),
            took_ms: took.as_millis(),
        };
        let written = serde_json::to_string(&line).map_err(io::Error::from).and_then(|line| self.append(&line));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "a call is not in the audit log");
        }
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let size = fs::metadata(&self.path).map_or(0, |found| found.len());
        if size > 0 && size.saturating_add(line.len() as u64) >= self.max_bytes {
            self.rotate()?;
        }
        if let Some(dir) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        hand_over(&file, self.path.parent().unwrap_or(Path::new(".")));
        // In one piece, so that two writers never share a line.
        file.write_all(format!("{line}\n").as_bytes())
    }

    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.files == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.files).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn lines_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let config = AuditConfig { max_kb: 1, files: 2 };
        let log = AuditLog::new(&dir.path().join("state"), &config).unwrap();
        assert!(AuditLog::new(dir.path(), &AuditConfig { max_kb: 0, ..config }).is_none());
        let arguments = json!({"kind": "light"}).as_object().unwrap().clone();
        let call = ToolCall { margin: Some(1.5), consent: Consent::ByHand, ..ToolCall::new("turn_on", arguments) };
        let content = json!({"error": "no answer"}).as_object().unwrap().clone();
        let failed = ToolResult { name: "turn_on".into(), outcome: Outcome::Failed, content, say: None, effect: None };
        log.write(Some(TurnId(7)), &call, &failed, Duration::from_millis(12));
        let text = fs::read_to_string(dir.path().join("state/audit.jsonl")).unwrap();
        let mut line: Value = serde_json::from_str(text.trim_end()).unwrap();
        let at = line.as_object_mut().unwrap().shift_remove("at").unwrap();
        assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
        let expected = json!({"turn": 7, "tool": "turn_on", "arguments": {"kind": "light"}, "consent": "by hand",
                              "margin": 1.5, "outcome": "failed", "error": "no answer", "took_ms": 12});
        assert_eq!(line, expected);

        let done = ToolResult { outcome: Outcome::Done, content: Map::new(), ..failed };
        for _ in 0..100 {
            log.write(None, &ToolCall::new("turn_on", Map::new()), &done, Duration::ZERO);
        }
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("state")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
        for name in names {
            let text = fs::read_to_string(dir.path().join("state").join(name)).unwrap();
            assert!(text.len() <= 1024 && text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
    }
}
