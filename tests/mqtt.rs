//! Devices behind a real broker (mosquitto, started here), with the faults that brokers have (field notes, S16). Without
//! mosquitto on the machine the tests say so and do nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod broker;
mod certificates;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use broker::{Broker, Peer, free_port, until};
use hearth::home::device::{Fault, Health, Order, State};
use hearth::home::mqtt::{Mqtt, MqttConfig};
use rumqttc::QoS;

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

#[test]
fn an_encrypted_broker_is_trusted_by_its_certificate() {
    if certificates::are_impossible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates::authority(dir.path(), "stranger");
    certificates::authority(dir.path(), "own");
    let file = |name: &str| dir.path().join(name);
    let settings = format!(
        "user root\nallow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}",
        file("own.crt").display(),
        file("server.crt").display(),
        file("server.key").display()
    );
    let Some(broker) = Broker::start(free_port(), &settings) else { return };
    let encrypted = |ca_file: Option<&str>| MqttConfig { tls: true, ca_file: ca_file.map(file), ..config(broker.port) };
    let mqtt = Mqtt::start(&encrypted(Some("own.crt"))).unwrap();
    ready(&mqtt);
    assert!(apply(&mqtt, "mqtt.bell", Order::On).is_ok());
    // Neither a stranger's certificate nor none at all will do, and nothing is sent in the clear.
    for config in [encrypted(Some("stranger.crt")), encrypted(None), MqttConfig { tls: false, ..encrypted(None) }] {
        let Ok(mqtt) = Mqtt::start(&config) else {
            println!("this system trusts no certificates");
            continue;
        };
        until(
            "it was tried",
            10,
            || matches!(mqtt.health(), Health::Connecting(why) if !why.contains("not connected")),
        );
        println!("{:?}", mqtt.health());
        assert!(matches!(apply(&mqtt, "mqtt.bell", Order::On), Err(Fault::Unreachable(_))));
    }
    let error = Mqtt::start(&encrypted(Some("gone.crt"))).map(drop).unwrap_err().to_string();
    assert!(error.contains("ca_file") && error.contains("gone.crt"), "{error}");
}

/// What a command does leaves no trace of it on the broker, and the daemon's connection as it is.
#[test]
fn a_guest_shows_nothing_and_disturbs_nobody() {
    let Some(broker) = Broker::open() else { return };
    let _peer = devices(broker.port);
    let watcher = Peer::join(broker.port, &["homeassistant/#", "hearth/#"], |_, _| Vec::new());
    let guest = Mqtt::visit(&config(broker.port)).unwrap();
    ready(&guest);
    assert!(apply(&guest, "mqtt.desk_lamp", Order::On).is_ok());
    drop(guest);
    std::thread::sleep(Duration::from_millis(300));
    assert!(watcher.heard.lock().unwrap().is_empty(), "{:?}", watcher.heard.lock().unwrap());
    let daemon = Mqtt::start(&config(broker.port)).unwrap();
    ready(&daemon);
    until("online", 5, || watcher.last("hearth/availability").as_deref() == Some("online"));
    for _ in 0..3 {
        let guest = Mqtt::visit(&config(broker.port)).unwrap();
        ready(&guest);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((daemon.health(), watcher.count("hearth/availability")), (Health::Ready, 1));
}
