//! What a reader finds in a header: tensors by stored name, and where their bytes lie.

use crate::tensor::DType;
use std::ops::Range;

/// One tensor as its file declares it; ranges were checked against the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredTensor {
    pub name: String,
    pub dtype: DType,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// The bytes lie column after column.
    pub transposed: bool,
    /// Which of the source's files.
    pub file: usize,
    /// Bytes within that file.
    pub range: Range<usize>,
}
