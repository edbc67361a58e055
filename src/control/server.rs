//! The daemon's end of the socket. Runs as tasks on the daemon's thread.
//!
//! Nothing here ever waits for a client: each connection is a task of its own, events go into a bounded ring that every
//! watcher reads at its own pace, and one that falls behind or does not take what is written is dropped. The daemon never
//! waits for this file either: when its queue of orders is full, the client is told so.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::access::{Gate, Place};
use super::{ControlConfig, ControlError, Line, MAX_CLIENTS, MAX_LINE_BYTES, Order, PttAction, Public, Request};
use super::{parse, refused};

/// Orders that may wait for the daemon; it takes them between two events.
const ORDERS: usize = 16;
/// Events that a watcher may be behind. A turn has about ten.
const EVENTS: usize = 64;
/// A client that does not take a line within this time is dropped. Local sockets take about 200 KiB at once.
const WRITE_LIMIT: Duration = Duration::from_secs(1);
/// The longest that an answer may take: `ask` is answered when the turn is over.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// The socket, taken but not yet served.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    place: Place,
    state_file: PathBuf,
}

/// Tells clients what goes on. When it is dropped the socket closes, and its files are removed.
#[derive(Debug)]
pub struct Publisher {
    public: watch::Sender<Public>,
    events: broadcast::Sender<Arc<str>>,
    state_file: PathBuf,
    said_unwritable: bool,
    task: AbortHandle,
    place: Place,
}

impl Server {
    /// Takes the socket. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be made.
    pub fn bind(config: &ControlConfig) -> Result<Self, ControlError> {
        let path = config.server_path();
        let (listener, place) = Place::take(&path, config.group.as_deref())?;
        Ok(Self { listener, place, state_file: path.with_extension("json") })
    }

    /// Starts to serve, in a task of the current runtime. The daemon publishes through the first part and takes orders
    /// from the second.
    pub fn start(self) -> (Publisher, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel(ORDERS);
        let (public, seen) = watch::channel(Public { since_unix_ms: now_unix_ms(), ..Public::default() });
        let (events, _) = broadcast::channel(EVENTS);
        let shared = Shared { orders, seen, events: events.clone() };
        let task = tokio::spawn(accept(self.listener, self.place.gate, shared)).abort_handle();
        let place = self.place;
        let mut publisher =
            Publisher { public, events, state_file: self.state_file, said_unwritable: false, task, place };
        publisher.write_state();
        (publisher, taken)
    }
}

impl Publisher {
    /// Changes what is public. Watchers get one line, and the state file is replaced, if anything is different afterwards.
    pub fn update(&mut self, change: impl FnOnce(&mut Public)) {
        let mut next = self.public.borrow().clone();
        change(&mut next);
        let (is_same, is_new_state) = {
            let last = self.public.borrow();
            (*last == next, last.state != next.state)
        };
        if is_same {
            return;
        }
        if is_new_state {
            next.since_unix_ms = now_unix_ms();
        }
        let name = if is_new_state { json!(next.state) } else { json!("status") };
        let line = event_line(&name, &described(&next));
        // Fails only when nobody watches.
        let _ = self.events.send(line);
        self.public.send_replace(next);
        self.write_state();
    }

    /// Tells watchers of something that is no state: `wake`, a call, an error. `fields` is an object.
    pub fn event(&self, name: &str, fields: &Value) {
        let _ = self.events.send(event_line(&json!(name), fields));
    }

    /// What is public now.
    pub fn public(&self) -> Public {
        self.public.borrow().clone()
    }

    /// Where the state file is.
    pub fn state_file(&self) -> &Path {
        &self.state_file
    }

    fn write_state(&mut self) {
        let text = format!("{}\n", described(&self.public.borrow()));
        match self.replace_state(&text) {
            Ok(()) => self.said_unwritable = false,
            Err(error) if !self.said_unwritable => {
                tracing::warn!(path = %self.state_file.display(), %error, "the state file cannot be written");
                self.said_unwritable = true;
            }
            Err(_) => {}
        }
    }

    /// Whoever reads the file finds the old one or the new one, never half of it.
    fn replace_state(&self, text: &str) -> io::Result<()> {
        let new = self.state_file.with_extension("json.new");
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        self.place.share(&new)?;
        fs::rename(&new, &self.state_file)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
        // A reader should not take a stopped daemon for an idle one.
        let _ = fs::remove_file(&self.state_file);
    }
}

/// What every connection needs.
#[derive(Debug, Clone)]
struct Shared {
    orders: mpsc::Sender<Order>,
    seen: watch::Receiver<Public>,
    events: broadcast::Sender<Arc<str>>,
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The public state as an object, with what never changes.
fn described(public: &Public) -> Value {
    let mut value = json!(public);
    value["pid"] = std::process::id().into();
    value["version"] = env!("CARGO_PKG_VERSION").into();
    value
}

/// `{"event": name, ...fields}` and a line break.
fn event_line(name: &Value, fields: &Value) -> Arc<str> {
    let mut line = json!({"event": name});
    for (key, value) in fields.as_object().into_iter().flatten() {
        line[key] = value.clone();
    }
    format!("{line}\n").into()
}

async fn accept(listener: UnixListener, gate: Gate, shared: Shared) {
    let mut clients = JoinSet::new();
    // One line in the log per user, however often they try.
    let mut refused_users = HashSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        if !gate.admits(&stream) {
            let user = stream.peer_cred().map(|peer| peer.uid()).ok();
            if refused_users.len() < MAX_CLIENTS && refused_users.insert(user) {
                tracing::warn!(user, "a user who may not connect was refused");
            }
            turn_away(&stream, "this user may not connect");
        } else if clients.len() >= MAX_CLIENTS {
            turn_away(&stream, "too many connections");
        } else {
            clients.spawn(Client::serve(stream, shared.clone()));
        }
    }
}

/// A last word to someone who is not served, if the socket takes it at once.
fn turn_away(stream: &UnixStream, reason: &str) {
    let _ = stream.try_write(format!("{}\n", refused(reason, None)).as_bytes());
}

/// Why a connection ends.
enum End {
    /// The client went away, or cannot be written to.
    Gone,
    /// It did not keep up.
    Slow,
}

struct Client {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    /// Bytes that were read and not yet used.
    read: Vec<u8>,
    events: Option<broadcast::Receiver<Arc<str>>>,
    /// An order that the daemon has not answered. The next line is read afterwards, so answers come in the order of lines.
    pending: Option<Pending>,
    /// This connection holds the push-to-talk key.
    holds: bool,
    shared: Shared,
}

/// What a client waits for.
enum Next {
    Line(Result<Vec<u8>, TooLong>),
    Event(Arc<str>),
    Answer(Value),
}

/// An answer to come.
struct Pending {
    answer: oneshot::Receiver<Value>,
    until: Instant,
    /// Granted, the connection holds the key.
    hold: bool,
}

impl Pending {
    async fn answer(&mut self) -> Value {
        match timeout_at(self.until, &mut self.answer).await {
            Ok(Ok(mut answer)) => {
                if let Some(object) = answer.as_object_mut() {
                    object.entry("ok").or_insert(Value::Bool(true));
                }
                answer
            }
            Ok(Err(_)) => refused("the daemon gave no answer", None),
            Err(_) => refused(format!("no answer within {} s", ANSWER_LIMIT.as_secs()), None),
        }
    }
}

struct TooLong;

impl Client {
    async fn serve(stream: UnixStream, shared: Shared) {
        let (reader, writer) = stream.into_split();
        let mut client = Self { reader, writer, read: Vec::new(), events: None, pending: None, holds: false, shared };
        let end = client.run().await;
        if let Some(mut pending) = client.pending.take().filter(|pending| pending.hold) {
            client.holds |= pending.answer().await["ok"] == true;
        }
        if client.holds {
            // However the holder went, killed included, the key is up.
            if let Ok(mut stop) = client.order(Request::Ptt(PttAction::Stop), false) {
                let _ = stop.answer().await;
            }
        }
        if matches!(end, End::Slow) {
            tracing::warn!("a client that does not read was dropped");
        }
    }

    async fn run(&mut self) -> End {
        loop {
            let next = match self.next().await {
                Ok(next) => next,
                Err(end) => return end,
            };
            let (text, is_last) = match next {
                Next::Event(line) => (line.to_string(), false),
                Next::Answer(answer) => (format!("{answer}\n"), false),
                Next::Line(Ok(line)) => match self.take(&line) {
                    Some(answer) => (format!("{answer}\n"), false),
                    None => continue,
                },
                Next::Line(Err(TooLong)) => {
                    (format!("{}\n", refused(format!("a line has at most {MAX_LINE_BYTES} bytes"), None)), true)
                }
            };
            match timeout(WRITE_LIMIT, self.writer.write_all(text.as_bytes())).await {
                Ok(Ok(())) if is_last => return End::Gone,
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Gone,
                Err(_) => return End::Slow,
            }
        }
    }

    async fn next(&mut self) -> Result<Next, End> {
        let Self { reader, read, events, pending, holds, .. } = self;
        loop {
            if pending.is_none()
                && let Some(line) = take_line(read)
            {
                return Ok(Next::Line(line));
            }
            let mut chunk = [0_u8; 1024];
            let event = async {
                match events.as_mut() {
                    Some(events) => events.recv().await,
                    None => std::future::pending().await,
                }
            };
            let is_free = pending.is_none();
            let answer = async {
                match pending.as_mut() {
                    Some(pending) => (pending.answer().await, pending.hold),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What led to an answer is told before it.
                biased;
                event = event => return match event {
                    Ok(line) => Ok(Next::Event(line)),
                    Err(broadcast::error::RecvError::Lagged(_)) => Err(End::Slow),
                    Err(broadcast::error::RecvError::Closed) => Err(End::Gone),
                },
                (answer, hold) = answer => {
                    *pending = None;
                    *holds |= hold && answer["ok"] == true;
                    return Ok(Next::Answer(answer));
                }
                bytes = reader.read(&mut chunk), if is_free => match bytes {
                    Ok(0) | Err(_) => return Err(End::Gone),
                    Ok(n) => read.extend_from_slice(&chunk[..n]),
                },
            }
        }
    }

    /// Does what a line says: the answer, unless the daemon has yet to give it.
    fn take(&mut self, line: &[u8]) -> Option<Value> {
        let (request, hold) = match parse(line) {
            Err(reason) => return Some(refused(reason, None)),
            Ok(Line::Status) => return Some(self.status()),
            Ok(Line::Watch) => {
                self.events = Some(self.shared.events.subscribe());
                return Some(self.status());
            }
            Ok(Line::Hold) => (Request::Ptt(PttAction::Start), true),
            Ok(Line::Order(request)) => (request, false),
        };
        if matches!(request, Request::Ptt(PttAction::Stop | PttAction::Toggle)) {
            self.holds = false;
        }
        match self.order(request, hold) {
            Ok(pending) => {
                self.pending = Some(pending);
                None
            }
            Err(refusal) => Some(refusal),
        }
    }

    fn status(&self) -> Value {
        let mut answer = json!({"ok": true, "event": "status"});
        for (key, value) in described(&self.shared.seen.borrow()).as_object().into_iter().flatten() {
            answer[key] = value.clone();
        }
        answer
    }

    /// Gives the daemon an order; or the answer, that it takes none.
    fn order(&self, request: Request, hold: bool) -> Result<Pending, Value> {
        let (reply, answer) = oneshot::channel();
        match self.shared.orders.try_send(Order { request, reply }) {
            Ok(()) => Ok(Pending { answer, until: Instant::now() + ANSWER_LIMIT, hold }),
            Err(_) => Err(refused("the daemon is busy or about to stop", None)),
        }
    }
}

/// The next line of what was read, without its end. Empty lines are passed over.
fn take_line(read: &mut Vec<u8>) -> Option<Result<Vec<u8>, TooLong>> {
    loop {
        let Some(end) = read.iter().position(|&b| b == b'\n') else {
            return (read.len() > MAX_LINE_BYTES).then_some(Err(TooLong));
        };
        if end > MAX_LINE_BYTES {
            return Some(Err(TooLong));
        }
        let rest = read.split_off(end + 1);
        let line = std::mem::replace(read, rest);
        let line = line.trim_ascii();
        if !line.is_empty() {
            return Some(Ok(line.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_out_of_what_was_read() {
        let check = |text: &[u8], expected: &[&str], rest: usize| {
            let mut read = text.to_vec();
            let mut found = Vec::new();
            while let Some(line) = take_line(&mut read) {
                match line {
                    Ok(line) => found.push(String::from_utf8_lossy(&line).into_owned()),
                    Err(TooLong) => {
                        found.push("too long".into());
                        break;
                    }
                }
            }
            assert_eq!((found, read.len()), (expected.iter().map(|s| s.to_string()).collect(), rest));
        };
        check(b"", &[], 0);
        check(b"a\nb\n", &["a", "b"], 0);
        check(b"a\r\n\n \nb", &["a"], 1);
        check(&[b'x'; MAX_LINE_BYTES], &[], MAX_LINE_BYTES);
        check(&[b'x'; MAX_LINE_BYTES + 1], &["too long"], MAX_LINE_BYTES + 1);
    }
}
