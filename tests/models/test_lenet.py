"""Shapes of the reference networks, as the papers print them."""

from __future__ import annotations

import pytest
import torch

from experiments.inputs.networks import build_network
from mapping.network.gemm import mappable_layers


@pytest.mark.parametrize(
    ("name", "image", "shapes"),
    [
        ("lenet5", (1, 28, 28), {"conv1": (25, 20), "conv2": (500, 50), "fc1": (800, 500), "fc2": (500, 10)}),
        (
            "lenet-digits",
            (1, 8, 8),
            {"conv1": (9, 16), "conv2": (144, 32), "fc1": (128, 128), "fc2": (128, 10)},
        ),
    ],
)
def test_gemm_matrices(name: str, image: tuple[int, ...], shapes: dict[str, tuple[int, int]]) -> None:
    model = build_network(name)
    layers = mappable_layers(model)
    found = {key: (layer.weight[0].numel(), len(layer.weight)) for key, layer in layers.items()}
    assert found == shapes
    assert model(torch.rand(2, *image)).shape == (2, 10)


def test_lenet5_has_the_weights_of_the_papers() -> None:
    weights = sum(layer.weight.numel() for layer in mappable_layers(build_network("lenet5")).values())
    assert weights == 430_500
