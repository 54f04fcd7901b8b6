"""i2i: the whole life of an unpaired image-to-image translator.

The names below are the public ones; every other module may change from one version to the next.
The rest of the tool is the command line `i2i`.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from i2icli.errors import CheckpointError, ConfigError, DataError, I2IError, WeightsError
from i2icli.version import __version__

if TYPE_CHECKING:
    from i2icli.pictures.images import Picture
    from i2icli.translation.folder import FolderOptions, translate_jobs
    from i2icli.translation.sources import find_sources
    from i2icli.translation.targets import plan_outputs
    from i2icli.translation.translator import Translator, load_translator

# Imported on first use, so that `import i2icli` needs no torch.
_LAZY = {
    "FolderOptions": "translation.folder",
    "Picture": "pictures.images",
    "Translator": "translation.translator",
    "find_sources": "translation.sources",
    "load_translator": "translation.translator",
    "plan_outputs": "translation.targets",
    "translate_jobs": "translation.folder",
}

# From Python nothing is printed unless somebody listens; the command line adds what prints.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "FolderOptions",
    "I2IError",
    "Picture",
    "Translator",
    "WeightsError",
    "__version__",
    "find_sources",
    "load_translator",
    "plan_outputs",
    "translate_jobs",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(f"i2icli.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'i2icli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
