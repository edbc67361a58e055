//! What Home Assistant says of an entity, and what that means to the rest of hearth.
//!
//! Pure: JSON in, [`State`] out. Never asks the server and never decides whether an order came true (`services`).

use serde_json::{Map, Value};

use crate::home::device::State;

/// An entity as it was last heard of.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entity {
    /// The state as Home Assistant writes it: `on`, `20.5`, `unavailable`.
    pub(super) state: String,
    /// Everything else about it.
    pub(super) attributes: Map<String, Value>,
    /// Counts what was heard of it.
    pub(super) heard: u64,
}

impl Entity {
    /// From the compressed form of `subscribe_entities`: `{"s": state, "a": attributes}`.
    pub(super) fn added(value: &Value) -> Self {
        let mut entity = Self::default();
        entity.take(value);
        entity
    }

    /// Applies a compressed difference: `{"+": {"s": ..., "a": {...}}, "-": {"a": [names]}}`.
    pub(super) fn change(&mut self, difference: &Value) {
        self.take(&difference["+"]);
        for gone in difference["-"]["a"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.attributes.shift_remove(gone);
        }
    }

    fn take(&mut self, value: &Value) {
        if let Some(state) = value["s"].as_str() {
            state.clone_into(&mut self.state);
        }
        if let Some(attributes) = value["a"].as_object() {
            self.attributes.extend(attributes.clone());
        }
        self.heard += 1;
    }

    /// Is the device behind it away? Home Assistant passes calls to such entities over in silence.
    pub(super) fn is_away(&self) -> bool {
        self.state == "unavailable"
    }

    pub(super) fn number(&self, attribute: &str) -> Option<f64> {
        self.attributes.get(attribute).and_then(Value::as_f64)
    }

    pub(super) fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).and_then(Value::as_str)
    }

    /// The bits of `supported_features`; all of them where the entity does not say.
    pub(super) fn features(&self) -> u64 {
        self.attributes.get("supported_features").and_then(Value::as_u64).unwrap_or(u64::MAX)
    }

    /// Does this light take one of these modes? One that does not say is asked to try.
    pub(super) fn has_mode(&self, modes: &[&str]) -> bool {
        let supported = self.attributes.get("supported_color_modes").and_then(Value::as_array);
        supported.is_none_or(|all| all.iter().filter_map(Value::as_str).any(|mode| modes.contains(&mode)))
    }
}

/// The unit in which this server gives and takes temperatures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Celsius,
    Fahrenheit,
}

impl Unit {
    /// From `unit_system.temperature` of the server's configuration, or a sensor's own unit.
    pub(super) fn named(name: Option<&str>) -> Self {
        if name.is_some_and(|name| name.ends_with('F')) { Self::Fahrenheit } else { Self::Celsius }
    }

    /// To degrees Celsius, rounded to a tenth.
    pub(super) fn to_celsius(self, degrees: f64) -> f64 {
        match self {
            Self::Celsius => degrees,
            Self::Fahrenheit => ((degrees - 32.0) / 1.8 * 10.0).round() / 10.0,
        }
    }

    /// From degrees Celsius; whole degrees Fahrenheit, which is what thermostats take.
    pub(super) fn of_celsius(self, celsius: f64) -> f64 {
        match self {
            Self::Celsius => celsius,
            Self::Fahrenheit => (celsius * 1.8 + 32.0).round(),
        }
    }
}

/// Colours by name, in the order in which they are compared; `cold white` and `warm white` are temperatures of white.
pub(super) const COLORS: [(&str, [u8; 3]); 11] = [
    ("red", [255, 0, 0]),
    ("green", [0, 255, 0]),
    ("blue", [0, 0, 255]),
    ("white", [255, 255, 255]),
    ("yellow", [255, 255, 0]),
    ("orange", [255, 128, 0]),
    ("purple", [160, 0, 255]),
    ("pink", [255, 105, 180]),
    ("turquoise", [0, 255, 213]),
    ("warm white", [255, 186, 107]),
    ("cold white", [230, 236, 255]),
];
/// A white of up to so many kelvin is warm, and one from the second number on cold.
const WHITES_K: [f64; 2] = [3300.0, 5000.0];

/// The domain of an entity id, `light` of `light.kitchen`.
pub(super) fn domain(id: &str) -> &str {
    id.split_once('.').map_or("", |(domain, _)| domain)
}

/// What is known of an entity; `None` when its device is away or has not said anything yet.
pub(super) fn state_of(id: &str, entity: &Entity, unit: Unit) -> Option<State> {
    let domain = domain(id);
    // Scenes and buttons have a time as their state, or none yet, and nothing else to tell.
    let stateless = matches!(domain, "scene" | "script" | "button" | "input_button");
    if entity.is_away() || (entity.state == "unknown" && !stateless) {
        return None;
    }
    let none = State::default();
    let on = Some(entity.state == "on");
    let text = |text: &str| Some(text.to_owned());
    Some(match domain {
        "light" => light(entity),
        "switch" | "input_boolean" | "fan" => State { on, ..none },
        "cover" => cover(entity),
        "lock" => match entity.state.as_str() {
            "locked" => State { locked: Some(true), ..none },
            "unlocked" => State { locked: Some(false), ..none },
            "open" => State { locked: Some(false), text: text("open"), ..none },
            "locking" => State { text: text("being locked"), ..none },
            "unlocking" | "opening" => State { text: text("being unlocked"), ..none },
            other => State { text: text(other), ..none },
        },
        "climate" => State {
            on: Some(entity.state != "off"),
            target_c: entity.number("temperature").map(|degrees| unit.to_celsius(degrees)),
            current_c: entity.number("current_temperature").map(|degrees| unit.to_celsius(degrees)),
            ..none
        },
        "media_player" => State {
            on: Some(!matches!(entity.state.as_str(), "off" | "standby")),
            playing: Some(matches!(entity.state.as_str(), "playing" | "buffering")),
            volume: entity.number("volume_level").map(|level| percent(level * 100.0)),
            ..none
        },
        "vacuum" => State { text: text(vacuum(&entity.state)), ..none },
        "todo" => State { text: Some(items(&entity.state)), ..none },
        "sensor" => sensor(entity, unit),
        "binary_sensor" => binary_sensor(entity),
        "script" if entity.state == "on" => State { text: text("running"), ..none },
        _ => none,
    })
}

fn percent(value: f64) -> u8 {
    // In range and whole: nothing is lost.
    value.clamp(0.0, 100.0).round() as u8
}

fn light(entity: &Entity) -> State {
    // A light that is on is never at 0 percent, however dim.
    let brightness = entity.number("brightness").map(|level| percent((level * 100.0 / 255.0).max(1.0)));
    State { on: Some(entity.state == "on"), brightness, color: color(entity), ..State::default() }
}

/// The name of the nearest colour, for a light that has one.
fn color(entity: &Entity) -> Option<String> {
    let white = |kelvin: f64| match kelvin {
        warm if warm <= WHITES_K[0] => "warm white",
        cold if cold >= WHITES_K[1] => "cold white",
        _ => "white",
    };
    if entity.text("color_mode") == Some("color_temp") {
        return entity.number("color_temp_kelvin").map(|kelvin| white(kelvin).to_owned());
    }
    let rgb: Vec<f64> = entity.attributes.get("rgb_color")?.as_array()?.iter().filter_map(Value::as_f64).collect();
    let [red, green, blue] = rgb[..] else { return None };
    let away = |to: &[u8; 3]| {
        let (r, g, b) = (red - f64::from(to[0]), green - f64::from(to[1]), blue - f64::from(to[2]));
        r * r + g * g + b * b
    };
    let nearest = COLORS.iter().min_by(|a, b| away(&a.1).total_cmp(&away(&b.1)));
    nearest.map(|(name, _)| (*name).to_owned())
}

fn cover(entity: &Entity) -> State {
    let known = entity.number("current_position").map(percent);
    let (end, text) = match entity.state.as_str() {
        "open" => (Some(100), None),
        "closed" => (Some(0), None),
        moving @ ("opening" | "closing") => (None, Some(moving.to_owned())),
        other => (None, Some(other.to_owned())),
    };
    State { position: known.or(end), text, ..State::default() }
}

fn vacuum(state: &str) -> &str {
    match state {
        "returning" => "on its way to the dock",
        "error" => "in trouble",
        "idle" => "stopped",
        other => other,
    }
}

fn items(count: &str) -> String {
    match count {
        "0" => "empty".to_owned(),
        "1" => "one item long".to_owned(),
        more => format!("{more} items long"),
    }
}

fn sensor(entity: &Entity, server: Unit) -> State {
    let measure = entity.text("unit_of_measurement");
    if entity.text("device_class") == Some("temperature") {
        let unit = measure.map_or(server, |measure| Unit::named(Some(measure)));
        return State { current_c: entity.state.parse().ok().map(|d| unit.to_celsius(d)), ..State::default() };
    }
    let text = match measure {
        Some(measure) => format!("{} {measure}", entity.state),
        None => entity.state.clone(),
    };
    State { text: Some(text), ..State::default() }
}

fn binary_sensor(entity: &Entity) -> State {
    let on = entity.state == "on";
    match entity.text("device_class") {
        Some("door" | "window" | "garage_door" | "opening") => {
            State { position: Some(if on { 100 } else { 0 }), ..State::default() }
        }
        // "On" of this class is "unlocked".
        Some("lock") => State { locked: Some(!on), ..State::default() },
        _ => State { on: Some(on), ..State::default() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_of_all_domains() {
        let check = |id: &str, state: &str, attributes: Value, expected: Value| {
            let entity = Entity::added(&json!({"s": state, "a": attributes}));
            let found = state_of(id, &entity, Unit::Celsius);
            assert_eq!(json!(found), expected, "{id} {state}");
        };
        check("light.a", "on", json!({"brightness": 77}), json!({"on": true, "brightness": 30}));
        check("light.a", "on", json!({"brightness": 1}), json!({"on": true, "brightness": 1}));
        check("light.a", "off", json!({"brightness": null}), json!({"on": false}));
        check("light.a", "unavailable", json!({}), json!(null));
        check("light.a", "unknown", json!({}), json!(null));
        let red = json!({"color_mode": "hs", "rgb_color": [250, 10, 0]});
        check("light.a", "on", red, json!({"on": true, "color": "red"}));
        let warm = json!({"color_mode": "color_temp", "color_temp_kelvin": 2700, "rgb_color": [255, 0, 0]});
        check("light.a", "on", warm, json!({"on": true, "color": "warm white"}));
        check("switch.a", "on", json!({}), json!({"on": true}));
        check("fan.a", "off", json!({}), json!({"on": false}));
        check("cover.a", "open", json!({"current_position": 40}), json!({"position": 40}));
        check("cover.a", "open", json!({}), json!({"position": 100}));
        check("cover.a", "closing", json!({}), json!({"text": "closing"}));
        check("cover.a", "closing", json!({"current_position": 40}), json!({"position": 40, "text": "closing"}));
        check("lock.a", "locked", json!({}), json!({"locked": true}));
        check("lock.a", "unlocking", json!({}), json!({"text": "being unlocked"}));
        check("lock.a", "jammed", json!({}), json!({"text": "jammed"}));
        let set = json!({"temperature": 21.5, "current_temperature": 20.0});
        check("climate.a", "heat", set, json!({"on": true, "target_c": 21.5, "current_c": 20.0}));
        let loud = json!({"volume_level": 0.35});
        check("media_player.a", "playing", loud, json!({"on": true, "playing": true, "volume": 35}));
        check("media_player.a", "standby", json!({}), json!({"on": false, "playing": false}));
        check("vacuum.a", "returning", json!({}), json!({"text": "on its way to the dock"}));
        check("todo.a", "2", json!({}), json!({"text": "2 items long"}));
        check("scene.a", "unknown", json!({}), json!({}));
        let outside = json!({"device_class": "temperature", "unit_of_measurement": "°F"});
        check("sensor.a", "68", outside, json!({"current_c": 20.0}));
        check("sensor.a", "45", json!({"unit_of_measurement": "%"}), json!({"text": "45 %"}));
        check("binary_sensor.a", "on", json!({"device_class": "window"}), json!({"position": 100}));
        check("binary_sensor.a", "on", json!({"device_class": "lock"}), json!({"locked": false}));
    }

    #[test]
    fn differences_are_applied() {
        let mut entity =
            Entity::added(&json!({"s": "on", "a": {"brightness": 10, "effect": "x"}, "c": "1", "lc": 1.5}));
        entity.change(&json!({"+": {"a": {"brightness": 20}, "lu": 2.5}, "-": {"a": ["effect"]}}));
        assert_eq!(
            (entity.state.as_str(), &entity.attributes),
            ("on", json!({"brightness": 20}).as_object().expect("an object"))
        );
        entity.change(&json!({"+": {"s": "off"}}));
        assert_eq!((entity.state.as_str(), entity.heard), ("off", 3));
        // What nobody expects changes nothing.
        entity.change(&json!([1, 2]));
        assert_eq!(entity.state, "off");
    }

    #[test]
    fn temperatures_go_both_ways() {
        let check = |unit: Unit, celsius: f64, there: f64| {
            assert!((unit.of_celsius(celsius) - there).abs() < 1e-9, "{unit:?} {celsius}");
            assert!((unit.to_celsius(there) - celsius).abs() < 0.3, "{unit:?} {there}");
        };
        check(Unit::Celsius, 21.5, 21.5);
        check(Unit::Fahrenheit, 20.0, 68.0);
        check(Unit::Fahrenheit, 21.5, 71.0);
        assert_eq!(Unit::named(Some("°F")), Unit::Fahrenheit);
        assert_eq!(Unit::named(None), Unit::Celsius);
    }
}
