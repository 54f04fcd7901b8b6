"""The control groups that bound what this process may use, of version 1 and 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Yield the folders of this process' groups for a controller, with all above each.

    Args:
        controller: "cpu" or "memory".
        root: where /proc and /sys are.
    """
    groups = {}
    for line in lines_of(root / "proc/self/cgroup"):
        _number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers or controller in controllers.split(","):
            groups["cgroup" if controllers else "cgroup2"] = PurePosixPath(group)
    for line in lines_of(root / "proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        fields, kinds = mount.split(), kind.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in groups:
            continue
        if kinds[0] == "cgroup" and controller not in kinds[2].split(","):
            continue
        top, own = root / fields[4].lstrip("/"), groups[kinds[0]]
        # What is mounted is the whole tree or, in a container, the part below its own group.
        inside = own.relative_to(fields[3]) if own.is_relative_to(fields[3]) else own
        folder = top.joinpath(*(part for part in inside.parts if part not in ("/", "..")))
        yield from (above for above in (folder, *folder.parents) if above.is_relative_to(top))


def lines_of(file: Path) -> list[str]:
    """Return the lines of a text file; none where it cannot be read."""
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    return []
