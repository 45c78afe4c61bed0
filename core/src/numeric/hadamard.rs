//! Small Hadamard matrices, computed: entries ±1, rows orthogonal, the first row all ones.
//!
//! Paley's two constructions from the squares modulo a prime q (Paley 1933, "On orthogonal matrices", §§ 2–3), with χ(x) = 1 for a square, −1
//! for another number, 0 for 0, and Q_ij = χ(i − j):
//! - q ≡ 3 mod 4, order q + 1: I + [[0, 1ᵀ], [−1, Q]];
//! - q ≡ 1 mod 4, order 2(q + 1): C ⊗ [[1, 1], [1, −1]] + I ⊗ [[1, −1], [−1, −1]] with C = [[0, 1ᵀ], [1, Q]].
//!
//! Absent on purpose: prime powers and Williamson's construction; what is missing has a Hadamard multiple of twice or four times the order,
//! or falls back to a random base.

/// A Hadamard matrix of this order, row by row; `None` where neither construction gives one.
pub fn hadamard(order: usize) -> Option<Vec<i8>> {
    let mut matrix = match order {
        1 => vec![1],
        2 => vec![1, 1, 1, -1],
        _ if is_prime(order - 1) && (order - 1) % 4 == 3 => first_kind(order - 1),
        _ if order.is_multiple_of(4) && is_prime(order / 2 - 1) && (order / 2 - 1) % 4 == 1 => second_kind(order / 2 - 1),
        _ => return None,
    };
    // A column times −1 stays orthogonal to the others.
    for column in 0..order {
        if matrix[column] < 0 {
            matrix.iter_mut().skip(column).step_by(order).for_each(|v| *v = -*v);
        }
    }
    Some(matrix)
}

/// The smallest order that has a Hadamard matrix here and is `size` divided by a power of two.
pub fn base_order(size: usize) -> Option<usize> {
    let odd = size.checked_shr(size.trailing_zeros()).filter(|odd| *odd > 0)?;
    // Orders of more than a few hundred cost more than the transform saves.
    std::iter::successors(Some(odd), |order| Some(order * 2)).take_while(|order| *order <= size.min(1024)).find(|order| has_hadamard(*order))
}

fn has_hadamard(order: usize) -> bool {
    let paley = |q: usize, remainder| q % 4 == remainder && is_prime(q);
    order <= 2 || paley(order - 1, 3) || order.is_multiple_of(4) && paley(order / 2 - 1, 1)
}

fn is_prime(n: usize) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

/// χ(i − j) for all i and j below q.
fn residues(q: usize) -> impl Fn(usize, usize) -> i8 {
    let mut square = vec![false; q];
    (1..q).for_each(|x| square[x * x % q] = true);
    move |i, j| match (i + q - j) % q {
        0 => 0,
        difference if square[difference] => 1,
        _ => -1,
    }
}

fn first_kind(q: usize) -> Vec<i8> {
    let chi = residues(q);
    let entry = |i: usize, j: usize| match (i, j) {
        _ if i == j => 1,
        (0, _) => 1,
        (_, 0) => -1,
        _ => chi(i - 1, j - 1),
    };
    (0..(q + 1) * (q + 1)).map(|at| entry(at / (q + 1), at % (q + 1))).collect()
}

fn second_kind(q: usize) -> Vec<i8> {
    let chi = residues(q);
    let conference = |i: usize, j: usize| match (i, j) {
        _ if i == j => 0,
        (0, _) | (_, 0) => 1,
        _ => chi(i - 1, j - 1),
    };
    let order = 2 * (q + 1);
    let entry = |i: usize, j: usize| {
        let (c, on_diagonal) = (conference(i / 2, j / 2), i8::from(i / 2 == j / 2));
        let (of_c, of_identity) = match (i % 2, j % 2) {
            (0, 0) => (1, 1),
            (0, 1) | (1, 0) => (1, -1),
            _ => (-1, -1),
        };
        c * of_c + on_diagonal * of_identity
    };
    (0..order * order).map(|at| entry(at / order, at % order)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_orthogonal_and_the_first_is_ones() {
        for order in [1, 2, 4, 8, 12, 20, 24, 28, 32, 36, 44, 48, 60, 76, 84, 104, 124, 140, 148, 200] {
            let matrix = hadamard(order).unwrap_or_else(|| panic!("order {order}"));
            assert!(matrix.iter().all(|v| v.abs() == 1), "order {order} has ±1 only");
            assert!(matrix[..order].iter().all(|v| *v == 1), "first row of order {order}");
            for (i, a) in matrix.chunks(order).enumerate() {
                for (j, b) in matrix.chunks(order).enumerate() {
                    let product: i32 = a.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
                    assert_eq!(product, if i == j { order as i32 } else { 0 }, "rows {i} and {j} of order {order}");
                }
            }
        }
        for none in [3, 6, 9, 18, 92, 100] {
            assert_eq!(hadamard(none), None, "order {none}");
        }
    }

    #[test]
    fn widths_of_real_models_have_a_base() {
        for (size, order) in [
            (576, 36),
            (640, 20),
            (768, 12),
            (896, 28),
            (960, 60),
            (1536, 12),
            (1600, 200),
            (2048, 1),
            (2560, 20),
            (4096, 1),
            (5120, 20),
            (5376, 84),
            (64, 1),
            (80, 20),
        ] {
            assert_eq!(base_order(size), Some(order), "{size}");
        }
        assert_eq!(base_order(0), None);
        assert_eq!(base_order(9), None, "odd sizes have none");
    }
}
