//! The codecs against what other programs compute.

use halftone_core::codec::GgmlType;

/// Random blocks of every type with the values of the reference decoders; made by `golden/make_ggml_blocks.py`.
const BLOCKS: &[u8] = include_bytes!("../golden/ggml_blocks.bin");

#[test]
fn ggml_decoders_equal_the_reference_bit_for_bit() {
    let mut at = 0;
    let mut take = |n: usize| {
        at += n;
        &BLOCKS[at - n..at]
    };
    let mut types = 0;
    while let Some(header) = (types < 25).then(|| take(16)) {
        let [id, blocks, size, columns] = std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|b| header[4 * i + b])));
        let kind = GgmlType::from_id(id).unwrap_or_else(|| panic!("type {id} of the golden file"));
        assert_eq!((kind.block_bytes(), kind.block_columns()), (size as usize, columns as usize), "block of {kind}");
        let bytes = take((blocks * size) as usize);
        let want: Vec<u32> = take((4 * blocks * columns) as usize).as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let mut got = vec![0.0f32; want.len()];
        kind.decode(bytes, &mut got);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.to_bits(), *want, "{kind} value {i}: {got} against {}", f32::from_bits(*want));
        }
        types += 1;
    }
    assert_eq!(at, BLOCKS.len(), "the whole golden file was read");
}
