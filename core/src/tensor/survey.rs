//! Weight statistics of a whole model, tensor by tensor as they come: what fills the map behind an open file.

use super::statistics::{Extremes, Sums};
use super::{Statistics, TensorView};
use crate::compute::{Backend, Cpu, DeviceChoice, backend};
use crate::error::Result;
use crate::job::{JobContext, JobEvent, Stage};
use crate::report::NoticeKind;
use crate::source::Source;

/// Values decoded at once (256 MiB as f32); larger tensors are read twice, block by block.
const BLOCK_VALUES: usize = 1 << 26;

/// Statistics by catalog position; `None` where the elements are not floating-point weights. Each is also sent as
/// [`JobEvent::Statistics`] when it is there; NaN and infinities raise a notice.
///
/// # Errors
/// `Cancelled`; `Unsupported` for a type without a decoder; `Device` when the device asked for is not there. A device that fails on the
/// way is replaced by the CPU, with a notice.
pub fn survey(source: &Source, cx: &JobContext) -> Result<Vec<Option<Statistics>>> {
    // Reading weights is bound by memory: sending them to a GPU takes longer than the sums, so only an explicit wish goes there.
    let is_asked = cx.device != DeviceChoice::Auto;
    if is_asked {
        backend(&cx.device)?;
    }
    let total = source.size_bytes();
    let mut done = 0;
    let mut all = Vec::with_capacity(source.tensors.len());
    for (index, entry) in source.tensors.iter().enumerate() {
        cx.checkpoint()?;
        let statistics = if entry.dtype.is_float() && entry.elements() > 0 {
            let view = source.view(index);
            let mut notices = Vec::new();
            let statistics = if is_asked { cx.compute(|device| of_view(&view, device, cx), &mut notices)? } else { of_view(&view, &Cpu::default(), cx)? };
            notices.into_iter().for_each(|notice| cx.reporter.notice(None, notice));
            if let Some(first) = statistics.first_non_finite {
                cx.reporter.notice(Some(&entry.name), NoticeKind::NonFinite { count: statistics.non_finite, first });
            }
            cx.send(JobEvent::Statistics { index, statistics: Box::new(statistics.clone()) });
            Some(statistics)
        } else {
            None
        };
        all.push(statistics);
        done += entry.size_bytes;
        cx.progress(Stage::Statistics, done, total);
    }
    Ok(all)
}

/// Statistics of one stored tensor, in blocks of rows.
///
/// # Errors
/// As [`survey`].
pub fn of_view(view: &TensorView<'_>, backend: &dyn Backend, cx: &JobContext) -> Result<Statistics> {
    of_blocks(view, BLOCK_VALUES, backend, cx)
}

fn of_blocks(view: &TensorView<'_>, block_values: usize, backend: &dyn Backend, cx: &JobContext) -> Result<Statistics> {
    let (rows, columns) = (view.rows(), view.columns());
    let block_rows = (block_values / columns.max(1)).max(1);
    if rows <= block_rows {
        return Statistics::of(&view.to_f32()?, columns, backend, &cx.cancel);
    }
    let row_bytes = view.bytes.len() / rows;
    let each = |with: &mut dyn FnMut(&[f32]) -> Result<()>| -> Result<()> {
        for first in (0..rows).step_by(block_rows) {
            cx.checkpoint()?;
            let count = block_rows.min(rows - first);
            if view.transposed {
                let mut values = vec![0.0; count * columns];
                view.rows_into(first, &mut values)?;
                with(&values)?;
                continue;
            }
            let bytes = &view.bytes[first * row_bytes..(first + count) * row_bytes];
            with(&TensorView { shape: &[count, columns], bytes, ..*view }.to_f32()?)?;
        }
        Ok(())
    };
    let mut extremes = Extremes::new(columns);
    each(&mut |values| extremes.add(values))?;
    let mut sums = Sums::new(extremes.absmax());
    each(&mut |values| sums.add(values, backend, &cx.cancel))?;
    Ok(Statistics::from_parts(extremes, &sums))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::tensor::DType;

    #[test]
    fn a_tensor_read_in_blocks_has_the_statistics_of_the_whole() {
        let bytes: Vec<u8> = (0..1000u32).flat_map(|i| (((i * 7919) % 613) as f32 - 300.0).to_le_bytes()).collect();
        let view = TensorView { name: "w", dtype: DType::F32, shape: &[50, 20], transposed: false, bytes: &bytes };
        let cx = JobContext::silent();
        let whole = of_blocks(&view, 1000, &Cpu::default(), &cx).expect("whole");
        let blocks = of_blocks(&view, 7 * 20, &Cpu::default(), &cx).expect("blocks");
        assert_eq!((&blocks.histogram, &blocks.row_absmax, &blocks.column_absmax), (&whole.histogram, &whole.row_absmax, &whole.column_absmax));
        assert!((blocks.kurtosis - whole.kurtosis).abs() < 1e-12, "integers sum exactly: {} {}", blocks.kurtosis, whole.kurtosis);
    }

    #[test]
    fn a_cancelled_survey_of_blocks_stops() {
        let bytes = vec![0u8; 4000];
        let view = TensorView { name: "w", dtype: DType::F32, shape: &[50, 20], transposed: false, bytes: &bytes };
        let cx = JobContext::silent();
        cx.cancel.cancel();
        assert!(matches!(of_blocks(&view, 20, &Cpu::default(), &cx), Err(Error::Cancelled)));
    }
}
