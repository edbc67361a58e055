//! The program's end of the socket: one request and its answer, watching, and holding the push-to-talk key. Blocking, on
//! the main thread of a short-lived program; only `hold` needs an event loop, for signals.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::ControlError;

/// Somewhat longer than the daemon takes at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(130);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// How often `watch` looks for a daemon that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or not to this user.
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning(path.to_path_buf()),
            io::ErrorKind::PermissionDenied => ControlError::NotAllowed(path.to_path_buf()),
            _ => ControlError::System { path: path.to_path_buf(), reason: error.to_string() },
        })?;
        Ok(Self { path: path.to_path_buf(), stream: BufReader::new(stream) })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the daemon refuses, goes away or does not answer.
    pub fn ask(&mut self, request: &Value) -> Result<Value, ControlError> {
        self.limit(Some(ANSWER_LIMIT))?;
        // A daemon that turns a client away says why and may be gone before the request is written.
        let _ = self.stream.get_mut().write_all(format!("{request}\n").as_bytes());
        let answer = self.line()?;
        if answer["ok"] == true {
            return Ok(answer);
        }
        let reason = answer["error"].as_str().unwrap_or("the daemon refused and did not say why").to_owned();
        let code = answer["code"].as_u64().and_then(|code| u8::try_from(code).ok());
        Err(ControlError::Refused { reason, code })
    }

    fn limit(&self, limit: Option<Duration>) -> Result<(), ControlError> {
        let set = self.stream.get_ref().set_read_timeout(limit);
        set.map_err(|e| ControlError::System { path: self.path.clone(), reason: e.to_string() })
    }

    fn line(&mut self) -> Result<Value, ControlError> {
        let mut line = String::new();
        let read = (&mut self.stream).take(MAX_ANSWER_BYTES).read_line(&mut line);
        match read {
            Ok(n) if n > 0 && line.ends_with('\n') => serde_json::from_str(&line).map_err(|_| ControlError::Gone),
            _ => Err(ControlError::Gone),
        }
    }
}

/// Prints everything that happens until `out` is closed. Waits for a daemon that is not there yet, or no more: those who
/// watch (bars, lamps) should not have to start anew.
///
/// # Errors
/// When the daemon refuses.
pub fn watch(path: &Path, as_json: bool, out: &mut impl Write) -> Result<(), ControlError> {
    let mut was_there = true;
    loop {
        let opened = Connection::open(path).and_then(|mut connection| {
            let first = connection.ask(&json!({"do": "watch"}))?;
            connection.limit(None)?;
            Ok((connection, first))
        });
        match opened {
            Ok((mut connection, first)) => {
                was_there = true;
                let mut next = Ok(first);
                while let Ok(event) = next {
                    if print(out, &event, as_json).is_err() {
                        return Ok(());
                    }
                    next = connection.line();
                }
            }
            Err(ControlError::NotRunning(_) | ControlError::Gone) => {}
            Err(error) => return Err(error),
        }
        if was_there && print(out, &json!({"event": "gone"}), as_json).is_err() {
            return Ok(());
        }
        was_there = false;
        thread::sleep(RETRY);
    }
}

fn print(out: &mut impl Write, event: &Value, as_json: bool) -> io::Result<()> {
    let is_status = event["event"] == "status" || event["event"] == event["state"];
    let text = match (as_json, is_status) {
        (true, _) => event.to_string(),
        (false, true) => described(event).lines().collect::<Vec<_>>().join("; "),
        (false, false) => plain(event, &["event"]),
    };
    writeln!(out, "{text}")?;
    out.flush()
}

/// What is good to know of an answer, if there is anything.
pub fn spoken(answer: &Value) -> Option<String> {
    let sections: Vec<&str> =
        answer["restart_for"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let restart =
        || (!sections.is_empty()).then(|| format!("these sections wait for a restart: {}", sections.join(", ")));
    answer["said"].as_str().or(answer["warning"].as_str()).map(str::to_owned).or_else(restart)
}

/// A status for people, in a few lines.
pub fn described(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!("{}{}", text(&status["state"]), since(&status["since_unix_ms"]))];
    if status["muted"] == true && status["state"] != "muted" {
        lines.push("the microphone is off".into());
    }
    for missing in status["missing"].as_array().into_iter().flatten() {
        let (what, name, reason) = (text(&missing["what"]), text(&missing["name"]), text(&missing["reason"]));
        lines.push(format!("missing {what} \"{name}\"{}: {reason}", since(&missing["since_unix_ms"])));
    }
    let known = ["ok", "event", "state", "since_unix_ms", "muted", "missing", "pid", "version"];
    let more = status.as_object().into_iter().flatten().filter(|(key, _)| !known.contains(&key.as_str()));
    lines
        .extend(more.map(|(key, value)| format!("{key}: {}", value.as_str().map_or(value.to_string(), str::to_owned))));
    lines.join("\n")
}

fn since(unix_ms: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(then) = unix_ms.as_u64().map(Duration::from_millis) else { return String::new() };
    match now.saturating_sub(then).as_secs() {
        s @ 0..120 => format!(" for {s} s"),
        s @ 120..7200 => format!(" for {} min", s / 60),
        s => format!(" for {} h", s / 3600),
    }
}

/// An event in one line: the values of `first`, then the other fields.
fn plain(event: &Value, first: &[&str]) -> String {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let mut words: Vec<String> = first.iter().map(|key| text(&event[*key])).collect();
    let rest = event.as_object().into_iter().flatten().filter(|(key, _)| !first.contains(&key.as_str()));
    words.extend(rest.map(|(key, value)| format!("{key}={}", text(value))));
    words.join(" ")
}

/// Presses the push-to-talk key until standard input ends or SIGTERM, SIGINT or SIGHUP arrives, then releases it. A program
/// that is killed releases it too: the daemon sees the connection end.
///
/// # Errors
/// When the daemon refuses or goes away.
pub fn hold(path: &Path) -> Result<(), ControlError> {
    let system = |e: io::Error| ControlError::System { path: path.to_path_buf(), reason: e.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    // Before the key is pressed: a signal in between would otherwise end the program without a release.
    let signals = {
        let _inside = runtime.enter();
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
    };
    let [mut terminate, mut interrupt, mut hangup] = {
        let [a, b, c] = signals;
        [a.map_err(system)?, b.map_err(system)?, c.map_err(system)?]
    };
    let mut connection = Connection::open(path)?;
    connection.ask(&json!({"do": "ptt", "action": "hold"}))?;

    let (ended, mut end) = mpsc::channel(2);
    let (input, gone) = (ended.clone(), ended);
    if stdin_can_end() {
        thread::spawn(move || {
            // Read or failed, it is over.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = input.blocking_send(false);
        });
    }
    let mut watched = connection.stream.get_ref().try_clone().map_err(system)?;
    connection.limit(None)?;
    let (stopping, stopped) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        // Nothing comes here but the answer to `stop`; an end before that means that the daemon is gone.
        let mut answer = [0_u8; 1024];
        let was_answered = watched.read(&mut answer).is_ok_and(|n| n > 0);
        if !was_answered && stopped.try_recv().is_err() {
            let _ = gone.blocking_send(true);
        }
    });
    let is_gone = runtime.block_on(async {
        tokio::select! {
            is_gone = end.recv() => is_gone.unwrap_or(false),
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            _ = hangup.recv() => false,
        }
    });
    if is_gone {
        return Err(ControlError::Gone);
    }
    let _ = stopping.send(());
    // The end of the connection releases the key just as well, if this does not arrive.
    let _ = connection.stream.get_mut().write_all(b"{\"do\":\"ptt\",\"action\":\"stop\"}\n");
    Ok(())
}

/// Compositors start programs with /dev/null as input, which ends at once; then only signals count.
fn stdin_can_end() -> bool {
    let device = |path: &str| fs::metadata(path).map(|found| found.rdev()).ok();
    device("/dev/stdin") != device("/dev/null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_to_know_of_an_answer() {
        let check = |answer, expected: Option<&str>| assert_eq!(spoken(&answer).as_deref(), expected, "{answer}");
        check(json!({"ok": true}), None);
        check(json!({"ok": true, "restart_for": []}), None);
        let restart = "these sections wait for a restart: model, home";
        check(json!({"ok": true, "restart_for": ["model", "home"]}), Some(restart));
        check(json!({"ok": true, "warning": "the disk is full"}), Some("the disk is full"));
        check(json!({"ok": true, "said": "Yes.", "actions": []}), Some("Yes."));
    }

    #[test]
    fn a_status_for_people() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let then = u64::try_from(now).expect("it fits") - 300_000;
        let missing = json!([{"what": "microphone", "name": "USB", "reason": "not found", "since_unix_ms": then}]);
        let status = json!({"ok": true, "event": "status", "state": "idle", "since_unix_ms": then, "muted": true,
            "missing": missing, "model": "hearth-starter", "turns": 3});
        let expected = "idle for 5 min\nthe microphone is off\nmissing microphone \"USB\" for 5 min: not found\n\
            model: hearth-starter\nturns: 3";
        assert_eq!(described(&status), expected);
        assert_eq!(
            plain(&json!({"event": "wake", "word": "jarvis", "score": 0.5}), &["event"]),
            "wake word=jarvis score=0.5"
        );
    }
}
