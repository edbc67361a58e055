//! A client of the control socket, for tests.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

pub struct Client(pub BufReader<UnixStream>);

impl Client {
    /// One that waits for each line so long.
    pub fn new(path: &Path, limit: Duration) -> Self {
        let stream = UnixStream::connect(path).expect("a daemon listens");
        stream.set_read_timeout(Some(limit)).expect("a limit can be set");
        Self(BufReader::new(stream))
    }

    pub fn send(&mut self, line: &str) {
        let _ = self.0.get_mut().write_all(format!("{line}\n").as_bytes());
    }

    /// The next line, or None when the connection has ended.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("JSON")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.line().expect("an answer")
    }
}
