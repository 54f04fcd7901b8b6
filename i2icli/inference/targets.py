"""The name that `i2icli.translation.targets` had in 0.1.0."""

import warnings

from i2icli.translation.targets import *  # noqa: F403

warnings.warn(
    "i2icli.inference.targets is i2icli.translation.targets now", DeprecationWarning, stacklevel=2
)
