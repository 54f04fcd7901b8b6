"""i2i: the whole life of an unpaired image-to-image translator.

`load_translator` is the one public function; the rest is the command line `i2i`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from i2icli.version import __version__

if TYPE_CHECKING:
    from i2icli.translation.translator import Translator, load_translator

__all__ = ["Translator", "__version__", "load_translator"]


def __getattr__(name: str) -> object:
    """Import the translator on first use, so that `import i2icli` needs no torch."""
    if name in ("Translator", "load_translator"):
        from i2icli.translation import translator

        return getattr(translator, name)
    raise AttributeError(f"module 'i2icli' has no attribute {name!r}")
