"""All that `viz-attention` writes: sheets, arrays, strips and films, and the interactive page."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.methods.shared.views import AnyView
from i2icli.pictures.images import Picture, read_picture
from i2icli.pictures.listing import evenly_spaced
from i2icli.pictures.mark import COMMENT, mark_png, refuse_foreign
from i2icli.runs.paths import StepFile
from i2icli.system.files import write_whole
from i2icli.translation.pictures import check_direction, source_channels
from i2icli.translation.targets import Job
from i2icli.translation.translator import Translator, load_translator
from i2icli.viz.drawers import drawer_of
from i2icli.viz.looking import look_at, require_views
from i2icli.viz.looks import Look, Moment
from i2icli.viz.page import Part, affordable, build_page, build_part, fitting
from i2icli.viz.strip import draw_film, draw_strip, film_bytes

PAGE = "attention.html"
PAGE_SIDE = 256  # pixels; features of larger pictures would not fit into a page

Point = tuple[float, float]


@dataclass(frozen=True)
class ExhibitOptions:
    """The choice of what is shown."""

    layers: tuple[str, ...] | None = None  # numbers or names of layers; None: all that there are
    queries: int = 4  # positions whose rows are drawn, where a view has rows
    points: tuple[Point, ...] = ()  # drawn instead: x and y in the file's picture, pixels
    max_side: int = 512  # a longer side is scaled down to this, pixels
    with_page: bool = False  # also write the interactive page
    title: str = "attention"  # of the page
    direction: str = "a2b"  # one of the method's directions
    invert_mask: bool = False  # show masks the other way round
    device: str = "auto"
    is_marked: bool = True  # with the mark of `pictures.mark`
    may_replace: bool = False  # files that are there and do not bear it


@dataclass
class Exhibit:
    """One picture and what was written for it."""

    job: Job
    files: list[Path] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)  # a summary a layer, plain types
    error: str | None = None  # why nothing was written; None where all went well


@dataclass
class ExhibitReport:
    """The files written."""

    exhibits: list[Exhibit]  # one a picture, in order
    steps: list[int]  # training steps of the checkpoints shown
    page: Path | None = None  # the interactive page, where one was made
    page_facts: dict[str, Any] = field(default_factory=dict)  # size, content, exactness


@dataclass
class _Shown:
    exhibit: Exhibit
    picture: Picture
    queries: dict[str, list[int]] = field(default_factory=dict)  # by key of the view
    look: Look | None = None  # by the last checkpoint
    moments: dict[str, list[Moment]] = field(default_factory=dict)  # by key, newest first
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

    The last checkpoint is drawn in full, the earlier ones in strips and films. The name of a job's
    target without its suffix names its files; the page goes to `out`.

    Raises:
        ConfigError: if the method shows nothing, or not the layers or points asked for, or files
            would be replaced that i2i did not make.
        DataError: if no picture can be read.
    """
    newest = checkpoints[-1]
    translator = load_translator(newest.path, device=options.device)
    require_views(translator)
    check_direction(translator.method, options.direction)
    exhibits = [Exhibit(job) for job in jobs]
    shown = _read(exhibits, translator, options.direction)
    if not shown:
        raise DataError(f"none of the pictures can be read: {exhibits[0].error}")
    for item in shown:
        _check_points(item, options.points)
    plan = _PagePlan(options, pictures=len(shown), steps=[c.step for c in checkpoints])
    total = len(shown) * len(checkpoints)
    for back, checkpoint in enumerate(reversed(checkpoints)):
        if back:
            translator = load_translator(checkpoint.path, device=options.device)
            translator.scale.is_told = True  # by the newest
        for number, item in enumerate(shown):
            look = _look(translator, item, options, side=options.max_side)
            if not back and not number and not options.may_replace:
                refuse_foreign(_targets(shown, look, out, options, films=len(checkpoints) > 1))
            if not back:
                _write_newest(item, look, options)
            _remember(item, look, checkpoint.step, keep=len(checkpoints) > 1)
            plan.add(item, number, look, checkpoint.step, translator)
            on_done(back * len(shown) + number + 1, total)
    for item in shown:
        _write_training(item, options)
    report = ExhibitReport(exhibits, [c.step for c in checkpoints])
    plan.write(report, shown, out, method=translator.name)
    return report


def _targets(
    shown: Sequence[_Shown], look: Look, out: Path, options: ExhibitOptions, *, films: bool
) -> list[Path]:
    # One picture's views have the keys of all.
    keys = [drawer_of(view).key(view) for view in look.views]
    endings = [".npz", *(f"-{key}.png" for key in keys)]
    if films:
        endings += [f"-{key}-training.{kind}" for key in keys for kind in ("png", "gif")]
    pages = [out / PAGE] if options.with_page else []
    return [*(_target(item, ending) for item in shown for ending in endings), *pages]


def _target(item: _Shown, ending: str) -> Path:
    target = item.exhibit.job.target
    return target.with_name(f"{target.stem}{ending}")


def _look(translator: Translator, item: _Shown, options: ExhibitOptions, *, side: int) -> Look:
    return look_at(
        translator,
        item.picture,
        name=item.exhibit.job.name,
        max_side=side,
        layers=options.layers,
        direction=options.direction,
        invert_mask=options.invert_mask,
    )


def _read(exhibits: Sequence[Exhibit], translator: Translator, direction: str) -> list[_Shown]:
    channels = source_channels(translator.method, direction)
    shown = []
    for exhibit in exhibits:
        try:
            shown.append(_Shown(exhibit, read_picture(exhibit.job.source, channels=channels)))
        except DataError as fault:
            exhibit.error = str(fault)
    return shown


def _write_newest(item: _Shown, look: Look, options: ExhibitOptions) -> None:
    item.look = look
    arrays: dict[str, Any] = {"source": look.source, "translation": look.translation}
    for view in look.views:
        drawer = drawer_of(view)
        key = drawer.key(view)
        queries = _choose_queries(item, look, view, options)
        item.queries[key] = queries
        _save_figure(item, f"-{key}.png", drawer.draw(look, view, queries), options)
        named = drawer.arrays(look, view, queries)
        arrays |= {f"{key}_{name}": array.numpy() for name, array in named.items()}
        summary = drawer.summary(look, view, queries)
        item.exhibit.layers.append({"layer": view.layer, "kind": drawer.kind, **summary})
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    if options.is_marked:
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = COMMENT
    _save(item, ".npz", file.getvalue())


def _choose_queries(item: _Shown, look: Look, view: AnyView, options: ExhibitOptions) -> list[int]:
    drawer = drawer_of(view)
    if not drawer.takes_queries:
        return []
    if not options.points:
        return drawer.choose(look, view, options.queries)
    width, height = item.picture.size
    scale_x, scale_y = look.size[1] / width, look.size[0] / height
    positions = [
        look.place_at(view, (x + 0.5) * scale_x, (y + 0.5) * scale_y) for x, y in options.points
    ]
    return list(dict.fromkeys(positions))


def _check_points(item: _Shown, points: Sequence[Point]) -> None:
    width, height = item.picture.size
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(
                f"--query {x:g},{y:g} lies outside {item.exhibit.job.source}, which is {width} x "
                f"{height} pixels: give X from 0 to {width - 1} and Y from 0 to {height - 1}."
            )


def _remember(item: _Shown, look: Look, step: int, *, keep: bool) -> None:
    for view in look.views if keep else ():
        drawer = drawer_of(view)
        key = drawer.key(view)
        moment = drawer.remember(look, view, item.queries[key], step)
        if moment is not None:
            item.moments.setdefault(key, []).append(moment)


def _write_training(item: _Shown, options: ExhibitOptions) -> None:
    for view in item.look.views if item.look else ():
        key = drawer_of(view).key(view)
        if key not in item.moments:
            continue
        assert item.look is not None
        moments = item.moments[key][::-1]
        query = next(iter(item.queries[key]), None)
        strip = draw_strip(item.look, view, moments, query=query)
        _save_figure(item, f"-{key}-training.png", strip, options)
        film = draw_film(item.look, view, moments, query=query)
        comment = COMMENT if options.is_marked else b""
        _save(item, f"-{key}-training.gif", film_bytes(film, comment=comment))


class _PagePlan:
    def __init__(self, options: ExhibitOptions, *, pictures: int, steps: Sequence[int]) -> None:
        self._options = options
        self._pictures = pictures
        self._all = list(steps)
        self._steps = list(steps)
        self._room: int | None = None

    def add(self, item: _Shown, number: int, look: Look, step: int, translator: Translator) -> None:
        if not self._options.with_page or step not in self._steps or number >= self._pictures:
            return
        if max(look.size) > PAGE_SIDE:
            look = _look(translator, item, self._options, side=PAGE_SIDE)
        part = build_part(look, step=step)
        item.parts.append(part)
        if self._room is None:  # the first part tells how many there can be
            self._room = part.size
            self._pictures, steps = affordable(part, pictures=self._pictures, steps=len(self._all))
            self._steps = (
                list(evenly_spaced(self._all, count=steps)) if steps > 1 else self._all[-1:]
            )

    def write(
        self, report: ExhibitReport, shown: Sequence[_Shown], out: Path, *, method: str
    ) -> None:
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
        report.page = out / PAGE
        _write(report.page, text.encode("utf-8"))
        report.page_facts = {
            "bytes": len(text.encode("utf-8")),
            "pictures": len(names),
            "steps": steps,
            "largest_error": max(part.error for part in parts),
        }


def _save_figure(item: _Shown, ending: str, figure: Figure, options: ExhibitOptions) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    _save(item, ending, mark_png(file.getvalue()) if options.is_marked else file.getvalue())


def _save(item: _Shown, ending: str, content: bytes) -> None:
    path = _target(item, ending)
    _write(path, content)
    item.exhibit.files.append(path)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as fault:
        raise I2IError(f"{path} was not written: {fault.strerror}. Name another OUT.") from None
