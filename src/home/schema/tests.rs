//! Declarations and arguments, right and wrong ones.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

#[test]
fn declarations() {
    let check = |declaration: Value, expected: &str| {
        let error = ToolSpec::from_json(&declaration).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(error.err().as_deref().unwrap_or(""), expected, "{declaration}");
    };
    let with = |parameter: Value| {
        json!({"name": "dim", "description": "Dims.",
               "parameters": {"type": "object", "properties": {"x": parameter}}})
    };
    check(json!({"name": "stop", "description": "Stops."}), "");
    check(json!([]), "tool without a name: tool: must be an object");
    check(json!({"description": "d"}), "tool without a name: name: must be letters, digits and underscores");
    check(json!({"name": "a b", "description": "d"}), "tool a b: name: must be letters, digits and underscores");
    check(json!({"name": "a"}), "tool a: description: must be a string");
    check(json!({"name": "a", "description": "d", "params": {}}), "tool a: params: unknown field");
    check(json!({"name": "a", "description": "d", "parameters": 1}), "tool a: parameters: must be an object");
    check(
        json!({"name": "a", "description": "d", "parameters": {"type": "string"}}),
        "tool a: parameters: type must be object",
    );
    check(
        json!({"name": "a", "description": "d", "parameters": {"type": "object", "required": ["y"]}}),
        "tool a: parameters: required names \"y\", which is no property",
    );
    check(with(json!({"type": "string", "description": "any"})), "");
    check(with(json!({"enum": ["a", "b"]})), "");
    check(with(json!({"type": "colour"})), "tool dim: parameters.x: unknown type colour");
    check(with(json!({"type": ["string", "null"]})), "tool dim: parameters.x: type must be one word");
    check(with(json!({"type": "string", "pattern": "a+"})), "tool dim: parameters.x: pattern is not supported here");
    check(with(json!({"enum": []})), "tool dim: parameters.x: enum must be a list with at least one value");
    check(
        with(json!({"enum": ["Tea", "tea"]})),
        "tool dim: parameters.x: enum has tea twice, only written differently",
    );
    check(with(json!({"enum": [1]})), "tool dim: parameters.x: enum may hold strings with text in them only");
    check(
        with(json!({"type": "integer", "minimum": 5, "maximum": 1})),
        "tool dim: parameters.x: minimum is greater than maximum",
    );
    check(
        with(json!({"type": "integer", "minimum": 0.5})),
        "tool dim: parameters.x: minimum must be a number of the parameter's type",
    );
    check(with(json!({"type": "array"})), "tool dim: parameters.x: items must be a schema");
    check(
        with(json!({"type": "array", "items": {"type": "object", "properties": {"y": {"type": "date"}}}})),
        "tool dim: parameters.x.items.y: unknown type date",
    );
}

#[test]
fn lists_of_tools() {
    let check = |text: &str, expected: Result<usize, &str>| {
        let found = parse(text).map(|specs| specs.len()).map_err(|error| error.to_string());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|error| *error), "{text}");
    };
    check("[]", Ok(0));
    check(r#"[{"name": "a", "description": "d"}]"#, Ok(1));
    check("{}", Err("list of tools: must be a JSON list"));
    check("[{}]", Err("tool number 1: name: must be letters, digits and underscores"));
    check(
        r#"[{"name": "a", "description": "d"}, {"name": "a", "description": "d"}]"#,
        Err("tool a: name: two tools have this name"),
    );
    assert!(parse("[").is_err());
    let deep = format!("{}{}{}", r#"{"type":"array","items":"#.repeat(20), r#"{"type":"string"}"#, "}".repeat(20));
    let deep =
        format!(r#"[{{"name":"a","description":"d","parameters":{{"type":"object","properties":{{"x":{deep}}}}}}}]"#);
    assert!(parse(&deep).unwrap_err().to_string().ends_with("nested more than 8 deep"));
}

#[test]
fn parameters_are_sorted_ignoring_case() {
    let spec = ToolSpec::from_json(&json!({
        "name": "a", "description": "d", "parameters": {"type": "object", "properties": {
            "b": {"type": "string"}, "C": {"type": "string"}, "a": {"type": "string"}}}
    }));
    let names: Vec<String> = spec.unwrap().parameters.into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(names, ["a", "b", "C"]);
}

#[test]
fn arguments() {
    let spec = ToolSpec::from_json(&json!({
        "name": "dim", "description": "Dims.",
        "parameters": {"type": "object", "required": ["room"], "properties": {
            "room": {"type": "string", "enum": ["living room", "Kitchen"]},
            "percent": {"type": "integer", "minimum": 0, "maximum": 100},
            "warmth": {"type": "number", "minimum": -1.5, "maximum": 1.5},
            "note": {"type": "string"},
            "slowly": {"type": "boolean"},
            "count": {"type": "integer"},
            "steps": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "when": {"type": "object", "required": ["hour"], "properties": {
                "hour": {"type": "integer", "minimum": 0, "maximum": 23}, "day": {"enum": ["today"]}}}
        }}
    }))
    .unwrap();
    let ok = |given: Value, expected: Value| {
        let given = given.as_object().unwrap();
        assert_eq!(check(&spec, given).map(Value::Object), Ok(expected), "{given:?}");
    };
    let bad = |given: Value, expected: &str| {
        let given = given.as_object().unwrap();
        assert_eq!(check(&spec, given), Err(expected.to_owned()), "{given:?}");
    };
    let kitchen = |key: &str, value: Value| json!({"room": "Kitchen", key: value});
    ok(json!({"room": "Kitchen"}), json!({"room": "Kitchen"}));
    ok(json!({"room": " LIVING  Room"}), json!({"room": "living room"}));
    ok(json!({"room": "kitchen", "note": null}), json!({"room": "Kitchen"}));
    for five in [json!(5), json!(5.0), json!("5"), json!(" 5.0 "), json!("+5")] {
        ok(kitchen("percent", five), json!({"room": "Kitchen", "percent": 5}));
    }
    ok(kitchen("warmth", json!("-1.5")), kitchen("warmth", json!(-1.5)));
    ok(kitchen("warmth", json!(1)), kitchen("warmth", json!(1.0)));
    ok(kitchen("note", json!(7)), kitchen("note", json!("7")));
    ok(kitchen("slowly", json!("True")), kitchen("slowly", json!(true)));
    ok(kitchen("steps", json!(["1", 2.0])), kitchen("steps", json!([1, 2])));
    ok(kitchen("when", json!({"hour": "7", "day": "TODAY"})), kitchen("when", json!({"day": "today", "hour": 7})));
    bad(json!({}), "dim needs the room");
    bad(json!({"room": null}), "dim needs the room");
    bad(json!({"room": "moon"}), "moon is not a room I know");
    bad(json!({"room": ["Kitchen"]}), "room must be a word");
    bad(kitchen("colour", json!("red")), "dim takes no colour");
    bad(kitchen("percent", json!(101)), "percent must be between 0 and 100");
    bad(kitchen("percent", json!(-1)), "percent must be between 0 and 100");
    bad(kitchen("percent", json!(5.5)), "percent must be a whole number");
    bad(kitchen("percent", json!("five")), "percent must be a whole number");
    bad(kitchen("count", json!(1e300)), "count must be a whole number");
    bad(kitchen("warmth", json!("NaN")), "warmth must be a number");
    bad(kitchen("warmth", json!("1e999")), "warmth must be a number");
    bad(kitchen("warmth", json!(2)), "warmth must be between -1.5 and 1.5");
    bad(kitchen("note", json!(true)), "note must be text");
    bad(kitchen("slowly", json!(1)), "slowly must be true or false");
    bad(kitchen("steps", json!(1)), "steps must be a list");
    bad(kitchen("steps", json!([0])), "steps must be at least 1");
    bad(kitchen("steps", json!(vec![1; 65])), "steps has more than 64 items");
    bad(kitchen("when", json!({"day": "today"})), "when needs the hour");
    bad(kitchen("when", json!({"hour": 7, "minute": 1})), "when takes no minute");
    bad(kitchen("when", json!(7)), "when must be a group of values");
}
