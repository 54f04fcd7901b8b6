"""The stream of batches depends on seed and step alone, and its processes do as they are told."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from streams import stream_of

from i2icli.config.sections import DataConfig
from i2icli.data import loader
from i2icli.data.folders import Domains, find_domains
from i2icli.data.loader import choose_workers, steps_per_epoch
from i2icli.data.unpaired import UnpairedSet
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.pictures.images import write_picture
from i2icli.system.messages import collect_messages

SHARED = Path(os.environ.get("I2I_SHARED") or Path(__file__).resolve().parents[3] / "shared")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    lists = []
    for name, count in (("a", 7), ("b", 5)):
        files = tuple(folder / name / f"{index}.png" for index in range(count))
        for file in files:
            write_picture(file, random.integers(0, 256, (20, 24, 3), dtype=np.uint8))
        lists.append(files)
    return Domains(*lists)


def stream(domains, **options):
    """Return a stream of small crops; `options` are settings of the data or of the stream."""
    values = {"resize": 18, "crop": 16, "batch_size": 2}
    values |= {key: options.pop(key) for key in list(options) if key in DataConfig.model_fields}
    options = {"is_decaying": lambda epoch: epoch > 2, **options}
    return stream_of(UnpairedSet(domains, DataConfig(**values)), **options)


def take(batches, count):
    with batches:
        return [next(batches) for _ in range(count)]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        torch.equal(a.real_a, b.real_a)
        and torch.equal(a.real_b, b.real_b)
        and a.names_a == b.names_a
        and a.names_b == b.names_b
        for a, b in zip(ours, theirs, strict=True)
    )


def test_batches_hold_crops_and_names(pictures):
    (batch,) = take(stream(pictures), 1)
    assert batch.real_a.shape == batch.real_b.shape == (2, 3, 16, 16)
    assert batch.real_a.dtype == torch.float32
    assert batch.real_a.min() >= -1
    assert batch.real_a.max() <= 1
    assert all(name in map(str, pictures.train_a) for name in batch.names_a)
    assert all(name in map(str, pictures.train_b) for name in batch.names_b)


def test_the_last_incomplete_batch_of_an_epoch_is_dropped(pictures):
    config = DataConfig(batch_size=2)
    assert steps_per_epoch(UnpairedSet(pictures, config), 2) == 3
    first = [name for batch in take(stream(pictures), 3) for name in batch.names_a]
    assert len(set(first)) == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_the_stream_is_the_same_with_any_number_of_workers(pictures, workers):
    assert same(take(stream(pictures), 9), take(stream(pictures, workers=workers), 9))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("start", [1, 3, 5, 8])
def test_the_stream_resumes_at_any_step(pictures, workers, start):
    whole = take(stream(pictures), 10)
    assert same(
        whole[start:], take(stream(pictures, start_step=start, workers=workers), 10 - start)
    )


def test_another_seed_gives_another_stream(pictures):
    assert not same(take(stream(pictures), 3), take(stream(pictures, seed=1), 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_global_randomness_alone(pictures, workers):
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global state is meant
    take(stream(pictures, workers=workers), 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def test_jitter_ends_with_the_decay_where_configured(pictures):
    """Epochs 1 and 2 crop at random; from epoch 3 on only flips differ."""
    decays = {"is_decaying": lambda epoch: epoch > 2}
    kept = take(stream(pictures, jitter_in_decay=True, **decays), 9)
    ended = take(stream(pictures, jitter_in_decay=False, **decays), 9)
    never = take(stream(pictures, jitter_in_decay=False, is_decaying=lambda _: False), 9)
    assert same(kept[:6], ended[:6])
    assert same(kept, never)
    for before, after in zip(kept[6:], ended[6:], strict=True):
        assert before.names_a == after.names_a
        assert not torch.equal(before.real_a, after.real_a)


def test_the_epoch_is_counted_from_one(pictures):
    asked = []

    def is_decaying(epoch):
        asked.append(epoch)
        return False

    take(stream(pictures, jitter_in_decay=False, is_decaying=is_decaying, start_step=5), 2)
    assert asked == [2, 3]


def test_a_stream_counts_the_batches_it_handed_out(pictures):
    with stream(pictures) as batches:
        next(batches)
        assert batches.step == 1


def test_closing_ends_the_stream_and_its_processes(pictures):
    batches = stream(pictures, workers=2)
    next(batches)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    batches.close()
    assert [worker.exitcode for worker in workers] == [0, 0]  # none had to be ended
    assert multiprocessing.active_children() == []
    with pytest.raises(StopIteration):
        next(batches)
    batches.close()


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, []),  # a scheduler's, to the whole group
        (
            signal.SIGKILL,
            ["processes that load pictures were killed (SIGKILL): started again"],
        ),
    ],
)
def test_workers_killed_from_outside_are_started_again(pictures, number, said):
    expected = take(stream(pictures), 12)
    messages = collect_messages()
    with stream(pictures, workers=2) as batches:
        got = [next(batches)]
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, number)
        got += [next(batches) for _ in range(11)]
    assert same(got, expected)
    assert messages == said


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_the_death_of_a_worker_interrupts_nothing_else(pictures):
    before = signal.getsignal(signal.SIGCHLD)
    with stream(pictures, workers=1) as batches:
        next(batches)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert signal.getsignal(signal.SIGCHLD) == before
        assert sum(range(100_000)) > 0  # torch's handler would raise about here


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_workers_that_are_killed_again_and_again_end_the_stream(pictures, monkeypatch):
    monkeypatch.setattr(loader, "_prepare_worker", _die)
    messages = collect_messages()
    with (
        stream(pictures, workers=1) as batches,
        pytest.raises(I2IError, match=r"ended 4 times in a row \(SIGKILL\).*runtime.workers=0"),
    ):
        next(batches)
    assert len(messages) == 3


def _die(_index):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_request_to_stop_ends_the_wait_for_workers_that_do_not_answer(pictures, monkeypatch):
    monkeypatch.setattr(loader, "_prepare_worker", _sleep)
    monkeypatch.setattr(loader, "_PATIENCE", 0.2)
    waits = []

    def is_stopping():
        waits.append(1)
        return len(waits) > 3

    with stream(pictures, workers=1) as batches:
        batches.is_stopping = is_stopping
        with pytest.raises(RuntimeError, match="timed out"):
            next(batches)
        for worker in multiprocessing.active_children():
            worker.kill()
    assert len(waits) >= 4


def _sleep(_index):
    time.sleep(3600)


@pytest.mark.parametrize(("free", "workers"), [(20_000, 0), (200_000, 2), (None, 2)])
def test_little_shared_memory_has_pictures_loaded_in_the_steps_own_process(
    pictures, monkeypatch, free, workers
):
    expected = take(stream(pictures), 6)
    monkeypatch.setattr(loader, "shared_memory_free", lambda: free)
    messages = collect_messages()
    with stream(pictures, workers=2) as batches:
        got = [next(batches) for _ in range(6)]
        assert len(multiprocessing.active_children()) == workers
    assert same(got, expected)
    # six batches of two pictures of 16 x 16 of both domains, in float32
    need = [each for each in messages if "would need" in each]
    assert len(need) == (free == 20_000)
    assert all("2 processes would need 0 MiB of shared memory, and 0 MiB" in each for each in need)


@pytest.mark.parametrize(
    ("cpus", "threads", "processes", "expected"),
    [(2, 2, 1, 0), (2, 1, 1, 1), (1, 1, 1, 0), (64, 32, 1, 2), (64, 16, 4, 0), (64, 8, 4, 2)],
)
def test_processes_load_where_threads_leave_cores_free(
    monkeypatch, cpus, threads, processes, expected
):
    monkeypatch.setattr(loader, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert choose_workers("auto", torch.device("cpu")) == expected
    assert choose_workers("auto", torch.device("cuda")) == 2
    assert choose_workers(5, torch.device("cpu")) == 5


@pytest.fixture
def clock(monkeypatch):
    """Loading takes a second a batch, by a clock that each test moves on."""
    clock = [100.0]
    monkeypatch.setattr(loader.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(loader, "usable_cpus", lambda: 2)
    real = UnpairedSet.collate

    def collate(*arguments):
        clock[0] += 1.0
        return real(*arguments)

    monkeypatch.setattr(UnpairedSet, "collate", collate)
    return clock


@pytest.mark.parametrize(("step_seconds", "workers"), [(2.1, 0), (1.9, 2)])
def test_processes_are_started_once_loading_takes_a_third_of_the_time(
    pictures, clock, step_seconds, workers
):
    expected = take(stream(pictures), 24)
    got = []
    with stream(pictures, may_add=True) as batches:
        for number in range(24):
            got.append(next(batches))
            clock[0] += step_seconds
            assert len(multiprocessing.active_children()) == (workers if number >= 20 else 0)
    assert same(got, expected)


@pytest.mark.parametrize(("cpus", "may_add"), [(1, True), (2, False)])
def test_no_processes_are_started_without_a_core_or_where_the_number_is_the_users(
    pictures, clock, monkeypatch, cpus, may_add
):
    monkeypatch.setattr(loader, "usable_cpus", lambda: cpus)
    with stream(pictures, may_add=may_add) as batches:
        for _ in range(24):
            next(batches)
        assert multiprocessing.active_children() == []


def test_a_batch_larger_than_the_set_is_refused(pictures):
    with pytest.raises(DataError, match=r"takes 8 pictures .* has 7; .*data\.batch_size=7"):
        stream(pictures, batch_size=8)


def test_a_wrong_pixel_limit_is_refused_before_any_worker_starts(pictures, monkeypatch):
    monkeypatch.setenv("I2I_MAX_PIXELS", "lots")
    with pytest.raises(ConfigError, match="I2I_MAX_PIXELS is 'lots'"):
        stream(pictures, workers=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_of_different_sizes_in_a_batch_are_named(tmp_path, workers):
    files = (tmp_path / "0.png", tmp_path / "1.png")
    for file, width in zip(files, (20, 32), strict=True):
        write_picture(file, np.zeros((20, width, 3), np.uint8))
    with (
        stream(Domains(files, files), preprocess="none", workers=workers) as batches,
        pytest.raises(DataError) as caught,
    ):
        next(batches)
    for words in ("0.png", "1.png", "20 x 20", "32 x 20", "data.batch_size=1"):
        assert words in str(caught.value)


@pytest.fixture
def damaged(tmp_path):
    files = tuple(tmp_path / f"{index}.png" for index in range(4))
    for file in files:
        write_picture(file, np.zeros((20, 20, 3), np.uint8))
    files[1].write_bytes(files[1].read_bytes()[:-30])
    return Domains(files, files)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_reported_once_and_stood_in_for(damaged, workers):
    said = collect_messages()
    batches = take(stream(damaged, workers=workers), 12)
    assert len(said) == 1
    assert str(damaged.train_a[1]) in said[0]
    assert said[0].startswith("skipped a training picture: ")
    assert str(damaged.train_a[1]) not in {name for batch in batches for name in batch.names_a}


def test_an_unreadable_picture_is_logged_by_default(damaged, caplog):
    take(stream(damaged), 4)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(damaged.train_a[1]) in record.getMessage()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_out_of_a_worker_in_its_own_words(damaged, workers):
    with (
        stream(damaged, workers=workers, corrupt="error") as batches,
        pytest.raises(DataError) as caught,
    ):
        list(islice(batches, 8))
    message = str(caught.value)
    assert message.startswith(f"{damaged.train_a[1]} is damaged or incomplete")
    assert "\n" not in message
    assert "Traceback" not in message


def test_all_that_travels_to_a_worker_can_be_pickled(pictures):
    config = DataConfig(resize=18, crop=16)
    dataset = stream(pictures)._dataset
    for part in (dataset, dataset.collate, UnpairedSet(pictures, config)):
        assert pickle.loads(pickle.dumps(part)) is not None


SCRIPT = """
import multiprocessing, signal, sys
from pathlib import Path
from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_domains
from i2icli.data.loader import build_loader
from i2icli.data.unpaired import UnpairedSet

def main():
    multiprocessing.set_start_method(sys.argv[3])
    config = DataConfig(domain_a=sys.argv[1], domain_b=sys.argv[2], resize=18, crop=16)
    signals = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: signals.append(number))
    batches = build_loader(
        UnpairedSet(find_domains(config), config), config, seed=0, start_step=0,
        is_decaying=lambda epoch: False, workers=1, pin=False,
    )
    total = sum(float(next(batches).real_a.sum()) for _ in range(3))
    print(total, *(child.pid for child in multiprocessing.active_children()), flush=True)
    sys.stdin.readline()
    for _ in range(20):
        next(batches)
    batches.close()
    print("signals", *sorted(int(number) for number in signals), flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def other_process(pictures, tmp_path, request):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folders = [str(files[0].parent) for files in (pictures.train_a, pictures.train_b)]
    process = subprocess.Popen(
        [sys.executable, str(script), *folders, request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and needs fork")
@pytest.mark.parametrize("other_process", ["fork", "forkserver"], indirect=True)
def test_signals_to_the_whole_group_do_not_break_the_stream(other_process):
    other_process.stdout.readline()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(other_process.pid, number)
    answer, _ = other_process.communicate("go\n", timeout=300)
    assert answer.split() == ["signals", "2", "15"]
    assert other_process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and needs fork")
@pytest.mark.parametrize("other_process", ["fork", "forkserver"], indirect=True)
def test_no_worker_outlives_a_killed_process(other_process):
    worker = int(other_process.stdout.readline().split()[1])
    assert is_alive(worker)
    other_process.kill()
    other_process.wait()
    until = time.monotonic() + 300
    while is_alive(worker) and time.monotonic() < until:
        time.sleep(0.2)
    assert not is_alive(worker)


@pytest.mark.parametrize("other_process", ["spawn"], indirect=True)
def test_spawned_workers_give_the_same_stream(other_process, pictures):
    total = float(other_process.stdout.readline().split()[0])
    other_process.communicate("go\n", timeout=300)
    expected = take(stream(pictures, batch_size=1, is_decaying=lambda _: False), 3)
    # Approximately: the other process may add on more threads.
    assert total == pytest.approx(sum(float(batch.real_a.sum()) for batch in expected), rel=1e-5)


@pytest.mark.skipif(
    not (SHARED / "data" / "horse2zebra").is_dir(),
    reason="no horse2zebra pictures: set I2I_SHARED to the folder that holds data/horse2zebra",
)
def test_an_epoch_of_real_photographs_loads():
    config = DataConfig(root=str(SHARED / "data" / "horse2zebra"), resize=72, crop=64, batch_size=2)
    domains = find_domains(config)
    dataset = UnpairedSet(domains, config)
    steps = steps_per_epoch(dataset, 2)
    assert steps == max(len(domains.train_a), len(domains.train_b)) // 2
    batches = take(stream_of(dataset, workers=1), steps)
    assert {batch.real_a.shape for batch in batches} == {(2, 3, 64, 64)}
    assert {batch.real_b.shape for batch in batches} == {(2, 3, 64, 64)}
    assert min(float(batch.real_b.min()) for batch in batches) == -1
    assert max(float(batch.real_b.max()) for batch in batches) == 1
    seen = {name for batch in batches for name in batch.names_a}
    assert len(seen) >= len(domains.train_a) - 1
    grey = [b for b in batches if torch.equal(b.real_b[:, 0], b.real_b[:, 1])]
    assert all(b.real_b.shape[1] == 3 for b in grey)
