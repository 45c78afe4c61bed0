//! OCP microscaling: blocks of 32 elements under a power of two (E8M0). MXFP8 and MXFP6 here; MXFP4 is a ggml type.
//!
//! One byte, the scale 2^(byte − 127), then the codes, least significant bit first. The scales tried are the plain one of the specification,
//! ⌊log₂ of the largest magnitude⌋ less the exponent of the largest element, and its neighbours.

use super::bits::{each_code, put_codes};
use super::element::Element;
use super::family::{Family, Feedback, Heads, Layout};
use super::lanes::{TINY, array};
use super::minifloat::{NAMES, put_elements};
use super::scale_fit::least;
use super::span::Cleaned;
use super::{Codebook, Format};
use serde::{Deserialize, Serialize};

const COLUMNS: usize = 32;

/// A microscaling format, by its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MxFormat(pub Element);

impl MxFormat {
    /// Reads `MXFP8-E4M3` and so on.
    pub(super) fn parse(upper: &str) -> Option<Format> {
        let name = upper.strip_prefix("MX")?;
        // MXFP4 is ggml's.
        NAMES.iter().find(|(n, e)| *n == name && *e != Element::E2M1).map(|(_, element)| Format::Mx(Self(*element)))
    }
}

/// 2^(byte − 127); what the specification calls not a number is the largest here.
fn power(byte: u8) -> f32 {
    if byte == 0 { f32::from_bits(0x0040_0000) } else { f32::from_bits(u32::from(byte.min(254)) << 23) }
}

impl Family for MxFormat {
    fn name(&self) -> String {
        format!("MX{}", NAMES.iter().find(|(_, e)| *e == self.0).map_or("", |(name, _)| name))
    }

    fn layout(&self) -> Layout {
        Layout::blocks(COLUMNS, 1 + COLUMNS * usize::from(self.0.bits()) / 8)
    }

    fn encode(&self, _: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let (mut cleaned, mut codes) = (Cleaned::default(), [0; COLUMNS]);
        for (i, (values, out)) in values.as_chunks::<COLUMNS>().0.iter().zip(out.chunks_exact_mut(self.layout().block_bytes)).enumerate() {
            let span = cleaned.set(values, COLUMNS, importance.map(|all| &all[i * COLUMNS..][..COLUMNS]));
            let largest = span.largest();
            if largest < TINY {
                out.fill(0);
                continue;
            }
            let plain = (largest.to_bits() >> 23) as i32 - self.0.top_exponent();
            // The plain one first: of equals it wins.
            let bytes = [0, -1, 1, 2].map(|by| (plain + by).clamp(0, 254) as u8);
            let scale = least(self.0.rounding(), &span, &array(|c| power(bytes[c.min(3)])));
            out[0] = (scale.to_bits() >> 23) as u8;
            put_elements(self.0, values, scale, &mut codes);
            put_codes(self.0.bits(), &mut out[1..], &codes);
        }
    }

    fn decode(&self, _: Heads<'_>, bytes: &[u8], out: &mut [f32]) {
        for (bytes, out) in bytes.chunks_exact(self.layout().block_bytes).zip(out.chunks_exact_mut(COLUMNS)) {
            let scale = power(bytes[0]);
            each_code(self.0.bits(), &bytes[1..], out, |code| scale * self.0.value(code));
        }
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        Some(self)
    }
}

impl Feedback for MxFormat {
    fn codebook(&self) -> Codebook {
        Codebook::Float(self.0)
    }

    fn law(&self, _: Heads<'_>, block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        scales.fill(power(block[0]));
        offsets.fill(0.0);
    }

    fn put_indices(&self, block: &mut [u8], indices: &[u8]) {
        let codes: Vec<u8> = indices.iter().map(|&index| self.0.code_at(index)).collect();
        put_codes(self.0.bits(), &mut block[1..], &codes);
    }
}
