"""The waiting of OpenMP's threads; in processes of their own where it is really changed."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest
import torch

from i2icli.system import waiting
from i2icli.system.cores import Load
from i2icli.system.threads import usable_cores

CPU = torch.device("cpu")
# Computes on two threads and sleeps, in turn; threads that wait busily take CPU time meanwhile.
_IDLE = """
import json, time, torch
from i2icli.system import waiting
torch.set_num_threads(2)
numbers = torch.zeros(1 << 18)
def seconds():
    started = time.process_time()
    for _ in range(40):
        numbers.add_(1)
        time.sleep(0.02)
    return time.process_time() - started
busy = [seconds()]
waiting.wait_briefly()
brief = [seconds()]
was_brief = waiting.is_brief()
waiting.wait_busily()
busy.append(seconds())
waiting.wait_briefly()
brief.append(seconds())
print(json.dumps({"busy": busy, "brief": brief, "was_brief": was_brief}))
"""
# Takes training steps of a small run on two threads, twice, and tells the weights they end at.
_STEPS = """
import hashlib, sys, torch
from i2icli.bench.rig import Variant, build_rig, resize, write_training_set
from i2icli.config.document import config_document
from i2icli.methods import configure_run, method_of
from i2icli.system import waiting
from pathlib import Path
torch.set_num_threads(2)
small = ["generator.width=4", "generator.blocks=1", "discriminator.width=4"]
config = resize(configure_run("cut", [f"method.{each}" for each in small]), 32, None)
document = write_training_set(Path(sys.argv[1]), config_document(config), method_of(config).data)
for is_toggled in (False, True):
    rig = build_rig(Variant("cut", document))
    for number in range(4):
        if is_toggled:
            (waiting.wait_busily if number % 2 else waiting.wait_briefly)()
        rig.step()
    weights = torch.cat([each.detach().flatten() for each in rig.method.parameters()])
    print(hashlib.sha256(weights.numpy().tobytes()).hexdigest())
"""


def run(script, *arguments, **variables):
    said = (*waiting._VARIABLES, "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in said}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, **variables},
    )
    return done.stdout


needs_cores = pytest.mark.skipif(
    usable_cores() < 2 or waiting.waiting_fault() is not None,
    reason="needs two cores and a known OpenMP",
)


@needs_cores
def test_threads_that_wait_briefly_leave_their_cores_idle():
    seconds = json.loads(run(_IDLE))
    assert seconds["was_brief"]
    assert max(seconds["brief"]) < min(seconds["busy"]) / 3


@needs_cores
def test_what_the_user_said_of_waiting_stays():
    assert not json.loads(run(_IDLE, OMP_WAIT_POLICY="ACTIVE"))["was_brief"]


@needs_cores
def test_training_steps_end_at_the_same_bits_however_threads_wait(tmp_path):
    plain, toggled = run(_STEPS, str(tmp_path)).split()
    assert plain == toggled


@pytest.mark.parametrize("name", waiting._VARIABLES)
def test_a_variable_of_the_user_is_named_as_what_decides(monkeypatch, name):
    for each in waiting._VARIABLES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "1")
    assert waiting.waiting_fault() == f"{name} says already how threads wait"
    waiting.wait_briefly()
    assert not waiting.is_brief()


def test_without_a_known_runtime_nothing_changes(monkeypatch):
    monkeypatch.setattr(waiting, "_VARIABLES", ())
    monkeypatch.setattr(waiting, "_runtimes", list)
    assert waiting.waiting_fault() == "no known OpenMP runtime"
    waiting.wait_briefly()
    assert not waiting.is_brief()


class Machine:
    """A made-up load, a clock, and what was called for."""

    def __init__(self, monkeypatch):
        self.others, self.clock, self.looks, self.is_brief = 0.0, 1000.0, 0, False
        process = type("Process", (waiting._Process,), {})
        monkeypatch.setattr(waiting, "_Process", process)
        monkeypatch.setattr(waiting, "LoadWatch", lambda: self)
        monkeypatch.setattr(waiting, "look_at_load", lambda _: self.look())
        monkeypatch.setattr(waiting, "is_claimed", lambda: True)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        for name, value in (("wait_briefly", True), ("wait_busily", False)):
            monkeypatch.setattr(waiting, name, lambda value=value: setattr(self, "is_brief", value))

    def look(self):
        self.looks += 1
        return Load(self.others, usable=4, cpus=4)

    def pass_time(self, others, *, seconds=1.0):
        """Look around after a while with so many cores busy; return whether threads are brief."""
        self.others = others
        self.clock += seconds
        waiting.look_around(CPU)
        return self.is_brief


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def test_threads_wait_briefly_from_the_first_look_that_finds_others(machine):
    assert machine.pass_time(1.0)


def test_threads_wait_busily_again_after_a_calm_while(machine):
    loads = [0.0, 0.4, 0.6, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1, 0.4]
    brief = [machine.pass_time(load) for load in loads]
    assert brief == [False, False, True, True, True, True, True, True, False, False]


def test_turns_of_others_are_neither_time_nor_load(machine):
    machine.away = contextlib.nullcontext
    with waiting.not_looking():  # before the first look
        machine.clock += 60.0
    machine.pass_time(0.0)
    with waiting.not_looking():
        machine.clock += 60.0
    assert not machine.pass_time(4.0, seconds=0.5)
    assert machine.pass_time(4.0, seconds=0.5)


def test_the_load_is_looked_at_once_a_second(machine):
    for _ in range(11):
        machine.pass_time(0.0, seconds=0.25)
    assert machine.looks == 3


def test_nothing_is_looked_at_where_no_threads_wait_or_the_process_is_another_program(
    machine, monkeypatch
):
    waiting.look_around(torch.device("cuda"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    machine.pass_time(4.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(waiting, "is_claimed", lambda: False)
    assert not machine.pass_time(4.0)
    assert machine.looks == 0


def test_threads_that_leave_cores_free_lack_none_beside_few_others(machine, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not machine.pass_time(2.0)
    assert machine.pass_time(3.0)


class Kmp:
    """LLVM's runtime, as far as waiting goes."""

    blocktime = 200

    def kmp_get_blocktime(self):
        return self.blocktime

    def kmp_set_blocktime(self, milliseconds):
        self.blocktime = milliseconds


def test_llvms_threads_sleep_at_once_and_later_as_before(monkeypatch):
    kmp, loaded = Kmp(), []
    monkeypatch.setattr(waiting, "_VARIABLES", ())
    monkeypatch.setattr(waiting, "_runtimes", lambda: [waiting.Path("lib/libiomp5.so")])
    monkeypatch.setattr(waiting.ctypes, "CDLL", lambda path: loaded.append(path) or kmp)
    waiting.wait_briefly()
    waiting.wait_briefly()
    assert (kmp.blocktime, loaded) == (0, ["lib/libiomp5.so"])
    waiting.wait_busily()
    assert kmp.blocktime == 200
    assert not waiting.is_brief()


@pytest.mark.parametrize(
    ("name", "is_runtime"),
    [
        ("libgomp.so.1", True),
        ("libgomp-98b2182a.so.1.0.0", True),
        ("libiomp5.so", True),
        ("libomp.dylib", True),
        ("libiomp5md.dll", True),
        ("libiomp5md.lib", False),
        ("libompi.so", False),
        ("libcomputer.so", False),
    ],
)
def test_runtimes_are_known_by_their_names(monkeypatch, name, is_runtime):
    line = f"7f00-7f01 r-xp 00000000 fe:00 12 /a place/lib/{name}\n7f02-7f03 rw-p 0 0:0 0\n"
    monkeypatch.setattr(waiting.Path, "read_text", lambda *_, **__: line)
    found = [str(path) for path in waiting._runtimes()]
    assert found == ([f"/a place/lib/{name}"] if is_runtime else [])
