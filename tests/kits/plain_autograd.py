"""Backward passes node by node from Python.

PyTorch's own engine asks a GPU for its streams, so it cannot go back through fake CUDA tensors on a
machine that has none. This one runs the same nodes on the same gradients; hooks are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

Edge = tuple[Any, int]


@contextmanager
def plain_autograd() -> Iterator[None]:
    """Let `torch.autograd` go back through graphs from Python for a while."""
    with (
        patch.object(torch.autograd, "backward", _backward),
        patch.object(torch.autograd, "grad", _grad),
    ):
        yield


def _backward(root: Tensor, *, inputs: Sequence[Tensor] | None = None) -> None:
    leaves = None if inputs is None else [_edge(leaf)[0] for leaf in inputs]
    with torch.no_grad():
        for (node, _), gradient in _gradients(root, leaves).items():
            node(gradient)  # adds it to the weight's


def _grad(
    root: Tensor, inputs: Tensor | Sequence[Tensor], *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    edges = [_edge(each) for each in ([inputs] if isinstance(inputs, Tensor) else inputs)]
    with torch.set_grad_enabled(create_graph):
        found = _gradients(root, [node for node, _ in edges])
    return tuple(found[edge] for edge in edges)


def _edge(tensor: Tensor) -> Edge:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def _gradients(root: Tensor, wanted: Sequence[Any] | None) -> dict[Edge, Tensor]:
    """Return the gradients of a scalar that reach the `wanted` nodes; None: all leaves."""
    start = _edge(root)
    order = _in_order(start[0])
    ends = {n for n in order if not n.next_functions} if wanted is None else {*wanted}
    leading: set[Any] = set()  # the nodes from which an end is reached
    for node in reversed(order):
        if node in ends or any(after in leading for after, _ in node.next_functions):
            leading.add(node)
    held: dict[Edge, Tensor] = {start: torch.ones_like(root)}
    for node in order:
        count = len(node._input_metadata)
        given = [held.get((node, number)) for number in range(count)]
        if node in ends or node not in leading or not any(g is not None for g in given):
            continue
        for edge, gradient in zip(node.next_functions, _run(node, given), strict=True):
            if gradient is not None and edge[0] in leading:
                fitting = _fit(gradient, edge)
                held[edge] = held[edge] + fitting if edge in held else fitting
    return {edge: gradient for edge, gradient in held.items() if edge[0] in ends}


def _in_order(start: Any) -> list[Any]:
    """Return all nodes of a graph, each before those that its gradients go to."""
    pending = Counter({start: 0})
    found = [start]
    for node in found:
        for after, _ in node.next_functions:
            if after is not None:
                if after not in pending:
                    found.append(after)
                pending[after] += 1
    order = [start]
    for node in order:
        for after, _ in node.next_functions:
            if after is not None:
                pending[after] -= 1
                if pending[after] == 0:
                    order.append(after)
    return order


def _run(node: Any, given: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    if not isinstance(node, torch.autograd.function.BackwardCFunction):
        out = node(*given)
    else:
        shapes = node._input_metadata
        out = node.apply(
            *(
                torch.zeros(m.shape, dtype=m.dtype, device=m.device) if g is None else g
                for g, m in zip(given, shapes, strict=True)
            )
        )
    out = out if isinstance(out, tuple) else (out,)
    # Arguments that are no tensors come last; a function of Python answers None for them.
    count = len(node.next_functions)
    assert all(each is None for each in out[count:]), "a tensor may follow what is none"
    return out[:count]


def _fit(gradient: Tensor, edge: Edge) -> Tensor:
    wanted = edge[0]._input_metadata[edge[1]]
    if gradient.shape != wanted.shape:
        gradient = gradient.sum_to_size(wanted.shape)
    return gradient.to(wanted.dtype)
