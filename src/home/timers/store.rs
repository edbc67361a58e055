//! The file of the timers: read, replaced as a whole, shared by processes that take turns under a lock.
//!
//! The rim of `timers`. Written beside, synced, renamed, folder synced: a crash or a power cut leaves the old list or the
//! new one. What cannot be understood is kept aside and said in the log. Blocks for as long as the disk takes to sync,
//! at most [`LOCK_WAIT`] longer when another process holds the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::entry::Entry;
use crate::home::hand_over;

/// The only format so far.
const FORMAT: u64 = 1;
/// How long another process may hold the lock: it needs milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Largest file that is read, in bytes; a full list has under 50,000.
const MAX_BYTES: u64 = 1_000_000;

/// What is wrong with the file of the timers.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused: see to the folder, its owner and the space on the disk.
    #[error("timers in {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process does not let go of it.
    #[error("timers in {}: another process holds the lock", .0.display())]
    Locked(PathBuf),
}

/// What the file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    pub(super) next_id: u64,
    pub(super) entries: Vec<Entry>,
    /// Parts of the file were of no use, so that it should be written anew.
    pub(super) mended: bool,
}

/// What became of the file since it was last looked at.
pub(super) enum Change {
    /// Nothing.
    None,
    /// It is not there, or was of no use and has been set aside: what is in memory stays.
    Gone,
    /// It holds something else.
    Read(Content),
}

#[derive(Serialize)]
struct Written<'a> {
    format: u64,
    next_id: u64,
    entries: &'a [Entry],
}

#[derive(Deserialize)]
struct Read {
    format: u64,
    next_id: u64,
    entries: Vec<Value>,
}

/// Tells one version of the file from the next: each is a new inode.
type Stamp = (u64, i64, i64, u64);

/// The file, and which version of it was seen last.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    seen: Option<Stamp>,
}

/// The lock on the file, let go of by the system however the process ends.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not looked at")] File);

impl Store {
    /// A store in `path`, whose folder is made if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { path: path.to_path_buf(), seen: None };
        fs::create_dir_all(store.folder()).map_err(|error| store.error(error))?;
        Ok(store)
    }

    fn error(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    }

    /// Keeps other processes from changing the file until the lock is dropped.
    pub(super) fn lock(&self) -> Result<Lock, StoreError> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(self.beside(".lock")).map_err(|error| self.error(error))?;
        hand_over(&file, self.folder());
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(self.path.clone())),
                Err(TryLockError::Error(error)) => return Err(self.error(error)),
            }
        }
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Is the file another than the one seen last?
    pub(super) fn is_stale(&self) -> bool {
        self.stamp().ok() != Some(self.seen)
    }

    /// What the file holds, if it is another than the one seen last. The caller holds the lock.
    pub(super) fn changed(&mut self) -> Result<Change, StoreError> {
        let stamp = self.stamp().map_err(|error| self.error(error))?;
        if stamp == self.seen {
            return Ok(Change::None);
        }
        self.seen = stamp;
        let Some((_, _, _, bytes)) = stamp else { return Ok(Change::Gone) };
        if bytes > MAX_BYTES {
            return self.set_aside("it is far too large").map(|()| Change::Gone);
        }
        let text = fs::read(&self.path).map_err(|error| self.error(error))?;
        match understood(&text) {
            Ok((content, lost)) if lost.is_empty() => Ok(Change::Read(content)),
            Ok((content, lost)) => {
                self.keep_aside(&text, &lost.join("; "));
                Ok(Change::Read(content))
            }
            Err(reason) => self.set_aside(&reason).map(|()| Change::Gone),
        }
    }

    /// Replaces the file. The caller holds the lock.
    pub(super) fn write(&mut self, next_id: u64, entries: &[Entry]) -> Result<(), StoreError> {
        self.replace(next_id, entries).map_err(|error| self.error(error))?;
        self.seen = self.stamp().map_err(|error| self.error(error))?;
        Ok(())
    }

    fn replace(&self, next_id: u64, entries: &[Entry]) -> io::Result<()> {
        // One name, and under the lock: what a killed process left there is in nobody's way and does not pile up.
        let new = self.beside(".new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let name = new.file_name().unwrap_or_default();
        let mut file = tempfile::Builder::new().prefix(name).suffix("").rand_bytes(0).tempfile_in(self.folder())?;
        let written = Written { format: FORMAT, next_id, entries };
        serde_json::to_writer_pretty(&mut file, &written)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        hand_over(file.as_file(), self.folder());
        file.persist(&self.path)?;
        // The new name is in the folder, which has to reach the disk as well.
        File::open(self.folder())?.sync_all()
    }

    /// Moves a file that cannot be used out of the way.
    fn set_aside(&mut self, reason: &str) -> Result<(), StoreError> {
        let aside = self.damaged_name();
        fs::rename(&self.path, &aside).map_err(|error| self.error(error))?;
        self.seen = None;
        tracing::error!(file = %self.path.display(), aside = %aside.display(), reason, "the timers cannot be read; the file was set aside");
        Ok(())
    }

    /// Keeps a copy of a file of which a part cannot be used.
    fn keep_aside(&self, text: &[u8], reason: &str) {
        let aside = self.damaged_name();
        let kept = fs::write(&aside, text).is_ok();
        tracing::error!(file = %self.path.display(), aside = %aside.display(), kept, reason, "some timers cannot be read; the others go on");
    }

    fn damaged_name(&self) -> PathBuf {
        let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        self.beside(&format!(".damaged-{seconds}"))
    }
}

/// The content of a file, with what is wrong with single entries; or why it is none.
fn understood(text: &[u8]) -> Result<(Content, Vec<String>), String> {
    let read: Read = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if read.format != FORMAT {
        return Err(format!("format {} is not known", read.format));
    }
    let mut lost = Vec::new();
    let mut entries: Vec<Entry> = Vec::with_capacity(read.entries.len());
    for value in read.entries {
        match serde_json::from_value::<Entry>(value) {
            Ok(entry) if entries.iter().any(|other| other.id == entry.id) => {
                lost.push(format!("two entries have the number {}", entry.id));
            }
            Ok(entry) => entries.push(entry),
            Err(error) => lost.push(error.to_string()),
        }
    }
    let mended = !lost.is_empty();
    Ok((Content { next_id: read.next_id, entries, mended }, lost))
}
