#!/usr/bin/env python3
"""Writes the codebook grids of the IQ types, which are facts of the format, in Halftone's own packing (shaders/src/grids.bin).

Every grid is a table of small vectors whose elements take a few levels only. Stored are the level indices, element after element, row after row, least
significant bits first: 2 bits an element for the grids of 8 (IQ2_*, IQ1_*), 3 bits for the grids of 4 (IQ3_*). The levels stand in grids.rs beside it.

usage: make_grids.py OUT        needs: pip install gguf numpy
"""
import sys
import numpy as np
from gguf import quants

with open(sys.argv[1], "wb") as out:
    for kind, bits in ((quants.IQ2_XXS, 2), (quants.IQ2_XS, 2), (quants.IQ2_S, 2), (quants.IQ1_S, 2), (quants.IQ3_XXS, 3), (quants.IQ3_S, 3)):
        kind.init_grid()
        levels = np.array(kind.grid_map, dtype=np.float32)
        index = np.searchsorted(levels, kind.grid.reshape(-1)).astype(np.uint8)
        assert (levels[index] == kind.grid.reshape(-1)).all()
        planes = (index[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
        packed = np.packbits(planes.reshape(-1), bitorder="little").tobytes()
        out.write(packed)
        print(f"{kind.__name__}: {kind.grid_shape[0]} x {kind.grid_shape[1]}, levels {levels.astype(int).tolist()}, {len(packed)} bytes", file=sys.stderr)
