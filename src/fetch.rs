//! `hearth model fetch`: a published model from the hub, whole and verified, or not at all.
//!
//! Files come into a hidden folder beside the destination, which takes the destination's name at the very end; until then
//! every run goes on where the last one stopped. That folder is locked while a run works in it. Blocks, without tokio.

mod download;
mod listing;
mod meter;
mod record;
mod source;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use listing::{Known, KnownFile};

use crate::failure::{Failure, UNAVAILABLE, UNWRITABLE, USAGE};
use crate::model::manifest::{FETCHED, Folder};
use crate::terminal::{self, line};
use listing::{Choice, Entry, Sum};
use record::Record;
use source::Source;

/// Room that is left on the disk besides.
const MARGIN_BYTES: u64 = 256 << 20;
/// Files that come at once.
const JOBS: usize = 4;
/// First pause after an attempt that brought nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// What goes wrong, told apart by remedy.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Say another name.
    #[error("no model is called {name}; there is {names}")]
    NoSuchModel {
        /// What was asked for.
        name: String,
        /// What there is.
        names: String,
    },
    /// The source cannot be reached or answers strangely: try again later, or another one.
    #[error("{what}: {reason}")]
    Source {
        /// Address or file.
        what: String,
        /// What happened.
        reason: String,
    },
    /// The source has something else.
    #[error("the listing is not that of the model: {0}")]
    Listing(String),
    /// The source lists a file and does not have it.
    #[error("{file} is listed, and is not at {url}")]
    Missing {
        /// File.
        file: String,
        /// Where it should be.
        url: String,
    },
    /// A file came with other bytes. It is removed: run it again.
    #[error("{file} came with a wrong checksum and was removed; nothing is installed. Run it again to fetch it anew")]
    Sum {
        /// File.
        file: String,
    },
    /// The disk is too full.
    #[error("{} has {} free, and {} more are needed", path.display(), meter::size(*free), meter::size(*needed))]
    Space {
        /// Where.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that would be written.
        needed: u64,
    },
    /// Somebody else is at it.
    #[error("another run is fetching into {}: wait until it is done", .0.display())]
    Busy(PathBuf),
    /// The destination holds something.
    #[error("{} is there already and is not this model: choose another folder with --to", .0.display())]
    Taken(PathBuf),
    /// A file or folder cannot be written.
    #[error("{}: {reason}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let code = match error {
            FetchError::NoSuchModel { .. } => USAGE,
            FetchError::Space { .. } | FetchError::Taken(_) | FetchError::Write { .. } => UNWRITABLE,
            _ => UNAVAILABLE,
        };
        Self::new(code, error)
    }
}

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct Order {
    /// Another source than the hub: the address of a server with the same paths, or a folder.
    pub from: Option<String>,
    /// The folder that is to hold the model.
    pub to: PathBuf,
    /// Files at once, and the first pause after an attempt that brought nothing.
    pub pace: (usize, Duration),
}

impl Order {
    /// Into `to`, or where models lie by default.
    pub fn new(name: &str, from: Option<String>, to: Option<PathBuf>) -> Self {
        Self { from, to: to.unwrap_or_else(|| models().join(name)), pace: (JOBS, PAUSE) }
    }
}

/// `$XDG_DATA_HOME/hearth/models`, or below `~/.local/share`.
fn models() -> PathBuf {
    let below_home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let data = std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from).or_else(below_home);
    data.unwrap_or_else(|| PathBuf::from(".")).join("hearth/models")
}

/// Fetches the model of that name and says what to do with it.
///
/// # Errors
/// As [`fetch`]; 64 for a name that is not known.
pub fn run(name: &str, from: Option<String>, to: Option<PathBuf>) -> Result<(), Failure> {
    let known = Known::named(name)?;
    let order = Order::new(name, from, to);
    let report = fetch(&order, &known)?;
    let dir = std::path::absolute(&order.to).unwrap_or_else(|_| order.to.clone());
    let dir = dir.display();
    line(format_args!("{dir}: {report}"))?;
    line("To use it, set in config.toml:")?;
    line(format_args!("  [model]\n  dir = \"{dir}\""))?;
    line("To make it answer faster (graphs in two halves, audio as it comes), with Python and onnx/requirements.txt:")?;
    line(format_args!("  PYTHONPATH=onnx python3 -m hearth_onnx adopt {dir}"))
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It was there.
    Present,
    /// It is there now.
    Installed {
        /// Files.
        files: usize,
        /// Of them, those of whose sum nothing is known.
        unverified: usize,
        /// Precision of the audio encoder, as the hub calls it.
        encoder: &'static str,
    },
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Present => write!(f, "is there already"),
            Self::Installed { files, unverified: 0, encoder } => {
                write!(f, "{files} files, all sums agree; audio encoder {encoder}")
            }
            Self::Installed { files, unverified, encoder } => {
                write!(f, "{files} files, of which no sum is known for {unverified}; audio encoder {encoder}")
            }
        }
    }
}

/// Fetches a model, whole and verified.
///
/// # Errors
/// [`FetchError`]; the destination is then as before, and the next run goes on.
pub fn fetch(order: &Order, known: &Known) -> Result<Report, FetchError> {
    if let Some(report) = present(&order.to, known)? {
        return Ok(report);
    }
    let source = Source::open(order.from.as_deref())?;
    let work = work_folder(&order.to, known)?;
    let lock = lock(&work)?;
    // Whoever held the lock before may have finished.
    if let Some(report) = present(&order.to, known)? {
        return Ok(report);
    }
    terminal::notice("reading the listing");
    let entries = source.listing(known)?;
    let choice = listing::choose(&entries)?;
    listing::agree(&entries, known, matches!(source, Source::Hub { .. }))?;
    announce(&choice);
    has_room(&work, &choice.files)?;
    let files = download::all(&source, known, &choice.files, &work, order.pace)?;
    let unverified = choice.files.iter().filter(|file| file.sum == Sum::Unknown).count();
    let names = choice.files.iter().map(|file| file.path.clone());
    let files: BTreeMap<_, _> = names.zip(files).collect();
    let count = files.len();
    finish(&work, Record { repository: known.repository.clone(), revision: known.revision.clone(), files })?;
    install(&work, &order.to)?;
    drop(lock);
    Ok(Report::Installed { files: count, unverified, encoder: choice.encoder })
}

/// Is the model in its place? Something else there is an error.
fn present(to: &Path, known: &Known) -> Result<Option<Report>, FetchError> {
    let record = Record::read(to).filter(|record| record.revision == known.revision && record.is_complete(to));
    match record {
        Some(_) => Ok(Some(Report::Present)),
        None if to.exists() => Err(FetchError::Taken(to.to_path_buf())),
        None => Ok(None),
    }
}

/// The hidden folder beside the destination. It carries the revision, so that two are never mixed.
fn work_folder(to: &Path, known: &Known) -> Result<PathBuf, FetchError> {
    let absolute = std::path::absolute(to).map_err(|error| write_error(to, error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(FetchError::Taken(absolute));
    };
    let short = known.revision.get(..8).unwrap_or(&known.revision);
    let work = parent.join(format!(".{}.{short}.part", name.to_string_lossy()));
    Ok(work)
}

fn write_error(path: &Path, reason: impl std::fmt::Display) -> FetchError {
    FetchError::Write { path: path.to_path_buf(), reason: reason.to_string() }
}

/// Makes the folder and locks it. It is gone from its place once a run has finished, so the lock counts only if the
/// folder in that place is still the one that was locked.
fn lock(work: &Path) -> Result<File, FetchError> {
    for _ in 0..8 {
        std::fs::create_dir_all(work).map_err(|error| write_error(work, error))?;
        let Ok(folder) = File::open(work) else { continue };
        match folder.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(FetchError::Busy(work.to_path_buf())),
            Err(std::fs::TryLockError::Error(error)) => return Err(write_error(work, error)),
        }
        let locked = folder.metadata().map_err(|error| write_error(work, error))?;
        if std::fs::metadata(work).is_ok_and(|meta| (meta.dev(), meta.ino()) == (locked.dev(), locked.ino())) {
            return Ok(folder);
        }
    }
    Err(FetchError::Busy(work.to_path_buf()))
}

fn announce(choice: &Choice) {
    let bytes: u64 = choice.files.iter().map(|file| file.bytes).sum();
    let encoder = match choice.encoder {
        "quantized" => "8 bit",
        "fp16" => "fp16, since no 8-bit one is listed",
        _ => "4 bit, since no better one is listed: it may mishear more",
    };
    terminal::notice(&format!("{} in {} files; audio encoder {encoder}", meter::size(bytes), choice.files.len()));
}

/// Is there room for what is still to come?
fn has_room(work: &Path, files: &[Entry]) -> Result<(), FetchError> {
    let length = |file: &Entry| std::fs::metadata(work.join(&file.path)).map_or(0, |meta| meta.len());
    let missing = files.iter().map(|file| file.bytes.saturating_sub(length(file)));
    let needed = missing.fold(MARGIN_BYTES, u64::saturating_add);
    let space = rustix::fs::statvfs(work).map_err(|error| write_error(work, error))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed > free {
        return Err(FetchError::Space { path: work.to_path_buf(), free, needed });
    }
    Ok(())
}

/// Looks at what came as hearth will read it, and writes the record.
fn finish(work: &Path, record: Record) -> Result<(), FetchError> {
    for graph in record.files.keys().filter(|name| name.ends_with(".onnx")) {
        let path = work.join(graph);
        let bytes = std::fs::read(&path).map_err(|error| write_error(&path, error))?;
        let names: Vec<String> = record.files.keys().filter_map(|name| Some(name.rsplit_once('/')?.1.into())).collect();
        let missing = listing::missing_data(&bytes, &names);
        if !missing.is_empty() {
            let what = format!("{graph} keeps its weights in {}, which is not in it", missing.join(", "));
            return Err(FetchError::Listing(what));
        }
    }
    let path = work.join(FETCHED);
    let text = serde_json::to_string_pretty(&record).map_err(|error| write_error(&path, error))?;
    std::fs::write(&path, text + "\n").map_err(|error| write_error(&path, error))?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(|error| write_error(&path, error))?;
    Folder::read(work).map_err(|error| FetchError::Listing(format!("hearth cannot read it: {error}")))?;
    Ok(())
}

/// The one step that counts: the folder takes its name.
fn install(work: &Path, to: &Path) -> Result<(), FetchError> {
    std::fs::rename(work, to).map_err(|error| write_error(to, error))?;
    let parent = std::path::absolute(to).ok().and_then(|to| to.parent().map(Path::to_path_buf));
    let synced = parent.map_or(Ok(()), |parent| File::open(parent).and_then(|dir| dir.sync_all()));
    synced.map_err(|error| write_error(to, error))
}
