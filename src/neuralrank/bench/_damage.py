"""Damaged copies of a network: what a repository holds of models that were compressed badly or went wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuralrank.bench._grid import Damage
from neuralrank.bench._networks import Network

_PRUNED_SHARES = (0.5, 0.8, 0.95)
_BITS = (2, 3, 4)


def damage(network: Network, kind: Damage, seed: int) -> None:
    """Change the weights of a network in place.

    Args:
        network: its biases and norms stay as they are.
        kind: 'shuffled': the weights of one layer change places; 'pruned': the smallest half, four fifths or
            nineteen twentieths of each layer become zero; 'quantised': each layer is rounded to 2, 3 or 4 bits.
        seed: of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [layer for layer in network.stages.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        if kind == "shuffled":
            weight = layers[int(torch.randint(len(layers), (), generator=generator))].weight
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=generator)].view_as(weight))
            return
        level = int(torch.randint(3, (), generator=generator))
        for layer in layers:
            if kind == "pruned":
                layer.weight.copy_(_pruned(layer.weight, _PRUNED_SHARES[level]))
            elif kind == "quantised":
                layer.weight.copy_(_quantised(layer.weight, _BITS[level]))


def _pruned(weight: Tensor, share: float) -> Tensor:
    threshold = weight.abs().flatten().kthvalue(max(1, int(share * weight.numel()))).values
    return torch.where(weight.abs() > threshold, weight, torch.zeros_like(weight))


def _quantised(weight: Tensor, n_bits: int) -> Tensor:
    step = weight.abs().max() / (2 ** (n_bits - 1) - 1)
    return (weight / step).round() * step if step > 0 else weight
