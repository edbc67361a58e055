//! The simulated home through its registry: what each call is answered, and what is on afterwards.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use hearth::dialogue::{Outcome, ToolCall, ToolSpec};
use hearth::home::timers::clock;
use hearth::home::{HomeConfig, SimulatedConfig, schema, simulated_registry};
use serde_json::{Value, json};

const TOOLS: &str = include_str!("fixtures/home/tools.json");

fn config(here: Option<&str>, unreachable: &[&str]) -> HomeConfig {
    let room = |name: &str, kinds: &[&str]| (name.to_owned(), kinds.iter().map(|&kind| kind.to_owned()).collect());
    let simulated = SimulatedConfig {
        rooms: BTreeMap::from([
            room("kitchen", &["light"]),
            room("stove", &["light"]),
            room("desk", &["lamp"]),
            room("living room", &["light", "lamp"]),
            room("office", &["fan"]),
        ]),
        unreachable: unreachable.iter().map(|&id| id.to_owned()).collect(),
        scenes: Vec::new(),
    };
    HomeConfig { here: here.map(str::to_owned), simulated, ..HomeConfig::default() }
}

/// A story of calls with what each is answered, and the ids of what is on at its end.
fn check(config: &HomeConfig, steps: &[(&str, Value, Outcome, &str)], on: &[&str]) {
    check_with(TOOLS, config, steps, on);
}

fn check_with(tools: &str, config: &HomeConfig, steps: &[(&str, Value, Outcome, &str)], on: &[&str]) {
    let tools = schema::parse(tools).unwrap();
    let (registry, home) = simulated_registry(&tools, config, clock()).unwrap();
    for (tool, arguments, outcome, say) in steps {
        let call = ToolCall::new(*tool, arguments.as_object().unwrap().clone());
        let result = registry.call_blocking(&call);
        assert_eq!(result.say.as_deref(), Some(*say), "{tool} {arguments}");
        assert_eq!(result.outcome, *outcome, "{tool} {arguments}");
        assert_eq!(result.name, *tool);
        assert!(result.content.values().all(|value| !value.is_object() && !value.is_array()), "flat");
    }
    let snapshot = home.snapshot();
    let lit: Vec<&str> = snapshot
        .devices
        .iter()
        .filter(|device| device.state.on == Some(true))
        .map(|device| device.id.as_str())
        .collect();
    assert_eq!(lit, on);
}

use Outcome::{Asked, Done, Failed, Refused};

#[test]
fn lights_by_room() {
    let steps = [
        ("turn_on", json!({"kind": "light", "room": "stove"}), Done, "The light over the stove is on."),
        ("turn_on", json!({"kind": "light", "room": "stove"}), Done, "The light over the stove is already on."),
        ("turn_on", json!({"kind": "LIGHT", "room": "Kitchen"}), Done, "The kitchen light is on."),
        ("turn_off", json!({"kind": "light", "room": "kitchen"}), Done, "The kitchen light is off."),
        ("turn_off", json!({"kind": "lights", "room": "kitchen"}), Done, "The kitchen light is already off."),
        ("turn_on", json!({"kind": "lights", "room": "living room"}), Done, "The living room lights are on."),
        ("turn_on", json!({"kind": "lights", "room": "living room"}), Done, "The living room lights are already on."),
        ("turn_on", json!({"kind": "lamp", "room": "desk"}), Done, "The lamp on the desk is on."),
        ("turn_on", json!({"kind": "light", "room": "desk"}), Done, "The lamp on the desk is already on."),
    ];
    check(&config(None, &[]), &steps, &["lamp.desk", "light.living_room", "lamp.living_room", "light.stove"]);
}

#[test]
fn no_room() {
    let steps = [
        (
            "turn_on",
            json!({"kind": "light"}),
            Asked,
            "Which light: the kitchen light, the living room light or the light over the stove?",
        ),
        ("turn_on", json!({"kind": "fan"}), Done, "The office fan is on."),
    ];
    check(&config(None, &[]), &steps, &["fan.office"]);
    let steps = [
        ("turn_on", json!({"kind": "light"}), Done, "The kitchen light is on."),
        ("turn_on", json!({"kind": "lamp"}), Asked, "Which lamp: the lamp on the desk or the living room lamp?"),
    ];
    check(&config(Some("kitchen"), &[]), &steps, &["light.kitchen"]);
    let steps = [
        ("turn_on", json!({"kind": "lights"}), Done, "All lights are on."),
        ("turn_off", json!({"kind": "lights"}), Done, "All lights are off."),
        ("turn_off", json!({"kind": "lights"}), Done, "All lights are already off."),
    ];
    check(&config(Some("kitchen"), &[]), &steps, &[]);
}

#[test]
fn brightness() {
    let kitchen = |percent: Value| json!({"kind": "light", "room": "kitchen", "percent": percent});
    let steps = [
        ("set_brightness", kitchen(json!("40")), Done, "The kitchen light is at 40 percent."),
        ("set_brightness", kitchen(json!(40.0)), Done, "The kitchen light is already at 40 percent."),
        ("set_brightness", kitchen(json!(0)), Done, "The kitchen light is off."),
        ("set_brightness", kitchen(json!(0)), Done, "The kitchen light is already off."),
        ("turn_on", json!({"kind": "light", "room": "kitchen"}), Done, "The kitchen light is on."),
        ("set_brightness", kitchen(json!(40)), Done, "The kitchen light is already at 40 percent."),
        ("set_brightness", kitchen(json!(101)), Refused, "I cannot do that: percent must be between 0 and 100."),
        ("set_brightness", json!({"kind": "fan", "percent": 5}), Refused, "The office fan cannot be dimmed."),
    ];
    check(&config(None, &[]), &steps, &["light.kitchen"]);
}

#[test]
fn what_is_not_there() {
    let steps = [
        ("turn_on", json!({"kind": "light", "room": "garage"}), Refused, "There is no light in the garage."),
        (
            "turn_on",
            json!({"kind": "lamp", "room": "kitchen"}),
            Refused,
            "There is no lamp in the kitchen, only the kitchen light.",
        ),
        ("turn_on", json!({"kind": "light", "room": "moon"}), Refused, "I cannot do that: moon is not a room I know."),
        (
            "turn_on",
            json!({"kind": "lights", "room": "office"}),
            Refused,
            "There are no lights in the office, only the office fan.",
        ),
        ("turn_on", json!({"room": "kitchen"}), Refused, "I cannot do that: turn_on needs the kind."),
        ("open_door", json!({}), Refused, "That is nothing I can do here."),
    ];
    check(&config(Some("kitchen"), &[]), &steps, &[]);
    let steps = [("turn_on", json!({"kind": "lamp"}), Refused, "There is no lamp in this home.")];
    check(&HomeConfig::default(), &steps, &[]);
}

/// S13: success is said only of what was confirmed.
#[test]
fn silent_devices() {
    let steps = [
        ("turn_on", json!({"kind": "lamp", "room": "desk"}), Failed, "The lamp on the desk does not answer."),
        ("turn_on", json!({"kind": "lights"}), Failed, "The lamp on the desk does not answer, the rest are on."),
    ];
    let on = ["light.kitchen", "light.living_room", "lamp.living_room", "light.stove"];
    check(&config(None, &["lamp.desk"]), &steps, &on);
}

#[test]
fn timers_too() {
    let steps = [
        ("set_timer", json!({"minutes": "10", "name": "Pasta"}), Done, "The pasta timer is set for 10 minutes."),
        ("cancel_timer", json!({"name": "egg"}), Refused, "No egg timer is running, but 1 other timer is."),
        ("cancel_timer", json!({}), Done, "The pasta timer is cancelled."),
        ("timer_left", json!({}), Refused, "No timer is running."),
    ];
    check(&config(None, &[]), &steps, &[]);
}

#[test]
fn wrong_homes() {
    let tools = schema::parse(TOOLS).unwrap();
    let check = |rooms: Value, here: Option<&str>, unreachable: &[&str], expected: &str| {
        let simulated = SimulatedConfig {
            rooms: serde_json::from_value(rooms).unwrap(),
            unreachable: unreachable.iter().map(|&id| id.to_owned()).collect(),
            scenes: Vec::new(),
        };
        let config = HomeConfig { here: here.map(str::to_owned), simulated, ..HomeConfig::default() };
        let error = simulated_registry(&tools, &config, clock()).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), format!("the simulated home: {expected}"));
    };
    check(
        json!({"den": ["light", "light"]}),
        None,
        &[],
        "a room may have one device of each kind, and a scene one name",
    );
    check(json!({"den": [""]}), None, &[], "rooms and kinds need names");
    check(json!({"den": ["lights"]}), None, &[], "den: lights is a word for several devices, list light and lamp");
    check(json!({"den": ["light"]}), Some("attic"), &[], "here: there is no attic");
    check(json!({}), None, &["light.den"], "unreachable: there is no light.den");
    let odd = [ToolSpec::from_json(&json!({"name": "fly", "description": "Flies."})).unwrap()];
    let error = simulated_registry(&odd, &HomeConfig::default(), clock()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the tool fly is declared"));
}

#[test]
fn devices_by_name() {
    let mut tools: Value = serde_json::from_str(TOOLS).unwrap();
    for tool in tools.as_array_mut().unwrap().iter_mut().take(3) {
        tool["parameters"]["properties"]["name"] = json!({"type": "string"});
        tool["parameters"]["required"] = json!([]);
    }
    let steps = [
        ("turn_on", json!({"name": "the light over the stove"}), Done, "The light over the stove is on."),
        ("turn_on", json!({"name": "light.kitchen"}), Done, "The kitchen light is on."),
        ("turn_on", json!({"name": "Desk Lamp"}), Done, "The lamp on the desk is on."),
        ("turn_off", json!({"name": "stove light", "kind": "fan"}), Done, "The light over the stove is off."),
        (
            "set_brightness",
            json!({"name": "kitchen light", "percent": 30}),
            Done,
            "The kitchen light is at 30 percent.",
        ),
        ("turn_on", json!({"name": "toaster"}), Refused, "There is no toaster in this home."),
        ("turn_on", json!({}), Asked, "Which device do you mean?"),
        ("turn_on", json!({"kind": "fan"}), Done, "The office fan is on."),
    ];
    check_with(&tools.to_string(), &config(None, &[]), &steps, &["lamp.desk", "light.kitchen", "fan.office"]);
}

#[test]
fn the_starters_tools_have_handlers() {
    let tools = schema::parse(include_str!("../onnx/starter/tools.json")).unwrap();
    assert!(simulated_registry(&tools, &config(None, &[]), clock()).is_ok());
}
