import pytest
import torch
from golden import golden_cases

from i2icli.config.schedule import LinearSchedule
from i2icli.losses.relation import decoupled_contrast, hardness_weights, relation_consistency
from i2icli.methods.src_hdce import SRCConfig


def _gamma(case):
    """Return our gamma under the recorded options."""
    options = case.options
    config = SRCConfig(
        gamma=options["HDCE_gamma"],
        gamma_last=options["HDCE_gamma_min"],
        gamma_drop_after=options["step_gamma_epoch"] if options["step_gamma"] else None,
        schedule=LinearSchedule(epochs=options["n_epochs"], epochs_decay=options["n_epochs_decay"]),
    )
    return config.gamma_in(options["epoch"] or 1)


@pytest.mark.parametrize("case", golden_cases(r"src_hdce_"))
def test_relations_and_decoupled_contrast_give_the_recorded_values_and_gradients(case):
    gamma = _gamma(case)
    assert gamma == pytest.approx(case.options["effective_gamma"])
    queries = case.tensors["feat_q"][None].requires_grad_()
    keys = case.tensors["feat_k"][None].requires_grad_()

    relation = relation_consistency(queries, keys)
    case.close(relation[0], "loss_src")
    (gradient,) = torch.autograd.grad(relation.sum(), queries)
    case.close(gradient[0], "grad_src_q")

    weights = hardness_weights(keys, gamma=gamma)
    apart = ~torch.eye(weights.shape[1], dtype=torch.bool)
    case.close_to(weights[:, apart], case.tensors["weight"][:, apart], "weight")

    for prefix, given in (("hdce", weights), ("dce_noweight", None)):
        each = decoupled_contrast(queries, keys, given, temperature=case.options["nce_T"])
        case.close(each[0], f"{prefix}_loss_vec")
        gradients = torch.autograd.grad(each.mean(), (queries, keys), allow_unused=True)
        case.close(gradients[0][0], f"{prefix}_grad_q")
        assert gradients[1] is None
