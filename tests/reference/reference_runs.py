"""Run folders of 0.1.0, one a method, and how to go on with them through the command line alone.

`recorded/NAME` holds a run of three steps on the demo set (`demo/`, 32 x 32 pixels); `runs.json`
what the two steps after them and a translated picture came to. They were made with 0.1.0 by
`python tests/reference/reference_runs.py` and are not made anew: they show that files of old
versions are read as they were.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "kits"))  # when run as a program
from tiny import TinyVGG, tiny_document

from i2icli.methods import METHODS
from i2icli.pretrained import networks

HERE = Path(__file__).parent
RUNS, DEMO, RECORD = HERE / "recorded", HERE / "demo", HERE / "runs.json"
# Too large even at their smallest: of these a list of keys, shapes and types is kept instead of the
# checkpoint, and `fill` makes the numbers.
FILLED = ("single-image-sesim", "sincut")
# The same; of these only the weights are listed, since the demo set has no label maps to train on.
LISTED = ("attention-to-scale", "danet")
RECORDED = tuple(sorted(path.name for path in RUNS.iterdir()))  # later methods have none
STEPS, MORE = 3, 2
# Where the recorded runs had their pictures; no such folder needs to exist.
OLD_ROOT = "/tmp/i2i-reference/"


def prepare_home() -> None:
    """Let pretrained networks be small stand-ins."""
    networks.load_network = lambda name: TinyVGG()  # type: ignore[assignment]


def data_of(name: str) -> str:
    """Return the folder of `demo` that a method trains on."""
    return "single" if METHODS[name].data == "single" else "pairs"


def preset_of(name: str) -> dict[str, Any]:
    """Return the smallest run of a method as a preset."""
    sections: dict[str, Any] = {
        "data": {"resize": 36, "crop": 32},
        "train": {"steps": STEPS, "seed": 3},
        "checkpoint": {"every_steps": STEPS},
        "samples": {"every_steps": 0, "count": 1},
        "log": {"every_steps": 1, "tensorboard": "off"},
        "health": {"enabled": False},
        "runtime": {"device": "cpu", "precision": "float32", "workers": 0, "channels_last": "off"},
    }
    for title, values in METHODS[name].Config.run_defaults.items():
        sections[title] = {**values, **sections.get(title, {})}
    if name == "qs-attn":
        sections["ema"] = {"decay": 0.9}
    method = tiny_document(name)
    if data_of(name) == "single":
        sections["data"] |= {"crop": 16, "batch_size": 2, "patches_per_epoch": 8}
        method["generator"] |= {"width": 1, "blocks": 2, "downsamplings": 1}
    return {"method": method, **sections}


def move_run(name: str, folder: Path) -> Path:
    """Copy a recorded run, and its pictures, to where it can go on; return the run folder."""
    shutil.copytree(DEMO, folder / "demo", dirs_exist_ok=True)
    run = folder / name
    shutil.copytree(RUNS / name, run, ignore=shutil.ignore_patterns("last.json"))
    new = f"{folder / 'demo'}/"
    text = (run / "config.toml").read_text(encoding="utf-8")
    assert OLD_ROOT in text
    (run / "config.toml").write_text(text.replace(OLD_ROOT, new), encoding="utf-8")
    document = raw_checkpoint(RUNS / name)
    document["config"]["data"]["root"] = document["config"]["data"]["root"].replace(OLD_ROOT, new)
    torch.save(document, run / "checkpoints" / "last.pt")
    return run


def raw_checkpoint(run: Path) -> dict[str, Any]:
    """Return what the checkpoint of a run holds, read by torch alone."""
    if (listed := run / "checkpoints" / "last.json").exists():
        filled: dict[str, Any] = fill(json.loads(listed.read_text(encoding="ascii")))
        return filled
    found: dict[str, Any] = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    return found


def list_tensors(value: Any) -> Any:
    """Return nested plain data with shape and type instead of large tensors of numbers."""
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        return {key: list_tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [list_tensors(item) for item in value]
    if not isinstance(value, torch.Tensor):
        return value
    kind = str(value.dtype).removeprefix("torch.")
    if value.dtype == torch.float32 and value.numel() > 1:
        return {"tensor": kind, "shape": list(value.shape)}
    return {"tensor": kind, "shape": list(value.shape), "values": value.flatten().tolist()}


def fill(value: Any, key: str = "") -> Any:
    """Return what `list_tensors` was given, with made-up numbers in the large tensors.

    Numbers are multiples of a power of two, so that every machine makes the same.
    """
    if isinstance(value, list):
        return [fill(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" not in value:
        return {name: fill(item, f"{key}/{name}") for name, item in value.items()}
    kind, shape = getattr(torch, value["tensor"]), value["shape"]
    if "values" in value:
        return torch.tensor(value["values"], dtype=kind).reshape(shape)
    count = math.prod(shape)
    seed = zlib.crc32(key.encode())
    numbers = (torch.arange(count, dtype=torch.int64) * 40503 + seed) * 69069 % 65536
    if not kind.is_floating_point:
        return (numbers % 100).to(kind).reshape(shape)
    if key.endswith("exp_avg_sq"):
        return (numbers.float() / 2**26 + 2**-16).reshape(shape)
    if key.endswith("exp_avg"):
        return ((numbers - 32768).float() / 2**24).reshape(shape)
    return ((numbers - 32768).float() / 2**15).reshape(shape)


def terms_of(run: Path) -> list[dict[str, float]]:
    """Return the terms of every logged step after the recorded ones."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    left_out = {"seconds", "images_per_s", "data_wait", "epoch", "step", "partial"}
    return [
        {key: value for key, value in line.items() if key not in left_out}
        for line in lines
        if line["step"] > STEPS and "alarm" not in line
    ]


def pixels_of(folder: Path) -> np.ndarray:
    """Return the one translated picture in a folder."""
    (path,) = sorted(folder.glob("*.png"))
    return np.asarray(Image.open(path).convert("RGB"))


def source_of(name: str) -> Path:
    """Return the picture, inside `demo`, that is translated."""
    return sorted((DEMO / data_of(name) / "testA").iterdir())[0].relative_to(DEMO)


def call(*words: object) -> None:
    """Run a command in this process."""
    from i2icli.cli.app import main

    sys.argv = ["i2i", *(str(word) for word in words)]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{sys.argv} ended with {end.code}") from end


def record() -> None:
    """Make everything that the test compares with."""
    from i2icli.config.document import write_toml
    from i2icli.datasets.demo.demo_set import DemoPlan, make_demo_set

    torch.set_num_threads(1)
    prepare_home()
    root = Path(OLD_ROOT)
    for folder in (root, RUNS, DEMO):
        shutil.rmtree(folder, ignore_errors=True)
    make_demo_set(root / "pairs", DemoPlan(size=32, train=3, test=1, seed=0))
    for extra in [
        p for p in (root / "pairs").iterdir() if not p.name.startswith(("train", "test"))
    ]:
        extra.unlink() if extra.is_file() else shutil.rmtree(extra)
    for part in ("trainA", "trainB", "testA", "testB"):
        (root / "single" / part).mkdir(parents=True)
        first = sorted((root / "pairs" / part).iterdir())[0]
        shutil.copy(first, root / "single" / part / first.name)
    shutil.copytree(root, DEMO)
    found: dict[str, Any] = {}
    for name in RECORDED:
        run = root / "runs" / name
        preset = root / f"{name}.toml"
        preset.write_text(write_toml(preset_of(name)), encoding="utf-8")
        call("train", "--preset", preset, "--data", root / data_of(name), "--run-dir", run)
        kept = RUNS / name
        (kept / "checkpoints").mkdir(parents=True)
        for part in ("config.toml", "metrics.jsonl", "checkpoints/last.pt"):
            shutil.copy(run / part, kept / part)
        if name in FILLED:
            listed = list_tensors(raw_checkpoint(run))
            text = json.dumps(listed, separators=(",", ":"))
            (kept / "checkpoints" / "last.json").write_text(text + "\n", encoding="ascii")
            (kept / "checkpoints" / "last.pt").unlink()
            torch.save(raw_checkpoint(kept), run / "checkpoints" / "last.pt")
        out = root / "translated" / name
        call("translate", run, DEMO / source_of(name), out / "one.png")
        call("resume", run, "--steps", STEPS + MORE)
        found[name] = {"terms": terms_of(run), "pixels": pixels_of(out).tolist()}
    for name in LISTED:
        from tiny import tiny_method

        weights = tiny_method(name).state_dict()
        found[name] = {
            "weights": {
                key: [list(value.shape), str(value.dtype).removeprefix("torch.")]
                for key, value in weights.items()
            }
        }
    RECORD.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
