//! README's example of a tool, word for word, and that it works.

// README begins
use hearth::dialogue::{Arguments, Outcome, ToolResult, ToolSpec};
use hearth::home::{Answer, Tool};
use serde_json::json;

/// Waters the garden.
struct Sprinkler(ToolSpec);

impl Sprinkler {
    fn new() -> Self {
        let minutes = json!({"type": "integer", "minimum": 1, "maximum": 60});
        let parameters = json!({"type": "object", "properties": {"minutes": minutes}, "required": ["minutes"]});
        let spec = json!({"name": "water_garden", "description": "Waters the garden", "parameters": parameters});
        Self(ToolSpec::from_json(&spec).expect("the declaration is right above"))
    }
}

impl Tool for Sprinkler {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        Box::pin(async move {
            // Open the valve here, and look whether it is open: `say` is spoken as a fact.
            let say = format!("The garden is watered for {} minutes.", arguments["minutes"]);
            ToolResult { name: self.0.name.clone(), outcome: Outcome::Done, content: arguments.clone(), say: Some(say) }
        })
    }
}
// README ends

#[test]
fn the_example_is_carried_out_and_checked() {
    let deadline = std::time::Duration::from_secs(1);
    let registry = hearth::home::Registry::new(vec![Box::new(Sprinkler::new())], deadline).expect("one tool");
    let call = |minutes: i64| {
        let arguments = Arguments::from_iter([("minutes".to_string(), json!(minutes))]);
        registry.call_blocking(&hearth::dialogue::ToolCall { name: "water_garden".to_string(), arguments })
    };
    let result = call(5);
    assert_eq!(result.outcome, Outcome::Done);
    assert_eq!(result.say.as_deref(), Some("The garden is watered for 5 minutes."));
    assert_eq!(call(90).outcome, Outcome::Refused);
}

#[test]
fn readme_shows_this_example() {
    let source = include_str!("add_a_tool.rs");
    let example = source.split("// README begins\n").nth(1).and_then(|rest| rest.split("// README ends").next());
    let example = example.expect("the two marks above");
    assert!(
        include_str!("../README.md").contains(&format!("```rust\n{example}```\n")),
        "README.md differs:\n{example}"
    );
}
