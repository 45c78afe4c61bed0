//! Long work: what it may know (context), what it says (events), the one background worker, and the journal that makes a
//! quantization durable tensor by tensor.

mod accelerator;
mod atomic;
mod context;
mod device;
mod durable;
mod encode;
mod event;
mod journal;
mod outbox;
mod perform;
mod quantize;
mod rate;
mod record;
mod resume;
mod runner;
mod sequential;

pub use accelerator::Accelerator;
pub use atomic::not_the_same;
pub use atomic::{write_atomically, write_file_atomically};
pub use context::{CancelToken, JobContext, Scratch};
pub use device::DeviceUse;
pub(crate) use encode::{Encoder, zero_non_finite};
pub use event::{JobEvent, JobId, JobKind, Outcome, Product, Progress, Stage, TensorDone};
pub use journal::{Artifact, RecordHeader, StoredResidual, folder_name};
pub use outbox::Wake;
pub use perform::run;
pub use quantize::{QuantizeOptions, quantize};
pub use rate::Rate;
pub(crate) use record::{Record, write as write_record};
pub use resume::{Unfinished, discard, resume, unfinished};
pub use runner::Runner;
pub use sequential::{SequentialText, quantize_sequentially};
