"""The command line: ``python -m hearth_onnx COMMAND --help``."""

import argparse
import json
import resource
import time
from pathlib import Path

from . import config as configs
from .fixtures import write_fixtures
from .folder import FLAGS, Recipe, build
from .lookalike import VARIANTS, build_lookalike
from .recipes import load, names, precision_of
from .weights import open_weights

COPIED = ("tokenizer.json", "tools.json", "processor_config.json", "generation_config.json")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0, or 1 with the reason printed."""
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        options.run(options)
    except (ValueError, KeyError, OSError) as error:
        print(f"hearth_onnx: {error}")
        return 1
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"done in {time.monotonic() - started:.1f} s, {peak_mb:.0f} MB of memory at most")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hearth_onnx", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    _build_command(commands)
    _lookalike_command(commands)

    adopt = commands.add_parser("adopt", help="write our graphs into a published folder, over its weights")
    adopt.add_argument("folder", type=Path)
    adopt.add_argument("--max-context", type=int, default=4096, help="rows of KV and cos/sin")
    adopt.add_argument(
        "--level", choices=("4", "0", "keep"), default="4", help="of MatMulNBits; keep: as published"
    )
    adopt.add_argument("--no-check", action="store_true", help="do not run both and compare")
    adopt.set_defaults(run=_adopt)

    checkpoint = commands.add_parser("checkpoint", help="random weights as a sharded checkpoint, full size")
    checkpoint.add_argument("--config", required=True, help="preset, config.json or folder")
    checkpoint.add_argument("--seed", type=int, default=1)
    checkpoint.add_argument("--shard-gb", type=float, default=5.0)
    checkpoint.add_argument("--out", type=Path, required=True)
    checkpoint.set_defaults(run=_checkpoint)

    errors = commands.add_parser("errors", help="what rounding costs each part under each recipe")
    errors.add_argument("--config", help="preset, config.json or folder (default: the hf: folder's)")
    errors.add_argument("--weights", required=True, help="random:SEED, normal:SEED or hf:FOLDER")
    errors.add_argument("--recipe", nargs="+", choices=names(), default=names(), help="default: all")
    errors.set_defaults(run=_errors)

    compare = commands.add_parser("compare", help="what each recipe changes in a trained model that hears")
    compare.add_argument("--model", type=Path, default=Path("onnx/starter"), help="folder with weights and manifest")
    compare.add_argument("--clips", type=Path, help="folder of WAV or FLAC (default: the model's samples)")
    compare.add_argument("--limit", type=int, default=150, help="so many of them")
    compare.add_argument("--hearth", type=Path, default=Path("target/release/hearth"), help="the binary")
    compare.add_argument("--recipe", nargs="+", choices=names(), default=names(), help="default: all")
    compare.set_defaults(run=_compare)

    fixtures = commands.add_parser("fixtures", help="every folder that the Rust tests read")
    fixtures.add_argument("--out", type=Path, required=True)
    fixtures.set_defaults(run=_fixtures)

    selftest = commands.add_parser("selftest", help="equalities that need no torch")
    selftest.set_defaults(run=_selftest)

    parity = commands.add_parser("parity", help="compare with transformers (needs torch)")
    parity.add_argument("--json", type=Path, help="also write the measured errors there")
    parity.set_defaults(run=_parity)

    goldens = commands.add_parser("goldens", help="write the goldens (needs torch)")
    goldens.add_argument("--out", type=Path, required=True)
    goldens.set_defaults(run=_goldens)
    return parser


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", help="preset, config.json or folder (default: the hf: folder's)")
    command.add_argument("--weights", required=True, help="random:SEED, normal:SEED or hf:FOLDER")
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--name", help="default: the folder's name")
    command.add_argument("--max-context", type=int, default=1024, help="rows of KV and cos/sin")
    command.add_argument(
        "--precision",
        default="q8b32a4",
        help=f"fp32, q8b32a4, decoder=q4b32a4,head=...,q8b32a4 or a recipe: {', '.join(names())}",
    )
    for name in COPIED:
        flag = "--" + name.removesuffix(".json").replace("_", "-")
        command.add_argument(flag, type=Path, dest=name, help=f"file to copy as {name}")


def _build_command(commands) -> None:
    command = commands.add_parser("build", help="write a model folder")
    _common(command)
    command.add_argument("--layout", choices=("split", "merged"), default="split")
    command.add_argument("--kv", choices=("in_place", "concat"), help="default: by the layout")
    command.add_argument("--source", default="", help="where the weights came from, in words")
    command.add_argument("--vocabulary", type=Path, help="JSON object for the manifest")
    command.add_argument(
        "--quiet-bias", type=float, default=0.0, help="added to the logits of an answer without a call"
    )
    command.add_argument("--min-margin", type=float, help="calls of which it is less sure are asked back")
    command.add_argument("--notes", type=Path, help="JSON object for the manifest's recipe")
    for flag in FLAGS:
        command.add_argument(f"--{flag.replace('_', '-')}", action="store_true")
    command.set_defaults(run=_build)


def _lookalike_command(commands) -> None:
    command = commands.add_parser("lookalike", help="write a folder shaped like the published ones")
    _common(command)
    command.add_argument("--variant", choices=list(VARIANTS), default="q4")
    command.set_defaults(run=_lookalike)


def _checkpoint_folder(options: argparse.Namespace) -> Path | None:
    """The folder of ``hf:`` weights."""
    if options.weights.startswith("hf:"):
        return Path(options.weights[3:])
    if options.config is None:
        raise ValueError("--config is needed with random weights")
    return None


def _recipe(options: argparse.Namespace, **more) -> Recipe:
    """The recipe of the common options; files of an ``hf:`` folder are taken over."""
    checkpoint = _checkpoint_folder(options)
    copies = {}
    for name in COPIED:
        path = getattr(options, name)
        if path is None and checkpoint is not None and (checkpoint / name).exists():
            path = checkpoint / name
        if path is not None:
            copies[name] = path
    return Recipe(
        config=configs.load(options.config or str(checkpoint)),
        weights=open_weights(options.weights),
        name=options.name or options.out.name,
        precision=precision_of(options.precision),
        max_context=options.max_context,
        copies=copies,
        **more,
    )


def _build(options: argparse.Namespace) -> None:
    read = lambda path: json.loads(path.read_text()) if path else None  # noqa: E731
    recipe = _recipe(
        options,
        layout=options.layout,
        kv=options.kv or ("in_place" if options.layout == "split" else "concat"),
        source=options.source,
        flags={flag: getattr(options, flag) for flag in FLAGS},
        vocabulary=read(options.vocabulary),
        quiet_bias=options.quiet_bias,
        min_margin=options.min_margin,
        notes=({"name": options.precision} if options.precision in names() else {}) | (read(options.notes) or {}),
    )
    build(recipe, options.out)
    total = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {total / 1e6:.1f} MB")


def _lookalike(options: argparse.Namespace) -> None:
    build_lookalike(_recipe(options, layout="merged"), VARIANTS[options.variant], options.out)


def _errors(options: argparse.Namespace) -> None:
    from .errors import run

    config = configs.load(options.config or str(_checkpoint_folder(options)))
    run(config, open_weights(options.weights), [load(name) for name in options.recipe])


def _compare(options: argparse.Namespace) -> None:
    from .compare import run

    clips = options.clips or options.model / "samples"
    run(options.model, clips, options.limit, options.hearth, [load(name) for name in options.recipe])


def _checkpoint(options: argparse.Namespace) -> None:
    from .checkpoint import write_checkpoint

    shard_bytes = int(options.shard_gb * 1e9)
    print("\n".join(write_checkpoint(configs.load(options.config), options.out, options.seed, shard_bytes)))


def _adopt(options: argparse.Namespace) -> None:
    from .adopt import adopt

    level = None if options.level == "keep" else int(options.level)
    print("\n".join(adopt(options.folder, options.max_context, level, not options.no_check)))


def _fixtures(options: argparse.Namespace) -> None:
    print("\n".join(write_fixtures(options.out)))


def _selftest(_: argparse.Namespace) -> None:
    from .selftest import run

    run()


def _parity(options: argparse.Namespace) -> None:
    from .parity import run

    run(options.json)


def _goldens(options: argparse.Namespace) -> None:
    from .goldens import write

    write(options.out)
