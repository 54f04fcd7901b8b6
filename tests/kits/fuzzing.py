"""Damaged files for every parser, from seeds; run as `fuzzing.py KIND FIRST COUNT` it counts.

Each case is a pure function of its kind and number, so that a fault can be looked at again.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i2icli.config.presets import preset_folder
from i2icli.errors import I2IError

_EXTREMES = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0")
_WORDS = (
    *("1e400", "-1", "0", "10**9", "1" + "0" * 30, "nan", "-inf", "true", '""', "[]", "{}"),
    *("[[[[[[]]]]]]", '"\\u0000"', "1979-05-27T07:32:00Z", "'''", "=", "[", "]]", "\ufeff", "\0"),
)


def mutate(content: bytes, draw: random.Random, other: bytes) -> bytes:
    """Return content with one to eight damages."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(len(data) + 1)
        if draw.random() < 0.4:
            at = min(at, draw.randrange(128))  # headers decide more than pixels
        kind = draw.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at : at + 4] = draw.choice(_EXTREMES)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = draw.randbytes(draw.randrange(1, 40))
        elif kind == 4:
            del data[at : at + draw.randrange(1, 64)]
        elif kind == 5:
            data[at:at] = data[at : at + draw.randrange(1, 600)]
        else:
            start = draw.randrange(len(other))
            data[at : at + 64] = other[start : start + 64]
    return bytes(data)


@cache
def pictures() -> list[tuple[str, bytes]]:
    """Return small pictures of every format and mode that is read."""
    values = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
    rgba = Image.fromarray(values)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    deep = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    wanted: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *(("png", image, {}) for image in (rgb, rgba, grey, deep, rgb.quantize(16))),
        *(("bmp", image, {}) for image in (rgb, grey)),
        ("jpg", rgb, {"exif": exif}),
        ("jpg", rgb, {"progressive": True}),
        ("jpg", rgb.convert("CMYK"), {}),
        ("webp", rgba, {}),
        ("webp", rgb, {"lossless": True}),
        ("gif", rgb, {"save_all": True, "append_images": [rgb]}),
        ("tif", deep, {"compression": "tiff_adobe_deflate"}),
        ("tif", grey, {"compression": "jpeg"}),
        *(("tif", rgb, {"compression": way}) for way in ("tiff_lzw", "packbits", None)),
    ]
    made = []
    for suffix, image, options in wanted:
        file = io.BytesIO()
        image.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
        made.append((suffix, file.getvalue()))
    return made


@cache
def archives() -> list[tuple[str, bytes]]:
    """Return small archives of every kind that is unpacked or streamed."""
    files = [(f"trainA/{n}.png", content) for n, (_, content) in enumerate(pictures()[:3])]
    files += [("trainB/notes.txt", b"words"), (f"trainB/{'x' * 120}.json", b"{}")]
    made = []
    for suffix in ("tar", "tar", "tar", "tar.gz", "tar.bz2", "tar.xz"):
        file = io.BytesIO()
        mode = "w" if suffix == "tar" else f"w:{suffix[4:]}"
        form = tarfile.PAX_FORMAT if len(made) % 2 else tarfile.GNU_FORMAT
        with tarfile.open(fileobj=file, mode=mode, format=form) as archive:  # type: ignore[call-overload]
            for name, content in files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                info.pax_headers = {"comment": "words"} if form == tarfile.PAX_FORMAT else {}
                archive.addfile(info, io.BytesIO(content))
        made.append((suffix, file.getvalue()))
    for way in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", way) as archive:
            for name, content in files:
                archive.writestr(name, content)
        made.append(("zip", file.getvalue()))
    return made


def relabel(content: bytes, draw: random.Random) -> bytes:
    """Return a tar archive one of whose headers lies, its checksum right."""
    data = bytearray(content)
    headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    if not headers:
        return content
    at = draw.choice(headers)
    field = draw.randrange(5)
    if field == 0:  # numbers in base 256, negative and large
        number = draw.choice((-1, -512, -(10**6), 10**6, 2**31, 2**40, 2**62))
        data[at + 124 : at + 136] = (
            256**12 + number if number < 0 else (1 << 95) + number
        ).to_bytes(12, "big")
    elif field == 1:
        data[at + 124 : at + 136] = draw.choice((b"77777777777\0", b"-0000000001\0", b"zzz" * 4))
    elif field == 2:
        data[at + 156] = draw.choice(b"0123456789gxKLSVD\0~")
    elif field == 3:
        data[at : at + 100] = draw.randbytes(100)
    else:
        data[at : at + 100] = draw.choice((b"../../etc", b"/abs", b"a" * 100, b"")).ljust(
            100, b"\0"
        )
    data[at + 148 : at + 156] = b" " * 8
    total = sum(data[at : at + 512])
    data[at + 148 : at + 156] = b"%06o\0 " % (total % 8**6)
    return bytes(data)


def _picture(number: int, draw: random.Random, folder: Path) -> None:
    from i2icli.pictures.images import read_picture, read_size

    known = pictures()
    suffix, content = known[number % len(known)]
    path = folder / f"a.{suffix}"
    path.write_bytes(mutate(content, draw, draw.choice(known)[1]))
    for read in (read_size, read_picture):
        with suppress(I2IError):
            read(path)


def _preset(number: int, draw: random.Random, folder: Path) -> None:
    from i2icli.methods.shared.configure import configure_run

    shipped = sorted(preset_folder().glob("*.toml"))
    lines = shipped[number % len(shipped)].read_text().splitlines()
    for _ in range(draw.choice((1, 2, 4))):
        at = draw.randrange(len(lines))
        kind = draw.randrange(6)
        if kind == 0:
            lines[at] = f"{lines[at].partition('=')[0]}= {draw.choice(_WORDS)}"
        elif kind == 1:
            lines.insert(at, draw.choice(lines))
        elif kind == 2:
            del lines[at : at + draw.randrange(1, 3)]
            lines = lines or [""]
        elif kind == 3:
            lines[at] = lines[at].replace(draw.choice('abcde=[]"._'), draw.choice(_WORDS))
        elif kind == 4:
            depth = draw.choice((3, 40, 500, 20000))
            lines.insert(at, f"deep = {'[' * depth}{']' * depth}")
        else:
            lines.insert(at, f"[{'.'.join('ab' * draw.choice((1, 30, 400)))}]")
    content = "\n".join(lines).encode()
    if draw.random() < 0.3:
        content = mutate(content, draw, content)
    path = folder / "p.toml"
    path.write_bytes(content)
    with suppress(I2IError):
        configure_run(str(path))


def _archive(number: int, draw: random.Random, folder: Path) -> None:
    from i2icli.pictures.tar_sets import index_shards
    from i2icli.pictures.tar_shards import read_samples
    from i2icli.system.archives import unpack

    known = archives()
    suffix, content = known[number % len(known)]
    if suffix == "tar" and draw.random() < 0.7:
        content = relabel(content, draw)
    if suffix != "tar" or draw.random() < 0.5:
        content = mutate(content, draw, draw.choice(known)[1])
    path = folder / f"s.{suffix}"
    path.write_bytes(content)
    works: list[Callable[[], object]] = [lambda: unpack(path, folder / "out")]
    if suffix == "tar":
        works += [
            lambda: list(read_samples(path, lambda _name, _error: None)),
            lambda: [picture.content() for picture in index_shards([path])],
        ]
    for work in works:
        with suppress(I2IError):
            work()


KINDS = {"pictures": _picture, "presets": _preset, "archives": _archive}


def run_cases(kind: str, first: int, count: int) -> dict[str, Any]:
    """Return the cases that were not refused in a sentence, the slowest, and the most memory."""
    with tempfile.TemporaryDirectory() as folder:
        KINDS[kind](0, random.Random(f"{kind} warm"), Path(folder))  # all is imported then
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    uncaught, slowest = [], 0.0
    for number in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            try:
                KINDS[kind](number, random.Random(f"{kind} {number}"), Path(folder))
            except Exception:  # noqa: BLE001 - whatever it is, it is a finding
                uncaught.append([number, traceback.format_exc()[-600:]])
            slowest = max(slowest, time.monotonic() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"cases": count, "uncaught": uncaught, "slowest": slowest, "mib": peak / 1024}


if __name__ == "__main__":
    print(json.dumps(run_cases(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), indent=1))
