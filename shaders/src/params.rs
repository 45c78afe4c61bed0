//! Uniform structs lie byte for byte as the WGSL declares them (a test compares each with naga's reflection).

use bytemuck::Pod;

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

/// Implements [`Uniform`] for the `Params` of a twin, whose name in the WGSL is `Params` too.
macro_rules! layout {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::params::Uniform for $name {
            const LAYOUT: $crate::params::UniformLayout = $crate::params::UniformLayout {
                name: stringify!($name),
                size_bytes: ::std::mem::size_of::<$name>(),
                fields: &[$((stringify!($field), ::std::mem::offset_of!($name, $field))),+],
            };
        }
    };
}

pub(crate) use layout;
