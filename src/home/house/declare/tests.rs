use super::*;
use crate::dialogue::ToolSpec;

fn device(name: &str, room: &str, kind: &str) -> Device {
    Device {
        id: format!("{kind}.{name}"),
        name: name.to_owned(),
        room: (!room.is_empty()).then(|| room.to_owned()),
        kind: kind.to_owned(),
        ..Device::default()
    }
}

fn home() -> Vec<Device> {
    vec![
        Device { aliases: vec!["Big Light".to_owned()], ..device("Kitchen Ceiling Light", "Kitchen", "light") },
        device("Kitchen Counter Light", "Kitchen", "light"),
        device("Reading Lamp", "Living Room", "lamp"),
        device("Living Room Blinds", "Living Room", "blinds"),
        Device { range_dc: Some((70, 285)), ..device("Thermostat", "Living Room", "thermostat") },
        device("Front Door", "", "lock"),
        device("Movie Night", "", "scene"),
    ]
}

fn find<'a>(tools: &'a [ToolSpec], name: &str) -> Option<&'a ToolSpec> {
    tools.iter().find(|tool| tool.name == name)
}

/// The values of a parameter.
fn choices(tools: &[ToolSpec], tool: &str, parameter: &str) -> Vec<String> {
    let spec = find(tools, tool).unwrap_or_else(|| panic!("{tool} is not declared"));
    match spec.parameters.iter().find(|known| known.name == parameter).map(|known| &known.kind) {
        Some(Kind::Choice(values)) => values.clone(),
        other => panic!("{tool} {parameter}: {other:?}"),
    }
}

#[test]
fn the_list_of_tools_is_sound_and_shows_no_lists() {
    let tools = tools();
    assert!(tools.len() > 30, "{}", tools.len());
    for tool in &tools {
        let schema = tool.schema.as_ref().map(Value::to_string).unwrap_or_default();
        assert!(!schema.contains("enum") && !schema.contains("required"), "{}: {schema}", tool.name);
    }
}

#[test]
fn a_home_has_its_own_names_places_and_ranges() {
    let tools = narrowed(&tools(), &home(), Degrees::Celsius);
    let has = |tool: &str, parameter: &str, name: &str, expected: bool| {
        let names = choices(&tools, tool, parameter);
        assert_eq!(names.iter().any(|known| known == name), expected, "{tool} {parameter} {name}: {names:?}");
    };
    for name in ["Kitchen Ceiling Light", "Big Light", "Kitchen lights", "light", "Living Room lamp", "Reading Lamp"] {
        has("turn_on", "name", name, true);
        has("set_brightness", "name", name, true);
    }
    has("set_brightness", "name", "Thermostat", false);
    has("turn_on", "name", "Front Door", false);
    has("open", "name", "Living Room Blinds", true);
    has("open", "name", "Living Room blinds", false);
    has("open", "name", "blinds", true);
    has("open", "name", "Kitchen lights", false);
    has("get_state", "name", "Front Door", true);
    has("get_temperature", "room", "Living Room", true);
    has("get_temperature", "room", "Kitchen", false);
    has("set_scene", "scene", "Movie Night", true);
    // Of one lock and one thermostat nobody need say which.
    let unlock = find(&tools, "unlock").expect("there is a lock");
    assert_eq!((unlock.parameters.len(), &unlock.schema), (0, &None));
    let warm = find(&tools, "set_temperature").expect("there is a thermostat");
    let degrees = Parameter { name: "degrees".into(), kind: Kind::Number { min: 7.0, max: 28.5 }, required: true };
    assert_eq!(warm.parameters, [degrees]);
    let fahrenheit = narrowed(&super::tools(), &home(), Degrees::Fahrenheit);
    let warm = find(&fahrenheit, "set_temperature").expect("there is a thermostat");
    assert_eq!(warm.parameters[0].kind, Kind::Number { min: 44.5, max: 83.5 });
    // Nothing that nothing is there for; what needs no house is always there.
    for (tool, expected) in [("media", false), ("vacuum", false), ("set_timer", true), ("set_reminder", true)] {
        assert_eq!(find(&tools, tool).is_some(), expected, "{tool}");
    }
    assert!(find(&narrowed(&super::tools(), &[], Degrees::Celsius), "turn_on").is_none());
}

#[test]
fn names_that_cannot_be_said_are_left_out() {
    let long = "x".repeat(65);
    let odd = ["", " lamp", "two\nlines", long.as_str(), "Lamp", "the lamp", "LAMP"];
    let devices: Vec<Device> = odd.iter().map(|name| device(name, "", "lamp")).collect();
    let tools = narrowed(&tools(), &devices, Degrees::Celsius);
    assert_eq!(choices(&tools, "turn_on", "name"), ["Lamp", "lamps"]);
}

#[test]
fn things_are_listed_by_room() {
    assert_eq!(
        overview(&home()),
        "\nKitchen: Ceiling Light, Counter Light\nLiving Room: Reading Lamp, Blinds, Thermostat\n\
         Elsewhere: Front Door, Movie Night"
    );
    assert_eq!(overview(&[]), "");
    let many: Vec<Device> = (0..90)
        .map(|number| device(&format!("Lamp number {number}"), &format!("Room {}", number % 3), "lamp"))
        .chain([device("Blinds left", "Room 0", "blinds"), device("Blinds right", "Room 0", "blinds")])
        .collect();
    assert_eq!(overview(&many), "\nRoom 0: lamps, blinds\nRoom 1: lamps\nRoom 2: lamps");
    let rooms: Vec<Device> = (0..1000).map(|number| device("Lamp", &format!("Room {number}"), "lamp")).collect();
    let text = overview(&rooms);
    assert!(text.len() <= MAX_LIST_CHARS && text.starts_with("\nRoom 0\nRoom 1\n"), "{text}");
}
