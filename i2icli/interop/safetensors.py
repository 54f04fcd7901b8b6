"""The safetensors format: a header in JSON, then the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2icli.errors import CheckpointError

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_HEADER_LIMIT = 100_000_000


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file by name.

    Raises:
        CheckpointError: if the file is not whole, or a tensor is of a type not known here.
        OSError: if it cannot be read.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        if length > min(_HEADER_LIMIT, len(content) - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(content[8 : 8 + length])
        data = memoryview(bytearray(content[8 + length :]))
        return {
            name: _tensor(name, entry, data)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise CheckpointError(f"{path} is no safetensors file, or not whole: {fault}.") from None


def _tensor(name: str, entry: dict[str, Any], data: memoryview) -> Tensor:
    """Return one tensor, which shares the memory of `data`."""
    kind = _TYPES.get(entry["dtype"])
    if kind is None:
        raise ValueError(f"{name} has the type {entry['dtype']}")
    shape, (start, end) = [int(side) for side in entry["shape"]], entry["data_offsets"]
    count = math.prod(shape)
    if not 0 <= start <= end <= len(data) or end - start != count * kind.itemsize:
        raise ValueError(f"{name} lies outside the file")
    if count == 0:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(data[start:end], dtype=kind).view(shape)
