//! Which formats have a kernel that encodes them.

use crate::codec::{Element, FloatFormat, Format, GgmlType, Granularity, IntFormat, MxFormat};
use halftone_shaders::Kernel;
use halftone_shaders::blocks::{MX, Params};

/// The kernel of a format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Encoder {
    pub(crate) kernel: Kernel,
    /// What the kernel must know of the format.
    pub(crate) params: Params,
    /// Blocks of a workgroup.
    pub(crate) blocks: usize,
    /// Operations it spends on a weight, about.
    pub(crate) operations: u64,
}

/// The encoder of a format.
pub(crate) fn encoder(format: Format) -> Option<Encoder> {
    let mut encoder = match format {
        Format::Ggml(kind) => ggml(kind)?,
        Format::ScaledNvfp4 => ggml(GgmlType::NVFP4)?,
        Format::Int(int @ IntFormat { scope: Granularity::Group(_), .. }) => integers(int),
        Format::Float(FloatFormat { element, scope: Granularity::Group(_) }) => floats(element, 0, 50),
        Format::Mx(MxFormat(element)) => floats(element, MX, 20),
        _ => return None,
    };
    let layout = format.layout();
    (encoder.params.columns, encoder.params.block_bytes) = (layout.block_columns as u32, layout.block_bytes as u32);
    Some(encoder)
}

/// Every format with a kernel; of those with groups one of each number of bits, of every length that a kernel must cut otherwise.
pub fn formats_with_kernel() -> Vec<Format> {
    let ggml = GgmlType::ALL.iter().map(|kind| Format::Ggml(*kind));
    let groups = [32, 96, 128, 8, 24, 256, 64];
    let int =
        |(bits, symmetric)| Format::Int(IntFormat { bits, scope: Granularity::Group(groups[(usize::from(bits) + usize::from(symmetric)) % 7]), symmetric });
    let ints = (2..=8).flat_map(move |bits| [true, false].map(|symmetric| int((bits, symmetric))));
    let floats = Element::ALL.iter().zip(groups).map(|(&element, group)| Format::Float(FloatFormat { element, scope: Granularity::Group(group) }));
    let mx = Element::ALL.iter().filter(|element| **element != Element::E2M1).map(|&element| Format::Mx(MxFormat(element)));
    let all = ggml.chain([Format::ScaledNvfp4]).chain(ints).chain(floats).chain(mx);
    all.filter(|format| encoder(*format).is_some()).collect()
}

/// Operations are candidates × what one costs a weight: a product, a rounding, two or three sums; or a sum and a comparison a grid row.
fn ggml(kind: GgmlType) -> Option<Encoder> {
    use GgmlType as T;
    let (kernel, blocks, operations) = match kind {
        T::Q8_0 => (Kernel::EncodeBlocks, 16, 64),
        T::Q4_0 | T::Q5_0 | T::IQ4_NL => (Kernel::EncodeBlocks, 16, 48 * 14),
        T::Q4_1 | T::Q5_1 => (Kernel::EncodeAffineBlocks, 16, 48 * 16),
        T::Q3_K | T::Q6_K | T::IQ4_XS => (Kernel::EncodeSuperBlocks, 2, 96 * 14),
        T::Q2_K | T::Q4_K | T::Q5_K => (Kernel::EncodeAffineSuperBlocks, 2, 80 * 16),
        T::IQ2_XXS => (Kernel::EncodeGridRows, 2, 2800),
        T::IQ2_XS => (Kernel::EncodeGridRows, 2, 4400),
        T::IQ2_S => (Kernel::EncodeGridRows, 2, 3200),
        T::IQ3_XXS => (Kernel::EncodeGridRows, 2, 4800),
        T::IQ3_S => (Kernel::EncodeGridRows, 2, 2900),
        T::MXFP4 => (Kernel::EncodeFp4, 16, 3 * 24),
        T::NVFP4 => (Kernel::EncodeFp4, 4, 16 * 24),
        _ => return None,
    };
    Some(Encoder { kernel, params: Params { format: kind.id(), ..Params::default() }, blocks, operations })
}

fn integers(format: IntFormat) -> Encoder {
    let scheme = format.scheme();
    let params = Params {
        bits: u32::from(format.bits),
        symmetric: format.symmetric.into(),
        least_share: scheme.least_share(),
        step: scheme.step(),
        ..Params::default()
    };
    let passes = if format.symmetric { 10 } else { 4 + 24 / (16 >> format.bits).max(1) };
    Encoder { kernel: Kernel::EncodeGroups, params, blocks: 16, operations: 16 * 14 * passes }
}

fn floats(element: Element, format: u32, candidates: u64) -> Encoder {
    let rounding = element.rounding();
    let params = Params {
        format,
        bits: u32::from(element.bits()),
        mantissa_bits: rounding.mantissa_bits,
        least_exponent: rounding.least_exponent,
        top_exponent: element.top_exponent() as u32,
        top: rounding.top,
        ..Params::default()
    };
    Encoder { kernel: Kernel::EncodeFloats, params, blocks: 16, operations: candidates * 20 }
}
