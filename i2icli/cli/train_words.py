"""What `i2i train --init-from` says of the weights that a run begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import typer

from i2icli.training.initial import Loaded

_COLUMNS = ("loaded", "fresh", "mismatched", "unused")


def show_loaded(loaded: Loaded) -> None:
    """Print on stderr which weights a new run begins with."""
    typer.echo("\n".join(_lines(loaded)), err=True)


def _lines(loaded: Loaded) -> list[str]:
    """Return a table of weights by network, and by name those that do not fit.

    Weights are counted where they ended: taken from the checkpoint, fresh, fresh because the
    checkpoint's has another shape, or in the checkpoint only.
    """
    counts = {
        "loaded": _by_network(loaded.loaded),
        "fresh": _by_network(loaded.fresh),
        "mismatched": _by_network(name for name, _, _ in loaded.mismatched),
        "unused": _by_network(loaded.unused),
    }
    names = list(dict.fromkeys(name for column in _COLUMNS for name in counts[column]))
    rows = [(name, *(counts[column][name] for column in _COLUMNS)) for name in sorted(names)]
    rows.append(("all", *(counts[column].total() for column in _COLUMNS)))
    width = max(len("network"), *(len(str(name)) for name, *_ in rows))
    return [
        f"weights from {loaded.source} (step {loaded.step}); optimizers and steps start anew. "
        "To go on with that run itself, use `i2i resume`.",
        f"  {'network':{width}}" + "".join(f"{column:>12}" for column in _COLUMNS),
        *(
            f"  {name:{width}}" + "".join(f"{number or '-':>12}" for number in numbers)
            for name, *numbers in rows
        ),
        *(
            f"  mismatched: {name}, {_sides(theirs)} there, {_sides(ours)} here"
            for name, theirs, ours in loaded.mismatched
        ),
        *_some("fresh", loaded.fresh),
        *_some("unused", loaded.unused),
        *(
            [f"  the checkpoint was imported without {_listed(loaded.untrained)}: fresh here too"]
            if loaded.untrained
            else []
        ),
    ]


def _by_network(names: Iterable[str]) -> Counter[str]:
    """Count weights by the network they belong to."""
    return Counter(name.split(".", 1)[0] for name in names)


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape) or "a number"


def _some(kind: str, names: tuple[str, ...]) -> list[str]:
    """Return a line with the first few names, or none."""
    if not names:
        return []
    more = f", and {len(names) - 4} more" if len(names) > 4 else ""
    return [f"  {kind}: {', '.join(names[:4])}{more}"]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
