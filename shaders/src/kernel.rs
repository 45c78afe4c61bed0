//! The table of kernels: name, source, workgroup size, uniform struct and bindings of each.

use crate::params::{GroupQuantizeParams, LayerErrorParams, StatisticsParams, Uniform, UniformLayout};

/// A compute kernel. Its entry point is `main`, its bindings are numbered from 0 in group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// Group-wise integers with a weighted scale search.
    GroupQuantize,
    /// Power sums and histogram.
    Statistics,
    /// Rows of tr(ΔHΔᵀ).
    LayerError,
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

const fn uniform(name: &'static str) -> Binding {
    Binding { name, kind: BindingKind::Uniform }
}

const fn read(name: &'static str) -> Binding {
    Binding { name, kind: BindingKind::Read }
}

const fn write(name: &'static str) -> Binding {
    Binding { name, kind: BindingKind::Write }
}

impl Kernel {
    /// Every kernel.
    pub const ALL: [Self; 3] = [Self::GroupQuantize, Self::Statistics, Self::LayerError];

    /// The stem of its WGSL file and of its twin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GroupQuantize => "group_quantize",
            Self::Statistics => "statistics",
            Self::LayerError => "layer_error",
        }
    }

    /// Its source.
    pub const fn wgsl(self) -> &'static str {
        match self {
            Self::GroupQuantize => include_str!("../wgsl/group_quantize.wgsl"),
            Self::Statistics => include_str!("../wgsl/statistics.wgsl"),
            Self::LayerError => include_str!("../wgsl/layer_error.wgsl"),
        }
    }

    /// Threads of a workgroup in x, y, z.
    pub const fn workgroup_size(self) -> [u32; 3] {
        match self {
            Self::GroupQuantize => [32, 1, 1],
            Self::Statistics => [256, 1, 1],
            Self::LayerError => [8, 8, 1],
        }
    }

    /// Its buffers, in binding order.
    pub const fn bindings(self) -> &'static [Binding] {
        match self {
            Self::GroupQuantize => const { &[uniform("params"), read("weights"), read("importance"), write("codes"), write("grids")] },
            Self::Statistics => const { &[uniform("params"), read("values"), read("edges"), write("counts"), write("partials")] },
            Self::LayerError => const { &[uniform("params"), read("difference"), read("hessian"), write("partials")] },
        }
    }

    /// Its uniform struct.
    pub const fn uniform(self) -> UniformLayout {
        match self {
            Self::GroupQuantize => GroupQuantizeParams::LAYOUT,
            Self::Statistics => StatisticsParams::LAYOUT,
            Self::LayerError => LayerErrorParams::LAYOUT,
        }
    }
}
