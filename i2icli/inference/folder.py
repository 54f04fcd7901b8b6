"""The name that `i2icli.translation.folder` had in 0.1.0."""

import warnings

from i2icli.translation.folder import *  # noqa: F403

warnings.warn(
    "i2icli.inference.folder is i2icli.translation.folder now", DeprecationWarning, stacklevel=2
)
