//! Names of tools and arguments of calls to orders.
//!
//! Pure. Knows no device; what a call leaves out is asked back.

use serde_json::Value;

use super::Degrees;
use crate::dialogue::{Arguments, ToolResult};
use crate::home::device::Order;
use crate::home::resolve::LIGHTING;
use crate::home::{asked, refused};

/// Percentage points of "brighter" and "dimmer".
const BRIGHTER: i8 = 20;
/// What plays.
const MEDIA: [&str; 6] = ["speaker", "tv", "radio", "music", "media player", "receiver"];
/// What heats and cools.
const CLIMATE: [&str; 3] = ["thermostat", "heater", "air conditioner"];

/// What opens and closes.
const COVERS: [&str; 8] = ["blinds", "curtains", "shutters", "window", "garage door", "gate", "awning", "door"];
/// What locks.
const LOCKS: [&str; 3] = ["lock", "door", "alarm system"];
/// What is set as a whole.
const SCENES: [&str; 2] = ["scene", "script"];

/// What a tool does to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    TurnOn,
    TurnOff,
    SetBrightness,
    ChangeBrightness,
    SetColor,
    Open,
    Close,
    SetPosition,
    Lock,
    Unlock,
    SetTemperature,
    ChangeTemperature,
    Media,
    Vacuum,
    Scene,
    Drink,
    Look,
    Warmth,
}

impl Action {
    /// By the name of the tool.
    pub fn named(tool: &str) -> Option<Self> {
        Some(match tool {
            "turn_on" => Self::TurnOn,
            "turn_off" => Self::TurnOff,
            "set_brightness" => Self::SetBrightness,
            "change_brightness" => Self::ChangeBrightness,
            "set_color" => Self::SetColor,
            "open" => Self::Open,
            "close" => Self::Close,
            "set_position" => Self::SetPosition,
            "lock" => Self::Lock,
            "unlock" => Self::Unlock,
            "set_temperature" => Self::SetTemperature,
            "change_temperature" => Self::ChangeTemperature,
            "media" => Self::Media,
            "vacuum" => Self::Vacuum,
            "set_scene" => Self::Scene,
            "orderDrink" => Self::Drink,
            "get_state" => Self::Look,
            "get_temperature" => Self::Warmth,
            _ => return None,
        })
    }

    /// May it be meant for things of this kind? What cannot be done with a thing itself is left to its backend.
    pub fn takes(self, kind: &str) -> bool {
        match self {
            Self::Look => true,
            Self::TurnOn | Self::TurnOff => {
                let others = [&COVERS[..], &LOCKS, &SCENES, &["sensor", "thermometer", "contact", "list"]];
                !others.iter().any(|kinds| kinds.contains(&kind))
            }
            Self::SetBrightness | Self::ChangeBrightness | Self::SetColor => LIGHTING.contains(&kind),
            Self::Open | Self::Close | Self::SetPosition => COVERS.contains(&kind),
            Self::Warmth => CLIMATE.contains(&kind) || kind == "thermometer",
            _ => self.kinds().contains(&kind),
        }
    }

    /// The kinds of device that are meant where a call names none.
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Lock | Self::Unlock => &LOCKS,
            Self::SetTemperature | Self::ChangeTemperature => &CLIMATE,
            Self::Media => &MEDIA,
            Self::Vacuum => &["vacuum"],
            Self::Scene => &SCENES,
            Self::Drink => &["coffee machine"],
            _ => &[],
        }
    }
}

/// The order that a call gives.
///
/// # Errors
/// The answer, when something is left out or makes no sense.
pub(super) fn order(
    tool: &str,
    action: Action,
    arguments: &Arguments,
    degrees: Degrees,
) -> Result<Order, Box<ToolResult>> {
    let word = |key: &str| arguments.get(key).and_then(Value::as_str);
    let percent = |question: &str, what: &str| match arguments.get("percent").and_then(Value::as_i64) {
        None => Err(Box::new(asked(tool, question.to_owned()))),
        Some(percent) => match u8::try_from(percent) {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(Box::new(refused(
                tool,
                &format!("percent is {percent}"),
                format!("{what} goes from 0 to 100 percent."),
            ))),
        },
    };
    let ask = |question: &str| Err(Box::new(asked(tool, question.to_owned())));
    Ok(match action {
        Action::TurnOn => Order::On,
        Action::TurnOff => Order::Off,
        Action::SetBrightness => Order::Brightness(percent("How bright, in percent?", "Brightness")?),
        Action::ChangeBrightness => match word("direction") {
            Some("up" | "brighter") => Order::BrightnessStep(BRIGHTER),
            Some("down" | "dimmer") => Order::BrightnessStep(-BRIGHTER),
            _ => return ask("Brighter or dimmer?"),
        },
        Action::SetColor => match word("color") {
            Some(color) => Order::Color(color.to_owned()),
            None => return ask("Which color?"),
        },
        Action::Open => Order::Open,
        Action::Close => Order::Close,
        Action::SetPosition => Order::Position(percent("How far open, in percent?", "A position")?),
        Action::Lock => Order::Lock,
        Action::Unlock => Order::Unlock,
        Action::SetTemperature => match arguments.get("degrees").and_then(Value::as_f64) {
            Some(said) => Order::Temperature(degrees.to_c(said)),
            None => return ask("To how many degrees?"),
        },
        Action::ChangeTemperature => match word("direction") {
            Some("warmer" | "up") => Order::TemperatureStep(degrees.step_c()),
            Some("cooler" | "down") => Order::TemperatureStep(-degrees.step_c()),
            _ => return ask("Warmer or cooler?"),
        },
        Action::Media => match word("action") {
            Some("play") => Order::Play,
            Some("pause" | "stop") => Order::Pause,
            Some("next") => Order::Next,
            Some("previous") => Order::Previous,
            _ => return ask("Play, pause, next or previous?"),
        },
        Action::Vacuum => match word("action") {
            Some("start") => Order::Start,
            Some("stop" | "pause") => Order::Stop,
            Some("dock") => Order::Dock,
            _ => return ask("Should the vacuum start, stop or go home?"),
        },
        Action::Scene if word("scene").is_none() && word("name").is_none() => return ask("Which scene?"),
        Action::Scene => Order::Activate,
        Action::Drink => Order::Brew(drink(arguments)),
        Action::Look | Action::Warmth => return ask("What do you want to know?"),
    })
}

/// "a large dark roast double shot latte with some soy milk and a bit of sugar".
fn drink(arguments: &Arguments) -> String {
    let word = |key: &str| arguments.get(key).and_then(Value::as_str);
    let what = ["size", "roast", "numberOfShots"].into_iter().filter_map(word);
    let what: Vec<&str> = what.chain([word("coffeeDrink").unwrap_or("coffee")]).collect();
    let what = what.join(" ");
    let with: Vec<&str> = ["milkAmount", "sugarAmount"].into_iter().filter_map(word).collect();
    let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(" and ")) };
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {what}{with}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drinks_in_words() {
        let check = |arguments: Value, expected: &str| {
            assert_eq!(drink(arguments.as_object().expect("an object")), expected);
        };
        check(json!({}), "a coffee");
        check(json!({"coffeeDrink": "espresso", "numberOfShots": "double shot"}), "a double shot espresso");
        check(
            json!({"coffeeDrink": "iced mocha", "sugarAmount": "a bit of sugar"}),
            "an iced mocha with a bit of sugar",
        );
        check(
            json!({"coffeeDrink": "latte", "size": "large", "roast": "dark roast", "milkAmount": "some soy milk",
                   "sugarAmount": "sweetener"}),
            "a large dark roast latte with some soy milk and sweetener",
        );
        check(json!({"size": "eight ounce"}), "an eight ounce coffee");
    }
}
