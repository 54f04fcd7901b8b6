"""The queue of work, and processes that die, are stopped or lose their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from queue_work import Squares

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.system.processes.work_queue import InProcess, Pool, cut, executor, in_order

needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends signals")
_PATIENCE = 60.0  # seconds; what takes longer hangs


def wait_for(condition):
    limit = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def workers(folder):
    return [int(path.name.rpartition("-")[2]) for path in folder.glob("setup-*")]


def test_pieces_are_done_once_each_and_their_order_can_be_had_again(tmp_path):
    events = []
    with Pool(2) as pool:
        results = pool.run(Squares(tmp_path), range(20), events.append)
        assert list(in_order(results)) == [number * number for number in range(20)]
        assert sorted(events) == list(range(20))
        # The same processes take other work.
        assert dict(pool.run(Squares(tmp_path), [3])) == {0: 9}
    assert len(workers(tmp_path)) <= 2
    assert os.getpid() not in workers(tmp_path)
    assert not any(is_alive(pid) for pid in workers(tmp_path))


def test_one_process_does_pieces_itself_in_order(tmp_path):
    events = []
    with executor(1) as alone:
        results = list(alone.run(Squares(tmp_path), [1, 2, 3], events.append))
    assert results == [(0, 1), (1, 4), (2, 9)]
    assert events == [1, 2, 3]
    assert workers(tmp_path) == [os.getpid()]
    assert list(InProcess().run(Squares(tmp_path / "none"), [])) == []


@needs_signals
def test_piece_of_a_killed_process_is_done_once_more_by_another(tmp_path):
    events = []
    with Pool(2) as pool:
        results = dict(pool.run(Squares(tmp_path, deadly=4, kills=1), range(9), events.append))
    assert results == {number: number * number for number in range(9)}
    assert sorted(events) == list(range(9))
    begun = [path.name.split("-") for path in tmp_path.glob("4-*")]
    assert sorted(tries for _, tries, _ in begun) == ["0", "1"]
    assert len({pid for *_, pid in begun}) == 2


@needs_signals
def test_piece_that_ends_two_processes_is_named_when_the_others_are_done(tmp_path):
    results = {}
    with Pool(2) as pool, pytest.raises(I2IError) as lost:
        results.update(pool.run(Squares(tmp_path, deadly=1, kills=2), range(6)))
    assert str(lost.value) == (
        "two processes ended, one after the other, at number 1 (ended by SIGKILL). What is "
        "finished stays: run the command again, for files with --skip-existing."
    )
    assert results == {number: number * number for number in range(6) if number != 1}


def test_error_of_a_piece_is_raised_as_it_is_and_ends_the_processes(tmp_path):
    with Pool(2) as pool, pytest.raises(DataError, match="5 is wrong"):
        list(pool.run(Squares(tmp_path, wrong=5), range(9)))
    assert not any(is_alive(pid) for pid in workers(tmp_path))


@needs_signals
def test_process_killed_while_it_waits_costs_no_piece(tmp_path):
    with Pool(1) as pool:
        assert dict(pool.run(Squares(tmp_path), [2])) == {0: 4}
        (pid,) = workers(tmp_path)
        os.kill(pid, signal.SIGKILL)
        assert dict(pool.run(Squares(tmp_path), [3])) == {0: 9}


def test_nproc_in_a_process_of_several_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="leave it out under torchrun"), executor(2):
        pass


_SCRIPT = """
import signal, sys
from pathlib import Path
from queue_work import Squares
from i2icli.system.processes.work_queue import Pool
# A shell that starts tests in the background has SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with Pool(2) as pool:
        print(dict(pool.run(Squares(Path(sys.argv[1]), waits=True), range(9))))
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(folder):
    """Start a process whose two workers have begun a piece each and wait in it."""
    kits = str(Path(__file__).parents[1] / "kits")
    search = os.pathsep.join([kits, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(folder)], env={**os.environ, "PYTHONPATH": search}
    )
    wait_for(lambda: len(list(folder.glob("[01]-*"))) == 2)
    return process


@needs_signals
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    process = start(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in workers(tmp_path)))


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_all_at_once_with_code_130(number, tmp_path):
    process = start(tmp_path)
    process.send_signal(number)
    assert process.wait(_PATIENCE) == 130
    assert not any(is_alive(pid) for pid in workers(tmp_path))
    assert not list(tmp_path.glob("[2-9]-*"))


@needs_signals
def test_signals_to_a_worker_are_the_parents_to_heed(tmp_path):
    process = start(tmp_path)
    for pid in workers(tmp_path):
        os.kill(pid, signal.SIGINT)
    (tmp_path / "go").touch()
    assert process.wait(_PATIENCE) == 0


@pytest.mark.parametrize(
    ("total", "count", "sizes"),
    [
        (10, 1, [10]),
        (0, 2, []),
        (5, 2, [1] * 5),
        (100, 2, [13] * 7 + [9]),
        (1000, 2, [16] * 62 + [8]),
    ],
)
def test_items_are_cut_into_pieces_of_even_size(total, count, sizes):
    pieces = cut(range(total), count, most=16)
    assert [len(piece) for piece in pieces] == sizes
    assert [item for piece in pieces for item in piece] == list(range(total))


def test_pieces_hold_whole_batches():
    assert [len(piece) for piece in cut(range(40), 2, most=100, multiple=16)] == [16, 16, 8]
