"""Checks that `transformers` gives the same logits from a saved folder as `model.Starter`.

`python parity.py FOLDER` (default: the starter's own).
"""

import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import Gemma4Config, Gemma4ForConditionalGeneration

import data
from config import config
from model import Starter, hf_state
from tokenizer import FOLDER, ID


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else str(FOLDER)
    torch.manual_seed(0)
    ours = Starter(len(data.CHARS) + 1).eval()
    if folder != "random":
        ours.load_state_dict({k: v.float() for k, v in load_file(f"{folder}/model.safetensors").items()
                              if not k.endswith(("_min", "_max"))}, strict=False)
        theirs = Gemma4ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    else:
        theirs = Gemma4ForConditionalGeneration(Gemma4Config(**config())).eval()
        print(theirs.load_state_dict(hf_state(ours), strict=False))
    rng = np.random.default_rng(0)
    worst = 0.0
    for frames in (7, 150, 299, 640):
        mel = torch.tensor(rng.normal(size=(1, frames, 128)), dtype=torch.float32)
        ids = data.prompt_ids(-(-frames // 4)) + data.ANSWER.encode(
            '<|tool_call>call:turn_on{kind:<|"|>light<|"|>}<tool_call|>', add_special_tokens=False).ids
        with torch.no_grad():
            _, rows = ours.audio(mel, torch.ones(1, frames))
            x, where = data.layout(ids)
            a = ours.decode(rows, x[None], where[None], torch.arange(len(ids))[None])
            b = theirs(input_ids=torch.tensor([ids]), input_features=mel,
                       input_features_mask=torch.ones(1, frames, dtype=torch.bool),
                       mm_token_type_ids=torch.tensor([[3 if i == ID["<|audio|>"] else 0 for i in ids]])).logits
        err = ((a - b).abs().max() / b.abs().max()).item()
        worst = max(worst, err)
        print(frames, "frames: max |a-b| / max |b| =", f"{err:.2e}")
    sys.exit(worst > 1e-4)


if __name__ == "__main__":
    main()
