//! Tools that run a program of this machine, described in `[[home.command]]`.
//!
//! There is no shell: each argument of the call fills a place in one argument of the program and stays one argument,
//! whatever is in it. The program gets a small environment, no input, a time and an amount of output; what exceeds them is
//! killed with all it started. Runs as a future on the thread that awaits the call.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::risk::{Intent, Level};
use super::template::{Part, check, filled, parts, plain, spoken, words};
use super::{Answer, HomeError, Tool, failed, refused, request, result};
use crate::dialogue::{Arguments, Outcome, ToolResult, ToolSpec};

/// Variables that a program is given from hearth's own environment; others may hold secrets.
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "LANG", "TZ", "USER", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
/// How long output may come after the program has ended: from something that it left running.
const LATE: Duration = Duration::from_millis(100);

/// `[[home.command]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// Name of the tool.
    pub name: String,
    /// One sentence for the model.
    pub description: String,
    /// JSON schema of the parameters.
    #[serde(default)]
    pub parameters: Option<Value>,
    /// The program by its full path, then its arguments; `{name}` stands for an argument of the call.
    pub argv: Vec<String>,
    /// More variables for the program.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What is said when it ends well; `{output}` is the first line that it wrote.
    #[serde(default = "done")]
    pub say: String,
    /// How long it may run, in ms.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// How much it may write, in bytes.
    #[serde(default = "max_output_bytes")]
    pub max_output_bytes: usize,
}

pub(super) fn done() -> String {
    "Done.".to_owned()
}

pub(super) fn timeout_ms() -> u64 {
    2000
}

pub(super) fn max_output_bytes() -> usize {
    4096
}

/// The declaration of a tool from its parts in the configuration.
pub(super) fn spec(name: &str, description: &str, parameters: Option<&Value>) -> Result<ToolSpec, HomeError> {
    let mut declaration = json!({"name": name, "description": description});
    if let Some(parameters) = parameters {
        declaration["parameters"] = parameters.clone();
    }
    Ok(ToolSpec::from_json(&declaration)?)
}

/// The tools of the configuration.
///
/// # Errors
/// When a description is wrong: it names the tool.
pub fn tools(configs: &[CommandConfig]) -> Result<Vec<Box<dyn Tool>>, HomeError> {
    configs.iter().map(|config| CommandTool::new(config).map(|tool| Box::new(tool) as Box<dyn Tool>)).collect()
}

struct CommandTool {
    spec: ToolSpec,
    config: CommandConfig,
}

impl CommandTool {
    fn new(config: &CommandConfig) -> Result<Self, HomeError> {
        let wrong = |what: String| HomeError::Handler(format!("command {}: {what}", config.name));
        let spec = spec(&config.name, &config.description, config.parameters.as_ref())?;
        let Some((program, arguments)) = config.argv.split_first() else {
            return Err(wrong("argv is empty".to_owned()));
        };
        if !program.starts_with('/') || parts(program).iter().any(|part| matches!(part, Part::Place(_))) {
            return Err(wrong("argv begins with the full path of a program".to_owned()));
        }
        arguments.iter().try_for_each(|argument| check(argument, &spec, &[])).map_err(wrong)?;
        check(&config.say, &spec, &["output"]).map_err(wrong)?;
        if !(10..=10_000).contains(&config.timeout_ms) || !(1..=1_000_000).contains(&config.max_output_bytes) {
            return Err(wrong("timeout_ms is 10 to 10000, max_output_bytes 1 to 1000000".to_owned()));
        }
        Ok(Self { spec, config: config.clone() })
    }

    /// The arguments of the program. A lone place whose argument was not given falls away.
    fn argv(&self, arguments: &Arguments) -> Result<Vec<String>, String> {
        let mut argv = Vec::with_capacity(self.config.argv.len());
        let mut only_words = false;
        for template in &self.config.argv[1..] {
            let parts = parts(template);
            if let [Part::Place(name)] = parts.as_slice()
                && arguments.get(*name).is_none_or(Value::is_null)
            {
                continue;
            }
            let argument = filled(template, |name| plain(arguments, name));
            if argument.contains('\0') {
                return Err("an argument holds a null character".to_owned());
            }
            // A spoken word must not become an option. After `--` programs take nothing for one.
            let is_spoken = match parts.first() {
                Some(Part::Place(name)) => arguments.get(*name).is_some_and(Value::is_string),
                _ => false,
            };
            if is_spoken && !only_words && argument.starts_with('-') {
                return Err("an argument begins with a dash".to_owned());
            }
            only_words |= template == "--";
            argv.push(argument);
        }
        Ok(argv)
    }

    async fn run(&self, arguments: &Arguments) -> ToolResult {
        let name = &self.spec.name;
        let say = |what: &str| format!("The command {} {what}.", words(name));
        let argv = match self.argv(arguments) {
            Ok(argv) => argv,
            Err(reason) => return refused(name, &reason, "I cannot pass that on.".to_owned()),
        };
        let mut command = Command::new(&self.config.argv[0]);
        let kept = ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
        command.args(argv).env_clear().envs(kept).envs(&self.config.env);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Dropped with the future when the call is given up.
        command.process_group(0).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => return failed(name, &error.to_string(), say("cannot be started")),
        };
        let limit = Duration::from_millis(self.config.timeout_ms);
        match tokio::time::timeout(limit, child.finish(self.config.max_output_bytes)).await {
            Err(_) => failed(name, &format!("killed after {} ms", limit.as_millis()), say("took too long")),
            Ok(Err(reason)) => failed(name, &reason, say("failed")),
            Ok(Ok(output)) => {
                let output = spoken(&output);
                let value = |key: &str| if key == "output" { output.clone() } else { plain(arguments, key) };
                let said = filled(&self.config.say, value);
                result(name, Outcome::Done, &[("output", Value::from(output.as_str()))], said)
            }
        }
    }
}

/// A program that runs. It is killed, with what it started, when this is dropped before its end.
struct Running(Child);

impl Running {
    /// What it wrote, if it ended well.
    async fn finish(mut self, max_bytes: usize) -> Result<String, String> {
        let Some(mut out) = self.0.stdout.take() else { return Err("no output".to_owned()) };
        let mut output = Vec::new();
        let mut limited = (&mut out).take(max_bytes as u64 + 1);
        let read = tokio::select! {
            read = limited.read_to_end(&mut output) => read,
            ended = self.0.wait() => {
                ended.map_err(|error| error.to_string())?;
                tokio::time::timeout(LATE, limited.read_to_end(&mut output)).await.unwrap_or(Ok(0))
            }
        };
        read.map_err(|error| error.to_string())?;
        if output.len() > max_bytes {
            return Err(format!("it wrote more than {max_bytes} bytes"));
        }
        let status = self.0.wait().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(String::from_utf8_lossy(&output).into_owned()) } else { Err(status.to_string()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // No id any more once it has ended and was waited for.
        let group = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Tool for CommandTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Whatever a program does, it wants a yes, unless the configuration says otherwise.
    fn intent(&self, arguments: &Arguments) -> Intent {
        Intent::Do { to: request::words(&self.spec.name, arguments), level: Level::Confirm }
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        Box::pin(self.run(arguments))
    }
}
