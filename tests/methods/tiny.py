"""Smallest useful configuration of every registered method, for contract tests."""

from __future__ import annotations

from typing import Any

import torch

from i2icli.data.batch import Batch
from i2icli.methods import METHODS, Method, build_method
from i2icli.methods.configure import AnyRunConfig, run_schema

_SMALL: dict[str, Any] = {
    "generator": {"width": 4, "blocks": 2},
    "discriminator": {"width": 4, "layers": 2},
    "init": {"kind": "xavier", "gain": 1.0},
    "nce_layers": [0, 4, 8, 12, 13],
    "num_patches": 16,
    "projection_dim": 8,
    "pool_size": 3,
}


def tiny_document(name: str, **changes: Any) -> dict[str, Any]:
    """Return the `method` section of the smallest configuration of `name`."""
    fields = METHODS[name].Config.model_fields
    defaults = METHODS[name].Config().model_dump(mode="json")
    small = {key: value for key, value in {**_SMALL, **changes}.items() if key in fields}
    for key, value in small.items():
        if isinstance(value, dict):
            small[key] = {**defaults[key], **value}
    return {**small, "name": name}


def tiny_config(name: str, **changes: Any) -> AnyRunConfig:
    """Return a whole run configuration around `tiny_document`."""
    return run_schema().model_validate(
        {
            "method": tiny_document(name, **changes),
            "data": {"resize": 36, "crop": 32},
            "runtime": {"device": "cpu", "precision": "float32", "workers": 0},
        }
    )


def tiny_method(name: str, **changes: Any) -> Method:
    """Build the method of `tiny_config`."""
    return build_method(tiny_config(name, **changes))


def tiny_batch(count: int = 2, size: int = 32, seed: int = 1) -> Batch:
    """Return smooth pictures of two different domains, (count, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((2, count, 3, 8, 8), generator=generator) * 2 - 1
    real_a, real_b = (
        torch.nn.functional.interpolate(part, size=(size, size), mode="bilinear") for part in coarse
    )
    return Batch(real_a, real_b.flip(1) * 0.8)


__all__ = ["tiny_batch", "tiny_config", "tiny_document", "tiny_method"]
