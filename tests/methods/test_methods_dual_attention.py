import pytest
import torch
from tiny import batch_for, tiny_method


@pytest.mark.parametrize("name", ["cut", "cyclegan"])
def test_attention_is_trained_with_its_generator(name):
    method = tiny_method(name, generator={"width": 4, "blocks": 2, "attention": "dual"})
    gammas = {key: w for key, w in method.named_parameters() if key.endswith("gamma")}
    assert gammas
    assert all(float(gamma.detach()) == 0 for gamma in gammas.values())
    for player, terms in method.losses(batch_for(name)):
        weights = method.players[player].trainable()
        gradients = torch.autograd.grad(sum(terms.values()), weights)
        assert all(gradient.isfinite().all() for gradient in gradients)
        by_weight = {id(w): g for w, g in zip(weights, gradients, strict=True)}
        if player == "generator":
            assert all(float(by_weight[id(gamma)].abs()) > 0 for gamma in gammas.values())
