"""SRC + hDCE: patch-wise semantic relations and hard negatives (Jung et al., CVPR 2022).

https://arxiv.org/abs/2203.01532. CUT, but the contrast is decoupled from its positive and weighs
negatives by how hard they are, and a second term keeps the relations among patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from i2icli.config.schedule import EpochSchedule
from i2icli.losses.relation import decoupled_contrast, hardness_weights, relation_consistency
from i2icli.methods.cut import CUT, CUTConfig, Layers
from i2icli.methods.shared import Task, Terms, register


class SRCConfig(CUTConfig):
    """Hyperparameters of SRC + hDCE (Jung et al., CVPR 2022); the rest is CUT's."""

    name: Literal["src-hdce"] = "src-hdce"  # type: ignore[assignment]
    lambda_nce: float = Field(
        0.1, ge=0, description="Weight of the hDCE terms, which stand for PatchNCE (lambda_HDCE)."
    )
    lambda_src: float = Field(
        0.05, ge=0, description="Weight of the relation term, a sum over all pairs of patches."
    )
    hard_negatives: bool = Field(True, description="Weigh negatives by hardness; else all alike.")
    gamma: float = Field(
        50.0,
        gt=0,
        description="Divides the similarities that weigh negatives, at the start; the paper's "
        "gamma is its reciprocal.",
    )
    gamma_last: float = Field(
        10.0, gt=0, description="What gamma has come to, linearly, at the end of the schedule."
    )
    gamma_drop_after: int | None = Field(
        None, ge=0, description="gamma is 1 after this epoch; none: never."
    )

    @model_validator(mode="after")
    def _counts_epochs(self) -> Self:
        if self.gamma != self.gamma_last and not isinstance(self.schedule, EpochSchedule):
            raise ValueError(
                f"method.gamma falls over the epochs of the schedule, and method.schedule.policy "
                f"{self.schedule.policy!r} has none: set method.gamma_last={self.gamma:g}"
            )
        return self

    def gamma_in(self, epoch: int) -> float:
        """Return gamma in `epoch`, counted from 1; beyond the schedule its last value."""
        if self.gamma_drop_after is not None and epoch > self.gamma_drop_after:
            return 1.0
        if not isinstance(self.schedule, EpochSchedule):
            return self.gamma
        share = min(1.0, epoch / max(1, self.schedule.total_epochs))
        return self.gamma + (self.gamma_last - self.gamma) * share


@register
class SRC(CUT):
    """CUT with decoupled, hardness-weighted contrast and consistent patch relations."""

    Config = SRCConfig
    config: SRCConfig

    def __init__(self, config: SRCConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        self._gamma = config.gamma_in(1)

    def start_epoch(self, epoch: int) -> None:
        """Take the epoch's gamma."""
        self._gamma = self.config.gamma_in(epoch)

    @property
    def is_contrasted(self) -> bool:
        """Whether any term compares features."""
        return self.config.lambda_nce > 0 or self.config.lambda_src > 0

    def draw_places(self, sources: Mapping[str, Sequence[Tensor]]) -> list[list[Tensor | None]]:
        """Draw the places of each layer once for all terms, as released; CUT draws for each.

        For each here too where the sources are of unlike sizes.
        """
        first, *others = sources.values()
        if any(maps[0].shape[2:] != first[0].shape[2:] for maps in others):
            return super().draw_places(sources)
        return super().draw_places({"nce": first}) * len(sources)

    def contrast_terms(self, pairs: Mapping[str, Layers]) -> Terms:
        """Return hDCE of every pair, and the relation term of the first (SRC, eq. 9).

        See `CUT.contrast_terms`.
        """
        config = self.config
        terms: Terms = {}
        for name, layers in pairs.items():
            rows = self._project(name, layers)
            if config.lambda_nce > 0:
                # The released code halves the terms, as CUT's does.
                terms[name] = config.lambda_nce / len(pairs) * self._contrast(rows)
            if config.lambda_src > 0 and not name.endswith("identity"):
                relation = [relation_consistency(query, key).mean() for query, key in rows]
                terms["relation"] = config.lambda_src * torch.stack(relation).mean()
        return terms

    def _project(self, name: str, layers: Layers) -> list[tuple[Tensor, Tensor]]:
        """Return projected rows of translation and source, (B, N, D) each, one pair a layer."""
        rows = []
        for layer, each in enumerate(zip(*layers, strict=True)):
            query, source = self.sample(name, *each)
            queries = self.projector(query, layer)
            keys = self.projector(source, layer).detach()
            if self.config.batch_negatives:
                # The batch counts as one picture, (1, B * N, D): the whole batch, also where
                # several processes share it, for relations tie the translations too.
                queries, keys = self.ranks.gather(queries), self.ranks.gather(keys)
                queries, keys = queries.flatten(0, 1)[None], keys.flatten(0, 1)[None]
            rows.append((queries, keys))
        return rows

    def _contrast(self, rows: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        config, total = self.config, []
        for queries, keys in rows:
            # Departs from the official code: relations are those of each picture on its own,
            # because the released matrix over all pictures of a batch fits one picture only.
            weights = hardness_weights(keys, gamma=self._gamma) if config.hard_negatives else None
            # (B, N): the value of cross entropy, the gradient without the positive in the divisor
            each = decoupled_contrast(queries, keys, weights, temperature=config.temperature)
            total.append(each.mean())
        return torch.stack(total).mean()
