"""Chooses the bias on "no call" and the margin for asking back: `python calibrate.py FOLDER COMMANDS TALK`.

COMMANDS and TALK are development sets as `evalset.py` writes them. Each clip is answered twice in one
pass: as if a call had to come, and how much likelier than a call (logits) an answer without one is.
From these every bias and margin follows: the table says, for each, how many of the commands are carried
out rightly, wrongly, asked back or missed, and how much of the talk is carried out or asked about.
No grammar, no quantisation: the choice is checked with `hearth eval`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

import data
import evaluate
import features
from tokenizer import ID

CALL, QUIET = ID["<|tool_call>"], ID["<turn|>"]
ENDS = (QUIET, ID["<|tool_response>"], ID["<eos>"])


@torch.no_grad()
def margins(net, mels, limit=40):
    """For each mel: (logit of a call less that of none, least margin after that, the answer with a call)."""
    lens = torch.tensor([len(m) for m in mels])
    mel = torch.zeros(len(mels), int(lens.max()), 128)
    for i, m in enumerate(mels):
        mel[i, :len(m)] = torch.from_numpy(m)
    mask = (torch.arange(mel.shape[1])[None] < lens[:, None]).float()
    _, audio = net.audio(mel, mask)
    ids = [data.prompt_ids(int(n)) for n in (lens + 3) // 4]
    start, done, least, first = [len(i) for i in ids], [False] * len(ids), [np.inf] * len(ids), None
    for _ in range(limit):
        s = max(map(len, ids))
        x, w = torch.zeros(len(ids), s, dtype=torch.long), torch.full((len(ids), s), -1)
        for j, row in enumerate(ids):
            x[j, :len(row)], w[j, :len(row)] = data.layout(row)
        out = net.decode(audio, x, w, torch.tensor([[len(r) - 1] for r in ids]))[:, 0]
        if first is None:
            first = (out[:, CALL] - out[:, QUIET]).tolist()
            for row in ids:
                row.append(CALL)
            continue
        best, token = out.topk(2, -1)
        for j, (t, m) in enumerate(zip(token[:, 0].tolist(), (best[:, 0] - best[:, 1]).tolist())):
            if not done[j]:
                ids[j].append(t)
                least[j] = min(least[j], m)
                done[j] = t in ENDS
        if all(done):
            break
    said = [data.ANSWER.decode(i[s:], skip_special_tokens=False) for i, s in zip(ids, start)]
    return list(zip(first, least, said))


def heard(net, mean, std, folder):
    """[(labelled calls, margins)] of all clips of a set."""
    labels = json.loads((folder / "labels.json").read_text())
    names = sorted(labels)
    mels = [(features.log_mel(sf.read(folder / n, dtype="float32")[0]) - mean) / std for n in names]
    order, out = sorted(range(len(names)), key=lambda i: len(mels[i])), []
    for a in range(0, len(order), 24):
        pick = order[a:a + 24]
        out += zip([labels[names[i]]["calls"] for i in pick], margins(net, [mels[i] for i in pick]))
    return out


def main():
    torch.set_num_threads(1)
    net, mean, std = evaluate.load(sys.argv[1])
    commands = [x for f in sys.argv[2].split(",") for x in heard(net, mean, std, Path(f))]
    talk = [x for x in commands if not x[0]] + [x for f in sys.argv[3].split(",") for x in heard(net, mean, std, Path(f))]
    commands = [x for x in commands if x[0]]
    print(f"{len(commands)} commands, {len(talk)} of talk; % of each")
    print("bias margin | right wrong asked (rightly) missed | talk: calls asked")
    for bias in (0, 0.5, 1, 1.5, 2, 2.5, 3):
        for least in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
            n = dict.fromkeys(("right", "wrong", "asked", "rightly", "missed", "false", "doubt"), 0)
            for want, (first, rest, said) in commands:
                ok = evaluate.right(evaluate.parse(said), want, False)
                if first <= bias:
                    n["missed"] += 1
                elif min(first - bias, rest) < least:
                    n["asked"] += 1
                    n["rightly"] += ok
                else:
                    n["right" if ok else "wrong"] += 1
            for _, (first, rest, _) in talk:
                if first > bias:
                    n["doubt" if min(first - bias, rest) < least else "false"] += 1
            c, t = 100 / len(commands), 100 / max(1, len(talk))
            print(f"{bias:4} {least:6} | {c * n['right']:5.1f} {c * n['wrong']:5.1f} {c * n['asked']:5.1f} "
                  f"({c * n['rightly']:.1f}) {c * n['missed']:5.1f} | {t * n['false']:5.1f} {t * n['doubt']:5.1f}", flush=True)


if __name__ == "__main__":
    main()
