"""The measurements of one variant, in a process of its own: `python -m i2icli.bench.measure`.

Each variant has its process, and so has each kind of measurement, so that no peak of memory, warm
cache or fragmented heap of one shows in another. See `bench.worker` for how it is told what to do.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from i2icli.bench.rig import Rig, Variant, build_rig
from i2icli.bench.worker import Answers, serve
from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_domains
from i2icli.data.loader import build_loader, choose_workers
from i2icli.data.training_set import TrainingSet, open_training_set
from i2icli.errors import I2IError
from i2icli.methods import method_of, restore_config
from i2icli.system.allocator import claim_process
from i2icli.system.device import resolve_device, wait_for
from i2icli.system.memory import peak_bytes, resident_bytes
from i2icli.translation.folder import FolderOptions, translate_jobs
from i2icli.translation.pictures import translate_images
from i2icli.translation.targets import Job
from i2icli.translation.translator import Translator

Result = dict[str, Any]

# Of which the peak of memory is taken: the moments exist from the second on.
FIRST_STEPS = 3
# What hides operations from the counter: code that was compiled or recorded.
_HIDING = ("compile", "cuda_graphs")


class Bench:
    """One variant on the bench; its parts are built when they are first wanted.

    Args:
        variant: what to measure.
        imports_bytes: resident memory before anything was built; None where not known.
    """

    def __init__(self, variant: Variant, *, imports_bytes: int | None) -> None:
        self._variant = variant
        self._imports_bytes = imports_bytes

    def answers(self) -> Mapping[str, Callable[..., Any]]:
        """Return the measurements by the names that a worker asks for."""
        return {
            "cost": self.cost,
            "step": self.step,
            "rates": self.rates,
            "loader": self.loader,
            "choices": self.choices,
            "memory": self.memory,
            "batches": self.save_batches,
            "pass": self.translate_pass,
            "network": self.network_pass,
            "operations": self.translate_operations,
            "weights": self.weights,
            "flops": self.step_operations,
        }

    @cached_property
    def rig(self) -> Rig:
        """The parts that training takes."""
        return build_rig(self._variant)

    @cached_property
    def _probe(self) -> LimitProbe:
        return LimitProbe(self.rig.device, self.rig.choices.precision)

    @cached_property
    def _translator(self) -> Translator:
        translator = self.rig.translator()
        self.rig.steppers.clear()  # a translator has none
        return translator

    def step(self) -> float:
        """Take a training step; return its seconds."""
        rig = self.rig
        started = time.perf_counter()
        rig.step()
        return time.perf_counter() - started

    def rates(self) -> dict[str, float]:
        """Return the rates at which the machine multiplies now, see `LimitProbe`."""
        return self._probe.rates()

    def loader(self, repeats: int) -> Result:
        """Return `rates`, pictures a second that the run's loader gives by itself, and `notes`."""
        config = restore_config(self._variant.config)
        kind = method_of(config).data
        domains = find_domains(config.data, kind)
        dataset = open_training_set(kind, domains, config.data, config.labels)
        rates = measure_loader(
            dataset,
            config.data,
            workers=choose_workers(config.runtime.workers, resolve_device(config.runtime.device)),
            batches=16,
            repeats=repeats,
            seed=config.train.seed,
        )
        return {"rates": rates, "notes": dataset.notes}

    def choices(self) -> Result:
        """Return the device, the choices that the configuration left open, and notes."""
        rig = self.rig
        is_cuda = rig.device.type == "cuda"
        chosen = {name: on for name, on in vars(rig.choices).items() if isinstance(on, bool)}
        return {
            "device": str(rig.device),
            "device_name": torch.cuda.get_device_name(rig.device) if is_cuda else "",
            "precision": str(rig.choices.precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "workers": choose_workers(rig.config.runtime.workers, rig.device),
            "shape": rig.shape,
            "settings": {**chosen, **rig.config.runtime.levers.model_dump()},
            "notes": list(rig.notes),
        }

    def memory(self) -> Result:
        """Return the peak until now: `peak_bytes`, `imports_bytes`, `less_imports_bytes`."""
        return memory_of(self.rig.device, imports_bytes=self._imports_bytes)

    def weights(self) -> dict[str, int]:
        """Return the number of weights by network."""
        parts = self.rig.method.named_children()
        return {name: sum(w.numel() for w in part.parameters()) for name, part in parts}

    def step_operations(self) -> int:
        """Count the operations of a training step."""
        return count_operations(self._plain_rig().step)

    def save_batches(self, path: str) -> None:
        """Write the source and target pictures of the batches, for others to train on."""
        pairs = [(b.real_a.cpu(), b.real_b.cpu()) for b in self.rig.batches]  # type: ignore[union-attr]
        torch.save(pairs, path)

    def cost(self) -> Result:
        """Take the first steps, see `bench.cost`.

        Returns:
            `memory` at the peak of them, `state_bytes`, `weights_bytes`, `seconds` of each but
            the first, `size_multiple`, and `choices`.
        """
        rig = self.rig
        if rig.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(rig.device)
        seconds = [self.step() for _ in range(FIRST_STEPS)]
        weights = (*rig.method.parameters(), *rig.method.buffers())
        return {
            "memory": self.memory(),
            "state_bytes": rig.state_bytes(),
            "weights_bytes": sum(w.numel() * w.element_size() for w in weights),
            "seconds": seconds[1:],
            "size_multiple": rig.method.size_multiple,
            "choices": self.choices(),
        }

    def translate_pass(self, pictures: Sequence[str], out: str, batch_size: int | None) -> float:
        """Read, translate and write pictures once, as `i2i translate` does.

        Args:
            pictures: the files; none: up to 16 test pictures of the data set.
            out: folder to write into; removed afterwards.
            batch_size: pictures translated together; None: as memory allows.

        Returns:
            Pictures a second.

        Raises:
            I2IError: a picture could not be translated.
        """
        return _one_pass(self._translator, self._sources(pictures), Path(out), batch_size)

    def network_pass(self) -> float:
        """Send the sources of all batches through the network; return pictures a second."""
        translator, sources = self._translator, [batch.sources for batch in self.rig.batches]
        started = time.perf_counter()
        for images in sources:
            _translate(translator, images)
        wait_for(self.rig.device)
        return sum(map(len, sources)) / (time.perf_counter() - started)

    def translate_operations(
        self, pictures: Sequence[str], out: str, batch_size: int | None
    ) -> Result:
        """Count the operations of translating one picture, on the average of several.

        Returns:
            `pass`: of the files; `network`: of the sources of the batches; `pictures`: the files.
        """
        rig = self._plain_rig()
        translator = self._translator if rig is self.rig else rig.translator()
        files = self._sources(pictures)
        sources = rig.batches[0].sources
        whole = count_operations(lambda: _one_pass(translator, files, Path(out), batch_size))
        alone = count_operations(lambda: _translate(translator, sources))
        return {
            "pass": whole / len(files),
            "network": alone / len(sources),
            "pictures": len(files),
        }

    def _sources(self, pictures: Sequence[str]) -> list[Path]:
        domains = self.rig.data.domains
        own = domains.test_a or domains.train_a
        return [Path(path) for path in pictures] or list(own[:16])

    def _plain_rig(self) -> Rig:
        """Return a rig that computes the same and hides no operation from the counter."""
        if not any(getattr(self.rig.choices, name) for name in _HIDING):
            return self.rig
        config = self._variant.config
        runtime = {**config["runtime"], **dict.fromkeys(_HIDING, "off")}
        return build_rig(replace(self._variant, config={**config, "runtime": runtime}))


def measure_loader(
    dataset: TrainingSet,
    config: DataConfig,
    *,
    workers: int,
    batches: int = 100,
    repeats: int = 5,
    seed: int = 0,
) -> list[float]:
    """Load the first batches of a run, several times, as fast as they come.

    Each repeat starts the loader anew, and its clock with the second batch: starting processes is
    no part of the figure, and what they loaded ahead until then is one batch or two each.

    Args:
        dataset: what is loaded.
        config: its data section.
        workers: processes that load; 0 loads in this one.
        batches: of each repeat, after the first; at least 1.
        repeats: at least 1.
        seed: draws the order and the crops.

    Returns:
        Pictures a second of each repeat, all domains together.

    Raises:
        DataError: when pictures cannot be read.
        ValueError: for less than one batch or repeat.
    """
    if min(batches, repeats) < 1:
        raise ValueError("batches and repeats are at least 1")
    rates = []
    for _ in range(repeats):
        with build_loader(
            dataset,
            config,
            seed=seed,
            start_step=0,
            is_decaying=lambda _: False,
            workers=workers,
            pin=False,
        ) as stream:
            next(stream)
            started = time.perf_counter()
            pictures = sum(len(next(stream).names) for _ in range(batches))
            rates.append(pictures / (time.perf_counter() - started))
    return rates


class LimitProbe:
    """A matrix product and a convolution of the kind that fills generators, in one precision.

    Both are timed beside the steps, in turn with them, so that a share of the limit compares what
    the machine did at the same time.

    Args:
        device: where to compute.
        precision: the type of the operands.
    """

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self._device = device
        side, count = (8192, 16) if device.type == "cuda" else (1024, 1)
        generator = torch.Generator().manual_seed(0)

        def operand(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device, precision)

        left, right = operand(side, side), operand(side, side)
        features, kernel = operand(count, 256, 64, 64), operand(256, 256, 3, 3)
        if device.type == "cuda":
            features = features.to(memory_format=torch.channels_last)
        self._kinds: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "gemm": (2.0 * side**3, lambda: left @ right),
            "conv": (
                2.0 * count * 64 * 64 * 256 * 256 * 9,
                lambda: F.conv2d(features, kernel, padding=1),
            ),
        }

    @torch.no_grad()
    def rates(self) -> dict[str, float]:
        """Return the rate of each kind now, GFLOP/s, a multiplication and an addition being two."""
        return {kind: self._rate(*work) for kind, work in self._kinds.items()}

    def _rate(self, operations: float, work: Callable[[], Tensor]) -> float:
        wait_for(self._device)
        started = time.perf_counter()
        work()
        wait_for(self._device)
        return operations / (time.perf_counter() - started) / 1e9


def count_operations(work: Callable[[], object]) -> int:
    """Return the floating-point operations of matrix products and convolutions in some work.

    A multiplication and an addition are two; backward passes, also inside the forward pass as in
    gradient penalties, count as what they compute.
    """
    counter = FlopCounterMode(display=False)
    # The counter's table by module hooks into autograd in a way that torch.autograd.grad refuses;
    # the total needs no table.
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        work()
    return int(counter.get_total_flops())


class _NoModules:
    """Stands where the counter asks in which module it is: always in the whole."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...


def _translate(translator: Translator, images: Tensor) -> Tensor:
    method, precision = translator.method, translator.precision
    direction = method.directions[0]
    return translate_images(method, [images], direction, precision=precision)[0].images


def _one_pass(
    translator: Translator, sources: Sequence[Path], folder: Path, batch_size: int | None
) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(source, (folder / f"{number:04d}.png",), source.name)
        for number, source in enumerate(sources)
    ]
    report = translate_jobs(translator, jobs, FolderOptions(batch_size=batch_size))
    shutil.rmtree(folder)
    if report.failures:
        failure = report.failures[0]
        raise I2IError(f"{failure.path} could not be translated: {failure.error}")
    return report.images_per_s


def memory_of(device: torch.device, *, imports_bytes: int | None) -> Result:
    """Return the peak with and without what the imports hold; a GPU holds nothing of them.

    Args:
        device: that computes.
        imports_bytes: resident memory before anything was built; None where not known.

    Returns:
        `peak_bytes` of the process or the GPU, `imports_bytes` and `less_imports_bytes`.
    """
    peak = peak_bytes(device)
    before = imports_bytes if device.type == "cpu" else 0
    return {
        "peak_bytes": peak,
        "imports_bytes": before,
        "less_imports_bytes": None if peak is None or before is None else peak - before,
    }


def build_answers(variant: dict[str, Any]) -> Answers:
    """Return the measurements of a variant by the names that a worker asks for."""
    return Bench(Variant(**variant), imports_bytes=resident_bytes() or None).answers()


if __name__ == "__main__":
    import torchvision.models  # noqa: F401 - some networks need it; it is no part of their memory

    claim_process()
    serve(build_answers)
