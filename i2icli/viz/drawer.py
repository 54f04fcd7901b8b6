"""The seam that every kind of view fills in a file: what is drawn and written of it."""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from i2icli.methods.shared.views import AnyView, Side
from i2icli.pictures.decode import Pixels
from i2icli.viz.looks import Look, Moment

V = TypeVar("V", bound=AnyView)
FILM_SIDE = 256  # cells of a map that is kept for a film
Document = dict[str, Any]  # plain types, for JSON


@dataclass(frozen=True)
class FilmRow:
    """One map of a view through training: a row of the strip, a panel of each frame of the film."""

    title: str  # what the map is
    scale: Callable[[Sequence[Tensor]], Normalize] | None = (
        None  # from all maps; None: each its own
    )
    colours: str | None = None  # of the colour bar; None: no bar
    label: str = ""  # of the colour bar under a panel of the film
    strip_label: str = ""  # of the one colour bar below the strip
    side: Side = "source"  # whose picture `draw` is given
    draw: Callable[[Axes, Look, Pixels, Tensor], None] | None = None  # None: the map alone

    def bar(self, norm: Normalize | None) -> ScalarMappable | None:
        """Return the caption of the colour bar; None: there is none."""
        if norm is None or self.colours is None:
            return None
        return ScalarMappable(norm, self.colours)


class Drawer(ABC, Generic[V]):
    """Draws one kind of view.

    Attributes:
        kind: its name, in `--json` and in the page.
        takes_queries: whether positions are chosen whose rows are shown.
    """

    kind: ClassVar[str]
    takes_queries: ClassVar[bool] = False

    def key(self, view: V) -> str:
        """Return the stem of the names of files and arrays of the view."""
        return slug(str(view.layer))

    def title(self, view: V) -> str:
        """Return the name of the view in captions."""
        return str(view.layer)

    def choose(self, look: Look, view: V, count: int) -> list[int]:  # noqa: ARG002
        """Return at most `count` flat positions worth showing; none where there are no rows."""
        return []

    @abstractmethod
    def draw(self, look: Look, view: V, queries: Sequence[int]) -> Figure:
        """Draw the sheet of one view of one picture."""

    @abstractmethod
    def arrays(self, look: Look, view: V, queries: Sequence[int]) -> dict[str, Tensor]:
        """Return the numbers behind the sheet, by names that docs/looking-inside.md lists."""

    @abstractmethod
    def summary(self, look: Look, view: V, queries: Sequence[int]) -> Document:
        """Return the main numbers, for `--json`."""

    @abstractmethod
    def pack(self, look: Look, view: V, share: float) -> tuple[Document, float]:
        """Pack the view for the page; below a `share` of 1 parts may be left out at some loss.

        Returns:
            What the page's script takes, and the largest error of a value that it shows.
        """

    def film_rows(self, view: V) -> tuple[FilmRow, ...]:  # noqa: ARG002
        """Return the rows of strip and film; nothing: there is no film of this kind."""
        return ()

    def film_maps(self, view: V, queries: Sequence[int]) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return a small map, (h, w), for each of `film_rows`; none where a query is missing."""
        return ()

    def inverted(self, view: V) -> V | None:  # noqa: ARG002
        """Return the view with its meaning turned round; None where that makes no sense."""
        return None

    def remember(self, look: Look, view: V, queries: Sequence[int], step: int) -> Moment | None:
        """Return the part of strip and film of one checkpoint; None where there is no film."""
        maps = self.film_maps(view, queries)
        return Moment(step, look.translation, maps) if maps else None

    def queries_of(self, look: Look, view: V, queries: Sequence[int]) -> list[Document]:
        """Return the positions of queries, for `--json`."""
        return [
            {"place": position, "x": round(x, 1), "y": round(y, 1)}
            for position in queries
            for x, y in [look.centre_of(view, position)]
        ]


def unit_scale(maps: Sequence[Tensor]) -> Normalize:  # noqa: ARG001
    """Return the scale of maps from 0 to 1."""
    return Normalize(0, 1)


def slug(name: str) -> str:
    """Return a name that suits files and arrays, letters, digits, _ and -."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-") or "view"


def text_of(array: np.ndarray[Any, Any]) -> str:
    """Return an array's bytes in base 64, as the page's script reads them."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def bytes_of(values: Tensor, *, low: float = 0.0, high: float = 1.0) -> str:
    """Return values rounded to 256 steps between two bounds, in base 64."""
    steps = ((values.double() - low) / max(high - low, 1e-12)).clamp(0, 1) * 255
    return text_of(steps.round().numpy().astype(np.uint8))
