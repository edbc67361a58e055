//! Rows of keys and values: cut off, as bytes for a snapshot on disk, and moved within their buffer.

use half::f16;

use super::{Dtype, OnnxError, Tensor};

impl Tensor {
    /// Heads, rows and width of keys or values [1, heads, rows, width].
    fn heads_rows_width(&self) -> Result<(usize, usize, usize), OnnxError> {
        let shape = self.shape();
        match shape.as_slice() {
            &[1, heads, rows, width] => Ok((heads, rows, width)),
            _ => Err(OnnxError::Run(format!("keys and values should have four dimensions, found {shape:?}"))),
        }
    }

    /// A copy of the first `rows` of axis 2 of a [1, heads, rows, d] tensor (keys or values).
    ///
    /// # Errors
    /// When the tensor has another rank or type, or fewer rows.
    pub fn truncated(&self, rows: usize) -> Result<Self, OnnxError> {
        let (heads, have, d) = self.heads_rows_width()?;
        if rows > have {
            return Err(OnnxError::Run(format!("cannot keep {rows} of {have} rows")));
        }
        let mut cut = Self::zeros(self.dtype(), &[1, heads, rows, d])?;
        fn copy<T: Copy>(from: &[T], to: &mut [T], (have, rows, d): (usize, usize, usize)) {
            if rows * d > 0 {
                for (from, to) in from.chunks_exact(have * d).zip(to.chunks_exact_mut(rows * d)) {
                    to.copy_from_slice(&from[..rows * d]);
                }
            }
        }
        let dims = (have, rows, d);
        match self.dtype() {
            Dtype::F16 => copy(
                self.0.try_extract_tensor::<f16>().map_err(OnnxError::run)?.1,
                cut.0.try_extract_tensor_mut::<f16>().map_err(OnnxError::run)?.1,
                dims,
            ),
            _ => copy(self.as_f32()?, cut.0.try_extract_tensor_mut::<f32>().map_err(OnnxError::run)?.1, dims),
        }
        Ok(cut)
    }

    /// The first `rows` of axis 2 of a [1, heads, rows, d] tensor as little-endian bytes, head after head.
    ///
    /// # Errors
    /// When the tensor has another rank or type, or fewer rows.
    pub fn rows_to_bytes(&self, rows: usize) -> Result<Vec<u8>, OnnxError> {
        let cut = self.truncated(rows)?;
        match self.dtype() {
            Dtype::F16 => {
                let data = cut.0.try_extract_tensor::<f16>().map_err(OnnxError::run)?.1;
                Ok(data.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            _ => Ok(cut.as_f32()?.iter().flat_map(|value| value.to_le_bytes()).collect()),
        }
    }

    /// Writes what [`Tensor::rows_to_bytes`] gave over the first `rows`.
    ///
    /// # Errors
    /// When the tensor has another rank or type, fewer rows, or `bytes` another length.
    pub fn rows_from_bytes(&mut self, rows: usize, bytes: &[u8]) -> Result<(), OnnxError> {
        let (heads, have, d) = self.heads_rows_width()?;
        let size = if self.dtype() == Dtype::F16 { 2 } else { 4 };
        if rows > have || bytes.len() != heads * rows * d * size {
            return Err(OnnxError::Run(format!("{} bytes do not fit {rows} of {have} rows", bytes.len())));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let pieces = bytes.chunks_exact(rows * d * size);
        match self.dtype() {
            Dtype::F16 => {
                let data = self.0.try_extract_tensor_mut::<f16>().map_err(OnnxError::run)?.1;
                for (to, from) in data.chunks_exact_mut(have * d).zip(pieces) {
                    let values = from.as_chunks::<2>().0.iter().map(|raw| f16::from_le_bytes(*raw));
                    to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
                }
            }
            _ => {
                let data = self.0.try_extract_tensor_mut::<f32>().map_err(OnnxError::run)?.1;
                for (to, from) in data.chunks_exact_mut(have * d).zip(pieces) {
                    let values = from.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw));
                    to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
                }
            }
        }
        Ok(())
    }

    /// Moves `rows` of axis 2 of a [1, heads, rows, d] tensor, from row `from` on, to the front.
    ///
    /// # Errors
    /// When the tensor has another rank or type, or fewer rows.
    pub fn rows_to_front(&mut self, from: usize, rows: usize) -> Result<(), OnnxError> {
        let (_, have, d) = self.heads_rows_width()?;
        if from + rows > have {
            return Err(OnnxError::Run(format!("cannot move {rows} rows from row {from} of {have}")));
        }
        fn shift<T: Copy>(data: &mut [T], head: usize, moved: std::ops::Range<usize>) {
            data.chunks_exact_mut(head.max(1)).for_each(|rows| rows.copy_within(moved.clone(), 0));
        }
        let moved = from * d..(from + rows) * d;
        match self.dtype() {
            Dtype::F16 => shift(self.0.try_extract_tensor_mut::<f16>().map_err(OnnxError::run)?.1, have * d, moved),
            _ => shift(self.0.try_extract_tensor_mut::<f32>().map_err(OnnxError::run)?.1, have * d, moved),
        }
        Ok(())
    }
}
