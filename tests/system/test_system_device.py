"""Names of devices and precisions."""

import pytest
import torch

from i2icli.errors import ConfigError
from i2icli.system.device import (
    autocast,
    available_devices,
    device_title,
    resolve_device,
    resolve_precision,
)

CPU = torch.device("cpu")


def test_auto_device_is_one_that_is_here():
    assert str(resolve_device("auto")) == available_devices()[0]


def test_cpu_is_always_a_device():
    assert resolve_device("cpu") == CPU
    assert device_title(CPU) == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_unknown_device_names_those_that_are_known(name):
    with pytest.raises(ConfigError, match=r"is not a device: use auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps"])
def test_absent_device_says_what_is_there(name, monkeypatch):
    monkeypatch.setattr("i2icli.system.device.available_devices", lambda: ["cpu"])
    with pytest.raises(ConfigError, match=f"--device {name} is not on this machine, which has cpu"):
        resolve_device(name)


def test_cuda_without_a_number_is_the_first(monkeypatch):
    monkeypatch.setattr(
        "i2icli.system.device.available_devices", lambda: ["cuda:0", "cuda:1", "cpu"]
    )
    assert resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("auto") == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("capability", "wanted"), [((6, 1), "float32"), ((7, 5), "float16"), ((9, 0), "bfloat16")]
)
def test_auto_precision_is_what_the_gpu_has_units_for(capability, wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", torch.device("cuda:0")) == getattr(torch, wanted)


def test_auto_precision_on_a_cpu_is_float32():
    assert resolve_precision("auto", CPU) == torch.float32


def test_unknown_precision_names_those_that_are_known():
    with pytest.raises(ConfigError, match="'half': use auto, float32, bfloat16, float16"):
        resolve_precision("half", CPU)


def test_autocast_is_nothing_for_float32():
    with autocast(CPU, torch.float32):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(CPU, torch.bfloat16):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
