//! Texts with places for arguments: `{name}`. Pure.
//!
//! Filled in one pass, so that a value with braces in it stays a value. Braces around anything but a word are text, which
//! lets JSON be written as it is.

use serde_json::Value;

use crate::dialogue::{Arguments, ToolSpec, is_word};

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// As it stands.
    Text(&'a str),
    /// The value of that name.
    Place(&'a str),
}

/// The parts of a template in order.
pub(super) fn parts(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut text_from, mut at) = (0, 0);
    while let Some(open) = template[at..].find('{').map(|open| at + open) {
        at = open + 1;
        let Some(close) = template[at..].find('}').map(|close| at + close) else { break };
        if is_word(&template[at..close]) {
            parts.push(Part::Text(&template[text_from..open]));
            parts.push(Part::Place(&template[at..close]));
            (text_from, at) = (close + 1, close + 1);
        }
    }
    parts.push(Part::Text(&template[text_from..]));
    parts.retain(|part| *part != Part::Text(""));
    parts
}

/// The template with values in its places.
pub(super) fn filled(template: &str, value: impl Fn(&str) -> String) -> String {
    let part = |part: Part<'_>| match part {
        Part::Text(text) => text.to_owned(),
        Part::Place(name) => value(name),
    };
    parts(template).into_iter().map(part).collect()
}

/// Is every place a parameter of the tool, or one of `others`?
pub(super) fn check(template: &str, spec: &ToolSpec, others: &[&str]) -> Result<(), String> {
    let is_known = |name: &str| others.contains(&name) || spec.parameters.iter().any(|known| known.name == name);
    let unknown = parts(template).into_iter().find_map(|part| match part {
        Part::Place(name) if !is_known(name) => Some(name),
        _ => None,
    });
    unknown.map_or(Ok(()), |name| Err(format!("`{{{name}}}` is no parameter of {}", spec.name)))
}

/// An argument as plain text; empty where it was not given.
pub(super) fn plain(arguments: &Arguments, name: &str) -> String {
    match arguments.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// What a program or a server wrote, as part of a sentence: the first line, without what cannot be spoken.
pub(super) fn spoken(output: &str) -> String {
    const MAX_CHARS: usize = 200;
    let line = output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}

/// The name of a tool as words.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |template: &str, expected: &str| {
            let filled = filled(template, |name| format!("<{name}{{a}}>"));
            assert_eq!(filled, expected, "{template}");
        };
        check("", "");
        check("plain", "plain");
        check("{a}", "<a{a}>");
        check("x{a}y{b_2}z", "x<a{a}>y<b_2{a}>z");
        check("{\"a\": {a}}", "{\"a\": <a{a}>}");
        check("{}{ a }{a", "{}{ a }{a");
        check("{{a}}", "{<a{a}>}");
        check("ä{a}ö", "ä<a{a}>ö");
    }
}
