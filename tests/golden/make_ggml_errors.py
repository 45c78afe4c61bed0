#!/usr/bin/env python3
"""Prints the errors of libggml's own quantizers on a reproducible tensor, the table of tests/tests/numerics.rs.

The tensor: 64 rows of 1024, from the 64-bit congruential generator below; cubes of uniform numbers, so that the tails are heavy. One importance a column,
over four orders of magnitude. Printed for each type: sum of (w' - w)^2 without importances, sum of importance * (w' - w)^2 with them.

usage: make_ggml_errors.py LIBGGML_BASE.so        needs: pip install numpy
"""
import ctypes
import sys
import numpy as np

ROWS, COLUMNS = 64, 1024
TYPES = {"q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34), "q2_K": (256, 84), "q3_K": (256, 110), "q4_K": (256, 144),
         "q5_K": (256, 176), "q6_K": (256, 210), "iq4_nl": (32, 18), "iq4_xs": (256, 136), "iq3_s": (256, 110), "iq3_xxs": (256, 98), "iq2_s": (256, 82),
         "iq2_xs": (256, 74), "iq2_xxs": (256, 66), "iq1_m": (256, 56), "iq1_s": (256, 50), "tq2_0": (256, 66), "tq1_0": (256, 54), "q2_0": (64, 18),
         "q1_0": (128, 18), "mxfp4": (32, 17), "nvfp4": (64, 36)}
# These do not work without importances, nor before their tables are made: ones then, and the type's number.
NEEDY = {"iq3_s": 21, "iq3_xxs": 18, "iq2_s": 22, "iq2_xs": 17, "iq2_xxs": 16, "iq1_m": 29, "iq1_s": 19}


def uniform(count: int, state: int) -> np.ndarray:
    """Numbers in [-1, 1), multiples of 2^-23."""
    out = np.empty(count)
    for i in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = (state >> 40) / 2**23 - 1.0
    return out


weights = (0.1 * uniform(ROWS * COLUMNS, 1) ** 3).astype(np.float32)
importance = (10.0 ** (2.0 * uniform(COLUMNS, 2))).astype(np.float32)
ggml = ctypes.CDLL(sys.argv[1])
pointer, i64 = ctypes.c_void_p, ctypes.c_int64
for name, (columns, size) in TYPES.items():
    quantize, dequantize = getattr(ggml, f"quantize_{name}"), getattr(ggml, f"dequantize_row_{name}")
    quantize.argtypes, dequantize.argtypes = [pointer, pointer, i64, i64, pointer], [pointer, pointer, i64]
    if name in NEEDY:
        ggml.ggml_quantize_init(NEEDY[name])
    ones = np.ones(COLUMNS, np.float32) if name in NEEDY else None
    errors = []
    for used in (ones, importance):
        blocks, values = np.zeros(weights.size // columns * size, np.uint8), np.zeros_like(weights)
        quantize(weights.ctypes.data, blocks.ctypes.data, ROWS, COLUMNS, None if used is None else used.ctypes.data)
        dequantize(blocks.ctypes.data, values.ctypes.data, weights.size)
        squares = (values.astype(np.float64) - weights).reshape(ROWS, COLUMNS) ** 2
        errors.append(float((squares * (1.0 if used is None else used)).sum()))
    print(f'    ("{name.upper()}", {errors[0]:.6e}, {errors[1]:.6e}),')
