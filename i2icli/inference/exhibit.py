"""All that `viz-attention` writes: sheets, arrays, strips and films, and the interactive page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from i2icli.data.images import Picture, read_picture
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.inference.looking import StepFile, look_at, require_views
from i2icli.inference.pictures import source_channels
from i2icli.inference.targets import Job
from i2icli.inference.translator import Translator, load_translator
from i2icli.methods.views import SIDES, AttentionView
from i2icli.visual.attention import draw_sheet
from i2icli.visual.looks import Look, Moment, ranks, spread, window_map
from i2icli.visual.page import Part, affordable, build_page, build_part, fitting
from i2icli.visual.strip import draw_film, draw_strip, evenly, film_bytes

PAGE_SIDE = 256  # pixels; features of larger pictures would not fit into a page

Point = tuple[float, float]


@dataclass(frozen=True)
class ExhibitOptions:
    """What is shown and how.

    Attributes:
        layers: numbers of the generator's modules; None: all that the method attends in.
        queries: places whose attention is drawn, spread over the selected ones.
        points: pixels, x and y in the picture as it is on disk, whose places are drawn instead.
        max_side: a longer side is scaled down to this, pixels.
        with_page: also write the interactive page.
        title: of the page.
        device: where to compute.
    """

    layers: tuple[int, ...] | None = None
    queries: int = 4
    points: tuple[Point, ...] = ()
    max_side: int = 512
    with_page: bool = False
    title: str = "attention"
    device: str = "auto"


@dataclass
class Exhibit:
    """One picture and what was written for it.

    Attributes:
        job: where it was read.
        files: what was written.
        layers: a summary a layer, plain types.
        error: why nothing was written; None where all went well.
    """

    job: Job
    files: list[Path] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


@dataclass
class ExhibitReport:
    """What was written.

    Attributes:
        exhibits: one a picture, in order.
        steps: training steps of the checkpoints shown.
        page: the interactive page, where one was asked for and a picture could be read.
        page_facts: its size, what it holds and how exact it is, plain types.
    """

    exhibits: list[Exhibit]
    steps: list[int]
    page: Path | None = None
    page_facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Shown:
    """A picture that could be read, and what is gathered about it."""

    exhibit: Exhibit
    picture: Picture
    queries: dict[int, list[int]] = field(default_factory=dict)  # by layer
    look: Look | None = None  # by the last checkpoint
    moments: dict[int, list[Moment]] = field(default_factory=dict)  # by layer, newest first
    parts: list[Part] = field(default_factory=list)  # of the page, newest first


def write_exhibits(
    checkpoints: Sequence[StepFile],
    jobs: Sequence[Job],
    out: Path,
    options: ExhibitOptions,
    *,
    on_done: Callable[[int, int], None] = lambda _done, _total: None,
) -> ExhibitReport:
    """Look at pictures through one or more checkpoints of a run, and write what is to be seen.

    Args:
        checkpoints: oldest first; the last one is drawn in full, the others in strips and films.
        jobs: what to read; the name of a job's target without its suffix names its files.
        out: where the page goes.
        options: what is shown.
        on_done: called with the looks done and their total.

    Raises:
        ConfigError: if the method shows nothing, or not the layers or points asked for.
        DataError: if no picture can be read.
    """
    newest = checkpoints[-1]
    translator = load_translator(newest.path, device=options.device)
    require_views(translator)
    exhibits = [Exhibit(job) for job in jobs]
    shown = _read(exhibits, translator)
    if not shown:
        raise DataError(f"none of the pictures can be read: {exhibits[0].error}")
    plan = _PagePlan(options, pictures=len(shown), steps=[c.step for c in checkpoints])
    total = len(shown) * len(checkpoints)
    for back, checkpoint in enumerate(reversed(checkpoints)):
        if back:
            translator = load_translator(checkpoint.path, device=options.device)
        for number, item in enumerate(shown):
            look = look_at(
                translator,
                item.picture,
                name=item.exhibit.job.name,
                max_side=options.max_side,
                layers=options.layers,
            )
            if not back:
                _write_newest(item, look, options)
            _remember(item, look, checkpoint.step, keep=len(checkpoints) > 1)
            plan.add(item, number, look, checkpoint.step, translator)
            on_done(back * len(shown) + number + 1, total)
    for item in shown:
        _write_training(item)
    report = ExhibitReport(exhibits, [c.step for c in checkpoints])
    plan.write(report, shown, out, method=translator.name)
    return report


def _read(exhibits: Sequence[Exhibit], translator: Translator) -> list[_Shown]:
    channels = source_channels(translator.method, "a2b")
    shown = []
    for exhibit in exhibits:
        try:
            shown.append(_Shown(exhibit, read_picture(exhibit.job.source, channels=channels)))
        except DataError as fault:
            exhibit.error = str(fault)
    return shown


def _write_newest(item: _Shown, look: Look, options: ExhibitOptions) -> None:
    """Write the sheets and the arrays of the newest checkpoint."""
    item.look = look
    arrays: dict[str, Any] = {"source": look.source, "translation": look.translation}
    for view in look.views:
        queries = _choose_queries(item, look, view, options)
        item.queries[view.layer] = queries
        _save_figure(item, f"-layer{view.layer}.png", draw_sheet(look, view, queries))
        arrays |= _arrays(view, queries)
        item.exhibit.layers.append(_summary(look, view, queries))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    _save(item, ".npz", file.getvalue())


def _choose_queries(
    item: _Shown, look: Look, view: AttentionView, options: ExhibitOptions
) -> list[int]:
    if not options.points:
        width = view.entropy.shape[1]
        return spread(view.places.tolist(), width=width, count=options.queries)
    width, height = item.picture.size
    scale_x, scale_y = look.size[1] / width, look.size[0] / height
    places = []
    for x, y in options.points:
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(
                f"--query {x:g},{y:g} lies outside {item.exhibit.job.source}, which is {width} x "
                f"{height} pixels: give X from 0 to {width - 1} and Y from 0 to {height - 1}."
            )
        places.append(look.place_at(view, (x + 0.5) * scale_x, (y + 0.5) * scale_y))
    return list(dict.fromkeys(places))


def _arrays(view: AttentionView, queries: Sequence[int]) -> dict[str, Any]:
    """Return what the .npz holds of a layer, as docs/looking-inside.md lists it."""
    places = torch.tensor(queries, dtype=torch.int64)
    arrays: dict[str, Tensor] = {
        "entropy": view.entropy,
        "translation_entropy": view.translation_entropy,
        "selected": view.places,
        "queries": places,
    }
    for side in SIDES:
        if view.has_map:
            arrays[f"{side}_rows"] = view.map_rows(side, places)
        if view.has_window:
            arrays[f"{side}_windows"] = view.window_rows(side, places)
    return {f"layer{view.layer}_{name}": array.numpy() for name, array in arrays.items()}


def _summary(look: Look, view: AttentionView, queries: Sequence[int]) -> dict[str, Any]:
    entropy, rank = view.entropy, ranks(view.entropy)
    return {
        "layer": view.layer,
        "selection": view.selection,
        "map": list(entropy.shape),
        "selected": len(view.places),
        "entropy": {
            "min": max(0.0, float(entropy.min())),
            "median": max(0.0, float(entropy.median())),
            "max": float(entropy.max()),
        },
        "queries": [
            {
                "place": place,
                "x": round(look.centre_of(view, place)[0], 1),
                "y": round(look.centre_of(view, place)[1], 1),
                "rank": int(rank[place]),
                "entropy": max(0.0, float(entropy.flatten()[place])),
            }
            for place in queries
        ],
    }


def _remember(item: _Shown, look: Look, step: int, *, keep: bool) -> None:
    """Keep what strips and films need, which is little."""
    if not keep:
        return
    for view in look.views:
        query = item.queries[view.layer][:1]
        if not query:
            continue
        at = torch.tensor(query)
        if view.has_map:
            row = view.map_rows("source", at)[0]
        else:
            row = window_map(view, query[0], view.window_rows("source", at)[0])
        moment = Moment(step, look.translation, view.entropy, row)
        item.moments.setdefault(view.layer, []).append(moment)


def _write_training(item: _Shown) -> None:
    """Write the strip and the film of every layer, where there are several checkpoints."""
    for layer, newest_first in item.moments.items():
        assert item.look is not None
        view = next(view for view in item.look.views if view.layer == layer)
        moments, query = newest_first[::-1], item.queries[layer][0]
        strip = draw_strip(item.look, view, moments, query=query)
        _save_figure(item, f"-layer{layer}-training.png", strip)
        film = draw_film(item.look, view, moments, query=query)
        _save(item, f"-layer{layer}-training.gif", film_bytes(film))


class _PagePlan:
    """Decides what the page holds, and gathers it."""

    def __init__(self, options: ExhibitOptions, *, pictures: int, steps: Sequence[int]) -> None:
        self._options = options
        self._pictures = pictures
        self._all = list(steps)
        self._steps = list(steps)
        self._room: int | None = None

    def add(self, item: _Shown, number: int, look: Look, step: int, translator: Translator) -> None:
        """Take a look into the page, if there is room for this picture and checkpoint."""
        if not self._options.with_page or step not in self._steps or number >= self._pictures:
            return
        if max(look.size) > PAGE_SIDE:
            look = look_at(
                translator,
                item.picture,
                name=look.name,
                max_side=PAGE_SIDE,
                layers=self._options.layers,
            )
        part = build_part(look, step=step)
        item.parts.append(part)
        if self._room is None:  # the first part tells how many there can be
            self._room = part.size
            self._pictures, steps = affordable(part, pictures=self._pictures, steps=len(self._all))
            self._steps = evenly(self._all, steps)

    def write(
        self, report: ExhibitReport, shown: Sequence[_Shown], out: Path, *, method: str
    ) -> None:
        """Write the page and say in the report what it holds."""
        if not self._options.with_page:
            return
        parts = fitting([part for item in shown for part in item.parts])
        names = list(dict.fromkeys(part.name for part in parts))
        steps = sorted({part.step for part in parts})
        notes = []
        if len(names) < len(shown):
            notes.append(f"A page holds 20 MB: {len(names)} of {len(shown)} pictures.")
        if len(steps) < len(self._all):
            notes.append(f"A page holds 20 MB: {len(steps)} of {len(self._all)} checkpoints.")
        text = build_page(parts, title=self._options.title, method=method, notes=notes)
        report.page = out / "attention.html"
        _write(report.page, text.encode("utf-8"))
        report.page_facts = {
            "bytes": len(text.encode("utf-8")),
            "pictures": len(names),
            "steps": steps,
            "largest_error": max(part.error for part in parts),
        }


def _save_figure(item: _Shown, ending: str, figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    _save(item, ending, file.getvalue())


def _save(item: _Shown, ending: str, content: bytes) -> None:
    target = item.exhibit.job.target
    path = target.with_name(f"{target.stem}{ending}")
    _write(path, content)
    item.exhibit.files.append(path)


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as fault:
        partial.unlink(missing_ok=True)
        raise I2IError(f"{path} was not written: {fault.strerror}. Name another OUT.") from None
