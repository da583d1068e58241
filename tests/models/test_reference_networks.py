"""Reference networks: as many parameters as published, and the names of torchvision's state dicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from experiments.inputs.networks import build_network, built_in_networks
from experiments.inputs.weights import read_weights
from mapping.lowering.batch_norm import batch_norm_folds
from mapping.network.gemm import mappable_layers

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"

PARAMETERS = {
    "airbench-cifar": 1_972_826,
    "alexnet": 61_100_840,
    "mlp": 266_610,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet18-cifar": 11_173_962,
    "resnet20": 269_722,
    "resnet20-akamaster": 269_722,
    "resnet32": 464_154,
    "resnet32-akamaster": 464_154,
    "resnet44": 658_586,
    "resnet44-akamaster": 658_586,
    "resnet56": 853_018,
    "resnet56-akamaster": 853_018,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg16-cifar": 14_728_266,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}
STATE_DICTS = {
    "alexnet": {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.weight": (192, 64, 5, 5),
        "features.10.bias": (256,),
        "classifier.1.weight": (4096, 9216),
        "classifier.6.weight": (1000, 4096),
    },
    "vgg16": {
        "features.0.weight": (64, 3, 3, 3),
        "features.28.weight": (512, 512, 3, 3),
        "classifier.0.weight": (4096, 25088),
        "classifier.3.bias": (4096,),
        "classifier.6.weight": (1000, 4096),
    },
    "vgg16_bn": {
        "features.40.weight": (512, 512, 3, 3),
        "features.41.running_var": (512,),
        "classifier.6.bias": (1000,),
    },
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.num_batches_tracked": (),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.conv3.weight": (1024, 256, 1, 1),
        "layer4.0.bn3.bias": (2048,),
        "fc.weight": (1000, 2048),
    },
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_classes(name: str) -> None:
    built_in = built_in_networks()[name]
    with torch.device("meta"):
        network = build_network(name).eval()
        outputs = network(torch.empty(2, *built_in.input_shape))
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert outputs.shape == (2, 1000 if built_in.input_shape[-1] == 224 else 10)


@pytest.mark.parametrize("name", STATE_DICTS)
def test_names_and_shapes_are_torchvision_s(name: str) -> None:
    with torch.device("meta"):
        state = build_network(name).state_dict()
    assert {key: tuple(state[key].shape) for key in STATE_DICTS[name]} == STATE_DICTS[name]


def test_resnet50_takes_the_stride_in_the_3x3_convolution() -> None:
    with torch.device("meta"):
        block = build_network("resnet50").get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


def test_a_shortcut_of_resnet20_is_every_second_pixel_and_zeros() -> None:
    block = build_network("resnet20").get_submodule("layer2.0").eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert not y[:, 16:].any()


def akamaster(weights: dict[str, torch.Tensor], blocks: int, x: torch.Tensor) -> torch.Tensor:
    """The network of that repository in plain functions, from its state dict."""

    def step(x: torch.Tensor, name: str, number: int, stride: int) -> torch.Tensor:
        y = functional.conv2d(x, weights[f"{name}conv{number}.weight"], stride=stride, padding=1)
        of = f"{name}bn{number}."
        statistics = weights[f"{of}running_mean"], weights[f"{of}running_var"]
        return functional.batch_norm(y, *statistics, weights[f"{of}weight"], weights[f"{of}bias"])

    x = step(x, "", 1, 1).relu()
    for group in (1, 2, 3):
        for block in range(blocks):
            stride = 2 if group > 1 and not block else 1
            name = f"layer{group}.{block}."
            y = step(step(x, name, 1, stride).relu(), name, 2, 1)
            if stride == 2:
                planes = y.shape[1]
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0)
            x = (y + x).relu()
    x = functional.avg_pool2d(x, x.shape[3]).flatten(1)
    return functional.linear(x, weights["linear.weight"], weights["linear.bias"])


@pytest.mark.parametrize(("name", "blocks"), [("resnet20-akamaster", 3), ("resnet32-akamaster", 5)])
def test_the_form_of_akamaster(name: str, blocks: int) -> None:
    torch.manual_seed(0)
    network, x = build_network(name).eval(), torch.randn(2, 3, 32, 32)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        expected = akamaster(dict(network.state_dict()), blocks, x)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
        usual = build_network(name.removesuffix("-akamaster")).eval()
        usual.load_state_dict({n.replace("linear", "fc"): t for n, t in network.state_dict().items()})
        assert not torch.allclose(usual(x), expected, rtol=0.1, atol=0.1)


@pytest.mark.shared_data
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"published weights are not beside the checkout ({WEIGHTS})")
@pytest.mark.parametrize("layers", [20, 56])
def test_published_weights_fit(layers: int) -> None:
    network = build_network(f"resnet{layers}-akamaster")
    found = read_weights(WEIGHTS / f"resnet{layers}-cifar10.safetensors", network)
    assert set(found) == {name for name in network.state_dict() if "num_batches" not in name}


def test_every_batch_norm_of_airbench_folds() -> None:
    folds = batch_norm_folds(build_network("airbench-cifar").eval(), torch.rand(1, 3, 32, 32))
    assert (len(folds.layers), folds.digital) == (7, {})


def test_airbench_takes_118_million_products_an_image() -> None:
    products = []

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        products.append(output[0, 0].numel() * layer.weight.numel())

    with torch.device("meta"):
        network = build_network("airbench-cifar").eval()
        for layer in mappable_layers(network).values():
            layer.register_forward_hook(count)
        network(torch.empty(1, 3, 32, 32))
    assert len(products) == 8
    assert round(sum(products) / 1e6) == 118


@pytest.mark.parametrize("name", [name for name, entry in built_in_networks().items() if entry.has_width])
def test_a_width_scales_every_layer_but_the_first_inputs_and_the_classes(name: str) -> None:
    built_in = built_in_networks()[name]
    with torch.device("meta"):
        whole, half = (dict(build_network(name, width).named_parameters()) for width in (1.0, 0.5))
        outputs = build_network(name, 0.5).eval()(torch.empty(1, *built_in.input_shape))
    for key, parameter in whole.items():
        for full, halved in zip(parameter.shape, half[key].shape, strict=True):
            assert halved in (full // 2, full), key
    first, *_, last = (key for key in half if key.endswith((".weight", ".bias")))
    assert half[first].shape[0] * 2 == whole[first].shape[0]
    assert half[last].shape == whole[last].shape == outputs.shape[1:]


def test_every_network_is_built_anew() -> None:
    for name in ("lenet5", "lenet-digits", "resnet20"):
        assert build_network(name) is not build_network(name)
