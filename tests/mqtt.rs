//! Devices behind a real broker (mosquitto, started here), with the faults that brokers have (field notes, S16). Without
//! mosquitto on the machine the tests say so and do nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hearth::home::device::{Fault, Health, Order, State};
use hearth::home::mqtt::{Mqtt, MqttConfig};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

const MOSQUITTO: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn until(what: &str, limit_s: u64, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(limit_s), "not within {limit_s} s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A broker that keeps nothing on the disk; killed when dropped.
struct Broker {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Broker {
    /// `None` where there is no mosquitto.
    fn start(port: u16, more: &str) -> Option<Self> {
        let Some(program) = MOSQUITTO.iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: no mosquitto on this machine (scripts/setup installs it)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("mosquitto.conf");
        std::fs::write(&config, format!("listener {port} 127.0.0.1\npersistence false\n{more}\n")).unwrap();
        let mut command = Command::new(program);
        let child = command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let broker = Self { child, port, _dir: dir };
        until("the broker listens", 10, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(broker)
    }

    fn open() -> Option<Self> {
        Self::start(free_port(), "allow_anonymous true")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the test: what it heard, and what it answers.
struct Peer {
    client: Client,
    heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Peer {
    /// `answer` gives the messages that follow one; `(topic, payload, retained)`.
    fn join(
        port: u16,
        topics: &[&str],
        answer: impl Fn(&str, &str) -> Vec<(String, String, bool)> + Send + 'static,
    ) -> Self {
        let name = format!("peer{}", free_port());
        let (client, mut connection) = Client::new(MqttOptions::new(name, "127.0.0.1", port), 100);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let joined = Arc::new(AtomicBool::new(false));
        for topic in topics {
            client.subscribe(*topic, QoS::AtLeastOnce).unwrap();
        }
        if topics.is_empty() {
            joined.store(true, Ordering::Relaxed);
        }
        let (own, list, is_joined) = (client.clone(), Arc::clone(&heard), Arc::clone(&joined));
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => is_joined.store(true, Ordering::Relaxed),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let payload = String::from_utf8_lossy(&message.payload).into_owned();
                        for (topic, payload, retain) in answer(&message.topic, &payload) {
                            own.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
                        }
                        list.lock().unwrap().push((message.topic, payload));
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        until("the peer has joined", 10, || joined.load(Ordering::Relaxed));
        Self { client, heard }
    }

    fn publish(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload).unwrap();
    }

    fn last(&self, topic: &str) -> Option<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().rev().find(|(name, _)| name == topic).map(|(_, payload)| payload.clone())
    }

    fn count(&self, topic: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|(name, _)| name == topic).count()
    }
}

const OPEN: u8 = 0;
/// Connections stay, nothing passes.
const FROZEN: u8 = 1;
/// Connections are cut, new ones too.
const CUT: u8 = 2;

/// Stands between hearth and the broker.
struct Proxy {
    port: u16,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(OPEN));
        let shared = Arc::clone(&mode);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", broker));
                let Some(server) = server.ok().filter(|_| shared.load(Ordering::Relaxed) != CUT) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let mode = Arc::clone(&shared);
                    std::thread::spawn(move || pass(from, to, &mode));
                }
            }
        });
        Self { port, mode }
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match mode.load(Ordering::Relaxed) {
            CUT => break,
            FROZEN => std::thread::sleep(Duration::from_millis(5)),
            _ => match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    // What was read while it froze stays here for ever.
                    let is_open = mode.load(Ordering::Relaxed) == OPEN;
                    while mode.load(Ordering::Relaxed) == FROZEN {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    if !is_open || to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => break,
            },
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn config(port: u16) -> MqttConfig {
    let text = format!(
        r#"
        host = "127.0.0.1"
        port = {port}
        timeout_ms = 1000
        [[device]]
        name = "desk lamp"
        aliases = ["work lamp"]
        room = "desk"
        kind = "lamp"
        command_topic = "z/desk/set"
        state_topic = "z/desk"
        availability_topic = "z/desk/there"
        orders.on = '{{"state":"ON"}}'
        orders.off = '{{"state":"OFF"}}'
        orders.brightness = {{ payload = '{{"brightness":{{value}}}}', max = 254 }}
        states.on = {{ pointer = "/state" }}
        states.brightness = {{ pointer = "/brightness", max = 254 }}
        [[device]]
        name = "bell"
        kind = "bell"
        command_topic = "bell/set"
        [[device]]
        name = "mute plug"
        kind = "plug"
        command_topic = "mute/set"
        state_topic = "mute"
        [[device]]
        name = "stubborn plug"
        kind = "plug"
        command_topic = "stubborn/set"
        state_topic = "stubborn"
        "#
    );
    toml::from_str(&text).unwrap()
}

/// The devices of [`config`]: the lamp does as it is told, one plug says nothing, one stays off.
fn devices(port: u16) -> Peer {
    Peer::join(port, &["z/desk/set", "bell/set", "mute/set", "stubborn/set"], |topic, payload| match topic {
        "z/desk/set" => {
            let state = if payload.contains("brightness") {
                payload.replace('{', r#"{"state":"ON","#)
            } else {
                payload.to_owned()
            };
            vec![("z/desk".to_owned(), state, true)]
        }
        "stubborn/set" => vec![("stubborn".to_owned(), "OFF".to_owned(), true)],
        _ => Vec::new(),
    })
}

fn apply(mqtt: &Mqtt, id: &str, order: Order) -> Result<State, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(mqtt.apply(id, &order))
}

fn ready(mqtt: &Mqtt) {
    until("hearth is connected", 20, || mqtt.health() == Health::Ready);
}

#[test]
fn orders_are_confirmed_by_the_devices() {
    let Some(broker) = Broker::open() else { return };
    let peer = devices(broker.port);
    peer.publish("z/desk", r#"{"state":"OFF","brightness":127}"#);
    let mqtt = Mqtt::start(&config(broker.port)).unwrap();
    ready(&mqtt);
    assert_eq!(mqtt.devices().len(), 4);
    until("the retained state", 5, || mqtt.state("mqtt.desk_lamp").is_some());
    let lamp = |on, brightness| State { on: Some(on), brightness: Some(brightness), ..State::default() };
    assert_eq!(mqtt.state("mqtt.desk_lamp"), Some(lamp(false, 50)));
    let began = Instant::now();
    assert_eq!(apply(&mqtt, "mqtt.desk_lamp", Order::On), Ok(lamp(true, 50)));
    println!("an order took {:.1} ms from call to confirmed state", began.elapsed().as_secs_f64() * 1000.0);
    assert_eq!(apply(&mqtt, "mqtt.desk_lamp", Order::Brightness(40)), Ok(lamp(true, 40)));
    assert_eq!(apply(&mqtt, "mqtt.desk_lamp", Order::BrightnessStep(20)), Ok(lamp(true, 60)));
    assert_eq!(apply(&mqtt, "mqtt.desk_lamp", Order::Off), Ok(lamp(false, 60)));
    assert_eq!(
        apply(&mqtt, "mqtt.desk_lamp", Order::Lock),
        Err(Fault::Refused("cannot be locked or unlocked".to_owned()))
    );
    assert_eq!(apply(&mqtt, "mqtt.bell", Order::On).map(|state| state.on), Ok(Some(true)));
    until("the bell was rung", 5, || peer.last("bell/set").as_deref() == Some("ON"));
    assert_eq!(apply(&mqtt, "mqtt.mute_plug", Order::On), Err(Fault::TimedOut));
    assert!(matches!(apply(&mqtt, "mqtt.stubborn_plug", Order::On), Err(Fault::Unconfirmed(_))));
    assert!(matches!(apply(&mqtt, "mqtt.nothing", Order::On), Err(Fault::Unreachable(_))));
    // One that has only just started is waited for.
    let mut other = config(broker.port);
    other.topic = "other".to_owned();
    assert!(apply(&Mqtt::start(&other).unwrap(), "mqtt.bell", Order::On).is_ok());
    // One that says it is offline is not spoken to.
    peer.publish("z/desk/there", r#"{"state":"offline"}"#);
    let orders = peer.count("z/desk/set");
    until("it is away", 5, || matches!(apply(&mqtt, "mqtt.desk_lamp", Order::Off), Err(Fault::Unreachable(_))));
    peer.publish("z/desk/there", r#"{"state":"online"}"#);
    until("it is back", 5, || apply(&mqtt, "mqtt.desk_lamp", Order::Off).is_ok());
    assert!(peer.count("z/desk/set") > orders);
    assert_eq!(mqtt.health(), Health::Ready);
}

#[test]
fn hearth_shows_itself_and_leaves_in_good_order() {
    let Some(broker) = Broker::open() else { return };
    let watcher = Peer::join(broker.port, &["homeassistant/#", "hearth/#"], |_, _| Vec::new());
    let mqtt = Mqtt::start(&config(broker.port)).unwrap();
    mqtt.show(|about| about.state = "idle".to_owned());
    ready(&mqtt);
    until("its values", 5, || watcher.last("hearth/state").as_deref() == Some("idle"));
    mqtt.show(|about| (about.muted, about.last_action) = (true, "The lamp is on.".to_owned()));
    until("a new value", 5, || watcher.last("hearth/mute").as_deref() == Some("ON"));
    until("another", 5, || watcher.last("hearth/last_action").as_deref() == Some("The lamp is on."));
    assert_eq!(watcher.count("hearth/state"), 1, "only what changed is sent");
    for (component, key) in [("sensor", "state"), ("switch", "mute"), ("sensor", "last_action"), ("sensor", "error")] {
        let text = watcher.last(&format!("homeassistant/{component}/hearth/{key}/config")).unwrap();
        let entity: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(entity["state_topic"], format!("hearth/{key}"));
        assert_eq!(entity["availability_topic"], "hearth/availability");
    }
    let mut requests = mqtt.mute_requests().unwrap();
    assert!(mqtt.mute_requests().is_none());
    watcher.client.publish("hearth/mute/set", QoS::AtLeastOnce, false, "OFF").unwrap();
    watcher.client.publish("hearth/mute/set", QoS::AtLeastOnce, false, "nonsense").unwrap();
    watcher.client.publish("hearth/mute/set", QoS::AtLeastOnce, false, "ON").unwrap();
    let mut asked = Vec::new();
    until("the switch", 5, || {
        asked.extend(requests.try_recv().ok());
        asked == [false, true]
    });
    assert_eq!(watcher.last("hearth/availability").as_deref(), Some("online"));
    drop(mqtt);
    until("it says goodbye", 5, || watcher.last("hearth/availability").as_deref() == Some("offline"));
}

#[test]
fn the_last_will_tells_when_it_dies() {
    let Some(broker) = Broker::open() else { return };
    let proxy = Proxy::start(broker.port);
    let watcher = Peer::join(broker.port, &["hearth/availability"], |_, _| Vec::new());
    let mqtt = Mqtt::start(&config(proxy.port)).unwrap();
    ready(&mqtt);
    proxy.set(CUT);
    until("offline", 10, || watcher.last("hearth/availability").as_deref() == Some("offline"));
    until("hearth knows", 10, || matches!(mqtt.health(), Health::Connecting(_)));
    let began = Instant::now();
    assert!(matches!(apply(&mqtt, "mqtt.bell", Order::On), Err(Fault::Unreachable(_))));
    assert!(began.elapsed() < Duration::from_millis(500), "refused at once");
    proxy.set(OPEN);
    ready(&mqtt);
    until("online", 5, || watcher.last("hearth/availability").as_deref() == Some("online"));
}

/// Field notes, S16: the broker stops in mid-publish and restarts empty.
#[test]
fn the_broker_stops_in_mid_publish_and_restarts_empty() {
    let Some(broker) = Broker::open() else { return };
    let port = broker.port;
    let proxy = Proxy::start(port);
    let first = devices(port);
    let mqtt = Mqtt::start(&config(proxy.port)).unwrap();
    mqtt.show(|about| about.state = "idle".to_owned());
    ready(&mqtt);
    assert!(apply(&mqtt, "mqtt.desk_lamp", Order::On).is_ok());
    // The order goes into a connection through which nothing passes; then the broker is gone.
    proxy.set(FROZEN);
    let began = Instant::now();
    let cut = std::thread::scope(|scope| {
        let order = scope.spawn(|| apply(&mqtt, "mqtt.desk_lamp", Order::Off));
        std::thread::sleep(Duration::from_millis(300));
        drop(broker);
        proxy.set(CUT);
        order.join().unwrap()
    });
    println!("reported after {:.0} ms: {cut:?}", began.elapsed().as_secs_f64() * 1000.0);
    assert!(matches!(cut, Err(Fault::Unconfirmed(_) | Fault::TimedOut)), "{cut:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(first.last("z/desk/set").as_deref(), Some(r#"{"state":"ON"}"#));
    // Orders while it is away fail at once, and are not kept either.
    assert!(matches!(apply(&mqtt, "mqtt.bell", Order::On), Err(Fault::Unreachable(_))));

    let broker = Broker::start(port, "allow_anonymous true").unwrap();
    let second = devices(port);
    let watcher = Peer::join(port, &["homeassistant/#", "hearth/#"], |_, _| Vec::new());
    proxy.set(OPEN);
    let began = Instant::now();
    ready(&mqtt);
    println!("connected again after {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);
    until("discovery", 5, || watcher.last("homeassistant/switch/hearth/mute/config").is_some());
    until("availability", 5, || watcher.last("hearth/availability").as_deref() == Some("online"));
    until("its state", 5, || watcher.last("hearth/state").as_deref() == Some("idle"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((second.count("z/desk/set"), second.count("bell/set")), (0, 0), "nothing was published late");
    assert_eq!(mqtt.state("mqtt.desk_lamp"), None, "the empty broker knows nothing of it");
    // Subscriptions are there again: the device's answer is heard.
    assert_eq!(apply(&mqtt, "mqtt.desk_lamp", Order::Off).map(|state| state.on), Ok(Some(false)));
    drop(broker);
}

#[test]
fn a_broker_that_hangs_is_given_up() {
    let Some(broker) = Broker::open() else { return };
    let proxy = Proxy::start(broker.port);
    let peer = devices(broker.port);
    let mqtt = Mqtt::start(&config(proxy.port)).unwrap();
    ready(&mqtt);
    proxy.set(FROZEN);
    let began = Instant::now();
    assert_eq!(apply(&mqtt, "mqtt.desk_lamp", Order::On), Err(Fault::TimedOut));
    assert!(began.elapsed() < Duration::from_millis(1600));
    until("the connection is given up", 5, || mqtt.health() != Health::Ready);
    proxy.set(CUT);
    std::thread::sleep(Duration::from_millis(100));
    proxy.set(OPEN);
    ready(&mqtt);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(peer.count("z/desk/set"), 0, "the order that failed is not published late");
    assert!(apply(&mqtt, "mqtt.desk_lamp", Order::On).is_ok());
}

#[test]
fn a_refused_login_is_said_once() {
    let Some(broker) = Broker::start(free_port(), "allow_anonymous false") else { return };
    let mqtt = Mqtt::start(&config(broker.port)).unwrap();
    until("it is told", 5, || matches!(mqtt.health(), Health::Unauthorised(_)));
    assert!(matches!(apply(&mqtt, "mqtt.bell", Order::On), Err(Fault::Unauthorised(_))));
}

#[test]
fn mistakes_in_the_description() {
    let check = |change: fn(&mut MqttConfig), expected: &str| {
        let mut config = config(1);
        change(&mut config);
        let error = Mqtt::start(&config).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|config| config.host = None, "no host");
    check(|config| config.topic = "a/#".to_owned(), "topic");
    check(|config| config.timeout_ms = 0, "timeout_ms");
    check(|config| config.device.push(config.device[0].clone()), "two devices have the id mqtt.desk_lamp");
    check(|config| config.password_file = Some("/nowhere".into()), "password_file /nowhere");
}
