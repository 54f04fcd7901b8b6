"""Commands where the system has neither `fcntl` nor `resource` nor SIGKILL, as on Windows."""

import subprocess
import sys

import pytest
from echo import save_fresh
from picture_folders import write_noise

# No run on Windows: this is what can be held without one.
HIDDEN = """
import signal, sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in ("SIGKILL", "SIGHUP", "SIGCHLD"):
    vars(signal).pop(name, None)
from i2icli.cli.app import main
main()
"""
SMALL = (
    *("--set", "method.generator.width=4", "--set", "method.generator.blocks=2"),
    *("--set", "method.discriminator.width=4", "--set", "data.resize=36", "--set", "data.crop=32"),
    *("--set", "runtime.workers=0", "--device", "cpu"),
)


@pytest.fixture
def i2i_elsewhere(tmp_path):
    def call(*words):
        command = [sys.executable, "-c", HIDDEN, *map(str, words)]
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    return call


def test_a_run_is_trained_resumed_and_reported(i2i_elsewhere, tmp_path, picture_root):
    train = ("train", "--preset", "cyclegan", "--data", picture_root, "--run-dir", "run")
    i2i_elsewhere(*train, "--steps", "1", *SMALL)
    i2i_elsewhere("resume", "run", "--steps", "2")
    i2i_elsewhere("report", "run")
    assert (tmp_path / "run" / "report.html").is_file()


def test_pictures_are_translated_and_sets_are_made(i2i_elsewhere, tmp_path):
    save_fresh(tmp_path / "run" / "checkpoints" / "last.pt")
    for number in range(3):
        write_noise(tmp_path / "a" / f"{number}.png", 9, 8)
    i2i_elsewhere("translate", "run", "a", "out", "--device", "cpu")
    i2i_elsewhere("data", "shard", "a", "shards")
    i2i_elsewhere("translate", "run", "shards", "translated", "--device", "cpu")
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert (tmp_path / "translated" / "shard-000000.tar").is_file()
