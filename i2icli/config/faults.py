"""All faults of a configuration at once, in words the user can act on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from i2icli.config.document import look_up
from i2icli.config.shape import Shape
from i2icli.config.words import nearest, one_of, toml_like
from i2icli.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
_ROUNDS = 5
_MOST_LETTERS = 200  # of a value in a sentence
_TAG_FAULTS = ("union_tag_invalid", "union_tag_not_found", "missing")


@dataclass(frozen=True)
class _Fault:
    path: tuple[str, ...]
    message: str
    meant: Mapping[str, str] = field(default_factory=dict)  # as of `I2IError`


def validate(document: Mapping[str, Any], model: type[M], *, source: str) -> M:
    """Make a typed configuration of a plain document, strictly.

    Text is no number, a number with a point is no whole number, and only true and false are
    truth values. `source` says in the message where the values come from: "preset 'cut'".

    Raises:
        ConfigError: naming every fault with its path, the value, what is allowed, and the
            nearest name.
    """
    try:
        return _validate(document, model)
    except ValidationError as error:
        faults = _collect(document, model, error)
    messages = [fault.message for fault in faults]
    # A command with one of several mistakes corrected would not do.
    corrections = [fault.meant for fault in faults]
    meant = {wrong: right for each in corrections for wrong, right in each.items()}
    if not all(corrections):
        meant = {}
    if len(messages) > 1:
        lines = "".join(f"\n  {message}" for message in messages)
        raise ConfigError(f"{source} has {len(messages)} faults:{lines}", meant=meant)
    end = "" if messages[0].endswith("?") else "."
    raise ConfigError(f"{source}: {messages[0]}{end}", meant=meant)


def _validate(document: Mapping[str, Any], model: type[M]) -> M:
    # As JSON, where strict mode still lets a list be a tuple.
    return model.model_validate_json(json.dumps(document, default=str), strict=True)


def _collect(document: Mapping[str, Any], model: type[M], error: ValidationError) -> list[_Fault]:
    """Return the faults of a document, those between keys too."""
    shape = Shape.of(model)
    faults: dict[tuple[str, ...], _Fault] = {}
    for _ in range(_ROUNDS):
        described = [_describe(detail, document, shape) for detail in error.errors()]
        removed = [".".join(path) for path in faults]
        new = [
            fault
            for fault in described
            if fault.path not in faults and not any(path in fault.message for path in removed)
        ]
        faults |= {fault.path: fault for fault in new}
        if not new:
            break
        # A check between keys runs only where every key by itself is right. So faulty values are
        # taken out, which puts the defaults in their place, and the rest is checked again; a
        # further fault counts unless it speaks of a key that was taken out.
        for fault in new:
            document = _without(document, fault.path)
        try:
            _validate(document, model)
        except ValidationError as again:
            error = again
        else:
            break
    return list(faults.values())


def _describe(detail: Any, document: Mapping[str, Any], shape: Shape) -> _Fault:
    path = _typed_path(detail["loc"], document, shape)
    value = detail["input"]
    here = shape.at(path, document)
    if here is not None and here.tag is not None and detail["type"] in _TAG_FAULTS:
        value = value.get(here.tag) if isinstance(value, Mapping) else None
        return _choice_fault((*path, here.tag), value, list(here.variants))
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path, value, document, shape)
    if detail["type"] == "value_error":
        return _rule_fault(path, value, str(detail["ctx"]["error"]))
    if detail["type"] == "missing":
        return _Fault(path, f"{'.'.join(path)} is missing: {_allowed(path, document, shape)}")
    return _value_fault(path, value, document, shape)


def _value_fault(
    path: tuple[str, ...], value: object, document: Mapping[str, Any], shape: Shape
) -> _Fault:
    keys = tuple(key for key in path if not key.isdigit())
    here = shape.at(keys, document)
    if here is not None and (choices := here.choices()) and keys == path:
        return _choice_fault(path, value, choices, takes_null=here.takes_null)
    written = look_up(document, keys) if keys != path else value
    allowed = _allowed(keys, document, shape)
    return _Fault(keys, f"{'.'.join(keys)} = {_seen(written)}: must be {allowed}")


def _choice_fault(
    path: tuple[str, ...], value: object, choices: Sequence[Any], *, takes_null: bool = False
) -> _Fault:
    words = [toml_like(choice) for choice in choices] + (["null"] if takes_null else [])
    is_missing = value is None and not takes_null
    seen = "is missing" if is_missing else f"= {_seen(value)}"
    message = f"{'.'.join(path)} {seen}: must be {one_of(list(dict.fromkeys(words)))}"
    texts = [choice for choice in choices if isinstance(choice, str)]
    meant = nearest(value[:_MOST_LETTERS], texts) if isinstance(value, str) else None
    if not meant:
        return _Fault(path, message)
    key = ".".join(path)
    correction = {f"{key}={value}": f"{key}={meant}"}
    return _Fault(path, f"{message}; did you mean {_seen(meant)}?", correction)


def _unknown_key(
    path: tuple[str, ...], value: object, document: Mapping[str, Any], shape: Shape
) -> _Fault:
    *parents, key = path
    table = shape.at(parents, document)
    names = [] if table is None else table.keys(look_up(document, parents))
    message = f"{'.'.join(path)} = {_seen(value)}: there is no such key"
    if table is not None and (reason := table.refusal(key, look_up(document, parents))):
        return _Fault(path, f"{message}: {reason}")
    if meant := nearest(key, names):
        name = ".".join((*parents, meant))
        return _Fault(path, f"{message}; did you mean {name}?", {f"{'.'.join(path)}=": f"{name}="})
    where = f"{'.'.join(parents)} has" if parents else "the keys are"
    return _Fault(path, f"{message}; {where} {', '.join(names)}")


def _rule_fault(path: tuple[str, ...], value: object, sentence: str) -> _Fault:
    # Rules between keys name the keys themselves.
    if isinstance(value, Mapping) or not path:
        return _Fault((*path, f"rule: {sentence}"), sentence)
    return _Fault(path, f"{'.'.join(path)} = {_seen(value)}: {sentence}")


def _seen(value: object) -> str:
    text = toml_like(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."


def _allowed(path: Sequence[str], document: Mapping[str, Any], shape: Shape) -> str:
    here = shape.at(path, document)
    return "a value" if here is None else here.allowed()


def _typed_path(
    location: Sequence[str | int], document: Mapping[str, Any], shape: Shape
) -> tuple[str, ...]:
    """Return the keys as the user typed them: without the names of union variants."""
    path: list[str] = []
    here: Shape | None = shape
    value: object = document
    for part in location:
        variants = {} if here is None else here.variants
        if part in variants and here is not None:
            here = variants[str(part)]
            continue
        if here is not None and here.is_one_of_several:
            continue
        path.append(str(part))
        here = None if here is None else here.child(str(part), value)
        value = value.get(str(part)) if isinstance(value, Mapping) else None
    return tuple(path)


def _without(document: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a document without the value at a path."""
    first, *rest = path
    kept = dict(document)
    if not rest:
        kept.pop(first, None)
    elif isinstance(kept.get(first), Mapping):
        kept[first] = _without(kept[first], rest)
    return kept
