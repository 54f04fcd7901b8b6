"""Cores: affinity, quotas of control groups in made-up file trees, and what others use."""

import math
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from i2icli.system import cores
from i2icli.system.cores import Load, LoadWatch, look_at_load, usable_cores

ONE = "0::/\n"  # of version 2
V1 = "25 24 0:22 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch):
    """Let this process run on 64 CPUs."""
    for name in cores._BINDING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def proc(groups, mounts):
    return {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}


def v1(folder, quota, period="100000\n"):
    folder = f"sys/fs/cgroup/cpu,cpuacct{folder}"
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


def v2(folder, text):
    return {f"sys/fs/cgroup{folder}/cpu.max": text}


V1_GROUPS = "12:memory:/elsewhere\n4:cpu,cpuacct:{group}\n1:name=systemd:/cpu\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        (proc(ONE, V2.format(root="/")), 64),
        (proc(ONE, V2.format(root="/")) | v2("", "max 100000\n"), 64),
        (proc(ONE, V2.format(root="/")) | v2("", "100000 100000\n"), 1),
        (proc(ONE, V2.format(root="/")) | v2("", "10000 100000\n"), 1),
        (proc(ONE, V2.format(root="/")) | v2("", "250000 100000\n"), 3),
        (proc(ONE, V2.format(root="/")) | v2("", "9900000 100000\n"), 64),
        (proc(ONE, V2.format(root="/")) | v2("", "many few\n"), 64),
        (proc(ONE, V2.format(root="/")) | v2("", "100000 0\n"), 64),
        (proc(ONE, V2.format(root="/")) | v2("", ""), 64),
        # The group above allows less than the group itself.
        (
            proc("0::/a/b\n", V2.format(root="/"))
            | v2("/a/b", "800000 100000\n")
            | v2("/a", "200000 100000\n"),
            2,
        ),
        (
            proc("0::/a/b\n", V2.format(root="/"))
            | v2("/a/b", "200000 100000\n")
            | v2("/a", "max 100000\n"),
            2,
        ),
        # A group outside of the tree that the container sees.
        (proc("0::/../../a\n", V2.format(root="/")) | v2("", "400000 100000\n"), 4),
        (proc(V1_GROUPS.format(group="/"), V1.format(root="/")) | v1("", "-1\n"), 64),
        (proc(V1_GROUPS.format(group="/"), V1.format(root="/")) | v1("", "150000\n"), 2),
        (proc(V1_GROUPS.format(group="/"), V1.format(root="/")) | v1("", "150000\n", ""), 64),
        # A container without a name space of its own: mounted is the part below its group.
        (proc(V1_GROUPS.format(group="/d/c"), V1.format(root="/d/c")) | v1("", "300000\n"), 3),
        (
            proc(V1_GROUPS.format(group="/d/c"), V1.format(root="/"))
            | v1("/d/c", "-1\n")
            | v1("/d", "500000\n"),
            5,
        ),
        # Both versions at once, the CPUs under version 1.
        (
            proc(
                V1_GROUPS.format(group="/") + ONE,
                V1.format(root="/") + V2.format(root="/").replace("cgroup rw", "cgroup/unified rw"),
            )
            | v1("", "700000\n"),
            7,
        ),
        # The mount of another controller.
        (
            proc(V1_GROUPS.format(group="/"), V1.format(root="/").replace("rw,cpu,", "rw,"))
            | v1("", "700000\n"),
            64,
        ),
        (proc("nothing to read", "nor here - \n"), 64),
    ],
)
def test_quotas_of_control_groups_limit_the_cores(tmp_path, files, expected):
    assert usable_cores(tree(tmp_path, files)) == expected


def test_cpus_that_share_a_core_count_once(tmp_path):
    files = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 4},{cpu % 4 + 4}"
        for cpu in range(8)
    }
    assert usable_cores(tree(tmp_path, files)) == 4 + 56


def test_affinity_limits_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert usable_cores(tmp_path) == 3


def test_fewer_cpus_that_a_user_told_python_are_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)
    assert usable_cores(tmp_path) == 2


def test_a_thread_that_openmp_bound_does_not_count_as_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 1, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    assert usable_cores(tmp_path) == 12


def test_without_affinity_all_cpus_count(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize(
    ("load", "is_quiet"),
    [
        (Load(None, usable=2, cpus=2), True),
        (Load(0.1, usable=2, cpus=2), True),
        (Load(1.0, usable=2, cpus=2), False),
        # A quota of 1 on a busy machine: no thread of ours lacks a CPU.
        (Load(62.0, usable=1, cpus=64), True),
        (Load(64.0, usable=1, cpus=64), False),
    ],
)
def test_a_machine_is_quiet_while_each_thread_has_a_cpu(load, is_quiet):
    assert load.is_quiet == is_quiet


class Times:
    """A made-up machine: its table of CPUs, its clock, this process' share."""

    def __init__(self, root, monkeypatch):
        self._file = root / "proc/stat"
        self._file.parent.mkdir()
        self.clock, self.own, self.busy = 100.0, 0.0, {0: 0.0, 1: 0.0}
        self.write()
        monkeypatch.setattr(time, "perf_counter", lambda: self.clock)
        monkeypatch.setattr(time, "process_time", lambda: self.own)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)

    def write(self):
        ticks = os.sysconf("SC_CLK_TCK")
        lines = ["cpu  1 2 3 4 5 6 7 8 0 0"]
        # In part under each heading; idle and waiting ones do not count, nor guests once more.
        for cpu, seconds in {**self.busy, 2: 50 * self.clock}.items():
            lines.append(f"cpu{cpu} {int(seconds * ticks) - 6} 1 1 9999 999 1 1 2 7777 0")
        self._file.write_text("\n".join([*lines, "intr 5 5", ""]))

    def advance(self, seconds, own, busy):
        self.clock += seconds
        self.own += own
        for cpu, add in enumerate(busy):
            self.busy[cpu] += add
        self.write()


@pytest.fixture
def times(tmp_path, monkeypatch):
    return Times(tmp_path, monkeypatch)


def test_others_are_what_is_used_on_our_cpus_less_our_own_time(tmp_path, times):
    watch = LoadWatch(tmp_path)
    times.advance(4.0, own=3.0, busy=[4.0, 2.0])
    assert watch.look() == Load(0.75, usable=2, cpus=2)
    times.advance(2.0, own=2.0, busy=[1.0, 1.0])
    assert watch.look() == Load(0.0, usable=2, cpus=2)


def test_what_passes_while_this_process_is_away_does_not_count(tmp_path, times):
    watch = LoadWatch(tmp_path)
    times.advance(2.0, own=1.0, busy=[1.5, 0.0])
    with watch.away():
        times.advance(50.0, own=3.0, busy=[50.0, 50.0])
    times.advance(2.0, own=1.0, busy=[1.5, 0.0])
    assert watch.look().others == 0.25


def test_load_is_never_more_than_the_cpus_nor_below_none(tmp_path, times):
    watch = LoadWatch(tmp_path)
    times.advance(1.0, own=0.0, busy=[1.5, 1.5])
    assert watch.look().others == 2.0
    times.advance(1.0, own=2.5, busy=[1.0, 1.0])
    assert watch.look().others == 0.0


@pytest.mark.parametrize("table", [None, "cpu 1 2 3\n", "cpu0 1 1 1 1 1 1 1 1 0 0\n"])
def test_where_no_table_names_our_cpus_the_average_load_serves(tmp_path, times, monkeypatch, table):
    path = tmp_path / "proc/stat"
    path.unlink() if table is None else path.write_text(table)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 9.0, 9.0), raising=False)
    watch = LoadWatch(tmp_path)
    times.clock, times.own = 102.0, 1.0
    assert watch.look().others == 1.0
    monkeypatch.delattr(os, "getloadavg")
    times.clock = 103.0
    assert watch.look().others is None


def test_a_look_after_no_time_knows_nothing(tmp_path, times):
    assert LoadWatch(tmp_path).look().others is None


def test_processes_that_this_one_started_are_no_others(tmp_path, times):
    tasks, child = tmp_path / "proc/self/task", tmp_path / "proc/31"
    for folder in (tasks / "7", tasks / "8", child):
        folder.mkdir(parents=True)
    (tasks / "7/children").write_text("31 32 ")
    (tasks / "8/children").write_text("")
    watch = LoadWatch(tmp_path)
    ticks = os.sysconf("SC_CLK_TCK")
    before = ["S", *"0" * 10]
    (child / "stat").write_text(f"31 (a b) c) {' '.join(before)} {2 * ticks} {ticks} 0 0\n")
    times.advance(4.0, own=1.0, busy=[4.0, 2.0])
    assert watch.look().others == 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_a_child_at_work_is_no_other_program(monkeypatch):
    monkeypatch.undo()
    watch = LoadWatch()
    with subprocess.Popen([sys.executable, "-c", "while 1: pass"]) as child:
        time.sleep(0.3)
        seconds = cores._seconds_of_children(cores._ROOT)
        child.kill()
    assert seconds > 0 or math.isnan(cores._busy_seconds(cores._ROOT))
    # The sum over children is rounded anew each time: as good as no less.
    assert cores._seconds_of_children(cores._ROOT) >= seconds - 0.001
    assert watch.look().cpus >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_another_program_is_seen_and_this_one_is_not(monkeypatch):
    monkeypatch.undo()
    if math.isnan(cores._busy_seconds(cores._ROOT)):
        pytest.skip("no table of this machine's CPUs")
    spin = f"{shlex.quote(sys.executable)} -c 'while 1: pass' >/dev/null 2>&1 & echo $!"
    # The shell ends at once, and what it started is no child of this process.
    other = int(subprocess.run(["sh", "-c", spin], check=True, capture_output=True).stdout)
    load = look_at_load(0.5)
    os.kill(other, signal.SIGKILL)
    assert load.others is not None
    assert load.others > 0.1
    assert load.usable == usable_cores()
