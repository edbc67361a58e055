"""Figures by tool and voice: `python tally.py SET REPORT`, where REPORT is what `hearth eval SET --json` printed.

Counts the clips of each tool (the first call's) that are right; the report has the rest.
"""

import collections
import json
import re
import sys
from pathlib import Path


def main():
    folder, report = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    labels = json.loads((folder / "labels.json").read_text())
    voices = json.loads((folder / "voices.json").read_text()) if (folder / "voices.json").exists() else {}
    missed = {m["file"] for m in report["misses"]}
    tally = collections.defaultdict(lambda: [0, 0])
    for name, label in labels.items():
        calls = label["calls"] if "calls" in label else [label]
        tools = [c["intent"] for c in calls]
        keys = ["two actions" if len(tools) == 2 else "tool " + (tools[0] if tools else "none")]
        if name in voices:
            voice = voices[name]["voice"]
            keys.append("voice " + (re.sub(r".*\+", "espeak-ng ", voice) if voice.startswith("espeak") else
                                    re.split(":", voice)[0]))
        for key in keys:
            tally[key][0] += 1
            tally[key][1] += name not in missed
    for key, (n, right) in sorted(tally.items()):
        print(f"| {key} | {n} | {100 * right / n:.1f} % |")


if __name__ == "__main__":
    main()
