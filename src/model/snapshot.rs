//! Keys and values of the prefix on disk, so that system text and tools are prefilled once and not at every start.
//!
//! A snapshot belongs to one model, one prompt and one precision: their sum is in its name and in its head, and another
//! one, a damaged one or one of another shape is refused and made anew. It holds the prefix and nothing of a turn.
//!
//! It is written and read tensor by tensor: 1,000 rows of E4B are 71 MiB, and a second copy of them would be the peak of
//! memory. Mapping the file would save the reading; it is `unsafe`, which this crate does without.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ModelError;
use super::decoder::Decoder;
use super::manifest::Folder;
use crate::onnx::Dtype;

/// First bytes of a snapshot; the last of them is the format.
const MAGIC: &[u8; 8] = b"HEARTHK2";
/// Bytes before the first tensor: magic, key, rows, tensors.
const HEAD_BYTES: usize = 8 + 32 + 4 + 4;
/// Bytes of a SHA-256.
const SUM_BYTES: usize = 32;
/// Snapshots that are kept: a few prompts and models, changed back and forth.
const KEPT: usize = 4;
/// A shorter prefix is prefilled faster than a file is looked after.
pub const LEAST_ROWS: usize = 64;

/// Rows of one key or value, head after head.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// F32 or F16.
    pub dtype: Dtype,
    /// Heads.
    pub heads: usize,
    /// Rows: the last ones of the context, or all.
    pub rows: usize,
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

    /// Brings the prefix into an empty decoder. False when there is no snapshot, or one that does not fit: it says why, and
    /// the decoder is empty as before.
    ///
    /// # Errors
    /// When the decoder cannot be emptied.
    pub fn restore(&self, decoder: &mut Decoder) -> Result<bool, ModelError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the prefix on disk cannot be read");
                return Ok(false);
            }
        };
        let restored = Reader::new(file, &self.key).and_then(|mut reader| {
            let rows = reader.rows;
            let taken = decoder.restore(rows, &mut reader).map_err(|error| error.to_string());
            // What is wrong with the file comes before what the decoder makes of it.
            reader.finish().and(taken)
        });
        if let Err(reason) = &restored {
            tracing::warn!(path = %self.path.display(), reason, "the prefix on disk is refused and made anew");
            decoder.rewind(0)?;
        }
        Ok(restored.is_ok())
    }

    /// Writes the decoder's rows, and removes the oldest snapshots beside it.
    ///
    /// # Errors
    /// When the decoder cannot give them; what cannot be written is only said.
    pub fn keep(&self, decoder: &Decoder) -> Result<(), ModelError> {
        let mut fault = None;
        let saved = decoder.saved();
        let tensors = saved.len();
        let saved = saved.map_while(|saved| saved.map_err(|error| fault = Some(error)).ok());
        let written = self.write(decoder.len(), tensors, saved);
        if let Some(error) = fault {
            return Err(error);
        }
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "the prefix cannot be kept on disk");
        }
        Ok(())
    }

    fn write(&self, rows: usize, tensors: usize, saved: impl Iterator<Item = Saved>) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let file = tempfile::NamedTempFile::new_in(dir)?;
        write(file.as_file(), &self.key, rows, tensors, saved)?;
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

/// Writes a snapshot: head, tensors, and the sum of both. Fails when there are fewer than `tensors`.
fn write(
    file: impl Write,
    key: &[u8; 32],
    rows: usize,
    tensors: usize,
    saved: impl Iterator<Item = Saved>,
) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    let mut sum = Sha256::new();
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        file.write_all(bytes)
    };
    put(MAGIC)?;
    put(key)?;
    put(&(rows as u32).to_le_bytes())?;
    put(&(tensors as u32).to_le_bytes())?;
    let mut left = tensors;
    for tensor in saved.take(tensors) {
        put(&[if tensor.dtype == Dtype::F16 { 2 } else { 4 }])?;
        put(&(tensor.heads as u32).to_le_bytes())?;
        put(&(tensor.rows as u32).to_le_bytes())?;
        put(&(tensor.width as u32).to_le_bytes())?;
        put(&tensor.bytes)?;
        left -= 1;
    }
    if left > 0 {
        return Err(io::Error::other("keys and values are missing"));
    }
    file.write_all(&sum.finalize())?;
    file.flush()
}

/// The tensors of a snapshot, read one by one. They count only if [`Reader::finish`] finds nothing wrong.
#[derive(Debug)]
struct Reader<R: Read> {
    source: BufReader<R>,
    sum: Sha256,
    rows: usize,
    /// Tensors to come.
    left: usize,
    /// Why reading ended early.
    fault: Option<String>,
}

impl<R: Read> Reader<R> {
    /// Reads the head. Otherwise says why it is refused.
    fn new(source: R, key: &[u8; 32]) -> Result<Self, String> {
        let mut reader = Self { source: BufReader::new(source), sum: Sha256::new(), rows: 0, left: 0, fault: None };
        let head = reader.bytes(HEAD_BYTES)?;
        if head[..8] != *MAGIC {
            return Err("it is of another format".into());
        }
        if head[8..40] != *key {
            return Err("it is of another model or prompt".into());
        }
        (reader.rows, reader.left) = (number(&head[40..44]), number(&head[44..]));
        Ok(reader)
    }

    /// So many bytes. Not more than there are, whatever a head says.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = (&mut self.source).take(length as u64).read_to_end(&mut bytes);
        if read.map_err(|error| error.to_string())? < length {
            return Err("it ends early".into());
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn tensor(&mut self) -> Result<Saved, String> {
        let head = self.bytes(13)?;
        let (size, heads) = (number(&head[..1]), number(&head[1..5]));
        let (rows, width) = (number(&head[5..9]), number(&head[9..]));
        let bytes = self.bytes(heads.saturating_mul(width).saturating_mul(rows).saturating_mul(size))?;
        Ok(Saved { dtype: if size == 2 { Dtype::F16 } else { Dtype::F32 }, heads, rows, width, bytes })
    }

    /// Reads what nobody wanted, and the sum.
    fn finish(mut self) -> Result<(), String> {
        while self.next().is_some() {}
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let sum = self.sum.clone().finalize();
        if self.bytes(SUM_BYTES)? != *sum {
            return Err("its checksum is wrong".into());
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Saved;

    fn next(&mut self) -> Option<Saved> {
        self.left = self.left.checked_sub(1)?;
        self.tensor()
            .map_err(|fault| {
                self.left = 0;
                self.fault = Some(fault);
            })
            .ok()
    }
}

/// A little-endian number.
fn number(raw: &[u8]) -> usize {
    raw.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_does_not_fit_is_refused() {
        let saved = vec![
            Saved {
                dtype: Dtype::F32,
                heads: 2,
                rows: 5,
                width: 3,
                bytes: (0..5 * 2 * 3 * 4).map(|i| i as u8).collect(),
            },
            Saved { dtype: Dtype::F16, heads: 1, rows: 3, width: 2, bytes: vec![7; 3 * 2 * 2] },
        ];
        let key = [9; 32];
        let mut whole = Vec::new();
        write(&mut whole, &key, 5, 2, saved.iter().cloned()).expect("memory takes it");
        let parse = |bytes: &[u8], key: &[u8; 32]| {
            let mut reader = Reader::new(bytes, key)?;
            let read = (reader.rows, reader.by_ref().collect::<Vec<_>>());
            reader.finish().map(|()| read)
        };
        assert_eq!(parse(&whole, &key), Ok((5, saved.clone())));
        // What is wrong is found whether or not anybody wanted the tensors.
        assert_eq!(Reader::new(whole.as_slice(), &key).and_then(Reader::finish), Ok(()));
        let fewer = write(io::sink(), &key, 5, 3, saved.into_iter()).expect_err("one is missing");
        assert!(fewer.to_string().contains("missing"), "{fewer}");
        let check = |bytes: &[u8], key: &[u8; 32], expected: &str| {
            let error = parse(bytes, key).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        };
        check(&whole, &[8; 32], "another model or prompt");
        for (at, expected) in [(0, "another format"), (70, "checksum"), (whole.len() - 1, "checksum")] {
            let mut other = whole.clone();
            other[at] ^= 1;
            check(&other, &key, expected);
        }
        // A head that promises more than there is.
        let mut other = whole.clone();
        other[HEAD_BYTES + 7] = 255;
        check(&other, &key, "ends early");
        for end in [0, 10, HEAD_BYTES, HEAD_BYTES + SUM_BYTES, whole.len() - SUM_BYTES, whole.len() - 1] {
            check(&whole[..end], &key, "ends early");
        }
    }
}
