//! What `auto` runs on where there is a hardware GPU: for each kind and size of call, the GPU or the CPU, whichever was faster when both
//! were timed once. A small tensor is not worth its way to the device, and which are small depends on both machines.

use super::gpu::forward::{Matrix, Product, Rows};
use super::{Backend, Capabilities, KernelCall, gpu};
use crate::error::Result;
use crate::job::CancelToken;
use crate::numeric::product::times_transposed;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Tokens of a product that is timed; its weight goes to the device for them.
const TOKENS: usize = 512;

/// Outputs of it at most.
const MOST_OUTPUTS: usize = 4096;

/// Time on the GPU over time on the CPU, by machine, call and size.
type Ratios = BTreeMap<String, f64>;

/// The file that measured times are kept in, once somebody has named it.
static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Keeps what was measured in this file, for later runs of the program; without it, for this run. Only the first call counts.
pub fn remember_in(file: PathBuf) {
    // A second wish is not an error: the first one holds.
    let _ = FILE.set(file);
}

/// Two backends, of which each call takes the faster.
pub(super) struct Fastest {
    device: Arc<dyn Backend>,
    cpu: Arc<dyn Backend>,
    file: Option<PathBuf>,
    ratios: Mutex<Ratios>,
}

impl Fastest {
    pub(super) fn new(device: Arc<dyn Backend>, cpu: Arc<dyn Backend>) -> Self {
        Self::kept_in(device, cpu, FILE.get().cloned())
    }

    fn kept_in(device: Arc<dyn Backend>, cpu: Arc<dyn Backend>, file: Option<PathBuf>) -> Self {
        // A file that is missing or damaged is made again.
        let ratios = file.as_ref().and_then(|file| std::fs::read(file).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { device, cpu, file, ratios: Mutex::new(ratios) }
    }

    /// Calls of one name are alike: the same machine, the same kernel and format, sizes within a factor of two.
    fn name(&self, what: &str, values: usize) -> String {
        let (device, cpu) = (self.device.capabilities(), self.cpu.capabilities());
        format!("{} | {} | {} | {what} | 2^{}", device.name, device.driver, cpu.driver, values.max(1).ilog2())
    }

    fn remember(&self, name: String, ratio: f64) {
        let mut ratios = self.ratios.lock();
        ratios.insert(name, ratio);
        let Some(file) = &self.file else { return };
        // Lost times are measured again: no reason to stop a job.
        let written = serde_json::to_vec_pretty(&*ratios).map_err(std::io::Error::other).and_then(|bytes| {
            file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(file, bytes)
        });
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "measured times are not kept");
        }
    }
}

impl Backend for Fastest {
    fn capabilities(&self) -> &Capabilities {
        self.device.capabilities()
    }

    fn gpu(&self) -> Option<&gpu::Gpu> {
        self.device.gpu()
    }

    fn suits_products(&self, outputs: usize, inputs: usize) -> bool {
        let Some(gpu) = self.gpu() else { return false };
        let name = self.name("x·Wᵀ", outputs * inputs);
        let known = self.ratios.lock().get(&name).copied();
        // Rows of the weight are alike: some of them say as much, and fit every device.
        let outputs = outputs.min(MOST_OUTPUTS);
        let measured = || -> Result<f64> {
            let (x, weight) = (vec![0.5; TOKENS * inputs], vec![0.25; outputs * inputs]);
            let on_device = || {
                let x = Rows::upload(gpu, &x, inputs)?;
                x.times(&Matrix::upload(gpu, &weight, inputs)?, None, &Product { rows: 0..TOKENS, outputs: 0..outputs, halved: false })?.read()
            };
            on_device()?;
            let start = Instant::now();
            on_device()?;
            let device = start.elapsed();
            let start = Instant::now();
            std::hint::black_box(times_transposed(&x, &weight, inputs));
            let ratio = device.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-9);
            tracing::debug!(name, ratio, "timed on both devices");
            self.remember(name, ratio);
            Ok(ratio)
        };
        // A device that fails here is to fail again where that is told.
        known.map_or_else(measured, Ok).map_or(true, |ratio| ratio <= 1.0)
    }

    fn run(&self, mut call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
        let name = self.name(&call.what(), call.values());
        let known = self.ratios.lock().get(&name).copied();
        match known {
            Some(ratio) if ratio <= 1.0 => self.device.run(call, cancel),
            Some(_) => self.cpu.run(call, cancel),
            None => {
                // The first time on a device is not its time: pipelines are made and paces found.
                self.device.run(call.again(), cancel)?;
                let start = Instant::now();
                self.device.run(call.again(), cancel)?;
                let device = start.elapsed();
                let start = Instant::now();
                self.cpu.run(call, cancel)?;
                let ratio = device.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-9);
                tracing::debug!(name, ratio, "timed on both devices");
                self.remember(name, ratio);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Cpu;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Takes its time, which grows with the size or not.
    struct Timed {
        cpu: Cpu,
        name: Capabilities,
        fixed: Duration,
        per_value: Duration,
        calls: AtomicUsize,
    }

    impl Timed {
        fn new(name: &str, fixed: u64, per_value: u64) -> Arc<Self> {
            let name = Capabilities { name: name.to_owned(), ..Cpu::default().capabilities().clone() };
            Arc::new(Self {
                cpu: Cpu::default(),
                name,
                fixed: Duration::from_millis(fixed),
                per_value: Duration::from_micros(per_value),
                calls: AtomicUsize::new(0),
            })
        }

        fn calls(&self) -> usize {
            self.calls.swap(0, Ordering::Relaxed)
        }
    }

    impl Backend for Timed {
        fn capabilities(&self) -> &Capabilities {
            &self.name
        }

        fn run(&self, call: KernelCall<'_>, cancel: &CancelToken) -> Result<()> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.fixed + self.per_value * call.values() as u32);
            self.cpu.run(call, cancel)
        }
    }

    fn layer_error(backend: &dyn Backend, columns: usize) {
        let (values, mut errors) = (vec![1.0; columns * columns], vec![0.0; columns]);
        let call = KernelCall::LayerError { difference: &values, columns, hessian: &values, row_errors: &mut errors };
        backend.run(call, &CancelToken::default()).expect("layer error");
        assert_eq!(errors, vec![(columns * columns) as f32; columns]);
    }

    #[test]
    fn products_go_where_they_were_faster_and_that_is_remembered() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("times.json");
        let software = gpu::Gpu::open(&crate::compute::DeviceChoice::Gpu).expect("an adapter");
        let fastest = Fastest::kept_in(Arc::new(software), Arc::new(Cpu::default()), Some(file.clone()));
        let suits = fastest.suits_products(96, 64);
        let kept: Ratios = serde_json::from_slice(&std::fs::read(&file).expect("kept")).expect("ratios");
        let [(name, ratio)] = &kept.iter().collect::<Vec<_>>()[..] else { panic!("{kept:?}") };
        assert_eq!(suits, **ratio <= 1.0, "{kept:?}");
        for known in [0.5, 2.0] {
            let other: Ratios = [((*name).clone(), known)].into();
            std::fs::write(&file, serde_json::to_vec(&other).expect("ratios")).expect("write");
            let fastest = Fastest::kept_in(fastest.device.clone(), fastest.cpu.clone(), Some(file.clone()));
            assert_eq!(fastest.suits_products(96, 64), known < 1.0, "{known} is not measured again");
        }
        let gpu = fastest.gpu().expect("a GPU");
        gpu.fail(gpu::Fault::Lost);
        assert!(fastest.suits_products(4096, 8), "a device that fails is tried again where that is told");
    }

    #[test]
    fn each_size_goes_where_it_was_faster_and_that_is_remembered() {
        // The device takes 20 ms whatever the size; the CPU 100 µs a value: 1.6 ms for 4 × 4, 102 ms for 32 × 32.
        let (device, cpu) = (Timed::new("device", 20, 0), Timed::new("cpu", 0, 100));
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("new/times.json");
        let fastest = Fastest::kept_in(device.clone(), cpu.clone(), Some(file.clone()));
        for side in [4, 32] {
            layer_error(&fastest, side);
            assert_eq!((device.calls(), cpu.calls()), (2, 1), "both are timed");
        }
        let check = |fastest: &Fastest| {
            layer_error(fastest, 4);
            assert_eq!((device.calls(), cpu.calls()), (0, 1), "small on the CPU");
            layer_error(fastest, 32);
            assert_eq!((device.calls(), cpu.calls()), (1, 0), "large on the device");
        };
        check(&fastest);
        check(&Fastest::kept_in(device.clone(), cpu.clone(), Some(file.clone())));
        std::fs::write(&file, "damaged").expect("write");
        layer_error(&Fastest::kept_in(device.clone(), cpu.clone(), Some(file)), 4);
        assert_eq!((device.calls(), cpu.calls()), (2, 1), "a damaged file is made again");
    }
}
