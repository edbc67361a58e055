//! Copies of model folders of which tests change something.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Copies the folder `from` to `to`, with `facts` in its manifest in the place of what that says; a published folder has none.
pub fn copy(from: &Path, to: &Path, facts: &Value) {
    let copied = Command::new("cp").arg("-r").arg(from.join(".")).arg(to).status().expect("cp is installed");
    assert!(copied.success(), "scripts/setup makes {}", from.display());
    let path = to.join("manifest.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let mut manifest: Value = serde_json::from_str(&text).expect("it is JSON");
    let facts = facts.as_object().expect("facts have names").clone();
    manifest.as_object_mut().expect("a manifest is an object").extend(facts);
    std::fs::write(&path, manifest.to_string()).expect("it is written");
}
