"""The fields of a checkpoint, each held to what a run can have written there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_MOST_STEPS = 2**53  # whole numbers beyond it are not exact as floats, which rates are computed in
# A network's counters are whole numbers; half precision is a converted file's, and fits.
_WEIGHTS = (torch.float32, torch.float16, torch.bfloat16)
# What Adam and SGD keep of a weight besides its moments, which have its shape.
_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


def fault_of_fields(document: Mapping[str, Any]) -> str:
    """Return the fault of a checkpoint's fields in words; empty where they have none."""
    for name, is_right in _FIELDS.items():
        if not is_right(document[name]):
            return f"its {name} is {_short(document[name])}"
    if document["epoch"] > document["step"]:
        return f"its epoch is {document['epoch']} at step {document['step']}"
    weights = document["weights"]
    for name, weight in (document["ema"] or {}).items():
        if name not in weights or weights[name].shape != weight.shape:
            return f"its average of {_short(name)} is of no weight"
    for player, state in document["optimizers"].items():
        moments = state.get("moments", state.get("adam", {}))
        for name, kept in moments.items():
            if name not in weights or not _is_kept_of(weights[name], kept):
                return f"its optimizer {_short(player)} does not fit the weight {_short(name)}"
    return ""


def _short(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    # Python refuses to write out whole numbers of thousands of digits.
    if value is None or isinstance(value, float) or isinstance(value, int) and abs(value) < 10**40:
        return str(value)
    return f"{type(value).__name__} that no run writes"


def _is_plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, Mapping):
        return depth < 20 and all(
            isinstance(key, str) and _is_plain(item, depth + 1) for key, item in value.items()
        )
    if isinstance(value, list):
        return depth < 20 and all(_is_plain(item, depth + 1) for item in value)
    return value is None or isinstance(value, str | float) or _is_number(value)


def _is_number(value: object) -> bool:
    # Beyond 64 bits it is no setting, and of thousands of digits Python does not write it out.
    return isinstance(value, int) and abs(value) < 2**64


def _is_data(value: object) -> bool:
    return _is_document(value) and _has(
        lambda facts: (
            isinstance(facts, Mapping)
            and isinstance(side := facts.get("side", 1), int | float)
            and 0 < side < _MOST_STEPS
        )
    )(value)


def _is_document(value: object) -> bool:
    return isinstance(value, Mapping) and _is_plain(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST_STEPS


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _has(is_right: Callable[[object], bool]) -> Callable[[object], bool]:
    # by name
    return lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and is_right(item) for name, item in value.items())
    )


def _is_weight(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.dtype in _WEIGHTS or value.ndim == 0 and value.dtype == torch.int64


def _is_random_state(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.ndim == 1


def _is_kept_of(weight: Tensor, kept: object) -> bool:
    return isinstance(kept, Mapping) and all(
        _is_moment(weight, name, value) for name, value in kept.items()
    )


def _is_moment(weight: Tensor, name: object, value: object) -> bool:
    if name in _MOMENTS:
        is_alike = isinstance(value, Tensor) and value.shape == weight.shape and _is_weight(value)
        return is_alike or name == "momentum_buffer" and value is None
    is_one = isinstance(value, Tensor) and value.numel() == 1 and value.dtype != torch.complex64
    return name == "step" and (is_one or isinstance(value, int | float))


def _is_memory(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _is_meters(value: object) -> bool:
    if not isinstance(value, Mapping) or set(value) - {"sums", "counts"}:
        return False
    sums, counts = value.get("sums", {}), value.get("counts", {})
    is_right = _has(lambda item: isinstance(item, Tensor) and item.numel() == 1)(sums)
    return is_right and _has(_is_count)(counts) and set(sums) == set(counts)


def _is_process(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        name in value and _FIELDS[name](value[name]) for name in ("memory", "rng", "meters")
    )


def _is_best(value: object) -> bool:
    if not _is_document(value):
        return False
    assert isinstance(value, Mapping)
    return not value or _is_count(value.get("step")) and isinstance(value.get("value"), int | float)


def _is_origin(value: object) -> bool:
    if not _is_document(value):
        return False
    assert isinstance(value, Mapping)
    fresh = value.get("fresh", [])
    return isinstance(fresh, list) and all(isinstance(name, str) for name in fresh)


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "config": _is_document,
    "weights": _has(_is_weight),
    "step": _is_count,
    "epoch": _is_count,
    "ema": lambda value: value is None or _has(_is_weight)(value),
    "optimizers": _has(
        lambda value: (
            isinstance(value, Mapping)
            and _has(lambda kept: isinstance(kept, Mapping))(
                value.get("moments", value.get("adam", {}))
            )
            and _is_document(value.get("scaler", {}))
        )
    ),
    "memory": _is_memory,
    "rng": _has(_is_random_state),
    "meters": _is_meters,
    "best": _is_best,
    "data": _is_data,
    "versions": _has(lambda value: isinstance(value, str)),
    "origin": _is_origin,
    "others": lambda value: isinstance(value, list | tuple) and all(map(_is_process, value)),
    "choices": _has(lambda value: isinstance(value, str | int)),
    "seconds": _is_time,
}
