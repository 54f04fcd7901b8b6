"""The name that `i2icli.translation.sources` had in 0.1.0."""

import warnings

from i2icli.translation.sources import *  # noqa: F403

warnings.warn(
    "i2icli.inference.sources is i2icli.translation.sources now", DeprecationWarning, stacklevel=2
)
