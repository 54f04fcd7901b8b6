"""The structure term of a method: F-SeSim or L-SeSim between source and translation.

Zheng et al., CVPR 2021, https://arxiv.org/abs/2104.00854.
"""

from __future__ import annotations

from torch import Tensor, nn

from i2icli.config.structure import StructureConfig
from i2icli.methods.draws import Draws


class StructureTerm(nn.Module):
    """Spatial self-similarity of VGG16 features, compared between two pictures.

    Args:
        config: which maps, and how they are compared; its `kind` is not "none".
    """

    def __init__(self, config: StructureConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def is_learned(self) -> bool:
        """Whether there is a head to train."""
        return self.config.kind == "learned"

    def loss(
        self, network: nn.Module, source: Tensor, translated: Tensor, draws: Draws, *, name: str
    ) -> Tensor:
        """Return the weighted distance of two pictures' self-similarity, a scalar."""
        raise NotImplementedError

    def contrast(
        self,
        network: nn.Module,
        source: Tensor,
        translated: Tensor,
        other: Tensor,
        draws: Draws,
        *,
        name: str,
    ) -> Tensor:
        """Return what the learned head minimises, a scalar."""
        raise NotImplementedError
