"""Loads FILE in llama.cpp, reads the token ids IDS (JSON) and prints the log probability of every token that could follow, by id, as JSON."""

import json
import sys

import xllamacpp

file, ids = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = file
params.n_ctx = 256
params.n_parallel = 1
params.n_gpu_layers = 0
params.cpuparams.n_threads = 2
params.warmup = False
params.verbosity = 0
params.port = 0  # any free one
server = xllamacpp.Server(params)
answer = server.handle_completions({"prompt": json.loads(ids), "max_tokens": 1, "temperature": 0.0, "n_probs": 1000, "cache_prompt": False})
first = answer["choices"][0]["logprobs"]["content"][0]
found = {token["id"]: token["logprob"] for token in first["top_logprobs"]}
print(json.dumps([found.get(i) for i in range(max(found) + 1)]))
