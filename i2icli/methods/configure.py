"""From preset and overrides to a run's configuration, and from that to a method."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from typing import Annotated, Any

import torch
from pydantic import Field

from i2icli.config.method import MethodConfig
from i2icli.config.run import RunConfig
from i2icli.methods.base import Method
from i2icli.methods.registry import METHODS

AnyRunConfig = RunConfig[MethodConfig]


@cache
def run_schema() -> type[AnyRunConfig]:
    """Return the model of a run's configuration, its `method` the union of all methods."""
    union: Any = reduce(or_, [method.Config for method in METHODS.values()])
    if len(METHODS) > 1:
        union = Annotated[union, Field(discriminator="name")]
    schema: type[AnyRunConfig] = RunConfig[union]
    return schema


def build_method(config: AnyRunConfig) -> Method:
    """Build the configured method with fresh weights that depend on `train.seed` alone.

    The global random state is left as it was.
    """
    kind = METHODS[config.method.name]  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        method = kind(
            config.method, channels_a=config.data.channels_a, channels_b=config.data.channels_b
        )
    method.draws.restore(torch.Generator().manual_seed(config.train.seed).get_state())
    return method
