"""The name that `i2icli.pictures.images` had in 0.1.0."""

import warnings

from i2icli.pictures.images import *  # noqa: F403

warnings.warn("i2icli.data.images is i2icli.pictures.images now", DeprecationWarning, stacklevel=2)
