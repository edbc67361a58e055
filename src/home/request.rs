//! A call in words that can follow "Shall I", for tools that have none of their own.
//!
//! Pure. Only says what the call says; never looks at the home.

use std::time::Duration;

use serde_json::Value;

use super::phrase::{duration, list};
use crate::dialogue::Arguments;

/// "set the pasta timer for 10 minutes"; for a tool that is not known here its name and what it was given.
#[must_use]
pub fn words(tool: &str, arguments: &Arguments) -> String {
    let name = arguments.get("name").and_then(Value::as_str).map(|name| format!("{name} ")).unwrap_or_default();
    let number = |key: &str| arguments.get(key).and_then(Value::as_u64);
    match tool {
        "set_timer" => {
            let parts = [("hours", 3600), ("minutes", 60), ("seconds", 1)];
            let seconds = parts.into_iter().filter_map(|(key, unit)| number(key)?.checked_mul(unit));
            let seconds = seconds.fold(0_u64, u64::saturating_add);
            format!("set the {name}timer for {}", duration(Duration::from_secs(seconds)))
        }
        "cancel_timer" => format!("cancel the {name}timer"),
        "timer_left" => format!("say how long the {name}timer still runs"),
        "set_alarm" => {
            let day = arguments.get("day").and_then(Value::as_str).map(|day| format!(" {day}")).unwrap_or_default();
            format!(
                "set an alarm for {}:{:02}{day}",
                number("hour").unwrap_or_default(),
                number("minute").unwrap_or_default()
            )
        }
        "cancel_alarm" => "cancel the alarm".to_owned(),
        _ => {
            let given = |(key, value): (&String, &Value)| match value {
                Value::String(text) => format!("{} {text}", key.replace('_', " ")),
                other => format!("{} {other}", key.replace('_', " ")),
            };
            let given: Vec<String> = arguments.iter().map(given).collect();
            let with = if given.is_empty() { String::new() } else { format!(" with {}", list(&given, "and")) };
            format!("{}{with}", tool.replace('_', " "))
        }
    }
}

/// "turn on the lamp or the fan": two of them, without what they have in common where that can be left out.
#[must_use]
pub fn either(one: &str, other: &str) -> String {
    let (first, second): (Vec<&str>, Vec<&str>) = (one.split(' ').collect(), other.split(' ').collect());
    let same = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
    let number = second.get(same).is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let from = if number { same } else { second[..same].iter().rposition(|word| *word == "the").unwrap_or(0) };
    format!("{one} or {}", second[from..].join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_calls_in_words() {
        let check = |one: &str, other: &str, expected: &str| assert_eq!(either(one, other), expected);
        check("turn on the desk lamp", "turn on the desk fan", "turn on the desk lamp or the desk fan");
        check("turn on the lamp", "turn off the lamp", "turn on the lamp or turn off the lamp");
        check("set the lamp to 15 percent", "set the lamp to 50 percent", "set the lamp to 15 percent or 50 percent");
        check("set the timer for 10 minutes", "cancel the timer", "set the timer for 10 minutes or cancel the timer");
        check("a", "a b", "a or a b");
    }

    #[test]
    fn calls_in_words() {
        let check = |tool: &str, arguments: Value, expected: &str| {
            assert_eq!(words(tool, arguments.as_object().expect("an object")), expected);
        };
        check("set_timer", json!({"minutes": 10, "name": "pasta"}), "set the pasta timer for 10 minutes");
        check("set_timer", json!({"hours": u64::MAX}), "set the timer for 0 seconds");
        check("cancel_timer", json!({}), "cancel the timer");
        check("set_alarm", json!({"hour": 7, "day": "tomorrow"}), "set an alarm for 7:00 tomorrow");
        check("water_garden", json!({"minutes": 5, "bed": "roses"}), "water garden with minutes 5 and bed roses");
        check("snooze", json!({}), "snooze");
    }
}
