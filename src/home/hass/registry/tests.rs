use serde_json::json;

use super::*;

/// The replies of a 2025.4.4, which has floors and labels.
fn recorded() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/hass/replies.json")).expect("it is JSON")
}

fn replies(recorded: &Value) -> Replies {
    let of = |name: &str| recorded[name].clone();
    Replies {
        exposed: of("homeassistant/expose_entity/list"),
        entries: of("config/entity_registry/get_entries"),
        devices: of("config/device_registry/list"),
        areas: of("config/area_registry/list"),
        floors: of("config/floor_registry/list"),
        labels: of("config/label_registry/list"),
    }
}

fn states(recorded: &Value) -> HashMap<String, Entity> {
    let all = recorded["states"].as_object().expect("an object");
    all.iter().map(|(id, state)| (id.clone(), Entity::added(state))).collect()
}

#[test]
fn registries_are_joined() {
    let recorded = recorded();
    let found = devices(&replies(&recorded), &states(&recorded), Unit::Celsius);
    let expected = json!([
        {"id": "light.kitchen", "name": "Kitchen Light", "aliases": ["Big Light"], "room": "Kitchen",
         "places": ["Cooking Corner", "Ground Floor", "Downstairs", "Evening"], "kind": "light"},
        // In no registry: only the state knows it.
        {"id": "media_player.radio", "name": "Radio", "aliases": [], "room": null, "places": [], "kind": "radio"},
        // Its area and label are those of the machine that it is a part of.
        {"id": "sensor.bedroom_temperature", "name": "Bedroom Temperature", "aliases": [], "room": "Bedroom",
         "places": ["Evening"], "kind": "thermometer"},
    ]);
    assert_eq!(json!(found), expected);
}

#[test]
fn older_servers_have_no_floors_and_labels() {
    let recorded = recorded();
    let older = Replies { floors: Value::Null, labels: Value::Null, ..replies(&recorded) };
    let found = devices(&older, &states(&recorded), Unit::Celsius);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].places, ["Cooking Corner"]);
}

#[test]
fn odd_replies_hide_no_home() {
    let recorded = recorded();
    let mut odd = replies(&recorded);
    odd.entries["light.kitchen"]["aliases"] = json!([null, "Big Light", "", "Big Light"]);
    odd.entries["sensor.bedroom_temperature"]["labels"] = json!("not a list");
    odd.areas.as_array_mut().expect("a list").push(json!({"area_id": 7}));
    let found = devices(&odd, &states(&recorded), Unit::Celsius);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].aliases, ["Big Light"]);
    for nothing in [Value::Null, json!([]), json!("x"), json!({"exposed_entities": {"light.a": null}})] {
        assert!(
            devices(&Replies { exposed: nothing, ..Replies::default() }, &HashMap::new(), Unit::Celsius).is_empty()
        );
    }
}

#[test]
fn kinds_by_class_and_name() {
    let check = |id: &str, class: Option<&str>, name: &str, expected: &str| {
        assert_eq!(kind(id, class, name), expected, "{id} {class:?} {name}");
    };
    check("light.a", None, "Kitchen Light", "light");
    check("light.a", None, "Desk Lamp", "lamp");
    check("light.a", None, "Lampion", "light");
    check("switch.a", None, "Coffee Machine", "coffee machine");
    check("switch.a", Some("outlet"), "Wall", "plug");
    check("switch.a", Some("outlet"), "Floor lamp", "lamp");
    check("input_boolean.a", None, "Guests", "switch");
    check("cover.a", Some("garage"), "Left", "garage door");
    check("cover.a", None, "Bedroom Curtains", "curtains");
    check("cover.a", None, "Bedroom", "blinds");
    check("climate.a", None, "Bedroom", "thermostat");
    check("climate.a", None, "Bathroom Heater", "heater");
    check("media_player.a", Some("tv"), "Radio", "tv");
    check("media_player.a", None, "Kitchen", "speaker");
    check("binary_sensor.a", Some("window"), "Skylight", "window");
    check("binary_sensor.a", Some("motion"), "Hall", "sensor");
    check("sensor.a", Some("temperature"), "Hall", "thermometer");
    check("todo.a", None, "Groceries", "list");
    check("lock.a", None, "Front Door", "lock");
}

#[test]
fn names_as_home_assistant_shows_them() {
    let machine = Machine { name: Some("Hue Bridge".to_owned()), name_by_user: None, ..Machine::default() };
    let entry = |name: Option<&str>, original: Option<&str>| Entry {
        name: name.map(str::to_owned),
        original_name: original.map(str::to_owned),
        ..Entry::default()
    };
    let shown = Entity::added(&json!({"s": "on", "a": {"friendly_name": "Hue Light"}}));
    let check = |entry: Entry, machine: Option<&Machine>, entity: Option<&Entity>, expected: &str| {
        assert_eq!(name("light.tall_lamp", &entry, machine, entity), expected);
    };
    check(entry(Some("Mine"), Some("Light")), Some(&machine), Some(&shown), "Mine");
    check(entry(Some(" "), Some("Light")), Some(&machine), Some(&shown), "Hue Light");
    check(entry(None, Some("Light")), Some(&machine), None, "Hue Bridge Light");
    check(entry(None, Some("Light")), None, None, "Light");
    check(entry(None, None), None, None, "tall lamp");
}
