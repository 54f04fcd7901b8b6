"""Errors a user can act on, each with the exit code the command ends with.

I2IError            1   failure at run time
  ConfigError       2   usage or configuration
  CheckpointError   2   a file that is no usable checkpoint
  DataError         3   data
  WeightsError      4   pretrained weights missing, or no network
  DivergedError     5   a loss is no longer finite
  LostContactError  1   another process of a shared run ended
  Interrupted      75   stopped by a signal after saving

A message is one or two sentences: what is wrong, the value seen, what to type next.
"""

from collections.abc import Mapping
from typing import ClassVar


class I2IError(Exception):
    """A failure at run time that the user can act on.

    Attributes:
        meant: words of the command, or `KEY=VALUE` of its configuration, that were mistyped, each
            with the one that was most likely meant; `KEY=` where the key itself was.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *words: object, meant: Mapping[str, str] | None = None) -> None:
        super().__init__(*words)
        self.meant = dict(meant or {})


class ConfigError(I2IError):
    """A wrong flag, configuration value or preset name, or a run folder that is in use."""

    exit_code = 2


class CheckpointError(I2IError):
    """A file that is missing, damaged, or no checkpoint of i2i."""

    exit_code = 2


class DataError(I2IError):
    """Missing, unreadable or unsuitable pictures."""

    exit_code = 3


class WeightsError(I2IError):
    """Pretrained weights that are not there, or no network to get them."""

    exit_code = 4


class DivergedError(I2IError):
    """Training stopped because a loss was not finite."""

    exit_code = 5


class LostContactError(I2IError):
    """Training stopped because another process of the same run ended or does not answer."""


class Interrupted(I2IError):  # noqa: N818 - it is an event, not a fault
    """Training was stopped by a signal and its state saved."""

    exit_code = 75
