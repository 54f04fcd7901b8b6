"""The built-in demo set: plain-coated animals (A) against striped ones (B), with the truth kept.

The bands of the plain coat are faint but visible and fixed on the body, so the true translation of
a picture is a function of what it shows: light tone to white, dark tone to black, nothing else.
Both domains share the distribution of scenes; no training scene appears in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2icli.datasets.demo.animal import Coat
from i2icli.datasets.demo.render import render_both, render_scene
from i2icli.datasets.demo.scene import draw_scene
from i2icli.errors import ConfigError
from i2icli.home import home
from i2icli.system.files import whole_folder

VERSION = 4  # raise it when the pictures change: older folders in I2I_HOME are then made anew
MARKER = "demo-set.json"
MIN_SIZE, MAX_SIZE = 32, 1024
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DemoPlan:
    """What a demo set holds.

    Attributes:
        size: side of the pictures, pixels.
        train: training pictures of each domain.
        test: test pictures of each domain.
        seed: draws the scenes; the same seed gives the same pixels.
    """

    size: int = 128
    train: int = 200
    test: int = 40
    seed: int = 0

    def check(self) -> None:
        """Refuse numbers that make no set.

        Raises:
            ConfigError: size, counts or seed out of range.
        """
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ConfigError(
                f"--size is {self.size}: pictures of the demo set are {MIN_SIZE} to {MAX_SIZE} "
                "pixels wide, 128 by default."
            )
        if self.train < 1 or self.test < 1:
            raise ConfigError(
                f"A demo set of {self.train} training and {self.test} test pictures a domain "
                "is empty; give --count 1 or more."
            )
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}; give 0 or a positive number.")

    @property
    def pictures(self) -> int:
        """Pictures drawn in all, truths and masks not counted."""
        return 2 * (self.train + self.test)


def demo_folder(progress: Progress | None = None) -> Path:
    """Return the demo set in `I2I_HOME`, making it first where it is missing or outdated.

    Safe when several processes ask at once: each makes its own and one of them is kept.
    """
    folder = home() / "datasets" / "demo"
    plan = DemoPlan()
    if _is_current(folder, plan):
        return folder
    is_current = partial(_is_current, folder, plan)
    with whole_folder(folder, is_replaced=True, is_current=is_current) as fresh:
        _fill(fresh, plan, progress)
    return folder


def make_demo_set(
    folder: Path, plan: DemoPlan | None = None, *, progress: Progress | None = None
) -> DemoPlan:
    """Write a demo set to `folder`, which appears complete or not at all.

    Args:
        folder: does not exist, or is empty.
        plan: size, counts and seed; none: the defaults.
        progress: called with the pictures done and their total.

    Raises:
        ConfigError: `folder` holds something, or the plan is out of range.
    """
    plan = plan or DemoPlan()
    plan.check()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is not empty and nothing is overwritten; name a new folder: "
            "i2i data demo OUT"
        )
    with whole_folder(folder) as fresh:
        _fill(fresh, plan, progress)
    return plan


def _fill(folder: Path, plan: DemoPlan, progress: Progress | None) -> None:
    for done, (place, pixels) in enumerate(_pictures(plan), start=1):
        for name, image in zip(place, pixels, strict=True):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, compress_level=4)
        if progress is not None:
            progress(done, plan.pictures)
    marker = {"version": VERSION, **asdict(plan)}
    (folder / MARKER).write_text(json.dumps(marker) + "\n", encoding="ascii")


def _pictures(plan: DemoPlan) -> Iterator[tuple[tuple[str, ...], tuple[NDArray[np.uint8], ...]]]:
    """Yield file names and pixels; a test picture of A comes with its truth and mask."""
    splits = (
        ("trainA", plan.train),
        ("trainB", plan.train),
        ("testA", plan.test),
        ("testB", plan.test),
    )
    for number, (split, count) in enumerate(splits):
        for index in range(count):
            scene = draw_scene(np.random.default_rng([plan.seed, number, index]))
            name = f"{split[-1].lower()}_{index + 1:04d}.png"
            if split == "testA":
                both = render_both(scene, size=plan.size)
                names = tuple(f"testA{part}/{name}" for part in ("", "_truth", "_mask"))
                yield names, (both.plain, both.striped, both.mask)
            else:
                coat: Coat = "plain" if split == "trainA" else "striped"
                yield (f"{split}/{name}",), (render_scene(scene, size=plan.size, coat=coat),)


def _is_current(folder: Path, plan: DemoPlan) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return bool(marker == {"version": VERSION, **asdict(plan)})
