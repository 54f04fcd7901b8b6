"""Memory that malloc keeps; each setting in a process of its own, since it is for all of one."""

import os
import subprocess
import sys

import pytest

from i2icli.system import allocator

needs_glibc = pytest.mark.skipif(
    allocator.keeping_fault() is not None, reason="the C library is not glibc"
)

# Takes and frees a large block a few times, and counts the page faults of the last times.
_FAULTS = """
import ctypes, resource
from i2icli.system import allocator
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def use():
    block = libc.malloc(1 << 28)
    libc.memset(block, 1, 1 << 28)
    libc.free(block)
use()
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""
_PAGES = (1 << 28) // 4096


def faults(before, **variables):
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        # Blocks of this size always come from the system, but for what is tested.
        env={**os.environ, **variables},
    )
    return int(done.stdout)


@needs_glibc
def test_kept_memory_is_taken_again_without_a_page_fault():
    assert faults("allocator.keep_freed_memory()") < _PAGES / 100


@needs_glibc
def test_returned_memory_comes_from_the_system_again():
    # With pages of 2 MB there are fewer faults, hence the wide bound.
    usual = faults("")
    assert usual > _PAGES / 600
    back = faults("allocator.keep_freed_memory(); allocator.return_freed_memory()")
    assert back >= usual / 2


@needs_glibc
def test_what_the_user_said_of_malloc_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    said = "MALLOC_TRIM_THRESHOLD_ says already what malloc does"
    assert allocator.keeping_fault() == said


@pytest.mark.parametrize("version", ["musl 1.2", ""])
def test_other_c_libraries_are_left_alone(version, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda _: version)
    monkeypatch.setattr(allocator._Process, "keeps", False)
    assert allocator.keeping_fault() == "the C library is not glibc"
    allocator.keep_freed_memory()
    assert not allocator.is_keeping()


def test_system_without_confstr_is_left_alone(monkeypatch):
    monkeypatch.delattr(os, "confstr")
    assert allocator.keeping_fault() == "the C library is not glibc"


def test_loading_a_translator_leaves_malloc_of_a_users_process_alone():
    code = (
        "import i2icli.translation.translator, i2icli.training.run\n"
        "from i2icli.system import allocator\n"
        "assert not allocator.is_claimed() and not allocator.is_keeping()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
