//! The control socket: one request as a JSON object per line, one answer per line, and a stream of events for those who
//! watch. README, "The socket", is the description for people who write clients.
//!
//! This file owns the words of the protocol; [`server`] is the daemon's end (tokio, on the daemon's thread), [`client`] the
//! end of `hearth status`, `mute`, `ptt` and so on. Nothing here knows what a request does: the daemon gets an [`Order`]
//! with a place for its answer. Status and watching never reach it; they are answered from the last state that it
//! published, so they work while a model loads.

mod access;
pub mod client;
pub mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::sync::oneshot;

pub use crate::conversation::State;
pub use server::{Publisher, Server};

/// The longest line that is read, in bytes: a spoken text has at most a few hundred.
pub const MAX_LINE_BYTES: usize = 8192;
/// So many connections at once; the next one is told and closed.
pub const MAX_CLIENTS: usize = 16;
/// Name of the socket in the folder for it.
const SOCKET: &str = "hearth.sock";
/// Folder of the socket where there is no folder of a session.
const SYSTEM_FOLDER: &str = "/run/hearth";

/// `[control]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// The socket. If not set: `hearth.sock` in the service manager's folder for hearth, in `$XDG_RUNTIME_DIR`, or in
    /// `/run/hearth`, whichever there is first.
    pub socket: Option<PathBuf>,
    /// A group whose members may connect besides the owner, by name or number.
    pub group: Option<String>,
}

impl ControlConfig {
    /// Where the daemon makes its socket.
    pub fn server_path(&self) -> PathBuf {
        // systemd sets RUNTIME_DIRECTORY for a unit with RuntimeDirectory=, to one folder here.
        let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        self.socket.clone().unwrap_or_else(|| {
            let found = folder("RUNTIME_DIRECTORY").or_else(|| folder("XDG_RUNTIME_DIR"));
            found.unwrap_or_else(|| PathBuf::from(SYSTEM_FOLDER)).join(SOCKET)
        })
    }

    /// Where a client looks: a daemon of one's own comes before the machine's.
    pub fn client_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| {
            let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join(SOCKET));
            own.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(SYSTEM_FOLDER).join(SOCKET))
        })
    }
}

/// What is wrong with the socket.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Stop the other daemon, or give this one another socket.
    #[error("a daemon already listens at {}", .0.display())]
    InUse(PathBuf),
    /// Something else is in its place and is left there.
    #[error("{} is not a socket; it is left alone", .0.display())]
    NotASocket(PathBuf),
    /// There is no such group on this machine.
    #[error("control.group: there is no group `{0}` in /etc/group")]
    NoGroup(String),
    /// The system refused.
    #[error("socket {}: {reason}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// Nobody listens there: start the daemon.
    #[error("no daemon listens at {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to others.
    #[error("{} is not open to this user", .0.display())]
    NotAllowed(PathBuf),
    /// The connection ended before the answer.
    #[error("the daemon ended the connection")]
    Gone,
    /// The daemon refused the request.
    #[error("{reason}")]
    Refused {
        /// In its words.
        reason: String,
        /// An exit code, where it gave one.
        code: Option<u8>,
    },
}

/// Something that the daemon waits for, such as a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What it is: `microphone`, `loudspeaker`, a service.
    pub what: String,
    /// Its name, as configured.
    pub name: String,
    /// Why, in one line.
    pub reason: String,
    /// Since when, in ms since 1970.
    pub since_unix_ms: u64,
}

/// All that anyone may know of the daemon: the answer to `status`, and the state file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Public {
    /// What it is doing.
    pub state: State,
    /// Since when, in ms since 1970. [`Publisher::update`] keeps it.
    pub since_unix_ms: u64,
    /// Whether the microphone is off, whatever else goes on.
    pub muted: bool,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// Whatever else the daemon has to say: devices, model, counters. Its keys stand beside the ones above.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// What the push-to-talk key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PttAction {
    /// Pressed.
    Start,
    /// Released.
    Stop,
    /// Pressed if up, released if down.
    Toggle,
}

/// What the daemon is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Microphone off (true) or on.
    Mute(bool),
    /// The push-to-talk key.
    Ptt(PttAction),
    /// Stop what goes on.
    Cancel,
    /// A command as text.
    Ask(String),
    /// A sentence to speak.
    Say(String),
    /// Read the configuration again.
    Reload,
    /// What has been counted of the sound devices.
    Figures,
}

/// A request with the place for its answer: [`done`], [`refused`], or any object of one's own. Dropping `reply` tells the
/// client that there was no answer.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub request: Request,
    /// One JSON object; `"ok": true` is added where it has no `ok`.
    pub reply: oneshot::Sender<Value>,
}

/// The plain good answer.
pub fn done() -> Value {
    json!({"ok": true})
}

/// The answer that says why not. `code` is the exit code for the client's program (sysexits), if it matters.
pub fn refused(reason: impl std::fmt::Display, code: Option<u8>) -> Value {
    let mut answer = json!({"ok": false, "error": reason.to_string()});
    if let Some(code) = code {
        answer["code"] = code.into();
    }
    answer
}

/// What one line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Status,
    Watch,
    /// Push-to-talk for as long as the connection lasts.
    Hold,
    Order(Request),
}

/// A line as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    r#do: String,
    action: Option<String>,
    text: Option<String>,
}

/// Understands one line.
fn parse(line: &[u8]) -> Result<Line, String> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    let written: Written = serde_json::from_str(line).map_err(|e| format!("not a request: {e}"))?;
    let (action, text) = (written.action.as_deref(), written.text);
    let understood = match (written.r#do.as_str(), action, text) {
        ("status", None, None) => Line::Status,
        ("watch", None, None) => Line::Watch,
        ("mute", None, None) => Line::Order(Request::Mute(true)),
        ("unmute", None, None) => Line::Order(Request::Mute(false)),
        ("ptt", Some("start"), None) => Line::Order(Request::Ptt(PttAction::Start)),
        ("ptt", Some("stop"), None) => Line::Order(Request::Ptt(PttAction::Stop)),
        ("ptt", Some("toggle"), None) => Line::Order(Request::Ptt(PttAction::Toggle)),
        ("ptt", Some("hold"), None) => Line::Hold,
        ("ptt", _, None) => return Err("`ptt` takes an `action`: start, stop, toggle or hold".into()),
        ("cancel", None, None) => Line::Order(Request::Cancel),
        ("reload", None, None) => Line::Order(Request::Reload),
        ("figures", None, None) => Line::Order(Request::Figures),
        ("ask" | "say", None, Some(text)) if text.trim().is_empty() => return Err("`text` is empty".into()),
        ("ask", None, Some(text)) => Line::Order(Request::Ask(text)),
        ("say", None, Some(text)) => Line::Order(Request::Say(text)),
        ("ask" | "say", None, None) => return Err(format!("`{}` takes a `text`", written.r#do)),
        ("status" | "watch" | "mute" | "unmute" | "ptt" | "cancel" | "reload" | "figures" | "ask" | "say", ..) => {
            return Err(format!("`{}` has a key too many", written.r#do));
        }
        (other, ..) => return Err(format!("`{other}` is not known")),
    };
    Ok(understood)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_refused_with_the_reason() {
        let check = |line: &str, expected: Result<Line, &str>| match (parse(line.as_bytes()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{line}: {found}"),
            (found, expected) => panic!("{line}: {found:?}, not {expected:?}"),
        };
        check(r#"{"do":"status"}"#, Ok(Line::Status));
        check(r#" {"do" : "watch"} "#, Ok(Line::Watch));
        check(r#"{"do":"unmute"}"#, Ok(Line::Order(Request::Mute(false))));
        check(r#"{"do":"ptt","action":"toggle"}"#, Ok(Line::Order(Request::Ptt(PttAction::Toggle))));
        check(r#"{"do":"ptt","action":"hold"}"#, Ok(Line::Hold));
        check(r#"{"do":"ask","text":"lights on"}"#, Ok(Line::Order(Request::Ask("lights on".into()))));
        check(r#"{"do":"figures"}"#, Ok(Line::Order(Request::Figures)));
        check(r#"{"do":"ptt"}"#, Err("start, stop, toggle or hold"));
        check(r#"{"do":"ptt","action":"press"}"#, Err("start, stop, toggle or hold"));
        check(r#"{"do":"say"}"#, Err("takes a `text`"));
        check(r#"{"do":"say","text":" "}"#, Err("is empty"));
        check(r#"{"do":"mute","text":"a"}"#, Err("a key too many"));
        check(r#"{"do":"mute","force":true}"#, Err("unknown field `force`"));
        check(r#"{"do":"fly"}"#, Err("`fly` is not known"));
        check(r#"{"do":1}"#, Err("not a request"));
        check("status", Err("not a request"));
        check("[]", Err("not a request"));
        check("", Err("not a request"));
        assert!(parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn details_stand_beside_the_state() {
        let mut public = Public { state: State::Idle, ..Public::default() };
        public.details.insert("model".into(), "hearth-starter".into());
        let written = serde_json::to_value(&public).expect("plain data");
        assert_eq!((&written["state"], &written["model"]), (&json!("idle"), &json!("hearth-starter")));
    }
}
