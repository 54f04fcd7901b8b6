"""The process that holds a released code base; started by released.py alone."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from i2icli.bench.measure import count_operations, memory_of
from i2icli.bench.worker import Answers, serve
from i2icli.system.device import wait_for
from i2icli.system.memory import resident_bytes


class Released:
    """Their model, on given batches.

    Args:
        model: as their `create_model` made it, ready to train.
        batches: in turn, as their `set_input` takes them.
        imports_bytes: resident memory before anything was built.
    """

    def __init__(
        self, model: Any, batches: Sequence[dict[str, Any]], imports_bytes: int | None
    ) -> None:
        self._model = model
        self._batches = batches
        self._imports_bytes = imports_bytes
        self._device = next(self._networks()[0][1].parameters()).device
        self._turn = 0

    def answers(self) -> Answers:
        """Return the measurements by name."""
        return {
            "step": self.step,
            "memory": lambda: memory_of(self._device, imports_bytes=self._imports_bytes),
            "weights": self.weights,
            "flops": lambda: count_operations(self.step),
            "network": self.network_pass,
        }

    def step(self) -> float:
        """Take a training step; return its seconds."""
        started = time.perf_counter()
        self._model.set_input(self._batches[self._turn % len(self._batches)])
        self._model.optimize_parameters()
        wait_for(self._device)
        self._turn += 1
        return time.perf_counter() - started

    def weights(self) -> dict[str, int]:
        """Return the number of weights by network."""
        return {name: sum(w.numel() for w in net.parameters()) for name, net in self._networks()}

    @torch.no_grad()
    def network_pass(self) -> float:
        """Send the sources of all batches through the generator; return pictures a second."""
        generators = [net for name, net in self._networks() if name in ("G", "G_A")]
        generator = generators[0].eval()
        started = time.perf_counter()
        for batch in self._batches:
            generator(batch["A"].to(self._device))
        wait_for(self._device)
        count = sum(len(batch["A"]) for batch in self._batches)
        return count / (time.perf_counter() - started)

    def _networks(self) -> list[tuple[str, nn.Module]]:
        model = self._model
        return [(name, getattr(model, f"net{name}")) for name in model.model_names]


def build(folder: str, options: list[str], batches: str, threads: int, *, is_cpu: bool) -> Answers:
    """Import their code and make it ready for its first step.

    Their modules have common names (models, options, data, util), so their folder is first on
    the path; their options are read from the command line, so it is theirs.
    """
    torch.set_num_threads(threads)
    sys.path.insert(0, folder)
    sys.argv = ["train.py", *options]
    parsed = importlib.import_module("options.train_options").TrainOptions().parse()
    create = importlib.import_module("models").create_model
    imports_bytes = resident_bytes() or None
    pairs = torch.load(batches, weights_only=True)
    names = [[f"{index}.jpg" for index in range(len(a))] for a, _ in pairs]
    given = [
        {"A": a, "B": b, "A_paths": paths, "B_paths": paths}
        for (a, b), paths in zip(pairs, names, strict=True)
    ]
    model = create(parsed)
    prepare(model, parsed, given[0])
    if not is_cpu:
        torch.cuda.reset_peak_memory_stats()
    return Released(model, given, imports_bytes).answers()


def prepare(model: Any, options: Any, batch: dict[str, Any]) -> None:
    """Do what a code base does before its first step; the older ones lack some of it."""
    if hasattr(model, "data_dependent_initialize"):
        # The first code of the family takes the batch here, others before.
        takes_batch = bool(inspect.signature(model.data_dependent_initialize).parameters)
        if not takes_batch:
            model.set_input(batch)
        model.data_dependent_initialize(*([batch] if takes_batch else []))
    model.setup(options)
    if hasattr(model, "parallelize"):
        model.parallelize()


if __name__ == "__main__":
    serve(build)
