"""Starting a run, and going on with one."""

from __future__ import annotations

import logging
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch
import torchvision

from i2icli.config.document import config_document
from i2icli.config.schedule import ShareSchedule
from i2icli.config.words import parse_duration, short_duration
from i2icli.errors import CheckpointError, Interrupted
from i2icli.methods.shared.configure import (
    AnyRunConfig,
    later_levers,
    misfit_of,
    restore_config,
)
from i2icli.runs.checkpoint import CheckpointState, load_checkpoint, save_checkpoint, way_out
from i2icli.runs.folder import RunFolder, check_free, create_folder
from i2icli.runs.paths import find_last, find_run
from i2icli.system.choices import Kept
from i2icli.system.device import device_title
from i2icli.system.ranks import Ranks, joined_ranks, restart_count
from i2icli.system.signals import stop_on_signals
from i2icli.system.torch_files import DAMAGE
from i2icli.training.data import resolve_data, scale_note
from i2icli.training.initial import Loaded, load_initial_weights, start_from_pretrained
from i2icli.training.logs import Clock, MetricsLog, NoLog
from i2icli.training.loop import Trainer
from i2icli.training.reporter import Reporter, Silent
from i2icli.training.session import Session, open_session, versions
from i2icli.training.timing import is_used, steps_of_budget, steps_sentence, with_steps
from i2icli.training.unchanged import check_data, check_fixed, check_folders, point_at

log = logging.getLogger(__package__)

_COUNT_NOTE = (
    "note: {} process(es) saved this run and {} go on with it, so it does not go on bit for bit: "
    "image pools and dropout are each process's own, and sums are rounded anew"
)


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: where it lies.
        step: steps done in all.
        epoch: epoch of the last step, counted from 1.
        seconds: seconds of training since its first start.
        metrics: the last values of all terms, rates and measurements.
        was_finished: nothing was left to do.
        budget: that ended it, if one did and nothing was left to do.
    """

    folder: RunFolder
    step: int
    epoch: int
    seconds: float
    metrics: dict[str, float]
    was_finished: bool = False
    budget: str | None = None

    def as_document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "run_dir": str(self.folder.path),
            "step": self.step,
            "epoch": self.epoch,
            "checkpoint": str(self.folder.last),
            "seconds": self.seconds,
            "metrics": self.metrics,
        }

    def lines(self) -> Iterator[str]:
        """Yield how it ended, and what to type next."""
        folder = self.folder
        if self.was_finished:
            used = f", its budget of {self.budget} used" if self.budget else ""
            yield f"{folder.path} is finished: step {self.step}, epoch {self.epoch}{used}."
            twice = f"--steps {2 * self.step}"
            if self.budget:
                twice = f"--budget {short_duration(2 * parse_duration(self.budget))}"
            yield f"To train on: {folder.resume_command} {twice}"
        else:
            yield f"done: step {self.step}, epoch {self.epoch}, in {folder.path}"
        yield f"translate: i2i translate {shlex.quote(str(folder.last))} IN OUT"


def start_run(
    config: AnyRunConfig,
    *,
    run_dir: Path | None = None,
    init_from: Path | None = None,
    command: Sequence[str] = (),
    reporter: Reporter | None = None,
    on_loaded: Callable[[Loaded], None] = lambda _: None,
) -> RunResult:
    """Train from the beginning in a new run folder.

    One of several processes that `torchrun` starts again, after one failed, goes on with the run
    instead.

    Args:
        config: the resolved configuration.
        run_dir: the folder, absent or empty; None takes the next number under `runs/`.
        init_from: a checkpoint to take weights from, or the folder of its run.
        command: what the user typed, kept in the folder.
        reporter: who is told how it goes; None: nobody.
        on_loaded: is told what was taken from `init_from`.

    Raises:
        ConfigError: for a folder that is in use, or a device or measurement that cannot be had.
        DataError: for missing pictures.
        DivergedError: if a term or weight is no longer finite.
        LostContactError: if another process of the run ended.
        Interrupted: after a signal, when everything is saved.
    """
    if restart_count() and run_dir is not None and RunFolder(run_dir).config.exists():
        return resume_run(run_dir, reporter=reporter)
    with joined_ranks() as ranks:
        reporter = (reporter or Silent()) if ranks.is_main else Silent()
        config = _resolve(config, run_dir, ranks)
        session = open_session(config, ranks=ranks)
        if note := scale_note(config.data, session.data.domains.train_a):
            log.warning(f"note: {note}")
        if init_from is not None:
            loaded = load_initial_weights(session.method, init_from)
            if ranks.is_main:
                on_loaded(loaded)
            session.restart_average()
        elif names := session.method.starts_from:
            start_from_pretrained(session.method, names)
            session.restart_average()
        folder = RunFolder(ranks.alone(lambda: create_folder(run_dir, preset=config.preset).path))
        with folder.locked() if ranks.is_main else nullcontext():
            # A run killed before its first save must not go on with fresh weights instead.
            has_weights = init_from is not None or bool(session.method.starts_from)
            state = session.state() if has_weights else None
            if ranks.is_main:
                folder.write_config(config_document(session.config))
                folder.write_story(command=command, environment=describe_machine(session))
                if state is not None:
                    save_checkpoint(folder.last, state)
            log.info(f"run folder {folder.path}, {_where(session)}")
            _tell_settings(session)
            return _train(session, folder, reporter, Clock())


def _resolve(config: AnyRunConfig, run_dir: Path | None, ranks: Ranks) -> AnyRunConfig:
    def look() -> tuple[dict[str, Any], bool]:
        if run_dir is not None:
            check_free(run_dir)
        resolved, is_demo = resolve_data(config)
        return config_document(resolved), is_demo

    document, is_demo = ranks.alone(look)
    if is_demo:
        root = document["data"]["root"]
        log.info(f"no --data given: training on the built-in demo set, {root}")
    return restore_config(document)


def resume_run(
    path: Path,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    budget: str | None = None,
    device: str | None = None,
    data: Path | None = None,
    reporter: Reporter | None = None,
) -> RunResult:
    """Go on with a run from its last checkpoint, or from step 0 where there is none yet.

    Args:
        path: the run folder, or something in it.
        steps: a new step to stop after.
        epochs: a new epoch to stop after.
        budget: a new time to stop after, such as "2h", that of the run's earlier parts in it.
        device: overrides `runtime.device` this time.
        data: the folder in which the data set lies now; None: where it lay.
        reporter: who is told how it goes; None: nobody.

    Raises:
        ConfigError: if the run is in use, or its config.toml changed what is fixed.
        CheckpointError: if `path` is no run, or its last checkpoint cannot be read.
        DataError: if the training pictures changed.
        DivergedError: if a term or weight is no longer finite.
        LostContactError: if another process of the run ended.
        Interrupted: after a signal, when everything is saved.
    """
    folder = find_run(path)
    with joined_ranks() as ranks, folder.locked() if ranks.is_main else nullcontext():
        reporter = (reporter or Silent()) if ranks.is_main else Silent()
        document = _read_config(folder, ranks, data)
        last = find_last(folder)
        state = None if last is None else load_checkpoint(last)
        config = _restore(document, {"steps": steps, "epochs": epochs, "budget": budget})
        seconds = 0.0
        if state is not None:
            _check_state(config, state, folder)
            seconds = _seconds_of(state, folder)
            config = _count_steps(config, state, seconds)
        check_folders(config, state, folder)
        earlier = None if state is None else _choices_of(state, ranks)
        session = open_session(config, device=device, ranks=ranks, earlier=earlier)
        if state is not None:
            _take_up(state, session, folder)
            if is_used(config.train.budget_seconds, seconds) or session.step >= session.last_step:
                return _result(session, folder, was_finished=True)
            if 1 + len(state.others) != ranks.world:
                log.warning(_COUNT_NOTE.format(1 + len(state.others), ranks.world))
            _tell_other_shares(session, restore_config(state.config))
        if ranks.is_main:
            folder.write_config(config_document(config))
            folder.cut_back(session.step)
        log.info(
            f"{folder.path}: going on from step {session.step} of {session.last_step}, "
            f"{_where(session)}"
        )
        _tell_settings(session)
        return _train(session, folder, reporter, Clock(seconds_before=seconds))


def _read_config(folder: RunFolder, ranks: Ranks, data: Path | None) -> dict[str, Any]:
    document = ranks.alone(folder.read_config)
    return document if data is None else point_at(document, data)


def _check_state(config: AnyRunConfig, state: CheckpointState, folder: RunFolder) -> None:
    check_fixed(config, state, folder)
    if fault := misfit_of(config, state):
        raise _damaged(folder.last, f"its weights do not fit its configuration ({fault})")


def _take_up(state: CheckpointState, session: Session, folder: RunFolder) -> None:
    file = folder.last
    then = restore_config(state.config)
    schedule, per_epoch = then.method.schedule, session.data.steps_per_epoch
    is_planned = not then.train.awaits_steps(schedule)
    if is_planned and state.step > (last := then.train.last_step(schedule, per_epoch)):
        raise _damaged(file, f"its step is {state.step}, of a run of {last}")
    try:
        check_data(session.config, state, session.pictures, folder)
        session.restore(state)
    except torch.OutOfMemoryError:
        raise
    except DAMAGE as fault:
        words = " ".join(str(fault).split())[:100] or type(fault).__name__
        raise _damaged(file, f"its state does not fit the run ({words})") from None


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{file} is damaged: {reason}. {way_out(file)}")


def _restore(document: Mapping[str, Any], stops: Mapping[str, Any]) -> AnyRunConfig:
    config = restore_config(document)
    if levers := later_levers(document):
        names = ", ".join(f"runtime.levers.{name}" for name in levers)
        log.info(f"off, as when this run began: {names}")
    stop = {name: value for name, value in stops.items() if value is not None}
    if not stop:
        return config
    train = {"seed": config.train.seed, **stop}
    return restore_config({**config_document(config), "train": train})


def _seconds_of(state: CheckpointState, folder: RunFolder) -> float:
    """Return the seconds of training up to a checkpoint; of early ones, as far as the log knows."""
    lines = [line for line in folder.read_metrics() if line["step"] <= state.step]
    return max([state.seconds, *(float(line.get("seconds", 0.0)) for line in lines)])


def _count_steps(config: AnyRunConfig, state: CheckpointState, seconds: float) -> AnyRunConfig:
    """Turn a budget that is new to a run, its schedule in shares, into steps by its pace so far."""
    train, schedule = config.train, config.method.schedule
    was_open = restore_config(state.config).train.awaits_steps(schedule)
    is_known = state.step > 0 and seconds > 0
    if was_open or not is_known or not train.awaits_steps(schedule):
        return config
    if is_used(train.budget_seconds, seconds):
        return config
    pace = seconds / state.step
    steps = steps_of_budget(config, done=state.step, seconds=seconds, pace=pace)
    log.info(steps_sentence(config, steps, pace, "so far, with all that was drawn and saved"))
    return with_steps(config, steps)


def _tell_other_shares(session: Session, before: AnyRunConfig) -> None:
    schedule = session.config.method.schedule
    if not isinstance(schedule, ShareSchedule) or before.train.awaits_steps(schedule):
        return
    then = before.train.last_step(schedule, session.data.steps_per_epoch)
    if then != session.last_step:
        log.info(
            f"the learning rate falls by shares of {session.last_step} steps from here on, not of "
            f"{then}: after step {schedule.constant_steps(session.last_step)}"
        )


def describe_machine(session: Session) -> dict[str, Any]:
    """Return versions, device and choices of a run, for env.json."""
    return {
        **versions(),
        "torchvision": str(torchvision.__version__),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "executable": sys.executable,
        "device": device_title(session.device),
        "precision": str(session.precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": session.ranks.world,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _train(session: Session, folder: RunFolder, reporter: Reporter, clock: Clock) -> RunResult:
    for note in session.data.dataset.notes:
        log.warning(f"note: {note}")
    ranks = session.ranks
    ranks.advice = f"Go on with `{_resume_command(session, folder)}`."
    open_log = partial(MetricsLog, folder, session.config.log, first_step=session.step)
    with (
        stop_on_signals() as stop,
        open_log() if ranks.is_main else NoLog() as metrics,
    ):
        trainer = Trainer(session, folder, log=metrics, clock=clock, reporter=reporter, stop=stop)
        try:
            trainer.run()
        finally:
            reporter.finished()
    if stop and session.step < session.last_step and not trainer.is_over:
        raise Interrupted(
            f"stopped by {stop.by} after step {session.step} of {session.last_step}, and saved. "
            f"Go on with `{_resume_command(session, folder)}`."
        )
    return _result(session, folder)


def _where(session: Session) -> str:
    world = session.ranks.world
    shared = f", with {world - 1} other process(es)" if world > 1 else ""
    return f"on {session.choices.describe()}{shared}"


def _tell_settings(session: Session) -> None:
    if settings := session.choices.again():
        log.info(f"the same choices again: {settings}")


def _resume_command(session: Session, folder: RunFolder) -> str:
    world = session.ranks.world
    return folder.resume_command + (f" --nproc {world}" if world > 1 else "")


def _result(session: Session, folder: RunFolder, *, was_finished: bool = False) -> RunResult:
    metrics: dict[str, float] = {}
    for line in folder.read_metrics():
        if not {"alarm", "cleared"} & set(line):
            named = ("step", "epoch", "partial", "protocol")
            metrics |= {k: v for k, v in line.items() if k not in named}
    seconds = metrics.pop("seconds", 0.0)
    is_cut = was_finished and session.step < session.last_step
    budget = session.config.train.budget if is_cut else None
    return RunResult(folder, session.step, session.epoch, seconds, metrics, was_finished, budget)


def _choices_of(state: CheckpointState, ranks: Ranks) -> Kept:
    if 1 + len(state.others) == ranks.world:
        return state.choices
    # Other processes share the cores, and the run does not go on bit for bit anyway.
    return {name: value for name, value in state.choices.items() if name != "threads"}
