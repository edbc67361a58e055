//! The tools over the simulated home: what each kind of device does and what is said of it, what wants a yes, what is
//! asked back in doubt.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;

use hearth::dialogue::{Consent, Effect, Outcome, ToolCall, ToolSpec};
use hearth::home::device::Backend;
use hearth::home::house::House;
use hearth::home::simulated::Simulated;
use hearth::home::timers::{SharedTimers, clock};
use hearth::home::{HomeConfig, Registry, own, registry, risk};
use serde_json::{Value, json};

use Outcome::{Asked, Done, Failed, Refused};

/// The tools of the house and what they take, all of it optional.
fn tools() -> Vec<ToolSpec> {
    let text = json!({"type": "string"});
    let whole = json!({"type": "integer", "minimum": 0, "maximum": 100});
    let tool = |name: &str, keys: &[&str]| {
        let mut properties = serde_json::Map::new();
        for key in keys {
            let schema = if ["percent", "degrees", "minutes"].contains(key) { &whole } else { &text };
            properties.insert((*key).to_owned(), schema.clone());
        }
        let parameters = json!({"type": "object", "properties": properties});
        ToolSpec::from_json(&json!({"name": name, "description": "", "parameters": parameters})).unwrap()
    };
    vec![
        tool("turn_on", &["kind", "room", "name"]),
        tool("turn_off", &["kind", "room"]),
        tool("set_brightness", &["kind", "room", "percent"]),
        tool("change_brightness", &["kind", "room", "direction"]),
        tool("set_color", &["kind", "room", "color"]),
        tool("open", &["kind", "room"]),
        tool("close", &["kind", "room"]),
        tool("set_position", &["kind", "room", "percent"]),
        tool("lock", &["kind", "room"]),
        tool("unlock", &["kind", "room"]),
        tool("set_temperature", &["degrees", "room"]),
        tool("change_temperature", &["direction", "room"]),
        tool("media", &["action", "room"]),
        tool("vacuum", &["action"]),
        tool("set_scene", &["scene"]),
        tool("get_state", &["kind", "room"]),
        tool("get_temperature", &["room"]),
        tool("orderDrink", &["coffeeDrink", "size", "milkAmount"]),
        tool("set_timer", &["minutes", "name"]),
        tool("get_time", &[]),
    ]
}

fn home(levels: &str, min_margin: f32) -> Registry {
    let config: HomeConfig = toml::from_str(
        r#"
        here = "kitchen"
        [simulated]
        scenes = ["movie"]
        unreachable = ["lamp.attic", "blinds.attic"]
        [simulated.rooms]
        kitchen = ["light", "blinds", "radio", "coffee machine", "window"]
        "living room" = ["light", "lamp", "blinds", "tv", "thermostat", "vacuum"]
        bedroom = ["lamp", "heater", "air conditioner", "curtains"]
        garage = ["garage door", "light"]
        "front door" = ["door"]
        "back door" = ["door"]
        attic = ["lamp", "light", "blinds"]
        "#,
    )
    .unwrap();
    let risk: risk::RiskConfig = toml::from_str(levels).unwrap();
    let house = House::new(vec![Backend::Simulated(Simulated::new(&config.simulated).unwrap())], &config, &risk);
    let timers = SharedTimers::new(clock());
    registry(&tools(), &Arc::new(house), &timers, &own::calendar()).unwrap().careful(&risk, min_margin)
}

fn call(tool: &str, arguments: &Value) -> ToolCall {
    ToolCall::new(tool, arguments.as_object().unwrap().clone())
}

/// A story of calls with what each is answered.
fn check(steps: &[(&str, Value, Outcome, &str)]) {
    let home = home("", 0.0);
    for (tool, arguments, outcome, say) in steps {
        let result = home.call_blocking(&call(tool, arguments));
        assert_eq!(result.say.as_deref(), Some(*say), "{tool} {arguments}");
        assert_eq!(result.outcome, *outcome, "{tool} {arguments}");
    }
}

#[test]
fn light() {
    let kitchen = |key: &str, value: Value| json!({"kind": "light", "room": "kitchen", key: value});
    check(&[
        ("change_brightness", kitchen("direction", json!("down")), Done, "The kitchen light is already off."),
        ("change_brightness", kitchen("direction", json!("up")), Done, "The kitchen light is at 20 percent."),
        ("change_brightness", kitchen("direction", json!("up")), Done, "The kitchen light is at 40 percent."),
        ("set_color", kitchen("color", json!("red")), Done, "The kitchen light is red."),
        ("set_color", json!({"kind": "radio", "color": "red"}), Refused, "The kitchen radio has no colours."),
        (
            "set_brightness",
            json!({"kind": "lights", "room": "attic", "percent": 10}),
            Failed,
            "The attic lamp does not answer, the other is at 10 percent.",
        ),
        ("change_brightness", json!({"kind": "light", "room": "kitchen"}), Asked, "Brighter or dimmer?"),
        ("turn_on", json!({"name": "attic lamp"}), Failed, "The attic lamp does not answer."),
    ]);
}

#[test]
fn covers_and_climate() {
    check(&[
        ("close", json!({"kind": "blinds"}), Done, "The kitchen blinds are already closed."),
        ("open", json!({"kind": "blinds", "room": "living room"}), Done, "The living room blinds are open."),
        ("set_position", json!({"kind": "curtains", "percent": 30}), Done, "The bedroom curtains are 30 percent open."),
        ("open", json!({"kind": "blinds", "room": "attic"}), Failed, "The attic blinds do not answer."),
        ("open", json!({"kind": "light", "room": "attic"}), Refused, "The attic light cannot be opened or closed."),
        ("get_state", json!({"kind": "blinds", "room": "living room"}), Done, "The living room blinds are open."),
        (
            "set_temperature",
            json!({"degrees": 21, "room": "living room"}),
            Done,
            "The living room thermostat is set to 21 degrees.",
        ),
        (
            "set_temperature",
            json!({"degrees": 70, "room": "living room"}),
            Refused,
            "The living room thermostat can only be set to 5 to 30 degrees.",
        ),
        // Heater before air conditioner, in one room.
        (
            "change_temperature",
            json!({"direction": "warmer", "room": "bedroom"}),
            Done,
            "The bedroom heater is set to 21 degrees.",
        ),
        (
            "set_temperature",
            json!({"degrees": 20}),
            Asked,
            "Which thermostat: the bedroom heater, the bedroom air conditioner or the living room thermostat?",
        ),
        ("get_temperature", json!({"room": "bedroom"}), Done, "It is 20.5 degrees in the bedroom."),
        ("get_temperature", json!({}), Asked, "In which room: bedroom or living room?"),
        ("get_temperature", json!({"room": "attic"}), Refused, "There is no thermometer in the attic."),
    ]);
}

#[test]
fn media_vacuum_scene_and_coffee() {
    check(&[
        ("media", json!({"action": "play"}), Done, "The kitchen radio is playing."),
        ("media", json!({"action": "next"}), Done, "The kitchen radio is on the next one."),
        ("media", json!({"action": "pause"}), Done, "The kitchen radio is paused."),
        ("media", json!({"action": "play", "room": "living room"}), Done, "The living room tv is playing."),
        (
            "media",
            json!({"action": "play", "room": "bedroom"}),
            Refused,
            "There is no speaker in the bedroom, only the bedroom lamp, the bedroom heater and the bedroom air conditioner.",
        ),
        ("vacuum", json!({"action": "start"}), Done, "The living room vacuum is cleaning."),
        ("vacuum", json!({"action": "start"}), Done, "The living room vacuum is already cleaning."),
        ("vacuum", json!({"action": "dock"}), Done, "The living room vacuum is docked."),
        ("set_scene", json!({"scene": "movie"}), Done, "The movie scene is set."),
        ("set_scene", json!({"scene": "party"}), Refused, "There is no party in this home."),
        (
            "orderDrink",
            json!({"coffeeDrink": "latte", "size": "large", "milkAmount": "some soy milk"}),
            Done,
            "The kitchen coffee machine is making a large latte with some soy milk.",
        ),
    ]);
}

#[test]
fn states() {
    check(&[
        ("get_state", json!({"kind": "garage door"}), Done, "The garage door is closed."),
        ("get_state", json!({"kind": "door", "room": "front door"}), Done, "The front door is locked."),
        ("get_state", json!({"kind": "lights"}), Done, "All lights are off."),
        ("turn_on", json!({"kind": "light"}), Done, "The kitchen light is on."),
        ("get_state", json!({"kind": "lights"}), Done, "1 of 7 are on: the kitchen light."),
        ("get_state", json!({"kind": "lights", "room": "living room"}), Done, "The living room lights are off."),
        ("get_state", json!({"kind": "light"}), Done, "The kitchen light is on at 100 percent."),
        ("get_state", json!({"kind": "radio"}), Done, "The kitchen radio is off."),
        ("get_state", json!({"kind": "sauna"}), Refused, "There is no sauna in this home."),
    ]);
}

/// S15: which calls are carried out at once, which want a yes, and which ask which.
#[test]
fn risky_calls() {
    let check = |levels: &str, tool: &str, arguments: Value, outcome: Outcome, say: &str| {
        let home = home(levels, 0.0);
        let mut call = call(tool, &arguments);
        let asked = home.call_blocking(&call);
        assert_eq!(asked.say.as_deref(), Some(say), "{tool} {arguments}");
        assert_eq!(asked.outcome, outcome, "{tool} {arguments}");
        let Some(Effect::Confirm(to)) = asked.effect else {
            // What cannot be confirmed is not carried out, whoever agrees.
            call.consent = Consent::Spoken("unlock the front door".to_owned());
            assert_eq!(home.call_blocking(&call).outcome, outcome, "{tool} {arguments}");
            return;
        };
        assert_eq!(say, format!("Shall I {to}?"));
        // A yes to something else is none.
        call.consent = Consent::Spoken("turn on the light".to_owned());
        assert_eq!(home.call_blocking(&call).outcome, Asked, "{tool} {arguments}");
        call.consent = Consent::Spoken(to);
        assert_eq!(home.call_blocking(&call).outcome, Done, "{tool} {arguments}");
    };
    let front = || json!({"room": "front door"});
    check("", "lock", json!({}), Done, "The front door is already locked.");
    check("", "unlock", json!({}), Asked, "Shall I unlock the front door?");
    check("", "unlock", json!({"room": "back door"}), Asked, "Shall I unlock the back door?");
    check("", "unlock", json!({"kind": "doors"}), Asked, "Which door: the back door or the front door?");
    check("", "open", json!({"kind": "garage door"}), Asked, "Shall I open the garage door?");
    check(
        "",
        "set_position",
        json!({"kind": "garage door", "percent": 20}),
        Asked,
        "Shall I set the garage door to 20 percent?",
    );
    check("", "set_position", json!({"kind": "garage door", "percent": 0}), Done, "The garage door is already closed.");
    check("", "close", json!({"kind": "garage door"}), Done, "The garage door is already closed.");
    check("", "open", json!({"kind": "window"}), Asked, "Shall I open the kitchen window?");
    check("", "open", json!({"kind": "blinds"}), Done, "The kitchen blinds are open.");
    check("levels = { door = \"never\" }", "unlock", front(), Refused, "I may not unlock the front door by voice.");
    check("levels = { door = \"never\" }", "lock", front(), Done, "The front door is already locked.");
    check(
        "levels = { \"door.back_door\" = \"free\" }",
        "unlock",
        json!({"room": "back door"}),
        Done,
        "The back door is unlocked.",
    );
    check(
        "levels = { set_scene = \"confirm\" }",
        "set_scene",
        json!({"scene": "movie"}),
        Asked,
        "Shall I set the movie scene?",
    );
    check(
        "levels = { vacuum = \"confirm\" }",
        "vacuum",
        json!({"action": "start"}),
        Asked,
        "Shall I start the living room vacuum?",
    );
}

#[test]
fn a_person_at_the_machine_is_not_asked() {
    let home = home("levels = { \"garage door\" = \"never\" }", 0.0);
    let call = ToolCall { consent: Consent::ByHand, ..call("open", &json!({"kind": "garage door"})) };
    assert_eq!(home.call_blocking(&call).say.as_deref(), Some("The garage door is open."));
}

/// Nothing that comes from outside as text is an agreement.
#[test]
fn a_call_cannot_agree_to_itself() {
    let text = r#"{"name": "unlock", "arguments": {}, "consent": "by_hand", "margin": 3.5}"#;
    let read: ToolCall = serde_json::from_str(text).unwrap();
    assert_eq!((read.consent, read.margin), (Consent::None, Some(3.5)));
}

#[test]
fn a_doubtful_call_is_asked_back() {
    let home = home("", 2.0);
    let check = |tool: &str, arguments: Value, margin: Option<f32>, consent: &str, outcome: Outcome, say: &str| {
        let consent = if consent.is_empty() { Consent::None } else { Consent::Spoken(consent.to_owned()) };
        let result = home.call_blocking(&ToolCall { margin, consent, ..call(tool, &arguments) });
        assert_eq!(result.say.as_deref(), Some(say), "{tool} {margin:?}");
        assert_eq!(result.outcome, outcome, "{tool} {margin:?}");
    };
    let lamp = || json!({"kind": "lamp", "room": "living room"});
    let to = "turn on the living room lamp";
    check("turn_on", lamp(), Some(1.9), "", Asked, "Did you want me to turn on the living room lamp?");
    check("turn_on", lamp(), Some(1.9), to, Refused, "I am not sure that you said yes, so I left it.");
    check("turn_on", lamp(), Some(2.0), to, Done, "The living room lamp is on.");
    check("turn_off", lamp(), Some(2.0), "", Done, "The living room lamp is off.");
    check("turn_on", lamp(), None, "", Done, "The living room lamp is on.");
    check("unlock", json!({}), Some(0.1), "", Asked, "Shall I unlock the front door?");
    check("set_timer", json!({"minutes": 5}), Some(0.1), "", Asked, "Did you want me to set the timer for 5 minutes?");
    check("get_time", json!({}), Some(0.1), "", Asked, "Did you want me to tell the time?");
    // What would ask anyway asks just that.
    check("turn_on", json!({"kind": "blender"}), Some(0.1), "", Refused, "There is no blender in this home.");
}
