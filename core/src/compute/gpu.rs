//! The GPU backend: its own wgpu device, pipelines cached, work tiled by the adapter's limits.
