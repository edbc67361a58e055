"""hearth's audio encoder beside llama.cpp's, on the same shapes with random weights, in one run: 5 s of sound.

    python benches/versus/audio.py --model FOLDER --llama-audio PROGRAM --mmproj FILE...

FOLDER: `python -m hearth_onnx build --config e4b --weights random:1 ...`; FILE: `mmproj_random.py`; PROGRAM:
`llama_audio.cpp` with `vendor/llama.cpp` of PyPI's llama-cpp-python 0.3.36, whose target `mtmd` is built in BUILD:

    g++ -O2 -std=c++17 benches/versus/llama_audio.cpp -o PROGRAM -I LLAMA.CPP/tools/mtmd -I LLAMA.CPP/include \\
        -I LLAMA.CPP/ggml/include BUILD/tools/mtmd/libmtmd.a BUILD/src/libllama.a BUILD/ggml/src/libggml.a \\
        BUILD/ggml/src/libggml-cpu.a BUILD/ggml/src/libggml-base.a -fopenmp -ldl

Only the encoder is timed, from log-mel frames (seeded noise, the same for all) to rows for the text model. hearth hears
in blocks while somebody speaks: that is `streamed`, back to back here; `whole` takes all frames at once, as llama.cpp
does, which knows no other way. A FILE for each type of weights; the fastest is what hearth is compared with. Each is a
fresh process with 2 threads and the machine for itself, which loads, encodes at once (`first`: nothing was run before)
and then three times more (`then`, their median). They take turns, and medians of rounds count. hearth's graphs run in
onnxruntime for Python with hearth's options; memory is the most that was resident, Python and files that are mapped
included.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from decoder import THREADS, run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "onnx"))

# What 5 s come to in either's front end, and the rows they make.
FRAMES, BINS, ROWS = 499, 128, 125
# Frames of a block: 0.32 s.
BLOCK = 32
TIMES = 4


def frames():
    return np.random.default_rng(1).normal(-3, 2, (FRAMES, BINS)).astype(np.float32)


def hearth(model, streamed):
    """Prints what `llama_audio` prints of its own: rows, and the milliseconds of each block of each encoding."""
    import onnxruntime
    from hearth_onnx.runner import Folder

    class Opened(Folder):
        def _open(self, file):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.add_session_config_entry("session.force_spinning_stop", "1")
            return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    part = "audio_stream" if streamed else "audio_encoder"
    folder = Opened(model, THREADS, {part: Path(model) / f"onnx/{part}.onnx"})
    mel, passes = frames(), []
    for _ in range(TIMES):
        state, rows, took = folder.begin() if streamed else None, [], []
        for block in np.split(mel, range(BLOCK, FRAMES, BLOCK)) if streamed else [mel]:
            started = time.perf_counter()
            if streamed:
                out, state = folder.hear(block, state)
            else:
                out = folder.encode(block, np.ones(FRAMES))
            took.append((time.perf_counter() - started) * 1000)
            rows.append(out)
        passes.append(took)
    if not all(np.isfinite(out).all() for out in rows):
        sys.exit("not finite")
    print(json.dumps({"rows": sum(map(len, rows)), "ms": passes}))


def measured(command):
    out, _, peak = run(command)
    if out["rows"] != ROWS:
        sys.exit(f"{command[0]} gave {out['rows']} rows")
    first, *then = out["ms"]
    return {"first": sum(first), "then": statistics.median(map(sum, then)),
            "longest block": statistics.median(map(max, then)), "peak MB": peak}


def main():
    if sys.argv[1:2] in (["whole"], ["streamed"]):
        return hearth(sys.argv[2], sys.argv[1] == "streamed")
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--model", required=True)
    args.add_argument("--llama-audio", required=True)
    args.add_argument("--mmproj", required=True, nargs="+", help="one for each type of weights")
    args.add_argument("--rounds", type=int, default=5)
    args = args.parse_args()
    print(f"{platform.processor() or platform.machine()}, {THREADS} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        mel = Path(temporary) / "mel.f32"
        frames().T.tofile(mel)
        commands = {f"hearth, {way}": [sys.executable, __file__, way, args.model] for way in ("whole", "streamed")}
        for file in args.mmproj:
            commands[f"llama.cpp, {Path(file).stem}"] = [args.llama_audio, file, mel, THREADS, TIMES]
        rows = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                rows[name].append(measured(command))
            print(json.dumps({name: all[-1] for name, all in rows.items()}), flush=True)
    middle = {name: {key: statistics.median(row[key] for row in all) for key in all[0]} for name, all in rows.items()}
    theirs = min(row["then"] for name, row in middle.items() if name.startswith("llama.cpp"))
    print(f"\nload {os.getloadavg()[0]:.1f} at the end; median of {args.rounds}\n")
    print("| | first, ms | then, ms | longest block, ms | peak, MB | then / best llama.cpp |\n" + "|---" * 6 + "|")
    for name, row in middle.items():
        cells = [f"{value:.0f}" for value in row.values()]
        print("|", " | ".join([name, *cells, f"{row['then'] / theirs:.2f}"]), "|")


if __name__ == "__main__":
    main()
