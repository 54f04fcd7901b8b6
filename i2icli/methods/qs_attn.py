"""QS-Attn: query-selected attention for contrastive learning (Hu et al., CVPR 2022).

https://arxiv.org/abs/2203.08483. CUT, but in the deeper layers the contrasted places are those
whose attention is most concentrated, and attention rows of the source route both features.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor

from i2icli.errors import ConfigError
from i2icli.losses.attention import attend_global, local_rows, route_local
from i2icli.losses.attention_plain import attend_everywhere, attend_in_windows, window_entropy
from i2icli.methods.cut import CUT, CUTConfig
from i2icli.methods.shared import Attending, register


class QSAttnConfig(CUTConfig):
    """Hyperparameters of QS-Attn (Hu et al., CVPR 2022); the rest is CUT's."""

    name: Literal["qs-attn"] = "qs-attn"  # type: ignore[assignment]
    selection: Literal["global", "local", "local-global"] = Field(
        "global",
        description="Where entropy is measured and features are routed: over the whole picture, "
        "in a window, or measured in the window and routed over the whole picture.",
    )
    layout: Literal["paper", "released"] = Field(
        "paper",
        description="Local windows as the paper draws them, or as the released code and its "
        "checkpoints mix them.",
    )
    window: int = Field(7, ge=1, description="Side of the local window, odd, in feature pixels.")
    attend_from: int = Field(
        3, ge=0, description="First position in `nce_layers` that selects; those before draw."
    )

    @field_validator("window")
    @classmethod
    def _is_odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError("must be odd, so that the window has a centre")
        return window


@register
class QSAttn(CUT):
    """CUT with selected queries and attention-routed features."""

    Config = QSAttnConfig
    # As released, the source's attention rows are not detached: the encoder gets gradient on the
    # source side too.
    source_has_gradient: ClassVar[bool] = True
    config: QSAttnConfig

    @property
    def first_attended(self) -> int:
        """First position in `nce_layers` that selects."""
        return self.config.attend_from

    @property
    def attending(self) -> Attending:
        """How the selecting layers look around."""
        config = self.config
        return Attending(config.selection, window=config.window, layout=config.layout)

    def draw_layer(self, name: str, layer: int, source: Tensor) -> Tensor | None:
        """Draw places where no attention chooses them; see `CUT.draw_layer`."""
        return None if layer >= self.config.attend_from else super().draw_layer(name, layer, source)

    def sample(
        self, name: str, query: Tensor, source: Tensor, places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Route features by the source's most concentrated attention rows; see `CUT.sample`."""
        config = self.config
        if places is not None:
            return super().sample(name, query, source, places)  # at random, as in CUT
        self._require_enough_places(source)
        if not self.levers.selected_rows:
            return self._sample_plainly(name, query, source)
        entropy = self.attending.entropy(source.detach())
        places = self.draws.lowest(name, entropy, count=config.num_patches)
        # Sec. 3.2 of QS-Attn: rows of the source's attention route source and translation alike.
        if config.selection == "local":
            rows = local_rows(source, places, window=config.window, layout=config.layout)
            routed = [
                route_local(a, f, places, window=config.window, layout=config.layout)
                for a, f in ((rows, query), (rows.detach(), source.detach()))
            ]
            return routed[0], routed[1]
        return attend_global(source, query, places)

    def _sample_plainly(self, name: str, query: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Route features as `sample` does, with all rows of the attention in the gradient."""
        config, window, layout = self.config, self.config.window, self.config.layout
        choose = partial(self.draws.lowest, name, count=config.num_patches)
        if config.selection == "local":
            return attend_in_windows(source, query, choose, window=window, layout=layout)
        entropy = None
        if config.selection == "local-global":
            entropy = window_entropy(source, window=window, layout=layout)
        return attend_everywhere(source, query, choose, entropy=entropy)

    def _require_enough_places(self, source: Tensor) -> None:
        # The released local values are defined for no fewer places than patches.
        total = source.shape[2] * source.shape[3]
        if (
            self.config.selection == "local"
            and self.config.layout == "released"
            and total < self.config.num_patches
        ):
            raise ConfigError(
                f"method.layout 'released' selects method.num_patches="
                f"{self.config.num_patches} places, but a feature map has only {total}: type "
                f"--set method.num_patches={total}, or use larger crops"
            )
