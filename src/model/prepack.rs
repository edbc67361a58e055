//! Graphs whose weights are stored as this processor's kernels want them, so that a start maps them instead of making
//! them anew: that takes half the time, and their memory belongs to a file and can be given back.
//!
//! ONNX Runtime writes such a graph itself. It is good for one version of it, one set of processor features and one
//! model; of anything else nothing is known, so it is made again. Where it cannot be made, the model's own graphs serve.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::manifest::Folder;
use crate::onnx::{self, Options};

/// Parts with matrices; the embedding tables are read or mapped as they are.
const PARTS: [&str; 5] = ["decoder_lower", "decoder_upper", "decoder_model_merged", "audio_stream", "audio_encoder"];
/// A model with less is loaded faster than a file is looked after.
pub const LEAST_BYTES: u64 = 64 << 20;
/// The written graphs are about this much larger than the weights (measured: 2.05 times for 4 bit in blocks of 128).
const GROWTH: u64 = 3;
/// Beginning of the names of folders that are being made.
const MAKING: &str = ".making";
/// After so long nobody makes it any more.
const ABANDONED: Duration = Duration::from_secs(6 * 3600);

/// `folder` with its parts in the prepacked form below `dir`, which is made if need be; as it is where that fails, and for
/// a model of fewer than `least_bytes`.
pub fn prepared(folder: Folder, dir: &Path, threads: usize, least_bytes: u64) -> Folder {
    let graphs = folder.dir.join("onnx");
    let data = std::fs::read_dir(&graphs).into_iter().flatten().flatten();
    let bytes: u64 = data.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum();
    if bytes < least_bytes {
        return folder;
    }
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| can_be_stored(&folder, part)).collect();
    if parts.is_empty() {
        return folder;
    }
    let place = dir.join(key(&folder));
    if !place.is_dir()
        && let Err(reason) = make(&folder, &parts, dir, &place, (threads, bytes))
    {
        tracing::warn!(reason, "weights are not kept in the processor's form");
        return folder;
    }
    redirected(folder, &place)
}

/// Is it opened, and do its weights come back as they were? With 8-bit matrices ONNX Runtime 1.31.1 reads something else
/// than it wrote, and the graph gives no numbers: they are left alone.
fn can_be_stored(folder: &Folder, part: &str) -> bool {
    let parts = &folder.manifest.parts;
    // A folder that hears block by block never opens the whole encoder.
    if !parts.contains_key(part) || part == "audio_encoder" && parts.contains_key("audio_stream") {
        return false;
    }
    std::fs::read(folder.part(part)).is_ok_and(|graph| !has_eight_bits(&graph))
}

/// Does an operator of the graph have the attribute `bits` with the value 8? As ONNX files have it: a name of four letters,
/// then the field of the integer.
fn has_eight_bits(graph: &[u8]) -> bool {
    let mark = b"\x04bits\x18\x08";
    graph.windows(mark.len()).any(|window| window == mark)
}

/// Model, ONNX Runtime and processor, as a name.
fn key(folder: &Folder) -> String {
    let mut sum = Sha256::new();
    sum.update(folder.identity());
    sum.update(onnx::build());
    sum.update(processor());
    sum.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The features of the processor as the kernel tells them.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let features = text.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    format!("{} {}", std::env::consts::ARCH, features.unwrap_or_default())
}

fn redirected(mut folder: Folder, place: &Path) -> Folder {
    for (name, part) in &mut folder.manifest.parts {
        let file = place.join(format!("{name}.onnx"));
        if file.is_file() {
            // A path of its own takes the place of one inside the folder.
            part.file = file;
        }
    }
    folder
}

fn make(
    folder: &Folder,
    parts: &[&str],
    dir: &Path,
    place: &Path,
    (threads, bytes): (usize, u64),
) -> Result<(), String> {
    let started = Instant::now();
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let space = rustix::fs::statvfs(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let (needed, free) = (bytes.saturating_mul(GROWTH), space.f_bavail.saturating_mul(space.f_frsize));
    if free < needed {
        return Err(format!("{} has {} MB free of {} MB", dir.display(), free >> 20, needed >> 20));
    }
    crate::terminal::notice("storing the weights as this processor wants them, once");
    let work = tempfile::Builder::new().prefix(MAKING).tempdir_in(dir).map_err(|error| error.to_string())?;
    for name in parts {
        let to = work.path().join(format!("{name}.onnx"));
        let options = Options { threads, spin: false };
        onnx::write_prepacked(&folder.part(name), &to, options).map_err(|error| error.to_string())?;
    }
    let made = work.keep();
    if let Err(error) = std::fs::rename(&made, place) {
        // Another process may have been faster.
        let _ = std::fs::remove_dir_all(&made);
        if !place.is_dir() {
            return Err(format!("{}: {error}", place.display()));
        }
    }
    remove_others(dir, place);
    tracing::info!(place = %place.display(), ms = started.elapsed().as_millis() as u64, "weights stored as this processor wants them");
    Ok(())
}

/// What was made for another model, version or processor is large: only the last one is kept.
fn remove_others(dir: &Path, place: &Path) {
    let others = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    // One that is being made belongs to another process, unless it was left behind long ago.
    let abandoned = |path: &Path| {
        let age = std::fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age > ABANDONED)
    };
    let making = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MAKING));
    let others = others.filter(|path: &PathBuf| path != place && path.is_dir());
    for other in others.filter(|path| !making(path) || abandoned(path)) {
        if let Err(error) = std::fs::remove_dir_all(&other) {
            tracing::warn!(path = %other.display(), %error, "cannot remove stored weights of another model");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn eight_bit_matrices_are_seen() {
        for (graph, expected) in [
            (&b"..\x0a\x04bits\x18\x08\xa0\x01\x02"[..], true),
            (b"..\x0a\x04bits\x18\x04\xa0\x01\x02", false),
            (b"..\x0a\x05nbits\x18\x08", false),
            (b"", false),
        ] {
            assert_eq!(super::has_eight_bits(graph), expected);
        }
    }
}
