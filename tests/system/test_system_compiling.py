"""Compiled functions: which calls are compiled, and the way back. The compiler is a stand-in."""

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from i2icli.system import compiling
from i2icli.system.compiling import Compiled, compiler_fault
from i2icli.system.messages import collect_messages


def double(values):
    return 2 * values


@pytest.fixture
def calls(monkeypatch):
    """Return the shapes that the stand-in for compiled code was called with."""
    shapes = []

    def compile_(function, **_):
        def fast(values):
            shapes.append(tuple(values.shape))
            return function(values)

        return fast

    monkeypatch.setattr(torch, "compile", compile_)
    return shapes


def test_training_compiles_what_records_a_gradient(calls):
    said = collect_messages()
    compiled = Compiled(double, title="generator", trains=True)
    for _ in range(2):
        assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 2.0))
    with torch.no_grad():
        compiled(torch.ones(4))
    assert calls == [(3,), (3,)]
    assert len(said) == 2
    assert said[0].startswith("compiling the generator: this takes a minute or more")
    assert said[1].startswith("compiled the generator in ")


def test_translating_compiles_a_few_sizes_of_pictures(calls):
    compiled = Compiled(double, title="generator", trains=False)
    with torch.inference_mode():
        for size in [*range(1, 12), 1]:
            assert compiled(torch.ones(size)).shape == (size,)
    assert calls == [(size,) for size in [*range(1, 9), 1]]


def test_failure_goes_on_eager_and_says_so(monkeypatch):
    tries = []

    def compile_(_, **__):
        def fail(_values):
            tries.append(1)
            raise TorchDynamoException("no such kernel\nand more")

        return fail

    monkeypatch.setattr(torch, "compile", compile_)
    said = collect_messages()
    compiled = Compiled(double, title="generator", trains=True)
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
    assert tries == [1]
    assert said[1:] == ["the generator goes on uncompiled: no such kernel"]


def test_fault_of_the_function_itself_is_no_fault_of_compiling(calls):
    def fail(_):
        raise ValueError("no picture")

    compiled = Compiled(fail, title="generator", trains=True)
    with pytest.raises(ValueError, match="no picture"):
        compiled(torch.ones(2))
    assert calls == [(2,)]


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiling.sys, "platform", "linux")
    assert compiler_fault(torch.device("cpu")) == (
        "there is no C++ compiler (g++ or clang++) on this machine"
    )


def test_missing_triton_is_named_on_gpus(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda _: None)
    assert compiler_fault(torch.device("cuda")) == "triton is not installed"
    assert compiler_fault(torch.device("cpu")) is None
