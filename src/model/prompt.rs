//! The text that Gemma 4 was trained to read: turns, tool declarations, calls and their responses.
//!
//! Pure string rendering, in pieces that can be fed to the cache one after another:
//!
//! ```text
//! prefix                      <bos>, system turn with the tools          once, cached
//! AUDIO_HEAD                  <|turn>user\n<|audio>                      then the audio rows
//! AUDIO_TAIL                  <audio|><turn|>\n<|turn>model\n            then the model writes
//! responses                   <|tool_response>...                        in the same turn of the model
//! said                        what was spoken, and the end of the turn
//! ```
//!
//! The form is that of Google's chat template of 2026-07-09. What comes from outside (system text, tool results, names of
//! things) is rid of everything that would read as a special token.

use serde_json::{Map, Value, json};

use crate::dialogue::{Kind, Parameter, ToolCall, ToolResult, ToolSpec};

/// Begins every context.
pub const BOS: &str = "<bos>";
/// Before the audio rows of a spoken turn.
pub const AUDIO_HEAD: &str = "<|turn>user\n<|audio>";
/// Stands where one audio row goes.
pub const AUDIO_ROW: &str = "<|audio|>";
/// After the audio rows: the model is to answer.
pub const AUDIO_TAIL: &str = "<audio|><turn|>\n<|turn>model\n";
/// After the audio rows of a turn that asks something about them: [`question`] follows.
pub const AUDIO_END: &str = "<audio|>";
/// Asks what was said.
pub const TRANSCRIBE: &str = "Write down what is said, word for word, and nothing else.";
/// After a user turn: the model is to answer.
pub const GENERATE: &str = "<|turn>model\n";
/// Ends a turn.
pub const TURN_END: &str = "<turn|>\n";
/// What is left of [`TURN_END`] when the model wrote `<turn|>` itself.
pub const AFTER_STOP: &str = "\n";
/// Follows the tool responses when thinking is on.
pub const THOUGHT: &str = "<|channel>thought\n";

const QUOTE: &str = "<|\"|>";

/// A part of a user turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Words.
    Text(&'a str),
    /// Sound, as the number of its rows.
    Audio(usize),
}

/// Everything before the first turn: `<bos>`, and a system turn if there is something to say in it.
pub fn prefix(system: &str, tools: &[ToolSpec], thinking: bool) -> String {
    let system = plain(system.trim());
    let mut text = String::from(BOS);
    if system.is_empty() && tools.is_empty() && !thinking {
        return text;
    }
    text.push_str("<|turn>system\n");
    if thinking {
        text.push_str("<|think|>\n");
    }
    text.push_str(&system);
    for tool in tools {
        text.push_str(&declaration(tool));
    }
    text.push_str(TURN_END);
    text
}

/// A user turn; parts are joined with nothing between them.
pub fn user(parts: &[Part<'_>]) -> String {
    let mut text = String::from("<|turn>user\n");
    for part in parts {
        match part {
            Part::Text(words) => text.push_str(&plain(words.trim())),
            Part::Audio(rows) => {
                text.push_str("<|audio>");
                text.push_str(&AUDIO_ROW.repeat(*rows));
                text.push_str("<audio|>");
            }
        }
    }
    text.push_str(TURN_END);
    text
}

/// Follows [`AUDIO_END`]: words about what was heard, and the end of the turn; the model is to answer.
pub fn question(words: &str) -> String {
    plain(words.trim()) + TURN_END + GENERATE
}

/// The calls of a model turn.
pub fn calls(calls: &[ToolCall]) -> String {
    let mut text = String::new();
    for call in calls {
        let name = plain(&call.name);
        let arguments = mapping(&call.arguments, false);
        text.push_str(&format!("<|tool_call>call:{name}{arguments}<tool_call|>"));
    }
    text
}

/// The results of calls, which follow them in the same turn. `opened`: the model wrote the first `<|tool_response>`
/// itself (its stop token), and that token is in the cache.
pub fn responses(results: &[ToolResult], opened: bool) -> String {
    let mut text = String::new();
    for (i, result) in results.iter().enumerate() {
        if i > 0 || !opened {
            text.push_str("<|tool_response>");
        }
        let name = plain(&result.name);
        let content = mapping(&result.content, false);
        text.push_str(&format!("response:{name}{content}<tool_response|>"));
    }
    text
}

/// What was answered, and the end of the model's turn.
pub fn said(answer: &str) -> String {
    plain(answer.trim()) + TURN_END
}

/// `<|tool>declaration:...<tool|>` of one tool, from its schema, or from its parameters where no schema was given.
pub fn declaration(tool: &ToolSpec) -> String {
    let derived;
    let schema = match &tool.schema {
        Some(schema) => Some(schema),
        None if tool.parameters.is_empty() => None,
        None => {
            derived = object_schema(&tool.parameters);
            Some(&derived)
        }
    };
    let mut fields = vec![format!("description:{}", quoted(&tool.description))];
    if let Some(schema) = schema.and_then(Value::as_object).filter(|s| !s.is_empty()) {
        let mut inner = object_fields(schema);
        inner.push(format!("type:{}", quoted("OBJECT")));
        fields.push(format!("parameters:{{{}}}", inner.join(",")));
    }
    let name = plain(&tool.name);
    format!("<|tool>declaration:{name}{{{}}}<tool|>", fields.join(","))
}

/// `text` without anything that would read as a special token, and without control characters but tab and newline.
///
/// Special tokens all have the form `<|name>`, `<name|>`, `<|name|>` or `<name>`: a bar beside an angle bracket is
/// dropped, and a few names are broken up.
pub fn plain(text: &str) -> String {
    let chars: Vec<char> = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        if chars[i] == '|' {
            let end = i + chars[i..].iter().take_while(|&&c| c == '|').count();
            if !out.ends_with('<') && chars.get(end) != Some(&'>') {
                out.extend(&chars[i..end]);
            }
            i = end;
            continue;
        }
        out.push(chars[i]);
        i += 1;
    }
    for name in ["pad", "eos", "bos", "unk", "mask"] {
        let token = format!("<{name}>");
        if out.contains(&token) {
            out = out.replace(&token, &format!("< {name}>"));
        }
    }
    out
}

fn quoted(text: &str) -> String {
    format!("{QUOTE}{}{QUOTE}", plain(text))
}

/// Keys in the order of the template: by name, ignoring case.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.to_lowercase());
    entries
}

fn mapping(map: &Map<String, Value>, quote_keys: bool) -> String {
    let fields: Vec<String> = sorted(map)
        .into_iter()
        .map(|(key, value)| {
            let key = if quote_keys { quoted(key) } else { plain(key) };
            format!("{key}:{}", argument(value, quote_keys))
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn argument(value: &Value, quote_keys: bool) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Object(map) => mapping(map, quote_keys),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|v| argument(v, quote_keys)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// `properties` and `required` of an object schema, where it has them.
fn object_fields(schema: &Map<String, Value>) -> Vec<String> {
    let mut fields = Vec::new();
    if let Some(map) = schema.get("properties").and_then(Value::as_object).filter(|m| !m.is_empty()) {
        fields.push(format!("properties:{}", properties(map)));
    }
    if let Some(names) = schema.get("required").and_then(Value::as_array).filter(|n| !n.is_empty()) {
        fields.push(format!("required:{}", argument(&json!(names), false)));
    }
    fields
}

fn properties(map: &Map<String, Value>) -> String {
    let fields: Vec<String> = sorted(map)
        .into_iter()
        .map(|(key, schema)| format!("{}:{{{}}}", plain(key), property(schema).join(",")))
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// Fields of one property: description, values or items, nullable, what it contains, and last its type.
fn property(schema: &Value) -> Vec<String> {
    let none = Map::new();
    let schema = schema.as_object().unwrap_or(&none);
    let (kind, null) = type_of(schema);
    let mut fields = Vec::new();
    if let Some(text) = schema.get("description").and_then(Value::as_str).filter(|t| !t.is_empty()) {
        fields.push(format!("description:{}", quoted(text)));
    }
    match kind.as_str() {
        "STRING" => {
            if let Some(values) = schema.get("enum").filter(|v| v.as_array().is_some_and(|v| !v.is_empty())) {
                fields.push(format!("enum:{}", argument(values, true)));
            }
        }
        "ARRAY" => {
            if let Some(items) = schema.get("items").and_then(Value::as_object).filter(|m| !m.is_empty()) {
                fields.push(format!("items:{}", item_schema(items)));
            }
        }
        _ => {}
    }
    if null || schema.get("nullable") == Some(&Value::Bool(true)) {
        fields.push("nullable:true".to_owned());
    }
    if kind == "OBJECT" {
        fields.extend(object_fields(schema));
    }
    fields.push(format!("type:{}", quoted(&kind)));
    fields
}

/// The schema of a list's items: its keys in alphabetical order, the type in capitals.
fn item_schema(schema: &Map<String, Value>) -> String {
    let fields: Vec<String> = sorted(schema)
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match (key.as_str(), value) {
            ("properties", Value::Object(map)) => format!("properties:{}", properties(map)),
            ("type", _) => format!("type:{}", quoted(&type_of(schema).0)),
            _ => format!("{}:{}", plain(key), argument(value, true)),
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// The type of a schema in capitals, and whether null is allowed beside it (`"type": ["string", "null"]`).
fn type_of(schema: &Map<String, Value>) -> (String, bool) {
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let null = names.len() > 1 && names.contains(&"null");
    let guess = if schema.contains_key("properties") { "object" } else { "string" };
    let name = names.into_iter().find(|&n| n != "null").unwrap_or(guess);
    (name.to_uppercase(), null)
}

fn object_schema(parameters: &[Parameter]) -> Value {
    let properties: Map<String, Value> = parameters.iter().map(|p| (p.name.clone(), kind_schema(&p.kind))).collect();
    let required: Vec<&str> = parameters.iter().filter(|p| p.required).map(|p| p.name.as_str()).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

fn kind_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Choice(values) => json!({"type": "string", "enum": values}),
        Kind::Integer { .. } => json!({"type": "integer"}),
        Kind::Number { .. } => json!({"type": "number"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::List(item) => json!({"type": "array", "items": kind_schema(item)}),
        Kind::Object(parameters) => object_schema(parameters),
    }
}

#[cfg(test)]
mod tests;
