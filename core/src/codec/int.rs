//! Integers of 2 to 8 bits: ŵ = s·(q − z), one scale (and zero point) for each group of columns, channel or tensor.
//!
//! A group is a block: f16 scale, u8 zero point (asymmetric only), then the codes, `bits` each, least significant bit first. The scale of a
//! channel or tensor is an f32, and stands with the zero point at the head of the row or of the tensor. Symmetric codes are stored as
//! q + 2^(bits−1), so that z = 2^(bits−1). Exporters repack them into what their runtime wants.

use super::bits::{each_code, put_codes};
use super::family::{Family, Feedback, Heads, Layout};
use super::granularity::Granularity;
use super::lanes::{finite, reciprocal, to_integer};
use super::scales::{self, ScaleSearch};
use super::span::{Cleaned, Span};
use super::{Codebook, Format};
use half::f16;
use halftone_shaders::twin::encode_groups::Scheme;
use serde::{Deserialize, Serialize};

/// An integer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntFormat {
    /// Bits of a code, 2 to 8.
    pub bits: u8,
    /// What shares a scale.
    pub scope: Granularity,
    /// No zero point: codes are −2^(b−1) … 2^(b−1)−1 around zero.
    pub symmetric: bool,
}

impl IntFormat {
    /// Reads `INT4-G128`, `INT8-CHANNEL`, `INT3-TENSOR-ASYM` and so on.
    pub(super) fn parse(upper: &str) -> Option<Format> {
        let (bits, rest) = upper.strip_prefix("INT")?.split_once('-')?;
        let bits: u8 = bits.parse().ok().filter(|b| (2..=8).contains(b))?;
        let (scope, symmetric) = rest.strip_suffix("-ASYM").map_or((rest, true), |scope| (scope, false));
        Some(Format::Int(Self { bits, scope: Granularity::parse(scope)?, symmetric }))
    }

    /// The zero point of symmetric codes, 2^(bits−1).
    pub fn middle(self) -> u8 {
        1 << (self.bits - 1)
    }

    /// The largest code, 2^bits − 1.
    pub fn top(self) -> u8 {
        u8::MAX >> (8 - self.bits)
    }

    /// How its codes are searched.
    pub(crate) fn scheme(self) -> Scheme {
        Scheme { bits: self.bits, symmetric: self.symmetric, half: matches!(self.scope, Granularity::Group(_)) }
    }

    fn scale_bytes(self) -> usize {
        if matches!(self.scope, Granularity::Group(_)) { 2 } else { 4 }
    }

    /// Bytes of a scale and its zero point.
    fn header_bytes(self) -> usize {
        self.scale_bytes() + usize::from(!self.symmetric)
    }

    /// Writes scale and zero point (which does not matter when symmetric); a scale of two bytes is rounded to half precision.
    fn put_header(self, header: &mut [u8], scale: f32, zero: u8) {
        let (first, rest) = header.split_at_mut(self.scale_bytes());
        if first.len() == 2 {
            first.copy_from_slice(&f16::from_f32(scale.clamp(-65504.0, 65504.0)).to_le_bytes());
        } else {
            first.copy_from_slice(&scale.to_le_bytes());
        }
        rest.fill(zero);
    }

    /// Scale and zero point.
    fn header(self, header: &[u8]) -> (f32, u8) {
        let (scale, zero) = header.split_at(self.scale_bytes());
        let scale = match *scale {
            [a, b] => f16::from_le_bytes([a, b]).to_f32(),
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("a scale of 2 or 4 bytes"),
        };
        (scale, zero.first().copied().unwrap_or(self.middle()))
    }

    /// Reads codes, scales and zero points of encoded rows, one of the latter for each group, row, or the tensor: what exporters repack.
    /// Zero points of symmetric formats are [`Self::middle`].
    pub fn unpack(self, bytes: &[u8], columns: usize, codes: &mut [u8]) -> (Vec<f32>, Vec<u8>) {
        let layout = self.layout();
        let (tensor, rows) = bytes.split_at(layout.tensor_head);
        let (mut scales, mut zeros) = (Vec::new(), Vec::new());
        for (row, codes) in rows.chunks_exact(layout.row_bytes(columns)).zip(codes.chunks_exact_mut(columns)) {
            let (head, blocks) = row.split_at(layout.row_head);
            let (width, piece) = self.scope.piece(layout, columns);
            for (piece, codes) in blocks.chunks_exact(piece).zip(codes.chunks_exact_mut(width)) {
                let (header, packed) = self.scope.split(Heads { tensor, row: head }, piece, self.header_bytes());
                if self.scope != Granularity::Tensor || scales.is_empty() {
                    let (scale, zero) = self.header(header);
                    scales.push(scale);
                    zeros.push(zero);
                }
                each_code(self.bits, packed, codes, |code| code);
            }
        }
        (scales, zeros)
    }

    /// Encodes blocks with this search for the scales of groups.
    pub(super) fn encode_by(self, search: &ScaleSearch, heads: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let (columns, bytes) = self.scope.piece(self.layout(), values.len());
        let (mut cleaned, mut codes) = (Cleaned::default(), vec![0; columns]);
        for (i, (values, out)) in values.chunks_exact(columns).zip(out.chunks_exact_mut(bytes)).enumerate() {
            if let Granularity::Group(_) = self.scope {
                let span = cleaned.set(values, columns, importance.map(|all| &all[i * columns..][..columns]));
                self.fit(search, span, &mut out[..self.header_bytes()]);
            }
            let (header, packed) = self.scope.split(heads, out, self.header_bytes());
            let from = bytes - packed.len();
            let (scale, zero) = self.header(header);
            let (inverse, zero, top) = (reciprocal(scale), f32::from(zero), f32::from(self.top()));
            for (code, &v) in codes.iter_mut().zip(values) {
                *code = (to_integer((finite(v) * inverse).clamp(-zero, top - zero)) + zero as i32) as u8;
            }
            put_codes(self.bits, &mut out[from..], &codes);
        }
    }

    fn fit(self, search: &ScaleSearch, span: Span<'_>, header: &mut [u8]) {
        let (scale, zero) = search.fit(self, span);
        self.put_header(header, scale, zero as u8);
    }
}

impl Family for IntFormat {
    fn name(&self) -> String {
        format!("INT{}-{}{}", self.bits, self.scope, if self.symmetric { "" } else { "-asym" })
    }

    fn layout(&self) -> Layout {
        self.scope.layout(self.header_bytes(), self.bits)
    }

    fn encode_tensor_head(&self, weights: &[f32], columns: usize, importance: Option<&[f32]>, head: &mut [u8]) {
        if self.scope == Granularity::Tensor {
            self.fit(scales::DEFAULT, Cleaned::default().set(weights, columns, importance), head);
        }
    }

    fn encode_row_head(&self, _: &[u8], row: &[f32], importance: Option<&[f32]>, head: &mut [u8]) {
        if self.scope == Granularity::Channel {
            self.fit(scales::DEFAULT, Cleaned::default().set(row, row.len(), importance), head);
        }
    }

    fn encode(&self, heads: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        self.encode_by(scales::DEFAULT, heads, values, importance, out);
    }

    fn decode(&self, heads: Heads<'_>, bytes: &[u8], out: &mut [f32]) {
        let (columns, piece) = self.scope.piece(self.layout(), out.len());
        for (bytes, out) in bytes.chunks_exact(piece.max(1)).zip(out.chunks_exact_mut(columns.max(1))) {
            let (header, packed) = self.scope.split(heads, bytes, self.header_bytes());
            let (scale, zero) = self.header(header);
            let zero = f32::from(zero);
            each_code(self.bits, packed, out, |code| scale * (f32::from(code) - zero));
        }
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        Some(self)
    }
}

impl Feedback for IntFormat {
    fn codebook(&self) -> Codebook {
        Codebook::Integers(0, i16::from(self.top()))
    }

    fn law(&self, heads: Heads<'_>, block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let (scale, zero) = self.header(self.scope.split(heads, block, self.header_bytes()).0);
        scales.fill(scale);
        offsets.fill(-scale * f32::from(zero));
    }

    fn put_indices(&self, block: &mut [u8], indices: &[u8]) {
        let from = block.len() - indices.len() * usize::from(self.bits) / 8;
        put_codes(self.bits, &mut block[from..], indices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Groups from codes (one byte each), scales and zero points.
    fn pack(format: IntFormat, codes: &[u8], scales: &[f32], zeros: &[u8], out: &mut [u8]) {
        let layout = format.layout();
        for (i, (block, codes)) in out.chunks_exact_mut(layout.block_bytes).zip(codes.chunks_exact(layout.block_columns)).enumerate() {
            let (header, packed) = block.split_at_mut(format.header_bytes());
            format.put_header(header, scales[i], zeros[i]);
            put_codes(format.bits, packed, codes);
        }
    }

    proptest! {
        #[test]
        fn unpack_returns_what_was_packed(bits in 2u8..=8, eights in 1usize..6, symmetric: bool, seed in proptest::collection::vec(any::<u8>(), 96)) {
            let format = IntFormat { bits, scope: Granularity::Group(8 * eights as u16), symmetric };
            let group = 8 * eights;
            let codes: Vec<u8> = (0..2 * group).map(|i| seed[i % 96] & format.top()).collect();
            let scales = [0.25, f32::from(seed[0])];
            let zeros = if symmetric { [format.middle(); 2] } else { [seed[1] & format.top(), 0] };
            let mut bytes = vec![0; 2 * format.layout().block_bytes];
            pack(format, &codes, &scales, &zeros, &mut bytes);
            let mut codes2 = vec![0; codes.len()];
            let (scales2, zeros2) = format.unpack(&bytes, 2 * group, &mut codes2);
            prop_assert_eq!(&codes, &codes2, "codes");
            prop_assert_eq!(&scales[..], &scales2[..], "scales");
            prop_assert_eq!(&zeros[..], &zeros2[..], "zero points");
            let mut values = vec![0.0; codes.len()];
            Format::Int(format).decode(&bytes, &mut values);
            for (i, value) in values.iter().enumerate() {
                let want = scales[i / group] * (f32::from(codes[i]) - f32::from(zeros[i / group]));
                prop_assert_eq!(*value, want, "value {}", i);
            }
        }
    }
}
