"""Our own reference numbers: what is computed, from inputs given by a formula, in float64.

They were recorded once the implementations agreed with the released codes, so that the project
proves itself where those recordings are not at hand. To record anew, after a change that is meant
to move them: `python tests/reference/reference_cases.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from i2icli.losses.attention import (
    global_entropy,
    global_rows,
    local_entropy,
    local_rows,
    route_global,
    route_local,
)
from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss
from i2icli.losses.nce import gather_places, patch_nce
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.projector import ProjectionHead
from i2icli.networks.resnet import ResnetGenerator

FILE = Path(__file__).with_name("numbers.json")
SAMPLES = 6
DTYPE = torch.float64


def spread(*shape: int, seed: int) -> Tensor:
    """Return numbers in [-1, 1) from an integer formula, the same on every machine."""
    place = torch.arange(math.prod(shape), dtype=torch.int64)
    mixed = (place * place * 48271 + place * 69621 + seed * 16807 + 12345) % 65537
    return (mixed.to(torch.float64) / 65537 * 2 - 1).to(DTYPE).view(shape)


def filled(network: nn.Module) -> nn.Module:
    """Give every weight of `network` numbers by the formula."""
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            scale = math.sqrt(3 / max(1, weight[0].numel())) if weight.dim() > 1 else 0.1
            weight.copy_(scale * spread(*weight.shape, seed=number))
    return network.to(DTYPE)


def generator(*, antialias: bool) -> dict[str, Tensor]:
    network = filled(
        ResnetGenerator(width=4, blocks=2, antialias_down=antialias, antialias_up=antialias)
    )
    layers = [0, 4, 8, 10, 13]
    images = spread(2, 3, 16, 12, seed=7).requires_grad_()
    image, features = network(images, layers)
    named = {f"feature.{n}": feature for n, feature in zip(layers, features, strict=True)}
    total = image.pow(2).sum() + sum(gather_places(f, torch.tensor([1, 5])).sum() for f in features)
    (gradient,) = torch.autograd.grad(total, images)
    return {"image": image, **named, "gradient": gradient}


def discriminator(*, antialias: bool) -> dict[str, Tensor]:
    network = filled(PatchDiscriminator(width=4, layers=2, antialias=antialias))
    images = spread(1, 3, 24, 20, seed=8).requires_grad_()
    logits = network(images)
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    return {"logits": logits, "gradient": gradient}


def gan_losses() -> dict[str, Tensor]:
    logits = 2 * spread(2, 1, 3, 4, seed=9)
    terms = {}
    for mode in ("lsgan", "vanilla", "hinge", "nonsaturating", "wgangp"):
        terms[f"{mode}.real"] = discriminator_gan_loss(logits, is_real=True, mode=mode)
        terms[f"{mode}.fake"] = discriminator_gan_loss(logits, is_real=False, mode=mode)
        terms[f"{mode}.generator"] = generator_gan_loss(logits, mode=mode)
    return terms


def contrast(source: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Project source and target rows, contrast them, and return losses and vectors."""
    projector = filled(ProjectionHead([source.shape[-1]], dim=5))
    keys, queries = projector(source, 0), projector(target, 0)
    return {
        "keys": keys,
        "loss": patch_nce(queries, keys),
        "loss_batch": patch_nce(queries, keys, batch_negatives=True),
    }


def patch_contrast() -> dict[str, Tensor]:
    source, target = spread(2, 4, 5, 6, seed=10), spread(2, 4, 5, 6, seed=11)
    places = torch.tensor([3, 29, 0, 14])
    return contrast(gather_places(source, places), gather_places(target, places))


def attention(mode: str, layout: str = "paper") -> dict[str, Tensor]:
    """Select the six places of lowest entropy, route both features by the rows, contrast."""
    source = (2 * spread(2, 4, 8, 9, seed=12)).requires_grad_()
    target = (2 * spread(2, 4, 8, 9, seed=13)).requires_grad_()
    entropy = global_entropy(source) if mode == "global" else local_entropy(source, layout=layout)
    places = entropy.argsort(dim=1, stable=True)[:, :6]
    if mode == "local":
        rows = local_rows(source, places, layout=layout)
        routed = [route_local(rows, f, places, layout=layout) for f in (source, target)]
    else:
        rows = global_rows(source, places)
        routed = [route_global(rows, f) for f in (source, target)]
    results = contrast(*routed)
    gradients = torch.autograd.grad(results["loss"].sum(), (source, target))
    return {
        "entropy": entropy,
        "places": places.to(DTYPE),
        "rows": rows,
        **results,
        **dict(zip(("source_gradient", "target_gradient"), gradients, strict=True)),
    }


CASES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "generator, anti-aliased": lambda: generator(antialias=True),
    "generator, strided": lambda: generator(antialias=False),
    "discriminator, anti-aliased": lambda: discriminator(antialias=True),
    "discriminator, strided": lambda: discriminator(antialias=False),
    "gan losses": gan_losses,
    "patch contrast": patch_contrast,
    "attention, global": lambda: attention("global"),
    "attention, local, paper": lambda: attention("local", "paper"),
    "attention, local, released": lambda: attention("local", "released"),
    "attention, local-global, paper": lambda: attention("local-global", "paper"),
    "attention, local-global, released": lambda: attention("local-global", "released"),
}


def digest(tensor: Tensor) -> list[float]:
    """Return a few entries spread over `tensor`, and its mean and root mean square."""
    flat = tensor.detach().flatten()
    step = max(1, flat.numel() // SAMPLES)
    numbers = [*flat[::step][:SAMPLES], flat.mean(), flat.square().mean().sqrt()]
    return [float(f"{number.item():.12g}") for number in numbers]


def compute(name: str) -> dict[str, list[float]]:
    """Return the digests of one case."""
    return {key: digest(tensor) for key, tensor in CASES[name]().items()}


if __name__ == "__main__":
    lines = [
        f"  {json.dumps(name)}: {json.dumps(compute(name), separators=(',', ':'))}"
        for name in CASES
    ]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")
