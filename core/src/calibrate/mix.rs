//! Several texts in stated shares: so many sequences of each.

use super::sequences;
use crate::error::{Error, Result};
use crate::report::{NoticeKind, Reporter};
use crate::source::Tokenizer;

/// About `count` sequences of `length` tokens from texts with their weights, one text after the other. Each text gives its share, rounded so
/// that the shares add up; one that is too short gives what it has, which is told.
///
/// # Errors
/// `Input` for weights that are no shares, or a text of less than one sequence.
pub fn mixed_sequences(tokenizer: &Tokenizer, texts: &[(String, f64)], length: usize, count: usize, reporter: &Reporter) -> Result<Vec<Vec<u32>>> {
    let weights: Vec<f64> = texts.iter().map(|t| t.1).collect();
    let mut mixed = Vec::with_capacity(count);
    for (i, ((text, _), share)) in texts.iter().zip(shares(&weights, count)?).enumerate() {
        if share == 0 {
            continue;
        }
        let found = sequences(tokenizer, text, length, Some(share))?;
        if found.len() < share {
            let text = format!("text {} has only {} of the {share} sequences that its weight asks for", i + 1, found.len());
            reporter.notice(None, NoticeKind::Other { text });
        }
        mixed.extend(found);
    }
    Ok(mixed)
}

/// `count` in proportion to the weights, by largest remainders.
fn shares(weights: &[f64], count: usize) -> Result<Vec<usize>> {
    let total: f64 = weights.iter().sum();
    if !(total.is_finite() && total > 0.0 && weights.iter().all(|w| *w >= 0.0)) {
        return Err(Error::Input(format!("the weights {weights:?} are no shares: they must not be negative, and not all zero")));
    }
    let exact: Vec<f64> = weights.iter().map(|w| w / total * count as f64).collect();
    let mut shares: Vec<usize> = exact.iter().map(|e| e.floor() as usize).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = count - shares.iter().sum::<usize>().min(count);
    order.iter().take(missing).for_each(|&i| shares[i] += 1);
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_follow_the_weights() {
        assert_eq!(shares(&[3.0, 1.0], 64).unwrap(), [48, 16], "exact");
        assert_eq!(shares(&[1.0, 1.0, 1.0], 64).unwrap(), [22, 21, 21], "the remainder goes to the first of equals");
        assert_eq!(shares(&[1.0, 0.0], 5).unwrap(), [5, 0], "nothing of the second");
        for bad in [&[0.0, 0.0][..], &[-1.0, 2.0], &[f64::NAN], &[]] {
            assert!(shares(bad, 8).is_err(), "{bad:?}");
        }
    }
}
