"""MUNIT once more, with plain tensors: networks, losses, optimizer, from the paper's equations.

Weights are dictionaries by the released names. Sizes are those of the tiny configuration: two
residual blocks, two scales of two layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tiny import TinyVGG
from torch import Tensor
from torch.nn import functional as F

from i2icli.methods import Method

Weights = Mapping[str, Tensor]


# The networks, from the paper's description alone: weights in, tensors out.


def conv(x: Tensor, weights: Weights, name: str, *, stride: int = 1, padding: int = 0) -> Tensor:
    padded = F.pad(x, (padding,) * 4, mode="reflect")
    return F.conv2d(padded, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=stride)


def standard(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    return centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


def content_of(x: Tensor, w: Weights) -> Tensor:
    for number, (stride, padding) in enumerate([(1, 3), (2, 1), (2, 1)]):
        name = f"enc_content.model.{number}.conv"
        x = standard(conv(x, w, name, stride=stride, padding=padding)).relu()
    for block in range(2):
        name = f"enc_content.model.3.model.{block}.model"
        inner = standard(conv(x, w, f"{name}.0.conv", padding=1)).relu()
        x = x + standard(conv(inner, w, f"{name}.1.conv", padding=1))
    return x


def style_of(x: Tensor, w: Weights) -> Tensor:
    for number in range(5):
        name = f"enc_style.model.{number}.conv"
        stride, padding = (2, 1) if number else (1, 3)
        x = conv(x, w, name, stride=stride, padding=padding).relu()
    return conv(x.mean(dim=(2, 3), keepdim=True), w, "enc_style.model.6")[:, :, 0, 0]


def decoded(content: Tensor, style: Tensor, w: Weights) -> Tensor:
    hidden = style
    for layer in range(3):
        name = f"mlp.model.{layer}.fc"
        hidden = hidden @ w[f"{name}.weight"].T + w[f"{name}.bias"]
        hidden = hidden.relu() if layer < 2 else hidden
    x, channels = content, content.shape[1]

    def adapted(x: Tensor, norm: int) -> Tensor:
        mean, deviation = hidden[:, 2 * norm * channels :][:, : 2 * channels].chunk(2, dim=1)
        return standard(x) * deviation[..., None, None] + mean[..., None, None]

    for block in range(2):
        name = f"dec.model.0.model.{block}.model"
        inner = adapted(conv(x, w, f"{name}.0.conv", padding=1), 2 * block).relu()
        x = x + adapted(conv(inner, w, f"{name}.1.conv", padding=1), 2 * block + 1)
    for name in ("dec.model.2", "dec.model.4"):
        x = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), w, f"{name}.conv", padding=2)
        centred = x - x.mean(dim=(1, 2, 3), keepdim=True)
        variance = centred.square().sum(dim=(1, 2, 3), keepdim=True) / (x[0].numel() - 1)
        gamma, beta = (w[f"{name}.norm.{part}"][:, None, None] for part in ("gamma", "beta"))
        x = (centred / (variance.sqrt() + 1e-5) * gamma + beta).relu()
    return conv(x, w, "dec.model.5.conv", padding=3).tanh()


def judged(x: Tensor, w: Weights) -> list[Tensor]:
    maps = []
    for scale in range(2):
        y = x
        for layer in range(2):
            y = F.leaky_relu(
                conv(y, w, f"cnns.{scale}.{layer}.conv", stride=2, padding=1), negative_slope=0.2
            )
        maps.append(conv(y, w, f"cnns.{scale}.2"))
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    return maps


# The losses, from equations 1 to 5 and the released weighting.


def judges_terms(
    real: Mapping[str, Tensor], style: Mapping[str, Tensor], w: Mapping[str, Weights], config: Any
) -> dict[str, Tensor]:
    terms = {}
    for source, to in (("a", "b"), ("b", "a")):
        content = content_of(real[source], w[f"generator_{source}"])
        fake = decoded(content, style[to], w[f"generator_{to}"]).detach()
        for kind, images, label in (("real", real[to], 1.0), ("fake", fake, 0.0)):
            maps = judged(images, w[f"discriminator_{to}"])
            terms[f"{to}_{kind}"] = config.lambda_gan * sum((m - label).pow(2).mean() for m in maps)
    return terms


def coders_terms(
    real: Mapping[str, Tensor],
    style: Mapping[str, Tensor],
    w: Mapping[str, Weights],
    config: Any,
    vgg: TinyVGG,
) -> dict[str, Tensor]:
    terms = {}
    for source, to in (("a", "b"), ("b", "a")):
        mine, other = w[f"generator_{source}"], w[f"generator_{to}"]
        content, own_style = content_of(real[source], mine), style_of(real[source], mine)
        fake = decoded(content, style[to], other)
        again = content_of(fake, other)
        maps = judged(fake, w[f"discriminator_{to}"])
        features = [standard(vgg(x, ["relu5_3"])[0]) for x in (fake, real[source])]
        terms |= {
            f"gan_{source}2{to}": config.lambda_gan * sum((m - 1).pow(2).mean() for m in maps),
            f"image_{source}": config.lambda_image
            * (decoded(content, own_style, mine) - real[source]).abs().mean(),
            f"content_{source}": config.lambda_content * (again - content).abs().mean(),
            f"style_{to}": config.lambda_style * (style_of(fake, other) - style[to]).abs().mean(),
            f"cycle_{source}": config.lambda_cycle
            * (decoded(again, own_style, mine) - real[source]).abs().mean(),
            f"perceptual_{source}2{to}": config.lambda_perceptual
            * (features[0] - features[1]).pow(2).mean(),
        }
    return terms


class PlainAdam:
    """Adam (Kingma and Ba, ICLR 2015) with an L2 penalty, at MUNIT's settings."""

    def __init__(self) -> None:
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.steps = 0

    def step(self, weights: Mapping[str, Tensor], loss: Tensor) -> None:
        self.steps += 1
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                full = gradient + 1e-4 * weight
                zero = torch.zeros_like(weight)
                first, second = self.moments.get(name, (zero, zero))
                first, second = 0.5 * first + 0.5 * full, 0.999 * second + 0.001 * full.square()
                self.moments[name] = (first, second)
                first = first / (1 - 0.5**self.steps)
                second = second / (1 - 0.999**self.steps)
                weight -= 1e-4 * first / (second.sqrt() + 1e-8)


class PlainMUNIT:
    """Weights as plain tensors, trained by the equations."""

    def __init__(self, method: Method) -> None:
        self.weights: dict[str, dict[str, Tensor]] = {}
        for name, value in method.state_dict().items():
            network, weight = name.split(".", 1)
            held = self.weights.setdefault(network, {})
            held[weight] = value.clone().requires_grad_()
        self.adam = {"discriminator": PlainAdam(), "generator": PlainAdam()}

    def update(self, who: str, terms: Mapping[str, Tensor]) -> None:
        mine = {
            f"{network}.{name}": weight
            for network, held in self.weights.items()
            if network.startswith(who)
            for name, weight in held.items()
        }
        self.adam[who].step(mine, sum(terms.values()))
