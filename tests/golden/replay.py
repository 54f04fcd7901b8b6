"""A method built from the options of a recorded trajectory, and its recorded choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from i2icli.methods import Method, build_method
from i2icli.methods.shared.configure import run_schema
from i2icli.methods.shared.draws import Draws

NETWORKS = {
    "contrastive": {"G": "generator", "D": "discriminator", "F": "projector"},
    "cyclegan": {
        "G_A": "generator_ab",
        "G_B": "generator_ba",
        "D_A": "discriminator_b",
        "D_B": "discriminator_a",
    },
}
_POOLS = {"pool.fake_b": "pool.fake_B_pool", "pool.fake_a": "pool.fake_A_pool"}
_CONTRASTS = {"nce": "nce", "nce_identity": "nce_y"}


class ReplayDraws(Draws):
    """Returns recorded choices; `step` says of which training step."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tensors = tensors
        self.step = 0
        self.scores: dict[str, Tensor] = {}
        self._swaps: dict[tuple[int, str], list[int]] = {}

    def places(self, name: str, *, count: int, total: int) -> Tensor:
        recorded = self.tensors[self._ids(name)]
        assert len(recorded) == min(count, total)
        return recorded

    def lowest(self, name: str, scores: Tensor, *, count: int) -> Tensor:
        recorded = self.tensors[self._ids(name)]
        assert recorded.shape == (len(scores), min(count, scores.shape[1]))
        self.scores[f"step{self.step}.{name}"] = scores
        return recorded

    def flip(self, name: str) -> bool:
        return bool(self.tensors["flip"][self.step])

    def swap(self, name: str, *, size: int) -> int | None:
        key = (self.step, name)
        if key not in self._swaps:
            recorded = self.tensors[_POOLS[name]][self.step].tolist()
            # -2: the pool was not full, so that nothing was drawn for that picture.
            self._swaps[key] = [slot for slot in recorded if slot != -2]
        slot = self._swaps[key].pop(0)
        assert slot < size
        return None if slot == -1 else slot

    def _ids(self, name: str) -> str:
        contrast, layer = name.rsplit(".", 1)
        return f"step{self.step}.{_CONTRASTS[contrast]}.ids.{layer}"


def build_recorded(options: Mapping[str, Any], size: int) -> Method:
    """Build the method that `options` of a released trajectory describe.

    Args:
        options: options by the names of the released code.
        size: side of the training crops, pixels.
    """
    document = _cyclegan(options) if "lambda_A" in options else _contrastive(options)
    document |= {
        "generator": {
            "width": options["ngf"],
            "blocks": int(options["netG"].removeprefix("resnet_").removesuffix("blocks")),
            "antialias_down": not options["no_antialias"],
            "antialias_up": not options["no_antialias_up"],
            "norm": options["normG"],
            "dropout": not options["no_dropout"],
        },
        "discriminator": {
            "width": options["ndf"],
            # "basic" always has three layers, whatever n_layers_D says.
            "layers": 3 if options["netD"] == "basic" else options["n_layers_D"],
            "antialias": not options["no_antialias"],
            "norm": options["normD"],
        },
        "gan_mode": options["gan_mode"],
        "optimizer": {
            "lr": options["lr"],
            "beta1": options["beta1"],
            "beta2": options.get("beta2", 0.999),
        },
    }
    data = {"resize": size, "crop": size, "batch_size": options["batch_size"]}
    return build_method(run_schema().model_validate({"method": document, "data": data}))


def _cyclegan(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "cyclegan",
        "lambda_a": options["lambda_A"],
        "lambda_b": options["lambda_B"],
        "lambda_identity": options["lambda_identity"],
        "pool_size": options["pool_size"],
    }


def _contrastive(options: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": "cut",
        "lambda_gan": options["lambda_GAN"],
        "lambda_nce": options["lambda_NCE"],
        "nce_identity": options["nce_idt"],
        "nce_layers": [int(layer) for layer in options["nce_layers"].split(",")],
        "num_patches": options["num_patches"],
        "temperature": options["nce_T"],
        "projection": "mlp" if options["netF"] == "mlp_sample" else "none",
        "flip_equivariance": options["flip_equivariance"],
        "batch_negatives": options.get("nce_includes_all_negatives_from_minibatch", False),
    }
    if options["netF_nc"]:
        document["projection_dim"] = options["netF_nc"]
    if "QS_mode" in options:
        document |= {
            "name": "qs-attn",
            "selection": options["QS_mode"].replace("_", "-"),
            "layout": "released",
        }
    return document


def reported_losses(method: Method, terms: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """Return a step's terms under the names and weights that the released code reports."""
    if "generators" in terms:
        return _cyclegan_losses(terms)
    judged, made = terms["discriminator"], terms["generator"]
    halves = 2.0 if method.config.nce_identity else 1.0
    total_g, total_d = sum(made.values()), sum(judged.values())
    reported = {
        "G_GAN": made.get("gan", 0.0),
        "NCE": halves * made.get("nce", 0.0),
        "NCE_Y": halves * made.get("nce_identity", 0.0),
        "G": total_g,
        "D_fake": 2.0 * judged["fake"],
        "D_real": 2.0 * judged["real"],
        "D": total_d,
    }
    return {name: float(value) for name, value in reported.items()}


def _cyclegan_losses(terms: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    made, judged = terms["generators"], terms["discriminators"]
    reported = {
        "G_A": made["gan_a2b"],
        "G_B": made["gan_b2a"],
        "cycle_A": made["cycle_a"],
        "cycle_B": made["cycle_b"],
        "idt_A": made.get("idt_b", 0.0),
        "idt_B": made.get("idt_a", 0.0),
        "G": sum(made.values()),
        "D_A": judged["b_real"] + judged["b_fake"],
        "D_B": judged["a_real"] + judged["a_fake"],
    }
    return {name: float(value) for name, value in reported.items()}


def translated_images(method: Method, batch: Any, *, flipped: bool) -> dict[str, Tensor]:
    """Return the pictures that the released code makes at the start of a step."""
    real_a, real_b = (
        images.flip(-1) if flipped else images for images in (batch.real_a, batch.real_b)
    )
    with torch.no_grad():
        images = {"fake_B": method.translate(real_a).images}
        if "b2a" in method.directions:
            images["fake_A"] = method.translate(real_b, direction="b2a").images
        else:
            images["idt_B"] = method.translate(real_b).images
    return images
