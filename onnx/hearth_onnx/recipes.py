"""Recipe files: a precision for every part of a model, under a name (``recipes/NAME.json``)."""

import json
from dataclasses import dataclass
from pathlib import Path

from .precision import PARTS, Precision, parse_parts

FILES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Stored:
    """One recipe file."""

    name: str
    about: str
    precision: dict[str, Precision]


def names() -> list[str]:
    """All recipes there are."""
    return sorted(path.stem for path in FILES.glob("*.json"))


def load(name: str) -> Stored:
    """The recipe of that name; raises ``ValueError`` with a sentence otherwise."""
    if name not in names():
        raise ValueError(f"recipe {name!r}: there are {', '.join(names())}")
    try:
        return parse(name, json.loads((FILES / f"{name}.json").read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"recipe {name}: no JSON: {error}") from None


def parse(name: str, value) -> Stored:
    """Checks that ``value`` has a line ``about`` and a precision for every part, and nothing else."""
    wanted = ("about", *PARTS)
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError(f"recipe {name}: must be an object of {', '.join(wanted)}, each a string")
    missing = [key for key in wanted if key not in value]
    unknown = [key for key in value if key not in wanted]
    if missing or unknown:
        wrong = [f"{key} is missing" for key in missing] + [f"{key} is unknown" for key in unknown]
        raise ValueError(f"recipe {name}: {', '.join(wrong)}; the parts are {', '.join(PARTS)}")
    try:
        return Stored(name, value["about"], {part: Precision.parse(value[part]) for part in PARTS})
    except ValueError as error:
        raise ValueError(f"recipe {name}: {error}") from None


def precision_of(text: str) -> dict[str, Precision]:
    """A recipe's name, or what :func:`parse_parts` reads."""
    if text in names():
        return load(text).precision
    try:
        return parse_parts(text)
    except ValueError as error:
        raise ValueError(f"{error}; the recipes are {', '.join(names())}") from None
