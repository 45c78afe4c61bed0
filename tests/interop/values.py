"""Writes the values that gguf-py reads from FILE to OUT: single precision, tensor after tensor in file order."""

import sys

import gguf
import numpy

file, out = sys.argv[1:]
with open(out, "wb") as sink:
    for tensor in gguf.GGUFReader(file).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        sink.write(numpy.ascontiguousarray(values, dtype="<f4").tobytes())
