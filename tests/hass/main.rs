//! The Home Assistant backend against a real Home Assistant, with real faults between and in the two, and against a
//! server that misbehaves as a real one would not on demand.

#[path = "../certificates/mod.rs"]
mod certificates;
mod declared;
mod fake;
mod faults;
#[path = "../models/mod.rs"]
mod models;
mod proxy;
mod sealed;
mod server;
#[path = "../sound/mod.rs"]
mod sound;
mod speech;

use std::path::Path;
use std::time::{Duration, Instant};

use hearth::home::device::{Device, Fault, Health, Order, State};
use hearth::home::hass::{HomeAssistant, HomeAssistantConfig};
use serde_json::json;

use proxy::Proxy;
use server::{Admin, Server};

/// Nothing that the voice waits for takes longer.
const BOUND: Duration = Duration::from_secs(3);

/// Runs a future as the daemon does.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn start(port: u16, token_file: &Path) -> HomeAssistant {
    let config = HomeAssistantConfig {
        url: Some(format!("http://127.0.0.1:{port}")),
        token_file: Some(token_file.to_path_buf()),
        ca_file: None,
    };
    HomeAssistant::start(&config).expect("the configuration is right")
}

/// Waits until something holds.
async fn until(what: &str, within_s: u64, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(within_s), "{what} did not come within {within_s} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// Applies an order, within the bound.
async fn apply(home: &HomeAssistant, id: &str, order: &Order) -> (Result<State, Fault>, Duration) {
    let begun = Instant::now();
    let result = home.apply(id, order).await;
    let took = begun.elapsed();
    assert!(took < BOUND, "{id} {order:?} took {took:?}: {result:?}");
    (result, took)
}

fn device(home: &HomeAssistant, id: &str) -> Option<Device> {
    home.devices().into_iter().find(|device| device.id == id)
}

/// What is exposed and where it stands.
fn furnish(admin: &mut Admin) {
    let kitchen = admin.area("Kitchen", &["Cooking Corner"]);
    let bedroom = admin.area("Bedroom", &[]);
    for (entity, area) in [
        ("light.kitchen_light", &kitchen),
        ("switch.coffee_machine", &kitchen),
        ("cover.bedroom_blinds", &bedroom),
        ("climate.bedroom_thermostat", &bedroom),
        ("sensor.bedroom_temperature", &bedroom),
    ] {
        admin.update(entity, &json!({"area_id": area}));
    }
    admin.update("light.kitchen_light", &json!({"aliases": ["Big Light"]}));
    let exposed = [
        "light.kitchen_light",
        "light.desk_lamp",
        "light.stubborn_light",
        "light.broken_light",
        "light.away_light",
        "switch.coffee_machine",
        "cover.bedroom_blinds",
        "lock.front_door",
        "climate.bedroom_thermostat",
        "sensor.bedroom_temperature",
        "vacuum.robot",
        "fan.office_fan",
        "media_player.radio",
        "scene.movie_night",
        "script.good_night",
    ];
    admin.expose(&exposed, true);
    admin.expose(&["light.secret_light", "switch.heating", "sun.sun"], false);
    let switches = ["kitchen", "stove", "desk", "plug", "locked", "heating", "cleaning", "playing"];
    let switches: Vec<String> = switches.iter().map(|name| format!("input_boolean.{name}")).collect();
    admin.expose(&switches.iter().map(String::as_str).collect::<Vec<_>>(), false);
}

#[test]
fn a_real_home_assistant() {
    let Some(python) = server::python() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(python, dir.path());
    let mut admin = Admin::new(server.port, &server.onboard());
    server.running(&mut admin);
    furnish(&mut admin);
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, admin.long_lived_token("hearth")).expect("it is written");
    let proxy = Proxy::start(server.port);
    block_on(async {
        let home = start(proxy.port, &token_file);
        let begun = Instant::now();
        assert_eq!(home.ready(Duration::from_secs(10)).await, Health::Ready);
        println!("ready after {} ms", begun.elapsed().as_millis());
        sees_what_is_exposed(&home);
        carries_orders_out(&home, &mut admin).await;
        is_quick(&home).await;
        tells_what_does_not_come_true(&home, &proxy, &mut admin).await;
        follows_the_server(&home, &mut admin).await;
        survives_a_bad_line(&home, &proxy, &mut admin).await;
        admin = survives_a_restart(&home, &mut server, &token_file).await;
        survives_a_revoked_token(&home, &proxy, &mut admin, &token_file).await;
    });
    println!("log of the server: {}", server.log());
}

fn sees_what_is_exposed(home: &HomeAssistant) {
    let check = |id: &str, name: &str, room: Option<&str>, kind: &str| {
        let found = device(home, id).unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!((found.name.as_str(), found.room.as_deref(), found.kind.as_str()), (name, room, kind), "{id}");
    };
    check("light.kitchen_light", "Kitchen Light", Some("Kitchen"), "light");
    check("light.desk_lamp", "Desk Lamp", None, "lamp");
    check("switch.coffee_machine", "Coffee Machine", Some("Kitchen"), "coffee machine");
    check("cover.bedroom_blinds", "Bedroom Blinds", Some("Bedroom"), "blinds");
    check("lock.front_door", "Front Door", None, "lock");
    check("climate.bedroom_thermostat", "Bedroom Thermostat", Some("Bedroom"), "thermostat");
    check("sensor.bedroom_temperature", "Bedroom Temperature", Some("Bedroom"), "thermometer");
    check("vacuum.robot", "Robot", None, "vacuum");
    check("fan.office_fan", "Office Fan", None, "fan");
    check("media_player.radio", "Radio", None, "radio");
    check("scene.movie_night", "Movie Night", None, "scene");
    check("script.good_night", "Good Night", None, "script");
    let light = device(home, "light.kitchen_light").expect("it was there");
    assert_eq!((light.aliases, light.places), (vec!["Big Light".to_owned()], vec!["Cooking Corner".to_owned()]));
    for hidden in ["light.secret_light", "switch.heating", "input_boolean.kitchen", "person.a", "zone.home"] {
        assert_eq!(device(home, hidden), None, "{hidden} is not exposed");
        assert_eq!(home.state(hidden), None, "{hidden} is not exposed");
    }
    assert_eq!(home.state("sensor.bedroom_temperature").and_then(|state| state.current_c), Some(19.5));
    assert_eq!(home.state("light.away_light"), None);
}

async fn carries_orders_out(home: &HomeAssistant, admin: &mut Admin) {
    let none = State::default();
    let light = State { on: Some(true), brightness: Some(40), ..none.clone() };
    let closed = State { position: Some(0), ..none.clone() };
    let open = State { position: Some(100), ..none.clone() };
    let half = State { position: Some(50), ..none.clone() };
    let on = State { on: Some(true), ..none.clone() };
    let off = State { on: Some(false), ..none.clone() };
    let warm = State { target_c: Some(21.5), current_c: Some(19.5), ..off.clone() };
    let cooler = State { target_c: Some(20.5), ..warm.clone() };
    let robot = |text: &str| State { text: Some(text.to_owned()), ..State::default() };
    let radio = State { on: Some(true), playing: Some(true), volume: Some(0), ..none.clone() };
    let loud = State { volume: Some(30), ..radio.clone() };
    let cases = [
        ("light.kitchen_light", Order::Brightness(40), light.clone()),
        ("light.kitchen_light", Order::BrightnessStep(20), State { brightness: Some(60), ..light.clone() }),
        ("light.kitchen_light", Order::On, State { brightness: Some(60), ..light.clone() }),
        ("light.kitchen_light", Order::Brightness(40), light.clone()),
        ("light.desk_lamp", Order::On, on.clone()),
        ("light.desk_lamp", Order::On, on.clone()),
        ("light.desk_lamp", Order::Off, off.clone()),
        ("switch.coffee_machine", Order::On, on.clone()),
        ("fan.office_fan", Order::On, on.clone()),
        ("cover.bedroom_blinds", Order::Open, open),
        ("cover.bedroom_blinds", Order::Position(50), half),
        ("cover.bedroom_blinds", Order::Close, closed),
        ("lock.front_door", Order::Lock, State { locked: Some(true), ..none.clone() }),
        ("lock.front_door", Order::Unlock, State { locked: Some(false), ..none.clone() }),
        ("climate.bedroom_thermostat", Order::Temperature(21.5), warm),
        ("climate.bedroom_thermostat", Order::TemperatureStep(-1.0), cooler),
        ("vacuum.robot", Order::Start, robot("cleaning")),
        ("vacuum.robot", Order::Dock, robot("docked")),
        ("media_player.radio", Order::Play, radio),
        ("media_player.radio", Order::Volume(30), loud),
        ("scene.movie_night", Order::Activate, none.clone()),
        ("script.good_night", Order::Activate, none.clone()),
    ];
    let mut times = Vec::new();
    for (id, order, expected) in &cases {
        let (result, took) = apply(home, id, order).await;
        println!("{id} {order:?}: {} ms", took.as_millis());
        let mut state = result.unwrap_or_else(|fault| panic!("{id} {order:?}: {fault}"));
        // The script may still be running.
        state.text.take_if(|text| text == "running");
        // A light that is off has no brightness to compare.
        assert_eq!(&state, expected, "{id} {order:?}");
        times.push(took);
    }
    times.sort_unstable();
    println!("orders of every kind: median {:?}, longest {:?}", times[times.len() / 2], times[times.len() - 1]);
    // The scene has switched the one off, the script the other.
    assert_eq!(admin.state("light.kitchen_light")["state"], "off");
    assert_eq!(admin.state("fan.office_fan")["state"], "off");
    assert_eq!(admin.state("climate.bedroom_thermostat")["attributes"]["temperature"], 20.5);
}

/// From the call to the new state as the server tells it, when nothing goes wrong.
async fn is_quick(home: &HomeAssistant) {
    let mut times = Vec::new();
    for round in 0..100 {
        let order = if round % 2 == 0 { Order::On } else { Order::Off };
        let (result, took) = apply(home, "light.desk_lamp", &order).await;
        assert_eq!(result.map(|state| state.on), Ok(Some(round % 2 == 0)));
        times.push(took);
    }
    times.sort_unstable();
    let (median, p95, longest) = (times[50], times[94], times[99]);
    println!("from a call to its confirmed state: median {median:.1?}, 95 % within {p95:.1?}, longest {longest:.1?}");
}

async fn tells_what_does_not_come_true(home: &HomeAssistant, proxy: &Proxy, admin: &mut Admin) {
    let before = proxy.sent();
    for (id, order) in [
        ("light.garage_main", Order::On),
        ("light.secret_light", Order::On),
        ("input_boolean.kitchen", Order::On),
        ("", Order::Off),
        ("light.desk_lamp", Order::Open),
        ("light.desk_lamp", Order::Brightness(20)),
        ("light.kitchen_light", Order::Color("red".to_owned())),
        ("climate.bedroom_thermostat", Order::Temperature(80.0)),
        ("sensor.bedroom_temperature", Order::Off),
    ] {
        let (result, took) = apply(home, id, &order).await;
        assert!(matches!(result, Err(Fault::Refused(_))), "{id} {order:?}: {result:?}");
        assert!(took < Duration::from_millis(500), "{id} {order:?} took {took:?}");
    }
    let (result, _) = apply(home, "light.away_light", &Order::On).await;
    assert_eq!(result, Err(Fault::Unreachable("light.away_light is not available".to_owned())));
    assert_eq!(proxy.sent(), before, "none of this reached the server");
    let (result, took) = apply(home, "light.stubborn_light", &Order::On).await;
    assert_eq!(result, Err(Fault::Unconfirmed("light.stubborn_light is off".to_owned())));
    println!("a light that stays off: {} ms", took.as_millis());
    let (result, _) = apply(home, "light.broken_light", &Order::On).await;
    println!("a light whose service fails: {result:?}");
    assert!(result.is_err());
    assert_eq!(admin.state("light.kitchen_light")["state"], "off");
}

async fn follows_the_server(home: &HomeAssistant, admin: &mut Admin) {
    admin.call("input_number", "set_value", "input_number.warmth", json!({"value": 22.5}));
    let degrees = || home.state("sensor.bedroom_temperature").and_then(|state| state.current_c);
    let took = until("the temperature", 3, || degrees() == Some(22.5)).await;
    println!("a state from elsewhere: {} ms", took.as_millis());
    let version = home.version();
    admin.expose(&["light.secret_light"], true);
    let took = until("the light", 5, || device(home, "light.secret_light").is_some()).await;
    println!("an exposed entity: {} ms", took.as_millis());
    assert_ne!(home.version(), version);
    admin.update("light.secret_light", &json!({"name": "Cupboard Light", "aliases": ["Safe"]}));
    let renamed =
        || device(home, "light.secret_light").is_some_and(|d| d.name == "Cupboard Light" && d.aliases == ["Safe"]);
    until("the new name", 5, renamed).await;
    admin.expose(&["light.secret_light"], false);
    until("hiding", 5, || device(home, "light.secret_light").is_none()).await;
    // A new entity, made while all runs.
    admin.ask(json!({"type": "input_boolean/create", "name": "Guest Lamp"}));
    admin.expose(&["input_boolean.guest_lamp"], true);
    until("the new entity", 5, || home.state("input_boolean.guest_lamp").is_some()).await;
    let guest = device(home, "input_boolean.guest_lamp").expect("its state is there");
    assert_eq!((guest.name.as_str(), guest.kind.as_str()), ("Guest Lamp", "lamp"));
    let (result, _) = apply(home, "input_boolean.guest_lamp", &Order::On).await;
    assert_eq!(result.map(|state| state.on), Ok(Some(true)));
    // Renaming the id takes the entity away and brings another.
    admin.update("input_boolean.guest_lamp", &json!({"new_entity_id": "input_boolean.visitor"}));
    until("the new id", 5, || home.state("input_boolean.visitor").is_some()).await;
    assert_eq!(device(home, "input_boolean.guest_lamp"), None);
}

async fn survives_a_bad_line(home: &HomeAssistant, proxy: &Proxy, admin: &mut Admin) {
    let id = "light.desk_lamp";
    // Cut in mid-call: the answer is lost, the order is repeated.
    proxy.deaf(true);
    let order = home.apply(id, &Order::On);
    let cut = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.deaf(false);
        proxy.cut();
    };
    let begun = Instant::now();
    let (result, ()) = tokio::join!(order, cut);
    println!("cut in mid-call: {} ms, {result:?}", begun.elapsed().as_millis());
    assert_eq!(result.map(|state| state.on), Ok(Some(true)));
    // Silence.
    proxy.deaf(true);
    let (result, took) = apply(home, id, &Order::Off).await;
    println!("no answer: {} ms, {result:?}", took.as_millis());
    assert_eq!(result, Err(Fault::TimedOut));
    until("noticing", 3, || home.health() != Health::Ready).await;
    assert_eq!(home.state(id), None, "nobody knows");
    let (result, took) = apply(home, id, &Order::Off).await;
    println!("no connection: {} ms, {result:?}", took.as_millis());
    assert!(matches!(result, Err(Fault::Unreachable(_))), "{result:?}");
    proxy.deaf(false);
    proxy.cut();
    assert_eq!(home.ready(Duration::from_secs(10)).await, Health::Ready);
    let (result, _) = apply(home, id, &Order::Off).await;
    assert_eq!(result.map(|state| state.on), Ok(Some(false)));
    // Turned away at the door, until it opens again.
    proxy.closed(true);
    proxy.cut();
    until("noticing", 3, || home.health() != Health::Ready).await;
    let (result, _) = apply(home, id, &Order::On).await;
    assert!(matches!(result, Err(Fault::Unreachable(_))), "{result:?}");
    proxy.closed(false);
    // An order makes the next attempt come at once.
    let (result, took) = apply(home, id, &Order::On).await;
    println!("an order that connects: {} ms", took.as_millis());
    assert_eq!(result.map(|state| state.on), Ok(Some(true)));
    assert_eq!(admin.state(id)["state"], "on");
}

async fn survives_a_restart(home: &HomeAssistant, server: &mut Server, token_file: &Path) -> Admin {
    server.stop();
    until("noticing", 3, || home.health() != Health::Ready).await;
    let devices = home.devices().len();
    let (result, took) = apply(home, "light.desk_lamp", &Order::Off).await;
    println!("no server: {} ms, {result:?}", took.as_millis());
    assert!(matches!(result, Err(Fault::Unreachable(_))), "{result:?}");
    assert_eq!(home.devices().len(), devices, "what the devices are is still known");
    server.up();
    let begun = Instant::now();
    assert_eq!(home.ready(Duration::from_secs(40)).await, Health::Ready);
    println!("connected again {} ms after the server was up", begun.elapsed().as_millis());
    until("the states", 20, || home.state("light.desk_lamp").is_some() && home.devices().len() == devices).await;
    let (result, _) = apply(home, "light.kitchen_light", &Order::Brightness(70)).await;
    assert_eq!(result.map(|state| state.brightness), Ok(Some(70)));
    let token = std::fs::read_to_string(token_file).expect("it is there");
    Admin::new(server.port, &token)
}

async fn survives_a_revoked_token(home: &HomeAssistant, proxy: &Proxy, admin: &mut Admin, token_file: &Path) {
    // The administrator's own connection goes by a token of its own.
    let own = admin.long_lived_token("administrator");
    let next = admin.long_lived_token("hearth again");
    let mut admin = Admin::new(admin.port, &own);
    admin.revoke("hearth");
    until("being refused", 5, || matches!(home.health(), Health::Unauthorised(_))).await;
    let Health::Unauthorised(message) = home.health() else { unreachable!("it was just now") };
    println!("{message}");
    assert!(!message.contains(std::fs::read_to_string(token_file).expect("it is there").trim()));
    let connections = proxy.connections();
    for _ in 0..5 {
        let (result, _) = apply(home, "light.desk_lamp", &Order::On).await;
        assert!(matches!(result, Err(Fault::Unauthorised(_))), "{result:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(proxy.connections(), connections, "it is not tried again");
    std::fs::write(token_file, next).expect("it is written");
    let took = until("the new token", 15, || home.health() == Health::Ready).await;
    println!("a new token is used after {} ms", took.as_millis());
    let (result, _) = apply(home, "light.desk_lamp", &Order::On).await;
    assert_eq!(result.map(|state| state.on), Ok(Some(true)));
}
