"""The architectures of the evidence: small networks for 32×32 RGB images, each in several widths and depths.

All share one shape: stages, one after the other, then a linear classifier on what the last stage gives, pooled. How
many features that are is chosen apart from the width, so that large networks do not have more of them. Kept small
enough that a training step on a batch of 64 takes about ten milliseconds on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor, nn

SIDE = 32
N_CHANNELS = 3
MEAN, STD = 0.5, 0.25
"""Pixels in [0, 1] become (pixel - MEAN) / STD, for every network alike."""


class Network(nn.Module):
    """A classifier that also gives what each of its stages computed."""

    def __init__(self, stages: Iterable[nn.Module], n_features: int, n_classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(n_features, n_classes)

    @property
    def n_features(self) -> int:
        """Dimensions of the features, the input of the classifier."""
        return self.classifier.in_features

    def stage_features(self, images: Tensor) -> list[Tensor]:
        """Return the pooled output of every stage, each of shape (n, d), input side first."""
        outputs, hidden = [], images
        for stage in self.stages:
            hidden = stage(hidden)
            outputs.append(_pooled(hidden))
        return outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `features`, shape (n, d), and `logits`, shape (n, n_classes), of images (n, 3, 32, 32)."""
        hidden = images
        for stage in self.stages:
            hidden = stage(hidden)
        features = _pooled(hidden)
        return {"features": features, "logits": self.classifier(features)}


def make_network(architecture: str, *, width: int, depth: int, n_features: int, n_classes: int) -> Network:
    """Build a network with fresh weights from torch's generator.

    Args:
        architecture: one of `ARCHITECTURES`.
        width: a multiple of 8; each architecture multiplies it as suits it.
        depth: 1 or 2 blocks a stage.
        n_features: dimensions of the last stage.
        n_classes: outputs of the classifier.
    """
    return Network(ARCHITECTURES[architecture](width, depth, n_features), n_features, n_classes)


@cache
def n_parameters(architecture: str, width: int, depth: int, n_features: int) -> int:
    """Return the parameters of a network without its classifier."""
    with torch.device("meta"):
        stages = ARCHITECTURES[architecture](width, depth, n_features)
    return sum(parameter.numel() for stage in stages for parameter in stage.parameters())


def _pooled(hidden: Tensor) -> Tensor:
    """Return the mean over height and width, or over tokens, shape (n, d)."""
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    return hidden.mean(dim=1) if hidden.ndim == 3 else hidden


def _mlp(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """Hidden layers of 16 · width units on pixels averaged two by two."""
    units = 16 * width
    n_pixels = N_CHANNELS * (SIDE // 2) ** 2
    first = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(n_pixels, units), nn.ReLU())
    between = [nn.Sequential(nn.Linear(units, units), nn.ReLU()) for _ in range(depth - 1)]
    return [first, *between, nn.Sequential(nn.Linear(units, n_features), nn.ReLU())]


def _lenet(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """LeNet-5 (LeCun et al. 1998) with ReLU: 5×5 convolutions and pooling, no normalisation, dense last layers."""
    first = nn.Sequential(nn.Conv2d(N_CHANNELS, width, 5, 2, 2), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(width, 2 * width, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))
    n_in = 2 * width * 16
    last: list[nn.Module] = [nn.MaxPool2d(2), nn.Flatten()]
    if depth > 1:
        last += [nn.Linear(n_in, 4 * width), nn.ReLU()]
        n_in = 4 * width
    return [first, second, nn.Sequential(*last, nn.Linear(n_in, n_features), nn.ReLU())]


def _convolution(n_in: int, n_out: int, side: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, side, stride, side // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(n_out)]


def _stem(width: int) -> nn.Sequential:
    """From 32×32 pixels to 16×16."""
    return nn.Sequential(nn.Conv2d(N_CHANNELS, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def _staged(width: int, depth: int, n_features: int, block: Callable[[int, int, int], nn.Module]) -> list[nn.Module]:
    """A stem and three stages of `depth` blocks at 16×16, 8×8 and 4×4."""
    stages: list[nn.Module] = []
    n_in = width
    for stride, n_out in ((1, width), (2, 2 * width), (2, n_features)):
        blocks = [block(n_in, n_out, stride)] + [block(n_out, n_out, 1) for _ in range(depth - 1)]
        stages.append(nn.Sequential(*([] if stages else [_stem(width)]), *blocks))
        n_in = n_out
    return stages


def _vgg(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """Plain 3×3 convolutions (Simonyan and Zisserman 2015) with batch normalisation."""

    def block(n_in: int, n_out: int, stride: int) -> nn.Module:
        return nn.Sequential(*_convolution(n_in, n_out, stride=stride), nn.ReLU())

    return _staged(width, depth + 1, n_features, block)


class _Residual(nn.Module):
    """`after(x + inner(x))`, with a linear way round where the shape changes."""

    def __init__(self, inner: nn.Module, around: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.inner, self.around, self.after = inner, around, after

    def forward(self, hidden: Tensor) -> Tensor:
        return self.after(self.around(hidden) + self.inner(hidden))  # type: ignore[no-any-return]


def _resnet(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """Basic residual blocks (He et al. 2016)."""

    def block(n_in: int, n_out: int, stride: int) -> nn.Module:
        inner = [*_convolution(n_in, n_out, stride=stride), nn.ReLU(), *_convolution(n_out, n_out)]
        same = n_in == n_out and stride == 1
        around = nn.Identity() if same else nn.Sequential(*_convolution(n_in, n_out, 1, stride))
        return _Residual(nn.Sequential(*inner), around, nn.ReLU())

    return _staged(width, depth, n_features, block)


def _mobilenet(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """Inverted residuals with depthwise convolutions (Sandler et al. 2018), expanded three times."""

    def block(n_in: int, n_out: int, stride: int) -> nn.Module:
        wide = 3 * n_in
        inner = nn.Sequential(
            *_convolution(n_in, wide, 1),
            nn.ReLU6(),
            *_convolution(wide, wide, 3, stride, groups=wide),
            nn.ReLU6(),
            *_convolution(wide, n_out, 1),
        )
        return _Residual(inner, nn.Identity(), nn.Identity()) if n_in == n_out and stride == 1 else inner

    return _staged(width, depth, n_features, block)


class _ChannelNorm(nn.Module):
    """Layer normalisation over the channels of a map (n, c, h, w)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _convnext(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """Patches of 4×4, then depthwise 5×5 convolutions and pointwise expansion (after Liu et al. 2022)."""

    def block(n_channels: int) -> nn.Module:
        inner = nn.Sequential(
            nn.Conv2d(n_channels, n_channels, 5, padding=2, groups=n_channels),
            _ChannelNorm(n_channels),
            nn.Conv2d(n_channels, 3 * n_channels, 1),
            nn.GELU(),
            nn.Conv2d(3 * n_channels, n_channels, 1),
        )
        return _Residual(inner, nn.Identity(), nn.Identity())

    n_in = 2 * width
    first = [nn.Conv2d(N_CHANNELS, n_in, 4, 4), _ChannelNorm(n_in), *(block(n_in) for _ in range(depth))]
    second = [_ChannelNorm(n_in), nn.Conv2d(n_in, n_features, 2, 2), *(block(n_features) for _ in range(depth))]
    return [nn.Sequential(*first), nn.Sequential(*second, _ChannelNorm(n_features))]


class _Patches(nn.Module):
    """Overlapping patches of 8×8 pixels, 6 apart, as tokens with learned positions: (n, 3, 32, 32) to (n, 25, d)."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(N_CHANNELS, n_features, 8, 6)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 25, n_features))

    def forward(self, images: Tensor) -> Tensor:
        return self.cut(images).flatten(2).transpose(1, 2) + self.positions  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Multi-head self-attention over tokens (n, tokens, d)."""

    def __init__(self, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.queries_keys_values = nn.Linear(n_features, 3 * n_features)
        self.out = nn.Linear(n_features, n_features)

    def forward(self, tokens: Tensor) -> Tensor:
        n_tokens, n_features = tokens.shape[1], tokens.shape[2]
        split = self.queries_keys_values(tokens).unflatten(2, (3, self.n_heads, n_features // self.n_heads))
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return self.out(mixed.transpose(1, 2).reshape(-1, n_tokens, n_features))  # type: ignore[no-any-return]


def _vit(width: int, depth: int, n_features: int) -> list[nn.Module]:
    """A vision transformer (Dosovitskiy et al. 2021) on 25 patches, pre-norm; features are the mean of its tokens."""
    size = 4 * width

    def block() -> nn.Module:
        attention = nn.Sequential(nn.LayerNorm(size), _Attention(size, 4))
        dense = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        return nn.Sequential(
            _Residual(attention, nn.Identity(), nn.Identity()), _Residual(dense, nn.Identity(), nn.Identity())
        )

    first, second = (nn.Sequential(*(block() for _ in range(depth))) for _ in range(2))
    last = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, n_features))
    return [nn.Sequential(_Patches(size), first), nn.Sequential(second, last)]


ARCHITECTURES: dict[str, Callable[[int, int, int], list[nn.Module]]] = {
    "mlp": _mlp,
    "lenet": _lenet,
    "vgg": _vgg,
    "resnet": _resnet,
    "mobilenet": _mobilenet,
    "convnext": _convnext,
    "vit": _vit,
}
