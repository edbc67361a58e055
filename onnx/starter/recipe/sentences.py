"""Own sentence grammar: spoken commands with their calls, and talk that is no command.

Lights and timers stand here, the rest of the home in `commands.py`, talk in `talk.py`.

A pattern is one line such as `(switch|turn) on the {light}`; alternatives stand in brackets,
slots in braces. `generate(rng, n, held_out)` draws (pattern id, words, calls). Patterns marked
with a leading `!` are never trained on: they are what the evaluation speaks.
"""

import re

import commands
from talk import HARD, NEAR, PARTS, SALAD, TALK, WIDE
from vocab import ROOMS, TIMERS, words

ON = """
(turn|switch) on {light}
(turn|switch) {light} on
!(put|get) {light} on
put on {light}
{light} on
on with {light}
make {light} (turn|go) on
let's have {light} on
i need {light} on
i need {light}
light up {room1}
give me (some|more) light {at1}
i want {light} on
!(can|could) (we|i) have {light} on
!go ahead and (switch|turn) on {light}
it's (too|so) dark {at1} (turn|switch) on the light{s1}
turn {light} back on
power on {light}
activate {light}
enable {light}
"""
OFF = """
(turn|switch) off {light}
(turn|switch) {light} off
!(get|put) {light} off
put out {light}
{light} off
shut off {light}
shut {light} off
kill {light}
off with {light}
i don't need {light} (anymore|any more)
make {light} go off
i want {light} off
lights out {at1}
!(can|could) (we|i) have {light} off
!go ahead and (switch|turn) off {light}
make it dark {at1}
turn {light} back off
power off {light}
power down {light}
deactivate {light}
disable {light}
"""
BRIGHT = """
(set|dim|brighten) {light} to {pct}
set {light} (at|down to|up to) {pct}
turn {light} (down|up) to {pct}
(dim|turn down) {light} to {pct}
put {light} (at|to|on) {pct}
{light} (to|at) {pct}
bring {light} (up|down) to {pct}
!i (want|would like) {light} at {pct}
make {light} {pct} bright
!change the brightness of {light} to {pct}
set the brightness of {light} to {pct}
brightness of {light} {pct}
make {light} {pct}
lower {light} to {pct}
raise {light} to {pct}
adjust {light} to {pct}
"""
SET = """
set a timer for {dur}
set {atimer} for {dur}
(start|make|create) a timer for {dur}
(start|make|create) {atimer} for {dur}
set a {durn} timer
(start|give me|make) a {durn} timer
set a {durn} timer for the {tn}
timer for {dur}
{tname} timer for {dur}
{durn} timer
{dur} (timer for|for) the {tn}
time the {tn} for {dur}
!(i need|i want) a timer for {dur}
!(i need|i want) {atimer} for {dur}
!set the timer for the {tn} to {dur}
put a timer on for {dur}
set the {tname} timer (to|for) {dur}
the {tn} (needs|takes|need) {dur} set a timer
count down {dur}
put {dur} on the (clock|timer)
set a timer for the {tn} for {dur}
set a timer for {dur} for the {tn}
a {durn} {tname} timer
new timer {dur}
new {tname} timer {dur}
!add a {tname} timer for {dur}
start {dur} for the {tn}
"""
CANCEL = """
(cancel|stop|delete|remove|clear|end) the {tname} timer
(cancel|stop|delete|clear|end) {thetimer}
(cancel|stop) the timer for the {tn}
turn off {thetimer}
i don't need {thetimer} (anymore|any more)
!(kill|drop) {thetimer}
forget (about|) {thetimer}
get rid of {thetimer}
!never mind {thetimer}
{thetimer} can (go|stop)
shut off {thetimer}
"""
LEFT = """
how (long|much time) is left on {thetimer}
how (long|much time|much) (does|has) {thetimer} (have|got) left
how much longer (on|for|does) {thetimer}
how much time is left for the {tn}
how long until {thetimer} (goes off|is done|ends)
!(when|when exactly) (is|will) {thetimer} (done|be done|over)
check {thetimer}
time left on {thetimer}
what's left on {thetimer}
!tell me how long {thetimer} has (left|to go)
how is {thetimer} doing
how long for the {tn}
is {thetimer} (almost|nearly) done
show me {thetimer}
how much time does the {tn} still need
remaining time (on|of|for) {thetimer}
status of {thetimer}
"""
PRE = ["please ", "could you ", "can you ", "could you please ", "hey ", "okay ", "would you ",
       "i'd like you to ", "i want you to ", "um ", "uh ", "so ", "alright ", "would you please ",
       "can you please ", "hey can you ", "do me a favor and ", "if you can ", "just ", "quickly ",
       "i need you to ", "would you mind and ", "you know what ", "oh ", "yeah ", "well ", "and ", "now ", "uh can you ", "you can "]
POST = [" please", " now", " thanks", " please", " for me", " right now", " thank you",
        " would you", " will you", " if you can", " for me please"]
VERBS = {"turn", "switch", "put", "make", "light", "give", "power", "activate", "enable", "shut",
         "kill", "deactivate", "disable", "set", "dim", "brighten", "bring", "lower", "raise",
         "adjust", "start", "create", "time", "count", "cancel", "stop", "delete", "remove",
         "clear", "end", "open", "close", "lock", "unlock", "play", "pause", "skip", "wake", "snooze", "color",
         "send", "dock", "run", "pull", "heat", "cool", "warm", "increase", "decrease", "forget", "get", "check", "show", "change", "go", "tell", "drop", "add"}
FREE = ["please ", "hey ", "okay ", "um ", "uh ", "so ", "alright ", "well ", "and ", "now "]


def _lines(text, tag):
    out = []
    for i, line in enumerate(t for t in text.strip().split("\n") if t):
        out.append((f"{tag}{i}", line.lstrip("!"), line.startswith("!"), None))
    return out


PATTERNS = {tag: _lines(text, tag) for tag, text in
            (("on", ON), ("off", OFF), ("bright", BRIGHT), ("set", SET), ("cancel", CANCEL),
             ("left", LEFT), ("talk", TALK), ("near", NEAR), ("wide", WIDE), ("hard", HARD))}
PATTERNS |= {tag: commands.lines(text, tag) for tag, text in commands.GROUPS.items()}
# All tools. `coffee` and `two` (two actions in one sentence) have no lines of their own.
SHARE = {"on": 0.07, "off": 0.065, "bright": 0.05, "set": 0.07, "cancel": 0.025, "left": 0.025, "thing": 0.055,
         "step": 0.035, "color": 0.05, "move": 0.055, "lock": 0.015, "climate": 0.07, "media": 0.075, "clock": 0.07,
         "alarm": 0.075, "state": 0.045, "turn": 0.075, "coffee": 0.16, "two": 0.055, "talk": 0.02, "near": 0.04,
         "wide": 0.04, "hard": 0.06, "noise": 0.01}
QUIET = ("talk", "near", "wide", "hard", "noise")
BARE = ("turn", "coffee")  # not dressed with politeness, or by themselves


def _alternatives(rng, text):
    while True:
        m = re.search(r"\(([^()]*)\)", text)
        if not m:
            return text
        text = text[:m.start()] + str(rng.choice(m.group(1).split("|"))) + text[m.end():]


def _light(rng, slots):
    """A noun phrase for lights; fills kind and room in `slots`."""
    r = rng.random()
    if r < 0.14:
        kind = str(rng.choice(["light", "lights", "lights", "lamp"]))
        slots["kind"] = kind
        if kind == "lights":
            return str(rng.choice(["the lights", "all the lights", "all lights", "the lights", "lights",
                                   "every light", "all of the lights"]))
        return f"the {kind}"
    room = str(rng.choice(list(ROOMS)))
    spoken, preps = ROOMS[room]
    say, prep = str(rng.choice(spoken)), str(rng.choice(preps))
    kind = str(rng.choice(["light", "lamp", "lights"], p=[0.42, 0.2, 0.38]))
    slots["kind"], slots["room"] = kind, room
    r = rng.random()
    if prep == "":
        return str(rng.choice([f"the {say} {kind}", f"the {kind} {say}", f"{say} {kind}"]))
    allw = "all the " if kind == "lights" and rng.random() < 0.2 else "the "
    if r < 0.45:
        return f"{allw}{say} {kind}"
    if r < 0.52:
        return f"{say} {kind}"
    return f"{allw}{kind} {prep} {say}"


def _pct(rng):
    r = rng.random()
    if r < 0.05:
        return str(rng.choice(["half", "fifty"])), 50
    if r < 0.09:
        return str(rng.choice(["full brightness", "maximum", "full", "a hundred percent",
                               "one hundred percent"])), 100
    n = int(rng.choice([10, 20, 30, 40, 50, 60, 70, 80, 90])) if r < 0.5 else (
        int(rng.integers(1, 20)) * 5 if r < 0.7 else int(rng.integers(1, 100)))
    return words(n) + str(rng.choice([" percent", " percent", " percent", ""])), n


def _plural(n, unit):
    return unit if n == 1 else unit + "s"


def _duration(rng, slots, noun):
    """A duration; `noun` gives the form before "timer" ("ten minute")."""
    r = rng.random()
    def put(h=0, m=0, s=0):
        for key, val in (("hours", h), ("minutes", m), ("seconds", s)):
            if val:
                slots[key] = val
    def unit(n, u):
        say = words(n)
        if n == 1:
            say = str(rng.choice(["one", "a" if u != "hour" else "an"])) if not noun else "one"
        return say + " " + (u if noun else _plural(n, u))
    if r < 0.64:
        n = int(rng.integers(1, 21)) if rng.random() < 0.5 else (
            int(rng.integers(1, 13)) * 5 if rng.random() < 0.5 else int(rng.integers(1, 100)))
        put(m=n)
        return unit(n, "minute")
    if r < 0.76:
        n = int(rng.integers(1, 10)) * 10 if rng.random() < 0.6 else int(rng.integers(5, 100))
        put(s=n)
        return unit(n, "second")
    if r < 0.84:
        n = int(rng.integers(1, 13))
        put(h=n)
        return unit(n, "hour")
    if r < 0.88:
        n = int(rng.integers(1, 10))
        if rng.random() < 0.5:
            put(m=n, s=30)
            return ("a minute and a half" if n == 1 and not noun else words(n) + " and a half " +
                    ("minute" if noun else "minutes"))
        put(h=n, m=30)
        return ("an hour and a half" if n == 1 and not noun else words(n) + " and a half " +
                ("hour" if noun else "hours"))
    if r < 0.91:
        put(m=30)
        return "half hour" if noun else str(rng.choice(["half an hour", "a half hour"]))
    if noun:
        n = int(rng.integers(1, 61))
        put(m=n)
        return unit(n, "minute")
    if r < 0.955:
        h, m = int(rng.integers(1, 5)), int(rng.integers(1, 12)) * 5
        put(h=h, m=m)
        return unit(h, "hour") + " and " + unit(m, "minute")
    m, s = int(rng.integers(1, 20)), int(rng.integers(1, 12)) * 5
    put(m=m, s=s)
    return unit(m, "minute") + " and " + unit(s, "second")


def two(rng, held):
    """Two actions in one sentence."""
    r, slots = rng.random(), ({}, {})
    if r < 0.3:
        # One verb, two things.
        verb, name = commands.pick(rng, [("turn on", "turn_on"), ("switch on", "turn_on"), ("turn off", "turn_off"),
                                         ("switch off", "turn_off")])
        things = [_light(rng, s) if rng.random() < 0.6 else commands.noun(rng, s, commands.SWITCHED) for s in slots]
        text = f"{verb} {things[0]} and {things[1]}"
        calls = [{"intent": name, "slots": s} for s in slots]
    else:
        tags = ["on", "off", "bright", "set", "thing", "color", "move", "lock", "climate", "media", "clock", "step"]
        parts = []
        while len(parts) < 2:
            tag = commands.pick(rng, tags)
            _, line, out, fixed = commands.pick(rng, [x for x in PATTERNS[tag] if x[2] == (held and not parts)])
            text, calls = _fill(rng, tag, line, fixed, held, plain=True)
            if len(text.split()) <= 8:
                parts.append((text, calls))
        text = parts[0][0] + commands.pick(rng, [" and ", " and ", " and then ", " then ", " and also "]) + parts[1][0]
        calls = parts[0][1] + parts[1][1]
    return dress(rng, "two", text), calls


def dress(rng, tag, text):
    """Politeness and hesitations around a sentence."""
    text = re.sub(r" +", " ", text).strip()
    if tag in QUIET:
        if rng.random() < 0.15:
            text = str(rng.choice(["um ", "so ", "well ", "oh ", "hey ", "and ", "but "])) + text
        return text
    first = text.split()[0]
    bare = tag in BARE
    if rng.random() < (0.12 if bare else 0.3):
        text = str(rng.choice(PRE if first in VERBS and not bare else FREE)) + text
    if rng.random() < (0.0 if tag == "turn" else 0.15 if bare else 0.2):
        text += str(rng.choice([" please", " please", " thanks"] if bare else POST))
    if rng.random() < 0.06 and tag != "turn":
        ws = text.split()
        at = int(rng.integers(1, len(ws))) if len(ws) > 1 else 0
        text = " ".join(ws[:at] + [str(rng.choice(["um", "uh", "uhm"]))] + ws[at:])
    return text


def _fill(rng, tag, text, fixed=None, held=False, plain=False):
    """(words, calls) for one pattern; `plain` leaves politeness and hesitations out."""
    slots = {}
    if tag == "coffee":
        text, slots = commands.coffee(rng, held)
        return dress(rng, tag, text), [{"intent": "orderDrink", "slots": slots}]
    if tag == "two":
        return two(rng, held)
    name, fixed = fixed or (None, {})
    slots.update(fixed)
    name = name or {"on": "turn_on", "off": "turn_off", "bright": "set_brightness", "set": "set_timer",
            "cancel": "cancel_timer", "left": "timer_left", "talk": None, "near": None, "wide": None, "hard": None}[tag]
    timer = str(rng.choice(list(TIMERS)))

    def slot(m):
        key = m.group(1)
        if key == "light":
            return _light(rng, slots)
        if key in ("at1", "room1"):
            room = str(rng.choice([r for r in ROOMS if ROOMS[r][1][0] in ("in the", "on the")]))
            spoken, preps = ROOMS[room]
            slots["room"], slots["kind"] = room, "lights"
            if "the light{s1}" in text or "some" in text:
                slots["kind"] = "lights"
            say = str(rng.choice(spoken))
            return ("the " + say) if key == "room1" else f"{preps[0]} {say}"
        if key == "s1":
            return "s"
        if key == "pct":
            say, slots["percent"] = _pct(rng)
            return say
        if key in ("dur", "durn"):
            return _duration(rng, slots, key == "durn")
        if key == "tname":
            slots["name"] = timer
            return TIMERS[timer][0]
        if key == "tn":
            slots["name"] = timer
            return str(rng.choice(TIMERS[timer]))
        if key == "atimer":
            slots["name"] = timer
            return ("an " if timer[0] in "aeiou" else "a ") + timer + " timer"
        if key == "thetimer":
            if rng.random() < 0.3:
                return str(rng.choice(["the timer", "my timer", "the timer"]))
            slots["name"] = timer
            say = str(rng.choice(TIMERS[timer]))
            return str(rng.choice([f"the {timer} timer", f"the {timer} timer", f"my {timer} timer",
                                   f"the timer for the {say}"]))
        if key == "num":
            return words(int(rng.integers(2, 100)))
        if key == "salad":
            k = int(rng.integers(2, 7))
            return " ".join(str(w) for w in rng.choice(SALAD, k))
        if key in PARTS:
            return str(rng.choice([p.strip() for p in PARTS[key].split("|")]))
        return commands.slot(rng, slots, key, _light, _pct)

    text = re.sub(r"\{(\w+)\}", slot, text)
    text = _alternatives(rng, text)
    text = re.sub(r"\ba (?=(eight|eleven|eighteen|egg|oven|half hour)\b)", lambda m: "an " if m.group(1) != "half hour" else "a ", text)
    text = re.sub(r"\ba (?=eighty\b)", "an ", text)
    if tag == "turn" and rng.random() < 0.1:
        text += " please"
    if not plain:
        text = dress(rng, tag, text)
    text = re.sub(r" +", " ", text).strip()
    return text, [] if name is None else [{"intent": name, "slots": slots}]


def generate(rng, n, held_out=False, tags=None, max_words=14):
    """`n` tuples (pattern id, words, calls); only held-out patterns when `held_out`."""
    out = []
    tags = tags or list(SHARE)
    # Sounds have no words, and some kinds have no pattern held out.
    tags = [t for t in tags if t != "noise" and (t not in PATTERNS or any(x[2] == held_out for x in PATTERNS[t]))]
    p = [SHARE[t] for t in tags]
    p = [x / sum(p) for x in p]
    while len(out) < n:
        tag = str(rng.choice(tags, p=p))
        pool = [x for x in PATTERNS.get(tag, [(tag, "", held_out, None)]) if x[2] == held_out]
        pid, text, _, fixed = pool[int(rng.integers(len(pool)))]
        say, calls = _fill(rng, tag, text, fixed, held_out)
        if len(say.split()) <= max_words + (8 if tag in ("coffee", "two") else 0):
            out.append((pid, say, calls))
    return out


if __name__ == "__main__":
    import numpy as np
    for row in generate(np.random.default_rng(1), 60) + generate(np.random.default_rng(2), 15, True):
        print(row)
