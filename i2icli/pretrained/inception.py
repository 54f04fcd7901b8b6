"""The Inception of the FID with published weights, checked each time it is built."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from i2icli.errors import WeightsError
from i2icli.home import home
from i2icli.networks.inception import FidInception
from i2icli.pretrained.weight_files import digest
from i2icli.pretrained.weights import WEIGHTS, FoundWeights, read_checked
from i2icli.system.files import write_whole
from i2icli.system.torch_files import DAMAGE


def load_inception(found: FoundWeights) -> FidInception:
    """Return the frozen network, in evaluation mode, on the CPU.

    The tensors of a TorchScript file are read from it once, and kept as safetensors beside the
    other caches, under the SHA-256 of the file they came from.

    Args:
        found: the weights `inception` or `inception-pytorch`.

    Raises:
        WeightsError: if the file was damaged after it was found, or holds another network.
    """
    network = FidInception()
    try:
        if found.name == "inception":
            network.load_tensorflow(_kept(found))
        else:
            network.load_pytorch(read_checked(found))
    except (KeyError, RuntimeError) as fault:
        raise WeightsError(f"{found.path} holds another network: it lacks {fault}.") from None
    return network.eval().requires_grad_(False)


def _kept(found: FoundWeights) -> Mapping[str, Tensor]:
    kept = home() / "cache" / "weights" / f"{found.sha256}.safetensors"
    with suppress(OSError, SafetensorError, *DAMAGE):
        tensors: dict[str, Tensor] = safetensors.torch.load(kept.read_bytes())
        if digest(tensors) == WEIGHTS[found.name].digest:
            return tensors
    read = read_checked(found)
    tensors = {name: value for name, value in read.items() if name.startswith("layers.")}
    with suppress(OSError):  # where it cannot be kept it is read again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, safetensors.torch.save(tensors), is_shared=True)
    return tensors
