"""Memory that is free, by the system's table and by the limits of control groups."""

import pytest
import torch

from i2icli.system.memory import free_bytes

CPU = torch.device("cpu")
TABLE = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n"}
V2 = {
    "proc/self/cgroup": "0::/job\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
}
V1 = {
    "proc/self/cgroup": "9:memory:/job\n4:cpu:/elsewhere\n",
    "proc/self/mountinfo": "25 24 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
}
GROUP = "sys/fs/cgroup/job/memory."
FIRST = "sys/fs/cgroup/memory/job/memory."


def second(limit, used, idle=0):
    stat = f"anon 7\ninactive_file {idle}\n"
    return {f"{GROUP}max": f"{limit}\n", f"{GROUP}current": f"{used}\n", f"{GROUP}stat": stat}


def first(limit, used, idle=0):
    stat = f"inactive_file 5\ntotal_inactive_file {idle}\n"
    return {
        f"{FIRST}limit_in_bytes": f"{limit}\n",
        f"{FIRST}usage_in_bytes": f"{used}\n",
        f"{FIRST}stat": stat,
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (TABLE, 4000 * 1024),
        (TABLE | V2 | second("max", 5), 4000 * 1024),
        (TABLE | V2 | second(1_000_000, 300_000), 700_000),
        (TABLE | V2 | second(1_000_000, 900_000, idle=50_000), 150_000),
        (TABLE | V2 | second(1_000_000, 1_200_000), 0),
        (TABLE | V2 | second(10**12, 5), 4000 * 1024),
        (TABLE | V2 | second("nonsense", 5), 4000 * 1024),
        (V2 | second(1_000_000, 300_000), 700_000),
        # The group above leaves less.
        (
            TABLE
            | V2
            | second(1_000_000, 300_000)
            | {"sys/fs/cgroup/memory.max": "500000", "sys/fs/cgroup/memory.current": "400000"},
            100_000,
        ),
        (TABLE | V1 | first(2_000_000, 500_000, idle=100_000), 1_600_000),
        (TABLE | V1 | first(9223372036854771712, 500_000), 4000 * 1024),
    ],
)
def test_free_memory_is_the_least_that_the_system_and_the_groups_leave(tmp_path, files, expected):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert free_bytes(CPU, tmp_path) == expected
