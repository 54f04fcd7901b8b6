"""Weights from another run: taken where name and shape agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2icli.config.base import StrictModel
from i2icli.config.document import differences
from i2icli.errors import ConfigError
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig, configure_from
from i2icli.pretrained.networks import load_table
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.paths import find_checkpoint

_COLUMNS = ("loaded", "fresh", "mismatched", "unused")


@dataclass(frozen=True)
class Loaded:
    """The fate of each weight of the new method."""

    source: Path
    step: int  # the steps it had behind it
    loaded: tuple[str, ...]  # names taken from the checkpoint
    fresh: tuple[str, ...]  # names that the checkpoint does not have, or has fresh as well
    # names it has in another shape, with its shape and the one needed
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    unused: tuple[str, ...]  # names that only the checkpoint has
    untrained: tuple[str, ...] = ()  # networks that were not imported: fresh in the checkpoint
    is_run: bool = True  # the checkpoint is one that can be gone on with
    changed: tuple[str, ...] = ()  # the generator's settings that differ, from theirs to ours

    def lines(self) -> list[str]:
        """Return a table of weights by network, and by name those that do not fit.

        Weights are counted where they ended: taken from the checkpoint, fresh, fresh because the
        checkpoint's has another shape, or in the checkpoint only.
        """
        counts = {
            "loaded": _by_network(self.loaded),
            "fresh": _by_network(self.fresh),
            "mismatched": _by_network(name for name, _, _ in self.mismatched),
            "unused": _by_network(self.unused),
        }
        names = list(dict.fromkeys(name for column in _COLUMNS for name in counts[column]))
        rows = [(name, *(counts[column][name] for column in _COLUMNS)) for name in sorted(names)]
        rows.append(("all", *(counts[column].total() for column in _COLUMNS)))
        width = max(len("network"), *(len(str(name)) for name, *_ in rows))
        return [
            f"weights from {self.source} (step {self.step}); optimizers and steps start anew."
            + (" To go on with that run itself, use `i2i resume`." if self.is_run else ""),
            f"  {'network':{width}}" + "".join(f"{column:>12}" for column in _COLUMNS),
            *(
                f"  {name:{width}}" + "".join(f"{number or '-':>12}" for number in numbers)
                for name, *numbers in rows
            ),
            *(
                f"  mismatched: {name}, {_sides(theirs)} there, {_sides(ours)} here"
                for name, theirs, ours in self.mismatched
            ),
            # Some change what the weights mean without a change in any shape.
            *(f"  set otherwise than there: {change}" for change in self.changed),
            *_some("fresh", self.fresh),
            *_some("unused", self.unused),
            *(
                [f"  the checkpoint was imported without {_listed(self.untrained)}: fresh here too"]
                if self.untrained
                else []
            ),
        ]


def load_initial_weights(method: Method, path: Path) -> Loaded:
    """Fill a fresh method with the weights of a checkpoint of i2i, of any method.

    Only weights: the optimizers, the step and the random choices start anew. Averaged weights
    are taken where the checkpoint has them.

    Raises:
        CheckpointError: if it is no checkpoint.
        ConfigError: if not one weight fits.
    """
    source = find_checkpoint(path)
    state = load_checkpoint(source)
    untrained = tuple(state.origin.get("fresh", ()))
    prefixes = tuple(f"{name}." for name in untrained)
    theirs = {
        name: weight
        for name, weight in state.translating_weights().items()
        if not name.startswith(prefixes)
    }
    ours = method.state_dict()
    shared = [name for name in ours if name in theirs]
    loaded = tuple(name for name in shared if theirs[name].shape == ours[name].shape)
    if not loaded:
        raise ConfigError(
            f"--init-from {path}: none of its {len(theirs)} weights has the name and shape of one "
            f"of the {len(ours)} of this method. Give a checkpoint of a similar method, or go on "
            "with a run of its own by `i2i resume RUN`."
        )
    method.load_state_dict({**ours, **{name: theirs[name] for name in loaded}})
    return Loaded(
        source=source,
        step=state.step,
        loaded=loaded,
        fresh=tuple(name for name in ours if name not in theirs),
        mismatched=tuple(
            (name, tuple(theirs[name].shape), tuple(ours[name].shape))
            for name in shared
            if name not in loaded
        ),
        unused=tuple(name for name in theirs if name not in ours),
        untrained=untrained,
        is_run=not state.translates_only,
        changed=_changed_settings(method, state.config),
    )


def configure_as(path: Path, overrides: Sequence[str] = ()) -> AnyRunConfig:
    """Return the configuration of a checkpoint of i2i for a run that begins with its weights.

    Args:
        path: the checkpoint, its run or `zoo:NAME`.
        overrides: `KEY=VALUE` texts as `--set` takes them.

    Raises:
        CheckpointError: if it is no checkpoint.
        ConfigError: naming every fault.
    """
    file = find_checkpoint(path)
    return configure_from(load_checkpoint(file).config, overrides, source=str(file))


def start_from_pretrained(method: Method, names: Sequence[str]) -> None:
    """Fill a fresh method with pretrained weights: names of `i2i weights`, or paths of files.

    Raises:
        ConfigError: if they do not fit the method's networks.
        WeightsError: if they are not here.
    """
    try:
        method.start_from({name: load_table(name) for name in names})
    except ValueError as error:
        raise ConfigError(f"{error}.") from error


def _changed_settings(method: Method, theirs: Mapping[str, Any]) -> tuple[str, ...]:
    ours = getattr(method.config, "generator", None)
    section = theirs.get("method", {}).get("generator")
    if not isinstance(ours, StrictModel) or not isinstance(section, Mapping):
        return ()
    # A checkpoint of an earlier version lacks keys, and was made with their defaults.
    before, after = {**type(ours)().model_dump(), **section}, ours.model_dump()
    changes = differences({"method.generator": before}, {"method.generator": after})
    return tuple(str(change) for change in changes)


def _by_network(names: Iterable[str]) -> Counter[str]:
    return Counter(name.split(".", 1)[0] for name in names)


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape) or "a number"


def _some(kind: str, names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    more = f", and {len(names) - 4} more" if len(names) > 4 else ""
    return [f"  {kind}: {', '.join(names[:4])}{more}"]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
