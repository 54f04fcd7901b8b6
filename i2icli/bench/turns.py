"""One or two variants measured in turn: one at a time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from i2icli.bench.measure import Result
from i2icli.bench.rig import Variant
from i2icli.bench.spread import in_turn
from i2icli.bench.worker import Worker

_LOADER_REPEATS = 5  # each starts the loader anew


def measure(variant: Variant, what: str, **given: Any) -> Any:
    """Make one measurement in a fresh process, see `bench_measure.Bench`.

    Raises:
        I2IError: what went wrong there, as the same kind of error.
    """
    with Worker.of(variant) as worker:
        return worker.ask(what, **given)


def take_steps(variants: Sequence[Variant], *, steps: int, warmup: int) -> Result:
    """Time training steps of all variants in turn, and the machine's limit beside each step.

    Pictures are loaded and on the device beforehand. Afterwards the loader of the first variant
    is timed by itself.

    Args:
        variants: one, or two to compare.
        steps: rounds that count; in each every variant takes one step.
        warmup: rounds before, that do not.

    Returns:
        `seconds`, by variant one number a round; `rates` of the limit, by variant and kind;
        `order` of the variants in each round; `loader`; and by variant its `choices`.
    """
    with _workers(variants) as workers:
        for _ in range(warmup):
            for worker in workers:
                worker.ask("step")
                worker.ask("rates")
        found = take_turns(workers, "step", rounds=steps)
        repeats = min(steps, _LOADER_REPEATS)
        return {
            "seconds": found["answers"],
            "rates": found["rates"],
            "order": found["order"],
            "loader": workers[0].ask("loader", repeats=repeats),
            "choices": [worker.ask("choices") for worker in workers],
        }


def translate(
    variants: Sequence[Variant],
    *,
    pictures: Sequence[Path],
    out: Path,
    repeats: int,
    batch_size: int | None,
) -> Result:
    """Time translating pictures, and the network alone, all variants in turn.

    Args:
        variants: one, or two to compare.
        pictures: the files to translate; none: test pictures of the data set.
        out: folder to write into; removed after each pass.
        repeats: passes over all pictures that count, after one that does not.
        batch_size: pictures translated together; None: as memory allows.

    Returns:
        For `pass`, read to written, and `network`, the batches of training in memory:
        `images_per_s`, by variant one number a pass, and `rates` of the limit beside them. By
        variant, `memory` at its peak and `operations` of one picture of each of the two; `notes`.

    Raises:
        I2IError: a picture could not be translated.
    """
    files = [str(path) for path in pictures]
    given = {"pictures": files, "out": str(out), "batch_size": batch_size}
    found: Result = {}
    with _workers(variants) as workers:
        for kind, arguments in (("pass", given), ("network", {})):
            for worker in workers:
                worker.ask(kind, **arguments)
            turns = take_turns(workers, kind, rounds=repeats, **arguments)
            found[kind] = {"images_per_s": turns["answers"], "rates": turns["rates"]}
        found["memory"] = [worker.ask("memory") for worker in workers]
        found["notes"] = [note for worker in workers for note in worker.ask("choices")["notes"]]
        found["operations"] = [worker.ask("operations", **given) for worker in workers]
    return found


def take_turns(workers: Sequence[Worker], what: str, *, rounds: int, **given: Any) -> Result:
    """Ask all workers for the same, in turn, and each for the machine's limit right after.

    Returns:
        `answers`, by worker one a round; `rates`, by worker and kind one a round; `order` of the
        workers in each round.
    """
    answers: list[list[Any]] = [[] for _ in workers]
    rates: list[list[dict[str, float]]] = [[] for _ in workers]
    orders = list(in_turn(rounds, len(workers)))
    for order in orders:
        for index in order:
            answers[index].append(workers[index].ask(what, **given))
            rates[index].append(workers[index].ask("rates"))
    return {
        "answers": answers,
        "rates": [{kind: [rate[kind] for rate in own] for kind in own[0]} for own in rates],
        "order": orders,
    }


@contextmanager
def _workers(variants: Sequence[Variant]) -> Iterator[list[Worker]]:
    """Start a process for each variant, and end them all."""
    with ExitStack() as stack:
        yield [stack.enter_context(Worker.of(variant)) for variant in variants]
