//! Which formats have a kernel that encodes them.

use crate::codec::{Format, GgmlType};
use halftone_shaders::Kernel;

/// The kernel, the number by which it knows the format, and how many blocks one of its workgroups has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoder {
    pub(crate) kernel: Kernel,
    pub(crate) format: u32,
    pub(crate) blocks: usize,
    /// Operations it spends on a weight, about.
    pub(crate) operations: u64,
}

/// The encoder of a format.
pub(crate) fn kernel(format: Format) -> Option<Encoder> {
    use GgmlType as T;
    let kind = match format {
        Format::Ggml(kind) => kind,
        Format::ScaledNvfp4 => T::NVFP4,
        _ => return None,
    };
    // Candidates × what one costs a weight: a product, a rounding, two or three sums.
    let (kernel, blocks, operations) = match kind {
        T::Q8_0 => (Kernel::EncodeBlocks, 16, 64),
        T::Q4_0 | T::Q5_0 | T::IQ4_NL => (Kernel::EncodeBlocks, 16, 48 * 14),
        T::Q4_1 | T::Q5_1 => (Kernel::EncodeAffineBlocks, 16, 48 * 16),
        T::Q3_K | T::Q6_K | T::IQ4_XS => (Kernel::EncodeSuperBlocks, 2, 96 * 14),
        T::Q2_K | T::Q4_K | T::Q5_K => (Kernel::EncodeAffineSuperBlocks, 2, 80 * 16),
        T::MXFP4 => (Kernel::EncodeFp4, 16, 3 * 24),
        T::NVFP4 => (Kernel::EncodeFp4, 4, 16 * 24),
        _ => return None,
    };
    Some(Encoder { kernel, format: kind.id(), blocks, operations })
}
