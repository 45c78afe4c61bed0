//! The uniform structs, byte for byte as the WGSL declares them (a test compares each with naga's reflection).

use bytemuck::{Pod, Zeroable};
use std::mem::{offset_of, size_of};

/// Where the fields of a uniform struct lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniformLayout {
    /// Name of the struct in Rust and in WGSL.
    pub name: &'static str,
    /// Its size in bytes.
    pub size_bytes: usize,
    /// Name and byte offset of each field, in order.
    pub fields: &'static [(&'static str, usize)],
}

/// A struct that is bound as a uniform.
pub trait Uniform: Pod {
    /// Where its fields lie.
    const LAYOUT: UniformLayout;
}

macro_rules! layout {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl Uniform for $name {
            const LAYOUT: UniformLayout = UniformLayout {
                name: stringify!($name),
                size_bytes: size_of::<$name>(),
                fields: &[$((stringify!($field), offset_of!($name, $field))),+],
            };
        }
    };
}

/// Parameters of `group_quantize.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct GroupQuantizeParams {
    /// Columns a group; a multiple of 8.
    pub group: u32,
    /// Groups of this dispatch.
    pub groups: u32,
    /// Groups of a row.
    pub groups_per_row: u32,
    /// Number, in the whole tensor, of this dispatch's first group.
    pub first_group: u32,
    /// Bits of a code, 2–8.
    pub bits: u32,
    /// 1: the zero point is fixed in the middle; 0: it is searched.
    pub symmetric: u32,
    /// 1: `importance` has one entry a column; 0: all weights count the same.
    pub weighted: u32,
    /// Nothing.
    pub padding: u32,
}
layout!(GroupQuantizeParams { group, groups, groups_per_row, first_group, bits, symmetric, weighted, padding });

/// Parameters of `statistics.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct StatisticsParams {
    /// Values of this dispatch.
    pub count: u32,
    /// Values each workgroup sums: a multiple of its 256 threads.
    pub per_workgroup: u32,
    /// Power of two that brings the values into [−2, 2] before powers are taken.
    pub scale: f32,
    /// Nothing.
    pub padding: u32,
}
layout!(StatisticsParams { count, per_workgroup, scale, padding });

/// Parameters of `layer_error.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct LayerErrorParams {
    /// Rows of Δ in this dispatch.
    pub rows: u32,
    /// Columns of Δ and of H.
    pub columns: u32,
    /// The row of H that this dispatch's `hessian` binding begins with.
    pub first_hessian_row: u32,
    /// Rows of H in this dispatch.
    pub hessian_rows: u32,
}
layout!(LayerErrorParams { rows, columns, first_hessian_row, hessian_rows });
