"""Messages to whoever runs the tool that are no result: one logger a package, `i2icli.training`.

The command line prints them on stderr; from Python they are silent until a handler is added to the
logger `i2icli`.
"""

from __future__ import annotations

import logging

ROOT = logging.getLogger("i2icli")


class Collected(logging.Handler):
    """Keeps the texts of messages.

    Attributes:
        texts: in the order they came.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())


def collect_messages() -> list[str]:
    """Return the messages from now on, a list that grows."""
    handler = Collected()
    ROOT.addHandler(handler)
    ROOT.setLevel(logging.INFO)
    return handler.texts
