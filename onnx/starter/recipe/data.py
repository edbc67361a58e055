"""Clips for training: log-mels in one memory-mapped array, varied on the fly, in padded batches."""

import json
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import tokenizer
from tokenizer import AFTER, BEFORE, ID, render_calls

CHARS = " abcdefghijklmnopqrstuvwxyz'"
ANSWER = tokenizer.build()
PRE = ANSWER.encode(BEFORE, add_special_tokens=False).ids
SUF = ANSWER.encode(AFTER, add_special_tokens=False).ids


def char_ids(text):
    """CTC targets (0 is the blank)."""
    return [CHARS.index(c) + 1 for c in re.sub(r"[^a-z' ]", "", text.lower())]


# Classes of the word CTC, in the order of the head's rows: 0 is the blank, 1 any other word. Words of
# later tools are appended, so that a warm start keeps the rows that it knows.
WORDS = {w: i + 2 for i, w in enumerate((Path(__file__).parent / "words.txt").read_text().split())}


def word_ids(text):
    """Word CTC targets."""
    return [WORDS.get(w, 1) for w in text.lower().replace("?", "").replace(",", "").split()]


def prompt_ids(rows):
    """The starter's prompt for `rows` audio rows."""
    return PRE + [ID["<|audio|>"]] * rows + SUF


def layout(ids):
    """(ids with pad at audio places, index of the audio row or -1) as tensors."""
    t = torch.tensor(ids)
    at = t == ID["<|audio|>"]
    where = torch.where(at, at.cumsum(0) - 1, torch.tensor(-1))
    return torch.where(at, torch.tensor(0), t), where


class Clips:
    """All clips of the given shards (paths without extension)."""

    def __init__(self, paths):
        self.mel, self.rows, self.groups = [], [], {}
        for n, p in enumerate(paths):
            m = np.memmap(str(p) + ".mel", np.float16, "r")
            self.mel.append(m[:len(m) // 128 * 128].reshape(-1, 128))
            for line in open(str(p) + ".jsonl"):
                if not line.endswith("\n"):
                    break
                r = json.loads(line)
                if r["start"] + r["frames"] > len(self.mel[-1]):
                    break
                r["chars"] = char_ids(r["text"])
                r["words"] = word_ids(r["text"])
                r["answer"] = ANSWER.encode(render_calls(r["calls"]), add_special_tokens=False).ids
                r["shard"] = n
                if audio_rows(r["frames"]) < len(r["chars"]) + 2:
                    r["tight"] = True
                key = r["voice"].split("/")[0], r["pattern"].rstrip("0123456789")
                self.groups.setdefault(key, []).append(len(self.rows))
                self.rows.append(r)

    def frames(self, i):
        r = self.rows[i]
        return self.mel[r["shard"]][r["start"]:r["start"] + r["frames"]]


def audio_rows(frames):
    return -(-frames // 4)


def statistics(clips, n=2000, seed=0):
    """Per-bin mean and deviation over `n` clips, with a quiet noise floor under them."""
    rng = np.random.default_rng(seed)
    pick = rng.choice(len(clips.rows), min(n, len(clips.rows)), replace=False)
    x = np.concatenate([np.asarray(clips.frames(int(i)), np.float32) for i in pick])
    std = x.std(0)
    return x.mean(0), np.where(std < 0.1, 1.0, std)


def tempo(rng, x, s):
    """Speaks faster or slower, unevenly within the clip, and hesitates at its quietest places."""
    t = len(x)
    place = np.arange(t) / t
    rate = np.exp(rng.uniform(-0.26, 0.16) * s + rng.uniform(0, 0.22) * s *
                  np.sin(2 * np.pi * (rng.uniform(0.5, 2.5) * place + rng.random())))
    if rng.random() < 0.5 * s:
        loud = x.mean(1).numpy()
        quiet = np.argsort(loud[8:-8])[:max(1, t // 6)] + 8 if t > 40 else []
        for q in rng.permutation(quiet)[:int(rng.integers(1, 4))]:
            rate[q] = 1 / float(rng.uniform(4, 36))
    spent = np.concatenate([[0], np.cumsum(1 / rate)])
    at = torch.from_numpy(np.interp(np.arange(0, spent[-1] - 1), spent, np.arange(t + 1)).clip(0, t - 1)).float()
    a = at.floor().long()
    w = (at - a)[:, None]
    return x[a] * (1 - w) + x[(a + 1).clamp(max=t - 1)] * w


def vary(rng, clips, picks, strength, norm):
    """Mel batch [B, T, 128] f32 (normalised), frames of each; `strength` 0 (clean) .. 1."""
    mean, std = norm
    out, lens, speech = [], [], []
    s = strength
    for i in picks:
        x = torch.from_numpy(np.asarray(clips.frames(i), np.float32))
        t = len(x)
        if s > 0 and not clips.rows[i].get("tight"):
            x = tempo(rng, x, s)
            t = len(x)
        warp = float(np.exp(rng.uniform(-0.16, 0.16) * s))
        if s > 0:
            at = (torch.arange(128) * warp).clamp(max=127)
            a = at.floor().long()
            w = at - a
            x = x[:, a] * (1 - w) + x[:, (a + 1).clamp(max=127)] * w
        late = s > 0 and rng.random() < 0.3
        if late:
            # The microphone opened when somebody spoke already: up to 120 ms are missing.
            x = x[int(rng.integers(1, 13)):]
        elif s > 0 and rng.random() < 0.2:
            # What is left of a word said before, as of the wake word, and a breath.
            word = torch.from_numpy(np.asarray(clips.frames(picks[int(rng.integers(len(picks)))]), np.float32))
            breath = torch.full((int(rng.integers(0, 30)), 128), float(np.log(1e-3)))
            x = torch.cat([word[-int(rng.integers(4, 26)):], breath, x])
        lead = 0 if late else 2 + int((6 if s == 0 else 46) * rng.random() ** 2)
        tail = 4 + int((8 if s == 0 else 46) * rng.random() ** 2)
        speech.append((lead, len(x)))
        out.append(F.pad(x, (0, 0, lead, tail), value=float(np.log(1e-3))))
        lens.append(len(out[-1]))
    tmax = -(-max(lens) // 8) * 8
    mel = torch.stack([F.pad(x, (0, 0, 0, tmax - len(x)), value=float(np.log(1e-3))) for x in out])
    lens = torch.tensor(lens)
    b = len(picks)
    if s > 0:
        p = ((mel.exp() - 1e-3).clamp(min=0)) ** 2
        echo = torch.tensor(rng.random(b) < 0.5 * s)
        if echo.any():
            decay = float(rng.uniform(0.55, 0.88))
            k = decay ** torch.arange(0, 24, dtype=torch.float32)
            k[0] = 0
            k = k.flip(0) * float(rng.uniform(0.05, 0.5)) * (1 - decay)
            q = p[echo].transpose(1, 2).reshape(-1, 1, tmax)
            q = F.conv1d(F.pad(q, (23, 0)), k[None, None]).view(-1, 128, tmax).transpose(1, 2)
            p[echo] = p[echo] + q
        tilt = torch.tensor(rng.uniform(-1.2, 1.2, b) * s, dtype=torch.float32)[:, None] * torch.linspace(-1, 1, 128)
        bump = torch.tensor(rng.normal(0, 0.25 * s, (b, 9)), dtype=torch.float32)
        tilt = tilt + F.interpolate(bump[:, None], 128, mode="linear", align_corners=True)[:, 0]
        for j in np.flatnonzero(rng.random(b) < 0.25 * s):
            # A narrow line or a cheap microphone.
            low, high = int(rng.integers(0, 9)), int(rng.integers(84, 126))
            edge = torch.arange(128)
            tilt[j] -= 0.35 * ((edge - high).clamp(min=0) + (low - edge).clamp(min=0))
        gain = torch.tensor(rng.uniform(-3.0, 0.9, b) * s, dtype=torch.float32)
        p = p * torch.exp(2 * (gain[:, None] + tilt))[:, None]
        level = p.mean((1, 2)) * tmax / lens
        snr = torch.tensor(rng.uniform(8 + 30 * (1 - s), 45, b), dtype=torch.float32)
        shape = torch.exp(torch.tensor(rng.uniform(-2.5, 0.7, b), dtype=torch.float32)[:, None]
                          * torch.linspace(-0.5, 1, 128))
        shape = shape / shape.mean(1, keepdim=True)
        noise = (level * 10 ** (-snr / 10))[:, None, None] * shape[:, None]
        noise = noise * torch.tensor(rng.random(b) > 0.1)[:, None, None]  # now and then digital silence
        p = p + noise * -torch.log(torch.rand_like(p).clamp(min=1e-6))
        babble = rng.random(b) < 0.15 * s
        if babble.any():
            other = p[torch.tensor(rng.permutation(b))]
            k = torch.tensor(babble, dtype=torch.float32) * 10 ** (-torch.tensor(rng.uniform(12, 25, b), dtype=torch.float32) / 10)
            p = p + other * k[:, None, None]
        mel = torch.log(p.sqrt() + 1e-3)
    mel = (mel - mean) / std
    if s > 0:
        for j in range(b):
            for _ in range(2):
                w, f = int(rng.integers(0, 14)), int(rng.integers(0, 116))
                if rng.random() < 0.5 * s:
                    mel[j, :, f:f + w] = 0
            if rng.random() < 0.3 * s:
                w, f = int(rng.integers(1, 8)), int(rng.integers(0, int(lens[j])))
                mel[j, f:f + w] = 0
    mask = (torch.arange(tmax)[None] < lens[:, None]).float()
    return mel * mask[..., None], mask, lens


def batch(rng, clips, picks, strength, norm):
    """Everything one step needs, as a dict of tensors."""
    mel, mask, lens = vary(rng, clips, picks, strength, norm)
    rows = (lens + 3) // 4
    chars = [clips.rows[i]["chars"] for i in picks]
    ids, labels, first = [], [], []
    for i, n in zip(picks, rows.tolist()):
        p, a = prompt_ids(n), clips.rows[i]["answer"]
        ids.append(p + a[:-1])
        labels.append(a)
        first.append(len(p) - 1)
    s, a = max(map(len, ids)), max(map(len, labels))
    x = torch.zeros(len(picks), s, dtype=torch.long)
    where = torch.full((len(picks), s), -1)
    y = torch.full((len(picks), a), -100)
    at = torch.zeros(len(picks), a, dtype=torch.long)
    for j, (row, lab, f) in enumerate(zip(ids, labels, first)):
        u, w = layout(row)
        x[j, :len(row)], where[j, :len(row)] = u, w
        y[j, :len(lab)] = torch.tensor(lab)
        at[j, :len(lab)] = f + torch.arange(len(lab))
    said = [clips.rows[i]["words"] for i in picks]
    return {"words": torch.tensor([w for r in said for w in r]), "nwords": torch.tensor([len(r) for r in said]),
            "mel": mel, "mask": mask, "rows": rows, "chars": torch.tensor([c for r in chars for c in r]),
            "nchars": torch.tensor([len(r) for r in chars]), "ids": x, "where": where, "labels": y, "at": at}
