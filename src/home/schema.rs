//! Tool declarations from JSON, and arguments checked against them.
//!
//! Pure but for [`load`], which reads one file. Knows no tool by name and carries nothing out. A keyword of JSON schema
//! that is not enforced here is an error and not ignored, so that whatever a declaration promises is kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};

use super::resolve::fold;
use crate::dialogue::{Arguments, Kind, Parameter, ToolSpec, is_word};

/// Deepest nesting of parameters.
const MAX_DEPTH: usize = 8;
/// Most items of a list argument.
const MAX_ITEMS: usize = 64;
/// Keywords that say something to a reader and constrain nothing.
const NOTES: [&str; 5] = ["description", "title", "default", "examples", "$comment"];

/// Why a declaration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not JSON, or not a list of tools.
    #[error("list of tools: {0}")]
    NotTools(String),
    /// One tool is wrong.
    #[error("tool {tool}: {field}: {reason}")]
    Tool {
        /// Name of the tool, or its place in the list.
        tool: String,
        /// Where in the declaration.
        field: String,
        /// What is wrong there.
        reason: String,
    },
}

/// Where in a declaration something stands, so that errors can name it.
#[derive(Clone, Copy)]
struct At<'a> {
    tool: &'a str,
    field: &'a str,
    depth: usize,
}

impl At<'_> {
    fn error(self, reason: impl Into<String>) -> SchemaError {
        SchemaError::Tool { tool: self.tool.to_owned(), field: self.field.to_owned(), reason: reason.into() }
    }
}

/// Reads a `tools.json`: a list of `{"name", "description", "parameters"}`.
///
/// # Errors
/// As [`parse`], and when the file cannot be read.
pub fn load(path: &Path) -> Result<Vec<ToolSpec>, SchemaError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SchemaError::Unreadable { path: path.to_owned(), source })?;
    parse(&text)
}

/// Reads the text of a `tools.json`.
///
/// # Errors
/// When it is no list of tools, a tool is wrong or two have one name; the message names the tool and the field.
pub fn parse(text: &str) -> Result<Vec<ToolSpec>, SchemaError> {
    let value: Value = serde_json::from_str(text).map_err(|error| SchemaError::NotTools(error.to_string()))?;
    let Value::Array(items) = value else {
        return Err(SchemaError::NotTools("must be a JSON list".to_owned()));
    };
    let mut names = BTreeSet::new();
    let mut specs = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let spec = spec_from(item, &format!("number {}", index + 1))?;
        if !names.insert(spec.name.clone()) {
            let at = At { tool: &spec.name, field: "name", depth: 0 };
            return Err(at.error("two tools have this name"));
        }
        specs.push(spec);
    }
    Ok(specs)
}

impl ToolSpec {
    /// A tool from `{"name", "description", "parameters"}`; `parameters` may be left out for a tool without any.
    ///
    /// # Errors
    /// The message names the tool and the field.
    pub fn from_json(value: &Value) -> Result<Self, SchemaError> {
        spec_from(value, "without a name")
    }
}

fn spec_from(value: &Value, unnamed: &str) -> Result<ToolSpec, SchemaError> {
    let name = value.get("name").and_then(Value::as_str).unwrap_or(unnamed);
    let at = |field| At { tool: name, field, depth: 0 };
    let Value::Object(fields) = value else {
        return Err(at("tool").error("must be an object"));
    };
    if let Some(key) = fields.keys().find(|key| !["name", "description", "parameters"].contains(&key.as_str())) {
        return Err(at(key).error("unknown field"));
    }
    if !fields.get("name").is_some_and(|name| name.as_str().is_some_and(is_word)) {
        return Err(at("name").error("must be letters, digits and underscores"));
    }
    let Some(description) = fields.get("description").and_then(Value::as_str) else {
        return Err(at("description").error("must be a string"));
    };
    let parameters = match fields.get("parameters") {
        None => Vec::new(),
        Some(Value::Object(schema)) => match kind_from(schema, at("parameters"))? {
            Kind::Object(parameters) => parameters,
            _ => return Err(at("parameters").error("type must be object")),
        },
        Some(_) => return Err(at("parameters").error("must be an object")),
    };
    Ok(ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters,
        schema: fields.get("parameters").cloned(),
    })
}

/// Only the keywords in `known` and notes may stand in `schema`.
fn only(schema: &Map<String, Value>, known: &[&str], at: At<'_>) -> Result<(), SchemaError> {
    match schema.keys().find(|key| !known.contains(&key.as_str()) && !NOTES.contains(&key.as_str())) {
        Some(key) => Err(at.error(format!("{key} is not supported here"))),
        None => Ok(()),
    }
}

fn kind_from(schema: &Map<String, Value>, at: At<'_>) -> Result<Kind, SchemaError> {
    if at.depth > MAX_DEPTH {
        return Err(at.error(format!("nested more than {MAX_DEPTH} deep")));
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        None if schema.contains_key("enum") => "string",
        _ => return Err(at.error("type must be one word")),
    };
    match kind {
        "string" => {
            only(schema, &["type", "enum"], at)?;
            match schema.get("enum") {
                None => Ok(Kind::Text),
                Some(values) => choice_from(values, at),
            }
        }
        "integer" => {
            only(schema, &["type", "minimum", "maximum"], at)?;
            let min = bound(schema, "minimum", at, whole)?.unwrap_or(i64::MIN);
            let max = bound(schema, "maximum", at, whole)?.unwrap_or(i64::MAX);
            if min > max {
                return Err(at.error("minimum is greater than maximum"));
            }
            Ok(Kind::Integer { min, max })
        }
        "number" => {
            only(schema, &["type", "minimum", "maximum"], at)?;
            let min = bound(schema, "minimum", at, Value::as_f64)?.unwrap_or(f64::MIN);
            let max = bound(schema, "maximum", at, Value::as_f64)?.unwrap_or(f64::MAX);
            if min > max {
                return Err(at.error("minimum is greater than maximum"));
            }
            Ok(Kind::Number { min, max })
        }
        "boolean" => only(schema, &["type"], at).map(|()| Kind::Bool),
        "array" => {
            only(schema, &["type", "items"], at)?;
            let Some(Value::Object(items)) = schema.get("items") else {
                return Err(at.error("items must be a schema"));
            };
            let field = format!("{}.items", at.field);
            let at = At { field: &field, depth: at.depth + 1, ..at };
            Ok(Kind::List(Box::new(kind_from(items, at)?)))
        }
        "object" => object_from(schema, at).map(Kind::Object),
        other => Err(at.error(format!("unknown type {other}"))),
    }
}

fn bound<T>(
    schema: &Map<String, Value>,
    key: &str,
    at: At<'_>,
    read: fn(&Value) -> Option<T>,
) -> Result<Option<T>, SchemaError> {
    match schema.get(key) {
        None => Ok(None),
        Some(value) => match read(value) {
            Some(number) => Ok(Some(number)),
            None => Err(at.error(format!("{key} must be a number of the parameter's type"))),
        },
    }
}

fn choice_from(values: &Value, at: At<'_>) -> Result<Kind, SchemaError> {
    let Some(values) = values.as_array().filter(|values| !values.is_empty()) else {
        return Err(at.error("enum must be a list with at least one value"));
    };
    let mut seen = BTreeSet::new();
    let mut choices = Vec::with_capacity(values.len());
    for value in values {
        let Some(choice) = value.as_str().filter(|choice| !choice.trim().is_empty()) else {
            return Err(at.error("enum may hold strings with text in them only"));
        };
        if !seen.insert(fold(choice)) {
            return Err(at.error(format!("enum has {choice} twice, only written differently")));
        }
        choices.push(choice.to_owned());
    }
    Ok(Kind::Choice(choices))
}

fn object_from(schema: &Map<String, Value>, at: At<'_>) -> Result<Vec<Parameter>, SchemaError> {
    only(schema, &["type", "properties", "required", "additionalProperties"], at)?;
    if schema.get("additionalProperties").is_some_and(|value| value != &Value::Bool(false)) {
        return Err(at.error("additionalProperties can only be false"));
    }
    let empty = Map::new();
    let properties = match schema.get("properties") {
        None => &empty,
        Some(Value::Object(properties)) => properties,
        Some(_) => return Err(at.error("properties must be an object")),
    };
    let mut required = BTreeSet::new();
    match schema.get("required") {
        None => {}
        Some(Value::Array(names)) => {
            for name in names {
                match name.as_str().filter(|name| properties.contains_key(*name)) {
                    Some(name) => _ = required.insert(name),
                    None => return Err(at.error(format!("required names {name}, which is no property"))),
                }
            }
        }
        Some(_) => return Err(at.error("required must be a list")),
    }
    let mut parameters = Vec::with_capacity(properties.len());
    for (name, schema) in properties {
        let field = format!("{}.{name}", at.field);
        let at = At { field: &field, depth: at.depth + 1, ..at };
        if !is_word(name) {
            return Err(at.error("a key must be letters, digits and underscores"));
        }
        let Value::Object(schema) = schema else {
            return Err(at.error("must be an object"));
        };
        parameters.push(Parameter {
            name: name.clone(),
            kind: kind_from(schema, at)?,
            required: required.contains(name.as_str()),
        });
    }
    parameters.sort_by_cached_key(|parameter| (parameter.name.to_lowercase(), parameter.name.clone()));
    Ok(parameters)
}

/// Checks the arguments of a call and gives them back in their declared form and order.
///
/// Choices get their listed spelling, whatever case, hyphens and articles they come with; a number may come as a
/// string, a whole number as `5.0`; `null` is the same as not given.
///
/// # Errors
/// A clause that can be spoken after "I cannot do that:", naming the parameter.
pub fn check(spec: &ToolSpec, arguments: &Arguments) -> Result<Arguments, String> {
    check_object(&spec.parameters, arguments, &spec.name)
}

fn check_object(parameters: &[Parameter], given: &Arguments, whole: &str) -> Result<Arguments, String> {
    if let Some(key) = given.keys().find(|key| parameters.iter().all(|parameter| &parameter.name != *key)) {
        return Err(format!("{whole} takes no {key}"));
    }
    let mut checked = Arguments::new();
    for parameter in parameters {
        match given.get(&parameter.name) {
            None | Some(Value::Null) if parameter.required => {
                return Err(format!("{whole} needs the {}", parameter.name));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                checked.insert(parameter.name.clone(), check_value(&parameter.kind, value, &parameter.name)?);
            }
        }
    }
    Ok(checked)
}

fn check_value(kind: &Kind, value: &Value, name: &str) -> Result<Value, String> {
    match kind {
        Kind::Text => text(value).map(Value::from).ok_or_else(|| format!("{name} must be text")),
        Kind::Choice(choices) => {
            let given = text(value).ok_or_else(|| format!("{name} must be a word"))?;
            let folded = fold(&given);
            match choices.iter().find(|choice| fold(choice) == folded) {
                Some(choice) => Ok(Value::from(choice.as_str())),
                None => Err(format!("{given} is not a {name} I know")),
            }
        }
        Kind::Integer { min, max } => {
            let number = whole(value).ok_or_else(|| format!("{name} must be a whole number"))?;
            if (*min..=*max).contains(&number) {
                Ok(Value::from(number))
            } else {
                Err(out_of_range(name, *min, (i64::MIN, i64::MAX), *max))
            }
        }
        Kind::Number { min, max } => {
            let number = number(value).ok_or_else(|| format!("{name} must be a number"))?;
            match Number::from_f64(number).filter(|_| (*min..=*max).contains(&number)) {
                Some(number) => Ok(Value::Number(number)),
                None => Err(out_of_range(name, *min, (f64::MIN, f64::MAX), *max)),
            }
        }
        Kind::Bool => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::String(word) if fold(word) == "true" => Ok(Value::Bool(true)),
            Value::String(word) if fold(word) == "false" => Ok(Value::Bool(false)),
            _ => Err(format!("{name} must be true or false")),
        },
        Kind::List(kind) => {
            let items = value.as_array().ok_or_else(|| format!("{name} must be a list"))?;
            if items.len() > MAX_ITEMS {
                return Err(format!("{name} has more than {MAX_ITEMS} items"));
            }
            let items: Result<Vec<Value>, String> = items.iter().map(|item| check_value(kind, item, name)).collect();
            items.map(Value::Array)
        }
        Kind::Object(parameters) => {
            let fields = value.as_object().ok_or_else(|| format!("{name} must be a group of values"))?;
            check_object(parameters, fields, name).map(Value::Object)
        }
    }
}

/// A clause for a value outside of its bounds; a bound at the end of its type is not spoken.
fn out_of_range<T: PartialEq + std::fmt::Display>(name: &str, min: T, ends: (T, T), max: T) -> String {
    match (min == ends.0, max == ends.1) {
        (false, false) => format!("{name} must be between {min} and {max}"),
        (false, true) => format!("{name} must be at least {min}"),
        (true, false) => format!("{name} must be at most {max}"),
        (true, true) => format!("{name} is too large"),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// A whole number: 5, 5.0, "5" or "5.0".
fn whole(value: &Value) -> Option<i64> {
    /// Up to here every whole number has its own f64.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let exact = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    exact.or_else(|| {
        let number = number(value)?;
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
        (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
    })
}

#[cfg(test)]
mod tests;
