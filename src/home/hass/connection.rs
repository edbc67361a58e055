//! The task that owns the connection: connects, lets a session serve it, and connects again when it is lost.
//!
//! Runs on the runtime of whoever spawned it and never blocks. Between two attempts there is a pause that doubles up to
//! [`LONGEST`]; a token that is refused is not tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::http::Uri;
use tracing::{error, warn};

use super::Shared;
use super::link::{Link, Lost, Token};
use super::session::Session;
use crate::home::device::{Fault, Health, Order, State};

/// Pauses between attempts to connect, the first and the longest.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// An order that waits makes the next attempt come sooner, but never sooner than this.
const HURRY: Duration = Duration::from_millis(200);
/// A connection that lasted so long was a good one: the next pause is the shortest again.
const LASTING: Duration = Duration::from_secs(10);
/// A new token in the file is noticed this often, while the old one is refused.
const NEW_TOKEN: Duration = Duration::from_secs(10);

/// An order on its way to the task.
pub(super) struct Command {
    pub(super) id: String,
    pub(super) order: Order,
    pub(super) deadline: Instant,
    /// Set once it has gone out to the server.
    pub(super) sent: Arc<AtomicBool>,
    pub(super) reply: oneshot::Sender<Result<State, Fault>>,
}

impl Command {
    pub(super) fn answer(self, answer: Result<State, Fault>) {
        // Who no longer waits needs no answer.
        let _ = self.reply.send(answer);
    }

    fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The task, not yet running.
pub(super) struct Connection {
    pub(super) url: String,
    pub(super) endpoint: Uri,
    /// Whom to trust, for an encrypted connection.
    pub(super) trust: Option<Arc<ClientConfig>>,
    pub(super) token_path: PathBuf,
    pub(super) token: Token,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Orders that wait for a connection.
    pub(super) backlog: Vec<Command>,
}

impl Connection {
    /// Runs until the last handle is gone.
    pub(super) async fn run(mut self) {
        let mut pause = SHORTEST;
        let mut told = false;
        loop {
            let begun = Instant::now();
            let lost = self.session(&mut told).await;
            if begun.elapsed() >= LASTING {
                pause = SHORTEST;
            }
            let reason = match lost {
                Lost::Closed => return,
                Lost::Unauthorised(reason) => {
                    if !self.refused(&reason).await {
                        return;
                    }
                    (pause, told) = (SHORTEST, false);
                    continue;
                }
                Lost::TurnedAway(reason) => {
                    pause = LONGEST;
                    reason
                }
                Lost::Gone(reason) => reason,
            };
            // Once, and not at every attempt.
            if !std::mem::replace(&mut told, true) {
                warn!(url = %self.url, reason, "no connection to Home Assistant; trying again");
            }
            self.shared.set_health(Health::Connecting(reason.clone()));
            self.give_up(&reason);
            match self.pause(pause).await {
                Paused::Full => pause = (pause * 2).min(LONGEST),
                Paused::Cut => {}
                Paused::Closed => return,
            }
        }
    }

    /// Connects and serves until the connection is lost.
    async fn session(&mut self, told: &mut bool) -> Lost {
        let link = match Link::open(&self.endpoint, self.trust.clone(), &self.token).await {
            Ok(link) => link,
            Err(lost) => return lost,
        };
        let mut session = Session::new(self, link);
        let lost = session.live(told).await;
        session.end();
        lost
    }

    /// Answers orders that never went out. Those that did and may go out again wait for the next connection.
    fn give_up(&mut self, reason: &str) {
        let (sent, fresh): (Vec<Command>, Vec<Command>) = self.backlog.drain(..).partition(Command::is_sent);
        self.backlog = sent.into_iter().filter(|command| !command.reply.is_closed()).collect();
        for command in fresh {
            command.answer(Err(Fault::Unreachable(reason.to_owned())));
        }
    }

    /// Waits, less long if an order wants a connection.
    async fn pause(&mut self, pause: Duration) -> Paused {
        let soonest = Instant::now() + HURRY;
        if self.backlog.is_empty() {
            tokio::select! {
                () = sleep(pause) => return Paused::Full,
                command = self.commands.recv() => match command {
                    Some(command) => self.backlog.push(command),
                    None => return Paused::Closed,
                },
            }
        }
        sleep_until(soonest).await;
        Paused::Cut
    }

    /// The server does not take the token: says so once, answers every order so, and tries again only when the file
    /// holds another token. False when nobody holds a handle any more.
    async fn refused(&mut self, reason: &str) -> bool {
        let (url, path) = (&self.url, self.token_path.display());
        let message =
            format!("{url} does not accept the token in {path} ({reason}): make a new one in your profile there");
        error!("Home Assistant at {message}");
        self.shared.set_health(Health::Unauthorised(message.clone()));
        for command in self.backlog.drain(..) {
            command.answer(Err(Fault::Unauthorised(message.clone())));
        }
        loop {
            match timeout(NEW_TOKEN, self.commands.recv()).await {
                Ok(Some(command)) => command.answer(Err(Fault::Unauthorised(message.clone()))),
                Ok(None) => return false,
                Err(_) => {}
            }
            if let Ok(token) = Token::read(&self.token_path)
                && token != self.token
            {
                self.token = token;
                return true;
            }
        }
    }
}

/// How a pause ended.
enum Paused {
    Full,
    /// An order wants a connection.
    Cut,
    /// Nobody holds a handle any more.
    Closed,
}
