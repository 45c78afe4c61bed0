//! FP8, FP6 and FP4 under one scale for a group of columns, a channel or the tensor: ŵ = s·element.
//!
//! A group is a block: f16 d with s = d·2^−e, where 2^e is the binade of the largest element (so that d is of the weights' size and far from
//! the subnormals of half precision), then the codes, least significant bit first. The scale of a channel or tensor is an f32 at the head
//! of the row or of the tensor, as vLLM and compressed-tensors have it; the codes of FP8 then are their `weight` as it is.

use super::bits::{each_code, put_codes};
use super::element::Element;
use super::family::{Family, Feedback, Heads, Layout};
use super::granularity::Granularity;
use super::lanes::{finite, reciprocal, to_half};
use super::scale_fit::fit_scale;
use super::span::{Cleaned, Span};
use super::{Codebook, Format};
use half::f16;
use serde::{Deserialize, Serialize};

/// A small float under a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FloatFormat {
    /// The float.
    pub element: Element,
    /// What shares a scale.
    pub scope: Granularity,
}

/// The names of the elements in formats.
pub(super) const NAMES: [(&str, Element); 5] =
    [("FP8-E4M3", Element::E4M3), ("FP8-E5M2", Element::E5M2), ("FP6-E3M2", Element::E3M2), ("FP6-E2M3", Element::E2M3), ("FP4", Element::E2M1)];

impl FloatFormat {
    /// Reads `FP8-E4M3-CHANNEL`, `FP6-E2M3-G128`, `FP4-G32` and so on.
    pub(super) fn parse(upper: &str) -> Option<Format> {
        let (rest, element) = NAMES.iter().find_map(|(name, element)| Some((upper.strip_prefix(name)?.strip_prefix('-')?, *element)))?;
        Some(Format::Float(Self { element, scope: Granularity::parse(rest)? }))
    }

    fn header_bytes(self) -> usize {
        if matches!(self.scope, Granularity::Group(_)) { 2 } else { 4 }
    }

    /// 2^−e.
    fn unit(self) -> f32 {
        f32::from_bits(((127 - self.element.top_exponent()) as u32) << 23)
    }

    /// Chooses the scale of a span and writes it.
    fn fit(self, span: Span<'_>, header: &mut [u8]) {
        let (grid, unit) = (self.element.rounding(), self.unit());
        if let [_, _] = *header {
            let scale = fit_scale(grid, &span, |s| to_half(s / unit) * unit);
            header.copy_from_slice(&f16::from_f32(scale / unit).to_le_bytes());
        } else {
            header.copy_from_slice(&fit_scale(grid, &span, |s| s).to_le_bytes());
        }
    }

    fn scale(self, header: &[u8]) -> f32 {
        match *header {
            [a, b] => f16::from_le_bytes([a, b]).to_f32() * self.unit(),
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("a header of 2 or 4 bytes"),
        }
    }
}

impl Family for FloatFormat {
    fn name(&self) -> String {
        let name = NAMES.iter().find(|(_, e)| *e == self.element).map_or("", |(name, _)| name);
        format!("{name}-{}", self.scope)
    }

    fn layout(&self) -> Layout {
        self.scope.layout(self.header_bytes(), self.element.bits())
    }

    fn encode_tensor_head(&self, weights: &[f32], columns: usize, importance: Option<&[f32]>, head: &mut [u8]) {
        if self.scope == Granularity::Tensor {
            self.fit(Cleaned::default().set(weights, columns, importance), head);
        }
    }

    fn encode_row_head(&self, _: &[u8], row: &[f32], importance: Option<&[f32]>, head: &mut [u8]) {
        if self.scope == Granularity::Channel {
            self.fit(Cleaned::default().set(row, row.len(), importance), head);
        }
    }

    fn encode(&self, heads: Heads<'_>, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let (columns, bytes) = self.scope.piece(self.layout(), values.len());
        let (mut cleaned, mut codes) = (Cleaned::default(), vec![0; columns]);
        for (i, (values, out)) in values.chunks_exact(columns).zip(out.chunks_exact_mut(bytes)).enumerate() {
            if let Granularity::Group(_) = self.scope {
                self.fit(cleaned.set(values, columns, importance.map(|all| &all[i * columns..][..columns])), &mut out[..2]);
            }
            let (header, packed) = self.scope.split(heads, out, self.header_bytes());
            let from = bytes - packed.len();
            put_elements(self.element, values, self.scale(header), &mut codes);
            put_codes(self.element.bits(), &mut out[from..], &codes);
        }
    }

    fn decode(&self, heads: Heads<'_>, bytes: &[u8], out: &mut [f32]) {
        let (columns, piece) = self.scope.piece(self.layout(), out.len());
        for (bytes, out) in bytes.chunks_exact(piece.max(1)).zip(out.chunks_exact_mut(columns.max(1))) {
            let (header, packed) = self.scope.split(heads, bytes, self.header_bytes());
            let scale = self.scale(header);
            each_code(self.element.bits(), packed, out, |code| scale * self.element.value(code));
        }
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        Some(self)
    }
}

/// The codes of the elements nearest to values / scale.
pub(super) fn put_elements(element: Element, values: &[f32], scale: f32, codes: &mut [u8]) {
    let (rounding, inverse) = (element.rounding(), reciprocal(scale));
    for (code, &v) in codes.iter_mut().zip(values) {
        *code = element.code_at(rounding.nearest(finite(v) * inverse).1 as u8);
    }
}

impl Feedback for FloatFormat {
    fn codebook(&self) -> Codebook {
        Codebook::Float(self.element)
    }

    fn law(&self, heads: Heads<'_>, block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        scales.fill(self.scale(self.scope.split(heads, block, self.header_bytes()).0));
        offsets.fill(0.0);
    }

    fn put_indices(&self, block: &mut [u8], indices: &[u8]) {
        let codes: Vec<u8> = indices.iter().map(|&index| self.element.code_at(index)).collect();
        let from = block.len() - codes.len() * usize::from(self.element.bits()) / 8;
        put_codes(self.element.bits(), &mut block[from..], &codes);
    }
}
