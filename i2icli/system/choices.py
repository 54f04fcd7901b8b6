"""What `auto` comes to on a device, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from i2icli.config.sections import FIRST_LEVERS, RuntimeConfig
from i2icli.system.allocator import is_claimed, keeping_fault
from i2icli.system.compiling import compiler_fault
from i2icli.system.cores import usable_cores
from i2icli.system.device import device_title, precision_reason, resolve_precision
from i2icli.system.memory import free_bytes
from i2icli.system.threads import ThreadsTrial, threads_are_said
from i2icli.system.trial import Trial

_COMPILED_STEPS = 5000  # compiling takes minutes, which fewer steps do not win back
_GRAPHED_BATCH = 4  # more pictures keep a GPU busy without
_GRAPHS_UNTRIED = "not yet tried on a GPU; `--set runtime.cuda_graphs=on` may be much faster here"
_AS_BEGUN = "as this run began"
# The share of the free memory that all maps of a step may take before some are computed again. It
# is small: other programs live too, and a measurement beside the step wants memory.
_PLENTY = 1 / 16
# Settings that change the rounding: a run keeps them from its start to its end.
_KEPT = ("threads", "channels_last", "compile", "cuda_graphs", "fused_optimizer")

# By name, what `auto` came to; a checkpoint holds those that decide the rounding.
Kept = Mapping[str, str | int]


@dataclass(frozen=True)
class Work:
    """What is to be computed, as far as the choices depend on it.

    Attributes:
        trains: whether weights are trained.
        steps: training steps; None: not known.
        batch_size: pictures a step in this process.
        pixels: of the pictures of a step; None: not known.
        kept_bytes: estimates, in that precision, the maps that a step keeps for its gradients if it
            computes none of them again; None: cannot be estimated.
        try_layout: computes a sample of the work in both layouts, in that precision and on so
            many threads; None: cannot be tried.
        try_threads: computes a sample of the work, in that precision, on several numbers of
            threads, where others take the cores; None: cannot be tried.
        earlier: the choices of this run's earlier part, see `Choices.kept`; None: it begins.
    """

    trains: bool = True
    steps: int | None = None
    batch_size: int = 1
    pixels: int | None = None
    kept_bytes: Callable[[torch.dtype], int | None] | None = None
    try_layout: Callable[[torch.dtype, int], Trial] | None = None
    try_threads: Callable[[torch.dtype], ThreadsTrial | None] | None = None
    earlier: Kept | None = None


@dataclass(frozen=True)
class Choices:
    """The settings of `runtime` without `auto`.

    Attributes:
        threads: of torch on the CPU.
        reasons: by the name of a setting that was `auto`, why it came out so.
        trials: by the name of a setting, the trial that decided it.
        pins: by the name of a setting that was `auto` and decides the rounding, what it came to,
            so that setting these has the same computed again.
    """

    device: torch.device
    precision: torch.dtype
    threads: int
    compile: bool
    channels_last: bool
    recompute: bool
    reuse_memory: bool
    cuda_graphs: bool
    fused_optimizer: bool
    prefetch: bool
    reasons: Mapping[str, str] = field(default_factory=dict)
    trials: Mapping[str, Trial] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)

    def kept(self) -> dict[str, str | int]:
        """Return the choices that a resumed run takes over, since they decide the rounding."""
        return {"device": self.device.type} | {name: getattr(self, name) for name in _KEPT}

    def again(self) -> str:
        """Return the words of `--set` that bring the same choices again, elsewhere or later."""
        return in_settings(self.pins)

    def describe(self) -> str:
        """Return the choices in a line, for example "cpu, float32 (auto: ...)"."""
        parts = [device_title(self.device)]
        parts.append(self._with_reason("precision", str(self.precision).removeprefix("torch.")))
        if "threads" in self.reasons:
            parts.append(self._with_reason("threads", f"{self.threads} thread(s)"))
        for name, words in _WORDS.items():
            is_on = getattr(self, name)
            if is_on or name in self.reasons and self._is_told_when_off(name):
                parts.append(self._with_reason(name, words if is_on else f"no {words}"))
        return ", ".join(parts)

    def _is_told_when_off(self, name: str) -> bool:
        # A reason why not is worth reading where it says what to try, or may have misled.
        if name in _TOLD_WHEN_OFF:
            return self.reasons[name] != _AS_BEGUN
        return name in self.trials and not self.trials[name].is_quiet

    def _with_reason(self, name: str, words: str) -> str:
        reason = self.reasons.get(name)
        return f"{words} (auto: {reason})" if reason else words


def in_settings(pins: Mapping[str, str]) -> str:
    """Return settings of `runtime` in the words of `--set`."""
    return " ".join(f"--set runtime.{name}={value}" for name, value in pins.items())


_WORDS = {
    "compile": "compiled networks",
    "channels_last": "channels last",
    "recompute": "maps recomputed",
    "reuse_memory": "memory kept between steps",
    "cuda_graphs": "CUDA graphs",
    "fused_optimizer": "fused optimizer",
    "prefetch": "batches copied ahead",
}
_TOLD_WHEN_OFF = ("cuda_graphs",)


def choose(runtime: RuntimeConfig, device: torch.device, work: Work | None = None) -> Choices:
    """Resolve every setting that the configuration leaves to the machine.

    Args:
        runtime: the settings.
        device: where the work is done.
        work: what it is; None: training of unknown length, one picture at a time.

    Raises:
        ConfigError: for a precision that is none.
    """
    work = work or Work()
    precision = resolve_precision(runtime.precision, device)
    reasons: dict[str, str] = {}
    if runtime.precision == "auto":
        reasons["precision"] = precision_reason(device)
    earlier = _earlier(work, device)
    if work.trains and runtime.threads:
        threads = runtime.threads
    elif "threads" in earlier:
        threads, reasons["threads"] = _threads_as_begun(earlier["threads"])
    else:
        threads, reasons["threads"] = _threads(device, precision, work)
    trains_on_cuda = device.type == "cuda" and work.trains
    is_small_on_cuda = trains_on_cuda and work.batch_size <= _GRAPHED_BATCH
    rules: dict[str, Callable[[], tuple[bool, str] | Trial]] = {
        "compile": lambda: _compile(device, work),
        "channels_last": lambda: _try_layout(device, precision, threads, work),
        "recompute": lambda: _recompute(device, precision, work),
        "reuse_memory": lambda: _reuse_memory(device),
        # Off until the tests marked gpu have passed on one: nothing has run there yet.
        "cuda_graphs": lambda: (False, _GRAPHS_UNTRIED if is_small_on_cuda else ""),
        "fused_optimizer": lambda: (_fuses(device, precision, work), ""),
        "prefetch": lambda: (trains_on_cuda, ""),
    }
    chosen: dict[str, bool] = {}
    trials: dict[str, Trial] = {}
    for name, rule in rules.items():
        asked = getattr(runtime, name)
        if asked != "auto":
            chosen[name] = asked == "on"
        elif name in earlier:
            chosen[name], reasons[name] = bool(earlier[name]), _AS_BEGUN
        else:
            found = rule()
            if isinstance(found, Trial):
                trials[name], found = found, (found.is_gain, found.describe())
            chosen[name], reasons[name] = found
    decided = {"threads": threads, **chosen}
    return Choices(
        device=device,
        precision=precision,
        threads=threads,
        reasons={name: reason for name, reason in reasons.items() if reason},
        trials=trials,
        pins=_pins(runtime, device, precision, {n: decided[n] for n in _needed(device, work)}),
        **chosen,
    )


def _needed(device: torch.device, work: Work) -> list[str]:
    """Return the names of the kept settings that make a difference to some work."""
    needless = [] if device.type == "cuda" else ["cuda_graphs"]
    if not work.trains:
        needless += ["cuda_graphs", "fused_optimizer"]
    return [name for name in _KEPT if name not in needless]


def _pins(
    runtime: RuntimeConfig,
    device: torch.device,
    precision: torch.dtype,
    kept: Mapping[str, int],
) -> dict[str, str]:
    words = {"device": device.type, "precision": str(precision).removeprefix("torch.")}
    words |= {name: _in_words(value) for name, value in kept.items()}
    pins = {n: word for n, word in words.items() if getattr(runtime, n) in ("auto", 0)}
    # Off since the run began before there were any, or by the user, who types them again anyway.
    levers = runtime.levers.model_dump().items()
    later = [name for name, is_on in levers if not is_on and name not in FIRST_LEVERS]
    return pins | {f"levers.{name}": "false" for name in later}


def _in_words(value: int) -> str:
    return str(value) if not isinstance(value, bool) else "on" if value else "off"


def _earlier(work: Work, device: torch.device) -> dict[str, int]:
    """Return the choices that a run which goes on keeps to; none on another kind of device."""
    kept = work.earlier
    if kept is None or kept.get("device", device.type) != device.type:
        return {}
    # What a checkpoint does not name was chosen so by version 0.1.0, which kept fewer.
    first: dict[str, int] = {
        "threads": torch.get_num_threads(),
        "cuda_graphs": False,
        "fused_optimizer": device.type == "cuda" and work.trains,
    }
    return {name: int(value) for name, value in {**first, **kept}.items() if name in _KEPT}


def _threads(device: torch.device, precision: torch.dtype, work: Work) -> tuple[int, str]:
    own = torch.get_num_threads()
    # Pictures are translated by as many as the process has, where it is not i2i's own.
    is_free = device.type == "cpu" and own > 1 and is_claimed() and not threads_are_said()
    trial = work.try_threads(precision) if is_free and work.try_threads else None
    return (own, "") if trial is None else (trial.threads, trial.describe())


def _threads_as_begun(kept: int) -> tuple[int, str]:
    own = torch.get_num_threads()
    if kept == own:
        return own, ""
    if kept > (usable := usable_cores()):
        return own, f"this run began with {kept}, and {usable} core(s) are usable here"
    return kept, _AS_BEGUN


def _compile(device: torch.device, work: Work) -> tuple[bool, str]:
    if device.type != "cuda":
        return False, "gains a twentieth on a CPU, for minutes of compiling"
    if not work.trains:
        return False, "takes a minute, and anew for each size of pictures"
    if work.steps is None or work.steps < _COMPILED_STEPS:
        return False, f"a run under {_COMPILED_STEPS} steps does not win back the minutes it takes"
    fault = compiler_fault(device)
    return fault is None, fault or "a long run on a GPU"


def _try_layout(device: torch.device, precision: torch.dtype, threads: int, work: Work) -> Trial:
    if device.type not in ("cpu", "cuda") or work.try_layout is None:
        return Trial(None)
    return work.try_layout(precision, threads)


def _fuses(device: torch.device, precision: torch.dtype, work: Work) -> bool:
    # A scaler on a CPU goes with the plain loop alone.
    is_scaled = device.type == "cpu" and precision == torch.float16
    return work.trains and device.type in ("cuda", "cpu") and not is_scaled


def _recompute(device: torch.device, precision: torch.dtype, work: Work) -> tuple[bool, str]:
    if device.type != "cpu" or not work.trains:
        return False, ""
    free = free_bytes(device)
    kept = work.kept_bytes(precision) if work.kept_bytes else None
    return kept is None or free is None or kept > _PLENTY * free, ""


def _reuse_memory(device: torch.device) -> tuple[bool, str]:
    if device.type != "cpu":
        return False, "for CPUs"
    if not is_claimed():
        return False, "the process is not i2i's own"
    fault = keeping_fault()
    return fault is None, fault or ""
