"""The architectures of the demo models: small bodies that turn an image into one feature vector.

Every body maps (n, channels, height, width) to (n, n_features) and says `n_features`; its width sets its size.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Size = tuple[int, int, int]


class Model(nn.Module):
    """A body and, where it was trained with labels, the linear classifier on its features."""

    def __init__(self, body: nn.Module, n_features: int, n_classes: int | None) -> None:
        super().__init__()
        self.body = body
        self.n_features = n_features
        self.classifier = None if n_classes is None else nn.Linear(n_features, n_classes)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return (logits, features), or the features alone."""
        features = self.body(image)
        return features if self.classifier is None else (self.classifier(features), features)


class Convolution(nn.Module):
    """Convolution, batch normalisation and, if wanted, a ReLU."""

    def __init__(
        self, n_in: int, n_out: int, *, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(n_out)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Return the map after the normalisation and the ReLU."""
        x = self.norm(self.convolution(x))
        return torch.relu(x) if self.relu else x


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = Convolution(n_in, n_out, stride=stride)
        self.second = Convolution(n_out, n_out, relu=False)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else Convolution(n_in, n_out, kernel=1, stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both paths after a ReLU."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class GlobalMean(nn.Module):
    """The mean of each channel over the image."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels) from (n, channels, height, width)."""
        return x.mean((2, 3))


class Attention(nn.Module):
    """A transformer block: self-attention, then two dense layers, each on normalised tokens beside a shortcut."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.dense = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (n, n_tokens, width) from the same shape."""
        normed = self.norm(tokens)
        query, key, value = (self._split(part(normed)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(2, 3) * query.shape[3] ** -0.5, dim=3)
        tokens = tokens + self.out((weights @ value).transpose(1, 2).flatten(2))
        return tokens + self.dense(tokens)  # type: ignore[no-any-return]

    def _split(self, tokens: Tensor) -> Tensor:
        return torch.unflatten(tokens, 2, (self.n_heads, -1)).transpose(1, 2)


class VisionTransformer(nn.Module):
    """A 4 × 4 grid of patches through two transformer blocks; the features are the mean token."""

    def __init__(self, size: Size, width: int) -> None:
        super().__init__()
        patch = size[1] // 4
        self.patches = nn.Conv2d(size[0], width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.Sequential(Attention(width, 4), Attention(width, 4), nn.LayerNorm(width))

    def forward(self, image: Tensor) -> Tensor:
        """Return (n, width)."""
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.positions
        return self.blocks(tokens).mean(1)  # type: ignore[no-any-return]


def _mlp(size: Size, width: int) -> tuple[nn.Module, int]:
    n_pixels = size[0] * size[1] * size[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(n_pixels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()), width


def _lenet(size: Size, width: int) -> tuple[nn.Module, int]:
    n_cells = (size[1] // 4) * (size[2] // 4)
    layers = [
        *(nn.Conv2d(size[0], width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(2 * width * n_cells, 8 * width), nn.ReLU()),
    ]
    return nn.Sequential(*layers), 8 * width


def _vgg(size: Size, width: int) -> tuple[nn.Module, int]:
    layers = [
        *(Convolution(size[0], width), nn.MaxPool2d(2)),
        *(Convolution(width, 2 * width), Convolution(2 * width, 2 * width), nn.MaxPool2d(2)),
        *(Convolution(2 * width, 4 * width), Convolution(4 * width, 4 * width), GlobalMean()),
    ]
    return nn.Sequential(*layers), 4 * width


def _resnet(size: Size, width: int) -> tuple[nn.Module, int]:
    layers = [
        Convolution(size[0], width, stride=2),
        *(Residual(width, width, 1), Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2)),
        GlobalMean(),
    ]
    return nn.Sequential(*layers), 4 * width


def _mobilenet(size: Size, width: int) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = [Convolution(size[0], width, stride=2)]
    for n_in, n_out, stride in ((width, 2 * width, 1), (2 * width, 4 * width, 2), (4 * width, 4 * width, 1)):
        layers += [Convolution(n_in, n_in, stride=stride, groups=n_in), Convolution(n_in, n_out, kernel=1)]
    return nn.Sequential(*layers, GlobalMean()), 4 * width


def _vit(size: Size, width: int) -> tuple[nn.Module, int]:
    return VisionTransformer(size, width), width


BODIES: dict[str, tuple[Callable[[Size, int], tuple[nn.Module, int]], str]] = {
    "mlp": (_mlp, "MLP, 2 hidden layers of {width}"),
    "lenet": (_lenet, "LeNet, 2 convolutions and a dense layer, width {width}"),
    "vgg": (_vgg, "VGG-like, 5 convolutions, width {width}"),
    "resnet": (_resnet, "ResNet, 3 residual blocks, width {width}"),
    "mobilenet": (_mobilenet, "MobileNet-like, 3 depthwise separable blocks, width {width}"),
    "vit": (_vit, "ViT, 2 blocks of 4 heads on 16 patches, width {width}"),
}
"""Name → what builds the body, and how a card describes it."""


def build_model(network: str, size: Size, width: int, n_classes: int | None) -> Model:
    """Return an untrained model; its weights come from torch's global generator."""
    body, n_features = BODIES[network][0](size, width)
    return Model(body, n_features, n_classes)


def fold_norms(model: nn.Module) -> None:
    """Fold every batch normalisation into its convolution, in place; the model must be in evaluation mode."""
    for module in model.modules():
        if isinstance(module, Convolution) and isinstance(module.norm, nn.BatchNorm2d):
            module.convolution = fuse_conv_bn_eval(module.convolution, module.norm)
            module.norm = nn.Identity()
