"""Files of weights as somebody who means harm would write them, or a disk that went bad."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from i2icli.runs.checkpoint import KIND

Write = Callable[[Path], object]
_READERS = ("import", "add", "add inception", "backbone")
_ODD = (None, -5, 10**30, 2.5, "x", [], {"a": 1}, float("nan"), torch.ones(2), [[torch.ones(1)]])
_FIELDS = (
    *("config", "weights", "step", "epoch", "ema", "optimizers", "memory", "rng", "meters"),
    *("best", "data", "versions", "origin", "others", "choices", "seconds", "format"),
)


def rewrite(file: Path, parts: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive with other contents of some parts, its sums made right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for info in old.infolist():
            new.writestr(info.filename, parts.get(info.filename, old.read(info)))
    return buffer.getvalue()


class _Says:
    """Stands in a pickle for a call, which a careless reader makes."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.parts = (call, arguments)

    def __reduce__(self) -> Any:
        return self.parts


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    # Writes a claim on a storage that nobody has.
    def persistent_id(self, value: Any) -> Any:
        return value.claim if isinstance(value, _Stored) else None


class _Stored:
    def __init__(self, count: Any, key: Any = "0", kind: Any = torch.FloatStorage) -> None:
        self.claim = ("storage", kind, key, "cpu", count)


def _rebuilt(stored: _Stored, offset: Any, shape: Any, strides: Any) -> _Says:
    return _Says(torch._utils._rebuild_tensor_v2, stored, offset, shape, strides, False, {})


def archive(document: Any, data: bytes = b"\0" * 64, **parts: bytes) -> bytes:
    """Return a file of PyTorch's form: a pickle, and the numbers of its one storage."""
    pickled = document
    if not isinstance(document, bytes):
        buffer = io.BytesIO()
        _Pickler(buffer, 2).dump(document)
        pickled = buffer.getvalue()
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as new:
        new.writestr("archive/data.pkl", pickled)
        for name, content in {"data/0": data, "version": b"3\n", **parts}.items():
            new.writestr(f"archive/{name}", content)
    return whole.getvalue()


def _claims() -> Iterator[tuple[str, Any]]:
    yield "a storage of a terabyte", _rebuilt(_Stored(2**38), 0, (2**38,), (1,))
    yield "a shape of a terabyte", _rebuilt(_Stored(16), 0, (2**20, 2**20), (1, 1))
    yield "one number for many", _rebuilt(_Stored(16), 0, (2**40,), (0,))
    yield "a stride too far", _rebuilt(_Stored(16), 0, (2, 2), (2**30, 1))
    yield "an offset too far", _rebuilt(_Stored(16), 2**50, (2,), (1,))
    yield "an offset below", _rebuilt(_Stored(16), -4, (2,), (1,))
    yield "a side below", _rebuilt(_Stored(16), 0, (-2, -2), (1, 1))
    yield "a side of ten thousand digits", _rebuilt(_Stored(16), 0, (1 << 33_000,), (1,))
    yield "a side that is a fraction", _rebuilt(_Stored(16), 0, (2.5,), (1,))
    yield "no strides", _rebuilt(_Stored(16), 0, (2, 2), ())
    yield "a storage that is not there", _rebuilt(_Stored(16, "9"), 0, (2,), (1,))
    yield "a storage outside the archive", _rebuilt(_Stored(4, "../version"), 0, (1,), (1,))
    yield "a storage without a type", _rebuilt(_Stored(16, "0", "x"), 0, (2,), (1,))
    yield "a storage alone", _Stored(16)


def _pickles() -> Iterator[tuple[str, bytes]]:
    deep = b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."
    twice = b"\x80\x02]" + b"".join(b"q%c]h%ch%c\x86" % ((n % 256,) * 3) for n in range(60)) + b"."
    tree = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(90)) + b"."
    yield "lists in lists", deep
    yield "a list of itself", b"\x80\x02]q\x00h\x00a."
    yield "a tree of tuples", tree
    yield "odd references", twice
    yield "an index of two billion", b"\x80\x02Nr\xff\xff\xff\x7f."
    yield "a text of an exabyte", b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x."
    yield "an array of a terabyte", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x."
    yield (
        "a number of a million digits",
        b"\x80\x02\x8b" + struct.pack("<i", 2**18) + b"\x7f" * 2**18 + b".",
    )
    yield "a number below length", b"\x80\x02\x8b\xff\xff\xff\xff."
    yield "nothing on the stack", b"\x80\x02."
    yield "no end", b"\x80\x02}"
    yield "protocol 99", b"\x80\x63N."
    yield "an evaluation", b"c__builtin__\neval\n(S'1/0'\ntR."
    yield "a getattr", b"\x80\x02cbuiltins\ngetattr\n."
    yield "a class of torch", b"\x80\x02ctorch\nload\n."
    yield "a dotted name", b"\x80\x04\x8c\x05torch\x8c\x0aos.system.x\x93."
    many = b"\x80\x02ccollections\nOrderedDict\nq\x00(" + b"K\x00K\x00\x86" * 50_000 + b"lq\x010"
    yield "a list used again and again", many + b"h\x00h\x01\x85R0" * 50_000 + b"N."


def _headers() -> Iterator[tuple[str, bytes]]:
    def header(document: Any, data: bytes = b"\0" * 64) -> bytes:
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        return struct.pack("<Q", len(text)) + text + data

    def one(kind: Any = "F32", shape: Any = (16,), offsets: Any = (0, 64)) -> bytes:
        return header({"w": {"dtype": kind, "shape": shape, "data_offsets": offsets}})

    yield "a header of an exabyte", struct.pack("<Q", 2**60) + b"{" + b" " * 64
    yield "a header of brackets", header(b'{"a":' + b"[" * 200_000)
    yield "a header that is a list", header(b"{[]}")
    yield "a header that is no UTF-8", header(b'{"\xff\xfe": 1}')
    yield "an unknown type", one("Q99")
    yield "whole numbers", one("I32")
    yield "complex numbers", one("C64", (8,))
    yield "a shape of an exabyte", one(shape=(2**30, 2**30))
    yield "a shape beyond 64 bits", one(shape=(2**63, 2))
    yield "a side below", one(shape=(-16,))
    yield "offsets beyond the end", one(offsets=(0, 2**40))
    yield "offsets the wrong way", one(offsets=(64, 0))
    yield "no tensors", header({})
    yield "no shape", header({"w": {"dtype": "F32"}})


def _archives(good: Path) -> Iterator[tuple[str, bytes]]:
    whole = good.read_bytes()
    yield "numbers compressed", rewrite(good, {}, method=zipfile.ZIP_DEFLATED)
    yield "no pickle", archive(b"").replace(b"data.pkl", b"data.pkX")
    yield "two pickles", archive({"w": 1}, **{"x/data.pkl": b"N."})
    yield "big-endian", archive({"w": 1}, byteorder=b"big")
    yield "an encrypted part", _with_flag(whole)
    yield "no directory", whole[: whole.rindex(b"PK\x05\x06")]
    yield "twenty thousand parts", _many_parts()
    yield "something before it", b"x" * 1000 + whole
    yield "something behind it", whole + b"x" * 70_000


def _with_flag(whole: bytes) -> bytes:
    content = bytearray(whole)
    content[whole.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _many_parts() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for number in range(20_000):
            new.writestr(f"archive/data/{number}", b"")
        new.writestr("archive/data.pkl", pickle.dumps({}, 2))
    return buffer.getvalue()


def _bomb(path: Path) -> None:
    """Write few megabytes that become three gigabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        buffer = io.BytesIO()
        count = 3 << 28
        _Pickler(buffer, 2).dump({"kind": KIND, "w": _rebuilt(_Stored(count), 0, (count,), (1,))})
        new.writestr("archive/data.pkl", buffer.getvalue())
        with new.open("archive/data/0", "w", force_zip64=True) as part:
            for _ in range(count // (1 << 22)):
                part.write(bytes(1 << 24))


def _old(document: Any, keys: Any, tail: bytes) -> bytes:
    """Return a file as PyTorch wrote it before its zip archives."""
    buffer = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {}):
        pickle.dump(part, buffer, 2)
    _Pickler(buffer, 2).dump(document)
    pickle.dump(keys, buffer, 2)
    return buffer.getvalue() + tail


def _old_files() -> Iterator[tuple[str, bytes]]:
    def claim(count: Any) -> Any:
        stored = _Stored(count)
        stored.claim = (*stored.claim, None)  # type: ignore[assignment]
        return {"w": _rebuilt(stored, 0, (4,), (1,))}

    yield "old: a count of an exabyte", _old(claim(4), ["0"], struct.pack("<q", 2**60) + bytes(16))
    yield "old: a count below", _old(claim(4), ["0"], struct.pack("<q", -4) + bytes(16))
    yield "old: keys of nothing", _old(claim(4), ["7"], struct.pack("<q", 4) + bytes(16))
    yield "old: no keys", _old(claim(4), [], b"")
    yield "old: keys that are a number", _old(claim(4), 5, b"")
    yield "old: a claim beyond", _old(claim(2**40), ["0"], struct.pack("<q", 4) + bytes(16))


def _documents(good: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    document: dict[str, Any] = torch.load(good, weights_only=True)
    weights = document["weights"]
    first = next(iter(weights))
    for kind in (torch.int32, torch.int64, torch.complex64, torch.float64, torch.bool, torch.uint8):
        changed = {name: weight.to(kind) for name, weight in weights.items()}
        yield f"weights of {kind}", {**document, "weights": changed}
    for name, change in {
        "a weight missing": {n: w for n, w in weights.items() if n != first},
        "a weight more": {**weights, "x": torch.ones(2)},
        "a weight of another shape": {**weights, first: torch.ones(2)},
        "a weight that is a text": {**weights, first: "x"},
        "a weight by a number": {**weights, 7: torch.ones(2)},
        "no weights": {},
    }.items():
        yield name, {**document, "weights": change}
    config = document["config"]
    for section, key, value in (
        *(("generator", "width", 10**9), ("generator", "blocks", 10**7)),
        *(("generator", "width", 4096), ("discriminator", "layers", 10**6)),
        *(("discriminator", "width", 10**9), ("generator", "width", 10**30)),
        *(("generator", "blocks", -1), ("generator", "norm", ["x"] * 10**5)),
    ):
        method = {**config["method"], section: {**config["method"][section], key: value}}
        yield f"{section}.{key} odd", {**document, "config": {**config, "method": method}}
    for key, value in (("projection_dim", 10**9), ("nce_layers", [10**9]), ("name", "x" * 10**6)):
        yield (
            f"{key} odd",
            {**document, "config": {**config, "method": {**config["method"], key: value}}},
        )
    yield "crop odd", {**document, "config": {**config, "data": {**config["data"], "crop": 10**30}}}
    for field in _FIELDS:
        for value in random.Random(field).sample(_ODD, 3):
            yield f"{field} is {str(value)[:20]}", {**document, field: value}


def odd_contents(good: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of files that are none, some made of a good one of PyTorch's."""
    yield from ((name, archive({"w": claim})) for name, claim in _claims())
    yield from ((name, archive(pickled)) for name, pickled in _pickles())
    yield from _old_files()
    yield from _headers()
    yield from _archives(good)
    yield from (("a pickle alone", pickled) for _, pickled in list(_pickles())[:3])


def hostile_files(good: Path, seed: int) -> Iterator[tuple[str, str, Write]]:
    """Yield the name of a file, the way it is to be opened, and the function that writes it.

    `good` is a checkpoint of a run of CUT, which many of them are made of.
    """
    draw = random.Random(seed)
    for way in ("translate", "import", "backbone"):
        yield "three gigabytes of nothing", way, _bomb
    for number, (name, document) in enumerate(_documents(good)):
        way = ("translate", "resume")[number % 2]
        yield name, way, lambda path, document=document: torch.save(document, path)
    network = archive({"layers": 1}, **{"constants.pkl": b"N."})
    for name, content in (*odd_contents(good), ("a network without tensors", network)):
        ways = draw.sample(_READERS, 1)
        for way in ways if "old" in name else ["translate", *ways]:
            yield name, way, lambda path, content=content: path.write_bytes(content)
