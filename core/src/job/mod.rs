//! Long work: what it may know (context), what it says (events), the one background worker, and the journal that makes a
//! quantization durable tensor by tensor.

mod atomic;
mod context;
mod event;
mod journal;
mod quantize;
mod runner;

pub use atomic::{write_atomically, write_file_atomically};
pub use context::{CancelToken, JobContext};
pub use event::{JobEvent, JobId, JobKind, Outcome, Product, Progress, Stage, TensorDone};
pub use journal::{Artifact, RecordHeader};
pub use quantize::{QuantizeOptions, quantize};
pub use runner::{Runner, Wake};
