"""The process that measures one variant: `python -m i2icli.bench.child`.

Each variant has a process of its own, and so has each kind of measurement, so that no peak of
memory, warm cache or fragmented heap of one shows in another. See `bench.worker` for how it is
told what to do.
"""

from __future__ import annotations

from typing import Any

import torchvision.models  # noqa: F401 - some networks need it; it is no part of their memory

from i2icli.bench.measure import Bench, resident_bytes
from i2icli.bench.rig import Variant
from i2icli.bench.worker import Answers, serve
from i2icli.system.allocator import claim_process


def answers(variant: dict[str, Any]) -> Answers:
    """Return what measures a variant, by the names that a worker asks for."""
    return Bench(Variant(**variant), imports_bytes=resident_bytes("VmRSS")).answers()


if __name__ == "__main__":
    claim_process()
    serve(answers)
