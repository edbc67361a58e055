"""Trains the starter: `python train.py SECONDS [--name NAME] [--batch N] [--warm FOLDER]`, resumable.

With `--warm ..` a new run starts from the committed weights: the resume point that lasts.
Curriculum: character CTC alone on clean fast voices until it catches; then CTC and decoder
together with all voices; augmentation is let in as CTC falls. The learning rate follows the share
of the time that has gone, so a run ends when its time is up. Two processes of one thread each share
a step (small products gain more from that than from two threads inside each). A checkpoint (weights, optimiser,
clock) goes to work/NAME.pt every few minutes, and a folder with the Hugging Face layout is
written by `export.py` from it.
"""

import argparse
import collections
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

import data
import sentences
import warm
from model import Starter
from tokenizer import FOLDER

WORK = Path(__file__).resolve().parents[1] / "work"
BF16 = torch.cpu._is_avx512_bf16_supported()  # without the instructions it is four times slower than f32
TALK = 0.32  # share of talk that is no command
SHARE = {"espeak": 0.2, "flite": 0.1, "festival": 0.04, "rhvoice": 0.1, "pico": 0.07, "kokoro": 0.26, "hibari": 0.42,
         "noise": 0.01}


def picks(rng, clips, n, engines, longest):
    """Clip numbers for a pool of `n`: tools and engines by share, nothing over `longest` frames."""
    tags = list(sentences.SHARE)
    p = np.array([sentences.SHARE[t] for t in tags])
    quiet = np.array([t in sentences.QUIET for t in tags])
    p = np.where(quiet, TALK * p / p[quiet].sum(), (1 - TALK) * p / p[~quiet].sum())
    drawn = {}
    for t in tags:
        # An engine with few clips must not be heard over and over.
        count = {e: len(clips.groups[e, t]) for e in engines if clips.groups.get((e, t))}
        share = {e: min(SHARE[e], 8 * c / sum(count.values())) for e, c in count.items()}
        drawn[t] = list(share), np.array(list(share.values())) / max(1e-9, sum(share.values()))
    out = []
    while len(out) < n:
        tag = str(rng.choice(tags, p=p))
        if not drawn[tag][0]:
            continue
        group = clips.groups[str(rng.choice(drawn[tag][0], p=drawn[tag][1])), tag]
        i = group[int(rng.integers(len(group)))]
        if clips.rows[i]["frames"] <= longest:
            out.append(i)
    return out


def rate(step, gone, peak, flat=0.4):
    """Learning rate: warm-up of 150 steps, flat for a share `flat` of the time, then a cosine."""
    warm = min(1.0, (step + 1) / 150)
    x = max(0.0, (gone - flat) / (1 - flat))
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, x))))


def average(net, extra, ranks, weights=False):
    """Averages gradients (or the weights) and the numbers in `extra` over the processes; gives the numbers."""
    own = [p.data if weights else p.grad if p.grad is not None else torch.zeros_like(p) for p in net.parameters()]
    flat = torch.cat([g.flatten() for g in own] + [torch.tensor(extra, dtype=torch.float32)])
    dist.all_reduce(flat)
    flat /= ranks
    at = 0
    for p, g in zip(net.parameters(), own):
        mean = flat[at:at + g.numel()].view_as(g)
        if weights:
            p.data.copy_(mean)
        else:
            p.grad = mean
        at += g.numel()
    return flat[at:].tolist()


def spelling(logits, targets, rows, counts):
    """Mean CTC loss of a symbol; where there are no words at all, that of a row instead."""
    loss = F.ctc_loss(F.log_softmax(logits.float(), -1).transpose(0, 1), targets, rows, counts, reduction="none",
                      zero_infinity=True)
    return (loss / torch.where(counts > 0, counts, rows)).mean()


def grow(old, new):
    """Optimiser state `old` for the groups of `new`, which may have more parameters at the end."""
    if [len(g["params"]) for g in old["param_groups"]] == [len(g["params"]) for g in new["param_groups"]]:
        return old
    state = {}
    for a, b in zip(old["param_groups"], new["param_groups"]):
        state.update({j: old["state"][i] for i, j in zip(a["params"], b["params"]) if i in old["state"]})
    return {"state": state, "param_groups": new["param_groups"]}


def shards():
    return data.Clips([p.with_suffix("") for p in sorted((WORK / "data").glob("*.jsonl"))])


def run(rank, args):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(args.port))
    dist.init_process_group("gloo", rank=rank, world_size=args.ranks)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    net = Starter(len(data.CHARS) + 1, len(data.WORDS) + 2)
    if args.keep_front:
        net.model.audio_tower.subsample_conv_projection.requires_grad_(False)
    decay = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}],
                            lr=args.lr, betas=(0.9, 0.98), fused=True)
    state = {"step": 0, "spent": 0.0, "ctc": 4.0, "ce": 3.0, "phase": 0, "strength": 0.0}
    clips = shards()
    path = WORK / f"{args.name}.pt"
    if path.exists():
        saved = torch.load(path, weights_only=False)
        net.load_state_dict(saved["net"], strict=False)
        opt.load_state_dict(grow(saved["opt"], opt.state_dict()))
        for g in opt.param_groups:
            g.update(fused=True, foreach=False)
        state, norm = saved["state"], saved["norm"]
    elif args.warm:
        norm = warm.start(net, args.warm, args.head)
        state |= {"phase": 1, "ctc": 0.8, "ce": 1.0, "word": 1.5, "strength": args.least}
    else:
        norm = tuple(torch.tensor(v, dtype=torch.float32) for v in data.statistics(clips))
        for v in norm:
            dist.broadcast(v, 0)
    order = np.random.default_rng(args.seed + state["step"])
    torch.manual_seed(args.seed + 1000 * rank + state["step"])
    rng = np.random.default_rng(args.seed + 1000 * (rank + 1) + state["step"])
    if rank == 0:
        count = collections.Counter({})
        for (engine, _), v in clips.groups.items():
            count[engine] += len(v)
        print(dict(count), sum(p.numel() for p in net.parameters()), flush=True)
    last = saved_at = time.time()
    pool, seen = [], []
    own = list(net.parameters())
    smooth = [p.detach().clone() for p in own]
    if path.exists() and "smooth" in saved:
        smooth = [saved["smooth"][k].clone() for k, _ in net.named_parameters()]

    def save():
        torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "state": state, "norm": norm,
                    "smooth": {k: v for (k, _), v in zip(net.named_parameters(), smooth)}},
                   str(path) + ".new")
        Path(str(path) + ".new").rename(path)

    while state["spent"] < args.seconds:
        if not pool:
            fast = ["espeak", "flite", "festival"]
            n = args.batch * args.ranks
            take = picks(order, clips, n * 12, list(SHARE) if state["phase"] > 0 else fast,
                         800 if state["phase"] > 0 else 260)
            take.sort(key=lambda i: clips.rows[i]["frames"])
            pool = [take[i:i + n] for i in range(0, len(take), n)]
            order.shuffle(pool)
        b = data.batch(rng, clips, pool.pop()[rank::args.ranks], state["strength"], norm)
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            logits, audio = net.audio(b["mel"], b["mask"])
            ctc = spelling(logits, b["chars"], b["rows"], b["nchars"])
            ce = word = torch.zeros(())
            if state["phase"] > 0:
                word = spelling(net.words(net.top), b["words"], b["rows"], b["nwords"])
                out = net.decode(audio, b["ids"], b["where"], b["at"]).float()
                ce = F.cross_entropy(out.flatten(0, 1), b["labels"].flatten(), ignore_index=-100)
        opt.zero_grad(set_to_none=True)
        (ctc + 0.5 * word + 2.0 * ce).backward()
        seen.append((float(ctc.detach()), float(ce.detach()), float(word.detach())))
        if args.apart == 1:
            average(net, [], args.ranks)
        norm2 = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if torch.isfinite(norm2):
            for g in opt.param_groups:
                g["lr"] = rate(state["step"], state["spent"] / args.seconds, args.lr, args.flat)
            opt.step()
        state["step"] += 1
        if state["step"] % args.apart:
            continue
        # Processes go their own way between these points: neither waits for the other, which counts where
        # other work takes turns on the cores.
        now, n = time.time(), len(seen)
        ctc, ce, word, spent = average(net, [*np.mean(seen, 0).tolist(), min(now - last, 60.0 * n)], args.ranks,
                                       weights=args.apart > 1)
        last, seen = now, []
        torch._foreach_lerp_(smooth, [p.data for p in own], min(0.5, args.smooth * n))
        pace = 1 - 0.97 ** n
        state["spent"] += spent
        state["ctc"] += pace * (min(ctc, 9.0) - state["ctc"])
        if state["phase"] > 0:
            state["ce"] += pace * (ce - state["ce"])
            state["word"] = state.get("word", 5.0) + pace * (word - state.get("word", 5.0))
            # Augmentation grows while CTC keeps up and steps back when it does not.
            up = 0.002 * n if state["ctc"] < args.keep else -0.002 * n
            state["strength"] = float(np.clip(state["strength"] + up, args.least, args.most))
        elif state["ctc"] < args.catch:
            state["phase"], pool = 1, []
        if rank == 0 and state["step"] % 20 == 0:
            print(f"{state['step']} {state['spent']:.0f}s phase {state['phase']} strength {state['strength']:.2f} "
                  f"ctc {state['ctc']:.3f} ce {state['ce']:.3f} word {state.get('word', 0):.3f} lr {opt.param_groups[0]['lr']:.2e} "
                  f"T {b['mel'].shape[1]} took {spent:.2f}", flush=True)
        if rank == 0 and state["step"] % args.apart == 0 and now - saved_at > args.save:
            save()
            saved_at = now
        if state["step"] % 100 == 0:
            clips, pool = shards(), []
    if rank == 0:
        save()
    dist.destroy_process_group()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("seconds", type=float)
    ap.add_argument("--name", default="run")
    ap.add_argument("--batch", type=int, default=24, help="clips of one process in a step")
    ap.add_argument("--ranks", type=int, default=2)
    ap.add_argument("--lr", type=float, default=1.2e-3)
    ap.add_argument("--flat", type=float, default=0.4, help="share of the time before the learning rate falls")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--catch", type=float, default=1.0, help="CTC at which the decoder joins")
    ap.add_argument("--keep", type=float, default=0.6, help="CTC under which augmentation grows")
    ap.add_argument("--least", type=float, default=0.3, help="augmentation once the decoder has joined")
    ap.add_argument("--most", type=float, default=0.8)
    ap.add_argument("--save", type=float, default=240)
    ap.add_argument("--apart", type=int, default=1, help="steps between averages of the weights; 1 averages gradients")
    ap.add_argument("--keep-front", action="store_true", help="leave the sub-sampling as it is: a fifth of a step")
    ap.add_argument("--smooth", type=float, default=0.003, help="pace of the running mean of the weights, a step")
    ap.add_argument("--warm", help="model folder whose weights a new run starts from (fresh optimiser)")
    ap.add_argument("--head", help="its CTC heads, when not in FOLDER/recipe")
    ap.add_argument("--port", type=int, default=29517)
    args = ap.parse_args()
    mp.spawn(run, (args,), args.ranks)


if __name__ == "__main__":
    main()
