"""The register of methods: by name, by a run's configuration, and by a released network.

The name of a method stands once, in its config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, get_args

from i2icli.config.method import MethodConfig
from i2icli.config.run import RunConfig
from i2icli.methods.shared.base import Method

M = TypeVar("M", bound=type[Method])
METHODS: dict[str, type[Method]] = {}
# The preset that a released network is taken for where nobody says, by the family of the generator
# and what lies beside it. Many papers share an architecture, and nothing in a file says which one
# it comes from: it makes no difference to translations, only to further training.
RELEASED_PRESETS: Mapping[str, str] = {
    "resnet": "cut",
    "resnet, both ways": "cyclegan",
    "resnet, similarity head": "lsesim",
    "stylegan2 of 1": "sincut",
    "stylegan2 of 2": "single-image-sesim",
    "munit auto-encoder": "munit",
}


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
