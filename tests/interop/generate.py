"""Loads FILE in llama.cpp, continues PROMPT greedily by COUNT tokens, prints them as JSON: text, token ids, log probabilities."""

import json
import sys

import xllamacpp

file, prompt, count = sys.argv[1:]
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
answer = server.handle_completions({"prompt": prompt, "max_tokens": int(count), "temperature": 0.0, "n_probs": 1})
choice = answer["choices"][0]
steps = choice["logprobs"]["content"]
print(json.dumps({"text": choice["text"], "ids": [s["id"] for s in steps], "logprobs": [s["logprob"] for s in steps]}))
