"""A worker of `i2i bench` that measures in the process that asks, where that is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from i2icli.bench import measure, worker
from i2icli.bench.worker import Worker


class NearWorker(Worker):
    """Answers by itself what another process would."""

    def __init__(self, name: str, words: Sequence[str], given: Mapping[str, Any]) -> None:
        self.name, self._near = name, measure.build_answers(**given)

    def ask(self, what: str, **given: Any) -> Any:
        """Do it at once."""
        return self._near[what](**given)

    def close(self) -> None:
        """Forget what was built."""
        self._near = {}


@contextmanager
def near_workers() -> Iterator[None]:
    """Measure without processes; what memory a step takes is not known then."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Worker", NearWorker)
        yield
    torch.set_num_threads(threads)
