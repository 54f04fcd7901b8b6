"""LPIPS (Zhang et al., CVPR 2018), computed by the lpips package: how unlike two pictures look.

Three uses: `content`, each input against its translation (how much was changed); `paired`, each
translation against its true one; `diversity`, among several translations of one input.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2icli.errors import DataError
from i2icli.metrics.picture_sets import (
    Pair,
    batch_by_size,
    describe_set,
    load_ahead,
    match_folders,
    pair_facts,
    pictures_by_stem,
)
from i2icli.metrics.results import Fact, Measurement, mean_measurement
from i2icli.pictures.images import read_picture, read_size, to_tensor
from i2icli.pretrained.weight_files import read_tensors
from i2icli.pretrained.weights import FoundWeights, load_weights

Net = Literal["alex", "vgg"]
Kind = Literal["content", "paired", "diversity"]
Progress = Callable[[int, int], None]

VERSION = "0.1"
BATCH_SIZE = 16
_WEIGHTS: Mapping[Net, str] = {"alex": "alexnet", "vgg": "vgg16"}
# Below these its last layers have nothing left to look at.
MIN_SIDE: Mapping[Net, int] = {"alex": 31, "vgg": 16}
_STYLE = re.compile(r"(?P<name>.+)_(?:style)?(?P<style>\d+)")


class Lpips:
    """The distance of the lpips package with given convolutions.

    Attributes:
        net: the network that they are of.
        device: where it computes; by default the CPU.
        weights: the file they came from; None for tensors given by hand.
    """

    def __init__(
        self,
        net: Net,
        convolutions: Mapping[str, Tensor],
        *,
        device: torch.device | None = None,
        weights: FoundWeights | None = None,
    ) -> None:
        self.net, self.weights = net, weights
        self.device = device or torch.device("cpu")
        self._module = _build_module(net, convolutions).to(self.device)

    @torch.inference_mode()
    def distances(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of each pair of pictures, (B, 3, H, W) in [-1, 1]: (B,), float64.

        Raises:
            ValueError: the shapes differ, or a value lies outside [-1, 1], which would give other
                numbers.
        """
        if first.shape != second.shape:
            raise ValueError(f"shapes differ: {tuple(first.shape)} against {tuple(second.shape)}")
        if max(float(first.abs().max()), float(second.abs().max())) > 1.0:
            raise ValueError("LPIPS takes pictures in [-1, 1]")
        # TensorFloat-32, PyTorch's default for convolutions, would change the third digit.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            values: Tensor = self._module(first.to(self.device), second.to(self.device))
        return values.reshape(-1).to(device="cpu", dtype=torch.float64)


def load_lpips(net: Net = "alex", *, device: torch.device | None = None) -> Lpips:
    """Return LPIPS with the real weights of the weights folder; nothing is downloaded.

    Raises:
        WeightsError: the convolutions are not there.
    """
    tensors, found = load_weights(_WEIGHTS[net])
    return Lpips(net, tensors, device=device, weights=found)


def lpips_content(
    inputs: Path,
    outputs: Path,
    *,
    lpips: Lpips,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Measurement:
    """Measure how far translations are from their inputs, matched by name, at their own size.

    Raises:
        DataError: a picture without partner, of another size than its partner, too small, or
            unreadable.
    """
    pairs = match_folders(inputs, outputs)
    values = measure_pairs(pairs, lpips=lpips, batch_size=batch_size, progress=progress)
    facts, about = pair_facts(pairs, "input", "output"), {"inputs": inputs, "outputs": outputs}
    return _summary("content", values, lpips, {"pairs": len(pairs)}, facts, about)


def lpips_paired(
    outputs: Path,
    truth: Path,
    *,
    lpips: Lpips,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Measurement:
    """Measure how far translations are from the true ones, matched by name.

    Raises:
        DataError: as `lpips_content`.
    """
    pairs = match_folders(outputs, truth)
    values = measure_pairs(pairs, lpips=lpips, batch_size=batch_size, progress=progress)
    facts, about = pair_facts(pairs, "output", "truth"), {"outputs": outputs, "truth": truth}
    return _summary("paired", values, lpips, {"pairs": len(pairs)}, facts, about)


def lpips_diversity(
    outputs: Path,
    *,
    lpips: Lpips,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Measurement:
    """Measure how unlike the translations of one input are: over all pairs, then over inputs.

    The mean over all pairs of N styles has the expected value of the papers' 19 pairs of random
    styles an input (Zhu et al., NeurIPS 2017; MUNIT), and varies less.

    Args:
        outputs: pictures called `NAME_1.png`, `NAME_2.png`, ..., or `NAME_style1.png`, ...: the
            styles of input NAME.
        lpips: the distance.
        batch_size: pairs at once, at 256x256.
        progress: called with pairs done and pairs in all.

    Raises:
        DataError: a name without a number, an input with one style, unequal numbers of styles,
            or as `lpips_content`.
    """
    groups = _group_styles(outputs)
    pairs = [
        Pair(name, *two)
        for name, paths in groups.items()
        for two in itertools.combinations(paths, 2)
    ]
    values = measure_pairs(pairs, lpips=lpips, batch_size=batch_size, progress=progress)
    styles = len(next(iter(groups.values())))
    whole = describe_set([path for paths in groups.values() for path in paths])
    facts = {"pairs": "all of an input", "size": whole.sizes, "output_format": whole.formats}
    by_input = values.reshape(len(groups), -1).mean(axis=1)
    counts = {"inputs": len(groups), "styles": styles}
    return _summary("diversity", by_input, lpips, counts, facts, {"outputs": outputs})


def measure_pairs(
    pairs: Sequence[Pair],
    *,
    lpips: Lpips,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return the distance of each pair of picture files, (N,), in their order.

    Raises:
        DataError: a pair of two sizes, too small a picture, or an unreadable one.
    """
    sizes = [_common_size(pair, lpips.net) for pair in pairs]
    distances = np.empty(len(pairs))
    done = 0

    def load(batch: list[int]) -> tuple[Tensor, Tensor]:
        firsts = torch.stack([_read(pairs[number].first) for number in batch])
        return firsts, torch.stack([_read(pairs[number].second) for number in batch])

    for batch, (first, second) in load_ahead(batch_by_size(sizes, batch_size), load):
        distances[batch] = lpips.distances(first, second).numpy()
        done += len(batch)
        if progress:
            progress(done, len(pairs))
    return distances


def _build_module(net: Net, convolutions: Mapping[str, Tensor]) -> nn.Module:
    """Build the package's network around given convolutions, with the package's linear heads."""
    import lpips

    # Built without memory and then filled, because the package would make torchvision download its
    # weights, or draw half a gigabyte of random ones.
    with warnings.catch_warnings(), torch.device("meta"):
        # The package speaks to torchvision in words that are deprecated there.
        warnings.simplefilter("ignore", UserWarning)
        module: nn.Module = lpips.LPIPS(
            net=net, version=VERSION, pretrained=False, pnet_rand=True, verbose=False
        )
    heads = Path(lpips.__file__).parent / "weights" / f"v{VERSION}" / f"{net}.pth"
    state: dict[str, Any] = dict(read_tensors(heads).tensors)
    scaling = lpips.ScalingLayer().state_dict()
    state |= {f"scaling_layer.{name}": value for name, value in scaling.items()}
    for name in module.state_dict():
        if name.startswith("net."):  # net.slice2.3.weight is torchvision's features.3.weight
            state[name] = convolutions["features." + name.split(".", 2)[2]].detach().float()
        elif name.startswith("lins."):  # the heads again, under a second name
            state[name] = state["lin" + name.removeprefix("lins.")]
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _read(path: Path) -> Tensor:
    return to_tensor(read_picture(path).pixels)  # (3, H, W): grey is repeated, alpha left out


def _common_size(pair: Pair, net: Net) -> tuple[int, int]:
    first, second = read_size(pair.first), read_size(pair.second)
    if first != second:
        raise DataError(
            f"{pair.first} is {first[0]}x{first[1]} and {pair.second} {second[0]}x{second[1]}: "
            "LPIPS compares pictures of one size and resizes none; translate at the size of the "
            "inputs, or resize one folder."
        )
    if min(first) < MIN_SIDE[net]:
        raise DataError(
            f"{pair.first} is {first[0]}x{first[1]}: LPIPS with {net} needs pictures of "
            f"{MIN_SIDE[net]} pixels a side or more."
        )
    return first


def _group_styles(folder: Path) -> dict[str, list[Path]]:
    groups: dict[str, dict[int, Path]] = {}
    for stem, path in pictures_by_stem(folder).items():
        match = _STYLE.fullmatch(stem)
        if match is None:
            raise DataError(
                f"{path} has no style number in its name: diversity needs NAME_1.png, NAME_2.png, "
                "... for the translations of one input, as `i2i translate --styles` calls them."
            )
        groups.setdefault(match["name"], {})[int(match["style"])] = path
    counts = {name: len(styles) for name, styles in groups.items()}
    few = min(counts, key=lambda name: counts[name])
    many = max(counts, key=lambda name: counts[name])
    if counts[few] < 2 or counts[few] != counts[many]:
        wanted = max(2, counts[many])
        raise DataError(
            f"{folder} holds {counts[few]} translation(s) of {few}, but diversity needs two or "
            f"more of each input and as many of one as of another: make {wanted} of each."
        )
    return {name: [styles[key] for key in sorted(styles)] for name, styles in groups.items()}


def _summary(
    kind: Kind,
    values: NDArray[np.float64],
    lpips: Lpips,
    counts: Mapping[str, int],
    facts: Mapping[str, Fact],
    folders: Mapping[str, Path],
) -> Measurement:
    protocol: dict[str, Fact] = {"kind": kind, "net": lpips.net, "version": VERSION}
    protocol |= {"range": "[-1, 1]", "resize": "none", **facts}
    about = {name: str(folder) for name, folder in folders.items()} | weight_facts(lpips.weights)
    return mean_measurement("lpips", values, counts=counts, protocol=protocol, about=about)


def weight_facts(weights: FoundWeights | None) -> dict[str, Fact]:
    """Return the name and sum of the weights of a measurement."""
    return {
        "weights": weights.name if weights else None,
        "weights_sha256": weights.sha256 if weights else None,
    }
