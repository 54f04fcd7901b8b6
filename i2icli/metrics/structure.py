"""Structure distance: how far a translation moved what stands where, whatever it looks like.

The mean squared difference of cosine self-similarities of deep features, as in the structure loss
of Tumanyan et al. (CVPR 2022), but with VGG16 in place of the vision transformer DINO. It
is not the "DINO structure distance" of other papers, and its numbers do not compare with theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from i2icli.metrics.perceptual import BATCH_SIZE, Progress, weight_facts
from i2icli.metrics.picture_sets import Pair, load_ahead, match_folders, pair_facts
from i2icli.metrics.results import Measurement, mean_measurement
from i2icli.networks.vgg import VGG16Features
from i2icli.pictures.images import read_picture, to_tensor
from i2icli.pretrained.weights import FoundWeights, load_weights

SIDE = 224
LAYER = "relu4_3"  # 28x28 positions at 224x224


class SelfSimilarity:
    """Cosine self-similarity of VGG16 features.

    Attributes:
        device: where it computes.
        weights: the file the convolutions came from; None for tensors given by hand.
    """

    def __init__(
        self,
        convolutions: Mapping[str, Tensor],
        *,
        device: torch.device | None = None,
        weights: FoundWeights | None = None,
    ) -> None:
        self.weights = weights
        self.device = device or torch.device("cpu")
        network = VGG16Features()
        network.load_convolutions(convolutions)
        self._network = network.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def maps(self, pictures: Tensor) -> Tensor:
        """Return the self-similarity of each picture, (B, 3, H, W) in [-1, 1]: (B, P, P).

        They are cosines of the features of P = (H / 8) * (W / 8) positions.
        """
        # TensorFloat-32, PyTorch's default for convolutions, would change the third digit.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            (features,) = self._network(pictures.to(self.device), [LAYER])
        vectors = F.normalize(features.flatten(2), dim=1)
        return vectors.mT @ vectors

    def distances(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mean squared difference of each pair's maps, (B,), float64; see `maps`."""
        difference = (self.maps(first) - self.maps(second)).square()
        return difference.mean(dim=(1, 2)).to(device="cpu", dtype=torch.float64)


def load_self_similarity(device: torch.device | None = None) -> SelfSimilarity:
    """Return self-similarity with the real weights of the weights folder; nothing is downloaded.

    Raises:
        WeightsError: the weights `vgg16` are not there.
    """
    tensors, found = load_weights("vgg16")
    return SelfSimilarity(tensors, device=device, weights=found)


def structure_distance(
    inputs: Path,
    outputs: Path,
    *,
    network: SelfSimilarity,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Measurement:
    """Measure how far translations keep the structure of their inputs, matched by name; 0 is best.

    Both are resized to 224x224, so a translation may have another size than its input.

    Raises:
        DataError: a picture without partner, or unreadable.
    """
    pairs = match_folders(inputs, outputs)
    batches = [pairs[at : at + batch_size] for at in range(0, len(pairs), batch_size)]
    values: list[float] = []
    for _, (first, second) in load_ahead(batches, _load):
        values += network.distances(first, second).tolist()
        if progress:
            progress(len(values), len(pairs))
    return mean_measurement(
        "structure",
        np.array(values),
        counts={"pairs": len(pairs)},
        protocol={
            "features": f"vgg16 {LAYER}, not DINO",
            "similarity": "cosine",
            "difference": "mean square",
            "resize": f"{SIDE}x{SIDE} bicubic, antialiased",
            **pair_facts(pairs, "input", "output"),
        },
        about={"inputs": str(inputs), "outputs": str(outputs), **weight_facts(network.weights)},
    )


def _load(pairs: list[Pair]) -> tuple[Tensor, Tensor]:
    first = torch.stack([_read(pair.first) for pair in pairs])
    return first, torch.stack([_read(pair.second) for pair in pairs])


def _read(path: Path) -> Tensor:
    picture = to_tensor(read_picture(path).pixels)[None]  # in [-1, 1]
    resized = F.interpolate(picture, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    return resized[0].clamp(-1.0, 1.0)
