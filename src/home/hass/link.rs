//! One WebSocket connection to Home Assistant: the address, the token, the handshake, messages in and out.
//!
//! Owns the socket. Never tries again and never remembers what was asked:
//! that is the connection's.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::http::StatusCode;
pub(super) use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

/// The file of systemd's credentials folder that holds the token.
const CREDENTIAL: &str = "home-assistant-token";
/// A token is shorter than this; whatever is longer is another file.
const MAX_TOKEN_BYTES: u64 = 8192;
/// The handshake and the greeting may take so long together.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A message that cannot be written within this time goes to a server that does not read.
const WRITE: Duration = Duration::from_secs(2);
/// The registries of a very large home stay below this.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// So much of what a server says is repeated in a message.
const MAX_QUOTE_CHARS: usize = 200;

/// Why there is no connection, or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// Try again.
    Gone(String),
    /// Try again, but only after the longest pause: the server turned this machine away.
    TurnedAway(String),
    /// Do not try again with this token.
    Unauthorised(String),
    /// Nobody holds a handle any more.
    Closed,
}

/// A token; it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(***)")
    }
}

impl Token {
    /// Reads the token; the error says what is wrong with the file and none of its content.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let bytes = std::fs::metadata(path).map_err(fail)?.len();
        let text = if bytes > MAX_TOKEN_BYTES { String::new() } else { std::fs::read_to_string(path).map_err(fail)? };
        let token = text.trim();
        if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!("{} does not hold a token", path.display()));
        }
        Ok(Self(token.to_owned()))
    }
}

/// Where the token is: the file of the configuration, or the one that systemd passes on.
pub(super) fn token_path(configured: Option<&Path>) -> Option<PathBuf> {
    let passed = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    configured.map(Path::to_path_buf).or_else(|| Some(PathBuf::from(passed?).join(CREDENTIAL)))
}

/// The WebSocket address of a server at `url`, `http://homeassistant.local:8123`.
pub(super) fn endpoint(url: &str) -> Result<Uri, String> {
    let wrong = || format!("{url} is no address such as http://homeassistant.local:8123");
    let (scheme, rest) = url.trim().split_once("://").ok_or_else(wrong)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix("/api/websocket").or_else(|| rest.strip_suffix("/api")).unwrap_or(rest);
    let uri: Uri = format!("{scheme}://{rest}/api/websocket").parse().map_err(|_| wrong())?;
    // Names and passwords have no place in an address that is logged.
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if plain && uri.query().is_none() { Ok(uri) } else { Err(wrong()) }
}

/// Is the connection to be encrypted?
pub(super) fn is_encrypted(endpoint: &Uri) -> bool {
    endpoint.scheme_str() == Some("wss")
}

/// An open connection on which the server has accepted the token.
pub(super) struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages that came together with others.
    waiting: VecDeque<Value>,
    /// The server's version, as it says.
    pub(super) version: String,
}

impl Link {
    /// Connects and shows the token.
    pub(super) async fn open(endpoint: &Uri, trust: Option<Arc<ClientConfig>>, token: &Token) -> Result<Self, Lost> {
        let opened = timeout(HANDSHAKE, Self::greeted(endpoint, trust, token)).await;
        opened.unwrap_or_else(|_| Err(Lost::Gone(format!("no answer within {} s", HANDSHAKE.as_secs()))))
    }

    async fn greeted(endpoint: &Uri, trust: Option<Arc<ClientConfig>>, token: &Token) -> Result<Self, Lost> {
        let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(None);
        let connector = trust.map_or(Connector::Plain, Connector::Rustls);
        let connected =
            tokio_tungstenite::connect_async_tls_with_config(endpoint, Some(limits), true, Some(connector)).await;
        let (socket, _) = connected.map_err(refusal)?;
        let mut link = Self { socket, waiting: VecDeque::new(), version: String::new() };
        let greeting = link.next().await?;
        link.version = quote(&greeting["ha_version"]);
        if greeting["type"] == "auth_required" {
            link.send(&json!({"type": "auth", "access_token": token.0})).await?;
            let answer = link.next().await?;
            match answer["type"].as_str() {
                Some("auth_ok") => {}
                Some("auth_invalid") => return Err(Lost::Unauthorised(quote(&answer["message"]))),
                _ => return Err(Lost::Gone("it does not speak as Home Assistant does".to_owned())),
            }
        }
        Ok(link)
    }

    /// The next message. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Value, Lost> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => return Err(gone("the server ended the connection")),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(gone(error)),
            };
            match serde_json::from_str(&text) {
                Ok(Value::Array(several)) => self.waiting.extend(several),
                Ok(message) => self.waiting.push_back(message),
                Err(error) => return Err(gone(format!("a message is no JSON: {error}"))),
            }
        }
    }

    pub(super) async fn send(&mut self, message: &Value) -> Result<(), Lost> {
        match timeout(WRITE, self.socket.send(Message::text(message.to_string()))).await {
            Ok(sent) => sent.map_err(gone),
            Err(_) => Err(gone("the server does not read")),
        }
    }
}

fn gone(reason: impl std::fmt::Display) -> Lost {
    Lost::Gone(reason.to_string())
}

/// What a failed handshake means.
fn refusal(error: Error) -> Lost {
    match error {
        Error::Http(response) => match response.status() {
            StatusCode::UNAUTHORIZED => Lost::Unauthorised("HTTP 401".to_owned()),
            StatusCode::FORBIDDEN => Lost::TurnedAway("HTTP 403: it turns this machine away".to_owned()),
            status => gone(format!("HTTP {}", status.as_u16())),
        },
        Error::Io(error) => gone(error),
        other => gone(other),
    }
}

/// A text of the server's, short and in one line.
pub(super) fn quote(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_QUOTE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(endpoint(url).ok().map(|uri| uri.to_string()).as_deref(), expected, "{url}");
        };
        check("http://ha.local:8123", Some("ws://ha.local:8123/api/websocket"));
        check("http://ha.local:8123/", Some("ws://ha.local:8123/api/websocket"));
        check("https://ha.example/behind/", Some("wss://ha.example/behind/api/websocket"));
        check("ws://127.0.0.1:8123/api/websocket", Some("ws://127.0.0.1:8123/api/websocket"));
        check("HTTP://[::1]:8123", Some("ws://[::1]:8123/api/websocket"));
        check("ha.local:8123", None);
        check("mqtt://ha.local", None);
        check("http://", None);
        check("http://user:secret@ha.local", None);
        check("http://ha.local?token=secret", None);
    }

    #[test]
    fn tokens_are_read_and_never_shown() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let path = dir.path().join("token");
        let check = |content: &str, good: bool| {
            std::fs::write(&path, content).expect("the folder is writable");
            let token = Token::read(&path);
            assert_eq!(token.is_ok(), good, "{content:?}");
            assert!(!format!("{token:?}").contains("abc"), "{token:?}");
        };
        check("abc.def\n", true);
        check("", false);
        check("abc def", false);
        check(&"abc".repeat(10_000), false);
        std::fs::remove_file(&path).expect("it is there");
        assert!(Token::read(&path).is_err());
        assert_eq!(token_path(Some(&path)), Some(path));
    }
}
