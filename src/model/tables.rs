//! The embedding tables, read from their files row by row, so that they are never resident: in E4B they have 2.2 GB, of
//! which a token needs 8 KB. (Where a graph looks them up, ONNX Runtime maps the files, and the kernel brings in up to
//! 2 MB around each row.) Runs on the inference thread.
//!
//! What is computed is `GatherBlockQuantized` of ONNX Runtime's contrib operators (ContribOperators.md) and the factor
//! behind it: codes of 4 bits (low half first) or 8, less the zero point of their block, times its scale. A zero point that
//! is not stored is half of the range.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::manifest::{FolderError, Place, Table};

/// One table, open.
#[derive(Debug)]
pub struct OpenTable {
    rows: usize,
    columns: usize,
    bits: usize,
    block: usize,
    factor: f32,
    codes: Stored,
    scales: Stored,
    zero_points: Option<Stored>,
}

/// Rows of bytes in a file.
#[derive(Debug)]
struct Stored {
    path: PathBuf,
    file: File,
    offset: u64,
    row_bytes: usize,
}

impl Stored {
    /// Opens it, and looks whether all rows are there.
    fn open(dir: &Path, place: &Place, rows: usize, row_bytes: usize) -> Result<Self, FolderError> {
        let path = dir.join(&place.file);
        let fail = |reason: String| FolderError::File { path: path.clone(), reason };
        let file = File::open(&path).map_err(|error| fail(error.to_string()))?;
        let found = file.metadata().map_err(|error| fail(error.to_string()))?.len();
        let end = (rows as u64).checked_mul(row_bytes as u64).and_then(|bytes| bytes.checked_add(place.offset));
        if end.is_none_or(|end| end > found) {
            return Err(fail(format!(
                "{found} bytes: too short for {rows} rows of {row_bytes} from byte {}",
                place.offset
            )));
        }
        Ok(Self { path, file, offset: place.offset, row_bytes })
    }

    fn row(&self, row: usize) -> Result<Vec<u8>, FolderError> {
        let mut bytes = vec![0; self.row_bytes];
        let at = self.offset + row as u64 * self.row_bytes as u64;
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|error| FolderError::File { path: self.path.clone(), reason: error.to_string() })?;
        Ok(bytes)
    }
}

impl OpenTable {
    /// Opens a table of the folder `dir`, which must have so many columns.
    ///
    /// # Errors
    /// [`FolderError`] when a file of it is missing or too short, or it is of another shape.
    pub fn open(dir: &Path, table: &Table, columns: usize) -> Result<Self, FolderError> {
        let Table { rows, bits, block, factor, .. } = *table;
        let whole = matches!(bits, 4 | 8) && block > 0 && columns.is_multiple_of(block);
        // Whole bytes, and few enough for every product below; the file bounds them further.
        let fits = whole && columns.checked_mul(32).is_some() && (columns * bits).is_multiple_of(8);
        if table.columns != columns || rows == 0 || !fits {
            let found = format!("{rows} rows of {}, {bits} bits in blocks of {block}", table.columns);
            let reason = format!("manifest.json: a table of {found}, where {columns} columns of 4 or 8 bits are due");
            return Err(FolderError::Layout { path: dir.to_path_buf(), reason });
        }
        let blocks = columns / block;
        let stored = |place: &Place, row_bytes| Stored::open(dir, place, rows, row_bytes);
        Ok(Self {
            rows,
            columns,
            bits,
            block,
            factor,
            codes: stored(&table.codes, columns * bits / 8)?,
            scales: stored(&table.scales, blocks * 4)?,
            zero_points: table.zero_points.as_ref().map(|at| stored(at, (blocks * bits).div_ceil(8))).transpose()?,
        })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a row to `out`.
    ///
    /// # Errors
    /// [`FolderError::File`] when it cannot be read.
    pub fn read(&self, row: usize, out: &mut Vec<f32>) -> Result<(), FolderError> {
        let (codes, scales) = (self.codes.row(row)?, self.scales.row(row)?);
        let zeros = self.zero_points.as_ref().map(|stored| stored.row(row)).transpose()?;
        let code = |bytes: &[u8], at: usize| match self.bits {
            4 => f32::from(bytes[at / 2] >> (4 * (at % 2)) & 15),
            _ => f32::from(bytes[at]),
        };
        let middle = f32::from(1_u8 << (self.bits - 1));
        out.reserve(self.columns);
        for (block, scale) in scales.as_chunks::<4>().0.iter().enumerate() {
            let (scale, first) = (f32::from_le_bytes(*scale), block * self.block);
            let zero = zeros.as_ref().map_or(middle, |zeros| code(zeros, block));
            let values = (first..first + self.block).map(|at| (code(&codes, at) - zero) * scale * self.factor);
            out.extend(values);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bits: usize, zeros: bool) -> Table {
        let place = |offset| Place { file: "table".into(), offset };
        let zero_points = zeros.then(|| place(12));
        Table { rows: 1, columns: 4, bits, block: 2, factor: 2.0, codes: place(0), scales: place(4), zero_points }
    }

    /// The row of a file of codes, two scales (1 and 0.5) and zero points.
    fn row(codes: [u8; 4], zeros: &[u8], table: &Table) -> Vec<f32> {
        let dir = tempfile::tempdir().expect("a folder");
        let scales = [1.0_f32, 0.5].map(f32::to_le_bytes).concat();
        std::fs::write(dir.path().join("table"), [&codes[..], &scales, zeros].concat()).expect("it is written");
        let mut out = vec![7.0];
        OpenTable::open(dir.path(), table, 4).expect("it opens").read(0, &mut out).expect("it is read");
        out
    }

    #[test]
    fn a_row_is_codes_less_zero_times_scale() {
        assert_eq!(row([0x98, 0x0f, 0, 0], &[], &table(4, false)), [7.0, 0.0, 2.0, 7.0, -8.0]);
        assert_eq!(row([0x98, 0x0f, 0, 0], &[0xf1], &table(4, true)), [7.0, 14.0, 16.0, 0.0, -15.0]);
        assert_eq!(row([128, 129, 0, 255], &[], &table(8, false)), [7.0, 0.0, 2.0, -128.0, 127.0]);
        assert_eq!(row([128, 129, 0, 255], &[1, 255], &table(8, true)), [7.0, 254.0, 256.0, -255.0, 0.0]);
    }

    #[test]
    fn a_table_that_is_not_there_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let check = |table: Table, columns: usize, expected: &str| {
            let error = OpenTable::open(dir.path(), &table, columns).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(table(4, false), 4, "No such file");
        std::fs::write(dir.path().join("table"), [0; 12]).expect("it is written");
        check(table(4, true), 4, "12 bytes: too short");
        check(Table { rows: usize::MAX, ..table(8, false) }, 4, "too short");
        check(table(4, false), 8, "8 columns");
        check(table(2, false), 4, "2 bits");
        check(Table { block: 3, ..table(4, false) }, 4, "blocks of 3");
        check(Table { columns: 3, block: 3, ..table(4, false) }, 3, "rows of 3");
        let huge = 1 << 62;
        check(Table { columns: huge, block: huge, ..table(4, false) }, huge, "4 bits in blocks of");
    }
}
