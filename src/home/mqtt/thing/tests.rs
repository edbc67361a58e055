//! Descriptions, orders and messages in tables.

use super::*;

fn thing(toml: &str) -> ThingConfig {
    let config: ThingConfig = toml::from_str(toml).unwrap();
    config.check().unwrap();
    config.completed()
}

const LAMP: &str = r#"
    name = "desk lamp"
    kind = "lamp"
    command_topic = "z/desk/set"
    state_topic = "z/desk"
    orders.on = '{"state":"ON"}'
    orders.off = '{"state":"OFF"}'
    orders.brightness = { payload = '{"brightness":{value}}', max = 254 }
    orders.color = { topic = "z/desk/color", payload = '{"name":"{value}"}', retain = true }
    states.on = { pointer = "/state" }
    states.brightness = { pointer = "/brightness", max = 254 }
    states.color = { pointer = "/color/name" }
"#;
const BLINDS: &str = r#"
    name = "blinds"
    kind = "blinds"
    command_topic = "b/set"
    orders.position = "{value}"
    orders.stop = "STOP"
    states.position = { topic = "b/position" }
    states.text = { topic = "b/moves" }
"#;
const HEATER: &str = r#"
    name = "heater"
    kind = "heater"
    command_topic = "h/set"
    state_topic = "h"
    orders.temperature = '{"t": {value}}'
    orders.volume = { payload = "{value}", max = 1.0 }
    states.target_c = { pointer = "/t" }
    states.current_c = { pointer = "/now" }
"#;
const PLUG: &str = "name = 'plug'\nkind = 'plug'\ncommand_topic = 'p/set'\nstate_topic = 'p'";

#[test]
fn orders_become_messages() {
    let check = |toml: &str, order: Order, known: &State, expected: Option<(&str, &str, bool)>| {
        let made = thing(toml).command(&order, known);
        let made = made.as_ref().map(|(made, _)| (made.topic.as_str(), made.payload.as_str(), made.retain));
        assert_eq!(made, expected, "{order:?}");
    };
    let none = State::default();
    let half = State { on: Some(true), brightness: Some(50), target_c: Some(20.5), ..State::default() };
    let dark = State { on: Some(false), brightness: Some(50), ..State::default() };
    let desk = |payload| Some(("z/desk/set", payload, false));
    check(PLUG, Order::On, &none, Some(("p/set", "ON", false)));
    check(PLUG, Order::Off, &none, Some(("p/set", "OFF", false)));
    check(PLUG, Order::Brightness(10), &none, None);
    check(LAMP, Order::On, &none, desk(r#"{"state":"ON"}"#));
    check(LAMP, Order::Brightness(40), &none, desk(r#"{"brightness":102}"#));
    check(LAMP, Order::Brightness(0), &none, desk(r#"{"state":"OFF"}"#));
    check(LAMP, Order::BrightnessStep(20), &none, None);
    check(LAMP, Order::BrightnessStep(20), &half, desk(r#"{"brightness":178}"#));
    check(LAMP, Order::BrightnessStep(20), &dark, desk(r#"{"brightness":51}"#));
    check(LAMP, Order::BrightnessStep(-80), &half, desk(r#"{"brightness":3}"#));
    check(LAMP, Order::Color("a\"b{value}".into()), &none, Some(("z/desk/color", r#"{"name":"a\"b{value}"}"#, true)));
    check(LAMP, Order::Lock, &none, None);
    check(BLINDS, Order::Open, &none, Some(("b/set", "100", false)));
    check(BLINDS, Order::Close, &none, Some(("b/set", "0", false)));
    check(BLINDS, Order::Stop, &none, Some(("b/set", "STOP", false)));
    check(HEATER, Order::Temperature(21.5), &none, Some(("h/set", r#"{"t": 21.5}"#, false)));
    check(HEATER, Order::TemperatureStep(-1.0), &half, Some(("h/set", r#"{"t": 19.5}"#, false)));
    check(HEATER, Order::Volume(30), &none, Some(("h/set", "0.30", false)));
}

#[test]
fn messages_become_states() {
    let check = |toml: &str, topic: &str, payload: &str, expected: State| {
        let mut state = State::default();
        let told = thing(toml).hear(topic, payload.as_bytes(), &mut state);
        assert_eq!(state, expected, "{topic} {payload}");
        assert_eq!(told, state != State::default(), "{topic} {payload}");
    };
    let on = |on| State { on: Some(on), ..State::default() };
    check(PLUG, "p", "ON", on(true));
    check(PLUG, "p", " off\n", on(false));
    check(PLUG, "p", "perhaps", State::default());
    check(PLUG, "p", "", State::default());
    check(PLUG, "other", "ON", State::default());
    check(LAMP, "z/desk", r#"{"state":"ON","brightness":127}"#, State { brightness: Some(50), ..on(true) });
    check(
        LAMP,
        "z/desk",
        r#"{"state":"ON","brightness":"x","color":{"name":"red"}}"#,
        State { color: Some("red".into()), ..on(true) },
    );
    check(LAMP, "z/desk", r#"{"brightness":-3}"#, State::default());
    check(LAMP, "z/desk", r#"{"brightness":1e9}"#, State::default());
    check(LAMP, "z/desk", "{\"state\":", State::default());
    check(LAMP, "z/desk", "[[[[", State::default());
    check(BLINDS, "b/position", "closed", State { position: Some(0), ..State::default() });
    check(BLINDS, "b/position", "33.3", State { position: Some(33), ..State::default() });
    check(BLINDS, "b/moves", "Opening", State { text: Some("opening".into()), ..State::default() });
    check(
        HEATER,
        "h",
        r#"{"t":21.5,"now":19}"#,
        State { target_c: Some(21.5), current_c: Some(19.0), ..State::default() },
    );
    check(HEATER, "h", r#"{"t":"NaN"}"#, State::default());
    check(PLUG, "p", &"1".repeat(70_000), State::default());
}

#[test]
fn what_came_true() {
    let check = |order: Order, state: State, expected: bool| {
        assert_eq!(came_true(&order, &state), expected, "{order:?} {state:?}");
        if expected {
            assert!(came_true(&order, &assumed(&order, &State::default())), "{order:?}");
        }
    };
    let none = State::default;
    check(Order::On, none(), false);
    check(Order::On, State { on: Some(true), ..none() }, true);
    check(Order::Off, State { on: Some(true), ..none() }, false);
    check(Order::Brightness(40), State { brightness: Some(41), ..none() }, true);
    check(Order::Brightness(40), State { brightness: Some(40), on: Some(false), ..none() }, false);
    check(Order::Brightness(0), State { on: Some(false), ..none() }, true);
    check(Order::Open, State { position: Some(10), ..none() }, false);
    check(Order::Open, State { position: Some(10), text: Some("opening".into()), ..none() }, true);
    check(Order::Close, State { position: Some(10), text: Some("opening".into()), ..none() }, false);
    check(Order::Lock, State { locked: Some(true), ..none() }, true);
    check(Order::Unlock, State { locked: Some(true), ..none() }, false);
    check(Order::Temperature(21.0), State { target_c: Some(21.2), ..none() }, true);
    check(Order::Color("Red".into()), State { color: Some("red".into()), ..none() }, true);
}

#[test]
fn mistakes_in_a_description() {
    let check = |toml: &str, expected: &str| {
        let config: Result<ThingConfig, _> = toml::from_str(toml);
        let error = config.map_err(|e| e.to_string()).and_then(|config| config.check()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check("kind = 'lamp'", "needs a name and a kind");
    check("name = 'a'\nkind = 'lamp'\ncommand_topic = 'a/#'", "`a/#` is no topic");
    check("name = 'a'\nkind = 'lamp'\norders.on = 'x'", "orders need a command_topic");
    check("name = 'a'\nkind = 'lamp'\nstates.on = {}", "states need a state_topic");
    check("name = 'a'\nkind = 'lamp'\nstates.on = { topic = 'b', max = 0.0 }", "max must be more than 0");
    check("name = 'a'\nkind = 'lamp'\norders.explode = 'x'", "explode");
}

#[test]
fn whether_it_is_there() {
    let thing = thing("name = 'a'\nkind = 'lamp'\navailability_topic = 'a/there'");
    let check = |topic: &str, payload: &str, expected: Option<bool>| {
        assert_eq!(thing.available(topic, payload.as_bytes()), expected, "{topic} {payload}");
    };
    check("a/there", "offline", Some(false));
    check("a/there", "online", Some(true));
    check("a/there", r#"{"state":"offline"}"#, Some(false));
    check("a/there", r#"{"state":"online"}"#, Some(true));
    check("a", "offline", None);
}
