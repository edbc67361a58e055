"""Writes a training checkpoint as a Hugging Face folder: `python export.py CHECKPOINT [FOLDER]`."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import config
import data
import tokenizer
import warm
from model import Starter, hf_state


def load(path, smooth=True):
    """(model, (mean, std), state) of a checkpoint; `smooth` takes the running mean of the weights where there is one."""
    saved = torch.load(path, weights_only=False)
    net = Starter(len(data.CHARS) + 1, len(data.WORDS) + 2)
    net.load_state_dict(saved["net"] | (saved.get("smooth", {}) if smooth else {}), strict=False)
    return net.eval(), saved["norm"], saved["state"]


def main():
    net, (mean, std), state = load(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else tokenizer.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    config.write(folder, mean.tolist(), std.tolist())
    tensors = {k: v.half() for k, v in hf_state(net).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    # The CTC heads are no part of the model; a warm start wants them.
    heads = {k: v.half().contiguous() for k, v in net.state_dict().items() if k.startswith(("ctc.", "words."))}
    heads["seen"] = torch.tensor(sorted(warm.first_seen().union(*warm.needed().values())))
    save_file(heads,
              folder / "recipe" / "ctc_head.safetensors" if (folder / "recipe").is_dir() else folder / "ctc_head.safetensors")
    print(state, (folder / "model.safetensors").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
