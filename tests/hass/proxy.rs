//! Between hearth and a server: lets through, holds back, cuts, turns away, counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[derive(Default)]
struct Valves {
    /// Nothing of the server's answers comes through.
    deaf: AtomicBool,
    /// New connections are ended at once.
    closed: AtomicBool,
    /// Connections of an older number end.
    cuts: AtomicU64,
    connections: AtomicU64,
    /// Bytes that the client sent.
    sent: AtomicU64,
    ended: AtomicBool,
}

/// The proxy; it ends with its owner.
pub struct Proxy {
    pub port: u16,
    valves: Arc<Valves>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let valves = Arc::new(Valves::default());
        let own = Arc::clone(&valves);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.ended.load(SeqCst) {
                    return;
                }
                own.connections.fetch_add(1, SeqCst);
                let server = TcpStream::connect(("127.0.0.1", to));
                let (false, Ok(server)) = (own.closed.load(SeqCst), server) else { continue };
                let number = own.cuts.load(SeqCst);
                for (from, to, answers) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                    let valves = Arc::clone(&own);
                    std::thread::spawn(move || pump(from, to, answers, number, &valves));
                }
            }
        });
        Self { port, valves }
    }

    pub fn deaf(&self, deaf: bool) {
        self.valves.deaf.store(deaf, SeqCst);
    }

    pub fn closed(&self, closed: bool) {
        self.valves.closed.store(closed, SeqCst);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.valves.cuts.fetch_add(1, SeqCst);
    }

    pub fn connections(&self) -> u64 {
        self.valves.connections.load(SeqCst)
    }

    /// Bytes that hearth has sent so far.
    pub fn sent(&self) -> u64 {
        self.valves.sent.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.valves.ended.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, answers: bool, number: u64, valves: &Valves) {
    let mut buffer = vec![0; 1 << 16];
    from.set_read_timeout(Some(Duration::from_millis(10))).expect("not zero");
    // Held back for an acknowledgement, the second of two messages would be 40 ms late.
    to.set_nodelay(true).expect("it is a socket");
    let cut = || valves.cuts.load(SeqCst) != number;
    while !cut() {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        while answers && valves.deaf.load(SeqCst) && !cut() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !answers {
            valves.sent.fetch_add(bytes as u64, SeqCst);
        }
        if cut() || to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
