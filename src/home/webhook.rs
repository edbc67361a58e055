//! Tools that call a URL, described in `[[home.webhook]]`.
//!
//! Plain HTTP, for services in the house. Arguments are encoded for the place where they stand: percent in the URL, JSON in
//! the body. No redirects, a time and an amount of answer. The request blocks, so it runs on the runtime's threads for that;
//! what comes back after the call was given up is dropped.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, Uri};

use super::command::{done, max_output_bytes, spec, timeout_ms};
use super::template::{check, filled, plain, spoken, words};
use super::{Answer, HomeError, Tool, failed, refused, result};
use crate::dialogue::{Arguments, Outcome, ToolResult, ToolSpec};

/// `[[home.webhook]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Name of the tool.
    pub name: String,
    /// One sentence for the model.
    pub description: String,
    /// JSON schema of the parameters.
    #[serde(default)]
    pub parameters: Option<Value>,
    /// `http://host/path`; `{name}` stands for an argument of the call, in the path or the query.
    pub url: String,
    /// `GET`, `POST`, `PUT` or `DELETE`; `POST` if not given.
    #[serde(default = "post")]
    pub method: String,
    /// What is sent, as JSON; `{name}` stands for an argument of the call with the quotes that it needs.
    #[serde(default)]
    pub body: Option<String>,
    /// More headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A file whose first line is sent as `Authorization: Bearer`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// What is said when it went well; `{output}` is the first line of the answer.
    #[serde(default = "done")]
    pub say: String,
    /// How long it may take, in ms.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// How much of the answer is read, in bytes.
    #[serde(default = "max_output_bytes")]
    pub max_output_bytes: usize,
}

fn post() -> String {
    "POST".to_owned()
}

/// The tools of the configuration.
///
/// # Errors
/// When a description is wrong or a token cannot be read: it names the tool.
pub fn tools(configs: &[WebhookConfig]) -> Result<Vec<Box<dyn Tool>>, HomeError> {
    configs.iter().map(|config| WebhookTool::new(config).map(|tool| Box::new(tool) as Box<dyn Tool>)).collect()
}

struct WebhookTool {
    spec: ToolSpec,
    config: WebhookConfig,
    method: Method,
    token: Option<String>,
    agent: Agent,
}

impl WebhookTool {
    fn new(config: &WebhookConfig) -> Result<Self, HomeError> {
        let wrong = |what: String| HomeError::Handler(format!("webhook {}: {what}", config.name));
        let spec = spec(&config.name, &config.description, config.parameters.as_ref())?;
        let rest = config.url.strip_prefix("http://").unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if host.is_empty() || host.contains(['{', '@']) {
            return Err(wrong("url is http://host/path, with arguments only after the host".to_owned()));
        }
        for template in [Some(&config.url), config.body.as_ref()].into_iter().flatten() {
            check(template, &spec, &[]).map_err(wrong)?;
        }
        check(&config.say, &spec, &["output"]).map_err(wrong)?;
        let method = match config.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "DELETE" => Method::DELETE,
            other => return Err(wrong(format!("method {other} is none of GET, POST, PUT, DELETE"))),
        };
        if !(10..=10_000).contains(&config.timeout_ms) || !(1..=1_000_000).contains(&config.max_output_bytes) {
            return Err(wrong("timeout_ms is 10 to 10000, max_output_bytes 1 to 1000000".to_owned()));
        }
        let token = match &config.token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| wrong(format!("token_file {}: {error}", path.display())))?;
                Some(text.lines().next().unwrap_or_default().trim().to_owned())
            }
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let tool = Self { spec, config: config.clone(), method, token, agent: agent.into() };
        // Headers are fixed, so a wrong one is found here.
        tool.request(&Arguments::new()).map_err(wrong)?;
        Ok(tool)
    }

    fn request(&self, arguments: &Arguments) -> Result<Request<String>, String> {
        let url = filled(&self.config.url, |name| percent_encoded(&plain(arguments, name)));
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let json = |name: &str| arguments.get(name).map_or_else(|| "null".to_owned(), Value::to_string);
        let body = self.config.body.as_ref().map(|body| filled(body, json));
        if body.is_some() && !self.config.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "application/json");
        }
        // A message that names the token would end up in a log.
        request.body(body.unwrap_or_default()).map_err(|_| "a header or the URL is not valid".to_owned())
    }

    async fn send(&self, arguments: &Arguments) -> ToolResult {
        let name = &self.spec.name;
        let what = words(name);
        let request = match self.request(arguments) {
            Ok(request) => request,
            Err(reason) => return refused(name, &reason, "I cannot pass that on.".to_owned()),
        };
        let (agent, max_bytes) = (self.agent.clone(), self.config.max_output_bytes);
        let work = tokio::task::spawn_blocking(move || exchange(&agent, request, max_bytes));
        match work.await.unwrap_or_else(|error| Err(error.to_string())) {
            Err(error) => failed(name, &error, format!("The service for {what} cannot be reached.")),
            Ok((status, _)) if !(200..300).contains(&status) => {
                failed(name, &format!("status {status}"), format!("The service for {what} reported an error."))
            }
            Ok((status, answer)) => {
                let output = spoken(&answer);
                let value = |key: &str| if key == "output" { output.clone() } else { plain(arguments, key) };
                let said = filled(&self.config.say, value);
                let details = [("status", Value::from(status)), ("output", Value::from(output.as_str()))];
                result(name, Outcome::Done, &details, said)
            }
        }
    }
}

/// Sends the request; gives the status and the beginning of the answer.
fn exchange(agent: &Agent, request: Request<String>, max_bytes: usize) -> Result<(u16, String), String> {
    let mut response = agent.run(request).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let reader = response.body_mut().as_reader();
    reader.take(max_bytes as u64).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok((response.status().as_u16(), String::from_utf8_lossy(&bytes).into_owned()))
}

/// All but letters, digits and `-._~` as `%` and two hexadecimal digits.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

impl Tool for WebhookTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, arguments: &'a Arguments) -> Answer<'a> {
        Box::pin(self.send(arguments))
    }
}
