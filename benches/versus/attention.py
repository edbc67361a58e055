"""What a long context costs a token of hearth's decoder, beside the time of the attention kernels themselves.

    python benches/versus/attention.py --model FOLDER [--rows 100 4000] [--tokens 16]

Steps of one row through the lower and the upper graph, keys and values in place (noise; sliding layers hold their window), 2
threads, onnxruntime's profiler on: what a token takes more at the longer context, beside what its attention kernels take.
"""

import argparse
import bisect
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from decoder import THREADS


def opened(path, folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(folder) / path.stem)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Decoder:
    def __init__(self, model, profiles):
        text = json.loads((Path(model) / "config.json").read_text())["text_config"]
        self.rows = json.loads((Path(model) / "manifest.json").read_text())["max_context"]
        graphs = [Path(model) / "onnx" / f"decoder_{part}.onnx" for part in ("lower", "upper")]
        self.lower, self.upper = (opened(graph, profiles) for graph in graphs)
        self.hidden, self.per_layer = text["hidden_size"], text["hidden_size_per_layer_input"]
        self.layers = text["num_hidden_layers"]
        self.below, self.above = self.lower.io_binding(), self.upper.io_binding()
        self.kept = {}
        for port in self.lower.get_inputs():
            if port.name.startswith("past_key_values."):
                heads, width = port.shape[1], port.shape[3]
                noise = np.random.default_rng(1).standard_normal((1, heads, self.rows, width), np.float32)
                value = self.kept[port.name] = onnxruntime.OrtValue.ortvalue_from_numpy(noise)
                self.below.bind_ortvalue_input(port.name, value)
                self.below.bind_ortvalue_output(port.name.replace("past_key_values", "present"), value)
        for port in self.upper.get_inputs():
            if port.name in self.kept:
                self.above.bind_ortvalue_input(port.name, self.kept[port.name])
        self.window = text["sliding_window"]

    def step(self, past):
        ones = lambda rows: np.ones((1, rows), np.int64)  # noqa: E731
        places = {
            "attention_mask": ones(past + 1),
            "sliding_attention_mask": ones(min(past + 1, self.window)),
            "position_ids": np.array([[past]], np.int64),
        }
        rng = np.random.default_rng(past)
        self.below.bind_cpu_input("inputs_embeds", rng.standard_normal((1, 1, self.hidden)).astype(np.float32))
        rows = rng.standard_normal((1, 1, self.layers, self.per_layer)).astype(np.float32)
        self.below.bind_cpu_input("per_layer_inputs", rows)
        for name, place in places.items():
            self.below.bind_cpu_input(name, place)
            self.above.bind_cpu_input(name, place)
        for name in ("hidden_states", "shared_per_layer_inputs"):
            self.below.bind_output(name)
        started = time.perf_counter()
        self.lower.run_with_iobinding(self.below)
        # In the order in which they were bound.
        for name, output in zip(("hidden_states", "shared_per_layer_inputs"), self.below.get_outputs()[-2:]):
            self.above.bind_cpu_input(name, output.numpy())
        self.above.bind_output("logits")
        self.upper.run_with_iobinding(self.above)
        return (time.perf_counter() - started) * 1000


def attention_ms(profile):
    """Time of attention kernels in each run of a session, in order."""
    events = json.loads(Path(profile).read_text())
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
    totals = [0.0] * len(starts)
    for event in events:
        is_attention = event.get("args", {}).get("op_name") == "GroupQueryAttention"
        if is_attention and event["name"].endswith("_kernel_time"):
            totals[bisect.bisect(starts, event["ts"]) - 1] += event["dur"] / 1000
    return totals


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--model", required=True)
    args.add_argument("--rows", type=int, nargs=2, default=[100, 4000])
    args.add_argument("--tokens", type=int, default=16)
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as profiles:
        decoder = Decoder(args.model, profiles)
        steps = []
        for _ in range(2):
            decoder.step(args.rows[0])
        # They take turns, so that what the machine does meanwhile meets both.
        for _ in range(args.tokens):
            steps += [(rows, decoder.step(rows)) for rows in args.rows]
        lower, upper = attention_ms(decoder.lower.end_profiling()), attention_ms(decoder.upper.end_profiling())
    attention = [a + b for a, b in zip(lower[2:], upper[2:], strict=True)]
    middle = {}
    for rows in args.rows:
        token = statistics.median(ms for at, ms in steps if at == rows)
        kernels = statistics.median(ms for (at, _), ms in zip(steps, attention, strict=True) if at == rows)
        middle[rows] = (token, kernels)
        print(f"{rows:>6} rows: {token:.1f} ms a token, of it attention kernels {kernels:.1f} ms")
    (short, short_kernels), (long, long_kernels) = (middle[rows] for rows in args.rows)
    more, kernels = long - short, long_kernels - short_kernels
    print(f"the longer context costs {more:.1f} ms a token: {more / long_kernels:.2f} x its attention kernels, "
          f"{more / kernels:.2f} x what they take more")


if __name__ == "__main__":
    main()
