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
from i2icli.losses.nce import patch_nce
from i2icli.losses.penalty import logits_with_slope, r1_penalty, unit_slope_penalty
from i2icli.losses.relation import decoupled_contrast, hardness_weights, relation_consistency
from i2icli.losses.segmentation import label_loss
from i2icli.losses.similarity import contrast_logits, map_contrast, map_distance, similarity_maps
from i2icli.networks.attention_guided import (
    AttentionNetwork,
    GuidedDiscriminator,
    GuidedGenerator,
    GuidedTranslator,
    keep_foreground,
)
from i2icli.networks.attention_to_scale import ScaleAttentionHead, resize_to_scale
from i2icli.networks.danet import DANetHead, enlarge
from i2icli.networks.heads import ProjectionHead, SimilarityHead
from i2icli.networks.munit import MultiScaleDiscriminator, StyleAutoencoder
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from i2icli.networks.taps import gather_places

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


def style_autoencoder() -> dict[str, Tensor]:
    """Encode two pictures, and decode them with each other's styles (MUNIT)."""
    network = filled(StyleAutoencoder(3, width=4, blocks=1, style_size=3, mlp_width=5))
    images = spread(2, 3, 16, 20, seed=17).requires_grad_()
    content, styles = network.encode(images)
    image = network.decode(content, styles.flip(0))
    (gradient,) = torch.autograd.grad(image.pow(2).sum(), images)
    return {"content": content, "styles": styles, "image": image, "gradient": gradient}


def multi_scale_discriminator() -> dict[str, Tensor]:
    network = filled(MultiScaleDiscriminator(3, width=4, layers=2, scales=2))
    images = spread(1, 3, 24, 21, seed=18).requires_grad_()
    logits = network(images)
    (gradient,) = torch.autograd.grad(sum(m.square().sum() for m in logits), images)
    return {"full": logits[0], "half": logits[1], "gradient": gradient}


def guided_translator(layout: str) -> dict[str, Tensor]:
    """Translate where an attention network says (attention-guided CycleGAN)."""
    network = filled(
        GuidedTranslator(
            AttentionNetwork(3, width=3, layout=layout), GuidedGenerator(3, 3, width=4, blocks=1)
        )
    )
    images = spread(1, 3, 16, 20, seed=19).requires_grad_()
    image, mask = network(images)
    (gradient,) = torch.autograd.grad(image.pow(2).sum() + mask.sum(), images)
    return {"image": image, "mask": mask, "gradient": gradient}


def guided_discriminator(*, is_normed: bool) -> dict[str, Tensor]:
    network = filled(GuidedDiscriminator(3, width=4))
    network.use_norm(is_normed)
    images = spread(1, 3, 24, 20, seed=20).requires_grad_()
    attention = (spread(1, 1, 24, 20, seed=21) + 1) / 2
    logits = network(keep_foreground(images, attention, 0.0 if is_normed else 0.1))
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    return {"logits": logits, "gradient": gradient}


def single_image_generator(*, downsamplings: int, tanh: bool) -> dict[str, Tensor]:
    network = filled(
        StyleGAN2Generator(width=1, resolution=32, downsamplings=downsamplings, blocks=2, tanh=tanh)
    )
    images = spread(2, 3, 16, 12, seed=19).requires_grad_()
    shapes = network.noise_shapes(images)
    noise = [spread(*shape, seed=20 + number) for number, shape in enumerate(shapes)]
    image, features = network(images, [0, 2, 3], noise)
    total = image.pow(2).sum() + sum(feature.sum() for feature in features)
    (gradient,) = torch.autograd.grad(total, images)
    named = {f"feature.{n}": each for n, each in zip([0, 2, 3], features, strict=True)}
    return {"image": image, **named, "gradient": gradient}


def whole_discriminator() -> dict[str, Tensor]:
    """Judge crops as a whole, and penalise the slope both ways."""
    network = filled(StyleGAN2Discriminator(width=1, resolution=32, last_side=8))
    logits, slope = logits_with_slope(spread(2, 3, 32, 32, seed=23), network)
    penalties = {"r1": r1_penalty(slope), "unit_slope": unit_slope_penalty(slope)}
    first = next(network.parameters())
    gradients = {
        f"{name}_gradient": torch.autograd.grad(penalty, first, retain_graph=True)[0]
        for name, penalty in penalties.items()
    }
    return {"logits": logits, "slope": slope, **penalties, **gradients}


def danet_head(form: str) -> dict[str, Tensor]:
    """Score features by both attentions, in training mode: the norms take the batch's own."""
    network = filled(DANetHead(8, 3, dropout=0.0, form=form))
    features = spread(2, 8, 5, 6, seed=24).requires_grad_()
    scores = network(features)
    labels = (torch.arange(2 * 10 * 12).view(2, 10, 12) * 7) % 4  # 3 is ignored
    losses = [label_loss(enlarge(part, (10, 12)), labels, ignore=3) for part in scores]
    (gradient,) = torch.autograd.grad(sum(losses), features)
    return {**scores._asdict(), "losses": torch.stack(losses), "gradient": gradient}


def scale_attention_head() -> dict[str, Tensor]:
    """Merge the scores of three sizes."""
    network = filled(ScaleAttentionHead(16, 3, 3, hidden=5, dropout=0.0))
    images = spread(1, 16, 8, 12, seed=25).requires_grad_()
    scores = network([resize_to_scale(images, scale) for scale in (1.0, 0.75, 0.5)])
    together = scores.merged_features()
    (gradient,) = torch.autograd.grad(scores.merged.square().sum() + together.sum(), images)
    named = {"merged": scores.merged, "weights": scores.weights, "features": together}
    return {**named, "gradient": gradient}


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


def patch_relations() -> dict[str, Tensor]:
    """Relations, weights and decoupled contrast of projected rows (SRC + hDCE)."""
    projector = filled(ProjectionHead([4], dim=5))
    places = torch.tensor([3, 29, 0, 14])
    source, target = (
        projector(gather_places(spread(2, 4, 5, 6, seed=seed), places), 0) for seed in (10, 11)
    )
    target = target.detach().requires_grad_()
    weights = hardness_weights(source, gamma=0.5)
    relation, contrasted = (
        relation_consistency(target, source),
        decoupled_contrast(target, source, weights),
    )
    gradients = [torch.autograd.grad(loss.sum(), target)[0] for loss in (relation, contrasted)]
    return {
        "relation": relation,
        "weights": weights,
        "contrast": contrasted,
        "relation_gradient": gradients[0],
        "contrast_gradient": gradients[1],
    }


def self_similarity(*, normalise: bool) -> dict[str, Tensor]:
    """Send three pictures' features through a head; compare and contrast what their maps are."""
    head = filled(SimilarityHead([6]))
    pictures = [(3 * spread(2, 6, 7, 9, seed=seed)).requires_grad_() for seed in (14, 15, 16)]
    places = torch.tensor([0, 22, 62, 35])
    maps = [
        similarity_maps(head([each])[0], places, patch_size=4, normalise=normalise)
        for each in pictures
    ]
    losses = {
        "cos": map_distance(maps[0], maps[1], normalise=normalise),
        "l1": map_distance(maps[0], maps[1], compare="l1", normalise=normalise),
        "contrast": map_contrast(*maps),
    }
    gradients = torch.autograd.grad(sum(losses.values()), pictures)
    named = {f"gradient.{number}": each for number, each in enumerate(gradients)}
    logits = contrast_logits(*maps, temperature=0.07)
    return {"maps": maps[0], "logits": logits, **losses, **named}


CASES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "generator, anti-aliased": lambda: generator(antialias=True),
    "generator, strided": lambda: generator(antialias=False),
    "discriminator, anti-aliased": lambda: discriminator(antialias=True),
    "discriminator, strided": lambda: discriminator(antialias=False),
    "style auto-encoder": style_autoencoder,
    "multi-scale discriminator": multi_scale_discriminator,
    "guided translator, released": lambda: guided_translator("released"),
    "guided translator, paper": lambda: guided_translator("paper"),
    "guided discriminator, with norms": lambda: guided_discriminator(is_normed=True),
    "guided discriminator, without": lambda: guided_discriminator(is_normed=False),
    "single-image generator, one halving": lambda: single_image_generator(
        downsamplings=1, tanh=False
    ),
    "single-image generator, two halvings": lambda: single_image_generator(
        downsamplings=2, tanh=True
    ),
    "discriminator of whole crops": whole_discriminator,
    "danet head, released": lambda: danet_head("released"),
    "danet head, paper": lambda: danet_head("paper"),
    "scale attention head": scale_attention_head,
    "gan losses": gan_losses,
    "patch contrast": patch_contrast,
    "patch relations": patch_relations,
    "attention, global": lambda: attention("global"),
    "attention, local, paper": lambda: attention("local", "paper"),
    "attention, local, released": lambda: attention("local", "released"),
    "attention, local-global, paper": lambda: attention("local-global", "paper"),
    "attention, local-global, released": lambda: attention("local-global", "released"),
    "self-similarity, products": lambda: self_similarity(normalise=False),
    "self-similarity, cosines": lambda: self_similarity(normalise=True),
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
