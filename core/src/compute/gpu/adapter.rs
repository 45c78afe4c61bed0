//! Which adapters there are, and which one a choice means.

use crate::compute::{Capabilities, DeviceChoice};
use crate::error::{Error, Result};
use halftone_shaders::Extensions;
use wgpu::{Adapter, AdapterInfo, Backends, DeviceType, Instance, InstanceDescriptor};

/// Largest storage binding we use, whatever the adapter says: what every WebGPU device has.
pub(super) const MAX_BINDING_BYTES: u64 = 128 << 20;

/// Every adapter, real ones first, discrete before integrated; within a kind in the system's order.
pub(super) fn enumerate() -> Vec<Adapter> {
    let backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let instance = Instance::new(InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

/// The adapter a choice means; `None` for `Cpu`, and for `Auto` without hardware.
///
/// # Errors
/// `Device` when an adapter was asked for and there is none.
pub(super) fn choose(choice: &DeviceChoice, mut adapters: Vec<Adapter>) -> Result<Option<Adapter>> {
    let infos: Vec<AdapterInfo> = adapters.iter().map(Adapter::get_info).collect();
    Ok(position(choice, &infos)?.map(|index| adapters.swap_remove(index)))
}

fn position(choice: &DeviceChoice, infos: &[AdapterInfo]) -> Result<Option<usize>> {
    let missing = |device: &str| {
        let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
        let there = if names.is_empty() { "there is no adapter (no Vulkan, Metal or DirectX 12 driver)".to_owned() } else { names.join(", ") };
        Error::Device { device: device.to_owned(), detail: format!("not found; known adapters: {there}") }
    };
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Auto => Ok(infos.iter().position(|info| info.device_type != DeviceType::Cpu)),
        DeviceChoice::Gpu if infos.is_empty() => Err(missing("gpu")),
        DeviceChoice::Gpu => Ok(Some(0)),
        DeviceChoice::Named(name) => {
            let wanted = name.to_lowercase();
            infos.iter().position(|info| info.name.to_lowercase().contains(&wanted)).map(Some).ok_or_else(|| missing(name))
        }
    }
}

/// What an adapter has beyond the least.
pub(super) fn extensions(adapter: &Adapter) -> Extensions {
    let has = |feature| adapter.features().contains(feature);
    Extensions { subgroups: has(wgpu::Features::SUBGROUP), halves: has(wgpu::Features::SHADER_F16) }
}

/// What they are called.
pub(super) fn names(Extensions { subgroups, halves }: Extensions) -> Vec<&'static str> {
    [(subgroups, "subgroups"), (halves, "16-bit floats")].into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
}

/// What is shown of an adapter.
pub(super) fn capabilities(adapter: &Adapter) -> Capabilities {
    let info = adapter.get_info();
    let driver = [format!("{:?}", info.backend), info.driver, info.driver_info].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    Capabilities {
        name: info.name,
        driver,
        is_software: info.device_type == DeviceType::Cpu,
        extensions: names(extensions(adapter)),
        max_binding_bytes: adapter.limits().max_storage_buffer_binding_size.min(MAX_BINDING_BYTES),
    }
}

fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, kind: DeviceType) -> AdapterInfo {
        let mut info = AdapterInfo::new(kind, wgpu::Backend::Vulkan);
        info.name = name.to_owned();
        info
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        let software = [info("llvmpipe", DeviceType::Cpu)];
        assert_eq!(position(&DeviceChoice::Auto, &software).ok(), Some(None), "software alone");
        let both = [info("Radeon", DeviceType::IntegratedGpu), info("llvmpipe", DeviceType::Cpu)];
        assert_eq!(position(&DeviceChoice::Auto, &both).ok(), Some(Some(0)), "hardware beside it");
        assert_eq!(position(&DeviceChoice::Gpu, &software).ok(), Some(Some(0)), "asked for by kind");
    }

    #[test]
    fn names_match_in_part_and_whatever_the_case() {
        let adapters = [info("NVIDIA H100", DeviceType::DiscreteGpu), info("llvmpipe (LLVM)", DeviceType::Cpu)];
        assert_eq!(position(&DeviceChoice::Named("LLVM".into()), &adapters).ok(), Some(Some(1)));
        let error = position(&DeviceChoice::Named("voodoo".into()), &adapters).expect_err("no such adapter");
        assert!(error.to_string().contains("NVIDIA H100"), "the error lists what there is: {error}");
        assert!(position(&DeviceChoice::Gpu, &[]).is_err(), "no adapter at all");
    }
}
