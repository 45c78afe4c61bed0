//! The codebook grids of the IQ types: tables of small vectors, facts of the format.
//!
//! `grids.bin` holds level indices, element after element, least significant bits first (2 bits for grids of 8, 3 bits for grids of 4),
//! made by `tests/golden/make_grids.py`; the levels are below. They are unpacked by the compiler.

const PACKED: &[u8] = include_bytes!("grids.bin");

/// Magnitudes of the IQ2 types.
pub const IQ2_LEVELS: [i8; 3] = [8, 25, 43];
/// Values of the IQ1 types.
pub const IQ1_LEVELS: [i8; 3] = [-1, 0, 1];
/// Magnitudes of IQ3_XXS.
pub const IQ3_XXS_LEVELS: [i8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
/// Magnitudes of IQ3_S.
pub const IQ3_S_LEVELS: [i8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

const IQ2_XS_AT: usize = 512;
const IQ2_S_AT: usize = IQ2_XS_AT + 1024;
const IQ1_AT: usize = IQ2_S_AT + 2048;
const IQ3_XXS_AT: usize = IQ1_AT + 4096;
const IQ3_S_AT: usize = IQ3_XXS_AT + 384;

/// Rows of IQ2_XXS.
pub static IQ2_XXS: [[i8; 8]; 256] = unpack(0, 2, &IQ2_LEVELS);
/// Rows of IQ2_XS.
pub static IQ2_XS: [[i8; 8]; 512] = unpack(IQ2_XS_AT, 2, &IQ2_LEVELS);
/// Rows of IQ2_S.
pub static IQ2_S: [[i8; 8]; 1024] = unpack(IQ2_S_AT, 2, &IQ2_LEVELS);
/// Rows of IQ1_S and IQ1_M.
pub static IQ1: [[i8; 8]; 2048] = unpack(IQ1_AT, 2, &IQ1_LEVELS);
/// Rows of IQ3_XXS.
pub static IQ3_XXS: [[i8; 4]; 256] = unpack(IQ3_XXS_AT, 3, &IQ3_XXS_LEVELS);
/// Rows of IQ3_S.
pub static IQ3_S: [[i8; 4]; 512] = unpack(IQ3_S_AT, 3, &IQ3_S_LEVELS);

const fn unpack<const W: usize, const N: usize>(at: usize, bits: usize, levels: &[i8]) -> [[i8; W]; N] {
    let mut grid = [[0; W]; N];
    let mut element = 0;
    while element < N * W {
        let mut level = 0;
        let mut bit = 0;
        while bit < bits {
            let place = element * bits + bit;
            level |= ((PACKED[at + place / 8] >> (place % 8)) as usize & 1) << bit;
            bit += 1;
        }
        grid[element / W][element % W] = levels[level];
        element += 1;
    }
    grid
}

/// The eight signs of a 7-bit sign code as a bit mask: the eighth bit makes the number of minus signs even.
pub fn even_signs(code: u32) -> u8 {
    let code = (code & 127) as u8;
    code | ((code.count_ones() as u8 & 1) << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_fill_the_file_and_their_rows_differ() {
        assert_eq!(PACKED.len(), IQ3_S_AT + 768, "bytes of grids.bin");
        let mut rows = IQ1.to_vec();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 2048, "distinct rows of the IQ1 grid");
    }

    #[test]
    fn sign_codes_have_an_even_number_of_minus_signs() {
        for code in 0..128 {
            assert_eq!(even_signs(code).count_ones() % 2, 0, "code {code}");
            assert_eq!(u32::from(even_signs(code)) & 127, code, "low bits of code {code}");
        }
    }
}
