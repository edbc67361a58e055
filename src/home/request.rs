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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
