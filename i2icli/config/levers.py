"""Ways to the same numbers at less cost, each with a switch."""

from __future__ import annotations

from pydantic import Field

from i2icli.config.base import StrictModel


class LeversConfig(StrictModel):
    """Ways to the same numbers at less cost; off only to compare, or in doubt."""

    reuse_features: bool = Field(
        True, description="Keep features of the sources from the pass that translates them."
    )
    batch_passes: bool = Field(
        True, description="Send pictures that meet the same network through it together."
    )
    selected_rows: bool = Field(
        True,
        description="Attention (QS-Attn): gradient through the selected rows alone, in portions, "
        "rather than through the whole matrix.",
    )
    bilinear_upsample: bool = Field(
        True, description="Double maps by interpolation rather than by a blurring convolution."
    )
    lean_norm: bool = Field(
        True,
        description="Instance norm in the layout and number format that its maps come in, its "
        "statistics in float32, rather than on float32 copies.",
    )
    freeze_others: bool = Field(
        True, description="Spare the gradients of weights whose player is not up for its step."
    )
