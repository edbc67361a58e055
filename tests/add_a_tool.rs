//! README's example of a tool, word for word, and that it works.

// README begins
use hearth::dialogue::{Arguments, ToolSpec};
use hearth::home::{Answer, Tool, done};
use serde_json::json;

struct Sprinkler(ToolSpec);

fn sprinkler() -> Box<dyn Tool> {
    let minutes = json!({"type": "integer", "minimum": 1, "maximum": 60});
    let parameters = json!({"type": "object", "properties": {"minutes": minutes}, "required": ["minutes"]});
    let spec = json!({"name": "water_garden", "description": "Waters the garden", "parameters": parameters});
    Box::new(Sprinkler(ToolSpec::from_json(&spec).expect("the declaration is right above")))
}

impl Tool for Sprinkler {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        // Open the valve here, and look whether it is open: what is said is taken for a fact.
        let say = format!("The garden is watered for {} minutes.", arguments["minutes"]);
        Box::pin(async move { done(&self.0.name, say) })
    }
}
// README ends

#[test]
fn the_example_is_carried_out_and_checked() {
    let deadline = std::time::Duration::from_secs(1);
    let registry = hearth::home::Registry::new(Vec::new(), deadline).expect("no tools");
    let registry = registry.with(sprinkler()).expect("one tool");
    let call = |minutes: i64| {
        let arguments = Arguments::from_iter([("minutes".to_string(), json!(minutes))]);
        registry.call_blocking(&hearth::dialogue::ToolCall::new("water_garden", arguments))
    };
    let result = call(5);
    assert_eq!(result.outcome, hearth::dialogue::Outcome::Done);
    assert_eq!(result.say.as_deref(), Some("The garden is watered for 5 minutes."));
    assert_eq!(call(90).outcome, hearth::dialogue::Outcome::Refused);
}

#[test]
fn readme_shows_this_example_of_20_lines_and_where_it_goes() {
    let source = include_str!("add_a_tool.rs");
    let example = source.split("// README begins\n").nth(1).and_then(|rest| rest.split("// README ends").next());
    let example = example.expect("the two marks above");
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("```rust\n{example}```\n")), "README.md differs:\n{example}");
    assert_eq!(example.lines().filter(|line| !line.is_empty()).count(), 20);
    let home = include_str!("../src/ask/household.rs")
        .split("pub fn household_with(")
        .nth(1)
        .expect("where README says that it goes");
    let body = home.split("\n}\n").next().expect("split gives at least one part");
    assert!(body.contains("// A tool of your own goes here, see README.\n    Ok(Household { teller: teller.of(&registry), tools: registry,"));
}
