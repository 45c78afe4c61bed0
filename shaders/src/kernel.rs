//! The table of kernels: name, source, workgroup size, uniform struct and bindings of each.

use crate::params::{Uniform, UniformLayout};
use crate::twin;

/// What an adapter may have beyond the least, and kernels use where it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extensions {
    /// Threads that run together reduce without shared memory.
    pub subgroups: bool,
    /// 16-bit floats.
    pub halves: bool,
}

impl Extensions {
    /// Everything.
    pub const ALL: Self = Self { subgroups: true, halves: true };

    /// What stands in for a part of `wgsl/common/`, with the directive that it needs.
    fn instead(self, common: &str) -> Option<(&'static str, &'static str)> {
        match common {
            "reduce" if self.subgroups => Some(("", include_str!("../wgsl/common/reduce_subgroups.wgsl"))),
            "halves" if self.halves => Some(("enable f16;\n", include_str!("../wgsl/common/halves_f16.wgsl"))),
            _ => None,
        }
    }
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// The uniform struct.
    Uniform,
    /// A storage buffer it only reads.
    Read,
    /// A storage buffer it writes.
    Write,
}

/// One buffer of a kernel; its index in [`Kernel::bindings`] is its binding number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name in the WGSL.
    pub name: &'static str,
    /// How it is used.
    pub kind: BindingKind,
}

/// A line of the table: what it is for; its variant; the stem of its WGSL file and of its twin; what it has from `wgsl/common/`; threads of a
/// workgroup; its buffers after the uniform `params`, whose struct is the twin's `Params`.
macro_rules! kernels {
    ($($doc:literal $variant:ident $stem:ident $(with $($common:ident)+)? [$x:literal, $y:literal] { $($kind:ident $binding:ident),+ };)+) => {
        /// A compute kernel. Its entry point is `main`, its bindings are numbered from 0 in group 0, the uniform first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kernel {
            $(#[doc = $doc] $variant,)+
        }

        impl Kernel {
            /// Every kernel.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stem of its WGSL file and of its twin.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($stem)),+ }
            }

            /// Its source, for a device that has these.
            pub fn wgsl(self, device: Extensions) -> String {
                let (common, own): (&[(&str, &str)], &str) = match self {
                    $(Self::$variant => (
                        &[$($((stringify!($common), include_str!(concat!("../wgsl/common/", stringify!($common), ".wgsl")))),+)?],
                        include_str!(concat!("../wgsl/", stringify!($stem), ".wgsl")),
                    )),+
                };
                // Directives come before everything else.
                let parts = common.iter().map(|&(name, plain)| device.instead(name).unwrap_or(("", plain)));
                let (directives, parts): (Vec<_>, Vec<_>) = parts.chain([("", own)]).unzip();
                directives.concat() + &parts.join("\n")
            }

            /// Threads of a workgroup in x, y, z.
            pub const fn workgroup_size(self) -> [u32; 3] {
                match self { $(Self::$variant => [$x, $y, 1]),+ }
            }

            /// Its buffers, in binding order.
            pub const fn bindings(self) -> &'static [Binding] {
                const PARAMS: Binding = Binding { name: "params", kind: BindingKind::Uniform };
                match self {
                    $(Self::$variant => const { &[PARAMS, $(Binding { name: stringify!($binding), kind: BindingKind::$kind }),+] }),+
                }
            }

            /// Its uniform struct.
            pub const fn uniform(self) -> UniformLayout {
                match self { $(Self::$variant => <twin::$stem::Params as Uniform>::LAYOUT),+ }
            }
        }
    };
}

kernels! {
    "A copy, for the speed of the device's memory."
    StreamCopy stream_copy [256, 1] { Read values, Write copies };
    "Multiplications and additions, for the speed of its arithmetic."
    MultiplyAdd multiply_add [256, 1] { Read values, Write results };
    "Power sums and histogram."
    Statistics statistics with reduce [256, 1] { Read values, Read edges, Write counts, Write partials };
    "Blocks with one scale: Q4_0, Q5_0, Q8_0, IQ4_NL."
    EncodeBlocks encode_blocks with exact blocks scale_search [256, 1] { Read weights, Read importance, Write encoded };
    "Super-blocks with integer scales: Q3_K, Q6_K, IQ4_XS."
    EncodeSuperBlocks encode_super_blocks with exact blocks scale_search super_blocks [256, 1] { Read weights, Read importance, Write encoded };
    "Blocks with a scale and an offset: Q4_1, Q5_1."
    EncodeAffineBlocks encode_affine_blocks with exact blocks affine_search [256, 1] { Read weights, Read importance, Write encoded };
    "Super-blocks with integer scales and minima: Q2_K, Q4_K, Q5_K."
    EncodeAffineSuperBlocks encode_affine_super_blocks with exact blocks affine_search super_blocks [256, 1] { Read weights, Read importance, Write encoded };
    "Four-bit floats: MXFP4, NVFP4."
    EncodeFp4 encode_fp4 with exact blocks [256, 1] { Read weights, Read importance, Write encoded };
    "Rows of grids with signs: IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S."
    EncodeGridRows encode_grid_rows with exact blocks [256, 1] { Read weights, Read importance, Write encoded, Read grid };
    "Groups of integers."
    EncodeGroups encode_groups with exact blocks groups [256, 1] { Read weights, Read importance, Write encoded };
    "Groups of small floats; MXFP8, MXFP6."
    EncodeFloats encode_floats with exact blocks groups [256, 1] { Read weights, Read importance, Write encoded };
    "Rows of tr(ΔHΔᵀ)."
    LayerError layer_error [8, 8] { Read difference, Read hessian, Write partials };
    "A linear."
    Matmul matmul with product [16, 16] { Read x, Read weights, Read bias, Write y };
    "A linear whose weight is as it is stored."
    MatmulQuantized matmul_quantized with product halves [16, 16] { Read x, Read weights, Read bias, Write y };
    "The lower triangle of XᵀX."
    Gram gram [16, 16] { Read x, Write sums };
    "RMSNorm and LayerNorm."
    Norm norm with reduce [64, 1] { Read x, Read gamma, Read beta, Write y };
    "Rotary positions."
    Rope rope [256, 1] { Read angles, Read positions, Write x };
    "Attention with a running softmax."
    Attention attention with soft_cap [256, 1] { Read q, Read k, Read v, Read tiles, Write y };
    "Curves of feed-forwards, gated or not, and soft caps."
    Gate gate with soft_cap [256, 1] { Read up, Write x };
    "Rows added to rows."
    Add add [256, 1] { Read y, Read list, Write x };
    "Rows of a table."
    Embedding embedding [256, 1] { Read table, Read numbers, Write y };
    "Inputs as a runtime rounds them."
    RoundInputs round_inputs [256, 1] { Read x, Write y };
    "Butterflies of a Hadamard matrix, behind signs."
    Hadamard hadamard [256, 1] { Read signs, Write x };
    "What is nearest to each level of a codebook: counts, weights and weighted sums."
    LloydStep lloyd_step [64, 1] { Read values, Read scales, Read importance, Read boundaries, Write counts, Write partials };
    "Divergence and most likely tokens of two matrices of logits."
    LogitsCompare logits_compare with reduce [256, 1] { Read before, Read after, Read targets, Write results };
    "What the columns outside a panel ask of those in it."
    FeedbackProduct feedback_product [8, 8] { Read matrix, Read delta, Write corrections };
    "The columns of a panel, rounded one after the other."
    FeedbackColumns feedback_columns [64, 1] { Read matrix, Read corrections, Read weights, Read scales, Read offsets, Read levels, Write delta, Write indices };
}
