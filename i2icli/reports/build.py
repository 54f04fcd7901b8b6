"""`i2i report`: a run folder, whatever state it is in, as one page."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from i2icli.config.document import write_toml
from i2icli.config.words import human_time, toml_like
from i2icli.data.folders import find_domains
from i2icli.errors import I2IError
from i2icli.methods.shared.configure import AnyRunConfig, changes_from_paper, restore_config
from i2icli.methods.shared.registry import method_of
from i2icli.reports.metrics import (
    has_broken_term,
    loss_charts,
    measured_charts,
    progress_charts,
    read_alarms,
    read_scores,
)
from i2icli.reports.page import ConfigChange, Fact, RunReport, Status, format_number
from i2icli.reports.pictures import find_grids, find_rows, show_entropy, show_samples
from i2icli.runs.checkpoint import CheckpointState, load_checkpoint
from i2icli.runs.folder import Line, RunFolder
from i2icli.runs.paths import find_run
from i2icli.system.locks import is_locked
from i2icli.translation.translator import load_translator
from i2icli.version import __version__

# The entries of env.json that come first, and those that are spelled otherwise.
_FIRST = "i2i torch torchvision python numpy pillow platform device precision threads started"
_ENVIRONMENT = (*_FIRST.split(), "executable")
_SPELLED = {
    "python": "Python",
    "numpy": "NumPy",
    "pillow": "Pillow",
    "executable": "Python executable",
}


@dataclass
class _Run:
    """A run as far as it is known; `missing` grows as parts turn out absent."""

    folder: RunFolder
    lines: list[Line]
    document: dict[str, Any]
    config: AnyRunConfig | None
    state: CheckpointState | None
    missing: list[str]

    @property
    def step(self) -> int:
        logged = max((int(line["step"]) for line in self.lines), default=0)
        return max(logged, self.state.step if self.state else 0)

    @cached_property
    def last_step(self) -> int | None:
        if self.config is None:
            return None
        train = self.config.train
        if train.steps is not None:  # then the pictures may be gone
            return train.steps
        kind = method_of(self.config).data
        counts = (self.config.data.patches_per_epoch,) if kind == "single" else self.counts
        if not counts:
            try:
                domains = find_domains(self.config.data, kind)
                counts = (len(domains.train_a), len(domains.train_b))
            except (I2IError, OSError):
                return None
        per_epoch = max(counts) // self.config.data.batch_size
        return train.last_step(self.config.method.schedule, per_epoch)

    @property
    def counts(self) -> tuple[int, ...]:
        if self.state is None or not {"a", "b"} <= set(self.state.data):
            return ()
        return tuple(int(self.state.data[key]["count"]) for key in ("a", "b"))


def report_run(path: Path) -> RunReport:
    """Gather all that the folder of a run tells; `path` may also name something within it.

    Raises:
        CheckpointError: if there is no run.
    """
    run = _open(find_run(path))
    scores, faults = read_scores(run.folder.path)
    run.missing += faults
    losses = loss_charts(run.lines)
    if not losses:
        run.missing.append("Loss curves: metrics.jsonl holds no line yet.")
    samples = show_samples(run.folder, run.config)
    if samples is None:
        run.missing.append("Samples: there is no grid in samples/.")
    elif samples.rows[0].source is None:
        run.missing.append(
            "Before-and-after sliders: the grids do not tell where their pictures are, and the "
            "data set is not where the run found it."
        )
    about = run.document.get("about", {})
    measured, protocol = measured_charts(run.lines)
    report = RunReport(
        name=run.folder.path.resolve().name,
        method=str(run.document.get("method", {}).get("name", "an unknown method")),
        preset=str(run.document.get("preset", "unknown")),
        data=_data_name(run),
        status=_status(run),
        facts=_facts(run),
        samples=samples,
        losses=losses,
        progress=progress_charts(run.lines),
        measured=measured,
        measured_protocol=protocol,
        scores=tuple(scores),
        alarms=read_alarms(run.lines),
        entropy=_entropy(run),
        about=tuple(
            Fact(key, str(about[key]))
            for key in ("paper", "table", "published", "protocol")
            if about.get(key)
        ),
        deviations=tuple(map(str, about.get("deviations", ()))),
        changes=_changes(run.config),
        config_text=write_toml(run.document) if run.document else "",
        environment=_environment(run),
        command=_read(run.folder.path / "command.txt", run.missing),
        made=f"Made by i2i {__version__} from {run.folder.path}.",
    )
    return replace(report, missing=tuple(run.missing))


def _open(folder: RunFolder) -> _Run:
    missing: list[str] = []
    document: dict[str, Any] = {}
    config = None
    try:
        document = folder.read_config()
        config = restore_config(document)
    except (I2IError, OSError) as fault:
        missing.append(f"The comparison with the paper: {_sentence(fault)}")
    state = None
    try:
        state = load_checkpoint(folder.last)
    except I2IError as fault:
        missing.append(f"What the last checkpoint tells: {_sentence(fault)}")
    try:
        lines = [line for line in folder.read_metrics() if isinstance(line.get("step"), int)]
    except (OSError, UnicodeDecodeError, AttributeError):
        lines = []
    return _Run(folder, lines, document, config, state, missing)


def _sentence(fault: Exception) -> str:
    return " ".join(str(fault).split())


def _status(run: _Run) -> Status:
    last = run.last_step
    of = f" of {last:,}" if last else ""
    where = f"step {run.step:,}{of}"
    resume = f"`{run.folder.resume_command}`"
    if last is not None and run.state is not None and run.state.step >= last:
        return Status("Finished", "good", f"All {last:,} steps are done.")
    if _is_busy(run.folder):
        return Status(
            "Running", "busy", f"A process is training it: at {where} when this was made."
        )
    if has_broken_term(run.lines):
        return Status("Diverged", "bad", f"A loss was not finite by {where}.")
    if run.state is None:
        return Status("Stopped", "warn", f"It ended at {where} without a checkpoint to go on from.")
    saved = f"saved at step {run.state.step:,}"
    word = "Stopped" if last is not None else "Unknown end"
    return Status(
        word,
        "warn",
        f"It ended at {where}, {saved}: interrupted, killed or diverged. Go on with {resume}.",
    )


def _is_busy(folder: RunFolder) -> bool:
    # Nothing is written to find out.
    try:
        with (folder.path / ".lock").open("r") as file:
            return is_locked(file)
    except FileNotFoundError:
        return False


def _facts(run: _Run) -> tuple[Fact, ...]:
    last = run.last_step
    facts = [Fact("Steps", f"{run.step:,}", f"of {last:,}" if last else "")]
    epoch = max((int(line.get("epoch", 0)) for line in run.lines), default=0)
    if epoch:
        facts.append(Fact("Epoch", f"{epoch:,}"))
    seconds = max((float(line.get("seconds", 0.0)) for line in run.lines), default=0.0)
    if seconds:
        facts.append(Fact("Time training", human_time(seconds)))
    speeds = [float(line["images_per_s"]) for line in run.lines if "images_per_s" in line]
    if speeds:
        median = sorted(speeds)[len(speeds) // 2]
        facts.append(Fact("Speed", f"{median:.3g}", "images a second, median"))
    if run.state is not None and run.state.best:
        best = run.state.best
        name = str(best.get("name", "")).removeprefix("eval/").replace("_", " ")
        facts.append(
            Fact(
                "Best measured",
                format_number(float(best["value"])),
                f"{name}, at step {int(best['step']):,}",
            )
        )
    if counts := run.counts:
        facts.append(Fact("Training pictures", " + ".join(f"{c:,}" for c in counts), "A + B"))
    return tuple(facts)


def _data_name(run: _Run) -> str:
    data = run.document.get("data", {})
    named = data.get("root") or data.get("domain_a")
    if named is None:
        return "unknown data"
    direction = " (b2a)" if data.get("direction") == "b2a" else ""
    return f"{Path(str(named)).name}{direction}"


def _changes(config: AnyRunConfig | None) -> tuple[ConfigChange, ...] | None:
    if config is None:
        return None
    return tuple(
        ConfigChange(
            change.path,
            *(
                "not set" if value is None else toml_like(value)
                for value in (change.before, change.after)
            ),
        )
        for change in changes_from_paper(config)
    )


def _entropy(run: _Run) -> tuple[Any, ...]:
    grids = find_grids(run.folder)
    if not grids or run.state is None or run.config is None:
        return ()
    newest = max(grids)
    rows = find_rows({newest: grids[newest]}, run.config)[newest]
    if not rows:
        return ()
    try:
        translator = load_translator(run.folder.last, device="cpu")
        return show_entropy(translator, grids[newest], rows)
    except I2IError as fault:
        run.missing.append(f"Entropy maps: {_sentence(fault)}")
        return ()


def _environment(run: _Run) -> tuple[Fact, ...]:
    text = _read(run.folder.path / "env.json", run.missing)
    try:
        environment = json.loads(text) if text else {}
        items = environment.items()
    except (ValueError, AttributeError):
        run.missing.append("The environment: env.json is no JSON object.")
        return ()
    named = [
        Fact(_SPELLED.get(k, k), str(environment[k])) for k in _ENVIRONMENT if k in environment
    ]
    others = [Fact(str(key), str(value)) for key, value in items if key not in _ENVIRONMENT]
    return (*named, *others)


def _read(path: Path, missing: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        missing.append(f"{path.name}: it is not in the run folder.")
        return ""
