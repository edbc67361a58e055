//! A real mosquitto in a folder of its own, and clients of the test at it.

// Each test program uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, reason = "tests")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

const MOSQUITTO: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until it has happened.
pub fn until(what: &str, limit_s: u64, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(limit_s), "not within {limit_s} s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A broker that keeps nothing on the disk; killed when dropped.
pub struct Broker {
    child: Child,
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Broker {
    /// `None` where there is no mosquitto.
    pub fn start(port: u16, more: &str) -> Option<Self> {
        let Some(program) = MOSQUITTO.iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: no mosquitto on this machine (scripts/setup installs it)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("mosquitto.conf");
        std::fs::write(&config, format!("listener {port} 127.0.0.1\npersistence false\n{more}\n")).unwrap();
        let mut command = Command::new(program);
        let child = command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let broker = Self { child, port, _dir: dir };
        until("the broker listens", 10, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(broker)
    }

    /// One that everybody may use.
    pub fn open() -> Option<Self> {
        Self::start(free_port(), "allow_anonymous true")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the test: what it heard, and what it answers.
pub struct Peer {
    pub client: Client,
    pub heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Peer {
    /// `answer` gives the messages that follow one; `(topic, payload, retained)`.
    pub fn join(
        port: u16,
        topics: &[&str],
        answer: impl Fn(&str, &str) -> Vec<(String, String, bool)> + Send + 'static,
    ) -> Self {
        let name = format!("peer{}", free_port());
        let (client, mut connection) = Client::new(MqttOptions::new(name, "127.0.0.1", port), 100);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let joined = Arc::new(AtomicBool::new(false));
        for topic in topics {
            client.subscribe(*topic, QoS::AtLeastOnce).unwrap();
        }
        if topics.is_empty() {
            joined.store(true, Ordering::Relaxed);
        }
        let (own, list, is_joined) = (client.clone(), Arc::clone(&heard), Arc::clone(&joined));
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => is_joined.store(true, Ordering::Relaxed),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let payload = String::from_utf8_lossy(&message.payload).into_owned();
                        for (topic, payload, retain) in answer(&message.topic, &payload) {
                            own.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
                        }
                        list.lock().unwrap().push((message.topic, payload));
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        until("the peer has joined", 10, || joined.load(Ordering::Relaxed));
        Self { client, heard }
    }

    pub fn publish(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload).unwrap();
    }

    /// The last payload on a topic.
    pub fn last(&self, topic: &str) -> Option<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().rev().find(|(name, _)| name == topic).map(|(_, payload)| payload.clone())
    }

    /// How many messages came on a topic.
    pub fn count(&self, topic: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|(name, _)| name == topic).count()
    }
}
