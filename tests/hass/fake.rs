//! A server that answers with recorded replies and misbehaves when it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

/// How it greets a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Door {
    /// As Home Assistant does.
    Open,
    /// With this HTTP status in place of a WebSocket.
    Status(u16),
    /// Not at all.
    Silent,
    /// With something else.
    Nonsense,
    /// It takes no token.
    Refused,
}

/// What it does with a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deed {
    /// It ends the connection.
    Break,
    /// It fails: code and message.
    Fail(&'static str, &'static str),
    /// It says that it was done, and nothing changes.
    Pretend,
    /// It carries it out and says so; the default.
    Obey,
    /// It sends the new state, then says that the call has failed.
    ObeyThenFail,
}

/// What it tells those who have subscribed to it.
#[derive(Debug, Clone)]
enum News {
    /// The registry of entities is another.
    Registry,
    /// Changes of states, as the subscription tells them.
    States(Value),
}

struct Inner {
    door: Door,
    deeds: VecDeque<Deed>,
    calls: Vec<Value>,
    connections: usize,
    /// Its answers, by the type of the request.
    recorded: Value,
    news: broadcast::Sender<News>,
}

/// The server; it lives on the runtime in which it was started.
#[derive(Clone)]
pub struct Fake {
    pub port: u16,
    inner: Arc<Mutex<Inner>>,
}

impl Fake {
    pub async fn start(door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("this machine has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let recorded = serde_json::from_str(include_str!("../fixtures/hass/replies.json")).expect("it is JSON");
        let news = broadcast::Sender::new(64);
        let inner = Inner { door, deeds: VecDeque::new(), calls: Vec::new(), connections: 0, recorded, news };
        let fake = Self { port, inner: Arc::new(Mutex::new(inner)) };
        let own = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.inner().connections += 1;
                let door = own.inner().door;
                tokio::spawn(own.clone().serve(stream, door));
            }
        });
        fake
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }

    pub fn connections(&self) -> usize {
        self.inner().connections
    }

    pub fn door(&self, door: Door) {
        self.inner().door = door;
    }

    /// Somebody changes its registry, which it tells.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut inner = self.inner();
        change(&mut inner.recorded);
        let _ = inner.news.send(News::Registry);
    }

    /// Somebody switches something there.
    pub fn switch(&self, entity: &str, state: &str) {
        let mut inner = self.inner();
        inner.recorded["states"][entity]["s"] = json!(state);
        let _ = inner.news.send(News::States(json!({entity: {"+": {"s": state}}})));
    }

    /// What it does with the next calls.
    pub fn will(&self, deeds: &[Deed]) {
        self.inner().deeds.extend(deeds);
    }

    /// `domain.service` of all calls so far, and forgets them.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.inner().calls);
        calls.iter().map(|call| format!("{}.{}", text(&call["domain"]), text(&call["service"]))).collect()
    }

    async fn serve(self, mut stream: TcpStream, door: Door) {
        match door {
            Door::Silent => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            Door::Status(_) | Door::Nonsense => {
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = match door {
                    Door::Status(code) => {
                        format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    }
                    _ => "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            Door::Open | Door::Refused => {}
        }
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        let greeting = json!({"type": "auth_required", "ha_version": "2025.4.4"});
        let _ = socket.send(Message::text(greeting.to_string())).await;
        let _ = socket.next().await;
        let answer = match door {
            Door::Refused => json!({"type": "auth_invalid", "message": "Invalid access token or password"}),
            _ => json!({"type": "auth_ok", "ha_version": "2025.4.4"}),
        };
        let _ = socket.send(Message::text(answer.to_string())).await;
        let mut news = self.inner().news.subscribe();
        let (mut subscription, mut registry) = (Value::Null, Value::Null);
        let mut titles = 0;
        if door != Door::Open {
            return;
        }
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                told = news.recv() => {
                    let (id, event) = match told.expect("they are read at once") {
                        News::Registry => (&registry, json!({"event_type": "entity_registry_updated"})),
                        News::States(states) => (&subscription, json!({"c": states})),
                    };
                    let event = json!({"id": id, "type": "event", "event": event});
                    let _ = socket.send(Message::text(event.to_string())).await;
                    continue;
                }
            };
            let Some(Ok(message)) = message else { return };
            let recorded = self.inner().recorded.clone();
            let Ok(request) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default()) else { continue };
            let id = &request["id"];
            let kind = text(&request["type"]);
            let result = |result: &Value| json!({"id": id, "type": "result", "success": true, "result": result});
            let fail = |code: &str, message: &str| {
                let error = json!({"code": code, "message": message});
                json!({"id": id, "type": "result", "success": false, "error": error})
            };
            let answers = match kind {
                "ping" => vec![json!({"id": id, "type": "pong"})],
                "subscribe_events" => {
                    if request["event_type"] == "entity_registry_updated" {
                        registry = id.clone();
                    }
                    vec![result(&Value::Null)]
                }
                "subscribe_entities" => {
                    subscription = id.clone();
                    vec![result(&Value::Null), json!({"id": id, "type": "event", "event": {"a": recorded["states"]}})]
                }
                "call_service" => {
                    self.inner().calls.push(request.clone());
                    let deed = self.inner().deeds.pop_front().unwrap_or(Deed::Obey);
                    titles += 1;
                    let state = match text(&request["service"]) {
                        "turn_on" => json!({"s": "on"}),
                        "turn_off" => json!({"s": "off"}),
                        _ => json!({"a": {"media_title": titles}}),
                    };
                    let change = json!({text(&request["target"]["entity_id"]): {"+": state}});
                    let event = json!({"id": subscription, "type": "event", "event": {"c": change}});
                    match deed {
                        Deed::Break => return,
                        Deed::Fail(code, message) => vec![fail(code, message)],
                        Deed::Pretend => vec![result(&Value::Null)],
                        Deed::Obey => vec![result(&Value::Null), event],
                        Deed::ObeyThenFail => vec![event, fail("home_assistant_error", "too late")],
                    }
                }
                recorded_one if recorded.get(recorded_one).is_some() => vec![result(&recorded[recorded_one])],
                _ => vec![result(&Value::Null)],
            };
            // Newer servers send several messages as one.
            let all = Value::Array(answers);
            if socket.send(Message::text(all.to_string())).await.is_err() {
                return;
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
