"""A device "cuda" for machines without one: its kernels know shapes alone, and nobody may wait.

What lies on the CPU is computed there, as ever. What a rule refuses is an `AssertionError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from plain_autograd import plain_autograd
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
CUDA = torch.device("cuda:0")
needs_fake_cuda = pytest.mark.skipif(
    not (torch.cuda.is_available() or hasattr(torch._C, "_ensureCUDADeviceGuardSet")),
    reason="before 2.11 torch shows no CUDA device to FakeTensorMode where there is none",
)

# Kernels whose result, or the size of it, the processor has to know before it goes on.
_WAITING_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
# Those of which no tag says so.
_WAITING = {aten.histc, aten._linalg_check_errors}
# Their tag speaks of masks alone.
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_COPYING = {aten._to_copy, aten.copy_, aten.copy}
# They give nothing back; torch has shapes for some of their forms alone.
_IN_PLACE = {aten._fused_adam_, aten._fused_sgd_}
# Up to here a driver takes a copy of what is not page-locked, and lets the processor go on.
_STAGED_BYTES = 1 << 16


class RefusedError(AssertionError):
    """Work for the device that waits for it, or that it could not do."""


class FakeCuda(TorchDispatchMode):
    """Stands between PyTorch and a device that is none.

    Attributes:
        kernels: those since the last rule began, by name and the type of their first tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[tuple[str, torch.dtype]] = Counter()
        self.shapes = FakeTensorMode()
        self._forbids_waiting = self._forbids_reading = False
        self._pinned: list[torch.UntypedStorage] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """Refuse what makes the processor wait for the device."""
        self.kernels.clear()
        self._forbids_waiting = True
        try:
            yield
        finally:
            self._forbids_waiting = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Refuse what a recording would not do again: reading what lies on the CPU."""
        self._forbids_reading = True
        try:
            yield
        finally:
            self._forbids_reading = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.prim.device.default:
            return func(*args)
        options = dict(kwargs or {})
        name = func.overloadpacket
        if name is aten.is_pinned:
            return self._is_pinned(args[0])
        if name is aten._pin_memory:
            return self._pin(args[0])
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        there = [each for each in tensors if each.device.type == "cuda"]
        target = torch.device(options.get("device") or "cpu").type
        if not there and target == "cpu":
            with unset_fake_temporarily():
                return func(*args, **options)
        self._check(func, args, options, [each for each in tensors if each.device.type == "cpu"])
        kind = there[0].dtype if there else options.get("dtype") or torch.get_default_dtype()
        self.kernels[name.__name__, kind] += 1
        if name in _IN_PLACE:
            return None
        if len(there) < len(tensors):
            args, options = tree_map(self._shown, (args, options))
        return func(*args, **options)

    def _check(self, func: Any, args: Any, options: dict[str, Any], here: list[Tensor]) -> None:
        name = func.overloadpacket
        if self._forbids_reading and here:
            raise RefusedError(f"{func} reads on the CPU what a recording would not read again")
        if name in _COPYING:
            self._check_copy(func, args, options)
        elif name in _INDEXING:
            indices = [index for index in args[1] if index is not None]
            is_mask = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
            self._refuse_waiting(func, when=is_mask or bool(here))
        else:
            tags = _WAITING_TAGS.intersection(func.tags)
            self._refuse_waiting(func, when=bool(tags) or name in _WAITING)
            # A single number goes along with the kernel, where it is one for each pixel.
            is_mixed = any(each.dim() > 0 for each in here)
            if is_mixed or here and torch.Tag.pointwise not in func.tags:
                raise RefusedError(f"{func} takes tensors of two devices")

    def _check_copy(self, func: Any, args: Any, options: dict[str, Any]) -> None:
        is_new = func.overloadpacket is aten._to_copy
        source = args[0] if is_new else args[1]
        target = torch.device(options.get("device") or args[0].device)
        if target.type == source.device.type:
            return
        is_quick = self._is_pinned(source) or source.nbytes <= _STAGED_BYTES
        is_told = options.get("non_blocking") or (not is_new and len(args) > 2 and args[2])
        self._refuse_waiting(func, when=target.type == "cpu" or not (is_quick and is_told))

    def _refuse_waiting(self, func: Any, *, when: bool) -> None:
        if when and self._forbids_waiting:
            raise RefusedError(f"{func} waits for the device")

    def _pin(self, tensor: Tensor) -> Tensor:
        with unset_fake_temporarily():
            pinned = tensor.clone()
        self._pinned.append(pinned.untyped_storage())
        return pinned

    def _is_pinned(self, tensor: Tensor) -> bool:
        memory = tensor.untyped_storage()._cdata
        return any(each._cdata == memory for each in self._pinned)

    def _shown(self, leaf: Any) -> Any:
        is_real = isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor)
        return self.shapes.from_tensor(leaf) if is_real else leaf


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Let there be a CUDA device with bfloat16 units for a while."""
    device = FakeCuda()
    with ExitStack() as stack:
        answers = {
            (torch.cuda.amp.common, "amp_definitely_not_available"): False,
            (torch.cuda, "is_bf16_supported"): True,
        }
        for (module, name), answer in answers.items():
            stack.enter_context(patch.object(module, name, return_value=answer))
        for context in (plain_autograd(), device.shapes, device):
            stack.enter_context(context)
        yield device
