"""Draws one animal of the demo set: tapered limbs, blended, shaded, with bands fixed on the body.

Lengths are in units of the body; the origin is on the ground under its middle, x points forward
and y up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2icli.datasets.demo.scene import Animal

Coat = Literal["plain", "striped"]
Floats = NDArray[np.floating]
Point = tuple[float, float]

SUPERSAMPLE = 2
_BLEND = 55.0  # sharpness of the union of limbs, 1 / body length
_BAND_LEVEL = 0.22  # the bands take less than half of the coat, so the two tones differ in area
_WHITE = (0.95, 0.94, 0.92)
_BLACK = (0.09, 0.085, 0.09)


@dataclass(frozen=True)
class Limb:
    """A tapered capsule.

    Attributes:
        start, end: its axis.
        radii: at the start and at the end.
        band: band coordinate at the start; it grows with the distance along the axis.
        dark: share of the axis beyond which the coat is all dark (muzzle, hooves, tuft).
        turn: added to the band coordinate per unit across the axis, to slant the bands.
    """

    start: Point
    end: Point
    radii: tuple[float, float]
    band: float
    dark: float = 2.0
    turn: float = 0.0

    @property
    def length(self) -> float:
        """Length of the axis."""
        return math.dist(self.start, self.end)


@dataclass
class Canvas:
    """Sums over limbs on a pixel grid; weights fall with the distance from each limb."""

    x: Floats
    y: Floats
    weight: Floats
    band: Floats
    dark: Floats
    normal_x: Floats
    normal_y: Floats


@dataclass(frozen=True)
class Body:
    """The limbs of an animal in drawing order, and its eye."""

    far: tuple[Limb, ...]
    near: tuple[Limb, ...]
    ears: tuple[Limb, ...]
    eye: Point


def draw_animal(picture: Floats, mask: Floats, animal: Animal, *, coat: Coat, light: float) -> None:
    """Draw `animal` over `picture`, (S, S, 3) in [0, 1], and raise `mask`, (S, S); in place.

    `light` is the side that the light comes from, -1 left, 1 right. The two coats differ in the
    colours of the two tones alone; shape, shading and the places of the bands are the same.
    """
    size = picture.shape[0]
    body = _build_body(animal)
    left, right, top, bottom = _frame(animal, size)
    if left >= right or top >= bottom:
        return
    x, y = _grid(animal, size, (left, right, top, bottom))
    pixel = 1.0 / (size * SUPERSAMPLE * animal.scale)
    colour = np.zeros((*x.shape, 3), np.float32)
    cover = np.zeros(x.shape, np.float32)
    side = light * animal.facing
    for limbs, dim in ((body.far, 0.72), (body.near, 1.0), (body.ears, 0.92)):
        layer, alpha = _paint(limbs, x, y, animal=animal, coat=coat, side=side, pixel=pixel)
        colour += alpha[..., None] * (layer * dim - colour)
        cover = np.maximum(cover, alpha)
        if limbs is body.near:
            _draw_eye(colour, x, y, centre=body.eye, pixel=pixel)
    # Premultiplied: averaging the samples of a pixel must not darken the outline.
    _composite(picture, mask, _shrink(colour * cover[..., None]), _shrink(cover), (left, top))


def _composite(
    picture: Floats, mask: Floats, colour: Floats, cover: Floats, corner: tuple[int, int]
) -> None:
    left, top = corner
    height, width = cover.shape
    area = np.s_[top : top + height, left : left + width]
    picture[area] = picture[area] * (1 - cover[..., None]) + colour
    mask[area] = np.maximum(mask[area], cover)


def _frame(animal: Animal, size: int) -> tuple[int, int, int, int]:
    """Return the pixels that the animal may touch: left, right, top, bottom."""
    forward, backward = 1.25 * animal.scale, 0.95 * animal.scale
    ahead, behind = (forward, backward) if animal.facing > 0 else (backward, forward)
    left = max(0, math.floor((animal.x - behind) * size))
    right = min(size, math.ceil((animal.x + ahead) * size))
    top = max(0, math.floor((animal.ground - 1.75 * animal.scale) * size))
    bottom = min(size, math.ceil((animal.ground + 0.08 * animal.scale) * size))
    return left, right, top, bottom


def _grid(animal: Animal, size: int, frame: tuple[int, int, int, int]) -> tuple[Floats, Floats]:
    left, right, top, bottom = frame
    fine = size * SUPERSAMPLE
    columns = (np.arange(left * SUPERSAMPLE, right * SUPERSAMPLE, dtype=np.float32) + 0.5) / fine
    rows = (np.arange(top * SUPERSAMPLE, bottom * SUPERSAMPLE, dtype=np.float32) + 0.5) / fine
    x = (columns - animal.x) * (animal.facing / animal.scale)
    y = (animal.ground - rows) / animal.scale
    full_x, full_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return full_x, full_y


def _shrink(samples: Floats) -> Floats:
    """Average blocks of SUPERSAMPLE x SUPERSAMPLE samples."""
    height, width = samples.shape[0] // SUPERSAMPLE, samples.shape[1] // SUPERSAMPLE
    blocks = samples.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE, *samples.shape[2:])
    means: Floats = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def _paint(
    limbs: tuple[Limb, ...],
    x: Floats,
    y: Floats,
    *,
    animal: Animal,
    coat: Coat,
    side: float,
    pixel: float,
) -> tuple[Floats, Floats]:
    """Return colours (h, w, 3) and coverage (h, w) of the union of `limbs`."""
    canvas = Canvas(x, y, *(np.zeros(x.shape, np.float32) for _ in range(5)))
    for limb in limbs:
        _add_limb(canvas, limb)
    weight = np.maximum(canvas.weight, 1e-12)
    distance = -np.log(weight) / _BLEND
    alpha = np.clip(0.5 - distance / pixel, 0, 1)
    normal_x, normal_y = canvas.normal_x / weight, canvas.normal_y / weight
    band = _band_share(canvas, weight, animal=animal, normal_y=normal_y, pixel=pixel)
    light, dark = _tones(animal, coat)
    normal_z = np.sqrt(np.clip(1 - normal_x**2 - normal_y**2, 0, 1))
    shade = 0.66 + 0.37 * np.clip(0.38 * side * normal_x + 0.72 * normal_y + 0.58 * normal_z, 0, 1)
    colour = (light + band[..., None] * (dark - light)) * shade[..., None]
    return colour.astype(np.float32), alpha.astype(np.float32)


def _tones(animal: Animal, coat: Coat) -> tuple[Floats, Floats]:
    if coat == "striped":
        return np.array(_WHITE, np.float32), np.array(_BLACK, np.float32)
    light = np.array(animal.hue, np.float32)
    return light, light * np.float32(animal.contrast)


def _band_share(
    canvas: Canvas, weight: Floats, *, animal: Animal, normal_y: Floats, pixel: float
) -> Floats:
    """Return how dark the coat is, 0 to 1; a function of the place on the body alone."""
    turns = 2 * math.pi / animal.period
    bend = np.sin(4.1 * canvas.x + 2.3 * canvas.y + animal.wobble[0])
    bend += np.sin(6.7 * canvas.y - 2.9 * canvas.x + animal.wobble[1])
    wave = np.cos(turns * (canvas.band / weight) + animal.phase + 0.55 * bend)
    belly = np.clip((-0.35 - normal_y) * 2.2, 0, 1.2)
    sharpness = 1.0 / (turns * pixel * SUPERSAMPLE * 0.7)
    share = np.clip((wave - _BAND_LEVEL - belly) * sharpness + 0.5, 0, 1)
    whole: Floats = np.maximum(share, np.clip(canvas.dark / weight, 0, 1))
    return whole


def _add_limb(canvas: Canvas, limb: Limb) -> None:
    """Add one limb to the sums, on the part of the grid near it."""
    area = _near(canvas, limb)
    x, y = canvas.x[area] - np.float32(limb.start[0]), canvas.y[area] - np.float32(limb.start[1])
    length = max(limb.length, 1e-6)
    along_x = (limb.end[0] - limb.start[0]) / length
    along_y = (limb.end[1] - limb.start[1]) / length
    along = x * np.float32(along_x) + y * np.float32(along_y)
    share = np.clip(along / np.float32(length), 0, 1)
    from_x = x - share * np.float32(along_x * length)
    from_y = y - share * np.float32(along_y * length)
    radius = limb.radii[0] + share * np.float32(limb.radii[1] - limb.radii[0])
    reach = np.sqrt(from_x**2 + from_y**2)
    weight = np.exp(np.clip((radius - reach) * np.float32(_BLEND), -60, 20))
    across = x * np.float32(-along_y) + y * np.float32(along_x)
    band = limb.band + along + np.float32(limb.turn) * across
    # The slope of a round limb's surface, seen from the side.
    slope = np.minimum(reach / radius, 1) / np.maximum(reach, 1e-6)
    canvas.weight[area] += weight
    canvas.band[area] += weight * band
    canvas.normal_x[area] += weight * from_x * slope
    canvas.normal_y[area] += weight * from_y * slope
    if limb.dark <= 1:
        edge = np.clip((along / np.float32(length) - limb.dark) * 12, 0, 1)
        canvas.dark[area] += weight * edge


def _near(canvas: Canvas, limb: Limb) -> tuple[slice, slice]:
    """Return the part of the grid where the limb's weight is not negligible."""
    margin = max(limb.radii) + 0.25
    xs, ys = canvas.x[0], canvas.y[:, 0]
    wide = (xs > min(limb.start[0], limb.end[0]) - margin) & (
        xs < max(limb.start[0], limb.end[0]) + margin
    )
    high = (ys > min(limb.start[1], limb.end[1]) - margin) & (
        ys < max(limb.start[1], limb.end[1]) + margin
    )
    return _span(high), _span(wide)


def _span(flags: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(flags)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)


def _draw_eye(colour: Floats, x: Floats, y: Floats, *, centre: Point, pixel: float) -> None:
    """Draw the eye in place: the same in both coats."""
    for shift, radius, tone in ((0.0, 0.026, 0.07), (0.010, 0.009, 0.92)):
        reach = np.hypot(x - centre[0] - shift * 0.6, y - centre[1] - shift)
        alpha = np.clip(0.5 - (reach - radius) / pixel, 0, 1)[..., None]
        colour += alpha * (tone - colour)


def _build_body(animal: Animal) -> Body:
    hip = animal.leg
    girth = animal.girth
    rump, chest = (-0.36, hip + 0.15), (0.36, hip + 0.13)
    withers = (0.40, hip + 0.20)
    poll = _step(withers, animal.neck_angle, animal.neck)
    muzzle = _step(poll, animal.head_angle, 0.30)
    torso = (
        Limb(rump, (0.0, hip + 0.11), (girth, girth * 0.97), 0.0),
        Limb((0.0, hip + 0.11), chest, (girth * 0.97, girth * 0.94), 0.36),
    )
    neck = Limb(withers, poll, (girth * 0.80, 0.098), 0.80, turn=-0.25)
    head = Limb(poll, muzzle, (0.108, 0.066), 0.80 + animal.neck, dark=0.74)
    crest = math.copysign(1.0, math.cos(animal.neck_angle))
    normal = animal.neck_angle + crest * math.pi / 2
    mane = Limb(
        _step(withers, normal, girth * 0.62), _step(poll, normal, 0.10), (0.055, 0.05), 0.80
    )
    near = (*torso, neck, head, mane, *_leg(animal, "fore", 0), *_leg(animal, "hind", 1))
    far = (*_leg(animal, "fore", 2), *_leg(animal, "hind", 3), *_tail(animal, hip))
    lean = animal.head_angle + math.pi * 0.55
    ear = Limb(_step(poll, lean, 0.07), _step(poll, lean, 0.21), (0.040, 0.012), 2.1, dark=0.75)
    eye = _step(_step(poll, animal.head_angle, 0.085), animal.head_angle + math.pi / 2, 0.035)
    far_ear = replace(
        ear, start=_step(ear.start, lean + 1.2, 0.05), end=_step(ear.end, lean + 1.2, 0.075)
    )
    return Body(far=(*far, far_ear), near=near, ears=(ear,), eye=eye)


def _leg(animal: Animal, kind: Literal["fore", "hind"], index: int) -> tuple[Limb, ...]:
    swing = animal.stride[index]
    is_far = index >= 2
    place = (0.34 if kind == "fore" else -0.42) + (0.07 if is_far else 0.0)
    top = (place, animal.leg + 0.06)
    thigh = 0.082 if kind == "fore" else 0.118
    knee = _step(top, -math.pi / 2 + swing * 0.8, top[1] * 0.48)
    bend = -0.25 * abs(swing) if kind == "fore" else 0.25 * abs(swing)
    foot = _step(knee, -math.pi / 2 + swing + bend, knee[1] - 0.045)
    foot = (foot[0], 0.045)
    band = place + 0.30
    lower = band + math.dist(top, knee)
    return (
        Limb(top, knee, (thigh, 0.048), band, turn=0.2),
        Limb(knee, foot, (0.048, 0.036), lower, dark=0.82),
        Limb(foot, (foot[0] + 0.035, 0.035), (0.040, 0.036), lower, dark=-1.0),
    )


def _tail(animal: Animal, hip: float) -> tuple[Limb, ...]:
    root = (-0.36 - animal.girth * 0.86, hip + 0.25)
    middle = _step(root, -math.pi / 2 - animal.tail - 0.35, 0.20)
    end = _step(middle, -math.pi / 2 - animal.tail * 0.5, 0.24)
    return (
        Limb(root, middle, (0.036, 0.030), 0.1),
        Limb(middle, end, (0.030, 0.052), 0.3, dark=0.35),
    )


def _step(start: Point, angle: float, length: float) -> Point:
    return start[0] + math.cos(angle) * length, start[1] + math.sin(angle) * length
