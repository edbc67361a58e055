//! Keys and values of the prefix on disk, so that system text and tools are prefilled once and not at every start.
//!
//! A snapshot belongs to one model, one prompt and one precision: their sum is in its name and in its head, and another
//! one, a damaged one or one of another shape is refused and made anew. It holds the prefix and nothing of a turn.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ModelError;
use super::decoder::Decoder;
use super::manifest::Folder;
use crate::onnx::Dtype;

/// First bytes of a snapshot; the last of them is the format.
const MAGIC: &[u8; 8] = b"HEARTHK1";
/// Bytes before the first tensor: magic, key, rows, tensors.
const HEAD_BYTES: usize = 8 + 32 + 4 + 4;
/// Bytes of a SHA-256.
const SUM_BYTES: usize = 32;
/// Snapshots that are kept: a few prompts and models, changed back and forth.
const KEPT: usize = 4;
/// A shorter prefix is prefilled faster than a file is looked after.
pub const LEAST_ROWS: usize = 64;

/// Rows of one key or value: element type, heads, width, and the bytes of the rows, head after head.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// F32 or F16.
    pub dtype: Dtype,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Little-endian elements [heads, rows, width].
    pub bytes: Vec<u8>,
}

/// The snapshot of one prefix of one model.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    key: [u8; 32],
}

impl Snapshot {
    /// The place in `dir` for the prefix `ids` of the model in `folder`.
    pub fn of(dir: &Path, folder: &Folder, ids: &[u32]) -> Self {
        let mut sum = Sha256::new();
        sum.update(folder.identity());
        for id in ids {
            sum.update(id.to_le_bytes());
        }
        let key: [u8; 32] = sum.finalize().into();
        let name: String = key[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path: dir.join(format!("{name}.kv")), key }
    }

    /// Brings the prefix into an empty decoder. False when there is no snapshot, or one that does not fit: it says why.
    pub fn restore(&self, decoder: &mut Decoder) -> bool {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the prefix on disk cannot be read");
                return false;
            }
        };
        let read = parse(&bytes, &self.key);
        let restored = read.and_then(|(rows, saved)| decoder.restore(rows, &saved).map_err(|error| error.to_string()));
        if let Err(reason) = &restored {
            tracing::warn!(path = %self.path.display(), reason, "the prefix on disk is refused and made anew");
        }
        restored.is_ok()
    }

    /// Writes the decoder's rows, and removes the oldest snapshots beside it.
    ///
    /// # Errors
    /// When the decoder cannot give them; what cannot be written is only said.
    pub fn keep(&self, decoder: &Decoder) -> Result<(), ModelError> {
        let bytes = bytes(&self.key, decoder.len(), &decoder.saved()?);
        if let Err(error) = self.write(&bytes) {
            tracing::warn!(path = %self.path.display(), %error, "the prefix cannot be kept on disk");
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        let mut others: Vec<_> = std::fs::read_dir(dir)?
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "kv"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        others.sort();
        let surplus = others.len().saturating_sub(KEPT);
        others.into_iter().take(surplus).try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

fn bytes(key: &[u8; 32], rows: usize, saved: &[Saved]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + saved.iter().map(|s| s.bytes.len() + 9).sum::<usize>() + SUM_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(key);
    bytes.extend((rows as u32).to_le_bytes());
    bytes.extend((saved.len() as u32).to_le_bytes());
    for tensor in saved {
        bytes.push(if tensor.dtype == Dtype::F16 { 2 } else { 4 });
        bytes.extend((tensor.heads as u32).to_le_bytes());
        bytes.extend((tensor.width as u32).to_le_bytes());
        bytes.extend(&tensor.bytes);
    }
    let sum: [u8; SUM_BYTES] = Sha256::digest(&bytes).into();
    bytes.extend(sum);
    bytes
}

/// Rows and tensors of a snapshot with that key.
fn parse(bytes: &[u8], key: &[u8; 32]) -> Result<(usize, Vec<Saved>), String> {
    let content = bytes.len().checked_sub(SUM_BYTES).filter(|&n| n >= HEAD_BYTES).ok_or("it is too short")?;
    let (content, sum) = bytes.split_at(content);
    if content[..8] != *MAGIC {
        return Err("it is of another format".into());
    }
    if content[8..40] != *key {
        return Err("it is of another model or prompt".into());
    }
    if *sum != *Sha256::digest(content) {
        return Err("its checksum is wrong".into());
    }
    let mut rest = &content[40..];
    let mut take = |n: usize| -> Result<&[u8], String> {
        let (taken, left) = rest.split_at_checked(n).ok_or("it ends early")?;
        rest = left;
        Ok(taken)
    };
    let number = |raw: &[u8]| raw.iter().rev().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
    let (rows, count) = (number(take(4)?), number(take(4)?));
    let mut saved = Vec::new();
    for _ in 0..count {
        let size = number(take(1)?);
        let (heads, width) = (number(take(4)?), number(take(4)?));
        let bytes = take(heads.saturating_mul(width).saturating_mul(rows).saturating_mul(size))?.to_vec();
        saved.push(Saved { dtype: if size == 2 { Dtype::F16 } else { Dtype::F32 }, heads, width, bytes });
    }
    Ok((rows, saved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_does_not_fit_is_refused() {
        let saved = vec![
            Saved { dtype: Dtype::F32, heads: 2, width: 3, bytes: (0..5 * 2 * 3 * 4).map(|i| i as u8).collect() },
            Saved { dtype: Dtype::F16, heads: 1, width: 2, bytes: vec![7; 5 * 2 * 2] },
        ];
        let key = [9; 32];
        let whole = bytes(&key, 5, &saved);
        assert_eq!(parse(&whole, &key), Ok((5, saved)));
        let check = |bytes: &[u8], key: &[u8; 32], expected: &str| {
            let error = parse(bytes, key).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        };
        check(&whole, &[8; 32], "another model or prompt");
        for at in [0, 41, 60, whole.len() - 1] {
            let mut other = whole.clone();
            other[at] ^= 1;
            check(&other, &key, if at == 0 { "another format" } else { "checksum" });
        }
        for end in [0, 10, HEAD_BYTES + SUM_BYTES - 1] {
            check(&whole[..end], &key, "too short");
        }
        check(&whole[..whole.len() - 1], &key, "checksum");
    }
}
