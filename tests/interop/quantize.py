"""Quantizes with ggml, for the comparison of encoders: [LIBRARY], or else xllamacpp's own, exports ggml_quantize_chunk, the function that
llama-quantize calls.

Each line of stdin is TYPE_ID ROWS COLUMNS BLOCK_COLUMNS BLOCK_BYTES WEIGHTS IMPORTANCE OUT REPEATS: files of f32, and where the blocks go. The rows are cut in two,
one half a thread. Answers a line: the least
seconds by the clock, and the least of the two processors' time.
"""

import ctypes
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy



def library() -> str:
    import xllamacpp

    return next(str(file) for file in pathlib.Path(xllamacpp.__file__).parent.iterdir() if file.name.startswith("xllamacpp") and file.suffix in (".so", ".pyd"))


ggml = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else library())
pointer, i64 = ctypes.c_void_p, ctypes.c_int64
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, i64, i64, i64, pointer]
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_init.argtypes = [ctypes.c_int]
threads = ThreadPoolExecutor(2)
for line in sys.stdin:
    kind, rows, columns, block_columns, block_bytes, weights_file, importance_file, out, repeats = line.split()
    kind, rows, columns = int(kind), int(rows), int(columns)
    weights, importance = numpy.fromfile(weights_file, "<f4"), numpy.fromfile(importance_file, "<f4")
    blocks = numpy.zeros(rows * columns // int(block_columns) * int(block_bytes), numpy.uint8)
    ggml.ggml_quantize_init(kind)

    def half(first: int, count: int) -> None:
        ggml.ggml_quantize_chunk(kind, weights.ctypes.data, blocks.ctypes.data, first * columns, count, columns, importance.ctypes.data)

    seconds, processor = [], []
    for _ in range(int(repeats)):
        start, start_processor = time.perf_counter(), time.process_time()
        halves = [threads.submit(half, 0, rows // 2), threads.submit(half, rows // 2, rows - rows // 2)]
        for done in halves:
            done.result()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    blocks.tofile(out)
    print(min(seconds), min(processor), flush=True)
