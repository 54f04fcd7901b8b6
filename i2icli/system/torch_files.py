"""Files that PyTorch wrote: read without running code, and believed only where they are whole.

Every reader of weights comes through here. A zip archive is checked by its own sums as it is read,
so what is returned is what was written; the older files, bare pickles, have none. A pickle only
says which tensors there are: each is held against the bytes that the file has for it before any
memory is taken.
"""

from __future__ import annotations

import errno
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Literal, cast

import torch
from torch import Tensor

ZIP_START = b"PK\x03\x04"
# How PyTorch began its files before they were zip archives: a pickle of its magic number.
OLD_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_CHUNK = 1 << 22
# A list that holds itself many times over, in a tree, is small only until somebody walks it.
_MOST_VALUES = 20_000_000
# What reading odd bytes comes to, in zipfile, pickle, struct and torch.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,  # RecursionError and NotImplementedError too
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}

# For the user of a file of others, whose damage nothing would tell.
UNCHECKED = "note: {} has no sums of its own, so damage to its numbers would go unseen"

Form = Literal["zip", "torchscript", "old"]


class TorchFileError(Exception):
    """A file that is not read; the message is the end of a sentence about it.

    `wants_code`: it is whole, but holds objects besides tensors.
    """

    def __init__(self, reason: str, *, wants_code: bool = False) -> None:
        super().__init__(reason)
        self.wants_code = wants_code


@dataclass(frozen=True)
class TorchFile:
    """The content of a file.

    Attributes:
        document: what was saved; of a TorchScript network its attributes, as nested dictionaries.
        form: "old" files have no sums, so damage to their numbers goes unseen.
    """

    document: object
    form: Form


@dataclass(frozen=True)
class _Storage:
    # what a pickle says of a stretch of numbers
    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _Claim:
    # what a pickle says of a tensor
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Attributes(dict[str, Any]):
    # an object of a TorchScript network, of which only the attributes are taken
    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.update(state)


def read_torch_file(file: BinaryIO) -> TorchFile:
    """Read an open file from its start, onto the CPU.

    Raises:
        TorchFileError: it is not whole, not PyTorch's, or holds more than plain types and tensors.
        OSError: as the system says.
    """
    try:
        file.seek(0)
        start = file.read(len(OLD_START))
        if start[:4] == ZIP_START:
            return _read_archive(file)
        if start[:1] == b"\x80":
            return _read_old(file)
    except _Foreign as fault:
        raise TorchFileError(str(fault), wants_code=True) from None
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # which is a position before the file's start
            raise
        raise TorchFileError("its table of contents is damaged") from None
    except DAMAGE as fault:
        words = " ".join(str(fault).split())[:100].rstrip(".")
        raise TorchFileError(words or type(fault).__name__) from None
    raise TorchFileError("it does not begin as PyTorch's files do")


def walk_tensors(value: object, prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of nested dictionaries by their paths, with points between the keys."""
    if isinstance(value, Tensor):
        return {prefix: value}
    found: dict[str, Tensor] = {}
    for key, item in value.items() if isinstance(value, Mapping) else ():
        found |= walk_tensors(item, f"{prefix}.{key}" if prefix else str(key))
    return found


class _Foreign(Exception):  # noqa: N818 - it is a kind of content, not a fault
    pass


class _Unpickler(pickle.Unpickler):
    # Knows only what stands for tensors, and makes none: `_Builder` does, once all is known.
    def __init__(self, content: bytes, *, takes_objects: bool) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._takes_objects, self._room = takes_objects, len(content)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
            raise _Foreign(f"it holds a {kind}")
        storage = _Storage(dtype, str(key), _size(count))
        return self.storages.setdefault(storage.key, storage)

    def find_class(self, module: str, name: str) -> Any:
        named = f"{module}.{name}"
        if module in ("torch", "torch.storage") and name in _TYPES:
            return _TYPES[name]
        if named in _DTYPES:
            return _DTYPES[named]
        if named in _CALLS:
            return _CALLS[named]
        if named == "collections.OrderedDict":
            return self._ordered
        if self._takes_objects and module.split(".")[0] == "__torch__":
            return _Attributes
        if self._takes_objects and module.endswith("._pickle") and name.startswith("build_"):
            return _first  # a list, of which the type is said
        raise _Foreign(f"it holds {named}")

    def _ordered(self, pairs: Any = ()) -> OrderedDict[Any, Any]:
        # Python 2 handed in all pairs; the same list again and again would take time without end.
        self._room -= len(pairs)
        if self._room < 0:
            raise ValueError("a list is used too often")
        return OrderedDict(pairs)


def _claim(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Claim:
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without numbers")
    sides, steps = tuple(map(_size, shape)), tuple(map(_size, strides))
    if len(sides) != len(steps):
        raise ValueError("a tensor's shape and strides differ")
    return _Claim(storage, _size(offset), sides, steps)


def _first(value: Any, *_: Any) -> Any:
    return value


def _encode(text: str, encoding: str) -> bytes:
    # bytes, as the second protocol of pickles writes them
    if encoding != "latin1":
        raise _Foreign("it holds a codec")
    return text.encode("latin1")


def _size(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError("a size is no number from 0 on")
    return number


_DTYPES = {str(dtype): dtype for dtype in _TYPES.values()}
_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _claim,
    "torch._utils._rebuild_tensor_v2": _claim,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.Size": tuple,
    "torch.device": _first,
    "_codecs.encode": _encode,
}


def _unpickle(
    content: bytes, *, takes_objects: bool = False
) -> tuple[object, Mapping[str, _Storage]]:
    """Return what a pickle says, tensors as claims, and the storages it speaks of."""
    for count, (code, argument, _) in enumerate(pickletools.genops(content)):
        # The unpickler takes memory for an index, however large, before anything is there.
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and cast(int, argument) > count:
            raise ValueError("an index leads nowhere")
        if code.name in ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ"):
            raise _Foreign(f"it uses {code.name}")
    unpickler = _Unpickler(content, takes_objects=takes_objects)
    return unpickler.load(), unpickler.storages


class _Builder:
    # Puts tensors in the place of claims.
    def __init__(self, read: Callable[[str], Tensor], sizes: Mapping[str, int]) -> None:
        self._read, self._sizes = read, sizes  # of a storage by its key: its bytes, and how many
        self._storages: dict[str, Tensor] = {}
        self._built: dict[int, tuple[Any, int]] = {}

    def build(self, value: Any) -> tuple[Any, int]:
        """Return a value with its tensors, and how many values it comes to, those within it too."""
        if isinstance(value, _Claim):
            return self._tensor(value), 1
        if isinstance(value, _Storage):
            raise _Foreign("it holds numbers outside tensors")
        if not isinstance(value, dict | list | tuple):
            return value, 1
        if id(value) not in self._built:
            self._built[id(value)] = (None, _MOST_VALUES)  # one that holds itself has no end
            self._built[id(value)] = self._fill(value)
        return self._built[id(value)]

    def _fill(self, value: Any) -> tuple[Any, int]:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        built = {key: self.build(item) for key, item in items}
        size = 1 + sum(count for _, count in built.values())
        if size > _MOST_VALUES:
            raise ValueError("it holds itself, or too much")
        found = {key: item for key, (item, _) in built.items()}
        if isinstance(value, tuple):
            return tuple(found.values()), size
        if isinstance(value, dict):
            value.update(found)
        else:
            value[:] = found.values()
        return value, size

    def _tensor(self, claim: _Claim) -> Tensor:
        storage, count = claim.storage, math.prod(claim.shape)
        steps = zip(claim.shape, claim.strides, strict=True)
        end = claim.offset + 1 + sum((side - 1) * step for side, step in steps) if count else 0
        # Not less than its numbers either: with a stride of 0 one number would stand for any many.
        needed, held = max(storage.count, count, end), self._sizes[storage.key]
        if needed * storage.dtype.itemsize > held:
            raise ValueError("a tensor is larger than the file's numbers for it")
        if storage.key not in self._storages:
            self._storages[storage.key] = self._read(storage.key)
        numbers = self._storages[storage.key].untyped_storage()
        offset = claim.offset if count else 0
        tensor = torch.empty(0, dtype=storage.dtype)
        return tensor.set_(numbers, offset, claim.shape, claim.strides)


def _read_archive(file: BinaryIO) -> TorchFile:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        tops = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
        if len(tops) != 1:
            raise ValueError("it has no content of PyTorch")
        top = tops[0]
        is_script = f"{top}constants.pkl" in members
        # PyTorch compresses the code of a TorchScript network alone, and that is not read.
        parts = [m for name, m in members.items() if not name.startswith(f"{top}code/")]
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("a part of it is compressed, which PyTorch never does")
        if sum(part.file_size for part in parts) > _length(file):
            raise ValueError("its parts are larger than the file")
        if (order := f"{top}byteorder") in members and archive.read(order) != b"little":
            raise ValueError("the bytes of its numbers are in another order")

        # The archive's own sum of a part is compared when the part is read to its end.
        def read(key: str) -> Tensor:
            member = members[f"{top}data/{key}"]
            with archive.open(member) as stream:
                return _numbers(stream, member.file_size)

        document, _ = _unpickle(archive.read(f"{top}data.pkl"), takes_objects=is_script)
        sizes = {name.removeprefix(f"{top}data/"): m.file_size for name, m in members.items()}
        built, _ = _Builder(read, sizes).build(document)
    return TorchFile(built, "torchscript" if is_script else "zip")


def _read_old(file: BinaryIO) -> TorchFile:
    # Five pickles, then the numbers of each storage behind their count.
    file.seek(0)
    if _next_pickle(file) != OLD_START:
        raise _Foreign("it is a pickle of another program")
    _next_pickle(file), _next_pickle(file)  # the form's version, facts of the machine
    document, storages = _unpickle(_next_pickle(file))
    keys, _ = _unpickle(_next_pickle(file))
    numbers: dict[str, Tensor] = {}
    for key in map(str, cast(list[Any], keys)):
        (count,) = struct.unpack("<q", file.read(8))
        size = _size(count) * storages[key].dtype.itemsize
        if size > _length(file) - file.tell():
            raise EOFError("it is cut off")
        numbers[key] = _numbers(file, size)
    sizes = {key: part.numel() for key, part in numbers.items()}
    return TorchFile(_Builder(numbers.__getitem__, sizes).build(document)[0], "old")


def _next_pickle(file: BinaryIO) -> bytes:
    start = file.tell()
    for _ in pickletools.genops(file):  # ends behind the pickle's last byte
        pass
    size = file.tell() - start
    file.seek(start)
    return file.read(size)


def _numbers(stream: IO[bytes], size: int) -> Tensor:
    numbers = torch.empty(size, dtype=torch.uint8)
    target, done = memoryview(cast(bytearray, numbers.numpy())), 0
    while done < size:
        part = stream.read(min(_CHUNK, size - done))
        if not part:
            raise EOFError("it is cut off")
        target[done : done + len(part)] = part
        done += len(part)
    return numbers


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
