"""What `viz-attention` draws against the released code: entropies, selected places and rows."""

from __future__ import annotations

import torch
from golden import Case
from replay import NETWORKS, build_recorded
from torch import Tensor

from i2icli.methods.shared.views import AttentionView


def _views(case: Case) -> list[list[AttentionView]]:
    """Look at the pictures of the first step with the weights that it began with."""
    method = build_recorded(case.options, case.tensors["A"].shape[-1])
    for official, ours in NETWORKS["contrastive"].items():
        method.get_submodule(ours).load_state_dict(case.state_dict(f"init.{official}."))
    return method.double().eval().views(case.tensors["A"][0].double())


def _check(view: AttentionView, case: Case, position: int, picture: int) -> None:
    near = {"rtol": 1e-3, "atol": case.tolerance["images"]["atol_step0"]}
    entropy = case.tensors[f"step0.nce.entropy.{position}"][picture]
    torch.testing.assert_close(view.entropy.flatten(), entropy, check_dtype=False, **near)
    places = case.tensors[f"step0.nce.ids.{position}"][picture]
    assert view.places.shape == places.shape
    # the same place at every rank, or one of the same entropy
    apart = (entropy[view.places] - entropy[places]).abs()
    assert bool(((view.places == places) | (apart <= 1e-5)).all())
    recorded = case.tensors[f"step0.nce.rows.{position}"]
    pictures = len(case.tensors["A"][0])
    rows = view.map_rows if view.has_map else view.window_rows
    ours: Tensor = rows("source", places).flatten(1)
    theirs = recorded.reshape(pictures, len(places), -1)[picture]
    torch.testing.assert_close(ours, theirs, check_dtype=False, **near)


def check_views(case: Case) -> None:
    """Compare the views of the first step with the recorded numbers; none for other methods."""
    positions = case.numbers(r"step0\.nce\.entropy\.(\d+)")
    for picture, views in enumerate(_views(case) if positions else []):
        assert len(views) == len(positions)
        for position, view in zip(positions, views, strict=True):
            _check(view, case, position, picture)
