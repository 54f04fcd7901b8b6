import pytest
import torch
from golden import golden_cases

from i2icli.losses.similarity import (
    contrast_logits,
    map_contrast,
    map_distance,
    mask_maps,
    similarity_maps,
)
from i2icli.networks.heads import SimilarityHead


def maps_of(case, features, *, normalise, layout):
    return similarity_maps(
        features,
        case.tensors["ids"],
        patch_size=case.options["patch_size"],
        normalise=normalise,
        layout=layout,
    )


@pytest.mark.parametrize("case", golden_cases(r"lsesim_fixed_"))
def test_fixed_self_similarity_gives_the_recorded_maps_losses_and_gradients(case):
    for kind in ("norm", "nonorm"):
        check_fixed(case, kind, "released", f"{kind}.")
        own = f"correct.{kind}."
        # Where nothing of its own is recorded, both layouts are one.
        check_fixed(case, kind, "paper", own if case.state_dict(own) else f"{kind}.")


def check_fixed(case, kind, layout, prefix):
    is_normalised = kind == "norm"
    source = case.tensors["src"].clone().requires_grad_()
    target = case.tensors["tgt"].clone().requires_grad_()
    maps = {
        side: maps_of(case, features, normalise=is_normalised, layout=layout)
        for side, features in (("src", source), ("tgt", target))
    }
    recorded = case.state_dict(prefix)
    seen = {f"sim_{side}": each for side, each in maps.items()}
    seen |= dict(
        zip(("masked_src", "masked_tgt"), mask_maps(maps["src"], maps["tgt"]), strict=True)
    )
    for compare in ("cos", "l1"):
        loss = map_distance(maps["src"], maps["tgt"], compare=compare, normalise=is_normalised)
        gradients = torch.autograd.grad(loss, (source, target), retain_graph=True)
        seen[f"loss_{compare}"] = loss
        seen[f"grad_src_{compare}"], seen[f"grad_tgt_{compare}"] = gradients
    assert recorded.keys() <= seen.keys()
    for name in recorded:
        case.close(seen[name], f"{prefix}{name}")


@pytest.mark.parametrize("case", golden_cases(r"lsesim_learned_"))
def test_the_learned_head_gives_the_recorded_logits_losses_and_gradients(case):
    is_normalised = case.options["use_norm"]
    sides = [side for side in ("src", "tgt", "other") if side in case.tensors]
    features = {side: case.tensors[side].clone().requires_grad_() for side in sides}
    head = SimilarityHead([case.tensors["src"].shape[1]])
    head.load_state_dict(case.state_dict("F."))
    maps = {
        side: maps_of(case, head([each])[0], normalise=is_normalised, layout="paper")
        for side, each in features.items()
    }
    seen = {f"sim_{side}": each for side, each in maps.items()}
    if case.options["loss"] == "contrastive":
        temperature = case.options["T"]
        seen["logits"] = contrast_logits(*maps.values(), temperature=temperature).flatten(0, 1)
        seen["labels"] = torch.arange(seen["logits"].shape[1] // 3).repeat(case.options["batch"])
        seen["loss"] = map_contrast(*maps.values(), temperature=temperature)
    else:
        seen["loss"] = map_distance(
            maps["src"], maps["tgt"], compare=case.options["loss"], normalise=is_normalised
        )
    seen["loss"].backward()
    seen |= {f"grad_{side}": each.grad for side, each in features.items()}
    seen |= {f"gradF.{name}": weight.grad for name, weight in head.named_parameters()}
    given = {"ids", *sides}
    recorded = {name for name in case.tensors if not name.startswith("F.")} - given
    assert recorded == seen.keys()
    for name in sorted(recorded):
        case.close(seen[name], name)
