//! Compute kernels as WGSL files, their uniform structs, and the plain-slice CPU twin of each: the reference for both.
