"""Write an entry of the zoo, with its card and samples, from a run or checkpoint.

For example `python scripts/zoo_entry.py runs/laptop-001 --name horse2zebra --translates "horses to
zebras" --data "..." --hours 5.2 --metrics eval.json --licence "..." --limit "..." --sample a.jpg`.

Weights are the averaged ones where the checkpoint has them, rounded to 16 bits where translations
of the samples stay within 1 of 255. `--metrics` is what `i2i eval CKPT --fid --kid --json` printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from i2icli.config.document import config_document
from i2icli.errors import ConfigError, I2IError
from i2icli.pictures.images import read_picture
from i2icli.runs.checkpoint import CheckpointState, load_checkpoint
from i2icli.runs.paths import find_checkpoint
from i2icli.runs.zoo import CARD, FACTS, FORMAT, KIND, MODEL
from i2icli.system.files import whole_folder
from i2icli.translation.translator import Translator, load_translator
from i2icli.version import __version__
from i2icli.viz.grid import shrink

MOST_BYTES, MOST_SAMPLES, SIDE = 6_000_000, 6, 256
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Rounded:
    """Weights in a type, and how far translations by them are from those in float32."""

    kind: torch.dtype
    largest: int  # of 255, over all channels of all pictures
    mean: float  # the same

    @property
    def type_name(self) -> str:
        """Its name as configurations have it."""
        return str(self.kind).removeprefix("torch.")


def round_to(weights: Weights, kind: torch.dtype) -> dict[str, Tensor]:
    """Return weights in another type; counts and the like keep theirs."""
    return {n: w.to(kind).contiguous() if w.is_floating_point() else w for n, w in weights.items()}


def translate_all(translator: Translator, pictures: Sequence[Path]) -> list[np.ndarray[Any, Any]]:
    """Return the translations of pictures in every direction, (H, W, C) uint8."""
    return [
        np.asarray(translator.translate(picture, direction)).astype(int)
        for direction in translator.directions
        for picture in pictures
    ]


def choose_type(translator: Translator, weights: Weights, pictures: Sequence[Path]) -> Rounded:
    """Return the type to keep weights in: the nearer one of 16 bits if it is near enough."""
    wanted = translate_all(translator, pictures)
    tried = []
    for kind in (torch.float16, torch.bfloat16):  # the first of equally near ones is taken
        translator.method.load_translating(round_to(weights, kind))
        found = translate_all(translator, pictures)
        apart = [np.abs(one - other) for one, other in zip(wanted, found, strict=True)]
        mean = sum(float(each.mean()) for each in apart) / len(apart)
        tried.append(Rounded(kind, max(int(each.max()) for each in apart), mean))
    translator.method.load_translating(weights)
    best = min(tried, key=lambda each: (each.largest, each.mean))
    return best if best.largest <= 1 else Rounded(torch.float32, 0, 0.0)


def facts_of(
    options: argparse.Namespace, translator: Translator, state: CheckpointState
) -> dict[str, Any]:
    """Return the content of config.json, the model left out."""
    document = config_document(translator.config)
    # Where the pictures lay is nobody's matter; a data set of this name is looked for.
    plain = ("root", "domain_a", "domain_b", "test_a", "test_b")
    data = {key: value for key, value in document["data"].items() if key not in plain}
    return {
        "kind": KIND,
        "format": FORMAT,
        "name": options.name,
        "i2i": __version__,
        "preset": translator.config.preset,
        "method": translator.name,
        "translates": options.translates,
        "directions": list(translator.directions),
        "channels": dict(translator.channels),
        "step": state.step,
        "epoch": state.epoch,
        "hours": options.hours,
        "metrics": {name: each["value"] for name, each in options.metrics.items()},
        "data": dict(state.data),
        "configuration": {**document, "data": {"root": options.name, **data}},
    }


def write_entry(options: argparse.Namespace) -> Rounded:
    """Write the folder, whole or not at all, and return how its weights were rounded."""
    file = find_checkpoint(options.checkpoint)
    state = load_checkpoint(file)
    translator = load_translator(file, device="cpu", precision="float32")
    names = translator.method.translating_state()
    weights = {n: w for n, w in state.translating_weights().items() if n in names}
    rounded = choose_type(translator, weights, options.sample)
    facts = facts_of(options, translator, state)
    folder = options.out / options.name
    if folder.exists() and not options.overwrite:
        raise ConfigError(f"{folder} is there already: replace it with --overwrite.")
    with whole_folder(folder, is_replaced=options.overwrite) as fresh:
        content = safetensors.torch.save(round_to(weights, rounded.kind))
        (fresh / MODEL).write_bytes(content)
        facts["model"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "type": rounded.type_name,
            "largest_difference": rounded.largest,
            "mean_difference": round(rounded.mean, 4),
        }
        (fresh / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        pairs = write_samples(fresh, options.sample)
        (fresh / CARD).write_text(card(options, facts, pairs), encoding="utf-8")
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise ConfigError(f"{folder} would have {size} bytes, and at most {MOST_BYTES} may be.")
    return rounded


def write_samples(folder: Path, pictures: Sequence[Path]) -> list[tuple[str, str]]:
    """Write the pictures beside their translations by the model of `folder`, both small."""
    translator = load_translator(folder, device="cpu")
    (folder / "samples").mkdir()
    pairs = []
    for number, picture in enumerate(pictures, start=1):
        source = Image.fromarray(shrink(read_picture(picture).pixels, side=SIDE).squeeze())
        made = translator.translate(source)
        names = (f"samples/{number}-source.jpg", f"samples/{number}-translation.jpg")
        for image, name in zip((source, made), names, strict=True):
            image.convert("RGB").save(folder / name, quality=90)
        pairs.append(names)
    return pairs


def head(options: argparse.Namespace, facts: Mapping[str, Any]) -> list[str]:
    """Return the card's YAML head, a key a line with its value as JSON, which YAML includes."""
    measured = [
        {"type": name, "name": name.upper(), "value": each["value"], "args": protocol_of(each)}
        for name, each in options.metrics.items()
    ]
    dataset = {"name": options.data, "type": options.name}
    result = {"task": {"type": "image-to-image"}, "dataset": dataset, "metrics": measured}
    values = {
        "license": "other",
        "license_details": options.licence,
        "library_name": "i2icli",
        "pipeline_tag": "image-to-image",
        "tags": ["image-to-image", "unpaired", facts["method"], facts["preset"]],
        "datasets": [options.name],
        "training_data": options.data,
        "training_hours": options.hours,
        "training_steps": facts["step"],
        "limits": options.limit,
        "model-index": [{"name": options.name, "results": [result]}],
    }
    return ["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items()), "---"]


def protocol_of(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to a number: its protocol, the counts of pictures and the interval."""
    protocol = {key: value for key, value in measured["protocol"].items() if value is not None}
    return {**protocol, "pictures": measured["counts"], "interval": measured.get("interval")}


def card(
    options: argparse.Namespace, facts: Mapping[str, Any], pairs: Sequence[tuple[str, str]]
) -> str:
    """Return the card, README.md."""
    name, model = options.name, facts["model"]
    precision = f"Weights are kept in {model['type']}"
    if model["type"] != "float32":
        precision += (
            f"; translations of the samples differ from those in float32 by at most "
            f"{model['largest_difference']} of 255, {model['mean_difference']} in the mean"
        )
    lines = [
        *head(options, facts),
        f"\n# {name}: {options.translates}\n",
        f"    i2i translate zoo:{name} photo.jpg out.jpg\n",
        "| source | translation |\n|---|---|",
        *(f"| ![source]({one}) | ![translation]({other}) |" for one, other in pairs),
        "\n## Training\n",
        f"- Preset `{facts['preset']}` (`{facts['method']}`) of i2i {facts['i2i']}, "
        f"{facts['step']:,} steps, {options.hours:g} hours{options.hours_note}.",
        f"- Data: {options.data}",
        f"- {precision}.",
        "\n## Numbers\n",
        *(metric_lines(options.metrics) or ["Not measured."]),
        "\n## Licence\n",
        options.licence,
        "\n## Limits\n",
        *(f"- {limit}" for limit in options.limit),
    ]
    return "\n".join(lines) + "\n"


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return a line a number, with what it was measured by."""
    lines = []
    for name, measured in metrics.items():
        reach, counts = measured.get("interval"), measured["counts"]
        within = (
            f" ({reach['level']:.0%}: {reach['low']:.4g} to {reach['high']:.4g})" if reach else ""
        )
        said = {**measured["protocol"], **{f"pictures {key}": n for key, n in counts.items()}}
        words = "; ".join(f"{key}: {value}" for key, value in said.items() if value is not None)
        lines.append(f"- {name.upper()} **{measured['value']:.4g}**{within}: {words}.")
    return lines


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's options, files among them read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a checkpoint, or a run folder: its last.pt")
    parser.add_argument("--name", required=True, help="what stands after zoo:, a data set's name")
    parser.add_argument("--translates", required=True, help='such as "horses into zebras"')
    parser.add_argument("--data", required=True, help="what it was trained on, a sentence")
    parser.add_argument("--hours", type=float, required=True, help="wall hours, all goes together")
    parser.add_argument("--hours-note", default="", help='such as " of two threads, in two goes"')
    parser.add_argument("--metrics", type=Path, help="what i2i eval --json printed")
    parser.add_argument("--licence", required=True, help="what may be done with it, sentences")
    parser.add_argument("--limit", action="append", required=True, help="a sentence; repeatable")
    parser.add_argument(
        "--sample", action="append", type=Path, required=True, help="a picture; repeatable"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "zoo")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier entry")
    options = parser.parse_args(words)
    if len(options.sample) > MOST_SAMPLES:
        parser.error(f"{len(options.sample)} samples are more than {MOST_SAMPLES}")
    if options.metrics is not None:
        options.metrics = json.loads(options.metrics.read_text(encoding="utf-8"))["metrics"]
    options.metrics = options.metrics or {}
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Write the entry that the command line asks for."""
    options = parse(words)
    rounded = write_entry(options)
    print(
        f"wrote {options.out / options.name}: {rounded.type_name}, pictures within "
        f"{rounded.largest} of 255 of those in float32"
    )


if __name__ == "__main__":
    try:
        main()
    except I2IError as fault:
        sys.exit(f"error: {fault}")
