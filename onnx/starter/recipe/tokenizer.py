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
    words = WORDS + vocab.LIGHTS + list(vocab.ROOMS) + list(vocab.TIMERS)
    words += [str(n) for n in range(10, 101)]
    words += vocab.LATER_TOOLS + vocab.LATER_KEYS + vocab.LATER_VALUES
    # What came after the first weights stands behind all that they knew: ids never move.
    words += vocab.SECOND
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
    def choice(values, note):
        return {"type": "string", "enum": list(values), "description": note}

    def num(lo, hi, note):
        return {"type": "integer", "minimum": lo, "maximum": hi, "description": note}

    def tool(name, note, required=(), /, **props):
        return {"name": name, "description": note, "parameters": {
            "type": "object", "properties": props, "required": list(required)}}

    room = choice(vocab.ROOMS, "Where; left out = everywhere or here")
    light = choice(vocab.LIGHTS, "One light, a lamp, or lights = all of the room or the house")
    switch = choice(vocab.LIGHTS + vocab.SWITCHED, "What; lights = all of the room or the house")
    moved = choice(vocab.MOVED, "What is opened or closed")
    timer = choice(vocab.TIMERS, "What the timer is for")
    amounts = [[a + m for m in ms for a in vocab.AMOUNTS] for ms in (vocab.MILKS, vocab.SUGARS)]
    return [
        tool("turn_on", "Switch something on", ["kind"], kind=switch, room=room),
        tool("turn_off", "Switch something off", ["kind"], kind=switch, room=room),
        tool("set_brightness", "Set how bright a light is", ["kind", "percent"], kind=light,
             percent=num(0, 100, "Brightness"), room=room),
        tool("change_brightness", "Make a light a bit brighter or darker", ["direction", "kind"],
             direction=choice(["up", "down"], "up = brighter"), kind=light, room=room),
        tool("set_color", "Set a light's colour", ["color", "kind"], color=choice(vocab.COLORS, "Colour"),
             kind=light, room=room),
        tool("open", "Open something", ["kind"], kind=moved, room=room),
        tool("close", "Close something", ["kind"], kind=moved, room=room),
        tool("set_position", "Set how far something is open", ["kind", "percent"], kind=moved,
             percent=num(0, 100, "0 = closed, 100 = open"), room=room),
        tool("lock", "Lock the front door"),
        tool("unlock", "Unlock the front door"),
        tool("set_temperature", "Set the thermostat", ["degrees"], degrees=num(5, 90, "Degrees, as said"), room=room),
        tool("change_temperature", "Make it a bit warmer or cooler", ["direction"],
             direction=choice(["warmer", "cooler"], "Which way"), room=room),
        tool("set_timer", "Start a timer", hours=num(0, 24, "Hours"), minutes=num(0, 100, "Minutes"),
             name=timer, seconds=num(0, 100, "Seconds")),
        tool("cancel_timer", "Cancel a timer", name=timer),
        tool("timer_left", "Say how much time a timer has left", name=timer),
        tool("media", "Control what is playing", ["action"],
             action=choice(["play", "pause", "next", "previous"], "What to do"), room=room),
        tool("change_volume", "Make the speaker louder or quieter", ["direction"],
             direction=choice(["louder", "quieter"], "Which way")),
        tool("set_volume", "Set the speaker's own volume", ["percent"], percent=num(0, 100, "Volume")),
        tool("get_time", "Say the time"),
        tool("get_date", "Say the date"),
        tool("vacuum", "Control the vacuum cleaner", ["action"],
             action=choice(["start", "stop", "dock"], "dock = back to its base")),
        tool("set_scene", "Set a scene", ["scene"], scene=choice(vocab.SCENES, "Which")),
        tool("set_alarm", "Set an alarm", ["hour"], day=choice(vocab.DAYS, "Left out = the next time it is that hour"),
             hour=num(0, 23, "Hour of the day; as said when neither morning nor evening was said"),
             minute=num(0, 59, "Minute; left out = 0")),
        tool("cancel_alarm", "Cancel the alarm"),
        tool("snooze", "Let the ringing alarm come again later", minutes=num(1, 60, "In how many minutes")),
        tool("get_state", "Say whether something is on, open or locked", ["kind"],
             kind=choice(vocab.KINDS, "What is asked about"), room=room),
        tool("get_temperature", "Say how warm it is", room=room),
        tool("orderDrink", "Make a coffee", coffeeDrink=choice(vocab.DRINKS, "Drink"),
             milkAmount=choice(amounts[0], "Milk, with the amount if said"),
             numberOfShots=choice(vocab.SHOTS, "Shots"), roast=choice(vocab.ROASTS, "Roast"),
             size=choice(vocab.SIZES, "Size"), sugarAmount=choice(amounts[1], "Sugar, with the amount if said")),
        tool("correct", "Do the last call over with another value", kind=choice(vocab.KINDS, "The right thing"),
             room=choice(vocab.ROOMS, "The right place"), value=num(0, 100, "The right number")),
        tool("confirm", "Yes"),
        tool("deny", "No"),
        tool("repeat", "Say it again"),
        tool("stop", "Be quiet; stop what is sounding"),
    ]


def tools_text():
    """tools.json with one line for each tool and each parameter."""
    def line(x):
        return json.dumps(x, ensure_ascii=False)
    out = []
    for t in tools():
        p = t["parameters"]
        props = ",\n".join(f"    {line(k)}: {line(v)}" for k, v in p["properties"].items())
        props = "{}" if not props else "{\n" + props + "}"
        out.append(f' {{"name": {line(t["name"])}, "description": {line(t["description"])},\n'
                   f'  "parameters": {{"type": "object", "required": {line(p["required"])}, "properties": {props}}}}}')
    return "[\n" + ",\n".join(out) + "\n]\n"


def main():
    tok = build()
    tok.save(str(FOLDER / "tokenizer.json"))
    (FOLDER / "tools.json").write_text(tools_text())
    (FOLDER / "vocabulary.json").write_text(json.dumps(
        {"rooms": list(vocab.ROOMS), "kinds": vocab.KINDS + vocab.UNNAMED, "timers": list(vocab.TIMERS)}, indent=1) + "\n")
    text = BEFORE + "<|audio|><|audio|>" + AFTER + render_calls(
        [{"intent": "set_brightness", "slots": {"room": "living room", "kind": "lights", "percent": 35}}])
    enc = tok.encode(text, add_special_tokens=False)
    print(len([p for p in pieces() if not p.startswith("<unused")]), enc.tokens)
    for t in (text, "Zoë said: 12.5°, o\tk <b>", "living room light"):
        e = tok.encode(t, add_special_tokens=False)
        print(repr(tok.decode(e.ids, skip_special_tokens=False)) , tok.decode(e.ids, skip_special_tokens=False) == t, len(e.ids))


if __name__ == "__main__":
    main()
