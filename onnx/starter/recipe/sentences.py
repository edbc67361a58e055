"""Own sentence grammar: spoken commands with their calls, and talk that is no command.

A pattern is one line such as `(switch|turn) on the {light}`; alternatives stand in brackets,
slots in braces. `generate(rng, n, held_out)` draws (pattern id, words, calls). Patterns marked
with a leading `!` are never trained on: they are what the evaluation speaks.
"""

import re

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
TALK = """
i (think|guess|hope|know|said|believe) (that|) {np} {vp}
{np} {vp} (today|yesterday|again|this morning|last week|all day|every day|)
{np} {vp} because {np} {vp}
(did|do) you (see|hear about|remember|know|like) {np}
(what|how) about {np}
where (is|did you put|did they buy) {np}
(we|they|you|i) (should|could|might|have to) (buy|get|bring|visit|call|clean|paint|fix|move) {np} (tomorrow|soon|later|on monday|next week|)
(have you|has she|has he) (seen|called|met|found|fed) {np}
(my|her|his|our) (mother|father|sister|brother|friend|neighbor|boss|teacher|doctor) {vp}
there (is|was) {np} in the {place}
the {place} (is|was|looks|looked|smells) (really |so |very |pretty |) {adj}
(yes|no|well|okay|right|oh) {np} {vp}
i (turned|switched) (on|off) the (lights|lamp|light) (already|yesterday|before we left)
the (light|lamp|timer) in the {place} (was|is) (broken|new|nice|expensive|old|ugly)
the {food} (was|is|tastes|tasted) {adj}
let's (eat|cook|buy|make|order) (some |the |) {food} (tonight|tomorrow|for dinner|for lunch|)
(good morning|good night|thank you|thanks a lot|see you later|hello there|how are you|goodbye|you're welcome|bless you|excuse me|congratulations)
(what time|when) (are|did) (we|they|you) (leave|leaving|eat|eating|go|arrive)
(it's|it was) {adj} (outside|today|in here|yesterday)
(she|he) (works|lives|grew up|studied|was born) in (london|paris|the city|a small village|chicago|another country)
{num} (people|dogs|dollars|children|years|miles|books) (is|are|was) (a lot|enough|too many|not much)
it (takes|took|cost|costs) {num} (minutes|dollars|hours|percent) (to get there|every day|in the end|last time)
(can|could) you (tell|give|show|help|call|pass) (me|him|her|us) {np}
{salad}
{salad}
!(honestly|actually|by the way) {np} {vp}
!(did|does) (your|the) (mother|doctor|neighbor|teacher) (like|know|want) {np}
!(he|she) told me (that|) {np} {vp}
!we (had|ate) {food} in the {place} and it was {adj}
!who (left|put|broke) {np} in the {place}
"""
PARTS = {
    "np": """the dog|the cat|my old car|this song|that movie|the weather|a new phone|the baby|the game|
the train|the bus|the neighbors|her birthday|the party|the book|some flowers|my keys|the kids|
the big meeting|the news|a good idea|the other team|this chair|their house|the red bicycle|
his computer|our vacation|the doctor|the whole story|the door|the window|the television|the phone|
the blue shirt|a cup of coffee|the church|the mountain|an old friend|the report|the letter|music|
the plane|the market|nothing|everything|somebody|the president|the garden hose|winter|the ticket|
the photos|the answer|the horse|a glass of water|breakfast|the school|the store|money|her voice""",
    "vp": """was great|is late|looks good|broke down|never works|came home|went away|is really loud|
costs too much|makes me happy|started early|fell asleep|is on the table|was very funny|needs help|
will be fine|got lost|is waiting outside|sounds wonderful|was a surprise|can wait|is over|
has to change|did not arrive|won again|tastes better|seems strange|reminds me of you|is empty|
ran down the street|was cancelled|lost the match|hurts|grows fast|is getting cold|closed at five|
was left behind|talks all the time|moved to another town|takes forever|got stopped by the police""",
    "adj": """good|great|terrible|beautiful|cold|warm|hot|nice|boring|funny|delicious|dirty|clean|
empty|crowded|noisy|quiet|dark|bright|expensive|wonderful|strange|small|huge|messy|lovely""",
    "food": """pasta|pizza|rice|soup|bread|chicken|fish|cake|steak|salad|eggs|cookies|potatoes|
curry|noodles|cheese|apples|tea|coffee|ice cream|sandwiches|chocolate""",
    "place": """kitchen|bathroom|garage|garden|office|basement|house|car|hotel|restaurant|bedroom|
living room|attic|park|school|hallway|balcony|shop|church|hospital""",
    "salad": "",
}
SALAD = """water people number first over sound only little work know place year live back give most
very after thing our just name good sentence man think say great where help through much before line
right too mean old any same tell boy follow came want show also around form three small set put end
does another well large must big even such because turn here why ask went men read need land different
home us move try kind hand picture again change off play spell air away animal house point page letter
mother answer found study still learn should america world high every near add food between own below
country plant last school father keep tree never start city earth eye light thought head under story
saw left don't few while along might close something seem next hard open example begin life always
those both paper together got group often run important until children side feet car mile night walk
white sea began grow took river four carry state once book hear stop without second later miss idea
enough eat face watch far indian really almost let above girl sometimes mountain cut young talk soon
list song being leave family body music color stand sun question fish area mark dog horse birds problem
complete room knew since ever piece told usually friends easy heard order red door sure become top ship
across today during short better best however low hours black products happened whole measure remember
early waves reached listen wind rock space covered fast several hold himself toward five step morning
passed vowel true hundred against pattern numeral table north slowly money map farm pulled draw voice
power town fine certain fly fall lead cry dark machine note wait plan figure star box noun field rest
correct able pound done beauty drive stood contain front teach week final gave green quick develop
ocean warm free minute strong special mind behind clear tail produce fact street inch multiply nothing
course stay wheel full force blue object decide surface deep moon island foot system busy test record
boat common gold possible plane instead dry wonder laugh thousand ago ran check game shape hot brought
heat snow tire bring yes distant fill east paint language among jump queen judge quiz fox zebra vision
measure usual pleasure thick thumb think father mother church chair cheese orange bridge badge young
yellow yard use view music few huge value void noise boil joy house loud crowd shout""".split()

PRE = ["please ", "could you ", "can you ", "could you please ", "hey ", "okay ", "would you ",
       "i'd like you to ", "i want you to ", "um ", "uh ", "so ", "alright ", "would you please ",
       "can you please ", "hey can you ", "well ", "and ", "now ", "uh can you ", "you can "]
POST = [" please", " now", " thanks", " please", " for me", " right now", " thank you",
        " would you", " will you", " if you can", " for me please"]
VERBS = {"turn", "switch", "put", "make", "light", "give", "power", "activate", "enable", "shut",
         "kill", "deactivate", "disable", "set", "dim", "brighten", "bring", "lower", "raise",
         "adjust", "start", "create", "time", "count", "cancel", "stop", "delete", "remove",
         "clear", "end", "forget", "get", "check", "show", "change", "go", "tell", "drop", "add"}
FREE = ["please ", "hey ", "okay ", "um ", "uh ", "so ", "alright ", "well ", "and ", "now "]


def _lines(text, tag):
    out = []
    for i, line in enumerate(t for t in text.strip().split("\n") if t):
        out.append((f"{tag}{i}", line.lstrip("!"), line.startswith("!")))
    return out


PATTERNS = {tag: _lines(text, tag) for tag, text in
            (("on", ON), ("off", OFF), ("bright", BRIGHT), ("set", SET), ("cancel", CANCEL),
             ("left", LEFT), ("talk", TALK))}
SHARE = {"on": 0.215, "off": 0.205, "bright": 0.16, "set": 0.18, "cancel": 0.065, "left": 0.065,
         "talk": 0.11}


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


def _fill(rng, tag, text):
    """(words, calls) for one pattern."""
    slots = {}
    name = {"on": "turn_on", "off": "turn_off", "bright": "set_brightness", "set": "set_timer",
            "cancel": "cancel_timer", "left": "timer_left", "talk": None}[tag]
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
        return str(rng.choice([p.strip() for p in PARTS[key].split("|")]))

    text = re.sub(r"\{(\w+)\}", slot, text)
    text = _alternatives(rng, text)
    text = re.sub(r"\ba (?=(eight|eleven|eighteen|egg|oven|half hour)\b)", lambda m: "an " if m.group(1) != "half hour" else "a ", text)
    text = re.sub(r"\ba (?=eighty\b)", "an ", text)
    if tag != "talk":
        first = text.split()[0]
        if rng.random() < 0.33:
            text = str(rng.choice(PRE if first in VERBS else FREE)) + text
        if rng.random() < 0.22:
            text += str(rng.choice(POST))
        if rng.random() < 0.06:
            ws = text.split()
            at = int(rng.integers(1, len(ws)))
            text = " ".join(ws[:at] + [str(rng.choice(["um", "uh", "uhm"]))] + ws[at:])
    elif rng.random() < 0.15:
        text = str(rng.choice(["um ", "so ", "well ", "oh ", "hey ", "and ", "but "])) + text
    text = re.sub(r" +", " ", text).strip()
    return text, [] if name is None else [{"intent": name, "slots": slots}]


def generate(rng, n, held_out=False, tags=None, max_words=14):
    """`n` tuples (pattern id, words, calls); only held-out patterns when `held_out`."""
    out = []
    tags = tags or list(SHARE)
    p = [SHARE[t] for t in tags]
    p = [x / sum(p) for x in p]
    while len(out) < n:
        tag = str(rng.choice(tags, p=p))
        pool = [x for x in PATTERNS[tag] if x[2] == held_out]
        pid, text, _ = pool[int(rng.integers(len(pool)))]
        say, calls = _fill(rng, tag, text)
        if len(say.split()) <= max_words:
            out.append((pid, say, calls))
    return out


if __name__ == "__main__":
    import numpy as np
    for row in generate(np.random.default_rng(1), 60) + generate(np.random.default_rng(2), 15, True):
        print(row)
