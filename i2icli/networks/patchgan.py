"""The PatchGAN discriminator (Isola et al., CVPR 2017), plain and anti-aliased."""

from __future__ import annotations

from torch import Tensor, nn

from i2icli.networks.layers import NormKind, OwnStart, build_norm, norm_needs_bias
from i2icli.networks.resample import Downsample
from i2icli.networks.segments import run_in_segments


class PatchDiscriminator(nn.Module):
    """Discriminate overlapping patches of a picture.

    `model` is one flat sequence, numbered as in the released networks.

    Args:
        in_channels: channels of the pictures.
        width: channels after the first convolution; they double up to 8 times that.
        layers: halvings of the sides; 3 gives patches of 70x70 pixels.
        antialias: halve by blur (CUT) rather than by strided convolution (CycleGAN).
        norm: normalisation after the inner convolutions.
        own_start: `init_weights` leaves the weights as PyTorch draws them.

    Attributes:
        has_slope: its slope is taken, and differentiated: it is not compiled, nor computed again.
        recomputes: in training, keep the outputs of convolutions alone, and compute what lies
            between them again for the gradient.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        width: int = 64,
        layers: int = 3,
        antialias: bool = True,
        norm: NormKind = "instance",
        own_start: bool = False,
    ) -> None:
        super().__init__()
        convolution = OwnStart if own_start else nn.Conv2d
        self.has_slope = self.recomputes = False
        widths = [width * min(2**number, 8) for number in range(layers + 1)]
        stride, bias = (1 if antialias else 2), norm_needs_bias(norm)
        modules: list[nn.Module] = [
            convolution(in_channels, width, 4, stride=stride, padding=1),
            nn.LeakyReLU(0.2),
        ]
        if antialias:
            modules.append(Downsample(width))
        for number in range(1, layers + 1):
            is_inner = number < layers
            inside, outside, step = widths[number - 1], widths[number], stride if is_inner else 1
            modules += [
                convolution(inside, outside, 4, stride=step, padding=1, bias=bias),
                build_norm(norm, outside),
                nn.LeakyReLU(0.2),
            ]
            if antialias and is_inner:
                modules.append(Downsample(outside))
        modules.append(convolution(widths[-1], 1, 4, padding=1))
        self.model = nn.Sequential(*modules)

    def forward(self, images: Tensor) -> Tensor:
        """Return a logit a patch, (B, 1, h, w), of images in [-1, 1]; high means real."""
        return run_in_segments(self.model, images, recomputes=self.recomputes)
