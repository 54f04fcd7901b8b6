"""The measurements of a run, the best of them, whether there is still a gain, and RUN/curve.png."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2icli.metrics.alarms import Alarm, stall_alarm
from i2icli.system.files import WholeFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Best = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """The numbers of one step."""

    step: int
    scores: Mapping[str, float]


@dataclass
class Scoreboard:
    """The measurements under one protocol.

    All of it follows from metrics.jsonl and the checkpoint's best, so a run that goes on knows
    what the one that never stopped knows.
    """

    deciding: str  # name of the number that decides, lower is better
    protocol: str  # what the numbers were computed from
    points: list[Point] = field(default_factory=list)  # the measurements in order of their steps

    def read(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take in lines of metrics.jsonl; those of another protocol are left out."""
        for line in lines:
            if line.get("protocol") == self.protocol:
                scores = {key: value for key, value in line.items() if key.startswith("eval/")}
                self.points.append(Point(line["step"], scores))

    def add(self, step: int, scores: Mapping[str, float]) -> None:
        """Take in a measurement."""
        self.points.append(Point(step, dict(scores)))

    def is_comparable(self, best: Best) -> bool:
        """Say whether a best number was measured as these are; none at all is."""
        return not best or (best["name"], best.get("protocol")) == (self.deciding, self.protocol)

    def improved(self, best: Best) -> Best | None:
        """Return the new best if the newest measurement is lower than `best`, else None."""
        newest = self.points[-1]
        value = newest.scores[self.deciding]
        # The first number is the best whatever it is; one that is none is never lower.
        if best and not value < best["value"]:
            return None
        return {
            "name": self.deciding,
            "value": value,
            "step": newest.step,
            "protocol": self.protocol,
        }

    def stall(self, best: Best, *, patience: int) -> Alarm | None:
        """Return the advice to stop, if `patience` measurements brought no gain; 0: never."""
        if not patience or not best:
            return None
        count = sum(point.step > best["step"] for point in self.points)
        if count < patience:
            return None
        return stall_alarm(
            metric=self.deciding, best=best["value"], best_step=best["step"], count=count
        )


CURVE = "curve.png"
# A panel each: its title, and the numbers drawn in it.
_PANELS = (
    ("error against the truth, mean absolute", ("truth_total", "truth_inside", "truth_outside")),
    ("FID", ("fid",)),
    ("KID", ("kid",)),
    ("1 - mean IoU", ("iou_error",)),
    ("accuracies, higher is better", ("mean_iou", "pixel_accuracy", "class_accuracy")),
)
_COLOURS = ("#20639b", "#d1495b", "#3c8c5a")


def draw_curve(folder: Path, board: Scoreboard, best: Mapping[str, Any]) -> None:
    """Draw all measurements of a run over its steps, whole or not at all."""
    # Slow to import, and not pyplot: that one keeps figures and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    names = {name.removeprefix("eval/") for point in board.points for name in point.scores}
    panels = [panel for panel in _PANELS if names & set(panel[1])]
    figure = Figure(figsize=(7.2, 0.9 + 2.4 * len(panels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, shown) in zip(axes, panels, strict=True):
        _draw_panel(axis, board, [name for name in shown if name in names], best)
        axis.set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.suptitle(board.protocol, fontsize=9, color="#555555")
    with WholeFile(folder / CURVE) as file:
        figure.savefig(file, format="png")


def _draw_panel(axis: Axes, board: Scoreboard, names: list[str], best: Mapping[str, Any]) -> None:
    for name, colour in zip(names, _COLOURS, strict=False):
        key = f"eval/{name}"
        points = [(point.step, point.scores[key]) for point in board.points if key in point.scores]
        steps, values = zip(*points, strict=True)
        label = name.removeprefix("truth_")
        axis.plot(steps, values, color=colour, marker=".", linewidth=1.4, label=label)
        if best.get("name") == key:
            axis.axvline(best["step"], color="#999999", linewidth=0.8, linestyle=":")
            axis.plot([best["step"]], [best["value"]], "o", markersize=9, mfc="none", color=colour)
            words = f"best {best['value']:.4g} at step {best['step']:,}"
            axis.set_title(words, loc="right", fontsize=9, color=colour)
    axis.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axis.margins(y=0.1)
    axis.spines[["top", "right"]].set_visible(False)
    if len(names) > 1:
        axis.legend(fontsize=8, frameon=False, loc="upper right")
