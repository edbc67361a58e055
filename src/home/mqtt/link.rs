//! The connection to the broker: made, kept, made again; orders published and their devices' answers awaited.
//!
//! Owns the client and all states. Runs as one task on the thread `mqtt`, beside a second one that only pumps the
//! library's event loop, because that may not be interrupted. Every connection has a client of its own, which is thrown
//! away with it: what was queued for a broken connection is never published on the next one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    SubscribeFilter, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::announce::{About, availability, discovery, mute_set, values};
use super::thing::{ThingConfig, assumed, came_true};
use super::{MqttConfig, Request, Role, View};
use crate::home::device::{Fault, Health, Order, State};

/// First pause after a broken connection; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// A connection that held for so long was a good one: the pauses begin anew.
const GOOD: Duration = Duration::from_secs(10);
/// A broker that is silent for twice this is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A connection must be made in this time, in seconds.
const CONNECT_S: u64 = 3;
/// Largest packet, in bytes.
const MAX_PACKET_BYTES: usize = 1_000_000;
/// Most packets that wait for the library: what a connection begins with, and orders.
const MAX_PACKETS: usize = 64;
/// Most events that wait for this task. When it is full, the pump reads no more from the network.
const MAX_EVENTS: usize = 64;
/// Most orders under way.
const MAX_WAITING: usize = 32;

/// Guests of this process so far.
static GUESTS: AtomicU32 = AtomicU32::new(0);

/// How to log in.
pub(super) struct Login {
    pub(super) host: String,
    pub(super) password: String,
    /// Whom to trust, for an encrypted connection.
    pub(super) trust: Option<Arc<ClientConfig>>,
    pub(super) role: Role,
}

/// An order that was published.
struct Waiting {
    number: u64,
    device: usize,
    order: Order,
    answer: oneshot::Sender<Result<State, Fault>>,
    until: Instant,
    /// The broker has taken it.
    taken: bool,
    /// The device has told something since.
    heard: bool,
}

/// Why a connection ended.
enum End {
    /// Nobody holds the handle any more.
    Closed,
    /// The broker does not want us.
    Unauthorised(String),
    /// Anything else.
    Broken(String),
}

/// One connection.
struct Session {
    client: AsyncClient,
    pump: JoinHandle<()>,
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    /// Numbers of the orders, or none for other messages, in the order in which they were given to the library.
    given: VecDeque<Option<u64>>,
    /// By packet identifier.
    sent: HashMap<u16, u64>,
    /// Its subscriptions are made.
    is_ready: bool,
    /// What hearth's own entities show there.
    shown: Vec<(String, String)>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// The state of the thread.
pub(super) struct Link {
    config: MqttConfig,
    login: Login,
    things: Vec<ThingConfig>,
    requests: mpsc::Receiver<Request>,
    view: watch::Sender<View>,
    about: watch::Receiver<About>,
    mute: mpsc::Sender<bool>,
    waiting: Vec<Waiting>,
    orders: u64,
}

impl Link {
    pub(super) fn new(
        config: MqttConfig,
        login: Login,
        requests: mpsc::Receiver<Request>,
        view: watch::Sender<View>,
        about: watch::Receiver<About>,
        mute: mpsc::Sender<bool>,
    ) -> Self {
        let things = config.device.iter().cloned().map(ThingConfig::completed).collect();
        Self { config, login, things, requests, view, about, mute, waiting: Vec::new(), orders: 0 }
    }

    /// Connects again and again, until the last handle is gone.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut is_told = false;
        loop {
            let began = Instant::now();
            let end = self.session().await;
            let was_ready = self.view.borrow().health == Health::Ready;
            let health = match end {
                End::Closed => return,
                End::Unauthorised(reason) => {
                    tracing::error!(reason, "the MQTT broker refuses the login; it is not tried again");
                    self.fail_all("the broker refuses the login");
                    self.view.send_modify(|view| view.health = Health::Unauthorised(reason.clone()));
                    return self.refuse(|| Fault::Unauthorised(reason.clone()), None).await;
                }
                End::Broken(reason) => reason,
            };
            if was_ready || !is_told {
                tracing::error!(reason = health, "no connection to the MQTT broker; trying again");
                is_told = true;
            }
            self.fail_all("the connection to the broker broke");
            self.view.send_modify(|view| view.health = Health::Connecting(health.clone()));
            pause = if began.elapsed() > GOOD { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
            self.refuse(|| Fault::Unreachable(health.clone()), Some(Instant::now() + pause)).await;
            if self.requests.is_closed() {
                return;
            }
        }
    }

    /// Refuses orders until that time, or until no more can come.
    async fn refuse(&mut self, fault: impl Fn() -> Fault, until: Option<Instant>) {
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    // Whoever does not wait any more needs no answer.
                    Some(request) => drop(request.answer.send(Err(fault()))),
                    None => return,
                },
                () = sleep_until(until.unwrap_or(far)) => return,
            }
        }
    }

    /// Reports the orders under way as not confirmed.
    fn fail_all(&mut self, reason: &str) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.answer.send(Err(Fault::Unconfirmed(reason.to_owned())));
        }
    }

    fn connect(&self) -> Session {
        let (topic, resident) = (&self.config.topic, self.login.role == Role::Resident);
        let mut name = topic.replace('/', "_");
        if !resident {
            // A broker lets go of a client when another of its name comes.
            let guest = GUESTS.fetch_add(1, Ordering::Relaxed);
            name.push_str(&format!("_guest_{}_{guest}", std::process::id()));
        }
        let mut options = MqttOptions::new(name, &self.login.host, self.config.port);
        options.set_clean_session(true).set_keep_alive(KEEP_ALIVE);
        options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        if resident {
            options.set_last_will(LastWill::new(availability(topic), "offline", QoS::AtLeastOnce, true));
        }
        if let Some(trust) = &self.login.trust {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(trust))));
        }
        if let Some(user) = &self.config.user {
            options.set_credentials(user, &self.login.password);
        }
        let (client, mut eventloop) = AsyncClient::new(options, MAX_PACKETS);
        eventloop.network_options.set_connection_timeout(CONNECT_S);
        // Small messages, each of them waited for.
        eventloop.network_options.set_tcp_nodelay(true);
        let (sender, events) = mpsc::channel(MAX_EVENTS);
        let pump = tokio::spawn(pump(eventloop, sender));
        let (given, sent) = (VecDeque::new(), HashMap::new());
        Session { client, pump, events, given, sent, is_ready: false, shown: Vec::new() }
    }

    /// One connection, from its first packet to its end.
    async fn session(&mut self) -> End {
        let mut session = self.connect();
        loop {
            let deadline = self.waiting.iter().map(|waiting| waiting.until).min();
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                event = session.events.recv() => match event {
                    Some(Ok(event)) => {
                        if let Err(end) = self.event(&mut session, event) {
                            return end;
                        }
                    }
                    Some(Err(error)) => return ended(&error),
                    None => return End::Broken("the library stopped".to_owned()),
                },
                request = self.requests.recv() => match request {
                    Some(request) => self.order(&mut session, request),
                    None => {
                        session.say_goodbye(&self.config.topic, self.login.role).await;
                        return End::Closed;
                    }
                },
                changed = self.about.changed(), if session.is_ready => {
                    if changed.is_ok() {
                        self.show(&mut session);
                    }
                }
                () = sleep_until(deadline.unwrap_or(far)) => {
                    if self.expire() {
                        return End::Broken("the broker did not take an order in time".to_owned());
                    }
                }
            }
        }
    }

    fn event(&mut self, session: &mut Session, event: Event) -> Result<(), End> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => self.begin(session),
            Event::Incoming(Packet::SubAck(_)) => {
                session.is_ready = true;
                tracing::info!(host = self.login.host, "connected to the MQTT broker");
                self.view.send_modify(|view| view.health = Health::Ready);
            }
            Event::Incoming(Packet::Publish(message)) => self.hear(&message.topic, &message.payload),
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some(Some(number)) = session.given.pop_front() {
                    session.sent.insert(packet, number);
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(number) = session.sent.remove(&ack.pkid) {
                    self.taken(number);
                }
            }
            Event::Incoming(Packet::Disconnect) => {
                return Err(End::Broken("the broker closed the connection".to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    /// What every connection begins with: subscriptions, discovery, hearth's own state. What an earlier one heard counts
    /// no more; retained states come again by themselves.
    fn begin(&mut self, session: &mut Session) {
        self.view.send_modify(|view| {
            view.states.clear();
            view.away.clear();
        });
        let topic = self.config.topic.clone();
        let mut topics: Vec<String> = self.things.iter().flat_map(ThingConfig::topics).cloned().collect();
        if self.login.role == Role::Resident {
            session.publish(availability(&topic), "online".to_owned(), true, None);
            for (topic, payload) in discovery(&self.config.discovery, &topic) {
                session.publish(topic, payload, true, None);
            }
            self.show(session);
            topics.push(mute_set(&topic));
        } else {
            // The answer to a subscription says that the connection serves.
            topics.push(availability(&topic));
        }
        topics.sort_unstable();
        topics.dedup();
        let filters = topics.into_iter().map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        if session.client.try_subscribe_many(filters).is_err() {
            tracing::error!("the MQTT subscriptions could not be made");
        }
    }

    fn show(&mut self, session: &mut Session) {
        if self.login.role == Role::Guest {
            return;
        }
        let now = values(&self.config.topic, &self.about.borrow_and_update());
        for value in &now {
            if !session.shown.contains(value) {
                session.publish(value.0.clone(), value.1.clone(), true, None);
            }
        }
        session.shown = now;
    }

    fn hear(&mut self, topic: &str, payload: &[u8]) {
        if topic == mute_set(&self.config.topic) {
            let mute = payload.eq_ignore_ascii_case(b"on");
            if (mute || payload.eq_ignore_ascii_case(b"off")) && self.mute.try_send(mute).is_err() {
                tracing::warn!("nobody takes the mute switch of the MQTT broker");
            }
            return;
        }
        for (index, thing) in self.things.iter().enumerate() {
            if let Some(is_there) = thing.available(topic, payload) {
                self.view.send_modify(|view| {
                    if is_there {
                        view.away.remove(&thing.id())
                    } else {
                        view.away.insert(thing.id())
                    };
                });
            }
            let mut state = self.view.borrow().states.get(&thing.id()).cloned().unwrap_or_default();
            if !thing.hear(topic, payload, &mut state) {
                continue;
            }
            self.view.send_modify(|view| drop(view.states.insert(thing.id(), state)));
            for waiting in self.waiting.iter_mut().filter(|waiting| waiting.device == index) {
                waiting.heard = true;
            }
        }
        self.settle();
    }

    /// Publishes an order, or refuses it at once.
    fn order(&mut self, session: &mut Session, request: Request) {
        let Request { id, order, answer } = request;
        // Dropped by whoever asked: it must not be carried out later.
        if answer.is_closed() {
            return;
        }
        let known = self.view.borrow().states.get(&id).cloned().unwrap_or_default();
        let is_away = self.view.borrow().away.contains(&id);
        let found = self.things.iter().position(|thing| thing.id() == id);
        let command = found.map(|device| (device, self.things[device].command(&order, &known)));
        let fault = match &command {
            _ if !session.is_ready => Some(Fault::Unreachable("not connected to the broker yet".to_owned())),
            _ if self.waiting.len() >= MAX_WAITING => Some(Fault::Unreachable("too many orders at once".to_owned())),
            None => Some(Fault::Unreachable(format!("there is no {id}"))),
            Some(_) if is_away => Some(Fault::Unreachable(format!("{id} is offline"))),
            Some((_, None)) => Some(Fault::Refused(order.cannot().to_owned())),
            Some((_, Some(_))) => None,
        };
        if let Some(fault) = fault {
            let _ = answer.send(Err(fault));
            return;
        }
        let Some((device, Some((command, order)))) = command else { return };
        self.orders += 1;
        if !session.publish(command.topic, command.payload, command.retain, Some(self.orders)) {
            let _ = answer.send(Err(Fault::Unreachable("the connection takes no more".to_owned())));
            return;
        }
        let until = Instant::now() + Duration::from_millis(self.config.timeout_ms);
        let number = self.orders;
        self.waiting.push(Waiting { number, device, order, answer, until, taken: false, heard: false });
    }

    /// The broker has taken an order.
    fn taken(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.number == number) {
            waiting.taken = true;
        }
        self.settle();
    }

    /// Answers the orders that have come true.
    fn settle(&mut self) {
        let (things, view) = (&self.things, &self.view);
        let outcome = |waiting: &Waiting| {
            let thing = &things[waiting.device];
            let known = view.borrow().states.get(&thing.id()).cloned().unwrap_or_default();
            if !thing.tells(&waiting.order) {
                return waiting.taken.then(|| assumed(&waiting.order, &known));
            }
            (waiting.taken && came_true(&waiting.order, &known)).then_some(known)
        };
        let done = self.waiting.extract_if(.., |waiting| outcome(waiting).is_some()).collect::<Vec<_>>();
        for waiting in done {
            if let Some(state) = outcome(&waiting) {
                let _ = waiting.answer.send(Ok(state));
            }
        }
    }

    /// Gives up what is over its time. Says whether the broker itself hangs: then the connection should go, and with it
    /// whatever waits in it.
    fn expire(&mut self) -> bool {
        let now = Instant::now();
        let mut hangs = false;
        for waiting in self.waiting.extract_if(.., |waiting| waiting.until <= now) {
            hangs |= !waiting.taken;
            let fault = if waiting.taken && waiting.heard {
                Fault::Unconfirmed("the device told another state".to_owned())
            } else {
                Fault::TimedOut
            };
            let _ = waiting.answer.send(Err(fault));
        }
        hangs
    }
}

impl Session {
    /// Gives a message to the library; says whether it took it.
    fn publish(&mut self, topic: String, payload: String, retain: bool, number: Option<u64>) -> bool {
        let taken = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok();
        if taken {
            self.given.push_back(number);
        } else {
            tracing::warn!("the MQTT connection takes no more messages");
        }
        taken
    }

    /// Says that hearth is gone, which the last will does not do for one that leaves in good order.
    async fn say_goodbye(&mut self, topic: &str, role: Role) {
        let silent = role == Role::Guest;
        if !self.is_ready || !(silent || self.publish(availability(topic), "offline".to_owned(), true, None)) {
            return;
        }
        let _ = self.client.try_disconnect();
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                () = sleep_until(until) => return,
            }
        }
    }
}

/// Runs the library's event loop until the connection ends.
async fn pump(mut eventloop: EventLoop, events: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = eventloop.poll().await;
        let is_over = event.is_err();
        if events.send(event).await.is_err() || is_over {
            return;
        }
    }
}

fn ended(error: &ConnectionError) -> End {
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
        ) => End::Unauthorised(format!("{code:?}")),
        other => End::Broken(other.to_string()),
    }
}
