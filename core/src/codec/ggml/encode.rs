//! Runs an encoder over a row with the widest vectors the machine has. Rust never contracts a·b + c and sums have fixed lanes, so the bytes are
//! the same on every machine.

use halftone_shaders::blocks::encode_row;
pub(super) use halftone_shaders::blocks::{BlockEncoder, put_half};
use std::marker::PhantomData;

/// Encodes every block of a row.
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
        encode_row::<E, N, B>(self.row, self.importance, self.out);
    }
}
