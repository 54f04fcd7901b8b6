"""Weights in files of others, PyTorch's and safetensors, read without running code."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from torch import Tensor

from i2icli.errors import CheckpointError
from i2icli.runs.checkpoint import KIND
from i2icli.system.torch_files import DAMAGE, UNCHECKED, ZIP_START, TorchFileError, read_torch_file

log = logging.getLogger(__package__)

Weights = Mapping[str, Tensor]

# A file that holds more than weights has them under one of these keys.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "params_ema", "weights")
_DEEPEST = 3  # documents in each other
# Modules that training in parallel, and compiling, put around a network.
_PARALLEL, _COMPILED = "module.", "_orig_mod."
_PARTS = {"a", "b"}  # MUNIT keeps the networks of both domains in one file
_OTHERS = {
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"\x1f\x8b": "a compressed archive: unpack it",
    b"\x93NUMPY": "a NumPy array",
}
_BY_SUFFIX = {
    ".onnx": "an ONNX model, whose layers have lost their names",
    ".pb": "a TensorFlow model",
    ".index": "a TensorFlow checkpoint",
    ".meta": "a TensorFlow checkpoint",
    ".tflite": "a TensorFlow model",
    ".h5": "an HDF5 file, as Keras writes it",
}
# Types of safetensors that weights are copied from; not those of 8 bits and less, nor complex ones.
_TYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
_WANTED = "give the state dict that the released code saved, such as latest_net_G.pth."


@dataclass(frozen=True)
class ReleasedName:
    """What the name of a file says, `<epoch>_net_<NAME>.pth` as the released codes write it.

    Attributes:
        epoch: "latest", "best" or a number.
        network: G, D, F, G_A, ...
    """

    path: Path
    epoch: str
    network: str

    def sibling(self, network: str) -> Path:
        """Return the file of another network of the same epoch, which may not be there."""
        return self.path.with_name(f"{self.epoch}_net_{network}{self.path.suffix}")


class SafetensorsFile(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, on the CPU, each read when it is asked for.

    Raises:
        CheckpointError: the file is not whole, or holds no tensors, or one that no weight can be
            copied from.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = cast(Any, safe_open(path, framework="pt"))  # the library has no types
        except (SafetensorError, *DAMAGE) as fault:
            reason = str(fault).removeprefix("Error while deserializing header: ")
            raise CheckpointError(
                f"{path} is no safetensors file, or not whole: {reason}."
            ) from None
        names = list(self._file.keys())
        self._types = {name: self._file.get_slice(name).get_dtype() for name in names}
        for name, kind in self._types.items():
            if kind not in _TYPES:
                raise CheckpointError(f"{path} cannot be used: {name} has the type {kind}.")
        if not self._types:
            raise CheckpointError(f"{path} holds no tensors; {_WANTED}")

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._types:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def parse_name(path: Path) -> ReleasedName | None:
    """Return the parts of a file's name; None where it follows no known form."""
    match = re.fullmatch(r"(.+?)_net_([A-Z](?:_[A-Z])?)", path.stem)
    return ReleasedName(path, match[1], match[2]) if match else None


def read_weights(path: Path) -> dict[str, Weights]:
    """Read the weights of a file, on the CPU; those of safetensors when they are asked for.

    Returns:
        State dicts by the part of the file they are: "" where it holds one, "a" and "b" of a file
        of MUNIT, else the keys that lead to them, such as "netG". A `module.` that wraps all names
        is taken away, and the `_orig_mod.` of compiled networks.

    Raises:
        CheckpointError: there is no such file, it is of another kind or damaged, or reading it
            could run code.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder{_files_in(path)}")
    try:
        parts = _load(path)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}.") from None
    except OSError as fault:
        raise CheckpointError(f"{path} cannot be read: {fault.strerror or fault}.") from None
    return {part: without_wrappers(weights) for part, weights in parts.items()}


def without_wrappers(weights: Weights) -> Weights:
    """Return weights under their names without the `module.` and `_orig_mod.` around networks."""
    # Tensors of safetensors are read when they are copied into a dictionary: only where need be.
    if any(_COMPILED in name for name in weights):
        weights = {name.replace(_COMPILED, ""): weight for name, weight in weights.items()}
    while all(name.startswith(_PARALLEL) for name in weights):
        weights = {name.removeprefix(_PARALLEL): weight for name, weight in weights.items()}
    return weights


def _load(path: Path) -> Mapping[str, Weights]:
    with path.open("rb") as file:
        start = file.read(262)
    if not start:
        raise CheckpointError(f"{path} is empty: copy it again.")
    if start[:4] == ZIP_START:
        _check_archive(path)
    if start[:4] == ZIP_START or start[:1] == b"\x80":
        return _parts(path, _read_torch(path))
    # Eight bytes of length, then a header of JSON.
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        weights = SafetensorsFile(path)
        log.warning(UNCHECKED.format(path))
        return {"": weights}
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            raise CheckpointError(f"{path} is {kind}; {_WANTED}")
    if start[257:262] == b"ustar":
        raise CheckpointError(f"{path} is a tar archive: unpack it, then {_WANTED}")
    if re.search(r"\.data-\d+-of-\d+$|\.ckpt(-\d+)?$", path.name):
        raise CheckpointError(f"{path} is a TensorFlow checkpoint; {_WANTED}")
    if path.suffix in _BY_SUFFIX:
        raise CheckpointError(f"{path} is {_BY_SUFFIX[path.suffix]}; {_WANTED}")
    raise CheckpointError(
        f"{path} ({path.stat().st_size} bytes) is neither a PyTorch file nor safetensors; {_WANTED}"
    )


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
    except zipfile.BadZipFile:
        raise CheckpointError(f"{path} is cut off or damaged: copy it again.") from None
    if "constants.pkl" in names:
        raise CheckpointError(f"{path} is a TorchScript program, which is code; {_WANTED}")
    if "data.pkl" not in names:
        raise CheckpointError(f"{path} is a zip archive: unpack it, then {_WANTED}")


def _read_torch(path: Path) -> object:
    try:
        with path.open("rb") as file:
            read = read_torch_file(file)
    except TorchFileError as fault:
        if fault.wants_code:
            raise CheckpointError(
                f"{path} holds Python objects besides tensors and was not opened, because that "
                f"could run code; {_WANTED}"
            ) from None
        raise CheckpointError(f"{path} is cut off or damaged: {fault}. Copy it again.") from None
    if read.form == "old":
        log.warning(UNCHECKED.format(path))
    return read.document


def _parts(path: Path, document: object) -> dict[str, Weights]:
    if not isinstance(document, Mapping):
        raise CheckpointError(f"{path} holds a {type(document).__name__}, no weights; {_WANTED}")
    if document.get("kind") == KIND:
        raise CheckpointError(
            f"{path} is a checkpoint of i2i already: use it as it is, "
            f"for example `i2i translate {path} IN OUT`."
        )
    if set(document) >= _PARTS and all(_is_weights(document[part]) for part in _PARTS):
        return {part: dict(document[part]) for part in sorted(_PARTS)}
    for held in (document, *(document.get(key) for key in _WRAPPERS)):
        if _is_weights(held):
            assert isinstance(held, Mapping)
            return {"": dict(held)}
    if several := _state_dicts(document):
        return several
    keys = ", ".join(str(key) for key in list(document)[:5])
    raise CheckpointError(f"{path} holds no weights that are known (it has {keys}); {_WANTED}")


def _state_dicts(value: object, depth: int = 0) -> dict[str, Weights]:
    """Return the state dicts in a nested document, by the keys that lead to them."""
    if _is_weights(value):
        return {"": dict(cast(Weights, value))}
    # Those of optimizers have numbers as keys.
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return {}
    if not all(isinstance(key, str) for key in value):
        return {}
    found: dict[str, Weights] = {}
    for key, held in value.items():
        head = "" if key in _WRAPPERS else key
        for tail, weights in _state_dicts(held, depth + 1).items():
            found.setdefault(".".join(filter(None, (head, tail))), weights)
    return found


def _is_weights(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
        and all(isinstance(weight, Tensor) for weight in value.values())
    )


def _files_in(folder: Path) -> str:
    """Return the end of a sentence that names files to give instead of a folder."""
    found = sorted(folder.glob("*_net_G*.pth")) or sorted(folder.glob("gen_*.pt"))
    if not found:
        return f" without a file such as latest_net_G.pth: {_WANTED}"
    latest = [path for path in found if path.name.startswith("latest")]
    return f": give a file of it, such as {(latest or found)[0]}."
