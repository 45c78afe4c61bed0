//! The loop over the blocks of a row that all encoders share: cleans weights and importances, and compiles the encoder for wide vectors.

use crate::codec::lanes::{array, finite, normalise};
use std::marker::PhantomData;

/// The encoder of one block type: `N` values to `B` bytes.
///
/// It may rely on this: weights are finite (not-a-number and infinities count as 0); importances lie in 0…1 and the largest in the block
/// is 1 (all-zero or absent importances are ones). Implementations are `#[inline(always)]`, or they are not compiled for wide vectors.
pub(super) trait BlockEncoder<const N: usize, const B: usize> {
    fn encode(x: &[f32; N], w: &[f32; N], block: &mut [u8; B]);
}

/// Encodes every block of a row, with the widest vectors the machine has. Rust never contracts a·b + c and sums have fixed lanes, so the
/// bytes are the same on every machine.
pub(super) fn encode_blocks<E: BlockEncoder<N, B>, const N: usize, const B: usize>(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    pulp::Arch::new().dispatch(Row::<E, N, B> { row, importance, out, encoder: PhantomData });
}

/// The arguments of [`encode_blocks`]. A named type because closures are not reliably inlined into the functions pulp compiles for AVX.
struct Row<'a, E, const N: usize, const B: usize> {
    row: &'a [f32],
    importance: Option<&'a [f32]>,
    out: &'a mut [u8],
    encoder: PhantomData<E>,
}

impl<E: BlockEncoder<N, B>, const N: usize, const B: usize> pulp::NullaryFnOnce for Row<'_, E, N, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (i, (values, block)) in self.row.as_chunks::<N>().0.iter().zip(self.out.as_chunks_mut::<B>().0).enumerate() {
            let x = array(|i| finite(values[i]));
            let mut w = [1.0; N];
            if let Some(importance) = self.importance.and_then(|all| all.as_chunks::<N>().0.get(i)) {
                w = *importance;
                normalise(&mut w);
            }
            E::encode(&x, &w, block);
        }
    }
}

/// [`encode_blocks`] without wide vectors, for the tests.
#[cfg(test)]
pub(super) fn encode_row_baseline<E: BlockEncoder<N, B>, const N: usize, const B: usize>(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    pulp::NullaryFnOnce::call(Row::<E, N, B> { row, importance, out, encoder: PhantomData });
}

/// Writes a half-precision number at byte `at`; `value` is one already.
#[inline(always)]
pub(super) fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}
