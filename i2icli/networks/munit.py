"""Networks of MUNIT (Huang et al., ECCV 2018): auto-encoders with styles, and their discriminators.

https://arxiv.org/abs/1804.04732. Modules are named and numbered as in the released networks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2icli.networks.munit_blocks import AdaptiveResidualBlocks, ConvBlock, ResidualBlocks

_STYLE_HALVINGS = 4
_CONTENT_HALVINGS = 2


class StyleEncoder(nn.Module):
    """Say in a few numbers what a picture looks like; no norm, which would take that away."""

    def __init__(self, in_channels: int, *, width: int, style_size: int) -> None:
        super().__init__()
        widths = [width * min(2**number, 4) for number in range(_STYLE_HALVINGS + 1)]
        modules: list[nn.Module] = [ConvBlock(in_channels, width, 7, padding=3)]
        for number in range(_STYLE_HALVINGS):
            modules.append(ConvBlock(widths[number], widths[number + 1], 4, stride=2, padding=1))
        modules += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], style_size, 1)]
        self.model = nn.Sequential(*modules)

    def forward(self, images: Tensor) -> Tensor:
        """Return style codes, (B, style_size), of images, (B, in_channels, H, W)."""
        styles: Tensor = self.model(images)
        return styles.flatten(start_dim=1)


class ContentEncoder(nn.Module):
    """Encode the content of a picture, at a quarter of its sides."""

    def __init__(self, in_channels: int, *, width: int, blocks: int) -> None:
        super().__init__()
        modules: list[nn.Module] = [ConvBlock(in_channels, width, 7, padding=3, norm="instance")]
        for _ in range(_CONTENT_HALVINGS):
            modules.append(ConvBlock(width, 2 * width, 4, stride=2, padding=1, norm="instance"))
            width *= 2
        modules.append(ResidualBlocks(blocks, width))
        self.model = nn.Sequential(*modules)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 4 * width, H / 4, W / 4) of images, (B, in_channels, H, W)."""
        content: Tensor = self.model(images)
        return content


class Decoder(nn.Module):
    """Make a picture of a content code; the style comes as parameters of the adaptive norms.

    `width` is the number of channels before the last convolution.
    """

    def __init__(self, out_channels: int, *, width: int, blocks: int) -> None:
        super().__init__()
        channels = width * 2**_CONTENT_HALVINGS
        # blocks, norms of a block, shift and scale, channels
        self.parameter_shape = (blocks, 2, 2, channels)
        modules: list[nn.Module] = [AdaptiveResidualBlocks(blocks, channels)]
        for _ in range(_CONTENT_HALVINGS):
            modules += [
                nn.Upsample(scale_factor=2),
                ConvBlock(channels, channels // 2, 5, padding=2, norm="layer"),
            ]
            channels //= 2
        modules.append(ConvBlock(channels, out_channels, 7, padding=3, activation="tanh"))
        self.model = nn.ModuleList(modules)

    def forward(self, content: Tensor, parameters: Tensor) -> Tensor:
        """Return pictures, (B, out_channels, 4 * h, 4 * w) in [-1, 1].

        Args:
            content: (B, 4 * width, h, w).
            parameters: norm by norm its shifts, then its scales, (B, N) where N is the product
                of `parameter_shape`.
        """
        blocks, *others = self.model
        images: Tensor = blocks(content, parameters.view(-1, *self.parameter_shape))
        for module in others:
            images = module(images)
        return images


class LinearBlock(nn.Module):
    """A linear layer, maybe with a ReLU."""

    def __init__(self, in_size: int, out_size: int, *, relu: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(in_size, out_size)
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, values: Tensor) -> Tensor:
        """Return (B, out_size) of values, (B, in_size)."""
        result: Tensor = self.activation(self.fc(values))
        return result


class StyleMLP(nn.Module):
    """Turn style codes into parameters of the decoder's norms, `out_size` of them."""

    def __init__(self, style_size: int, out_size: int, *, width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            LinearBlock(style_size, width, relu=True),
            LinearBlock(width, width, relu=True),
            LinearBlock(width, out_size, relu=False),
        )

    def forward(self, styles: Tensor) -> Tensor:
        """Return (B, out_size) of styles, (B, style_size)."""
        parameters: Tensor = self.model(styles)
        return parameters


class StyleAutoencoder(nn.Module):
    """Take pictures of one domain apart into content and style, and put them together.

    Nothing is kept between calls: the parameters of the norms go through `forward`.

    Args:
        channels: of the pictures.
        width: channels after the first convolution.
        blocks: residual blocks of the content encoder, and of the decoder.
        style_size: numbers in a style code.
        mlp_width: numbers between the layers that turn styles into parameters of the norms.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        width: int = 64,
        blocks: int = 4,
        style_size: int = 8,
        mlp_width: int = 256,
    ) -> None:
        super().__init__()
        self.enc_style = StyleEncoder(channels, width=width, style_size=style_size)
        self.enc_content = ContentEncoder(channels, width=width, blocks=blocks)
        self.dec = Decoder(channels, width=width, blocks=blocks)
        out_size = torch.Size(self.dec.parameter_shape).numel()
        self.mlp = StyleMLP(style_size, out_size, width=mlp_width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return content, (B, 4 * width, H / 4, W / 4), and styles, (B, style_size).

        Sides of the pictures, (B, channels, H, W) in [-1, 1], are multiples of 4, at least 16.
        """
        return self.enc_content(images), self.enc_style(images)

    def decode(self, content: Tensor, styles: Tensor) -> Tensor:
        """Return pictures, (B, channels, H, W) in [-1, 1].

        `content` may be of the other domain's network; `styles`, (B, style_size), are of this.
        """
        images: Tensor = self.dec(content, self.mlp(styles))
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstruction of pictures, the same shape."""
        return self.decode(*self.encode(images))


class MultiScaleDiscriminator(nn.Module):
    """Discriminate patches of a picture, of its half, of its quarter and so on.

    Args:
        in_channels: channels of the pictures.
        width: channels after the first convolution; each further one doubles them.
        layers: halvings of the sides in each discriminator.
        scales: discriminators; each sees half the sides of the one before it.
    """

    def __init__(
        self, in_channels: int = 3, *, width: int = 64, layers: int = 4, scales: int = 3
    ) -> None:
        super().__init__()
        # The mean of the pixels that are there: beyond the border nothing counts.
        self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.cnns = nn.ModuleList(_discriminator(in_channels, width, layers) for _ in range(scales))
        # ceil(side / 2^(scales - 1)) >= 2^layers: reflection needs a side of 2 at the last halving
        self.min_side = 2 ** (scales - 1) * (2**layers - 1) + 1

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map of logits a scale, full size first, (B, 1, h, w) each.

        Pictures are (B, in_channels, H, W) in [-1, 1], their sides at least `min_side`.
        """
        logits = []
        for number, discriminator in enumerate(self.cnns):
            images = self.downsample(images) if number else images
            logits.append(discriminator(images))
        return logits


def _discriminator(in_channels: int, width: int, layers: int) -> nn.Sequential:
    widths = [in_channels, *(width * 2**number for number in range(layers))]
    halvings = (
        ConvBlock(widths[n], widths[n + 1], 4, stride=2, padding=1, activation="leaky")
        for n in range(layers)
    )
    return nn.Sequential(*halvings, nn.Conv2d(widths[-1], 1, 1))
