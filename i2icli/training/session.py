"""All parts of one run, and its state as a checkpoint."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from i2icli.config.document import config_document
from i2icli.config.schedule import Moment
from i2icli.data.folders import find_domains
from i2icli.data.loader import BatchStream, build_loader, choose_workers
from i2icli.errors import ConfigError
from i2icli.evaluation.measure import Measurer, build_measurer
from i2icli.methods import method_of
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.pretrained.networks import load_networks
from i2icli.runs.checkpoint import CheckpointState
from i2icli.system.choices import Kept
from i2icli.system.device import resolve_device
from i2icli.system.ranks import ALONE, Ranks
from i2icli.training.assembly import Assembly, assemble, open_data
from i2icli.training.data import fingerprint
from i2icli.training.ema import MovingAverage
from i2icli.training.logs import TermMeter
from i2icli.training.samples import SampleDrawer, build_drawer
from i2icli.translation.scale import Scale, training_size
from i2icli.version import __version__

# Between the seeds of the processes of a run, so that those of near runs do not meet.
_SEED_STRIDE = 1_000_003


@dataclass(kw_only=True)
class Session(Assembly):
    """A run: what it computes with, what it draws and measures, and how far it is.

    Attributes:
        pictures: fingerprint of the training pictures, with their typical size.
        step: steps done.
        best: the lowest error measured so far, with its step.
        ranks: the processes that share the batches.
    """

    pictures: dict[str, Any]
    drawer: SampleDrawer
    measurer: Measurer | None
    terms: TermMeter = field(default_factory=TermMeter)
    step: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    ranks: Ranks = ALONE

    @property
    def epoch(self) -> int:
        """The epoch of the last step done, counted from 1; 0 before the first."""
        return self.moment.epoch

    @property
    def moment(self) -> Moment:
        """The last step done."""
        return self._moment_of(self.step)

    @property
    def next_moment(self) -> Moment:
        """The step to come."""
        return self._moment_of(self.step + 1)

    @property
    def last_step(self) -> int:
        """The step after which this run stops; not before the next while that is not known."""
        planned = super().last_step
        return max(planned, self.step + 1) if self._awaits_steps else planned

    @property
    def _awaits_steps(self) -> bool:
        return self.config.train.awaits_steps(self.config.method.schedule)

    def _moment_of(self, step: int) -> Moment:
        total = None if self._awaits_steps else self.last_step
        return Moment(step, self.data.steps_per_epoch, total)

    @property
    def scale(self) -> Scale:
        """The scale of `i2i translate` with this step's checkpoint; `scale_note` tells of it."""
        target = training_size(self.config, self.pictures, epoch=self.epoch)
        return Scale(target, filter=self.config.data.interpolation)

    def batches(self) -> BatchStream:
        """Yield batches from the next step on, without end; close it after use."""
        asked = self.config.runtime.workers
        return build_loader(
            self.data.dataset,
            self.config.data,
            seed=self.config.train.seed,
            start_step=self.step,
            is_decaying=self.config.method.schedule.is_decaying,
            workers=choose_workers(asked, self.device),
            may_add=asked == "auto",
            pin=self.device.type == "cuda",
            part=(self.ranks.rank, self.ranks.world),
        )

    def restart_average(self) -> None:
        """Begin the moving average at the weights as they are."""
        if self.config.ema.decay:
            self.average = MovingAverage(self.method, decay=self.config.ema.decay)

    def start_epoch(self) -> None:
        """Enter the epoch of the next step: the method's stage."""
        self.method.start_epoch(self.next_moment.epoch)

    def state(self) -> CheckpointState:
        """Return the run as it is between two steps; whole on rank 0 alone."""
        own: dict[str, Any] = {
            "memory": self.method.memory(),
            "rng": _random_states(self.device),
            "meters": self.terms.state(),
        }
        others = self.ranks.collect_on_main(_on_cpu(own))[1:] if self.ranks.world > 1 else []
        return CheckpointState(
            config=config_document(self.config),
            weights=self.method.state_dict(),
            step=self.step,
            epoch=self.epoch,
            ema=self.average.state() if self.average else None,
            optimizers={name: stepper.state() for name, stepper in self.steppers.items()},
            **own,
            best=self.best,
            others=others,
            data=self.pictures,
            versions=versions(),
            choices=self.choices.kept(),
        )

    def restore(self, state: CheckpointState) -> None:
        """Go on from `state`; exactly, if as many processes share the run as saved it.

        Otherwise added processes take up the choices and pools of the others.

        Raises:
            RuntimeError: if its weights are not those of this method.
            ValueError, KeyError: if other parts of it are not.
        """
        # One that began without their size goes on without: its samples stay alike.
        self.pictures = dict(state.data)
        self.method.load_state_dict(state.weights)
        if unknown := state.optimizers.keys() - self.steppers.keys():
            raise ValueError(f"no optimizer is called {min(unknown)}")
        for name, stepper in self.steppers.items():
            stepper.restore(state.optimizers[name])
        if self.average is not None and state.ema is not None:
            self.average.restore(state.ema)
        main = {"memory": state.memory, "rng": state.rng, "meters": state.meters}
        saved = [main, *state.others]
        own = saved[self.ranks.rank % len(saved)]
        self.method.load_memory(own["memory"])
        self.terms.restore(own["meters"], self.device)
        self.step = state.step
        self.best = dict(state.best)
        if self.ranks.rank < len(saved):
            _restore_random_states(own["rng"], self.device)


def open_session(
    config: AnyRunConfig,
    *,
    device: str | None = None,
    ranks: Ranks = ALONE,
    earlier: Kept | None = None,
) -> Session:
    """Build all parts of a run, at step 0.

    Args:
        config: the configuration, its data folders resolved.
        device: overrides `runtime.device`.
        ranks: the processes that share the run; rank 0 alone measures.
        earlier: the choices of the run's earlier part, see `Choices.kept`; None: it begins.

    Raises:
        ConfigError: for a device or measurement that cannot be had, or a batch that the processes
            cannot share equally.
        DataError: for missing or too few pictures.
        WeightsError: if the method or a measurement needs weights that are not there.
    """
    if config.data.batch_size % ranks.world:
        larger = -(-config.data.batch_size // ranks.world) * ranks.world
        raise ConfigError(
            f"data.batch_size is {config.data.batch_size}, the pictures of all {ranks.world} "
            f"processes together, and each takes an equal part: try `--set "
            f"data.batch_size={larger}`, or fewer processes."
        )
    target = _device_of(device or config.runtime.device, ranks)
    kind = method_of(config).data
    domains = find_domains(config.data, kind)
    # Before the networks: what it lacks is said at once.
    measurer = build_measurer(config, domains, kind, device=target) if ranks.is_main else None
    data = open_data(config, domains=domains)
    parts = assemble(
        config,
        data,
        device=target,
        load=load_networks,
        steps=config.train.last_step(config.method.schedule, data.steps_per_epoch),
        ranks=ranks,
        earlier=earlier,
    )
    if parts.last_step < 1:
        raise ConfigError("the schedule has no epochs: set train.steps or method.schedule.epochs.")
    directions = parts.method.directions
    session = Session(
        **vars(parts),
        pictures=fingerprint(domains),
        drawer=build_drawer(config.samples, config.data, domains, directions=directions),
        measurer=measurer,
        ranks=ranks,
    )
    # Dropout, should a network have it; slices of a batch must not drop the same.
    torch.manual_seed(config.train.seed + _SEED_STRIDE * ranks.rank)
    return session


def _device_of(name: str, ranks: Ranks) -> torch.device:
    device = resolve_device(name)
    if device.type != "cuda" or ranks.world == 1:
        return device
    # Of processes that share a machine with several GPUs each takes its own.
    if ranks.local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"this machine has {torch.cuda.device_count()} GPU(s), one a process, and process "
            f"{ranks.local_rank + 1} was started here: start fewer, or use `--device cpu`."
        )
    return torch.device("cuda", ranks.local_rank)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list | tuple) else value


def versions() -> dict[str, str]:
    """Return the versions of what made a checkpoint, as text."""
    return {
        "i2i": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
