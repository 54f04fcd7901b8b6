"""The version of i2i."""

__version__ = "0.1.0"
