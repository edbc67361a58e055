//! Brings files over: several at once, each resumed where it broke off, each held against its sum.
//!
//! A file grows at its end only, so its length is all that a later run must know. Threads take the next file from a
//! shared counter; one that fails for good stops the others at their next piece, and what they have stays.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use sha1::{Digest as _, Sha1};
use sha2::{Digest as _, Sha256};

use super::FetchError;
use super::listing::{Entry, Known, Sum};
use super::meter::Meter;
use super::source::{Break, Source};
use crate::model::manifest::FileEntry;
use crate::terminal;

/// Bytes read and written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Attempts in a row that bring nothing.
const ATTEMPTS: u32 = 8;
/// Longest pause between two.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a person is shown how far it is.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// What all threads see.
struct Shared<'a> {
    source: &'a Source,
    known: &'a Known,
    dir: &'a Path,
    /// First pause after an attempt that brought nothing; each further one is twice as long.
    pause: Duration,
    /// The next file to take.
    next: AtomicUsize,
    /// Bytes on disk.
    done: AtomicU64,
    stop: AtomicBool,
}

/// Brings `files` into `dir`, `jobs` at once; gives bytes and SHA-256 of each, in their order.
///
/// # Errors
/// The first file that cannot be had, or whose sum is wrong; that one is removed.
pub fn all(
    source: &Source,
    known: &Known,
    files: &[Entry],
    dir: &Path,
    (jobs, pause): (usize, Duration),
) -> Result<Vec<FileEntry>, FetchError> {
    let start: u64 = files.iter().map(|file| length(&dir.join(&file.path)).min(file.bytes)).sum();
    let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(start), AtomicBool::new(false));
    let shared = Shared { source, known, dir, pause, next, done, stop };
    let mut order: Vec<usize> = (0..files.len()).collect();
    // Small ones last: whoever is done early helps with them.
    order.sort_by_key(|&at| std::cmp::Reverse(files[at].bytes));
    let mut results: Vec<Option<FileEntry>> = vec![None; files.len()];
    let mut failure = None;
    std::thread::scope(|scope| {
        let (told, results_of) = mpsc::channel();
        for _ in 0..jobs.clamp(1, files.len().max(1)) {
            let (told, shared, order) = (told.clone(), &shared, &order);
            scope.spawn(move || {
                while let Some(&at) = order.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
                    let fetched = if shared.stopped() { None } else { one(shared, &files[at]).transpose() };
                    if matches!(fetched, Some(Err(_))) {
                        shared.stop.store(true, Ordering::Relaxed);
                    }
                    // The receiver lives as long as this scope.
                    let _ = told.send((at, fetched));
                }
            });
        }
        drop(told);
        let mut meter = Meter::new(files.iter().map(|file| file.bytes).sum());
        let started = Instant::now();
        loop {
            match results_of.recv_timeout(SHOWN_EVERY) {
                Ok((at, Some(Ok(entry)))) => results[at] = Some(entry),
                Ok((_, Some(Err(error)))) => failure = failure.take().or(Some(error)),
                Ok((_, None)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    meter.push(started.elapsed(), shared.done.load(Ordering::Relaxed));
                    terminal::status(&meter.to_string());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        terminal::status("");
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

impl Shared<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits, but not beyond a stop.
    fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stopped() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20).min(pause));
        }
    }
}

/// One file, whole and verified; `None` when others stopped it.
fn one(shared: &Shared<'_>, entry: &Entry) -> Result<Option<FileEntry>, FetchError> {
    let path = shared.dir.join(&entry.path);
    let write = |error: std::io::Error| FetchError::Write { path: path.clone(), reason: error.to_string() };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(write)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(write)?;
    let mut idle = 0;
    loop {
        let have = file.metadata().map_err(write)?.len();
        if have > entry.bytes {
            file.set_len(0).map_err(write)?;
            continue;
        }
        if have == entry.bytes {
            break;
        }
        match append(shared, entry, have, &mut file).map_err(write)? {
            Ok(()) if shared.stopped() => return Ok(None),
            Ok(()) => {}
            Err(Break::Final(error)) => return Err(error),
            Err(Break::Again(reason, after)) => {
                let brought = file.metadata().map_err(write)?.len() > have;
                idle = if brought { 0 } else { idle + 1 };
                if idle == ATTEMPTS {
                    let reason = format!("{reason}; {ATTEMPTS} attempts brought nothing. Run it again to go on");
                    return Err(FetchError::Source { what: entry.path.clone(), reason });
                }
                tracing::info!(file = %entry.path, have, %reason, "broke off, goes on");
                shared.wait(after.unwrap_or(shared.pause * (1 << idle)).min(LONGEST_PAUSE));
                if shared.stopped() {
                    return Ok(None);
                }
            }
        }
    }
    file.sync_all().map_err(write)?;
    verified(&path, entry).map(Some)
}

/// Appends what comes until the file is whole, the source breaks off, or others stop it. The outer error is the disk's.
fn append(shared: &Shared<'_>, entry: &Entry, have: u64, file: &mut File) -> std::io::Result<Result<(), Break>> {
    let mut body = match shared.source.read(shared.known, entry, have) {
        Ok(body) => body,
        Err(error) => return Ok(Err(error)),
    };
    let mut left = entry.bytes - have;
    if body.whole {
        file.set_len(0)?;
        shared.done.fetch_sub(have, Ordering::Relaxed);
        left = entry.bytes;
    }
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 && !shared.stopped() {
        let want = left.min(PIECE_BYTES as u64) as usize;
        match body.bytes.read(&mut piece[..want]) {
            Ok(0) => return Ok(Err(Break::Again("it ended early".into(), None))),
            Ok(n) => {
                file.write_all(&piece[..n])?;
                shared.done.fetch_add(n as u64, Ordering::Relaxed);
                left -= n as u64;
            }
            Err(error) => return Ok(Err(Break::Again(error.to_string(), None))),
        }
    }
    Ok(Ok(()))
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Reads a whole file and holds it against its sum; removes it when that is another.
fn verified(path: &Path, entry: &Entry) -> Result<FileEntry, FetchError> {
    let fail = |error: std::io::Error| FetchError::Write { path: path.to_path_buf(), reason: error.to_string() };
    let mut file = File::open(path).map_err(fail)?;
    let (mut sha256, mut blob) = (Sha256::new(), Sha1::new());
    let is_blob = matches!(entry.sum, Sum::GitBlob(_));
    // What git puts before the bytes of a file.
    blob.update(format!("blob {}\0", entry.bytes));
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = file.read(&mut piece).map_err(fail)?;
        if n == 0 {
            break;
        }
        sha256.update(&piece[..n]);
        if is_blob {
            blob.update(&piece[..n]);
        }
    }
    let found = hexadecimal(&sha256.finalize());
    let right = match &entry.sum {
        Sum::Sha256(sum) => *sum == found,
        Sum::GitBlob(sum) => *sum == hexadecimal(&blob.finalize()),
        Sum::Unknown => true,
    };
    if right {
        return Ok(FileEntry { bytes: entry.bytes, sha256: found });
    }
    std::fs::remove_file(path).map_err(fail)?;
    Err(FetchError::Sum { file: entry.path.clone() })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
