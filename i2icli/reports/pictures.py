"""The pictures of a run's report: its samples through time, and entropy maps of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from i2icli.data.folders import find_domains
from i2icli.errors import I2IError, WeightsError
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.methods.shared.registry import method_of
from i2icli.methods.shared.views import AnyView, AttentionView
from i2icli.pictures.images import to_tensor
from i2icli.reports.page import EntropyLayer, EntropyMap
from i2icli.runs.folder import RunFolder
from i2icli.training.samples import build_drawer
from i2icli.translation.translator import Translator
from i2icli.viz.grid import lay_out
from i2icli.viz.tiles import (
    GridRow,
    Samples,
    collect_samples,
    cut_out,
    encode,
    encode_exactly,
    read_rows,
    rows_of,
)

_BUDGET = 12_000_000  # bytes of the samples' pictures in the page
_ENTROPY_PICTURES = 4


def find_grids(folder: RunFolder) -> dict[int, Path]:
    """Return the sample grids of a run by their steps."""
    named = [(re.fullmatch(r"step-(\d+)", p.stem), p) for p in folder.samples.glob("step-*.png")]
    return dict(sorted((int(match[1]), path) for match, path in named if match))


def find_rows(
    grids: dict[int, Path], config: AnyRunConfig | None
) -> dict[int, tuple[GridRow, ...]]:
    """Return the boxes of the pictures in the grids, as far as they can be told.

    A grid tells it itself. Of one that does not, drawn by an earlier i2i, it is worked out from
    the data set, if that is still there and the size agrees.
    """
    rows: dict[int, tuple[GridRow, ...]] = {}
    untold = None
    for step, path in grids.items():
        try:
            rows[step] = read_rows(path)
            if rows[step] or config is None:
                continue
            if untold is None:
                untold = _work_out_rows(config)
            size, worked_out = untold
            with Image.open(path) as image:
                rows[step] = worked_out if image.size == size else ()
        except (OSError, ValueError, Image.DecompressionBombError):
            rows[step] = ()
    return rows


def show_samples(folder: RunFolder, config: AnyRunConfig | None) -> Samples | None:
    """Return the samples of a run through time; None where there are none."""
    grids = find_grids(folder)
    return collect_samples(grids, find_rows(grids, config), budget=_BUDGET)


def show_entropy(
    translator: Translator, grid: Path, rows: Sequence[GridRow]
) -> tuple[EntropyLayer, ...]:
    """Return the entropy maps, one a layer, of the first few samples, cut out of a grid.

    There are none where the method shows no entropy.
    """
    views: dict[int, list[tuple[GridRow, AttentionView]]] = {}
    for row in [row for row in rows if row.title.startswith("a2b ")][:_ENTROPY_PICTURES]:
        for view in _views(translator, cut_out(grid, row.boxes[0])):
            if isinstance(view, AttentionView):
                views.setdefault(view.layer, []).append((row, view))
    return tuple(_entropy_layer(layer, seen, grid) for layer, seen in sorted(views.items()))


def _work_out_rows(config: AnyRunConfig) -> tuple[tuple[int, int], tuple[GridRow, ...]]:
    method = method_of(config)
    directions = method.directions
    try:
        domains = find_domains(config.data, method.data)
        samples = build_drawer(config.samples, config.data, domains, directions=directions).samples
    except (I2IError, OSError):
        return (0, 0), ()
    if not samples:
        return (0, 0), ()
    titles = [f"{sample.direction} {sample.name}" for sample in samples]
    pictures = [(sample.picture.pixels,) * 2 for sample in samples]
    layout = lay_out(pictures, column_titles=("source", "translation"), row_titles=titles)
    return layout.size, rows_of(layout, titles)


def _views(translator: Translator, picture: Image.Image) -> Sequence[AnyView]:
    multiple, channels = translator.size_multiple, translator.channels["a"]
    images = translator.scale.worked_on(to_tensor(np.asarray(picture)[..., :channels])[None])
    height, width = (side // multiple * multiple for side in images.shape[-2:])
    if min(width, height) < translator.method.min_size:
        return ()
    images = images[..., :height, :width].to(translator.device)
    try:
        translator.equip()
    except WeightsError:
        return ()
    (views,) = translator.method.views(images, direction="a2b") or [[]]
    return views


def _entropy_layer(
    layer: int, seen: Sequence[tuple[GridRow, AttentionView]], grid: Path
) -> EntropyLayer:
    arrays = [view.entropy.numpy() for _, view in seen]
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    return EntropyLayer(
        layer=layer,
        size=(int(arrays[0].shape[0]), int(arrays[0].shape[1])),
        low=low,
        high=high,
        most=max(math.log(_reach(view)) for _, view in seen),
        maps=tuple(
            EntropyMap(
                row.title.removeprefix("a2b "),
                encode(cut_out(grid, row.boxes[0]), side=256),
                encode_exactly(_coloured(array, low, high)),
            )
            for (row, _), array in zip(seen, arrays, strict=True)
        ),
    )


def _reach(view: AttentionView) -> int:
    return view.window**2 if view.has_window else int(view.entropy.numel())


def _coloured(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], low: float, high: float
) -> Image.Image:
    unit = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    colours = matplotlib.colormaps["viridis"](unit, bytes=True)
    return Image.fromarray(np.ascontiguousarray(colours[..., :3]))
