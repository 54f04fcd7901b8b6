"""Whether a run could start on this machine, and what it would take: `i2i doctor`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from i2icli.bench.checkup import (
    Checkup,
    Computing,
    Cores,
    DataFound,
    Fault,
    Setting,
    WeightsFound,
)
from i2icli.bench.cost import Needs, measure_needs
from i2icli.bench.rig import write_training_set
from i2icli.config.document import config_document
from i2icli.config.sections import RuntimeConfig, data_at
from i2icli.data.folders import Domains
from i2icli.data.loader import choose_workers
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.evaluation.measure import build_measurer
from i2icli.methods import build_method, method_of, restore_config
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig, configure_run
from i2icli.pretrained.weights import WEIGHTS, look_up
from i2icli.system.choices import Choices, Work, choose
from i2icli.system.cores import look_at_load, quota_of_cores
from i2icli.system.device import device_title, resolve_device
from i2icli.system.threads import threads_are_said
from i2icli.system.trial import forget_trials
from i2icli.system.waiting import waiting_fault
from i2icli.training.assembly import open_data
from i2icli.training.data import resolve_data
from i2icli.training.fit import advise
from i2icli.training.session import open_session, versions


@dataclass(frozen=True)
class Patient:
    """What is examined.

    Attributes:
        preset: a preset's name, or the path of a TOML file.
        overrides: `KEY=VALUE` texts over it.
        data: the data set; None: that of the configuration, else the demo set.
        runs: the folder that run folders are made in.
        retries_trials: whether trials are made anew, those of this machine dropped.
    """

    preset: str
    overrides: tuple[str, ...] = ()
    data: Path | None = None
    runs: Path = Path("runs")
    retries_trials: bool = False

    @property
    def train(self) -> str:
        """The command that would start the run."""
        words = ["i2i", "train", "--preset", self.preset]
        words += ["--data", str(self.data)] if self.data is not None else []
        for override in self.overrides:
            words += ["--set", override]
        return shlex.join(words)


def examine(patient: Patient) -> Checkup:
    """Look at everything that a run needs; a fault in one does not keep from looking at the next.

    Where pictures or pretrained weights are missing, made-up ones stand in for them while memory
    and time are measured.
    """
    try:
        torchvision = version("torchvision")
    except PackageNotFoundError:
        torchvision = "missing"
    checkup = Checkup(
        command=patient.train,
        versions={**versions(), "torchvision": torchvision},
        dropped_trials=forget_trials() if patient.retries_trials else None,
    )
    try:
        config = configure_run(patient.preset, patient.overrides)
    except ConfigError as error:
        return checkup.with_fault(error, "i2i presets list")
    checkup, config = _look_at_device(checkup, config)
    checkup = _look_at_cores(checkup, config)
    checkup, resolved, domains = _look_at_data(checkup, config, patient)
    with TemporaryDirectory(prefix="i2i-doctor-") as name:
        folder = Path(name)
        if resolved is None:
            kind = method_of(config).data
            document = write_training_set(folder / "data", config_document(config), kind)
            stand_in = restore_config(document)
        else:
            stand_in = resolved
        try:
            method = build_method(stand_in)
        except I2IError as error:
            return checkup.with_fault(error, f"i2i presets show {patient.preset} --full")
        checkup = _look_at_weights(checkup, method)
        if resolved is not None and domains is not None:
            checkup = _look_at_measuring(checkup, resolved, domains)
        checkup = _look_at_needs(checkup, stand_in, patient)
    if resolved is not None and not checkup.faults:
        checkup = _look_at_all(checkup, resolved)
    return checkup


def _look_at_device(checkup: Checkup, config: AnyRunConfig) -> tuple[Checkup, AnyRunConfig]:
    """Choose device and precision; go on with the CPU where the one asked for is not there."""
    try:
        device = resolve_device(config.runtime.device)
    except ConfigError as error:
        checkup = checkup.with_fault(error, f"{checkup.command} --device auto")
        device = torch.device("cpu")
        runtime = config.runtime.model_copy(update={"device": "cpu"})
        config = config.model_copy(update={"runtime": runtime})
    choices = choose(config.runtime, device)
    computing = Computing(
        device=device_title(device),
        device_why=_device_why(config.runtime.device, device),
        precision=str(choices.precision).removeprefix("torch."),
        precision_why=choices.reasons.get("precision", "runtime.precision says so"),
        threads=config.runtime.threads or torch.get_num_threads(),
    )
    return replace(checkup, place=computing), config


def _look_at_cores(checkup: Checkup, config: AnyRunConfig) -> Checkup:
    load, fault = look_at_load(), waiting_fault()
    threads = config.runtime.threads or torch.get_num_threads()
    workers, workers_why = _workers(config.runtime)
    cores = Cores(
        usable=load.usable,
        cpus=load.cpus,
        quota=quota_of_cores(),
        others=load.others,
        threads=threads,
        threads_why=_threads_why(config.runtime.threads, threads, load.usable),
        waiting=f"as ever: {fault}" if fault else "busily, briefly while others take their cores",
        workers=workers,
        workers_why=workers_why,
    )
    return replace(checkup, cores=cores)


def _threads_why(asked: int, threads: int, usable: int) -> str:
    if asked:
        return "runtime.threads says so"
    if threads_are_said():
        return "the environment says so"
    return "one a usable core" if threads == usable else "torch's own choice"


def _workers(runtime: RuntimeConfig) -> tuple[int, str]:
    device = resolve_device(runtime.device)
    workers = choose_workers(runtime.workers, device)
    if runtime.workers != "auto":
        return workers, "runtime.workers says so"
    if device.type != "cpu":
        return workers, "beside a GPU"
    if workers:
        return workers, "on cores without a computing thread"
    return 0, "a step loads its own, as threads compute on all cores; 2 once that takes long"


def _device_why(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return "runtime.device names it"
    if device.type != "cpu":
        return "the first GPU that torch sees"
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"torch, {built}, sees no GPU"


def _with_settings(checkup: Checkup, choices: Choices, runtime: RuntimeConfig) -> Checkup:
    chosen = {name: value for name, value in vars(choices).items() if isinstance(value, bool)}
    settings = (
        Setting(
            name,
            is_on,
            choices.reasons.get(name, "auto")
            if getattr(runtime, name) == "auto"
            else f"runtime.{name} says so",
        )
        for name, is_on in chosen.items()
    )
    return replace(checkup, settings=tuple(settings))


def _look_at_data(
    checkup: Checkup, config: AnyRunConfig, patient: Patient
) -> tuple[Checkup, AnyRunConfig | None, Domains | None]:
    try:
        resolved, is_demo = resolve_data(_with_root(config, patient.data))
        data = open_data(resolved)
        domains, dataset = data.domains, data.dataset
        keys = dataset.epoch_keys(seed=resolved.train.seed, epoch=1, jitter=True)
        dataset.collate([dataset[next(keys)]])
    except I2IError as error:
        folder = patient.data or config.data.root or config.data.domain_a
        is_there = folder is not None and Path(folder).expanduser().is_dir()
        command = f"i2i data check {folder}" if is_there else "i2i data prepare A/ B/ --out DIR"
        return checkup.with_fault(error, command), None, None
    found = DataFound(
        root=str(resolved.data.root or resolved.data.domain_a),
        is_demo=is_demo,
        train_a=len(domains.train_a),
        train_b=len(domains.train_b),
        test_a=len(domains.test_a),
        test_b=len(domains.test_b),
        steps_per_epoch=data.steps_per_epoch,
    )
    return replace(checkup, data=found), resolved, domains


def _with_root(config: AnyRunConfig, root: Path | None) -> AnyRunConfig:
    if root is None:
        return config
    if not root.expanduser().is_dir():
        raise DataError(f"--data {root} is no folder: give one with trainA and trainB in it.")
    document = config_document(config)
    return restore_config({**document, "data": {**document["data"], **data_at(root)}})


def _look_at_weights(checkup: Checkup, method: Method) -> Checkup:
    found = []
    for name in dict.fromkeys((*method.pretrained, *method.starts_from)):
        path: Path | None
        if name in WEIGHTS:
            status = look_up(name)
            path, fault = status.found.path if status.found else None, status.fault or "not here"
            purpose, command = WEIGHTS[name].purpose, f"i2i weights get {name}"
        else:
            file = Path(name).expanduser()
            path, fault = file if file.is_file() else None, "no such file"
            purpose, command = "what the run starts from", "i2i weights list"
        found.append(WeightsFound(name, purpose, str(path) if path else None))
        if path is None:
            wrong = Fault(4, f"the weights {name} ({purpose}): {fault}", command)
            checkup = replace(checkup, faults=(*checkup.faults, wrong))
    return replace(checkup, weights=tuple(found))


def _look_at_measuring(checkup: Checkup, config: AnyRunConfig, domains: Domains) -> Checkup:
    try:
        kind = method_of(config).data
        build_measurer(config, domains, kind, device=resolve_device(config.runtime.device))
    except I2IError as error:
        without = f"{checkup.command} --set eval.every_steps=0"
        return checkup.with_fault(error, "i2i weights list" if error.exit_code == 4 else without)
    return checkup


def _look_at_needs(checkup: Checkup, config: AnyRunConfig, patient: Patient) -> Checkup:
    steps = config.train.steps
    if checkup.data is not None:
        steps = config.train.last_step(config.method.schedule, checkup.data.steps_per_epoch)
    work = Work(steps=steps, batch_size=config.data.batch_size)
    choices = choose(config.runtime, resolve_device(config.runtime.device), work)
    checkup = _with_settings(checkup, choices, config.runtime)
    try:
        needs = measure_needs(config, steps=steps, runs=patient.runs)
    except I2IError as error:
        return checkup.with_fault(error, f"{patient.train} --set data.batch_size=1")
    faults = [*checkup.faults, *_shortages(needs, config, patient)]
    advice = advise(
        config,
        steps=steps or 0,
        step_seconds=needs.step_seconds,
        device=resolve_device(config.runtime.device).type,
        command=patient.train,
    )
    return replace(checkup, needs=needs, advice=tuple(advice), faults=tuple(faults))


def _shortages(needs: Needs, config: AnyRunConfig, patient: Patient) -> Iterator[Fault]:
    if needs.is_too_large:
        smaller = (
            "data.batch_size=1"
            if config.data.batch_size > 1
            else f"data.crop={needs.largest_crop or config.data.crop // 2}"
        )
        yield Fault(
            2,
            f"a step takes about {needs.memory_bytes or 0:,} bytes of memory and "
            f"{needs.available_bytes or 0:,} are free",
            f"{patient.train} --set {smaller}",
        )
    if not needs.is_writable:
        yield Fault(
            2, f"{needs.run_parent} cannot be written to", f"{patient.train} --run-dir OTHER/run"
        )
    if needs.disk_needed_bytes > needs.disk_free_bytes:
        yield Fault(
            1,
            f"checkpoints take about {needs.disk_needed_bytes:,} bytes and "
            f"{needs.disk_free_bytes:,} are free in {needs.run_parent}",
            f"{patient.train} --run-dir OTHER/run",
        )


def _look_at_all(checkup: Checkup, config: AnyRunConfig) -> Checkup:
    """Build all parts of the run as `i2i train` does, for what no single look saw."""
    try:
        session = open_session(config)
    except I2IError as error:
        return checkup.with_fault(error, f"{checkup.command} --dry-run")
    # What it came to with the layouts tried.
    choices = session.choices
    checkup = _with_settings(checkup, choices, config.runtime)
    return replace(
        _with_threads(checkup, choices, config.runtime), trials=choices.trials, pins=choices.pins
    )


def _with_threads(checkup: Checkup, choices: Choices, runtime: RuntimeConfig) -> Checkup:
    place, cores = checkup.place, checkup.cores
    assert place is not None
    assert cores is not None
    workers, workers_why = _workers(runtime)
    return replace(
        checkup,
        place=replace(place, threads=choices.threads),
        cores=replace(
            cores,
            threads=choices.threads,
            threads_why=choices.reasons.get("threads", cores.threads_why),
            workers=workers,
            workers_why=workers_why,
        ),
    )
