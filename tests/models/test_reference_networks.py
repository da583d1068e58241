"""Reference networks: as many parameters as published, and the names of torchvision's state dicts."""

from __future__ import annotations

import pytest
import torch

from experiments.inputs.networks import build_network, built_in_networks

PARAMETERS = {
    "alexnet": 61_100_840,
    "mlp": 266_610,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet18-cifar": 11_173_962,
    "resnet20": 269_722,
    "resnet56": 853_018,
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


@pytest.mark.parametrize("name", [name for name, entry in built_in_networks().items() if entry.has_width])
def test_a_width_scales_every_layer_but_the_first_inputs_and_the_classes(name: str) -> None:
    built_in = built_in_networks()[name]
    with torch.device("meta"):
        whole, half = (dict(build_network(name, width).named_parameters()) for width in (1.0, 0.5))
        outputs = build_network(name, 0.5).eval()(torch.empty(1, *built_in.input_shape))
    for key, parameter in whole.items():
        for full, halved in zip(parameter.shape, half[key].shape, strict=True):
            assert halved in (full // 2, full), key
    first, *_, last = half
    assert half[first].shape[0] * 2 == whole[first].shape[0]
    assert half[last].shape == whole[last].shape == outputs.shape[1:]


def test_every_network_is_built_anew() -> None:
    for name in ("lenet5", "lenet-digits", "resnet20"):
        assert build_network(name) is not build_network(name)
