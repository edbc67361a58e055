//! Devices on an MQTT broker, and hearth itself as Home Assistant sees it there.
//!
//! Owns the description of the devices (`[home.mqtt]`) and [`Mqtt`], the handle that the house uses. The connection lives
//! on a thread of its own, so that it outlasts a single call; messages go there over a bounded queue, and what is
//! known comes back through a watch. An order is published at once or refused, never kept for later: a light must not go
//! on in the night because the broker came back.
//!
//! What a broker cannot tell: whether one that hangs reads an order later, once it goes on. It is reported as failed.

mod announce;
mod link;
mod thing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::HomeError;
use super::device::{Device, Fault, Health, Order, State};
use super::tls::trust;

pub use announce::About;
pub use thing::{Field, FullTemplate, OrderName, Reading, Template, ThingConfig};

/// Most orders that wait for the thread; it takes them in microseconds.
const MAX_QUEUED: usize = 16;
/// What health says until the first connection was tried.
const NOT_YET: &str = "not connected yet";
/// How long an order waits for that: a program may give one as soon as it starts.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Most devices.
const MAX_DEVICES: usize = 500;

/// `[home.mqtt]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// The broker's name or address; without one there is no MQTT.
    pub host: Option<String>,
    /// Its port; with TLS usually 8883.
    pub port: u16,
    /// Is the connection encrypted?
    pub tls: bool,
    /// With TLS: a file with the certificates to trust, in place of those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The name to log in with.
    pub user: Option<String>,
    /// The file that holds the password, in its first line.
    pub password_file: Option<PathBuf>,
    /// Topics of hearth itself begin with this; it is also the name of the client.
    pub topic: String,
    /// Home Assistant's prefix for discovery; empty announces nothing.
    pub discovery: String,
    /// How long a device may take to confirm an order, in ms.
    pub timeout_ms: u64,
    /// The devices.
    pub device: Vec<ThingConfig>,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: 1883,
            tls: false,
            ca_file: None,
            user: None,
            password_file: None,
            topic: "hearth".to_owned(),
            discovery: "homeassistant".to_owned(),
            timeout_ms: 2000,
            device: Vec::new(),
        }
    }
}

impl MqttConfig {
    /// What is wrong with it.
    ///
    /// # Errors
    /// [`HomeError::Handler`], which names the device and the key.
    pub fn check(&self) -> Result<(), HomeError> {
        let wrong = |what: String| Err(HomeError::Handler(format!("mqtt: {what}")));
        if self.device.len() > MAX_DEVICES {
            return wrong(format!("more than {MAX_DEVICES} devices"));
        }
        if !thing::is_topic(&self.topic) || !(self.discovery.is_empty() || thing::is_topic(&self.discovery)) {
            return wrong("topic and discovery are names without + and #".to_owned());
        }
        if !(100..=10_000).contains(&self.timeout_ms) {
            return wrong(format!("timeout_ms is {}, should be 100 to 10000", self.timeout_ms));
        }
        let mut ids = BTreeSet::new();
        for device in &self.device {
            device.check().or_else(|reason| wrong(format!("device {}: {reason}", device.name)))?;
            if !ids.insert(device.id()) {
                return wrong(format!("two devices have the id {}", device.id()));
            }
        }
        Ok(())
    }
}

impl MqttConfig {
    /// Checks the description and reads the files that it names; connects to nothing.
    ///
    /// # Errors
    /// [`HomeError::Handler`] when the description is wrong, names no broker, or a file cannot be read.
    pub fn examine(&self) -> Result<(), HomeError> {
        self.login(Role::Guest).map(drop)
    }

    fn login(&self, role: Role) -> Result<link::Login, HomeError> {
        let wrong = |what: String| HomeError::Handler(format!("mqtt: {what}"));
        self.check()?;
        let Some(host) = self.host.clone() else { return Err(wrong("no host".to_owned())) };
        let password = match &self.password_file {
            None => String::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| wrong(format!("password_file {}: {error}", path.display())))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
        };
        let trust = if self.tls { Some(trust(self.ca_file.as_deref()).map_err(wrong)?) } else { None };
        Ok(link::Login { host, password, trust, role })
    }
}

/// As what hearth connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// As the assistant of this home, which shows itself there.
    Resident,
    /// As a program that looks in.
    Guest,
}

/// What is known of the broker and its devices.
#[derive(Debug, Clone, PartialEq)]
struct View {
    health: Health,
    /// By id; only what was heard since the connection was made.
    states: BTreeMap<String, State>,
    /// Devices that said they are offline.
    away: BTreeSet<String>,
}

/// An order on its way to the thread.
#[derive(Debug)]
struct Request {
    id: String,
    order: Order,
    answer: oneshot::Sender<Result<State, Fault>>,
}

/// The handle on the devices of a broker. Clones are handles to the same; with the last one the connection ends.
#[derive(Debug, Clone)]
pub struct Mqtt {
    devices: Arc<Vec<Device>>,
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<View>,
    about: Arc<watch::Sender<About>>,
    /// Handed over once; a message could not do that, since whoever asks is not there yet.
    mute: Arc<Mutex<Option<mpsc::Receiver<bool>>>>,
    timeout: Duration,
}

impl Mqtt {
    /// Starts the thread that connects and stays connected, and shows hearth there. A broker that is not there is no
    /// error.
    ///
    /// # Errors
    /// [`HomeError::Handler`] when the description is wrong, names no broker, or a file that it names cannot be read.
    pub fn start(config: &MqttConfig) -> Result<Self, HomeError> {
        Self::start_as(config, Role::Resident)
    }

    /// The same for a program that only looks in: the broker hears nothing of it but its orders, and a daemon that is
    /// connected under hearth's own name stays so.
    ///
    /// # Errors
    /// As [`Mqtt::start`].
    pub fn visit(config: &MqttConfig) -> Result<Self, HomeError> {
        Self::start_as(config, Role::Guest)
    }

    fn start_as(config: &MqttConfig, role: Role) -> Result<Self, HomeError> {
        let wrong = |what: String| HomeError::Handler(format!("mqtt: {what}"));
        let login = config.login(role)?;
        let (requests, taken) = mpsc::channel(MAX_QUEUED);
        let (shown, view) = watch::channel(View {
            health: Health::Connecting(NOT_YET.to_owned()),
            states: BTreeMap::new(),
            away: BTreeSet::new(),
        });
        let (about, told) = watch::channel(About::default());
        // What Home Assistant's mute switch asks for: only the last few matter.
        let (mute, muted) = mpsc::channel(4);
        let link = link::Link::new(config.clone(), login, taken, shown, told, mute);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| wrong(format!("no runtime: {error}")))?;
        std::thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn(move || runtime.block_on(link.run()))
            .map_err(|error| wrong(format!("no thread: {error}")))?;
        Ok(Self {
            devices: Arc::new(config.device.iter().map(ThingConfig::device).collect()),
            requests,
            view,
            about: Arc::new(about),
            mute: Arc::new(Mutex::new(Some(muted))),
            timeout: Duration::from_millis(config.timeout_ms),
        })
    }

    /// All devices, as described.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.devices.to_vec()
    }

    /// What was heard of a device since the connection was made.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<State> {
        self.view.borrow().states.get(id).cloned()
    }

    /// Publishes the order and waits until the device's state says that it came true; for a device without such a state,
    /// until the broker has taken it.
    ///
    /// # Errors
    /// When it did not come true in time, or nobody knows. An order that could not be published is never published later.
    pub async fn apply(&self, id: &str, order: &Order) -> Result<State, Fault> {
        let has_tried = |view: &View| view.health != Health::Connecting(NOT_YET.to_owned());
        // Whatever comes of it: the thread knows whether it is connected.
        drop(tokio::time::timeout(FIRST_WAIT, self.view.clone().wait_for(has_tried)).await);
        let (answer, answered) = oneshot::channel();
        let request = Request { id: id.to_owned(), order: order.clone(), answer };
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(Fault::Unreachable("too many orders at once".to_owned()));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
        }
        // The thread answers by then; this is for one that hangs.
        match tokio::time::timeout(self.timeout + Duration::from_millis(500), answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(Fault::TimedOut),
        }
    }

    /// The devices are those of the configuration: always the same.
    #[must_use]
    pub fn version(&self) -> u64 {
        0
    }

    /// Is there a connection, and are its subscriptions made?
    #[must_use]
    pub fn health(&self) -> Health {
        self.view.borrow().health.clone()
    }

    /// Shows hearth's own state on the broker, now and after every reconnection.
    pub fn show(&self, change: impl FnOnce(&mut About)) {
        self.about.send_modify(change);
    }

    /// What is asked for over the broker: microphone off (true) or on. Only the first caller gets it.
    #[must_use]
    pub fn mute_requests(&self) -> Option<mpsc::Receiver<bool>> {
        self.mute.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn gone() -> Fault {
    Fault::Unreachable("the connection's thread has ended".to_owned())
}
