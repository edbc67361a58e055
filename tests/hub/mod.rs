//! A server with the paths and habits of the model hub, over a folder, with faults on order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use sha1::{Digest as _, Sha1};
use sha2::{Digest as _, Sha256};

/// What goes wrong with a file.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The connection ends after so many bytes, so many times.
    BreakAfter { bytes: u64, times: u32 },
    /// A status, so many times.
    Status { status: u16, times: u32 },
    /// One bit is wrong, so many times.
    Corrupt { times: u32 },
    /// So long before the first byte.
    Slow { ms: u64 },
}

#[derive(Default)]
struct State {
    faults: BTreeMap<String, Fault>,
    /// First byte of each request for a file's bytes.
    ranges: BTreeMap<String, Vec<u64>>,
    requests: usize,
    lengths: BTreeMap<String, u64>,
    unlisted: BTreeSet<String>,
    only: Option<Vec<String>>,
    listing: Option<String>,
    no_ranges: bool,
}

/// The server; its threads end with the process.
pub struct Hub {
    port: u16,
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

fn digest(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    pub fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, root) = (Arc::clone(&state), folder.to_path_buf());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, root) = (Arc::clone(&shared), root.clone());
                std::thread::spawn(move || {
                    // A client that goes away is no concern of a server.
                    let _ = serve(stream, port, &root, &state);
                });
            }
        });
        Self { port, folder: folder.to_path_buf(), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the server panics")
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn sum(&self, name: &str) -> (u64, String) {
        let bytes = std::fs::read(self.folder.join(name)).expect("it is there");
        (bytes.len() as u64, digest(&Sha256::digest(&bytes)))
    }

    pub fn fault(&self, name: &str, fault: Fault) {
        self.state().faults.insert(name.to_owned(), fault);
    }

    pub fn mend(&self) {
        self.state().faults.clear();
    }

    pub fn ranges(&self, name: &str) -> Vec<u64> {
        self.state().ranges.get(name).cloned().unwrap_or_default()
    }

    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Lists a file with another length.
    pub fn list(&self, name: &str, length: impl Fn(u64) -> u64) {
        let bytes = std::fs::metadata(self.folder.join(name)).expect("it is there").len();
        self.state().lengths.insert(name.to_owned(), length(bytes));
    }

    pub fn unlist(&self, name: &str) {
        self.state().unlisted.insert(name.to_owned());
    }

    pub fn only(&self, names: &[&str]) {
        self.state().only = Some(names.iter().map(|name| (*name).to_owned()).collect());
    }

    pub fn listing_is(&self, text: &str) {
        self.state().listing = Some(text.to_owned());
    }

    pub fn without_ranges(&self) {
        self.state().no_ranges = true;
    }
}

fn serve(stream: TcpStream, port: u16, root: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.by_ref().take(8192).read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut offset = None;
        loop {
            let mut line = String::new();
            reader.by_ref().take(8192).read_line(&mut line)?;
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            let range = line.strip_prefix("range: bytes=").and_then(|range| range.strip_suffix('-'));
            offset = range.and_then(|range| range.parse().ok()).or(offset);
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut state = state.lock().expect("no thread of the server panics");
        state.requests += 1;
        if let Some(query) =
            path.strip_prefix("/api/models/owner/model-ONNX/tree/0123456789abcdef0123456789abcdef01234567?")
        {
            let answer = listing(&state, root, query, port);
            drop(state);
            stream.write_all(&answer)?;
        } else if path.starts_with("/api/models/") {
            let answer = listing(&state, root, "recursive=true&page=all", port);
            drop(state);
            stream.write_all(&answer)?;
        } else if let Some(rest) = path.strip_prefix("/owner/model-ONNX/resolve/") {
            drop(state);
            // As the hub sends the bytes of large files from somewhere else.
            let name = rest.split_once('/').map_or("", |(_, name)| name);
            let head = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/bytes/{name}?signed=1\r\n");
            stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())?;
        } else if let Some(rest) = path.strip_prefix("/bytes/") {
            let name = rest.split('?').next().unwrap_or_default().to_owned();
            if !bytes(&mut stream, state, root, &name, offset)? {
                return Ok(());
            }
        } else {
            drop(state);
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
        }
    }
}

/// The listing, in two pages.
fn listing(state: &State, root: &Path, query: &str, port: u16) -> Vec<u8> {
    let mut rows = vec![json!({"type": "directory", "oid": "0", "size": 0, "path": "onnx"})];
    for name in hearth::model::manifest::files_below(root) {
        if state.unlisted.contains(&name) || state.only.is_some() {
            continue;
        }
        let bytes = std::fs::read(root.join(&name)).unwrap_or_default();
        let length = state.lengths.get(&name).copied().unwrap_or(bytes.len() as u64);
        let mut blob = Sha1::new();
        blob.update(format!("blob {}\0", bytes.len()));
        blob.update(&bytes);
        let oid = digest(&blob.finalize());
        rows.push(if name.ends_with("config.json") || name.ends_with(".jinja") {
            json!({"type": "file", "oid": oid, "size": length, "path": name})
        } else {
            let lfs = json!({"oid": digest(&Sha256::digest(&bytes)), "size": length, "pointerSize": 134});
            json!({"type": "file", "oid": "0", "size": length, "lfs": lfs, "path": name})
        });
    }
    for name in state.only.iter().flatten() {
        rows.push(json!({"type": "file", "oid": "0", "size": 5, "path": name}));
    }
    let half = rows.len() / 2;
    let (part, link) = match query {
        "recursive=true&page=2" => (&rows[half..], String::new()),
        "recursive=true" => {
            let tree = "api/models/owner/model-ONNX/tree/0123456789abcdef0123456789abcdef01234567";
            let next = format!("http://127.0.0.1:{port}/{tree}?recursive=true&page=2");
            (&rows[..half], format!("Link: <{next}>; rel=\"next\"\r\n"))
        }
        _ => (&rows[..], String::new()),
    };
    let text = state.listing.clone().unwrap_or_else(|| json!(part).to_string());
    format!("HTTP/1.1 200 OK\r\n{link}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// Counts a fault down; gives it while it lasts.
fn due(faults: &mut BTreeMap<String, Fault>, name: &str) -> Option<Fault> {
    let fault = faults.get_mut(name)?;
    let now = *fault;
    match fault {
        Fault::BreakAfter { times, .. } | Fault::Status { times, .. } | Fault::Corrupt { times } => {
            *times = times.checked_sub(1)?;
        }
        Fault::Slow { .. } => {}
    }
    Some(now)
}

/// Sends the bytes of a file; false when the connection is to end.
fn bytes(
    stream: &mut TcpStream,
    mut state: MutexGuard<'_, State>,
    root: &Path,
    name: &str,
    offset: Option<u64>,
) -> std::io::Result<bool> {
    let fault = due(&mut state.faults, name);
    let start = offset.unwrap_or(0);
    let no_ranges = state.no_ranges;
    if !matches!(fault, Some(Fault::Status { .. })) {
        state.ranges.entry(name.to_owned()).or_default().push(start);
    }
    drop(state);
    let mut content = std::fs::read(root.join(name))?;
    let total = content.len() as u64;
    match fault {
        Some(Fault::Status { status, .. }) => {
            stream.write_all(format!("HTTP/1.1 {status} As Told\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
            return Ok(true);
        }
        Some(Fault::Corrupt { .. }) => content[total as usize / 2] ^= 1,
        Some(Fault::Slow { ms }) => std::thread::sleep(Duration::from_millis(ms)),
        _ => {}
    }
    let (start, head) = if no_ranges {
        (0, "HTTP/1.1 200 OK\r\n".to_owned())
    } else {
        let range = format!("Content-Range: bytes {start}-{}/{total}\r\n", total.saturating_sub(1));
        (start, format!("HTTP/1.1 206 Partial Content\r\n{range}"))
    };
    let rest = &content[start as usize..];
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", rest.len()).as_bytes())?;
    if let Some(Fault::BreakAfter { bytes, .. }) = fault {
        stream.write_all(&rest[..rest.len().min(bytes as usize)])?;
        return Ok(false);
    }
    stream.write_all(rest)?;
    Ok(true)
}
