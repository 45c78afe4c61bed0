//! Durable writes beside compute: one thread, which takes finished tensors in order, makes each durable and only then reports it.
//!
//! Invariant: at most [`IN_FLIGHT`] tensors are encoded but not durable; after the first error nothing more is written.

use super::{JobContext, RecordHeader, Stage, TensorDone, record};
use crate::error::{Error, Result};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Tensors that may wait for the disk: one being written, the others in the channel.
const IN_FLIGHT: usize = 2;

/// A tensor that compute is done with.
pub(super) struct Finished {
    /// What its record says.
    pub(super) header: RecordHeader,
    /// Source bytes it stands for, for the progress.
    pub(super) source_bytes: u64,
    /// Bytes it is stored in.
    pub(super) bytes: u64,
    /// Where to write what; `None` when an earlier run already has.
    pub(super) write: Option<(PathBuf, Vec<u8>)>,
}

/// Runs `compute`, which hands finished tensors to the function it is given, while a thread writes them. `total` is the sum of their
/// `source_bytes`.
///
/// # Errors
/// The error of the disk before that of `compute`, which is then only its consequence.
pub(super) fn write_beside(total: u64, cx: &JobContext, compute: impl FnOnce(&mut dyn FnMut(Finished) -> Result<()>) -> Result<()>) -> Result<()> {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT - 1);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("halftone-journal".to_owned())
            .spawn_scoped(scope, || write_all(receiver, total, cx))
            .map_err(Error::io("start the journal's thread", PathBuf::new()))?;
        // The receiver goes when the writer failed; its own error is told below.
        let mut hand_over = |finished| sender.blocking_send(finished).map_err(|_| Error::Cancelled);
        let computed = compute(&mut hand_over);
        drop(sender);
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(computed)
    })
}

fn write_all(mut receiver: mpsc::Receiver<Finished>, total: u64, cx: &JobContext) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Error::io("start the journal's runtime", PathBuf::new()))?;
    runtime.block_on(async {
        let mut done = 0;
        while let Some(Finished { header, source_bytes, bytes, write }) = receiver.recv().await {
            let resumed = write.is_none();
            if let Some((path, encoded)) = write {
                write_one(path, header.clone(), encoded).await?;
            }
            let RecordHeader { tensor, stored_as, weight_error, .. } = header;
            cx.tensor_done(TensorDone { tensor, stored_as, weight_error, bytes, resumed });
            done += source_bytes;
            cx.progress(Stage::Quantize, done, total);
        }
        Ok(())
    })
}

async fn write_one(path: PathBuf, header: RecordHeader, encoded: Vec<u8>) -> Result<()> {
    let written = tokio::task::spawn_blocking(move || record::write(&path, &header, &encoded)).await;
    written.unwrap_or_else(|panicked| Err(Error::Panic(panicked.to_string())))
}
