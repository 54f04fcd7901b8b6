"""The device, the number format, and the ways to spend less time or memory on it."""

from i2icli.runtime.choices import Choices, Work, choose
from i2icli.runtime.device import (
    autocast,
    available_devices,
    device_title,
    resolve_device,
    resolve_precision,
    widen,
    without_autocast,
)

__all__ = [
    "Choices",
    "Work",
    "autocast",
    "available_devices",
    "choose",
    "device_title",
    "resolve_device",
    "resolve_precision",
    "widen",
    "without_autocast",
]
