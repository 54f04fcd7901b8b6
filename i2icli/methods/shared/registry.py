"""The register of methods: the name of a method stands once, in its config."""

from __future__ import annotations

from typing import TypeVar, get_args

from i2icli.config.method import MethodConfig
from i2icli.config.run import RunConfig
from i2icli.methods.shared.base import Method

M = TypeVar("M", bound=type[Method])
METHODS: dict[str, type[Method]] = {}


def register(method: M) -> M:
    """Make `method` available under the name its config declares.

    Raises:
        ValueError: if two methods declare the same name.
    """
    (name,) = get_args(method.Config.model_fields["name"].annotation)
    if name in METHODS:
        modules = f"{METHODS[name].__module__} and {method.__module__}"
        raise ValueError(f"method {name!r} is defined twice: in {modules}")
    METHODS[name] = method
    return method


def method_of(config: RunConfig[MethodConfig]) -> type[Method]:
    """Return the method class that a run's configuration names."""
    return METHODS[config.method.name]
