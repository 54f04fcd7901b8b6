"""Random scenes of the built-in demo set: where the animals stand, and on what ground.

A scene is plain numbers drawn from one generator; `demo_render` turns it into pixels. Lengths are
shares of the picture's side unless said otherwise; x grows to the right, y downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """Colours of a landscape, each RGB in [0, 1].

    Attributes:
        sky: at the top and just above the horizon.
        hills: ridges from the farthest to the nearest.
        ground: at the horizon and at the lower edge.
        leaves: trees and tufts.
        trees: chance of trees on the horizon.
        tufts: tufts of grass for each unit of ground, roughly.
        clouds: strength of the clouds, 0 to 1.
    """

    sky: tuple[Colour, Colour]
    hills: tuple[Colour, ...]
    ground: tuple[Colour, Colour]
    leaves: Colour
    trees: float
    tufts: int
    clouds: float


@dataclass(frozen=True)
class Animal:
    """One animal, seen from its side.

    Attributes:
        x: middle of the body.
        ground: height of the hooves in the picture.
        scale: length of the body.
        facing: 1 looks to the right, -1 to the left.
        leg, neck, girth: lengths in units of `scale`.
        neck_angle, head_angle: radians above the horizontal.
        stride: angles of the four legs from the vertical, radians (near fore, near hind, far
            fore, far hind).
        tail: angle of the tail from the vertical, radians.
        hue: the plain coat, RGB in [0, 1].
        contrast: how much darker the bands of the plain coat are, as a factor.
        period: distance between bands in units of `scale`.
        phase: offset of the bands, radians.
        wobble: phases of the two waves that bend the bands, radians.
    """

    x: float
    ground: float
    scale: float
    facing: int
    leg: float
    neck: float
    girth: float
    neck_angle: float
    head_angle: float
    stride: tuple[float, float, float, float]
    tail: float
    hue: Colour
    contrast: float
    period: float
    phase: float
    wobble: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """A landscape with animals on it, the farthest first; `seed` draws its textures."""

    palette: Palette
    horizon: float
    sun: tuple[float, float, float] | None
    light: float
    animals: tuple[Animal, ...]
    seed: int


PALETTES = (
    Palette(  # meadow
        sky=((0.36, 0.60, 0.86), (0.80, 0.90, 0.96)),
        hills=((0.55, 0.69, 0.76), (0.42, 0.60, 0.50), (0.36, 0.56, 0.33)),
        ground=((0.50, 0.68, 0.32), (0.30, 0.50, 0.18)),
        leaves=(0.22, 0.42, 0.17),
        trees=0.8,
        tufts=70,
        clouds=0.9,
    ),
    Palette(  # savanna
        sky=((0.47, 0.68, 0.85), (0.95, 0.90, 0.77)),
        hills=((0.68, 0.67, 0.62), (0.60, 0.58, 0.40)),
        ground=((0.83, 0.80, 0.52), (0.67, 0.64, 0.33)),
        leaves=(0.40, 0.43, 0.17),
        trees=0.9,
        tufts=90,
        clouds=0.4,
    ),
    Palette(  # snow
        sky=((0.55, 0.68, 0.84), (0.90, 0.93, 0.96)),
        hills=((0.74, 0.80, 0.87), (0.60, 0.69, 0.77)),
        ground=((0.92, 0.94, 0.97), (0.78, 0.84, 0.91)),
        leaves=(0.30, 0.42, 0.38),
        trees=0.5,
        tufts=12,
        clouds=0.6,
    ),
    Palette(  # dusk
        sky=((0.35, 0.33, 0.58), (0.98, 0.72, 0.52)),
        hills=((0.62, 0.47, 0.60), (0.45, 0.38, 0.52)),
        ground=((0.55, 0.54, 0.37), (0.31, 0.38, 0.26)),
        leaves=(0.24, 0.28, 0.25),
        trees=0.7,
        tufts=60,
        clouds=0.6,
    ),
    Palette(  # coast
        sky=((0.42, 0.66, 0.90), (0.85, 0.93, 0.97)),
        hills=((0.28, 0.52, 0.66),),
        ground=((0.93, 0.90, 0.77), (0.84, 0.79, 0.63)),
        leaves=(0.45, 0.58, 0.30),
        trees=0.0,
        tufts=18,
        clouds=0.8,
    ),
    Palette(  # moor
        sky=((0.62, 0.68, 0.74), (0.87, 0.88, 0.88)),
        hills=((0.62, 0.66, 0.70), (0.50, 0.53, 0.52)),
        ground=((0.60, 0.58, 0.45), (0.42, 0.42, 0.28)),
        leaves=(0.45, 0.34, 0.42),
        trees=0.3,
        tufts=80,
        clouds=1.0,
    ),
)

# Warmer than any ground: what is animal can be told from the colour of a few pixels, so that the
# translation is learned in minutes.
HUES: tuple[Colour, ...] = (
    (0.58, 0.29, 0.13),  # chestnut
    (0.64, 0.35, 0.12),  # amber
    (0.52, 0.23, 0.11),  # russet
)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene; the coat is not part of it, so both domains share this distribution."""
    palette = _tinted(PALETTES[int(rng.integers(len(PALETTES)))], rng)
    horizon = float(rng.uniform(0.30, 0.50))
    light = float(rng.choice((-1.0, 1.0)))
    has_sun = palette.clouds < 1.0 and rng.random() < 0.45
    sun_x = 0.5 + light * rng.uniform(0.15, 0.42)
    sun = (float(sun_x), float(rng.uniform(0.06, horizon - 0.08)), float(rng.uniform(0.03, 0.055)))
    return Scene(
        palette=palette,
        horizon=horizon,
        sun=sun if has_sun else None,
        light=light,
        animals=_draw_animals(rng),
        seed=int(rng.integers(2**31)),
    )


def _draw_animals(rng: np.random.Generator) -> tuple[Animal, ...]:
    if rng.random() < 0.68:
        return (
            _draw_animal(
                rng,
                x=rng.uniform(0.42, 0.58),
                ground=rng.uniform(0.82, 0.94),
                scale=rng.uniform(0.50, 0.60),
            ),
        )
    side = float(rng.choice((-1.0, 1.0)))
    far = _draw_animal(
        rng,
        x=0.5 + side * rng.uniform(0.17, 0.24),
        ground=rng.uniform(0.60, 0.68),
        scale=rng.uniform(0.30, 0.35),
    )
    near = _draw_animal(
        rng,
        x=0.5 - side * rng.uniform(0.10, 0.16),
        ground=rng.uniform(0.86, 0.95),
        scale=rng.uniform(0.42, 0.48),
    )
    return far, near


def _draw_animal(rng: np.random.Generator, *, x: float, ground: float, scale: float) -> Animal:
    is_grazing = rng.random() < 0.25
    neck_angle = rng.uniform(-0.75, -0.60) if is_grazing else rng.uniform(0.65, 1.08)
    head_angle = rng.uniform(-1.25, -0.95) if is_grazing else rng.uniform(-0.85, -0.35)
    is_walking = rng.random() < 0.6
    swing = rng.uniform(0.15, 0.38) if is_walking else 0.05
    turn = rng.uniform(0, 2 * np.pi)
    stride = tuple(float(swing * np.sin(turn + offset)) for offset in (0.0, 2.2, 3.1, 5.3))
    hue = np.array(HUES[int(rng.integers(len(HUES)))]) * rng.uniform(0.92, 1.06)
    return Animal(
        x=float(x),
        ground=float(ground),
        scale=float(scale),
        facing=int(rng.choice((-1, 1))),
        leg=float(rng.uniform(0.48, 0.60)),
        neck=float(rng.uniform(0.42, 0.52)),
        girth=float(rng.uniform(0.20, 0.245)),
        neck_angle=float(neck_angle),
        head_angle=float(head_angle),
        stride=(stride[0], stride[1], stride[2], stride[3]),
        tail=float(rng.uniform(-0.1, 0.5)),
        hue=_colour(hue),
        contrast=float(rng.uniform(0.42, 0.50)),
        period=float(rng.uniform(0.165, 0.215)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        wobble=(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))),
    )


def _tinted(palette: Palette, rng: np.random.Generator) -> Palette:
    """Vary the colours a little, one tint for the whole landscape and one for the ground."""
    tint = rng.uniform(0.94, 1.05, 3)
    ground_tint = rng.uniform(0.90, 1.08, 3)
    ground = [_colour(np.array(colour) * ground_tint) for colour in palette.ground]
    sky = [_colour(np.array(colour) * tint) for colour in palette.sky]
    return Palette(
        sky=(sky[0], sky[1]),
        hills=tuple(_colour(np.array(hill) * tint) for hill in palette.hills),
        ground=(ground[0], ground[1]),
        leaves=palette.leaves,
        trees=palette.trees,
        tufts=palette.tufts,
        clouds=palette.clouds,
    )


def _colour(values: np.ndarray | Sequence[float]) -> Colour:
    red, green, blue = np.clip(values, 0.0, 1.0)
    return float(red), float(green), float(blue)
