use serde_json::json;

use super::*;

fn entity(state: &str, attributes: Value) -> Entity {
    Entity::added(&json!({"s": state, "a": attributes}))
}

fn refusal(fault: Fault) -> String {
    match fault {
        Fault::Refused(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn orders_become_calls() {
    let check = |id: &str, entity: Entity, order: Order, expected: &str, data: Value| {
        let call = call(id, &entity, &order, Unit::Celsius).unwrap_or_else(|fault| panic!("{id} {order:?}: {fault}"));
        assert_eq!(format!("{}.{}", call.domain, call.service), expected, "{id} {order:?}");
        assert_eq!(Value::Object(call.data), data, "{id} {order:?}");
    };
    let dimmable = |state: &str| entity(state, json!({"supported_color_modes": ["brightness"], "brightness": 127}));
    check("light.a", dimmable("off"), Order::On, "light.turn_on", json!({}));
    check("light.a", dimmable("off"), Order::Off, "light.turn_off", json!({}));
    check("light.a", dimmable("off"), Order::Brightness(30), "light.turn_on", json!({"brightness_pct": 30}));
    check("light.a", dimmable("on"), Order::Brightness(0), "light.turn_off", json!({}));
    check("light.a", dimmable("on"), Order::BrightnessStep(20), "light.turn_on", json!({"brightness_pct": 70}));
    check("light.a", dimmable("on"), Order::BrightnessStep(-80), "light.turn_on", json!({"brightness_pct": 1}));
    check("light.a", dimmable("off"), Order::BrightnessStep(20), "light.turn_on", json!({"brightness_pct": 20}));
    check("light.a", dimmable("off"), Order::BrightnessStep(-20), "light.turn_off", json!({}));
    let colored = || entity("on", json!({"supported_color_modes": ["color_temp", "hs"]}));
    let color = |name: &str| Order::Color(name.to_owned());
    check("light.a", colored(), color("red"), "light.turn_on", json!({"rgb_color": [255, 0, 0]}));
    check("light.a", colored(), color("warm white"), "light.turn_on", json!({"color_temp_kelvin": 2700}));
    let rgb = entity("on", json!({"supported_color_modes": ["rgb"]}));
    check("light.a", rgb, color("white"), "light.turn_on", json!({"rgb_color": [255, 255, 255]}));
    // A light that has not yet said anything is tried.
    check("light.a", entity("unknown", json!({})), Order::On, "light.turn_on", json!({}));
    check("input_boolean.a", entity("off", json!({})), Order::On, "input_boolean.turn_on", json!({}));
    let cover = || entity("open", json!({"supported_features": 15, "current_position": 50}));
    check("cover.a", cover(), Order::Open, "cover.open_cover", json!({}));
    check("cover.a", cover(), Order::Position(30), "cover.set_cover_position", json!({"position": 30}));
    check("cover.a", cover(), Order::Stop, "cover.stop_cover", json!({}));
    check("lock.a", entity("locked", json!({})), Order::Unlock, "lock.unlock", json!({}));
    let climate =
        || entity("heat", json!({"temperature": 20.0, "min_temp": 7, "max_temp": 28, "supported_features": 1}));
    check("climate.a", climate(), Order::Temperature(21.5), "climate.set_temperature", json!({"temperature": 21.5}));
    check(
        "climate.a",
        climate(),
        Order::TemperatureStep(-1.5),
        "climate.set_temperature",
        json!({"temperature": 18.5}),
    );
    let player = || entity("playing", json!({"volume_level": 0.5, "supported_features": 21565}));
    check("media_player.a", player(), Order::Volume(35), "media_player.volume_set", json!({"volume_level": 0.35}));
    check("media_player.a", player(), Order::VolumeStep(-10), "media_player.volume_set", json!({"volume_level": 0.4}));
    check("media_player.a", player(), Order::Next, "media_player.media_next_track", json!({}));
    check("vacuum.a", entity("docked", json!({})), Order::On, "vacuum.start", json!({}));
    check("vacuum.a", entity("cleaning", json!({})), Order::Dock, "vacuum.return_to_base", json!({}));
    check("scene.a", entity("unknown", json!({})), Order::Activate, "scene.turn_on", json!({}));
    check("script.a", entity("off", json!({})), Order::On, "script.turn_on", json!({}));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let check = |id: &str, entity: Entity, order: Order, expected: &str| {
        let fault = call(id, &entity, &order, Unit::Celsius).expect_err(id);
        assert_eq!(refusal(fault), expected, "{id} {order:?}");
    };
    let plain = || entity("on", json!({"supported_color_modes": ["onoff"]}));
    check("light.a", plain(), Order::Brightness(30), "cannot be dimmed");
    check("light.a", plain(), Order::Color("red".to_owned()), "has no colours");
    check("light.a", plain(), Order::Open, "cannot be opened or closed");
    check("light.a", plain(), Order::Brew("a latte".to_owned()), "makes no drinks");
    let white = entity("on", json!({"supported_color_modes": ["color_temp"]}));
    check("light.a", white, Order::Color("red".to_owned()), "has no colours");
    let hs = entity("on", json!({"supported_color_modes": ["hs"]}));
    check("light.a", hs, Order::Color("ultraviolet".to_owned()), "cannot be turned ultraviolet");
    check(
        "cover.a",
        entity("open", json!({"supported_features": 3})),
        Order::Position(40),
        "cannot be set to a position",
    );
    check("climate.a", entity("off", json!({})), Order::TemperatureStep(1.0), "has no temperature to set");
    let warm = entity("heat", json!({"temperature": 20, "min_temp": 7, "max_temp": 28}));
    check("climate.a", warm, Order::Temperature(80.0), "can only be set to 7 to 28 degrees");
    check("media_player.a", entity("off", json!({})), Order::VolumeStep(10), "has no volume");
    check("media_player.a", entity("on", json!({"supported_features": 4})), Order::Next, "plays nothing");
    check("todo.a", entity("2", json!({})), Order::On, "cannot be switched on or off");
    check("person.a", entity("home", json!({})), Order::On, "cannot be switched on or off");
}

#[test]
fn fahrenheit_goes_out_and_celsius_comes_back() {
    let warm = entity("heat", json!({"temperature": 68, "min_temp": 45, "max_temp": 95}));
    let call = call("climate.a", &warm, &Order::TemperatureStep(1.5), Unit::Fahrenheit).expect("it can");
    assert_eq!(Value::Object(call.data), json!({"temperature": 71.0}));
    let now = entity("heat", json!({"temperature": 71}));
    assert_eq!(progress("climate.a", &call.goal, &warm, &now, Unit::Fahrenheit), Progress::Done);
}

#[test]
fn states_show_how_far_an_order_has_come() {
    let check = |id: &str, order: Order, before: Entity, now: Entity, expected: Progress| {
        let mut now = now;
        now.heard += 1;
        let found = progress(id, &order, &before, &now, Unit::Celsius);
        assert_eq!(found, expected, "{id} {order:?} {before:?} {now:?}");
    };
    use Progress::{Coming, Done, Near, Not};
    let on = |brightness: u8| entity("on", json!({"brightness": brightness}));
    let off = || entity("off", json!({}));
    check("light.a", Order::On, off(), on(3), Done);
    check("light.a", Order::On, off(), off(), Not);
    check("light.a", Order::On, off(), entity("unavailable", json!({})), Not);
    check("light.a", Order::Off, on(3), off(), Done);
    check("light.a", Order::Brightness(30), off(), on(76), Done);
    check("light.a", Order::Brightness(30), off(), on(70), Near);
    check("light.a", Order::Brightness(30), off(), on(255), Not);
    check("light.a", Order::Brightness(30), off(), off(), Not);
    let rgb = |red: u8, green: u8| entity("on", json!({"rgb_color": [red, green, 0]}));
    check("light.a", Order::Color("red".to_owned()), off(), rgb(255, 3), Done);
    check("light.a", Order::Color("red".to_owned()), off(), rgb(3, 255), Not);
    let cover = |state: &str, position: u8| entity(state, json!({"current_position": position}));
    check("cover.a", Order::Open, cover("closed", 0), cover("open", 100), Done);
    check("cover.a", Order::Open, cover("closed", 0), cover("opening", 0), Done);
    check("cover.a", Order::Open, cover("closed", 0), cover("open", 20), Done);
    check("cover.a", Order::Open, cover("open", 40), cover("open", 40), Not);
    check("cover.a", Order::Open, cover("open", 40), cover("closing", 30), Not);
    check("cover.a", Order::Close, cover("open", 40), cover("closing", 30), Done);
    check("cover.a", Order::Position(50), cover("open", 40), cover("open", 48), Done);
    check("cover.a", Order::Position(50), cover("open", 40), cover("open", 53), Near);
    check("cover.a", Order::Close, entity("open", json!({})), entity("open", json!({})), Not);
    check("cover.a", Order::Close, entity("open", json!({})), entity("closed", json!({})), Done);
    check("lock.a", Order::Lock, entity("unlocked", json!({})), entity("locking", json!({})), Coming);
    check("lock.a", Order::Lock, entity("unlocked", json!({})), entity("locked", json!({})), Done);
    check("lock.a", Order::Lock, entity("unlocked", json!({})), entity("jammed", json!({})), Not);
    let set = |target: f64| entity("heat", json!({"temperature": target}));
    check("climate.a", Order::Temperature(21.3), set(20.0), set(21.5), Done);
    check("climate.a", Order::Temperature(21.5), set(20.0), set(22.0), Near);
    check("climate.a", Order::Temperature(21.5), set(20.0), set(20.0), Not);
    check("media_player.a", Order::Pause, entity("playing", json!({})), entity("paused", json!({})), Done);
    check("media_player.a", Order::Next, entity("playing", json!({})), entity("playing", json!({})), Done);
    check("vacuum.a", Order::Dock, entity("cleaning", json!({})), entity("returning", json!({})), Done);
    check("vacuum.a", Order::Stop, entity("cleaning", json!({})), entity("idle", json!({})), Done);
    check("vacuum.a", Order::Stop, entity("cleaning", json!({})), entity("cleaning", json!({})), Not);
    check("script.a", Order::Activate, off(), entity("on", json!({})), Done);
    // Nothing was heard of it.
    let still = off();
    assert_eq!(progress("scene.a", &Order::Activate, &still, &still, Unit::Celsius), Near);
}

#[test]
fn a_cover_on_its_way_is_told_so() {
    let at = |state: &str, position: u8| entity(state, json!({"current_position": position}));
    let check = |order: Order, before: Entity, now: Entity, position: u8, text: Option<&str>| {
        let state = told("cover.a", &order, &before, &now, Unit::Celsius);
        assert_eq!((state.position, state.text.as_deref()), (Some(position), text), "{order:?}");
    };
    check(Order::Open, at("closed", 0), at("open", 20), 20, Some("opening"));
    check(Order::Open, at("closed", 0), at("opening", 0), 0, Some("opening"));
    check(Order::Open, at("closed", 0), at("open", 97), 97, None);
    check(Order::Open, at("closed", 0), at("open", 100), 100, None);
    check(Order::Close, at("open", 90), at("open", 60), 60, Some("closing"));
    check(Order::Position(50), at("open", 100), at("open", 52), 52, None);
}

#[test]
fn the_table_is_sound() {
    for (index, (domain, verb, service, ..)) in SERVICES.iter().enumerate() {
        assert!(!service.contains("toggle"), "{domain} {verb:?}");
        let twice = SERVICES[..index].iter().any(|(other, does, ..)| other == domain && does == verb);
        assert!(!twice, "{domain} {verb:?} stands twice");
    }
    for domain in
        ["light", "switch", "cover", "climate", "lock", "media_player", "scene", "script", "fan", "vacuum", "todo"]
    {
        assert!(serves(domain), "{domain}");
    }
    assert!(!serves("person") && !serves(""));
}
