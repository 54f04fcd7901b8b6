"""The methods: one file a paper. Importing this package registers all of them."""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from i2icli.methods.shared.base import Method, Player, Terms, Translation  # noqa: E402
from i2icli.methods.shared.configure import (  # noqa: E402
    build_method,
    configure_run,
    misfit_of,
    restore_config,
)
from i2icli.methods.shared.registry import METHODS, method_of  # noqa: E402

__all__ = [
    "METHODS",
    "Method",
    "Player",
    "Terms",
    "Translation",
    "build_method",
    "configure_run",
    "method_of",
    "misfit_of",
    "restore_config",
]
