//! Rows of keys and values: as bytes, for a snapshot on disk, and moved within their buffer.

use half::f16;

use super::{Dtype, OnnxError, Tensor};

impl Tensor {
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
        let shape = self.shape();
        let &[1, heads, have, d] = shape.as_slice() else {
            return Err(OnnxError::Run(format!("keys and values should have four dimensions, found {shape:?}")));
        };
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
        let shape = self.shape();
        let &[1, _, have, d] = shape.as_slice() else {
            return Err(OnnxError::Run(format!("keys and values should have four dimensions, found {shape:?}")));
        };
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
