//! What hearth says of itself on the broker: Home Assistant's discovery, and the values of those entities.
//!
//! Pure: topics and payloads. All of them are retained, so that whoever comes later sees them.

use serde_json::{Value, json};

/// What is shown of hearth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// `idle`, `listening`, ...
    pub state: String,
    /// Is the microphone off?
    pub muted: bool,
    /// What was done last, in a sentence.
    pub last_action: String,
    /// What is wrong, empty when nothing is.
    pub error: String,
}

/// Longest value of a sensor that Home Assistant takes, in characters.
const MAX_CHARS: usize = 255;

/// A topic and what is published there.
pub(super) type Message = (String, String);

/// Where hearth says whether it is there; also its last will.
pub(super) fn availability(topic: &str) -> String {
    format!("{topic}/availability")
}

/// Where the mute switch is operated.
pub(super) fn mute_set(topic: &str) -> String {
    format!("{topic}/mute/set")
}

/// The values as they are now.
pub(super) fn values(topic: &str, about: &About) -> Vec<Message> {
    let short = |text: &str| text.chars().take(MAX_CHARS).collect::<String>();
    // An empty retained payload would remove the value.
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { short(text) };
    let muted = if about.muted { "ON" } else { "OFF" };
    vec![
        (format!("{topic}/state"), or_none(&about.state)),
        (format!("{topic}/mute"), muted.to_owned()),
        (format!("{topic}/last_action"), or_none(&about.last_action)),
        (format!("{topic}/error"), or_none(&about.error)),
    ]
}

/// Home Assistant's description of each entity; none where the prefix is empty.
pub(super) fn discovery(prefix: &str, topic: &str) -> Vec<Message> {
    if prefix.is_empty() {
        return Vec::new();
    }
    let node: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let entity = |component: &str, key: &str, name: &str, icon: &str, more: &[(&str, Value)]| {
        let mut description = json!({
            "name": name,
            "unique_id": format!("{node}_{key}"),
            "object_id": format!("{node}_{key}"),
            "icon": icon,
            "state_topic": format!("{topic}/{key}"),
            "availability_topic": availability(topic),
            "device": {"identifiers": [node], "name": "hearth", "sw_version": env!("CARGO_PKG_VERSION")},
        });
        for (key, value) in more {
            description[*key] = value.clone();
        }
        (format!("{prefix}/{component}/{node}/{key}/config"), description.to_string())
    };
    let diagnostic = [("entity_category", Value::from("diagnostic"))];
    vec![
        entity("sensor", "state", "State", "mdi:account-voice", &[]),
        entity("switch", "mute", "Mute", "mdi:microphone-off", &[("command_topic", Value::from(mute_set(topic)))]),
        entity("sensor", "last_action", "Last action", "mdi:history", &[]),
        entity("sensor", "error", "Error", "mdi:alert-circle-outline", &diagnostic),
    ]
}
