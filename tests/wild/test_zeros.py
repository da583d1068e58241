"""Weights of exactly 0, as networks come with them: pruned elsewhere, or begun at zero."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import SMALL, result_of_run
from torch import nn
from torch.nn.utils import prune

from experiments.inputs.networks import build_network
from experiments.inputs.weights import read_weights
from experiments.studies.study import load_study
from mapping import (
    BlockSparse,
    Choice,
    MappedNetwork,
    Recipe,
    TileRowsAndColumns,
    analog_network,
    around_faults,
    calibrate,
    compress,
    decoded_weights,
    export_conductances,
    load_chip,
    load_mapping,
    map_network,
    program_network,
    save_chip,
    save_mapping,
    trainable_network,
)
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.smaller_networks.storage import storage
from mapping.tiles.mapper import without_weights
from power.estimates.table import estimate
from xbar import Hardware, ProgrammingNoise, XbarError, load_hardware
from xbar.conductances.encoding import decode_states
from xbar.hardware.encodings import Encoding

NOISE = ProgrammingNoise("lognormal", 0.3)


def analog(model: nn.Module, hardware: Hardware, x: torch.Tensor, **arguments) -> nn.Module:
    mapped, _ = calibrate(map_network(model, hardware, x, **arguments), model, [(x, None)])
    return analog_network(model, program_network(mapped, seed=1))


def all_zero() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 2))
    model[0].weight.data.zero_()
    model[0].bias.data = torch.tensor([1.0, -1.0])
    return model


def pruned(share: float = 0.9, seed: int = 0) -> nn.Sequential:
    """64-128-10 as `torch.nn.utils.prune` leaves it."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", amount=share)
        prune.remove(layer, "weight")
    return model.eval()


def masks_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: to_gemm(layer) != 0 for name, layer in mappable_layers(model).items()}


# ------------------------------------------------------------------------ all weights of a layer are 0


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("design", ["ideal", "admm-32x32"])
def test_a_layer_of_zeros_gives_its_bias(design: str, packing: bool) -> None:
    """It decoded to +1 everywhere: (3.27, 1.27) in place of (1, -1)."""
    model, x = all_zero(), torch.rand(5, 4)
    hardware = load_hardware(design).replace(device__programming=NOISE)
    y = analog(model, hardware, x, packing=packing)(x)
    assert torch.equal(y, torch.tensor([1.0, -1.0]).expand(5, 2))


@pytest.mark.parametrize("kind", ["offset", "twos-complement"])
def test_where_zero_is_a_level_its_cells_are_built(kind: str) -> None:
    model, x = all_zero(), torch.rand(5, 4)
    hardware = load_hardware("ideal").replace(encoding=Encoding(kind, 2), device__programming=NOISE)
    mapped = map_network(model, hardware, x)
    assert (mapped.weights_kept, mapped.tiles_per_plane) == (8, 1)
    assert not mapped.layers["0"].state.any()
    assert torch.equal(analog(model, hardware, x)(x), torch.tensor([1.0, -1.0]).expand(5, 2))


@pytest.mark.parametrize("kind", ["offset", "twos-complement"])
def test_a_zero_among_weights_is_a_noisy_level_there(kind: str) -> None:
    """In a layer with other weights, zero's cells are written as all others, and miss as they do."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 2)), torch.rand(5, 4)
    model[0].weight.data[0, 1] = 0.0
    hardware = load_hardware("ideal").replace(encoding=Encoding(kind, 2), device__g_min=1e-6)
    exact = program_network(map_network(model, hardware, x))
    noisy = program_network(map_network(model, hardware.replace(device__programming=NOISE), x))
    assert exact.mapped.weights_kept == 8
    assert decoded_weights(exact, "0")[1, 0] == 0
    assert decoded_weights(noisy, "0")[1, 0] != 0


def test_a_layer_after_one_that_gives_nothing_is_calibrated() -> None:
    """A chain whose middle is zero: the next layer never sees an input, and its range could not be found."""
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    model[0].weight.data.zero_()
    x = torch.rand(6, 4)
    for design in ("ideal", "admm-32x32"):
        torch.testing.assert_close(analog(model, load_hardware(design), x)(x), model(x))
    last, nothing = model[2:], 0 * x[:, :3]
    torch.testing.assert_close(analog(last, load_hardware("ideal"), nothing)(nothing), last(nothing))


def test_its_bias_may_be_on_word_lines() -> None:
    model, x = all_zero(), torch.rand(5, 4)
    y = analog(model, load_hardware("ideal"), x, layers={"0": Choice(bias_rows=1)})(x)
    torch.testing.assert_close(y, torch.tensor([1.0, -1.0]).expand(5, 2))


def test_a_bias_of_zero_on_word_lines_is_zero() -> None:
    """It was the level +1: as a weight is, that has no level of its own."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.rand(5, 4)
    model[0].bias.data = torch.tensor([0.5, 0.0, -0.5])
    mapped = map_network(model, load_hardware("ideal"), x, layers={"0": Choice(bias_rows=4)})
    mapped, _ = calibrate(mapped, model, [(x, None)])
    assert (mapped.layers["0"].bias_state[:, 1] == 0).all()


@pytest.fixture
def with_a_zero_layer() -> tuple[nn.Sequential, torch.Tensor, MappedNetwork]:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), torch.rand(7, 6)
    model[2].weight.data.zero_()
    hardware = load_hardware("admm-32x32").replace(device__programming=NOISE)
    return model, x, calibrate(map_network(model, hardware, x), model, [(x, None)])[0]


def test_nothing_breaks_on_a_layer_of_zeros(with_a_zero_layer, tmp_path: Path) -> None:
    model, x, mapped = with_a_zero_layer
    chip = program_network(around_faults(mapped))
    assert torch.equal(analog_network(model, chip)(x), model[2].bias.expand(7, 3))
    costs = estimate(mapped)
    assert costs.by_layer["2"]["area_mm2"] == 0
    assert not any(row.events for row in costs.table if (row.layer, row.component) == ("2", "adc"))
    assert mapped.layers["2"].weights_kept == 0
    assert not np.any(mapped.layers["2"].scale)
    assert storage(mapped).rate > 0
    assert without_weights(mapped).tiles_per_plane == mapped.tiles_per_plane
    save_chip(chip, tmp_path / "chip")
    assert load_chip(tmp_path / "chip") == chip
    save_mapping(mapped, tmp_path / "mapping")
    assert load_mapping(tmp_path / "mapping") == mapped
    export_conductances(mapped, tmp_path / "targets")


# ------------------------------------------------------------------------ some weights of a layer are 0


@pytest.mark.parametrize("design", ["ideal", "admm-32x32"])
def test_a_network_pruned_elsewhere_needs_no_masks(design: str) -> None:
    """Mapped without masks it was off by 239 %, and all of its 9,472 weights counted as kept."""
    model, x = pruned(), torch.rand(20, 64)
    hardware = load_hardware(design)
    plain, masked = (map_network(model, hardware, x, masks=masks) for masks in (None, masks_of(model)))
    assert plain.weights_kept == masked.weights_kept == 947
    assert plain.weights_total == 9472
    for name, layer in plain.layers.items():
        assert layer.bands == masked.layers[name].bands
        assert np.array_equal(layer.scale, masked.layers[name].scale)
        assert np.array_equal(layer.mask, masked.layers[name].mask)
        assert np.array_equal(layer.state, masked.layers[name].state)
    outputs = [analog(model, hardware, x, masks=masks)(x) for masks in (None, masks_of(model))]
    assert torch.equal(*outputs)
    assert estimate(plain).to_dict() == estimate(masked).to_dict() if design != "ideal" else True


def test_zeros_beside_given_masks_are_masked_too() -> None:
    model, x = pruned(), torch.rand(20, 64)
    some = {"0": torch.rand(64, 128) > 0.5}
    mapped = map_network(model, load_hardware("ideal"), x, masks=some)
    assert mapped.layers["0"].weights_kept == int((some["0"] & masks_of(model)["0"]).sum())
    assert np.array_equal(mapped.layers["0"].zeros, (some["0"] & ~masks_of(model)["0"]).numpy())


def test_minus_zero_is_zero() -> None:
    model, x = all_zero(), torch.rand(3, 4)
    model[0].weight.data.mul_(-1.0)
    assert map_network(model, load_hardware("ideal"), x).weights_kept == 0


def test_zeros_may_have_the_nearest_level_by_choice() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 2)), torch.rand(5, 4)
    model[0].weight.data[0, 1] = 0.0
    mapped = map_network(model, load_hardware("ideal").replace(encoding__zeros="level"), x)
    assert (mapped.weights_kept, mapped.layers["0"].state[1, 0]) == (8, 1)
    y = analog(all_zero(), load_hardware("ideal").replace(encoding__zeros="level"), x)(x)
    assert torch.equal(y, torch.tensor([1.0, -1.0]).expand(5, 2))
    with pytest.raises(XbarError, match=r"encoding\.zeros = 'level': has no effect"):
        Encoding("offset", zeros="level")


def test_a_ternary_network_stays_ternary() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(30, 8)), torch.rand(5, 30)
    model[0].weight.data = torch.randint(-1, 2, (8, 30)) * 0.25
    mapped = map_network(model, load_hardware("ideal").replace(device__states=2), x)
    layer, hardware = mapped.layers["0"], mapped.hardware
    w = decode_states(layer.state, layer.scale, hardware.encoding, hardware.device)
    np.testing.assert_allclose(w, to_gemm(model[0]).numpy(), atol=1e-12)


def test_a_filter_of_zeros_gives_its_bias() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(2, 3, 6, 6)
    model[0].weight.data[2] = 0.0
    y = analog(model, load_hardware("ideal").replace(device__programming=NOISE), x)(x)
    assert torch.equal(y[:, 2], model[0].bias[2].expand(2, 4, 4))


# ------------------------------------------------------------------------ training goes on


class LowRank(nn.Module):
    """A layer with a low-rank update that begins at zero, as LoRA has it."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.a, self.b = nn.Linear(8, 6), nn.Linear(8, 2, bias=False), nn.Linear(2, 6, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.b(self.a(x))


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
@pytest.mark.parametrize("per", ["layer", "column"])
def test_a_low_rank_update_grows_from_zero(multiply: str, per: str) -> None:
    """Zeros found at mapping are no masks of training: on the chip, B learns what the target asks of it."""
    torch.manual_seed(0)
    model, x = LowRank(), torch.rand(64, 8)
    y = x @ torch.randn(8, 6)
    hardware = load_hardware("admm-32x32").replace(adc__per=per, device__states=32)
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, None)])
    assert mapped.layers["b"].tiles == ()
    training = trainable_network(model, mapped, multiply=multiply)
    optimizer = torch.optim.Adam(training.parameters(), 2e-2)
    losses = []
    for _ in range(60):
        loss = nn.functional.mse_loss(training(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    trained, after = training.trained()
    assert losses[-1] < losses[0] / 3
    assert (trained.b.weight != 0).any()
    assert after.layers["b"].weights_kept == int((trained.b.weight != 0).sum())
    after, _ = calibrate(after, trained, [(x, None)])
    chip = analog_network(trained, program_network(after))
    assert nn.functional.mse_loss(chip(x), y) < losses[0] / 3


def test_only_given_masks_hold_while_zeros_grow() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 6)), torch.rand(32, 8)
    model[0].weight.data[:, :4] = 0.0
    masks = {"0": torch.arange(8)[:, None].expand(8, 6) % 4 != 0}
    mapped = map_network(model, load_hardware("ideal").replace(device__states=16), x, masks=masks)
    training = trainable_network(model, mapped, multiply="torch")
    optimizer = torch.optim.SGD(training.parameters(), 0.5)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.mse_loss(training(x), x.sum(1, keepdim=True).expand(-1, 6)).backward()
        optimizer.step()
    w = to_gemm(training.trained()[0][0])
    assert (w[~masks["0"]] == 0).all()
    assert (w[1:4] != 0).all()


def test_a_sparse_network_stays_sparse_in_the_first_step_of_training() -> None:
    """A step of size epsilon would send each zero to the level +-1, and the network with them."""
    model, x = pruned(), torch.rand(20, 64)
    mapped = map_network(model, load_hardware("ideal"), x)
    training = trainable_network(model, mapped, multiply="torch")
    optimizer = torch.optim.SGD(training.parameters(), 1e-8)
    before = training(x)
    before.sum().backward()
    optimizer.step()
    torch.testing.assert_close(training(x), before, rtol=1e-3, atol=1e-3)
    assert training.trained()[1].weights_kept == 947


@pytest.mark.parametrize("rate", [1, 2])
def test_compress_keeps_the_sparsity_that_it_meets(rate: int) -> None:
    """At rate 1 or 2 a network that was 90 % zeros had all or half of its weights again."""
    model, x = pruned(), torch.rand(64, 64)
    batches = [(x, torch.randint(0, 10, (64,)))]
    constraints = {"0": BlockSparse(1, 1, 1 / rate), "2": TileRowsAndColumns(32, 32, 1, 1 / rate)}
    recipe = Recipe(3, 1e-2)
    found = compress(model, batches, constraints, recipe, recipe)
    for name, met in masks_of(model).items():
        after = to_gemm(mappable_layers(found.model)[name])
        assert (after[~met] == 0).all()
        assert not (found.masks[name] & ~met).any()
    changed = to_gemm(found.model[0]) != to_gemm(model[0])
    assert changed.any()


def test_compress_leaves_a_layer_that_begins_at_zero_free() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(LowRank(), nn.Linear(6, 3)), torch.rand(64, 8)
    found = compress(
        model,
        [(x, torch.randint(0, 3, (64,)))],
        {"*": BlockSparse(1, 1, 1.0)},
        Recipe(2, 1e-2),
        Recipe(2, 1e-2),
    )
    assert (found.model[0].b.weight != 0).any()


# ------------------------------------------------------------------------ files


def test_a_checkpoint_of_torch_prune_loads(tmp_path: Path) -> None:
    """It holds `weight_orig` and `weight_mask`; the network has `weight`."""
    torch.manual_seed(0)
    model = build_network("lenet5")
    want = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in mappable_layers(model).values():
        prune.random_unstructured(layer, "weight", amount=0.5)
    prune.l1_unstructured(model.get_submodule("fc1"), "bias", amount=3)
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    found = read_weights(tmp_path / "pruned.pt", build_network("lenet5"))
    assert found.keys() == want.keys()
    for name, tensor in found.items():
        kept = model.state_dict().get(f"{name}_mask", torch.ones_like(tensor))
        assert torch.equal(tensor, want[name] * kept)


def test_a_mapping_says_which_zeros_are_free(tmp_path: Path) -> None:
    model, x = pruned(), torch.rand(20, 64)
    mapped = map_network(model, load_hardware("ideal"), x)
    save_mapping(mapped, tmp_path / "mapping")
    assert load_mapping(tmp_path / "mapping") == mapped
    assert mapped != dataclasses.replace(
        mapped, layers={n: dataclasses.replace(layer, zeros=None) for n, layer in mapped.layers.items()}
    )


def test_a_run_keeps_the_sparsity_of_its_weights(tmp_path: Path) -> None:
    """From the command line there is no way to give masks: a network pruned elsewhere came back dense."""
    torch.manual_seed(0)
    model = build_network("lenet-digits")
    for layer in mappable_layers(model).values():
        prune.ln_structured(layer, "weight", amount=0.5, n=2, dim=0)
        prune.l1_unstructured(layer, "weight", amount=0.5)
    kept = sum(int(mask.sum()) for name, mask in model.state_dict().items() if name.endswith("_mask"))
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    changes = [*SMALL, "train.epochs=0", f"train.weights='{tmp_path / 'pruned.pt'}'"]
    changes += ["compress.rate=1", "compress.layers=[]", "test_images=20", "chips.n=1", "compare.slices=1"]
    result = result_of_run(load_study("digits", changes), None, tmp_path / "run")
    assert result["compression"]["weights_kept"] == kept
    assert result["mapping"]["tiles_per_plane_before"] > result["mapping"]["tiles_per_plane_after"]


@pytest.mark.parametrize("seed", range(8))
def test_a_column_without_weights_takes_its_bias_on_many_word_lines(seed: int) -> None:
    """Its scale follows from its bias, but rounding said at random that one more word line is needed."""
    torch.manual_seed(seed)
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.rand(5, 4)
    model[0].weight.data.zero_()
    y = analog(model, load_hardware("ideal"), x, layers={"0": Choice(bias_rows=20)})(x)
    torch.testing.assert_close(y, model(x))
