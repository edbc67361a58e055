"""Starts from the committed weights: parameters from `model.safetensors`, CTC heads from
`recipe/ctc_head.safetensors`. Rows of tokens that no training has met get the mean of the rows that
play the same part (tools, keys, values), with some noise; new words of the word CTC stay fresh.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import vocab
from tokenizer import FOLDER, pieces, tools

# What the first weights had met; later ones say it themselves (`seen` beside the CTC heads).
FIRST_TOOLS = ["turn_on", "turn_off", "set_brightness", "set_timer", "cancel_timer", "timer_left"]
FIRST_KEYS = ["kind", "room", "percent", "hours", "minutes", "seconds", "name"]


def needed():
    """{part: [piece]} of everything that a call can hold."""
    names, keys, values = [], [], []
    for t in tools():
        names.append(t["name"])
        for key, p in t["parameters"]["properties"].items():
            keys.append(key)
            values += p.get("enum", [])
    values = [v.removeprefix(a) if a and v.startswith(a) else v for v in values for a in vocab.AMOUNTS]
    values += [a.strip() for a in vocab.AMOUNTS if a]
    where = {p: i for i, p in enumerate(pieces())}
    return {part: sorted({where[v.replace(" ", "▁")] for v in words if v.replace(" ", "▁") in where})
            for part, words in (("tools", names), ("keys", keys), ("values", values))}


def first_seen():
    """Ids that the training of the first weights had met."""
    where = {p: i for i, p in enumerate(pieces())}
    words = FIRST_TOOLS + FIRST_KEYS + vocab.LIGHTS + list(vocab.ROOMS) + list(vocab.TIMERS)
    return {where[w.replace(" ", "▁")] for w in words}


def start(net, folder=FOLDER, head=None):
    """Loads the weights of `folder` into `net`; gives the front end's (mean, deviation)."""
    folder = Path(folder)
    state = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()
             if not k.endswith(("_min", "_max"))}
    heads = load_file(head or folder / "recipe" / "ctc_head.safetensors")
    seen = set(heads.pop("seen").tolist()) if "seen" in heads else first_seen()
    for name in ("embed_tokens", "embed_tokens_per_layer"):
        rows = state[f"model.language_model.{name}.weight"]
        for part in needed().values():
            old = [i for i in part if i in seen]
            new = [i for i in part if i not in seen]
            if old and new:
                spread = rows[old].std(0) if len(old) > 1 else rows[old[0]].abs() * 0.1
                rows[new] = rows[old].mean(0) + 0.5 * spread * torch.randn(len(new), rows.shape[1])
    own = net.state_dict()
    for key, value in heads.items():
        # Heads may have grown; the rows that were there come first.
        value = value.float()
        if key in own:
            grown = own[key].clone()
            grown[:len(value)] = value
            state[key] = grown
    missing = [k for k in net.load_state_dict(state, strict=False).missing_keys if k.startswith("model.")]
    if missing:
        raise SystemExit(f"{folder}: no weights for {missing[:3]}")
    fe = json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
    return tuple(torch.tensor(fe[k], dtype=torch.float32) for k in ("per_bin_mean", "per_bin_stddev"))
