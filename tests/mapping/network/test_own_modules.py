"""A user's own module: it runs on the chip, or is refused in a sentence that names the layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mapping import analog_network, calibrate, map_network, program_network
from xbar import Hardware, XbarError, load_hardware


def stuck() -> Hardware:
    """Half of the cells stuck at g_max: what runs on the chip cannot give the float output."""
    return load_hardware("admm-32x32").replace(device__p_stuck_g_max=0.5)


def on_chip(model: nn.Module, x: torch.Tensor, hardware: Hardware | None = None) -> nn.Module:
    hardware = hardware or stuck()
    mapped, _ = calibrate(map_network(model, hardware, x[:1]), model, [(x, None)])
    return analog_network(model, program_network(mapped))


class Held(nn.Module):
    """Its layer is also reached through a plain list, and has a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 4)
        self.order = [self.a]
        self.a.register_forward_hook(lambda module, inputs, output: 10 * output)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.order[0](x)


def test_a_layer_held_twice_runs_on_the_chip_with_its_hooks() -> None:
    model, x = Held().eval(), torch.rand(8, 6)
    assert (on_chip(model, x)(x) - model(x)).abs().max() > 0.1
    ideal = on_chip(model, x, load_hardware("ideal").replace(device__states=32768))
    torch.testing.assert_close(ideal(x), model(x), atol=1e-3, rtol=1e-3)


def test_a_model_that_is_a_layer() -> None:
    model, x = nn.Linear(6, 4).eval(), torch.rand(8, 6)
    assert (on_chip(model, x)(x) - model(x)).abs().max() > 0.01


def test_a_view_after_a_convolution() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)
            self.fc = nn.Linear(48, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.fc(y.view(y.size(0), -1))

    x = torch.rand(4, 1, 6, 6)
    assert on_chip(Net(), x)(x).shape == (4, 2)


def test_matrix_products_outside_layers_are_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Linear(4, 4)
            self.w = nn.Parameter(torch.rand(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.f(x) @ self.w

    mapped = map_network(Net(), stuck(), torch.rand(2, 4))
    assert mapped.digital_macs == {"mm": 16}


def test_modes_of_modules_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    model[1].eval()
    mapped = map_network(model, stuck(), torch.rand(2, 4))
    calibrate(mapped, model, [(torch.rand(8, 4), None)])
    assert model.training
    assert model[0].training
    assert not model[1].training


def test_a_mapping_does_not_share_the_user_s_mask() -> None:
    mask = torch.ones(4, 4, dtype=torch.bool)
    mapped = map_network(nn.Sequential(nn.Linear(4, 4)), stuck(), torch.rand(2, 4), masks={"0": mask})
    mask[:] = False
    assert mapped.weights_kept == 16


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x.mean(0, keepdim=True))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.MultiheadAttention(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x, x, x)[0]


class Shifted(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


class Fused(nn.Module):
    """Attention by torch's fused operator."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.f(x).view(len(x), 1, 2, 4)
        return nn.functional.scaled_dot_product_attention(y, y, y)


def test_fused_attention_counts_as_products() -> None:
    assert map_network(Fused(), stuck(), torch.rand(3, 4)).digital_macs == {
        "_scaled_dot_product_flash_attention_for_cpu": 2 * 2 * 2 * 4
    }


def test_a_lookup_is_no_operation() -> None:
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Linear(4, 2))
    mapped = map_network(model, stuck(), torch.zeros(3, 5, dtype=torch.int64))
    assert mapped.digital_elements == {}
    assert mapped.layers["1"].positions == 5


def with_nan() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight.data[0, 0] = torch.nan
    return model


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Mixing, "f: runs on 1 vectors for a batch of 4"),
        (Attention, "out_proj: is not reached"),
        (lambda: nn.Sequential(Shifted(4, 4)), "0: Shifted has a forward of its own"),
        (with_nan, "0: has weights that are not finite"),
        (
            lambda: nn.Sequential(weight_norm(nn.Linear(4, 4))),
            "0: its weight is computed",
        ),
        (lambda: nn.Sequential(nn.Bilinear(4, 4, 2), nn.Linear(2, 2)), "the network refuses it"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm2d(4)), "the network refuses it"),
    ],
)
def test_refusals_name_the_layer(build: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(XbarError) as caught:
        map_network(build(), stuck(), torch.rand(4, 4))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inputs_that_do_not_fit_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    x = torch.rand(8, 4)
    with pytest.raises(XbarError, match="0: its inputs are not all finite"):
        on_chip(model, x)(torch.full((1, 4), torch.nan))
    mapped = map_network(model, stuck().replace(dac__bits=1), x)
    with pytest.raises(XbarError, match=r"0: has negative inputs; they need dac\.bits of at least 2"):
        calibrate(mapped, model, [(x - 0.5, None)])
    with pytest.raises(XbarError, match="0: mapped, but Sequential has no such layer"):
        calibrate(mapped, nn.Sequential(nn.ReLU(), nn.Linear(4, 4)), [(x, None)])
    with pytest.raises(XbarError, match=r"mask of 0: torch\.float32"):
        map_network(model, stuck(), x, masks={"0": torch.ones(4, 4)})
    with pytest.raises(XbarError, match="scale of 0"):
        map_network(model, stuck(), x, scales={"0": 0.0})
