"""Speaks what the heads are trained and measured on: wake words, and talk that is none of them.

    python onnx/wake/speak.py --work target/wake --engine espeak --what "computer" --n 600 --seed 1
    python onnx/wake/speak.py --work target/wake --engine joe --what talk --n 2000 --seed 9 --held

Writes WORK/sound/NAME.i16 (16 kHz, one clip after another) and NAME.jsonl (start, samples, text, voice, kind); both grow as
clips are made, so that a run may be cut short. The engines are those of `onnx/starter/recipe/voices.py`: espeak-ng, flite,
festival, Kokoro (from STARTER_WORK, see `fetch.sh` there) and hibari, made into many speakers (none is held: it is kin to
Kokoro's af_heart); `joe` is the Piper voice of the configuration. With `--held` the voices are ones that no training clip
has, and so are the sentences.
"""

import argparse, hashlib, json, pydoc_data.topics, re, subprocess, sys
from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "starter" / "recipe"
sys.path.insert(0, str(RECIPE))
import voices  # noqa: E402

RATE = 16000
JOE = HERE.parents[1] / ".local/voice/en_US-joe-medium.onnx"
# What sounds like the words and is not; more is found by its phonemes (`near`).
CURATED = {
    "computer": """commuter; compute; computing; computed; come here; commute; come put her coat; recruiter; tutor; community;
competitor; compete; scooter; more pewter; pewter; computation; compact; comparing; future; suitor; Jupiter; commuters; come
to her; can you put her; complete her; can do the; the pewter; polluter; disputer; neuter; shooter; router; come pick her up;
a mutant; accuser; confuser; compressor; compute a; commute her""",
    "jarvis": """jar; jarring; a jar of ice; java is; harvest; drivers; service; Travis; Davis; Charles; jars of jam; carvings;
job is done; jaw; garden; nervous; jury; just this; charms; Jeff is; starving; marvellous; Jarrett; jarred; jar this; chart
his; charges; large ice; a large iced; large this; darkest; dark roast; Jordan; John is; charge us; chai is; hard ice; carve
this; Jar Jar; jargon; jasmine; java; giant; shot of this; drive us; target; large espresso; george is; jealous; java script""",
    "stop": """top; stopper; step; stock; shop; stuff; start; spot; star; store; stand; still; stomp; stab; stoop; stump; drop;
swap; chop; hop; the top; us top; its top; laptop; desktop; on top; rooftop; stalk; stack; stick; staff; slop; storm; a
sloppy; nest up; best off; just off; stove; stove top; pop; strap; strip; step up; starting; standard; story; study; Scott;
stops; photo op; shot; soft; sop; scope; stone; state""",
    "hey hearth": """hey; hearth; heart; hey heart; hey Arthur; they heard; a hearth; hay bath; her hearth; hay path; hey half; hey
hard; hey you; hey there; hey mark; say heart; the heart; hey Martha; hey half of; hay cart; hey art; the hearth; day out; may
hurt; a hard; okay half; way harder; hey hark; hearts; earth; hey earth; pay half; hey google; hey Siri; hey Jarvis""",
}
ORDER = [["can i get", "can i have", "i want", "get me", "give me", "i'd like", "make me", "may i have", "brew"],
         ["a small", "a medium", "a large", "an eight ounce", "a twelve ounce", "a sixteen ounce", "a twenty ounce", "a"],
         ["", "light roast", "medium roast", "dark roast"], ["", "single shot", "double shot", "triple shot"],
         ["americano", "cappuccino", "espresso", "latte", "mocha", "iced mocha", "coffee", "drip coffee", "house coffee",
          "iced coffee"],
         ["", "with a little bit of milk", "with some cream", "with skim milk", "with lots of whole milk",
          "with soy milk", "with almond milk", "with a lot of milk"],
         ["", "and some sugar", "and a bit of brown sugar", "with sweetener", "and lots of sugar"]]
CARRIERS = ["{}", "{}", "{}", "i said {}", "the {} is here", "is that {}", "they call it {}", "{} and {}", "no, {}",
            "what about {}", "{}, {}", "we saw {} again", "give me the {}", "my {} was late"]


def held_text(text):
    """One sentence in five, for ever the same ones, is for measuring."""
    return int(hashlib.sha256(text.lower().encode()).hexdigest(), 16) % 5 == 0


@cache
def prose():
    """Sentences of Python's manual."""
    text = re.sub(r"[^A-Za-z,. ]+", " ", " ".join(pydoc_data.topics.topics.values()))
    sentences = [" ".join(s.split()) for s in text.split(". ")]
    return [s for s in sentences if 30 < len(s) < 160]


@cache
def vocabulary():
    """English words (Debian's wamerican), and those of the home."""
    file = Path("/usr/share/dict/american-english")
    if not file.exists():
        sys.exit(f"{file} is missing: install Debian's package wamerican")
    words = {w for w in file.read_text().split() if re.fullmatch("[a-z]{3,11}", w)}
    return sorted(words | set((RECIPE / "words.txt").read_text().split()))


def phonemes(texts):
    """IPA letters of each text, without stress."""
    said = subprocess.run(["espeak-ng", "-q", "--ipa", "-v", "en-us"], input="\n".join(t + " ." for t in texts), text=True,
                          capture_output=True, check=True).stdout
    return [re.sub("[ˈˌː ]", "", line) for line in said.strip().split("\n")]


def distance(a, b):
    """Edit distance of `a` to the nearest piece of `b`, and a little for what else `b` says."""
    row = [0] * (len(b) + 1)
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(previous + (x != y), row[j] + 1, row[j - 1] + 1)
    return min(row) + 0.15 * max(0, len(b) - len(a))


@cache
def near(word, work, n=150):
    """What sounds like a word: the nearest of the vocabulary by phonemes, pieces of it, and the list above."""
    kept = work / f"near-{word.replace(' ', '_')}.json"
    if not kept.exists():
        pool = [w for w in vocabulary() if not forbidden([word]).search(w)]
        said = phonemes([word] + pool)
        assert len(said) == len(pool) + 1, "a line of phonemes for every word"
        order = sorted(range(len(pool)), key=lambda i: distance(said[0], said[i + 1]))
        kept.write_text(json.dumps([pool[i] for i in order[:n]]))
    parts = word.split() if " " in word else []
    curated = [" ".join(t.split()) for t in CURATED.get(word, "").split(";") if t.strip()]
    return [w for w in json.loads(kept.read_text()) if not forbidden([word]).search(w)] + parts * 3 + curated * 3


def forbidden(words):
    """A text that says one of the words, also within another, is no talk."""
    return re.compile("|".join(w.replace(" ", r"\W+") for w in words), re.I)


def texts(rng, words, held, shares, work):
    """Talk without end, (kind, text)."""
    import sentences
    bad = forbidden(words)
    kinds, weights = zip(*shares.items())
    while True:
        kind = str(rng.choice(kinds, p=np.array(weights) / sum(weights)))
        if kind == "near":
            pool = near(str(rng.choice(words)), work)
            pick = lambda: str(rng.choice(pool))
            text = ", ".join(str(rng.choice(CARRIERS)).format(pick(), pick()) for _ in range(rng.integers(1, 4)))
        elif kind == "order":
            text = " ".join(" ".join(str(rng.choice(part)) for part in ORDER).split())
        elif kind == "salad":
            text = " ".join(rng.choice(vocabulary(), rng.integers(4, 10)))
        elif kind == "home":
            text = sentences.generate(rng, 1)[0][1]
        else:
            text = str(rng.choice(prose()))
        if not bad.search(text) and held_text(text) == held:
            yield kind, text


def word_texts(rng, word):
    """A word alone, in several tones."""
    while True:
        w = word.capitalize() if rng.random() < 0.5 else word
        yield "word", w + str(rng.choice([".", "!", "?", ",", ""]))


def speakers(rng, engine, held):
    """A function text -> (samples, voice), with another voice each time."""
    which = "all" if held else None
    if engine == "kokoro":
        kokoro = voices.Kokoro()

        def say(text):
            s = voices.kokoro_settings(rng, kokoro, which)
            return kokoro.say(text, **s), "kokoro/" + "+".join(v for v, _ in s["mixture"])
    elif engine == "hibari":
        if held:
            raise SystemExit("hibari has no voice that is held out")
        hibari = voices.Hibari()

        def say(text):
            s = voices.hibari_settings(rng)
            return hibari.say(text, **s), f"hibari/{s['pitch']:.2f}"
    elif engine == "joe":
        piper = voices.Piper(JOE)

        def say(text):
            return piper.say(text, float(rng.uniform(0.8, 1.25))), "piper/joe"
    elif engine == "espeak":
        def say(text):
            s = voices.espeak_settings(rng, which)
            return voices.espeak(text, **s), "espeak/" + s["voice"]
    else:
        def say(text):
            s = voices.flite_settings(rng, which)
            return voices.flite(text, **s), "flite/" + s["voice"]
    return say


def spoken(rng, engine, held, lines):
    """(kind, text, samples, voice) of each line."""
    if engine != "festival":
        say = speakers(rng, engine, held)
        for kind, text in lines:
            yield kind, text, *say(text)
        return
    while batch := [line for _, line in zip(range(40), lines)]:
        voice, stretch = str(rng.choice(voices.FESTIVAL)), float(rng.uniform(0.8, 1.25))
        for (kind, text), x in zip(batch, voices.festival_many([t for _, t in batch], voice, stretch)):
            yield kind, text, x, "festival/" + voice


def trimmed(x, keep=0.03):
    """Without the silence around it."""
    loud = np.flatnonzero(np.abs(x) > 0.01 * np.abs(x).max())
    k = int(keep * RATE)
    return x[max(0, loud[0] - k) : loud[-1] + k]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--engine", required=True, choices=["espeak", "flite", "festival", "kokoro", "hibari", "joe"])
    parser.add_argument("--what", required=True, help="a word, or `talk`")
    parser.add_argument("--words", default="computer,jarvis,stop", help="what talk must not say, and is near to")
    parser.add_argument("--shares", default="near:5,salad:2,prose:2,home:1,order:1")
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--held", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    shares = {k: float(v) for k, v in (s.split(":") for s in args.shares.split(","))}
    talk = args.what == "talk"
    lines = texts(rng, args.words.split(","), args.held, shares, args.work) if talk else word_texts(rng, args.what)
    name = f"{args.what.replace(' ', '_')}-{args.engine}-{args.seed}{'-held' if args.held else ''}"
    (args.work / "sound").mkdir(parents=True, exist_ok=True)
    start = made = 0
    out = args.work / "sound" / name
    with open(f"{out}.i16", "wb") as sound, open(f"{out}.jsonl", "w") as index:
        for kind, text, x, voice in spoken(rng, args.engine, args.held, lines):
            if x is not None and len(x) > 1600 and np.abs(x).max() > 1e-3:
                x = trimmed(x)
                x = (x / np.abs(x).max() * 16384).astype("<i2")
                sound.write(x.tobytes())
                index.write(json.dumps({"start": start, "samples": len(x), "text": text, "voice": voice, "kind": kind}) + "\n")
                sound.flush()
                index.flush()
                start += len(x)
            made += 1
            if made >= args.n:
                break
    print(name, made, "clips", round(start / RATE / 3600, 3), "h", flush=True)


if __name__ == "__main__":
    main()
