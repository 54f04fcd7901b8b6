"""Entries of the zoo made of tiny checkpoints, by the script that makes the real ones."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i2icli.pictures.images import read_size
from i2icli.runs.zoo import CARD, read_entry, sample_sources
from i2icli.translation.translator import load_translator

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "zoo_entry.py"))
MEASURED: dict[str, Any] = {
    "fid": {
        "value": 117.25,
        "interval": {"low": 115.0, "high": 120.0, "level": 0.95, "method": "jackknife"},
        "counts": {"real": 140, "fake": 120},
        "protocol": {"mode": "clean", "direction": "a2b", "protocol": None},
    },
    "kid": {
        "value": 0.0431,
        "interval": None,
        "counts": {"real": 140, "fake": 120},
        "protocol": {"mode": "clean", "direction": "a2b", "protocol": None},
    },
}


def write_entry(
    out: Path, checkpoint: Path, samples: Sequence[Path], *words: str, name: str = "tiny"
) -> Path:
    """Write `out`/`name` and return it; `words` are further options of the script."""
    out.mkdir(parents=True, exist_ok=True)
    measured = out / "eval.json"
    measured.write_text(json.dumps({"metrics": MEASURED}), encoding="utf-8")
    facts = ["--name", name, "--translates", "noise into noise", "--data", "Ten pictures: noise."]
    facts += ["--hours", "5.2", "--licence", "For tests.", "--limit", "It is untrained."]
    facts += ["--metrics", str(measured), "--out", str(out)]
    pictures = [word for sample in samples for word in ("--sample", str(sample))]
    SCRIPT["main"]([str(checkpoint), *facts, *pictures, *words])
    measured.unlink()
    return out / name


def read_head(card: Path) -> dict[str, Any]:
    """Return the YAML head of a card, whose values are JSON."""
    lines = card.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "---"
    pairs = (line.split(": ", 1) for line in lines[1 : lines.index("---", 1)])
    return {key: json.loads(value) for key, value in pairs}


def check_form(folder: Path) -> None:
    """Assert all that an entry must be: small, whole, told about, and translating."""
    entry = read_entry(folder)
    assert entry.name == entry.facts["name"] == folder.name
    assert entry.size <= 6_000_000
    model = entry.facts["model"]
    assert len(entry.read_model()) == model["bytes"]
    assert model["type"] == "float32" or model["largest_difference"] <= 1
    samples = sorted(path.name for path in (folder / "samples").iterdir())
    assert 2 <= len(samples) <= 12
    assert len(sample_sources(folder)) == len(samples) / 2
    for path in (folder / "samples").iterdir():
        assert max(read_size(path)) <= 256
    head, (card,) = read_head(folder / CARD), read_head(folder / CARD)["model-index"]
    for key in ("license", "license_details", "training_data", "limits", "datasets"):
        assert head[key], key
    assert head["training_hours"] == entry.facts["hours"] > 0
    assert head["training_steps"] == entry.facts["step"]
    metrics = card["results"][0]["metrics"]
    assert {each["type"]: each["value"] for each in metrics} == entry.facts["metrics"]
    assert all(each["args"]["pictures"] for each in metrics)
    assert {"fid", "kid"} <= entry.facts["metrics"].keys()
    translator = load_translator(folder, device="cpu")
    assert list(translator.directions) == entry.facts["directions"]
    assert dict(translator.channels) == entry.facts["channels"]
    picture = Image.fromarray(np.full((20, 24, 3), 128, np.uint8))
    assert translator.translate(picture).size == (24, 20)
