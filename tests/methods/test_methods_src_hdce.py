from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from tiny import tiny_batch, tiny_method

from i2icli.data.batch import Batch
from i2icli.methods import configure_run
from i2icli.methods.shared.draws import Draws
from i2icli.methods.src_hdce import SRCConfig


class _Fixed(Draws):
    """Counts the sets of places that are drawn, and draws the same for every batch."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def places(self, name, *, count, total):
        self.counts[name] += 1
        return torch.arange(min(count, total)) * 7 % total


def _method(**changes):
    method = tiny_method("src-hdce", **changes)
    method.draws = _Fixed()
    return method


def _terms(method, batch):
    terms = dict(method.losses(batch))["generator"]
    return {name: float(value.detach()) for name, value in terms.items()}


def test_one_set_of_places_a_layer_serves_source_translation_and_identity():
    method = _method()
    assert set(_terms(method, tiny_batch())) == {"gan", "nce", "nce_identity", "relation"}
    assert method.draws.counts == {f"nce.{layer}": 1 for layer in range(5)}


def test_a_batch_of_two_is_the_mean_of_its_pictures():
    method, batch = _method(gamma=1.0, gamma_last=1.0), tiny_batch(count=2)
    together = _terms(method, batch)
    single = [
        _terms(method, Batch(batch.real_a[i : i + 1], batch.real_b[i : i + 1])) for i in range(2)
    ]
    for name in ("nce", "nce_identity", "relation"):
        assert together[name] == pytest.approx(sum(one[name] for one in single) / 2, rel=1e-4)


@torch.no_grad()
def test_terms_are_the_papers_formulas_in_float64():
    method, batch = _method(gamma=1.0, gamma_last=1.0, nce_identity=False), tiny_batch()
    method.double()
    batch = Batch(batch.real_a.double(), batch.real_b.double())
    found = _terms(method, batch)
    expected = Counter()
    layers = method.config.nce_layers
    translated, sources = method.generator(batch.real_a, layers)
    queries = method.generator.encode(translated, layers)
    for layer, (query, source) in enumerate(zip(queries, sources, strict=True)):
        total = query[0, 0].numel()
        where = torch.arange(min(16, total)) * 7 % total
        for picture in range(2):
            q, k = (
                method.projector(maps[picture].flatten(1).T[where], layer)
                for maps in (query, source)
            )
            unit = [rows / (rows.norm(dim=1, keepdim=True) + 1e-7) for rows in (q, k)]
            p, r = (torch.softmax(rows @ rows.T, dim=1) for rows in unit)
            m = (p + r) / 2
            expected["relation"] += float((p * (p / m).log() + r * (r / m).log()).sum()) / 2
            for i in range(len(where)):
                others = [j for j in range(len(where)) if j != i]
                similar = torch.stack([unit[1][i] @ unit[1][j] for j in others])
                weights = (similar - similar.max()).exp()
                cosines = torch.stack([q[i] @ k[j] for j in others])
                logits = torch.cat([(q[i] @ k[i])[None], weights * cosines]) / 0.07
                expected["nce"] += float(logits.logsumexp(dim=0) - logits[0]) / len(where)
    pairs = 2 * len(layers)
    assert found["relation"] == pytest.approx(0.05 * expected["relation"] / pairs, rel=1e-5)
    assert found["nce"] == pytest.approx(0.1 * expected["nce"] / pairs, rel=1e-9)


def test_batch_negatives_contrast_with_the_other_pictures_too():
    alone, shared = _method(), _method(batch_negatives=True)
    shared.load_state_dict(alone.state_dict())
    batch = tiny_batch(count=2)
    assert _terms(shared, batch)["nce"] > _terms(alone, batch)["nce"]


def test_relation_stays_when_the_contrast_is_off_and_goes_with_its_weight():
    assert set(_terms(_method(lambda_nce=0.0), tiny_batch())) == {"gan", "relation"}
    assert "relation" not in _terms(_method(lambda_src=0.0), tiny_batch())
    assert set(_terms(_method(lambda_nce=0.0, lambda_src=0.0), tiny_batch())) == {"gan"}


def test_the_source_gets_no_gradient():
    method = _method()
    source = torch.rand(1, 3, 16, 16, requires_grad=True)
    query = torch.rand(1, 3, 16, 16, requires_grad=True)
    layers = ([query], [source], *method.draw_places({"nce": [source]}))
    sum(method.contrast_terms({"nce": layers}).values()).backward()
    assert source.grad is None
    assert query.grad.abs().sum() > 0


def test_weights_follow_the_epoch():
    method, batch = _method(gamma=50.0, gamma_last=0.5), tiny_batch()
    first = _terms(method, batch)
    method.start_epoch(400)
    last = _terms(method, batch)
    assert last["nce"] != first["nce"]
    assert last["relation"] == pytest.approx(first["relation"])
    # a negative that weighs less stands out less
    unweighted = _method(hard_negatives=False)
    unweighted.load_state_dict(method.state_dict())
    assert _terms(unweighted, batch)["nce"] != last["nce"]


def test_gamma_falls_linearly_over_the_schedule_and_may_drop_to_one():
    config = SRCConfig()
    assert config.gamma_in(100) == pytest.approx(40.0)
    assert config.gamma_in(400) == config.gamma_in(500) == pytest.approx(10.0)
    dropped = SRCConfig(gamma_drop_after=200)
    assert dropped.gamma_in(200) == pytest.approx(30.0)
    assert dropped.gamma_in(201) == 1.0


def test_gamma_that_falls_needs_a_schedule_of_epochs():
    schedule = {"policy": "iterations", "steps": 10, "every_steps": 5, "gamma": 0.5}
    with pytest.raises(ValidationError, match=r"set method\.gamma_last=50"):
        SRCConfig.model_validate({"schedule": schedule})
    constant = SRCConfig.model_validate({"schedule": schedule, "gamma_last": 50.0})
    assert constant.gamma_in(9) == 50.0


def test_presets_are_the_released_commands():
    horse = configure_run("src-hdce").method
    city = configure_run("src-hdce-cityscapes")
    assert (horse.lambda_nce, horse.lambda_src) == (0.1, 0.05)
    assert (horse.gamma, horse.gamma_last) == (50.0, 10.0)
    assert (city.method.lambda_nce, city.method.lambda_src) == (0.1, 0.1)
    assert city.method.gamma_drop_after == 200
    assert city.data.direction == "b2a"
