"""Run folders of made-up runs: real files, no training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2icli.config.document import config_document
from i2icli.methods import build_method, configure_run
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.viz.grid import draw_grid, lay_out
from i2icli.viz.tiles import describe_rows

SMALL = ("method.generator.width=4", "method.generator.blocks=2", "method.discriminator.width=4")
LAYERS = ("method.nce_layers=[0,4,8,12]", "method.num_patches=8", "method.projection_dim=8")
COLUMNS = ("source", "translation")


def save_untrained(path, config, **state):
    """Write the checkpoint of a method that has not been trained, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"weights": build_method(config).state_dict(), "step": 0, **state}
    save_checkpoint(path, CheckpointState(config=config_document(config), **state))
    return path


def smooth(height: int, width: int, *, seed: int) -> np.ndarray:
    """Return a picture without noise, (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 6, 3)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows[..., None] / 7 + phase) + np.cos(columns[..., None] / 9 + 2 * phase)
    return ((waves + 2) * 63).astype(np.uint8)


def log_lines(steps: Sequence[int]) -> list[dict[str, Any]]:
    """Return log lines as training writes them, every second step measured too."""
    lines: list[dict[str, Any]] = []
    for step in steps:
        lines.append(
            {
                "step": step,
                "epoch": 1 + step // 8,
                "discriminator/real": 0.2 + 0.001 * step,
                "generator/gan": 0.6,
                "generator/nce": 6.0 / step,
                "discriminator/lr": 0.0002,
                "generator/lr": 0.0002,
                "seconds": 2.0 * step,
                "images_per_s": 0.5,
                "data_wait": 0.01,
            }
        )
        if step % 2 == 0:
            scores = {"eval/truth_total": 1 / step, "eval/truth_inside": 2 / step}
            lines.append({"step": step, "epoch": 1, **scores, "protocol": "truth of 4 pictures"})
    return lines


def draw(folder: RunFolder, step: int, *, names: Sequence[str], tells: bool = True) -> None:
    """Draw a sample grid; `tells`: with the places of its pictures, as training does."""
    rows = [
        (smooth(32, 32 + 4 * i, seed=i), smooth(32, 32 + 4 * i, seed=100 + 10 * step + i))
        for i in range(len(names))
    ]
    grid = draw_grid(rows, column_titles=COLUMNS, row_titles=names)
    layout = lay_out(rows, column_titles=COLUMNS, row_titles=names)
    folder.samples.mkdir(exist_ok=True)
    grid.save(folder.sample(step), pnginfo=describe_rows(layout, names) if tells else None)


def make_run(
    path: Path,
    *overrides: str,
    preset: str = "qs-attn-global",
    steps: Sequence[int] = (2, 4, 6, 8),
    last_step: int = 8,
    saved_step: int | None = 8,
    names: Sequence[str] = ("a2b one", "a2b two"),
    tells: bool = True,
) -> RunFolder:
    """Write a whole run folder.

    Args:
        path: the folder, absent.
        overrides: of the configuration.
        preset: what is trained.
        steps: logged, each with a grid.
        last_step: where the run was to stop.
        saved_step: of last.pt; None: it was never written.
        names: titles of the sample rows.
        tells: grids say where their pictures are.
    """
    folder = RunFolder(path)
    folder.checkpoints.mkdir(parents=True)
    layers = LAYERS if "qs-attn" in preset or "cut" in preset else ()
    data = ("data.resize=36", "data.crop=32", "data.root=/nowhere/horses")
    config = configure_run(preset, [*SMALL, *layers, *data, f"train.steps={last_step}", *overrides])
    document = config_document(config)
    folder.write_config(document)
    folder.write_story(command=["i2i", "train", "--preset", preset], environment={"i2i": "0.1"})
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in log_lines(steps)))
    for step in steps:
        draw(folder, step, names=names, tells=tells)
    if saved_step is not None:
        state = CheckpointState(
            config=document,
            weights=build_method(config).state_dict(),
            step=saved_step,
            best={"name": "eval/truth_total", "value": 0.125, "step": 8},
            data={"a": {"count": 40, "names": ""}, "b": {"count": 50, "names": ""}},
        )
        save_checkpoint(folder.last, state)
    return folder
