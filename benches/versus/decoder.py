"""hearth's decoder beside llama.cpp's, on the same shapes with random weights, in one run: speed, memory, load time.

    python benches/versus/decoder.py --hearth target/release/hearth --model FOLDER --llama-bench PROGRAM --gguf FILE

FOLDER: `python -m hearth_onnx build --config e4b --weights random:1 ...`; FILE: `gguf_random.py`; PROGRAM: llama.cpp's
`llama-bench`, built from `vendor/llama.cpp` of PyPI's llama-cpp-python 0.3.36. Either has 2 threads and the machine for
itself while it runs; they take turns, and medians count. Memory is the most that was resident, files that are mapped
included. Load time is from start to ready with the files in the kernel's cache: hearth's own figure, tokenizer and audio
encoder included, and for llama.cpp, which loads no audio here, the time of a run that does one token without warming up,
less what a token takes.

The limit is memory: bytes of weights that a token touches, over the speed at which two threads read memory here.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

CONTEXTS = [128, 512, 2048]
TOKENS = 64
THREADS = 2


def run(command):
    """What it prints, seconds, and the most that was resident, in MB of 10^6 bytes."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    errors = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    reader.join()
    if status:
        sys.exit(f"{command[0]} failed: {errors[0].decode()[-2000:]}")
    return json.loads(out), time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def hearth(args):
    lengths = ",".join(map(str, CONTEXTS))
    out, _, peak = run([args.hearth, "bench", f"--decoder={lengths}", "--json", "--model", args.model])
    at = {context["rows"]: context for context in out["contexts"]}
    row = {f"prefill {n}": 1000 / at[n]["prefill_ms_per_row"] for n in (128, 512)}
    row |= {f"decode at {n}": 1000 / at[n]["decode_ms_per_token"] for n in (128, 2048)}
    return row | {"peak MB": peak, "load s": out["start"]["load_ms"] / 1000,
                  "own MB": out["memory"]["anonymous_mb"]}


def llama(args):
    base = [args.llama_bench, "-m", args.gguf, "-t", THREADS, "-r", 1, "-o", "json", "-fa", args.flash]
    row, peaks = {}, []
    for n in (128, 512):
        out, _, peak = run([*base, "-p", n, "-n", 0])
        row[f"prefill {n}"] = out[0]["avg_ts"]
        peaks.append(peak)
    for n in (128, 2048):
        out, _, peak = run([*base, "-p", 0, "-n", TOKENS, "-d", n])
        row[f"decode at {n}"] = out[0]["avg_ts"]
        peaks.append(peak)
    _, seconds, _ = run([*base, "-p", 0, "-n", 1, "--no-warmup"])
    return row | {"peak MB": max(peaks), "load s": seconds - 1 / row["decode at 128"]}


def bandwidth():
    """Bytes a second that as many threads read, each its own gigabyte."""
    parts = [np.ones(1 << 28, np.float32) for _ in range(THREADS)]
    best = 0
    for _ in range(3):
        threads = [threading.Thread(target=part.max) for part in parts]
        started = time.perf_counter()
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        best = max(best, sum(part.nbytes for part in parts) / (time.perf_counter() - started))
    return best


def touched(folder):
    """Bytes of weights that one token reads: all but the tables of embeddings and the audio encoder."""
    files = Path(folder).rglob("*.onnx_data")
    return sum(file.stat().st_size for file in files if not re.search("audio|embed", file.name))


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--hearth", default="target/release/hearth")
    args.add_argument("--model", required=True)
    args.add_argument("--llama-bench", required=True)
    args.add_argument("--gguf", required=True)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--flash", default="auto", choices=["on", "off", "auto"], help="flash attention of the peer")
    args = args.parse_args()
    rows = {"hearth": [], "llama.cpp": []}
    limit = touched(args.model) / bandwidth()
    print(f"{platform.processor() or platform.machine()}, {THREADS} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    for _ in range(args.rounds):
        rows["hearth"].append(hearth(args))
        rows["llama.cpp"].append(llama(args))
        print(json.dumps({name: all[-1] for name, all in rows.items()}), flush=True)
    middle = {name: {key: statistics.median(row[key] for row in all) for key in all[0]} for name, all in rows.items()}
    print(f"\nload {os.getloadavg()[0]:.1f} at the end; median of {args.rounds}\n")
    print("| | hearth | llama.cpp | ratio |\n|---|---|---|---|")
    for key, theirs in middle["llama.cpp"].items():
        ours = middle["hearth"][key]
        print(f"| {key} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |")
    speed = middle["hearth"]["decode at 128"]
    print(f"\nmemory limit of a token: {limit * 1000:.0f} ms; hearth takes {1 / speed / limit:.1f} x of it")
    print(f"hearth's own (not of files): {middle['hearth']['own MB']:.0f} MB")


if __name__ == "__main__":
    main()
