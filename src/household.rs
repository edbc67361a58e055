//! `hearth home`: the home without a conversation. Blocking, on the caller's thread.
//!
//! The configured home is opened for the length of the command; a simulated one begins anew each time.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::ask::{self, Household};
use crate::config::Config;
use crate::dialogue::{Consent, Outcome, ToolCall};
use crate::failure::{Failure, UNAVAILABLE, USAGE};
use crate::home::audit::AuditLog;
use crate::home::device::Health;
use crate::terminal;

/// Prints all devices and how they are.
///
/// # Errors
/// When the home cannot be opened.
pub fn list(config: &Config, as_json: bool) -> Result<(), Failure> {
    let Household { house, .. } = ask::household(config)?;
    let devices = house.devices();
    if as_json {
        let rows: Vec<Value> =
            devices.iter().map(|device| json!({"device": device, "state": house.state(&device.id)})).collect();
        let health: Vec<Value> =
            house.health().into_iter().map(|(name, health)| json!({"backend": name, "health": health})).collect();
        return terminal::json(&json!({"devices": rows, "backends": health}));
    }
    let width = devices.iter().map(|device| device.id.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for device in &devices {
        let state = house.words(device).unwrap_or_else(|| "unknown".to_owned());
        let room = device.room.as_deref().map(|room| format!(" ({room})")).unwrap_or_default();
        let _ = writeln!(text, "{:width$}  {}{room}: {state}", device.id, device.name);
    }
    for (name, health) in house.health() {
        match health {
            Health::Ready => {}
            Health::Connecting(why) => _ = writeln!(text, "{name} cannot be reached: {why}"),
            Health::Unauthorised(why) => _ = writeln!(text, "{name} does not let hearth in: {why}"),
        }
    }
    if text.is_empty() {
        text.push_str("no devices\n");
    }
    terminal::line(text.trim_end())
}

/// Calls a tool as a person at this machine: no question is asked, whatever the level of the call.
///
/// # Errors
/// When the arguments are no JSON object, the home cannot be opened, or the call was not carried out.
pub fn call(config: &Config, tool: &str, arguments: &str) -> Result<(), Failure> {
    let arguments: Map<String, Value> = serde_json::from_str(arguments)
        .map_err(|error| Failure::new(USAGE, format!("the arguments are no JSON object: {error}")))?;
    let Household { tools, .. } = ask::household_with(config, ask::kept_timers(config))?;
    let tools = tools.audited(AuditLog::new(&config.state.path(), &config.audit));
    let call = ToolCall { consent: Consent::ByHand, ..ToolCall::new(tool, arguments) };
    let result = tools.call_blocking(&call);
    terminal::json(&result)?;
    match result.outcome {
        Outcome::Done => Ok(()),
        Outcome::Asked | Outcome::Refused => Err(Failure::new(USAGE, format!("{tool} was not carried out"))),
        Outcome::Failed => Err(Failure::new(UNAVAILABLE, format!("{tool} failed"))),
    }
}
