"""The interactive page: one file that computes attention from the features it holds."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
import matplotlib
import numpy as np
from PIL import Image

from i2icli.pictures.decode import Pixels
from i2icli.version import __version__
from i2icli.viz.attention import ENTROPY, RANK
from i2icli.viz.channels import MATRIX, RESPONSE
from i2icli.viz.drawer import text_of
from i2icli.viz.drawers import drawer_of
from i2icli.viz.looks import Look
from i2icli.viz.masks import MASK
from i2icli.viz.panels import HEAT
from i2icli.viz.positions import RECEIVED
from i2icli.viz.scales import WEIGHT
from i2icli.viz.similarity import AGREEMENT, SIMILARITY

LIMIT = 20_000_000  # bytes of the whole page
_ROOM = LIMIT - 400_000  # what the page itself and rounding need
_SCRIPTS = (
    "attention_numbers.js",
    "attention_paint.js",
    "attention_selection.js",
    "attention_kinds.js",
    "attention.js",
)
_COLOURS = {
    "heat": HEAT,
    "entropy": ENTROPY,
    "rank": RANK,
    "mask": MASK,
    "similarity": SIMILARITY,
    "agreement": AGREEMENT,
    "received": RECEIVED,
    "matrix": MATRIX,
    "response": RESPONSE,
    "weight": WEIGHT,
}


@dataclass(frozen=True)
class Part:
    """One picture at one checkpoint, ready for the page."""

    step: int  # training steps of the checkpoint
    name: str
    picture: str  # what does not change with the checkpoint, as JSON
    text: str  # the rest, as JSON
    error: float  # largest error of a weight in the page's attention over a whole map

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return len(self.picture) + len(self.text)


def build_part(look: Look, *, step: int, room: int = _ROOM) -> Part:
    """Pack one picture at one checkpoint; where it would exceed `room` bytes, axes are left out."""
    part = _build(look, step=step, share=1.0)
    if part.size > room:
        part = _build(look, step=step, share=0.97 * room / part.size)
    return part


def affordable(part: Part, *, pictures: int, steps: int) -> tuple[int, int]:
    """Return the numbers of pictures and checkpoints of the size of `part` that a page can hold.

    All checkpoints of one picture come before a second picture.
    """
    slots = max(1, _ROOM // part.size)
    if steps <= slots:
        return min(pictures, slots // steps), steps
    return 1, slots


def fitting(parts: Sequence[Part]) -> list[Part]:
    """Leave out the last pictures, at all checkpoints, until what is left fits into a page."""
    kept = list(parts)
    while sum(part.size for part in kept) > _ROOM:
        names = list(dict.fromkeys(part.name for part in kept))
        if len(names) > 1:
            kept = [part for part in kept if part.name != names[-1]]
        elif len(kept) > 1:
            kept = kept[1:]
        else:
            break
    return kept


def build_page(parts: Sequence[Part], *, title: str, method: str, notes: Sequence[str] = ()) -> str:
    """Return the page as HTML that needs no other file and asks for none.

    `parts` holds every shown picture at every shown checkpoint; `notes` are sentences for the
    foot, such as what was left out.
    """
    steps = sorted({part.step for part in parts})
    names = list(dict.fromkeys(part.name for part in parts))
    known = {(part.name, part.step): part for part in parts}
    pictures = [
        f'{{"picture":{known[name, steps[0]].picture},"moments":['
        + ",".join(known[name, step].text for step in steps)
        + "]}"
        for name in names
    ]
    about = {
        "title": title,
        "method": method,
        "version": __version__,
        "steps": steps,
        "error": max(part.error for part in parts),
        "notes": list(notes),
        "colours": {name: _colours(pairs) for name, pairs in _COLOURS.items()},
    }
    data = f'{{"about":{json.dumps(about)},"pictures":[{",".join(pictures)}]}}'
    template = jinja2.Template(_template("attention.html.j2"), autoescape=True)
    page: str = template.render(
        title=title,
        version=__version__,
        style=_template("attention.css"),
        scripts=[_template(name) for name in _SCRIPTS],
        # Within a script element only its end tag has a meaning.
        data=data.replace("<", "\\u003c"),
    )
    return page


def _template(name: str) -> str:
    return (resources.files("i2icli.viz") / "templates" / name).read_text(encoding="utf-8")


def _build(look: Look, *, step: int, share: float) -> Part:
    layers, errors = [], [0.0]
    for view in look.views:
        drawer = drawer_of(view)
        document, error = drawer.pack(look, view, share)
        layers.append({"layer": view.layer, "kind": drawer.kind, **document})
        errors.append(error)
    height, width = look.size
    picture = {
        "name": look.name,
        "made": look.made,
        "width": width,
        "height": height,
        "covered": list(look.covered),
        "source": _picture_url(look.source),
    }
    moment = {"step": step, "translation": _picture_url(look.translation), "layers": layers}
    return Part(
        step, look.name, json.dumps(picture), json.dumps(moment, separators=(",", ":")), max(errors)
    )


def _picture_url(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _colours(name: str) -> str:
    table = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    return text_of(np.ascontiguousarray(table))
