#!/usr/bin/env python3
"""Writes random blocks of every ggml type with the values the reference decoders give them (tests/golden/ggml_blocks.bin).

Bytes are random (seed 1) except the half-precision scales, which are drawn finite. The oracle is gguf-py's `dequantize`; the types it lacks (Q1_0, Q2_0) are
decoded by libggml itself. Little-endian; for each type: u32 ggml id, u32 blocks, u32 block bytes, u32 block columns, the blocks, the expected f32 values.

usage: make_ggml_blocks.py LIBGGML_BASE.so OUT        needs: pip install gguf numpy
"""
import ctypes
import sys
import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

BLOCKS = 4
# Byte offsets of the f16 fields of a block.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ1_M": [], "IQ4_NL": [0], "IQ4_XS": [0],
    "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "NVFP4": [], "Q1_0": [0], "Q2_0": [0],
}
SIZES = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18)}


def main(library: str, path: str) -> None:
    rng = np.random.default_rng(1)
    ggml = ctypes.CDLL(library)
    with open(path, "wb") as out:
        for name, halves in HALVES.items():
            if name in SIZES:
                number, columns, size = SIZES[name]
            else:
                number, (columns, size) = T[name].value, GGML_QUANT_SIZES[T[name]]
            blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
            for at in halves:
                scale = (rng.uniform(0.001, 0.1, BLOCKS) * rng.choice([-1, 1], BLOCKS)).astype(np.float16)
                blocks[:, at:at + 2] = scale.view(np.uint8).reshape(BLOCKS, 2)
            if name == "IQ1_M":  # the scale's four nibbles stand on top of the four u16 of the last 8 bytes; keep its exponent small
                scale = rng.uniform(0.001, 0.1, BLOCKS).astype(np.float16).view(np.uint16)
                for nibble in range(4):
                    top = 48 + 2 * nibble + 1
                    blocks[:, top] = (blocks[:, top] & 0x0F) | (((scale >> (4 * nibble)) & 15) << 4).astype(np.uint8)
            if name in SIZES:
                values = np.zeros(BLOCKS * columns, dtype=np.float32)
                raw = blocks.tobytes()
                getattr(ggml, f"dequantize_row_{name.lower()}")(raw, values.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(values.size))
            else:
                values = quants.dequantize(blocks, T[name]).astype(np.float32)
            out.write(np.array([number, BLOCKS, size, columns], dtype="<u4").tobytes() + blocks.tobytes() + values.astype("<f4").tobytes())


main(sys.argv[1], sys.argv[2])
