"""Streams of batches, as tests of data want them."""

from __future__ import annotations

from typing import Any

from i2icli.data.loader import BatchStream, build_loader


def stream_of(dataset: Any, **options: Any) -> BatchStream:
    """Return the batches of a data set from step 0 on, without processes or pinned memory."""
    usual = {"seed": 0, "start_step": 0, "workers": 0, "is_decaying": lambda _: False}
    return build_loader(dataset, dataset.config, **{**usual, "pin": False, **options})
