"""The starter's small tokenizer: Gemma 4's special-token names, whole words for everything a call
can hold (this round's and later rounds' tools), single characters and bytes for all other text.

Run as a script it writes tokenizer.json, tools.json and vocabulary.json into the model folder.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

import vocab

FOLDER = Path(__file__).resolve().parents[1]
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>", "<tool|>", "<|tool_call>",
           "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>', "<|think|>",
           "<|channel>", "<channel|>", "<|turn>", "<turn|>", "<|image>", "<|image|>", "<image|>",
           "<|audio>", "<|audio|>", "<audio|>", "<|video|>"]
ID = {s: i for i, s in enumerate(SPECIAL)}
SIZE = 1024
WORDS = ["user", "model", "system", "thought", "call", "response", "declaration", "turn_on",
         "turn_off", "set_brightness", "set_timer", "cancel_timer", "timer_left", "kind", "room",
         "percent", "hours", "minutes", "seconds", "name", "true", "false", "null", "status", "ok",
         "error", "description", "parameters", "properties", "required", "type", "enum", "STRING",
         "INTEGER", "NUMBER", "OBJECT"]


def pieces():
    """Every piece in id order (the index is the id), 1,024 in all."""
    out = list(SPECIAL)
    out += [f"<0x{b:02X}>" for b in range(256)]
    out += ["\n"] + ["▁" if c == " " else c for c in map(chr, range(32, 127))]
    words = WORDS + vocab.KINDS + list(vocab.ROOMS) + list(vocab.TIMERS)
    words += [str(n) for n in range(10, 101)]
    words += vocab.LATER_TOOLS + vocab.LATER_KEYS + vocab.LATER_VALUES
    for w in words:
        w = w.replace(" ", "▁")
        if w not in out:
            out.append(w)
    if len(out) > SIZE:
        raise SystemExit(f"{len(out)} pieces do not fit {SIZE}")
    return out + [f"<unused{i}>" for i in range(SIZE - len(out))]


def build():
    """The tokenizer: Unigram with byte fallback, so that any text encodes and decodes."""
    ps = pieces()
    score = [(p, 0.0 if i < len(SPECIAL) else -20.0 if p.startswith(("<0x", "<unused"))
              else -2.0 if len(p) > 1 else -10.0) for i, p in enumerate(ps)]
    tok = Tokenizer(models.Unigram(score, unk_id=ID["<unk>"], byte_fallback=True))
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                     decoders.Fuse()])
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    return tok


def render_calls(calls):
    """The model's answer to a turn, with the stop token at its end."""
    if not calls:
        return "<turn|>"
    out = ""
    for c in calls:
        args = ",".join(f'{k}:<|"|>{v}<|"|>' if isinstance(v, str) else f"{k}:{v}"
                        for k, v in sorted(c["slots"].items(), key=lambda kv: kv[0].lower()))
        out += f"<|tool_call>call:{c['intent']}{{{args}}}<tool_call|>"
    return out + "<|tool_response>"


BEFORE = "<bos><|turn>user\n<|audio>"
AFTER = "<audio|><turn|>\n<|turn>model\n"


def tools():
    """tools.json: name, description and JSON schema of each tool."""
    kind = {"type": "string", "enum": vocab.KINDS,
            "description": "One light, a lamp, or lights = all of the room or the house"}
    room = {"type": "string", "enum": list(vocab.ROOMS), "description": "Where; left out = everywhere or here"}
    name = {"type": "string", "enum": list(vocab.TIMERS), "description": "What the timer is for"}

    def tool(n, d, props, req):
        return {"name": n, "description": d,
                "parameters": {"type": "object", "properties": props, "required": req}}
    def num(lo, hi, d):
        return {"type": "integer", "minimum": lo, "maximum": hi, "description": d}
    return [
        tool("turn_on", "Switch a light on", {"kind": kind, "room": room}, ["kind"]),
        tool("turn_off", "Switch a light off", {"kind": kind, "room": room}, ["kind"]),
        tool("set_brightness", "Set how bright a light is",
             {"kind": kind, "percent": num(0, 100, "Brightness"), "room": room}, ["kind", "percent"]),
        tool("set_timer", "Start a timer",
             {"hours": num(0, 24, "Hours"), "minutes": num(0, 100, "Minutes"),
              "seconds": num(0, 100, "Seconds"), "name": name}, []),
        tool("cancel_timer", "Cancel a timer", {"name": name}, []),
        tool("timer_left", "Say how much time a timer has left", {"name": name}, []),
    ]


def main():
    tok = build()
    tok.save(str(FOLDER / "tokenizer.json"))
    (FOLDER / "tools.json").write_text(json.dumps(tools(), indent=1) + "\n")
    (FOLDER / "vocabulary.json").write_text(json.dumps(
        {"rooms": list(vocab.ROOMS), "kinds": vocab.KINDS, "timers": list(vocab.TIMERS)}, indent=1) + "\n")
    text = BEFORE + "<|audio|><|audio|>" + AFTER + render_calls(
        [{"intent": "set_brightness", "slots": {"room": "living room", "kind": "lights", "percent": 35}}])
    enc = tok.encode(text, add_special_tokens=False)
    print(len([p for p in pieces() if not p.startswith("<unused")]), enc.tokens)
    for t in (text, "Zoë said: 12.5°, o\tk <b>", "living room light"):
        e = tok.encode(t, add_special_tokens=False)
        print(repr(tok.decode(e.ids, skip_special_tokens=False)) , tok.decode(e.ids, skip_special_tokens=False) == t, len(e.ids))


if __name__ == "__main__":
    main()
