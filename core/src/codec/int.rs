//! Group-wise integers of 2 to 8 bits: ŵ = s·(q − z), one scale (and zero point) for each group of columns.
//!
//! Stored by us as blocks, one a group: f16 scale, u8 zero point (asymmetric only), then the codes, `bits` each, least significant
//! bit first. Symmetric codes are stored as q + 2^(bits−1). Exporters repack them into what their runtime wants.

use serde::{Deserialize, Serialize};

/// A group-wise integer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntFormat {
    /// Bits of a code, 2 to 8.
    pub bits: u8,
    /// Columns that share a scale; a multiple of 8.
    pub group: u16,
    /// No zero point: codes are −2^(b−1) … 2^(b−1)−1 around zero.
    pub symmetric: bool,
}

impl IntFormat {
    /// Bytes of one group.
    pub fn block_bytes(self) -> usize {
        2 + usize::from(!self.symmetric) + usize::from(self.group) * usize::from(self.bits) / 8
    }
}
