//! Which calls need a yes, and which are never carried out by voice (field notes, S15).
//!
//! Pure. The safe direction (off, close, lock, stop) is free whatever the configuration says: nobody should have to
//! discuss whether the garage may be closed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::device::{Device, Order};
use super::resolve::fold;
use crate::dialogue::ToolResult;

/// Kinds of device whose unsafe direction lets somebody in.
const ENTRANCES: [&str; 7] = ["lock", "door", "front door", "garage door", "gate", "window", "alarm system"];

/// What it takes until something is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Done at once.
    #[default]
    Free,
    /// Done after an explicit yes.
    Confirm,
    /// Not by voice.
    Never,
}

/// `[risk]` of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskConfig {
    /// How long a question waits for a yes, in seconds.
    pub confirm_s: u32,
    /// Level of a tool (`set_scene`), of a kind of device (`garage door`) or of one device by its id; in the place of
    /// the one that it has by itself.
    pub levels: BTreeMap<String, Level>,
}

impl Default for RiskConfig {
    fn default() -> Self {
        Self { confirm_s: 15, levels: BTreeMap::new() }
    }
}

impl RiskConfig {
    /// How long a question waits for a yes.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.confirm_s.into())
    }

    /// The level of a tool, if the configuration names it.
    #[must_use]
    pub fn of_tool(&self, tool: &str) -> Option<Level> {
        self.levels.get(tool).copied()
    }

    /// The level of an order to a device: its own, that of its kind, or the one that such things have by themselves.
    #[must_use]
    pub fn of(&self, device: &Device, order: &Order) -> Level {
        let kind = fold(&device.kind);
        if is_safe(order, &kind) {
            return Level::Free;
        }
        let named = self
            .levels
            .get(&device.id)
            .or_else(|| self.levels.iter().find(|(name, _)| fold(name) == kind).map(|(_, level)| level));
        let own = if ENTRANCES.contains(&kind.as_str()) { Level::Confirm } else { Level::Free };
        named.copied().unwrap_or(own)
    }
}

/// Does the order only make things safer? What is off no longer guards.
fn is_safe(order: &Order, kind: &str) -> bool {
    let guards = ["alarm system", "lock", "door", "front door"].contains(&kind);
    !(guards && *order == Order::Off)
        && matches!(
            order,
            Order::Off
                | Order::Close
                | Order::Lock
                | Order::Pause
                | Order::Stop
                | Order::Dock
                | Order::Position(0)
                | Order::Brightness(0)
        )
}

/// What a call is about to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// This: "unlock the front door".
    Do {
        /// As it stands after "Shall I".
        to: String,
        /// What it takes.
        level: Level,
    },
    /// Nothing: it will refuse or ask, whoever agreed to it.
    Nothing,
    /// Nothing, and this is the answer.
    Answer(ToolResult),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let config: RiskConfig = toml::from_str(
            "levels = { \"garage door\" = \"never\", \"lock.shed\" = \"free\", \"coffee machine\" = \"confirm\" }",
        )
        .expect("a configuration");
        let plain = RiskConfig::default();
        let check = |id: &str, kind: &str, order: Order, own: Level, configured: Level| {
            let device = Device { id: id.to_owned(), kind: kind.to_owned(), ..Device::default() };
            assert_eq!(plain.of(&device, &order), own, "{id} {order:?}");
            assert_eq!(config.of(&device, &order), configured, "{id} {order:?}");
        };
        use Level::{Confirm, Free, Never};
        check("lock.front", "lock", Order::Unlock, Confirm, Confirm);
        check("lock.front", "lock", Order::Lock, Free, Free);
        check("lock.front", "lock", Order::On, Confirm, Confirm);
        check("lock.shed", "lock", Order::Unlock, Confirm, Free);
        check("cover.garage", "Garage Door", Order::Open, Confirm, Never);
        check("cover.garage", "garage_door", Order::Position(40), Confirm, Never);
        check("cover.garage", "garage door", Order::Position(0), Free, Free);
        check("cover.garage", "garage door", Order::Close, Free, Free);
        check("cover.den", "blinds", Order::Open, Free, Free);
        check("window.den", "window", Order::Open, Confirm, Confirm);
        check("alarm.home", "alarm system", Order::Unlock, Confirm, Confirm);
        check("alarm.home", "alarm system", Order::Lock, Free, Free);
        check("alarm.home", "alarm system", Order::Off, Confirm, Confirm);
        check("light.den", "light", Order::On, Free, Free);
        check("coffee.kitchen", "coffee machine", Order::Brew("a coffee".to_owned()), Free, Confirm);
    }
}
