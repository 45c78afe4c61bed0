//! Measuring the cells that matter: those that carry most of the cost of the best allocations.

use super::meter::Meter;
use super::probe::can_measure;
use super::trust::{calibrate, measure_cells};
use super::{Metric, Row, Table};
use crate::error::Result;
use crate::residual::Candidate;

/// Sizes whose best allocations are looked at, in stored bits a weight.
const BITS: [f64; 4] = [3.5, 4.5, 5.5, 6.5];

/// Measures at most `count` cells at the logits, and calibrates the table again.
pub(super) fn refine(meter: &Meter<'_>, sequences: &[Vec<u32>], count: usize, table: &mut Table) -> Result<()> {
    if !can_measure(meter, "refinement")? {
        return Ok(());
    }
    let cells = most_valuable(&table.rows, table.best_metric(), count);
    measure_cells(meter, sequences, &cells, table)?;
    calibrate(table);
    Ok(())
}

/// The cells that were not measured yet and have the greatest share of the cost of an allocation at any of [`BITS`].
fn most_valuable(rows: &[Row], metric: Metric, count: usize) -> Vec<(String, Candidate)> {
    let weights: f64 = rows.iter().map(|r| r.shape.iter().product::<usize>() as f64).sum();
    let mut shares: Vec<(f64, String, Candidate)> = Vec::new();
    for bits in BITS {
        let picks = allocation(rows, metric, bits * weights / 8.0);
        let cost = |(row, cell): (&Row, usize)| row.cells[cell].metric(metric).unwrap_or(0.0);
        let total: f64 = rows.iter().zip(&picks).filter_map(|(r, pick)| Some(cost((r, (*pick)?)))).sum();
        for (row, pick) in rows.iter().zip(picks) {
            let Some(pick) = pick.filter(|pick| row.cells[*pick].more.measured_kl.is_none()) else { continue };
            let share = cost((row, pick)) / total.max(f64::MIN_POSITIVE);
            let stored = row.cells[pick].stored();
            match shares.iter_mut().find(|(_, tensor, candidate)| *tensor == row.tensor && *candidate == stored) {
                Some((known, ..)) => *known = known.max(share),
                None => shares.push((share, row.tensor.clone(), stored)),
            }
        }
    }
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    shares.into_iter().take(count).map(|(_, tensor, candidate)| (tensor, candidate)).collect()
}

/// The cell of each row that is cheapest at one price of a byte for all, the price at which they take about `bytes`. (The exact solver
/// is a room to the right; which cells matter needs no more than this.)
fn allocation(rows: &[Row], metric: Metric, bytes: f64) -> Vec<Option<usize>> {
    let at = |price: f64| -> (Vec<Option<usize>>, f64) {
        let mut total = 0.0;
        let picks = rows.iter().map(|row| {
            let cost = |i: &usize| row.cells[*i].metric(metric).map_or(f64::INFINITY, |cost| cost + price * row.cells[*i].bytes as f64);
            let pick = (0..row.cells.len()).min_by(|a, b| cost(a).total_cmp(&cost(b)));
            total += pick.map_or(0.0, |i| row.cells[i].bytes as f64);
            pick
        });
        (picks.collect(), total)
    };
    // Bisection of the price's logarithm: a higher one buys fewer bytes.
    let (mut low, mut high) = (-80.0f64, 10.0f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at(middle.exp()).1 > bytes { low = middle } else { high = middle }
    }
    at(high.exp()).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocate::testing::cell;
    use crate::codec::GgmlType as T;
    use crate::source::Role;

    fn row(tensor: &str, costs: [f64; 3]) -> Row {
        let cells = [T::Q2_K, T::Q4_K, T::Q8_0].into_iter().zip(costs).map(|(t, cost)| cell(t, 64, 256, cost));
        Row { tensor: tensor.into(), role: Role::Up, block: Some(0), fused: None, shape: vec![64, 256], source_bytes: 0, cells: cells.collect() }
    }

    #[test]
    fn cells_that_carry_the_cost_come_first_and_measured_ones_not_at_all() {
        let mut rows = vec![row("calm", [0.1, 0.01, 0.001]), row("loud", [10.0, 1.0, 0.1]), row("silent", [1e-4, 1e-5, 1e-6])];
        let cells = most_valuable(&rows, Metric::Weight, 2);
        assert!(cells.iter().all(|(tensor, _)| tensor == "loud"), "{cells:?}");
        for cell in &mut rows[1].cells {
            cell.more.measured_kl = Some(1.0);
        }
        assert!(most_valuable(&rows, Metric::Weight, 2).iter().all(|(tensor, _)| tensor == "calm"), "what is known is not asked again");
    }

    #[test]
    fn an_allocation_takes_about_the_bytes_it_is_given() {
        let rows: Vec<Row> = (0..40).map(|i| row("x", [1.0, 0.1, 0.01].map(|c| c * 1.3f64.powi(i)))).collect();
        for bits in [3.0, 4.5, 6.0] {
            let bytes = bits * 40.0 * 64.0 * 256.0 / 8.0;
            let picks = allocation(&rows, Metric::Weight, bytes);
            let got: f64 = rows.iter().zip(picks).map(|(row, pick)| row.cells[pick.unwrap()].bytes as f64).sum();
            assert!(got <= bytes && got > 0.85 * bytes, "{got} of {bytes}");
        }
    }
}
