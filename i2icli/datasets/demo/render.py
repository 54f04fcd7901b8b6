"""Turns a scene of the demo set into pixels: sky, hills, ground, trees, then the animals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from i2icli.datasets.demo.animal import Coat, Floats, draw_animal
from i2icli.datasets.demo.scene import Colour, Scene

_FINE = 3  # samples a pixel side for what Pillow draws


@dataclass(frozen=True)
class Rendering:
    """Pixels of a scene.

    Attributes:
        plain: with the coat of domain A, (S, S, 3) uint8.
        striped: the same with the coat of domain B, (S, S, 3) uint8.
        mask: 255 where an animal touches the pixel, else 0, (S, S) uint8.
    """

    plain: NDArray[np.uint8]
    striped: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def render_scene(scene: Scene, *, size: int, coat: Coat) -> NDArray[np.uint8]:
    """Return the picture of a scene with one coat, (size, size, 3)."""
    return _with_animals(_landscape(scene, size), scene, coat)[0]


def render_both(scene: Scene, *, size: int) -> Rendering:
    """Render a scene with either coat on the same landscape, and its mask."""
    landscape = _landscape(scene, size)
    plain, mask = _with_animals(landscape, scene, "plain")
    striped, _ = _with_animals(landscape, scene, "striped")
    return Rendering(plain, striped, mask)


def _with_animals(
    landscape: Floats, scene: Scene, coat: Coat
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    picture = landscape.copy()
    mask = np.zeros(picture.shape[:2], np.float32)
    for animal in scene.animals:
        draw_animal(picture, mask, animal, coat=coat, light=scene.light)
    pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels, np.where(mask > 0, 255, 0).astype(np.uint8)


def _landscape(scene: Scene, size: int) -> Floats:
    rng = np.random.default_rng(scene.seed)
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = centres[None, :], centres[:, None]
    picture = _sky(scene, x, y, rng)
    _add_hills(picture, scene, x, y, rng)
    _add_ground(picture, scene, x, y, rng)
    picture = _add_plants(picture, scene, rng)
    for animal in scene.animals:
        across = (x - animal.x - 0.06 * scene.light * -animal.scale) / (0.78 * animal.scale)
        down = (y - animal.ground) / (0.085 * animal.scale)
        shadow = np.clip(1.25 - np.sqrt(across**2 + down**2), 0, 1)
        picture *= (1 - 0.50 * np.minimum(shadow * 1.6, 1))[..., None]
    return picture.astype(np.float32)


def _mix(first: Colour, second: Colour, share: Floats) -> Floats:
    """Blend two colours: (H, W, 3) for a share of shape (H, W)."""
    start, end = np.array(first, np.float32), np.array(second, np.float32)
    return start + share[..., None] * (end - start)


def _sky(scene: Scene, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    size = x.shape[1]
    share = np.clip(y / scene.horizon, 0, 1) ** 1.2 * np.ones_like(x)
    picture = _mix(*scene.palette.sky, share)
    if scene.sun is not None:
        sun_x, sun_y, radius = scene.sun
        reach = np.hypot(x - sun_x, y - sun_y)
        glow = 0.55 * np.exp(-((reach / (radius * 3.2)) ** 2))
        disc = np.clip(0.5 - (reach - radius) * size, 0, 1)
        picture += glow[..., None] * (np.array((1.0, 0.93, 0.75)) - picture)
        picture += disc[..., None] * (np.array((1.0, 0.97, 0.86)) - picture)
    noise = 0.6 * _noise(rng, (4, 13), size) + 0.4 * _noise(rng, (11, 30), size)
    clouds = scene.palette.clouds * np.clip((noise - 0.50) * 4.0, 0, 1)
    clouds = clouds * np.clip((scene.horizon * 1.05 - y) / (scene.horizon * 0.5), 0, 1)
    picture += 0.85 * clouds[..., None] * (np.array((1.0, 0.985, 0.97)) - picture)
    return picture.astype(np.float32)


def _noise(rng: np.random.Generator, cells: tuple[int, int], size: int) -> Floats:
    """Return smooth noise in about [0, 1], (size, size), with so many cells across and down."""
    grid = rng.random((cells[1], cells[0]), dtype=np.float32)
    smooth = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32)


def _add_hills(
    picture: Floats, scene: Scene, x: Floats, y: Floats, rng: np.random.Generator
) -> None:
    size = x.shape[1]
    is_flat = len(scene.palette.hills) == 1  # the sea
    for index, colour in enumerate(scene.palette.hills):
        lift = 0.045 if is_flat else 0.13 * (1 - index / len(scene.palette.hills))
        ridge = np.full_like(x, scene.horizon - lift)
        for waves in () if is_flat else (1.1, 2.3, 5.0, 9.0):
            turn = rng.uniform(0, 2 * np.pi)
            height = 0.055 / waves**0.8
            ridge = ridge - height * np.sin(2 * np.pi * waves * x * rng.uniform(0.8, 1.2) + turn)
        cover = np.clip((y - ridge) * size + 0.5, 0, 1)[..., None]
        shade = 1 - 0.10 * np.clip((y - ridge) / 0.15, 0, 1)[..., None]
        picture += cover * (np.array(colour, np.float32) * shade - picture)


def _add_ground(
    picture: Floats, scene: Scene, x: Floats, y: Floats, rng: np.random.Generator
) -> None:
    size = x.shape[1]
    edge = scene.horizon + 0.012 * np.sin(2 * np.pi * (x * rng.uniform(0.5, 1.2) + rng.random()))
    cover = np.clip((y - edge) * size + 0.5, 0, 1)[..., None]
    depth = np.clip((y - edge) / (1 - scene.horizon), 0.02, 1)
    ground = _mix(*scene.palette.ground, depth**0.7)
    texture = _perspective(rng, x, depth, cells=22) + 0.7 * _perspective(rng, x, depth, cells=60)
    patches = _perspective(rng, x, depth, cells=5)
    ground = ground * (1 + (0.16 * texture * np.sqrt(depth) + 0.14 * patches))[..., None]
    picture += cover * (ground - picture)


def _perspective(rng: np.random.Generator, x: Floats, depth: Floats, *, cells: int) -> Floats:
    """Sample a random tile, in [-0.5, 0.5], as a plane that recedes to the horizon."""
    tile = rng.random((64, 64), dtype=np.float32) - 0.5
    across = (x - 0.5) / (0.25 + 0.75 * depth) * cells + 640
    down = np.log(0.12 + depth) * cells * 0.75 + 640
    column, row = np.floor(across).astype(np.int64), np.floor(down).astype(np.int64)
    share_x, share_y = across - column, down - row
    upper = _tile(tile, row, column) * (1 - share_x) + _tile(tile, row, column + 1) * share_x
    row = row + 1
    lower = _tile(tile, row, column) * (1 - share_x) + _tile(tile, row, column + 1) * share_x
    blended: Floats = (upper * (1 - share_y) + lower * share_y).astype(np.float32)
    return blended


def _tile(tile: Floats, row: NDArray[np.int64], column: NDArray[np.int64]) -> Floats:
    picked: Floats = tile[row % 64, column % 64]
    return picked


def _add_plants(picture: Floats, scene: Scene, rng: np.random.Generator) -> Floats:
    """Lay trees on the horizon and tufts on the ground over the picture."""
    size = picture.shape[0]
    layer = Image.new("RGBA", (size * _FINE, size * _FINE), (*_bytes(scene.palette.leaves), 0))
    pen = ImageDraw.Draw(layer)
    if rng.random() < scene.palette.trees:
        for _ in range(int(rng.integers(1, 5))):
            _draw_tree(pen, scene, rng, size * _FINE)
    for _ in range(scene.palette.tufts):
        _draw_tuft(pen, scene, rng, size * _FINE)
    small = np.asarray(layer.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    alpha = small[..., 3:]
    covered: Floats = picture + alpha * (small[..., :3] - picture)
    return covered


def _draw_tree(pen: ImageDraw.ImageDraw, scene: Scene, rng: np.random.Generator, side: int) -> None:
    foot = (rng.uniform(0.02, 0.98), scene.horizon + rng.uniform(0.005, 0.05))
    height = rng.uniform(0.07, 0.16)
    leaves = np.array(scene.palette.leaves) * rng.uniform(0.8, 1.15)
    trunk = _bytes((0.30, 0.24, 0.19))
    x, y = foot[0] * side, foot[1] * side
    tall = height * side
    pen.line([(x, y), (x, y - tall * 0.7)], fill=(*trunk, 255), width=max(2, int(tall * 0.07)))
    for _ in range(7):
        centre_x = x + rng.normal(0, 0.22) * tall
        centre_y = y - tall * rng.uniform(0.62, 0.92)
        wide, high = tall * rng.uniform(0.18, 0.30), tall * rng.uniform(0.13, 0.20)
        lit = leaves * (1.0 + 0.45 * (y - centre_y - 0.62 * tall) / tall)
        box = (centre_x - wide, centre_y - high, centre_x + wide, centre_y + high)
        pen.ellipse(box, fill=(*_bytes(lit), 255))


def _draw_tuft(pen: ImageDraw.ImageDraw, scene: Scene, rng: np.random.Generator, side: int) -> None:
    depth = rng.random() ** 0.8
    foot_x = rng.random() * side
    foot_y = (scene.horizon + 0.03 + (1 - scene.horizon) * depth) * side
    height = (0.008 + 0.030 * depth) * side
    ground = np.array(scene.palette.ground[1])
    tone = ground + rng.uniform(0.25, 0.8) * (np.array(scene.palette.leaves) - ground)
    tone = tone * rng.uniform(0.9, 1.25)
    for lean in rng.uniform(-0.6, 0.6, 4):
        tip = (foot_x + lean * height, foot_y - height * rng.uniform(0.6, 1.0))
        start = (foot_x + lean * height * 0.25, foot_y)
        pen.line([start, tip], fill=(*_bytes(tone), 190), width=max(1, round(height * 0.13)))


def _bytes(colour: Colour | NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(float(value) * 255, 0), 255)) for value in colour)
    return red, green, blue
