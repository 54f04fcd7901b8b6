import re
from dataclasses import dataclass

import pytest
import torch
from golden import Case, golden_cases

from i2icli.losses.attention import (
    global_entropy,
    global_rows,
    local_entropy,
    local_rows,
    route_global,
    route_local,
)
from i2icli.losses.nce import patch_nce
from i2icli.methods.shared.draws import Draws
from i2icli.networks.heads import ProjectionHead
from i2icli.networks.taps import gather_places


def build_projector(case, channels):
    weights = case.state_dict("F.")
    projector = ProjectionHead(channels, case.options["netF_nc"], use_mlp=bool(weights))
    projector.load_state_dict(weights)
    return projector


@pytest.mark.parametrize("case", golden_cases(r"patchnce_"))
def test_patch_nce_gives_the_recorded_rows_losses_and_gradients(case):
    entries = case.numbers(r"feat_q\.(\d+)")
    queries = {j: case.tensors[f"feat_q.{j}"].requires_grad_() for j in entries}
    sources = {j: case.tensors[f"feat_k.{j}"].requires_grad_() for j in entries}
    projector = build_projector(case, [queries[j].shape[1] for j in entries])
    losses = []
    for j in entries:
        places = case.tensors[f"ids.{j}"]
        pooled_q = projector(gather_places(queries[j], places), j)
        pooled_k = projector(gather_places(sources[j], places), j)
        each = patch_nce(
            pooled_q,
            pooled_k,
            temperature=case.options["nce_T"],
            batch_negatives=case.options["nce_includes_all_negatives_from_minibatch"],
        )
        case.close(pooled_q.flatten(0, 1), f"pooled_q.{j}")
        case.close(pooled_k.flatten(0, 1), f"pooled_k.{j}")
        case.close(each.flatten(), f"loss_vec.{j}")
        case.close(each.mean(), f"loss.{j}")
        losses.append(each.mean())
    total = torch.stack(losses).mean()
    case.close(total, "loss_total")
    total.backward()
    for j in entries:
        case.close(queries[j].grad, f"grad_q.{j}")
        assert sources[j].grad is None
    for name, weight in projector.named_parameters():
        case.close(weight.grad, f"gradF.{name}")


@dataclass(frozen=True)
class Selection:
    """One mode of query selection in one layout, replaying recorded choices."""

    case: Case
    layout: str

    @property
    def mode(self):
        return str(self.case.options["QS_mode"])

    @property
    def local(self):
        return {"window": self.case.options["window"], "layout": self.layout}

    def entropy(self, source):
        return (
            global_entropy(source) if self.mode == "global" else local_entropy(source, **self.local)
        )

    def rows(self, source, places):
        if self.mode == "local":
            return local_rows(source, places, **self.local)
        return global_rows(source, places)

    def route(self, rows, features, places):
        if self.mode == "local":
            return route_local(rows, features, places, **self.local)
        return route_global(rows, features)

    def has(self, name):
        return f"{self.layout}.{name}" in self.case.tensors

    def close(self, actual, name):
        """Compare with the recorded tensor; what a layout leaves out is as released."""
        own = f"{self.layout}.{name}"
        self.case.close(actual, own if own in self.case.tensors else f"released.{name}")


@pytest.mark.parametrize("case", golden_cases(r"qs_"))
def test_query_selection_gives_the_recorded_values_and_gradients(case):
    layouts = [name for name in ("released", "paper") if f"{name}.loss_total" in case.tensors]
    assert layouts, f"{case.name} records no layout"
    for layout in layouts:
        check_selection(Selection(case, layout))


def check_selection(selection):
    case = selection.case
    entries = case.numbers(r"src\.(\d+)")
    sources = {j: case.tensors[f"src.{j}"].clone().requires_grad_() for j in entries}
    targets = {j: case.tensors[f"tgt.{j}"].clone().requires_grad_() for j in entries}
    projector = build_projector(case, [sources[j].shape[1] for j in entries])
    losses = []
    for j in entries:
        if f"ids.{j}" in case.tensors:
            places = case.tensors[f"ids.{j}"]
            source, target = (gather_places(f[j], places) for f in (sources, targets))
        else:
            source, target = attend(selection, sources[j], targets[j], j)
        pooled_src, pooled_tgt = projector(source, j), projector(target, j)
        each = patch_nce(pooled_tgt, pooled_src, temperature=case.options["nce_T"])
        selection.close(pooled_src.flatten(0, 1), f"pooled_src.{j}")
        selection.close(pooled_tgt.flatten(0, 1), f"pooled_tgt.{j}")
        selection.close(each.flatten(), f"loss_vec.{j}")
        losses.append(each.mean())
    total = torch.stack(losses).mean()
    selection.close(total, "loss_total")
    total.backward()
    check_gradients(selection, sources, targets, projector)


def attend(selection, source, target, j):
    """Check entropy, choice and rows of one entry, and route both features by the rows."""
    places = selection.case.tensors[f"{selection.layout}.index.{j}"]
    entropy = selection.entropy(source)
    assert not entropy.requires_grad
    selection.close(entropy, f"entropy.{j}")
    check_choice(selection, entropy, places)
    rows = selection.rows(source, places)
    selection.close(rows, f"rows.{j}")
    return selection.route(rows, source, places), selection.route(rows, target, places)


def check_choice(selection, entropy, recorded):
    """Assert that our choice is the recorded one but for entropies that tie."""
    rule = re.search(r"tie within ([0-9.e+-]+)", selection.case.tolerance["indices"])
    tie = float(rule[1]) if rule else 0.0
    count = min(selection.case.options["num_patches"], entropy.shape[1])
    chosen = Draws().lowest("", entropy, count=count)
    assert chosen.shape == recorded.shape
    # of equal rank: the same place, or one whose entropy ties
    apart = (entropy.gather(1, chosen) - entropy.gather(1, recorded)).abs()
    assert ((chosen == recorded) | (apart <= tie)).all()
    # within a tie each place still stands once
    assert all(row.unique().numel() == count for row in chosen)


def check_gradients(selection, sources, targets, projector):
    for j, target in targets.items():
        selection.close(target.grad, f"grad_tgt.{j}")
        if selection.has(f"grad_src.{j}"):
            selection.close(sources[j].grad, f"grad_src.{j}")
        else:
            assert sources[j].grad is None  # random patches: the source is constant
    for name, weight in projector.named_parameters():
        if selection.has(f"gradF.{name}"):
            selection.close(weight.grad, f"gradF.{name}")
