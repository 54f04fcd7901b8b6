"""Scale attention: which size of the picture says most at each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from torch import Tensor

from i2icli.methods.shared.views import ScaleView
from i2icli.viz.drawer import FILM_SIDE, Document, Drawer, FilmRow, bytes_of, unit_scale
from i2icli.viz.looks import Look, smaller
from i2icli.viz.panels import INK, WIDTH, aspect_of, draw_bar, show_map, show_picture, start_sheet

WEIGHT = "viridis"
PAGE_SIDE = 128  # cells of a map in the page; weights are smooth


_ABOUT = (
    "The network looks at the picture in several sizes and decides at every pixel how much to "
    "trust each: the weights of all scales sum to 1. Scale 1 is the picture as it is, 0.5 the "
    "picture at half its size, in which large things are seen whole."
)


def name_of(scale: float) -> str:
    """Return the name of a scale in captions."""
    return f"scale {scale:g}"


def dominant(look: Look, view: ScaleView) -> tuple[Tensor, list[float]]:
    """Return the heaviest scale of each pixel, (H, W), and the share of the picture of each."""
    heaviest = look.at_pixels(view.weights).argmax(dim=0)
    shares = [float((heaviest == number).float().mean()) for number in range(len(view.scales))]
    return heaviest, shares


def _heading(look: Look, view: ScaleView) -> str:
    means = look.at_pixels(view.weights).mean(dim=(1, 2))
    each = ", ".join(
        f"{name_of(scale)} {float(mean):.2f}"
        for scale, mean in zip(view.scales, means, strict=True)
    )
    height, width = view.size
    return f"{view.layer}: weights of {len(view.scales)} scales, {width} x {height}; mean {each}"


def colours_of(count: int) -> ListedColormap:
    """Return one colour a scale."""
    return ListedColormap([colormaps["Set2"](number % 8) for number in range(count)])


def _draw_overview(figure: SubFigure, look: Look, view: ScaleView) -> None:
    panels = figure.subplots(2, 3, height_ratios=[1, 0.09])
    show_picture(panels[0, 0], look.source, "source")
    show_picture(panels[0, 1], look.translation, look.made)
    heaviest, shares = dominant(look, view)
    count = len(view.scales)
    colours = colours_of(count)
    show_picture(
        panels[0, 2], (colours(heaviest.numpy())[..., :3] * 255).astype("uint8"), "heaviest scale"
    )
    for axes in panels[1]:
        axes.axis("off")
    panels[1, 2].legend(
        handles=[
            Patch(color=colours(number), label=f"{name_of(scale)}: {shares[number]:.1%}")
            for number, scale in enumerate(view.scales)
        ],
        loc="center", ncols=min(3, count), fontsize=8,
        frameon=False, handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def _draw_weights(figure: SubFigure, look: Look, view: ScaleView) -> None:
    count = len(view.scales)
    columns = max(3, count)
    panels = figure.subplots(2, columns, squeeze=False, height_ratios=[1, 0.05])
    norm = Normalize(0, 1)
    for number, axes in enumerate(panels[0]):
        if number < count:
            show_map(axes, look, view.weights[number], norm, colours=WEIGHT)
            axes.set_title(f"weight of {name_of(view.scales[number])}", fontsize=10, color=INK)
        else:
            axes.axis("off")
    for axes in panels[1]:
        axes.axis("off")
    bar = figure.add_subplot(panels[1, 0].get_gridspec()[1, columns // 2])
    draw_bar(bar, ScalarMappable(norm, WEIGHT), "weight")


class _ScaleDrawer(Drawer[ScaleView]):
    kind = "scale"

    def draw(self, look: Look, view: ScaleView, queries: Sequence[int]) -> Figure:  # noqa: ARG002
        aspect, count = aspect_of(look), len(view.scales)
        each = WIDTH / max(3, count)
        bands = [WIDTH / 3 * 0.85 * aspect + 0.85, each * 0.85 * aspect + 0.85]
        figure, parts = start_sheet(look, facts=_heading(look, view), about=_ABOUT, bands=bands)
        _draw_overview(parts[0], look, view)
        _draw_weights(parts[1], look, view)
        return figure

    def arrays(self, look: Look, view: ScaleView, queries: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        return {
            "weights": look.at_pixels(view.weights),
            "scales": torch.tensor(view.scales, dtype=torch.float32),
        }

    def summary(self, look: Look, view: ScaleView, queries: Sequence[int]) -> Document:  # noqa: ARG002
        means = look.at_pixels(view.weights).mean(dim=(1, 2)).tolist()
        _, shares = dominant(look, view)
        return {
            "map": list(view.size),
            "scales": [
                {"scale": scale, "mean_weight": mean, "heaviest_in": share}
                for scale, mean, share in zip(view.scales, means, shares, strict=True)
            ],
        }

    def film_rows(self, view: ScaleView) -> tuple[FilmRow, ...]:
        return tuple(
            FilmRow(name_of(scale), unit_scale, WEIGHT, "weight", "weight") for scale in view.scales
        )

    def film_maps(self, view: ScaleView, queries: Sequence[int]) -> tuple[Tensor, ...]:  # noqa: ARG002
        return tuple(smaller(view.weights, FILM_SIDE))

    def pack(self, look: Look, view: ScaleView, share: float) -> tuple[Document, float]:  # noqa: ARG002
        weights = smaller(view.weights, PAGE_SIDE)
        _, shares = dominant(look, view)
        document = {
            "width": weights.shape[2],
            "height": weights.shape[1],
            "scales": list(view.scales),
            "shares": shares,
            "colours": [
                [round(255 * part) for part in colours_of(len(view.scales))(number)[:3]]
                for number in range(len(view.scales))
            ],
            "weights": bytes_of(weights),
        }
        return document, 0.5 / 255


DRAWER = _ScaleDrawer()
