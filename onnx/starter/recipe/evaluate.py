"""Greedy accuracy of a model folder in torch, no grammar: `python evaluate.py FOLDER SET...`.

Scores as `hearth eval` does: a clip is right when every labelled call is there with all labelled
slots and no call is left over; strict when besides no slot is too many.
"""

import collections
import json
import re
import sys
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from safetensors.torch import load_file

import data
import features
from model import Starter
from tokenizer import FOLDER, ID

CALL = re.compile(r"<\|tool_call>call:(\w+)\{(.*?)\}<tool_call\|>")
SLOT = re.compile(r'(\w+):(?:<\|"\|>(.*?)<\|"\|>|(-?\d+))')


def parse(text):
    """Calls in an answer."""
    return [{"intent": n, "slots": {k: s if s or not v else int(v) for k, s, v in SLOT.findall(a)}}
            for n, a in CALL.findall(text)]


def right(got, want, strict):
    """Whether the calls `got` answer the labelled calls `want`."""
    rest = list(got)
    for w in want:
        hit = next((g for g in rest if g["intent"] == w["intent"] and
                    (g["slots"] == w["slots"] if strict else w["slots"].items() <= g["slots"].items())), None)
        if hit is None:
            return False
        rest.remove(hit)
    return not rest


def load(folder):
    """(model, mean, std) from a Hugging Face folder."""
    folder = Path(folder)
    net = Starter(len(data.CHARS) + 1).eval()
    net.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()
                         if not k.endswith(("_min", "_max"))}, strict=False)
    heads = next((p for p in (folder / "recipe" / "ctc_head.safetensors", folder / "ctc_head.safetensors") if p.exists()), None)
    if heads:
        net.load_state_dict({k: v.float() for k, v in load_file(heads).items() if k.startswith("ctc.")}, strict=False)
    fe = json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
    return net, np.array(fe["per_bin_mean"], np.float32), np.array(fe["per_bin_stddev"], np.float32)


@torch.no_grad()
def answers(net, mels, limit=40):
    """Greedy answers to a batch of normalised mels: (texts, CTC spellings)."""
    lens = torch.tensor([len(m) for m in mels])
    mel = torch.zeros(len(mels), int(lens.max()), 128)
    for i, m in enumerate(mels):
        mel[i, :len(m)] = torch.from_numpy(m)
    mask = (torch.arange(mel.shape[1])[None] < lens[:, None]).float()
    ctc, audio = net.audio(mel, mask)
    spell = []
    for row, n in zip(ctc.argmax(-1), (lens + 3) // 4):
        path = torch.unique_consecutive(row[:int(n)]).tolist()
        spell.append("".join(data.CHARS[c - 1] for c in path if c))
    ids = [data.prompt_ids(int(n)) for n in (lens + 3) // 4]
    start = [len(i) for i in ids]
    done = [False] * len(ids)
    for _ in range(limit):
        s = max(map(len, ids))
        x, w = torch.zeros(len(ids), s, dtype=torch.long), torch.full((len(ids), s), -1)
        for j, row in enumerate(ids):
            x[j, :len(row)], w[j, :len(row)] = data.layout(row)
        at = torch.tensor([[len(r) - 1] for r in ids])
        best = net.decode(audio, x, w, at)[:, 0].argmax(-1).tolist()
        for j, t in enumerate(best):
            if not done[j]:
                ids[j].append(t)
                done[j] = t in (ID["<turn|>"], ID["<|tool_response>"], ID["<eos>"])
        if all(done):
            break
    return [data.ANSWER.decode(i[s:], skip_special_tokens=False) for i, s in zip(ids, start)], spell


def main():
    torch.set_num_threads(1)
    verbose = "-v" in sys.argv
    args = [a for a in sys.argv[1:] if a != "-v"]
    net, mean, std = load(args[0] if args else FOLDER)
    for folder in map(Path, args[1:]):
        labels = json.loads((folder / "labels.json").read_text())
        info = json.loads((folder / "voices.json").read_text())
        names = list(labels)
        mels = [(features.log_mel(sf.read(folder / n, dtype="float32")[0]) - mean) / std for n in names]
        order = sorted(range(len(names)), key=lambda i: len(mels[i]))
        tally = collections.defaultdict(lambda: [0, 0, 0])
        false = talk = chars = wrong = 0
        for a in range(0, len(order), 24):
            pick = order[a:a + 24]
            for i, text, spell in zip(pick, *answers(net, [mels[i] for i in pick])):
                n = names[i]
                want, got = labels[n]["calls"], parse(text)
                ok, strict = right(got, want, False), right(got, want, True)
                said = info[n]["text"]
                wrong += distance(spell, said)
                chars += len(said)
                keys = ["all", "voice " + re.split(r"[:+]", info[n]["voice"])[0]
                        if not info[n]["voice"].startswith("espeak") else "voice espeak",
                        "tool " + (want[0]["intent"] if want else "none")]
                for k in keys:
                    tally[k][0] += 1
                    tally[k][1] += ok
                    tally[k][2] += strict
                if not want:
                    talk += 1
                    false += bool(got)
                if verbose and not strict:
                    print(f"  {n} {info[n]['voice']}: {said!r} heard {spell!r} -> {text}")
        print(folder)
        for k, (n, ok, st) in sorted(tally.items()):
            print(f"  {k:28} {n:4}  right {100 * ok / n:5.1f} %  strict {100 * st / n:5.1f} %")
        print(f"  false calls {false} of {talk}; CTC character errors {100 * wrong / chars:.1f} %", flush=True)


def distance(a, b):
    """Edit distance."""
    row = list(range(len(b) + 1))
    for i, c in enumerate(a):
        prev, row[0] = row[0], i + 1
        for j, d in enumerate(b):
            prev, row[j + 1] = row[j + 1], min(row[j + 1] + 1, row[j] + 1, prev + (c != d))
    return row[-1]


if __name__ == "__main__":
    main()
