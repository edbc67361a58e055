//! Tools that run programs and call URLs: real small programs, and a server of the test.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hearth::dialogue::{Consent, Outcome, ToolCall, ToolResult};
use hearth::home::command::{self, CommandConfig};
use hearth::home::webhook::{self, WebhookConfig};
use hearth::home::{Registry, Tool};
use serde_json::{Value, json};

fn call(tools: Vec<Box<dyn Tool>>, name: &str, arguments: Value) -> ToolResult {
    let registry = Registry::new(tools, Duration::from_secs(3)).unwrap();
    // By voice a program wants a yes first.
    let call = ToolCall { consent: Consent::ByHand, ..ToolCall::new(name, arguments.as_object().unwrap().clone()) };
    registry.call_blocking(&call)
}

fn run(argv: &[&str], more: &str, arguments: Value) -> ToolResult {
    let text = format!(
        "name = \"try_it\"\ndescription = \"Tries it\"\nargv = {}\n{more}\n\
         [parameters]\ntype = \"object\"\n[parameters.properties]\n\
         word = {{ type = \"string\" }}\nlevel = {{ type = \"integer\", minimum = -10, maximum = 10 }}\n",
        json!(argv)
    );
    let config: CommandConfig = toml::from_str(&text).unwrap();
    call(command::tools(&[config]).unwrap(), "try_it", arguments)
}

#[test]
fn programs() {
    let check = |argv: &[&str], more: &str, arguments: Value, outcome: Outcome, say: &str| {
        let result = run(argv, more, arguments.clone());
        assert_eq!(result.say.as_deref(), Some(say), "{argv:?} {arguments} {:?}", result.content);
        assert_eq!(result.outcome, outcome, "{argv:?} {arguments}");
    };
    use Outcome::{Done, Failed, Refused};
    let out = "say = \"It says {output}.\"";
    let echo = "/bin/echo";
    check(&["/bin/true"], "", json!({}), Done, "Done.");
    check(&["/bin/false"], "", json!({}), Failed, "The command try it failed.");
    check(&["/nowhere/at/all"], "", json!({}), Failed, "The command try it cannot be started.");
    check(&[echo, "{word}", "at", "{level}"], out, json!({"word": "up", "level": 3}), Done, "It says up at 3.");
    // No shell: whatever is in it, it is one argument.
    check(
        &[echo, "{word}"],
        out,
        json!({"word": "$(id); `id` > /tmp/x | 'a' && b"}),
        Done,
        "It says $(id); `id` > /tmp/x | 'a' && b.",
    );
    check(&["/usr/bin/printf", "<%s>", "{word}", "b"], out, json!({"word": "a  c\nd"}), Done, "It says <a  c.");
    // What was not given falls away, what has text beside it stays.
    check(&["/usr/bin/printf", "<%s>", "{word}", "x{level}"], out, json!({}), Done, "It says <x>.");
    check(&[echo, "{word}"], out, json!({"word": "{level}", "level": 3}), Done, "It says {level}.");
    // A word is no option, a number is.
    check(&["/bin/cat", "{word}"], out, json!({"word": "--version"}), Refused, "I cannot pass that on.");
    check(&[echo, "--", "{word}"], out, json!({"word": "--version"}), Done, "It says -- --version.");
    check(&[echo, "{level}"], out, json!({"level": -4}), Done, "It says -4.");
    check(
        &[echo, "{level}"],
        out,
        json!({"level": 11}),
        Refused,
        "I cannot do that: level must be between -10 and 10.",
    );
    check(&[echo, "{word}"], out, json!({"word": "a\u{0}b"}), Refused, "I cannot pass that on.");
    // Bounds.
    check(&["/bin/sleep", "5"], "timeout_ms = 100", json!({}), Failed, "The command try it took too long.");
    check(&["/usr/bin/yes"], "", json!({}), Failed, "The command try it failed.");
    check(&["/usr/bin/head", "-c", "4096", "/dev/zero"], "", json!({}), Done, "Done.");
    check(&["/usr/bin/head", "-c", "4097", "/dev/zero"], "", json!({}), Failed, "The command try it failed.");
    check(&["/bin/cat"], "", json!({}), Done, "Done.");
    // Secrets of hearth's environment are not passed on.
    check(&["/usr/bin/printenv", "CARGO_MANIFEST_DIR"], out, json!({}), Failed, "The command try it failed.");
    check(&["/usr/bin/printenv", "COLOR"], "env = { COLOR = \"red\" }\nsay = \"{output}\"", json!({}), Done, "red");
}

#[test]
fn what_a_program_started_is_ended_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mark, script) = (dir.path().join("mark"), dir.path().join("script"));
    std::fs::write(&script, format!("#!/bin/sh\n(sleep 1; touch {}) &\nsleep 5\n", mark.display())).unwrap();
    let result = run(&["/bin/sh", script.to_str().unwrap()], "timeout_ms = 200", json!({}));
    assert_eq!(result.outcome, Outcome::Failed);
    std::thread::sleep(Duration::from_millis(1300));
    assert!(!mark.exists(), "its child went on");
    // One that leaves something behind and ends well is not waited for.
    std::fs::write(&script, "#!/bin/sh\nsleep 2 &\necho left\n").unwrap();
    let began = Instant::now();
    let result = run(&["/bin/sh", script.to_str().unwrap()], "say = \"{output}\"", json!({}));
    assert_eq!((result.outcome, result.say.as_deref()), (Outcome::Done, Some("left")));
    assert!(began.elapsed() < Duration::from_millis(1500));
}

/// A server that answers each request so, or not at all; gives what it was asked.
fn server(answer: Option<String>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                request.extend_from_slice(&bytes[..count]);
            }
            let _ = sender.send(String::from_utf8(request).unwrap());
            match &answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes())),
                None => open.push(stream),
            }
        }
    });
    (port, receiver)
}

fn hook(url: &str, more: &str) -> Result<Vec<Box<dyn Tool>>, String> {
    let text = format!(
        "name = \"call_it\"\ndescription = \"Calls it\"\nurl = \"{url}\"\n{more}\n\
         [parameters]\ntype = \"object\"\n[parameters.properties]\n\
         word = {{ type = \"string\" }}\nlevel = {{ type = \"integer\", minimum = 0, maximum = 10 }}\n"
    );
    let config: WebhookConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
    webhook::tools(&[config]).map_err(|error| error.to_string())
}

#[test]
fn urls() {
    let check = |answer: Option<&str>, more: &str, arguments: Value, outcome: Outcome, say: &str, asked: &[&str]| {
        let (port, requests) = server(answer.map(str::to_owned));
        let tools = hook(&format!("http://127.0.0.1:{port}/a/{{word}}?level={{level}}"), more).unwrap();
        let began = Instant::now();
        let result = call(tools, "call_it", arguments);
        assert_eq!(result.say.as_deref(), Some(say), "{:?}", result.content);
        assert_eq!(result.outcome, outcome);
        assert!(began.elapsed() < Duration::from_millis(2900));
        let request = requests.recv().unwrap();
        for part in asked {
            assert!(request.to_lowercase().contains(&part.to_lowercase()), "{request}");
        }
        assert!(requests.try_recv().is_err(), "asked once");
    };
    use Outcome::{Done, Failed};
    let ok = Some("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n");
    let out = "say = \"It says {output}.\"";
    let given = json!({"word": "a b/ö?&\"{level}", "level": 3});
    let path = "POST /a/a%20b%2F%C3%B6%3F%26%22%7Blevel%7D?level=3 HTTP/1.1";
    check(ok, out, given.clone(), Done, "It says fine.", &[path]);
    check(ok, "method = \"GET\"", json!({}), Done, "Done.", &["GET /a/?level= HTTP/1.1"]);
    let body = "body = '{\"word\": {word}, \"level\": {level}}'\nheaders = { X-Own = \"yes\" }";
    let sent = "{\"word\": \"a b/ö?&\\\"{level}\", \"level\": 3}";
    check(ok, body, given, Done, "Done.", &["content-type: application/json", "x-own: yes", sent]);
    check(ok, body, json!({"word": "x"}), Done, "Done.", &["{\"word\": \"x\", \"level\": null}"]);
    let error = "The service for call it reported an error.";
    check(Some("HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), "", json!({}), Failed, error, &[]);
    check(
        Some("HTTP/1.1 302 Go\r\nLocation: /b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        "",
        json!({}),
        Failed,
        error,
        &[],
    );
    let gone = "The service for call it cannot be reached.";
    check(None, "timeout_ms = 300", json!({}), Failed, gone, &[]);
    check(Some("not http at all\r\n\r\n"), "", json!({}), Failed, gone, &[]);
    let long = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(1_000_000));
    check(Some(&long), "say = \"{output}\"", json!({}), Done, &"x".repeat(200), &[]);
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "abc123\n").unwrap();
    check(
        ok,
        &format!("token_file = \"{}\"", token.display()),
        json!({}),
        Done,
        "Done.",
        &["authorization: bearer abc123"],
    );
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let result = call(hook(&format!("http://127.0.0.1:{port}/"), "").unwrap(), "call_it", json!({}));
    assert_eq!(result.say.as_deref(), Some("The service for call it cannot be reached."));
}

#[test]
fn mistakes_in_a_description() {
    let check = |url: &str, more: &str, expected: &str| {
        let error = hook(url, more).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check("https://a/b", "", "http://host/path");
    check("http:///b", "", "http://host/path");
    check("http://{word}/b", "", "arguments only after the host");
    check("http://u:p@a/b", "", "http://host/path");
    check("http://a/{size}", "", "`{size}` is no parameter of call_it");
    check("http://a/", "body = '{\"a\": {size}}'", "`{size}` is no parameter");
    check("http://a/", "method = \"SHUT\"", "method SHUT");
    check("http://a/", "timeout_ms = 1", "timeout_ms");
    check("http://a/", "headers = { \"a b\" = \"c\" }", "a header");
    check("http://a/", "token_file = \"/nowhere\"", "token_file /nowhere");
    check("http://a/", "shout = true", "unknown field");
    let program = |argv: &[&str], expected: &str| {
        let config: CommandConfig =
            toml::from_str(&format!("name = \"a\"\ndescription = \"b\"\nargv = {}", json!(argv))).unwrap();
        let error = command::tools(&[config]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    program(&[], "argv is empty");
    program(&["echo"], "full path");
    program(&["/bin/{x}"], "full path");
    program(&["/bin/echo", "{x}"], "`{x}` is no parameter of a");
}
