"""``thinwire bundle``: build, complete, export, info, verify."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.common import add_bundle, add_json, add_placement, placement_of, print_json, seed

if TYPE_CHECKING:
    from offline.bundles.tower_table import Row


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("bundle", help="build, export and verify bundles; info on what they hold")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    build = actions.add_parser("build", help="train, measure and write a bundle; go on where it was stopped")
    build.add_argument(
        "--recipe", help="name of a shipped recipe, or its file (default: cifar10, and llava where a model is named)"
    )
    build.add_argument("--data", help="as for `thinwire evaluate`; its training split (default: the recipe's)")
    build.add_argument(
        "--model",
        metavar="NAME",
        help="to split: a vision transformer (a timm name, hf-hub:ID, an id of transformers, a folder, a safetensors "
        "file) or a LLaVA (an id or a folder)",
    )
    build.add_argument("--random", action="store_true", help="random weights: a bundle to try a tower with, in seconds")
    build.add_argument("--labels", type=int, metavar="N", help="classes, where the model has no head (or is random)")
    build.add_argument("--architecture", metavar="NAME", help="timm name of a safetensors file")
    build.add_argument("--size", type=int, help="height and width of the input, if not the model's own")
    build.add_argument(
        "--weights",
        help="a safetensors file or hf-hub:ID, of speech a Whisper's folder or id, instead of the recipe's own weights",
    )
    build.add_argument("--revision", help="branch, tag or commit of that model on the hub")
    build.add_argument("--work", type=Path, help="folder of checkpoints (default: runs/RECIPE)")
    build.add_argument("--output", type=Path, required=True, help="folder of the bundle")
    build.add_argument("--seed", type=seed, default=0)
    add_placement(build.add_argument_group("questions", "for bundles of the task vqa, once the model is trained"))
    build.set_defaults(run=_build)

    complete = actions.add_parser(
        "complete", help="a copy, in your own folder, of a shipped bundle with the weights that others publish"
    )
    complete.add_argument("name", metavar="NAME", help="of the shipped bundle, such as whisper-tiny-en")
    complete.add_argument(
        "--weights",
        required=True,
        metavar="SOURCE",
        help="a folder with a model.bin of CTranslate2 (as faster-whisper has it), one of transformers, or an id "
        "on the Hugging Face hub",
    )
    complete.add_argument("--revision", help="branch, tag or commit on the hub")
    complete.add_argument("--output", type=Path, help="folder of the copy (default: where NAME is then found)")
    complete.set_defaults(run=_complete)

    export = actions.add_parser("export", help="write the ONNX graphs of a bundle, for engines without torch")
    export.add_argument("bundle", metavar="FOLDER", help="of the bundle, or the name of a shipped one")
    export.set_defaults(run=_export)

    towers = actions.add_parser("towers", help="which vision transformers were measured to split, merge and export")
    towers.add_argument("--check", metavar="GLOB", help="measure these names anew, instead of printing what is stored")
    towers.add_argument(
        "--output", type=Path, help="of --check: keep rows there, and go on with those that are missing"
    )
    add_json(towers)
    towers.set_defaults(run=_towers)

    info = actions.add_parser("info", help="what a bundle holds")
    add_bundle(info)
    add_json(info)
    info.set_defaults(run=_info)

    verify = actions.add_parser("verify", help="check every file and the policy fronts of a bundle")
    add_bundle(verify)
    verify.set_defaults(run=_verify)


def _build(options: argparse.Namespace) -> None:
    import logging
    from dataclasses import replace

    from offline.recipes.recipe import load_recipe
    from offline.recipes.speech_recipe import is_speech
    from offline.recipes.vqa_recipe import is_vqa, load_vqa_recipe
    from thinwire.errors import InvalidRequestError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("timm").setLevel(logging.WARNING)
    if options.weights is not None and (options.random or options.model):
        raise InvalidRequestError("weights: expected a recipe that begins with some (--recipe), got a model of its own")
    if options.random:
        _build_random(options)
        return
    if options.recipe and is_speech(options.recipe):
        _build_speech(options)
        return
    if options.model and _names_tower(options):
        _build_tower(options)
        return
    for field in ("labels", "architecture", "size"):
        if getattr(options, field) is not None:
            raise InvalidRequestError(f"{field}: expected a vision transformer that it is of (--model), got none")
    name = options.recipe or ("llava" if options.model else "cifar10")
    if is_vqa(name):
        if options.weights is not None:
            raise InvalidRequestError(f"weights: the recipe {name} begins with none")
        from transformers.utils.logging import disable_progress_bar, set_verbosity_error

        from offline.bundles.build_vqa import build_vqa

        # Its tables of what a checkpoint lacks and its progress bars: what is wrong is told in one line.
        disable_progress_bar()
        set_verbosity_error()
        asked = load_vqa_recipe(name)
        work, data = options.work or Path("runs") / asked.name, options.data or asked.data
        placement = placement_of(options)
        bundle = build_vqa(asked, data, work, options.output, options.seed, options.model, options.revision, placement)
    elif options.model or options.revision:
        given = f", or for a vision transformer, which {options.model} is not" if options.model else ""
        raise InvalidRequestError(
            f"the recipe {name} trains its own model; --model is for one that answers questions{given}"
        )
    else:
        from offline.bundles.build import build

        recipe = load_recipe(name)
        if options.weights is not None:
            if recipe.weights is None:
                raise InvalidRequestError(f"weights: the recipe {name} begins with none")
            recipe = replace(recipe, weights=options.weights)
        work = options.work or Path("runs") / recipe.name
        bundle = build(recipe, options.data or recipe.data, work, options.output, options.seed)
    print(f"bundle {bundle.name} {bundle.digest[:16]} in {bundle.folder}")


def _names_tower(options: argparse.Namespace) -> bool:
    from offline.recipes.vqa_recipe import is_vqa

    if options.recipe and is_vqa(options.recipe):
        return False
    from offline.bundles.naming import is_tower

    return is_tower(options.model, options.revision)


def _build_tower(options: argparse.Namespace) -> None:
    from offline.bundles.build import build_named
    from offline.bundles.naming import name_model
    from thinwire.errors import InvalidRequestError

    named = name_model(options.model, options.labels, False, options.architecture, options.size)
    if options.data is None:
        raise InvalidRequestError(
            "data: expected pictures to train the codec on and to measure with (--data), got none; "
            "--random builds an untrained bundle"
        )
    work = options.work or Path("runs") / named.name
    bundle = build_named(named, options.recipe or "tower", options.data, work, options.output, options.seed)
    print(f"bundle {bundle.name} {bundle.digest[:16]} in {bundle.folder}")


def _build_speech(options: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from offline.bundles.build_speech import build_speech
    from offline.recipes.speech_recipe import load_speech_recipe
    from thinwire.errors import InvalidRequestError

    for field in ("model", "labels", "architecture", "size"):
        if getattr(options, field) is not None:
            raise InvalidRequestError(f"{field}: expected none for a bundle of speech, whose Whisper --weights names")
    disable_progress_bar()
    set_verbosity_error()
    recipe = load_speech_recipe(options.recipe)
    work, data = options.work or Path("runs") / recipe.name, options.data or recipe.data
    bundle = build_speech(recipe, data, work, options.output, options.seed, options.weights, options.revision)
    print(f"bundle {bundle.name} {bundle.digest[:16]} in {bundle.folder}")


def _build_random(options: argparse.Namespace) -> None:
    from offline.bundles.naming import name_model
    from offline.bundles.untrained import write_untrained
    from thinwire.errors import InvalidRequestError

    if options.model is None:
        raise InvalidRequestError("random: expected a model to build (--model), got none")
    named = name_model(options.model, options.labels, True, options.architecture, options.size)
    bundle = write_untrained(named, options.output, options.seed)
    print(f"bundle {bundle.name} {bundle.digest[:16]} in {bundle.folder}, untrained")


def _complete(options: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from offline.bundles.complete import complete

    disable_progress_bar()
    set_verbosity_error()
    bundle = complete(options.name, options.weights, options.revision, options.output)
    print(f"bundle {bundle.name} {bundle.digest[:16]} in {bundle.folder}")


def _export(options: argparse.Namespace) -> None:
    from offline.export.bundle import export_bundle
    from thinwire.bundle import load_bundle

    bundle = export_bundle(load_bundle(options.bundle))
    for name, digest in bundle.exports.items():
        print(f"{bundle.path(name)}  {bundle.path(name).stat().st_size} bytes  sha256 {digest[:16]}")


def _towers(options: argparse.Namespace) -> None:
    from offline.bundles.tower_table import check_towers, read_table, table_path, tower_names
    from thinwire.errors import InvalidRequestError

    if options.check is None:
        if options.output:
            raise InvalidRequestError("output: expected names to measure (--check), got none")
        rows = read_table(table_path())
    else:
        names = tower_names(options.check)
        if not names:
            raise InvalidRequestError(f"check: expected a pattern that names towers, got {options.check!r}")
        rows = []
        for row in check_towers(names, options.output):
            rows.append(row)
            if not options.json:
                print(_tower_line(row), flush=True)
    if options.json:
        print_json([dataclasses.asdict(row) for row in rows])
    elif options.check is None:
        print("\n".join(map(_tower_line, rows)))


def _tower_line(row: "Row") -> str:
    columns = "".join(f"{name if getattr(row, name) else '-':10}" for name in ("built", "equal", "merged", "exported"))
    return f"{row.name:52} {columns} {row.preprocessing:25} {row.reason}".rstrip()


def _info(options: argparse.Namespace) -> None:
    from thinwire.bundle import BACKBONE, load_bundle

    bundle = load_bundle(options.bundle)
    content = dataclasses.asdict(bundle) | {"digest": bundle.digest, "folder": str(bundle.folder)}
    if options.json:
        print_json(content)
        return
    for key in ("name", "digest", "folder", "task", "depth", "split_layer", "width", "patches", "prefix_tokens"):
        print(f"{key:14} {content[key]}")
    if bundle.labels:
        print(f"{'labels':14} {', '.join(bundle.labels)}")
    if model := bundle.language or bundle.speech:
        print(f"{'language' if bundle.language else 'speech':14} {model.checkpoint} {model.revision or ''}".rstrip())
    print(f"{'rates':14} {', '.join(str(rate) for rate in bundle.codec.rates)} symbols per token")
    if bundle.reference:
        reference = bundle.reference
        print(
            f"{'reference':14} unmerged at {reference.symbols_per_token} symbols per token: "
            f"{reference.channel_uses} channel uses, accuracy {reference.accuracy:.4f} at {reference.snr_db:g} dB "
            f"({reference.n} {'clips' if bundle.speech else 'images'} of the select split)"
        )
    for name, digest in (bundle.files | bundle.exports).items():
        whose = f"  of bundle {bundle.backbone}" if name == BACKBONE and bundle.backbone else ""
        print(f"{'file':14} {name}  {bundle.path(name).stat().st_size} bytes  sha256 {digest[:16]}{whose}")


def _verify(options: argparse.Namespace) -> None:
    from policies.fronts import Fronts
    from thinwire.bundle import FRONT, load_bundle

    bundle = load_bundle(options.bundle)
    fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
    files = len(bundle.files | bundle.exports)
    print(f"bundle {bundle.name}: {files} files and {len(fronts.policies)} policies are as they were written")
