//! A home that hangs on Home Assistant, over its WebSocket API.
//!
//! Owns the backend's handle, [`HomeAssistant`]; a task on the runtime of whoever started it owns the connection
//! (`hass/connection.rs`). Only what is exposed to Assist is seen, and only what is seen can be ordered about: an unknown
//! entity never reaches the server. An order is done when the state that the server tells shows it, not when the server
//! has taken it (field notes, S13); without that it fails within [`DEADLINE`] (S17). Nothing is ever toggled, and only
//! what may be done twice is tried again after the connection broke.

mod connection;
mod link;
mod registry;
mod services;
mod session;
mod states;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::device::{Device, Fault, Health, Order, State};
use super::tls::trust;
use connection::{Command, Connection};
use link::{Token, Uri, endpoint, is_encrypted, token_path};
use states::{Entity, Unit, state_of};

/// An order is settled within this time, for better or worse; less than the house gives a device.
pub const DEADLINE: Duration = Duration::from_millis(2600);
/// The task tells by itself what became of an order; it is not waited for much longer.
const GRACE: Duration = Duration::from_millis(100);
/// How often a thread that waits for the first connection looks whether it is there.
const LOOK: Duration = Duration::from_millis(10);
/// Orders that wait for the task.
const QUEUE: usize = 64;

/// `[home.home_assistant]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HomeAssistantConfig {
    /// Where it is, such as `http://homeassistant.local:8123`; if not set, there is none.
    pub url: Option<String>,
    /// A file that holds a long-lived access token of an administrator and nothing else. If not set, systemd's
    /// credential `home-assistant-token`.
    pub token_file: Option<PathBuf>,
    /// For `https://`: a file with the certificates to trust, in place of those that the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// What the configuration says and the files hold that it names.
struct Where {
    url: String,
    endpoint: Uri,
    trust: Option<Arc<ClientConfig>>,
    token_path: PathBuf,
    token: Token,
}

impl HomeAssistantConfig {
    /// Looks at the address and at the files that are named; connects to nothing.
    ///
    /// # Errors
    /// As [`HomeAssistant::start`].
    pub fn examine(&self) -> Result<(), HomeAssistantError> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Where, HomeAssistantError> {
        let url = self.url.clone().unwrap_or_default();
        let endpoint = endpoint(&url).map_err(HomeAssistantError::Url)?;
        let token_path = token_path(self.token_file.as_deref()).ok_or(HomeAssistantError::NoToken)?;
        let token = Token::read(&token_path).map_err(HomeAssistantError::Token)?;
        let encrypted = is_encrypted(&endpoint).then(|| trust(self.ca_file.as_deref()));
        let trust = encrypted.transpose().map_err(HomeAssistantError::Trust)?;
        Ok(Where { url, endpoint, trust, token_path, token })
    }
}

/// Why Home Assistant cannot even be tried: faults of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum HomeAssistantError {
    /// The address is none.
    #[error("home.home_assistant.url: {0}")]
    Url(String),
    /// What to trust cannot be read.
    #[error("home.home_assistant.{0}")]
    Trust(String),
    /// The token cannot be read.
    #[error("the token of Home Assistant: {0}")]
    Token(String),
    /// Nobody says where the token is.
    #[error(
        "no token for Home Assistant: set home.home_assistant.token_file or pass the credential home-assistant-token"
    )]
    NoToken,
    /// The system gives no thread or no runtime.
    #[error("no thread for Home Assistant: {0}")]
    Thread(std::io::Error),
}

/// What the task knows and the handles read.
///
/// A lock and no message, because states are asked for while sentences are made, without waiting; it is held for
/// microseconds and never across an await.
#[derive(Debug)]
struct Shared {
    view: Mutex<View>,
    health: watch::Sender<Health>,
}

#[derive(Debug, Default)]
struct View {
    devices: Arc<Vec<Device>>,
    states: HashMap<String, Entity>,
    unit: Unit,
    version: u64,
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        // Everything in it is replaced whole: what a panic left behind is sound.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how the connection is, to whoever asks or waits.
    fn set_health(&self, health: Health) {
        self.health.send_replace(health);
    }
}

/// Home Assistant as the house sees it. Clones are handles to the same connection, which ends with the last of them.
#[derive(Clone)]
pub struct HomeAssistant {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for HomeAssistant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HomeAssistant").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl HomeAssistant {
    /// Begins to connect. Within a tokio runtime, the connection lives on that and this returns at once;
    /// [`HomeAssistant::ready`] waits. Without one, it lives on a thread of its own and is waited for, for [`DEADLINE`] at
    /// most.
    ///
    /// # Errors
    /// When the address is none or there is no token. A server that is away is no error: it is tried again.
    pub fn start(config: &HomeAssistantConfig) -> Result<Self, HomeAssistantError> {
        let Where { url, endpoint, trust, token_path, token } = config.read()?;
        let connecting = Health::Connecting("not connected yet".to_owned());
        let shared = Arc::new(Shared { view: Mutex::default(), health: watch::Sender::new(connecting) });
        let (commands, orders) = mpsc::channel(QUEUE);
        let connection = Connection {
            url,
            endpoint,
            trust,
            token_path,
            token,
            shared: Arc::clone(&shared),
            commands: orders,
            backlog: Vec::new(),
        };
        let home = Self { shared, commands };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(connection.run())),
            Err(_) => home.run_apart(connection)?,
        }
        Ok(home)
    }

    /// Runs the connection on a thread of its own, which ends with the last handle.
    fn run_apart(&self, connection: Connection) -> Result<(), HomeAssistantError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(HomeAssistantError::Thread)?;
        let run = move || runtime.block_on(connection.run());
        std::thread::Builder::new().name("home-assistant".to_owned()).spawn(run).map_err(HomeAssistantError::Thread)?;
        let begun = Instant::now();
        while matches!(self.health(), Health::Connecting(_)) && begun.elapsed() < DEADLINE {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until it is connected or refused, for so long at most, and gives the health by then.
    pub async fn ready(&self, within: Duration) -> Health {
        let mut health = self.shared.health.subscribe();
        let settled = health.wait_for(|health| !matches!(health, Health::Connecting(_)));
        // Late or not: what matters is how it is now.
        let _ = timeout(within, settled).await;
        self.health()
    }

    /// All devices that are exposed to Assist, sorted by id; the last known ones while there is no connection.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        let devices = Arc::clone(&self.shared.view().devices);
        devices.to_vec()
    }

    /// What the server says of a device now. `None` when it says nothing, and while there is no connection: a state that
    /// may have changed unseen is not told.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<State> {
        let view = self.shared.view();
        state_of(id, view.states.get(id)?, view.unit)
    }

    /// Carries an order out and gives the state that the server then told. Takes [`DEADLINE`] at most; an order whose
    /// future is dropped before it went out never does.
    ///
    /// # Errors
    /// When it did not come true, or nobody knows.
    pub async fn apply(&self, id: &str, order: &Order) -> Result<State, Fault> {
        if let Health::Unauthorised(reason) = self.health() {
            return Err(Fault::Unauthorised(reason));
        }
        if !self.shared.view().devices.iter().any(|device| device.id == id) {
            return Err(match self.health() {
                // Before the first connection nothing is known.
                Health::Connecting(reason) if self.version() == 0 => Fault::Unreachable(reason),
                _ => Fault::Refused("is not there".to_owned()),
            });
        }
        let deadline = Instant::now() + DEADLINE;
        let sent = Arc::new(AtomicBool::new(false));
        let (reply, answer) = oneshot::channel();
        let command = Command { id: id.to_owned(), order: order.clone(), deadline, sent: Arc::clone(&sent), reply };
        if self.commands.try_send(command).is_err() {
            return Err(Fault::Unreachable("too many orders at once, or the connection has ended".to_owned()));
        }
        match timeout_at(deadline + GRACE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if sent.load(Ordering::Relaxed) => Err(Fault::TimedOut),
            Err(_) if sent.load(Ordering::Relaxed) => Err(Fault::TimedOut),
            Ok(Err(_)) | Err(_) => Err(Fault::Unreachable("there is no connection".to_owned())),
        }
    }

    /// Another number whenever the devices are others.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.view().version
    }

    /// How the connection is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }
}
