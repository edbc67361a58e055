//! What the house can do: the seam between a call that the model made and whoever carries it out.
//!
//! Owns [`Tool`], one action of the house, and [`Registry`], all of them under their names. Never hears, speaks or
//! decides when to call. Runs on whichever thread awaits [`Registry::call`]: the daemon's runtime, or the caller's own
//! thread with [`Registry::call_blocking`].
//!
//! Every call ends in a [`ToolResult`] with a sentence that may be spoken. A tool never sees a name or an argument that
//! its declaration does not allow, and no call outlasts the registry's deadline.

pub mod audit;
pub mod command;
pub mod device;
pub mod hass;
pub mod house;
pub mod mqtt;
pub mod own;
pub mod phrase;
pub mod request;
pub mod resolve;
pub mod risk;
pub mod schema;
pub mod simulated;
mod template;
pub mod timers;
mod tls;
pub mod webhook;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use self::audit::AuditLog;
use self::house::House;
use self::own::Calendar;
use self::risk::{Intent, Level, RiskConfig};
use self::timers::SharedTimers;
use crate::dialogue::{Arguments, Consent, Effect, Outcome, ToolCall, ToolResult, ToolSpec, TurnId};

pub use house::HomeConfig;
pub use simulated::{SimulatedConfig, SimulatedHome, simulated_registry};

/// How long one call may take, in seconds, unless the registry is told otherwise: longer silence after a command is
/// taken for deafness (field notes, S17).
pub const DEADLINE_S: u64 = 3;

/// What a tool gives back: the result, once its backend has confirmed or failed.
pub type Answer<'a> = Pin<Box<dyn Future<Output = ToolResult> + 'a>>;

/// One action of the house.
pub trait Tool: Send {
    /// The declaration: what the model may call and what [`Tool::call`] may be given.
    fn spec(&self) -> &ToolSpec;

    /// What the call would do, in words, and what that takes; asked before each call. It touches nothing.
    fn intent(&self, arguments: &Arguments) -> Intent {
        Intent::Do { to: request::words(&self.spec().name, arguments), level: Level::Free }
    }

    /// Carries the call out. `arguments` have passed [`schema::check`] against [`Tool::spec`].
    ///
    /// The future must await and never block: a blocked thread cannot see the deadline.
    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a>;
}

/// Why a home could not be set up. All of these are faults of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Two tools have one name.
    #[error("the tool {0} exists twice")]
    DuplicateTool(String),
    /// A declared tool that this home cannot carry out.
    #[error("the tool {0} is declared, but nothing carries it out")]
    NoHandler(String),
    /// A declaration is wrong.
    #[error(transparent)]
    Schema(#[from] schema::SchemaError),
    /// A handler is described wrongly: its section, and what is wrong.
    #[error("home.{0}")]
    Handler(String),
    /// The description of the home is wrong.
    #[error("the simulated home: {0}")]
    Config(String),
    /// Home Assistant cannot even be tried.
    #[error(transparent)]
    HomeAssistant(#[from] hass::HomeAssistantError),
}

/// All tools of a home, by name.
pub struct Registry {
    tools: Vec<Box<dyn Tool>>,
    by_name: BTreeMap<String, usize>,
    deadline: Duration,
    risk: RiskConfig,
    min_margin: f32,
    audit: Option<AuditLog>,
}

impl Registry {
    /// A registry in which a call may take `deadline` at most.
    ///
    /// # Errors
    /// [`HomeError::DuplicateTool`] when two tools have the same name.
    pub fn new(tools: Vec<Box<dyn Tool>>, deadline: Duration) -> Result<Self, HomeError> {
        let mut by_name = BTreeMap::new();
        for (index, tool) in tools.iter().enumerate() {
            let name = tool.spec().name.clone();
            if by_name.insert(name.clone(), index).is_some() {
                return Err(HomeError::DuplicateTool(name));
            }
        }
        Ok(Self { tools, by_name, deadline, risk: RiskConfig::default(), min_margin: 0.0, audit: None })
    }

    /// The registry with levels for its tools, and with the margin below which a call is asked back (0: never).
    #[must_use]
    pub fn careful(self, risk: &RiskConfig, min_margin: f32) -> Self {
        Self { risk: risk.clone(), min_margin, ..self }
    }

    /// The registry with a log of its calls.
    #[must_use]
    pub fn audited(self, audit: Option<AuditLog>) -> Self {
        Self { audit, ..self }
    }

    /// The registry with one more tool.
    ///
    /// # Errors
    /// [`HomeError::DuplicateTool`] when there is a tool of this name already.
    pub fn with(mut self, tool: Box<dyn Tool>) -> Result<Self, HomeError> {
        let name = tool.spec().name.clone();
        if self.by_name.insert(name.clone(), self.tools.len()).is_some() {
            return Err(HomeError::DuplicateTool(name));
        }
        self.tools.push(tool);
        Ok(self)
    }

    /// The declarations, in the order in which the tools were given.
    #[must_use]
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.tools.iter().map(|tool| tool.spec().clone()).collect()
    }

    /// [`Registry::call_in`] of no turn.
    pub async fn call(&self, call: &ToolCall) -> ToolResult {
        self.call_in(None, call).await
    }

    /// Checks the call and carries it out, if that takes no yes or somebody said it; `turn` is for the audit log.
    ///
    /// Must be awaited in a tokio runtime whose timer is enabled. An unknown tool and unfit arguments are
    /// [`Outcome::Refused`] and reach no tool; no answer within the deadline is [`Outcome::Failed`]. A call that wants a
    /// yes is [`Outcome::Asked`] with [`Effect::Confirm`] or [`Effect::Choose`].
    pub async fn call_in(&self, turn: Option<TurnId>, call: &ToolCall) -> ToolResult {
        let began = Instant::now();
        let result = self.checked(call).await;
        if let Some(audit) = &self.audit {
            audit.write(turn, call, &result, began.elapsed());
        }
        result
    }

    async fn checked(&self, call: &ToolCall) -> ToolResult {
        let Some(tool) = self.by_name.get(&call.name).map(|&index| &self.tools[index]) else {
            let error = format!("there is no tool {}", call.name);
            return refused(&call.name, &error, "That is nothing I can do here.".to_owned());
        };
        let arguments = match schema::check(tool.spec(), &call.arguments) {
            Ok(arguments) => arguments,
            Err(reason) => {
                let say = format!("I cannot do that: {reason}.");
                return refused(&call.name, &reason, say);
            }
        };
        if let Some(answer) = self.held_back(call, tool.intent(&arguments)) {
            return answer;
        }
        match tokio::time::timeout(self.deadline, tool.call(&arguments)).await {
            Ok(result) => result,
            Err(_) => failed(
                &call.name,
                &format!("no answer within {} ms", self.deadline.as_millis()),
                "The home did not answer in time.".to_owned(),
            ),
        }
    }

    /// The answer to a call that is not carried out now: it is not done by voice, or wants a yes first.
    fn held_back(&self, call: &ToolCall, intent: Intent) -> Option<ToolResult> {
        let name = &call.name;
        let (to, level) = match intent {
            Intent::Answer(answer) => return Some(answer),
            Intent::Nothing => return None,
            Intent::Do { to, level } => (to, self.risk.of_tool(name).unwrap_or(level)),
        };
        let doubtful = self.min_margin > 0.0 && call.margin.is_some_and(|margin| margin < self.min_margin);
        let question = match (&call.consent, level) {
            (Consent::ByHand, _) => return None,
            (_, Level::Never) => {
                return Some(refused(name, "never by voice", format!("I may not {to} by voice.")));
            }
            // A yes is to what was asked then. What it would be to now may be another thing.
            (Consent::Spoken(agreed), _) if *agreed == to => {
                // Less than nothing: something else was more likely said.
                let doubtful = doubtful || call.margin.is_some_and(|margin| margin < 0.0);
                return doubtful.then(|| {
                    let say = "I am not sure that you said yes, so I left it.".to_owned();
                    refused(name, "the yes was doubtful", say)
                });
            }
            (_, Level::Confirm) => format!("Shall I {to}?"),
            (_, Level::Free) if doubtful => match self.rival(call).filter(|other| *other != to) {
                Some(other) => {
                    let question = format!("Did you want me to {}?", request::either(&to, &other));
                    return Some(ToolResult { effect: Some(Effect::Choose(to)), ..asked(name, question) });
                }
                None => format!("Did you want me to {to}?"),
            },
            (_, Level::Free) => return None,
        };
        Some(ToolResult { effect: Some(Effect::Confirm(to)), ..asked(name, question) })
    }

    /// What the call might have been instead, in words, if that makes sense here.
    fn rival(&self, call: &ToolCall) -> Option<String> {
        let rival = call.rival.as_ref()?;
        let tool = self.by_name.get(&rival.name).map(|&index| &self.tools[index])?;
        match tool.intent(&schema::check(tool.spec(), &rival.arguments).ok()?) {
            Intent::Do { to, .. } => Some(to),
            Intent::Nothing | Intent::Answer(_) => None,
        }
    }

    /// [`Registry::call`] for callers without a runtime. Blocks the thread for the deadline at most.
    ///
    /// Inside a runtime it fails every call; there, await [`Registry::call`].
    #[must_use]
    pub fn call_blocking(&self, call: &ToolCall) -> ToolResult {
        let broken = |error: String| failed(&call.name, &error, "Something went wrong, nothing was done.".to_owned());
        if tokio::runtime::Handle::try_current().is_ok() {
            return broken("called from inside a runtime, which may not be blocked".to_owned());
        }
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.call(call)),
            Err(error) => broken(format!("no runtime: {error}")),
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Registry")
            .field("tools", &self.by_name.keys())
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// A registry of all `tools` over a house, timers and the tools that need neither.
///
/// # Errors
/// [`HomeError::NoHandler`] for a tool that nothing carries out, and [`HomeError::DuplicateTool`].
pub fn registry(
    tools: &[ToolSpec],
    house: &Arc<House>,
    timers: &SharedTimers,
    calendar: &Calendar,
) -> Result<Registry, HomeError> {
    let handler = |spec: &ToolSpec| {
        let tool = house.tool(spec).or_else(|| timers.tool(spec)).or_else(|| own::tool(spec, calendar));
        tool.ok_or_else(|| HomeError::NoHandler(spec.name.clone()))
    };
    let handlers: Result<Vec<Box<dyn Tool>>, HomeError> = tools.iter().map(handler).collect();
    Registry::new(handlers?, Duration::from_secs(DEADLINE_S))
}

/// A result whose content begins with its outcome.
fn result(tool: &str, outcome: Outcome, details: &[(&str, Value)], say: String) -> ToolResult {
    let word = match outcome {
        Outcome::Done => "done",
        Outcome::Asked => "asked",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    };
    let mut content = Map::new();
    content.insert("outcome".to_owned(), Value::from(word));
    for (key, value) in details {
        content.insert((*key).to_owned(), value.clone());
    }
    ToolResult { name: tool.to_owned(), outcome, content, say: Some(say), effect: None }
}

/// Gives a file to whom its folder belongs, also where root made it: the service could not read it otherwise. Who may not
/// do that leaves it as it is.
fn hand_over(file: &File, folder: &Path) {
    if let (Ok(file_is), Ok(folder_is)) = (file.metadata(), fs::metadata(folder))
        && file_is.uid() != folder_is.uid()
    {
        let _ = fchown(file, Some(folder_is.uid()), Some(folder_is.gid()));
    }
}

/// A call that came true; `say` is spoken.
#[must_use]
pub fn done(tool: &str, say: String) -> ToolResult {
    result(tool, Outcome::Done, &[], say)
}

fn refused(tool: &str, error: &str, say: String) -> ToolResult {
    result(tool, Outcome::Refused, &[("error", Value::from(error))], say)
}

fn failed(tool: &str, error: &str, say: String) -> ToolResult {
    result(tool, Outcome::Failed, &[("error", Value::from(error))], say)
}

fn asked(tool: &str, question: String) -> ToolResult {
    let details = [("question", Value::from(question.as_str()))];
    result(tool, Outcome::Asked, &details, question)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    /// A tool that answers after a while, or never, and counts how often it was reached.
    struct Slow {
        spec: ToolSpec,
        delay_ms: u64,
        reached: Arc<AtomicUsize>,
    }

    impl Tool for Slow {
        fn spec(&self) -> &ToolSpec {
            &self.spec
        }

        fn call<'a>(&'a self, _arguments: &'a Arguments) -> Answer<'a> {
            Box::pin(async move {
                self.reached.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
                done(&self.spec.name, "Done.".to_owned())
            })
        }
    }

    fn slow(name: &str, delay_ms: u64, reached: &Arc<AtomicUsize>) -> Box<dyn Tool> {
        let spec = ToolSpec::from_json(&json!({
            "name": name, "description": "Waits.",
            "parameters": {"type": "object", "properties": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}}}
        }));
        Box::new(Slow { spec: spec.unwrap(), delay_ms, reached: Arc::clone(reached) })
    }

    #[test]
    fn calls_are_checked_and_bounded() {
        let reached = Arc::new(AtomicUsize::new(0));
        let tools = vec![slow("quick", 0, &reached), slow("stuck", 60_000, &reached)];
        let registry = Registry::new(tools, Duration::from_millis(30)).unwrap();
        let check = |name: &str, arguments: Value, outcome: Outcome, say: &str, calls: usize| {
            reached.store(0, Ordering::Relaxed);
            let call = ToolCall::new(name, arguments.as_object().unwrap().clone());
            let result = registry.call_blocking(&call);
            assert_eq!(result.name, name);
            assert_eq!(result.outcome, outcome, "{name} {arguments}");
            assert_eq!(result.say.as_deref(), Some(say), "{name} {arguments}");
            assert_eq!(reached.load(Ordering::Relaxed), calls, "{name} {arguments}");
        };
        check("quick", json!({}), Outcome::Done, "Done.", 1);
        check("stuck", json!({}), Outcome::Failed, "The home did not answer in time.", 1);
        check("self_destruct", json!({}), Outcome::Refused, "That is nothing I can do here.", 0);
        check("Quick", json!({}), Outcome::Refused, "That is nothing I can do here.", 0);
        check(
            "quick",
            json!({"percent": 140}),
            Outcome::Refused,
            "I cannot do that: percent must be between 0 and 100.",
            0,
        );
        check("quick", json!({"speed": 1}), Outcome::Refused, "I cannot do that: quick takes no speed.", 0);
    }

    #[test]
    fn names_are_unique() {
        let reached = Arc::new(AtomicUsize::new(0));
        let tools = vec![slow("one", 0, &reached), slow("one", 0, &reached)];
        let error = Registry::new(tools, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "the tool one exists twice");
        let registry = Registry::new(vec![slow("one", 0, &reached)], Duration::from_secs(1)).unwrap();
        let registry = registry.with(slow("two", 0, &reached)).unwrap();
        assert_eq!(registry.specs().len(), 2);
        assert_eq!(registry.with(slow("two", 0, &reached)).unwrap_err().to_string(), "the tool two exists twice");
    }
}
