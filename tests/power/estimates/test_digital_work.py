"""Digital work between layers: priced where a library has blocks for it, and named where none has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from power_cases import network, unpacked

from experiments.commands.networks.estimate_text import text
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork, Tile
from power.components.scaling import area_factor, energy_factor
from power.counts.events import layer_events
from power.counts.workload import workload
from power.estimates.nameplate import nameplate, rated_mw
from power.estimates.table import Estimate, estimate
from xbar import Hardware, load_hardware

WORK = {
    "add": {"additions": 3000},
    "_softmax": {
        "comparisons": 90,
        "additions": 190,
        "transcendentals": 100,
        "divisions": 10,
        "multiplications": 100,
    },
    "embedding": {"looked_up": 64},
    "relu": {"activations": 200},
}


def priced() -> Hardware:
    return load_hardware("admm-32x32").replace(
        periphery__library="isaac-aladdin", periphery__scaling="stillmaker-baas"
    )


def with_work(design: Hardware) -> MappedNetwork:
    layer = unpacked(design, 100, 50, positions=4)
    return network(design, layer, digital_operations=WORK, digital_macs={"bmm": 4000})


def of(result: Estimate, component: str) -> dict[str, float]:
    return result.by_component[component]


def test_blocks_of_aladdin_do_it_at_their_price() -> None:
    """7190 additions at .21 pJ, 4100 products at 12.68 pJ and 90 comparisons at 29.5 fJ, at 40 nm, brought to
    32 nm as all digital blocks are."""
    design = priced()
    result = estimate(with_work(design))
    scale = energy_factor(40, 32)
    expected = {
        "digital_adder": (4000 + 3000 + 190) * 0.21e-3,
        "digital_multiplier": (4000 + 100) * 12.68e-3,
        "digital_comparator": 90 * 29.5e-6,
    }
    for name, nj in expected.items():
        assert of(result, name)["dynamic_nj"] == pytest.approx(nj * scale, rel=1e-9), name
    (nodes,) = result.nodes.values()
    areas = {"digital_adder": 278e-6, "digital_multiplier": 6350e-6, "digital_comparator": 71e-6}
    for name, mm2 in areas.items():
        allocated = of(result, name)["allocated_mm2"]
        assert allocated == pytest.approx(nodes * mm2 * area_factor(40, 32), rel=1e-9), name


def test_it_takes_time() -> None:
    """A hundred million additions on the adders of the chip, one a node at 1e9 a second."""
    design = priced()
    layer = unpacked(design, 100, 50)
    result = estimate(network(design, layer, digital_operations={"add": {"additions": 10**8}}))
    assert result.bottleneck == "digital_adder of the chip"
    assert 1 / result.peak_image_rate_per_s == pytest.approx(0.1 / sum(result.nodes.values()))


def test_what_has_no_price_is_named_with_its_share() -> None:
    """On Aladdin's blocks the exponentials, inverses and look-ups; on ISAAC's all but activations."""
    result = estimate(with_work(priced()))
    in_all = 2 * 100 * 50 * 4 + 2 * 4000 + 3000 + 490 + 64 + 200
    assert result.digital_operations == 2 * 4000 + 3000 + 490 + 64 + 200
    assert dict(result.digital_unpriced) == {"_softmax": 110, "embedding": 64}
    assert result.unpriced_share == pytest.approx(174 / in_all)
    assert (
        "digital work: _softmax, 110 operations an image (divisions, transcendentals)" in result.not_modelled
    )
    plain = estimate(with_work(load_hardware("admm-32x32")))
    assert dict(plain.digital_unpriced) == {"bmm": 8000, "add": 3000, "_softmax": 490, "embedding": 64}
    first = text("a network", {"admm-32x32": plain}).split("\n\n")[0]
    share = 100 * (8000 + 3000 + 490 + 64) / in_all
    assert f"not modelled: {share:.1f} % of the operations of an image, which stay digital: bmm" in first
    assert plain.to_dict()["unpriced_share"] == pytest.approx(share / 100)


def test_a_network_without_digital_work_says_nothing() -> None:
    design = load_hardware("admm-32x32")
    result = estimate(network(design, unpacked(design, 100, 50)))
    assert not result.digital_unpriced
    assert "stay digital" not in text("a network", {"admm-32x32": result})
    assert not any("digital_" in line for line in result.not_modelled)


def test_a_block_of_a_users_library_prices_it(tmp_path: Path) -> None:
    """A unit for exponentials at 3 pJ: 100 of them are .3 nJ; inverses are still named."""
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nsource = "a test"\nbase = "isaac-aladdin"\n[components.digital_function]\n'
        'source = "a test"\nnode_nm = 32.0\nkind = "digital"\nper = "node"\nunit = "unit"\ncount = 1\n'
        'area_mm2 = 1e-3\npower_mw = 3.0\nrate_per_s = 1e9\nevent = "exponential"\n'
    )
    result = estimate(with_work(priced().replace(periphery__library=str(path))))
    assert of(result, "digital_function")["dynamic_nj"] == pytest.approx(0.3)
    assert dict(result.digital_unpriced) == {"embedding": 64, "_softmax": 10}


def test_a_missing_half_of_a_product_is_no_price(tmp_path: Path) -> None:
    """With an adder alone, products are not modelled: half of their energy would pass for all."""
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nsource = "a test"\nbase = "isaac"\n[components.digital_adder]\n'
        'source = "a test"\nnode_nm = 32.0\nkind = "digital"\nper = "node"\nunit = "unit"\ncount = 1\n'
        'area_mm2 = 1e-3\npower_mw = 0.2\nrate_per_s = 1e9\nevent = "addition"\n'
    )
    result = estimate(with_work(load_hardware("admm-32x32").replace(periphery__library=str(path))))
    assert result.digital_unpriced["bmm"] == 8000
    assert "add" not in result.digital_unpriced


def test_no_digital_work_takes_more_than_its_plate() -> None:
    design = priced()
    result = estimate(with_work(design))
    plate = nameplate(design, sum(result.nodes.values()))
    for name in ("digital_adder", "digital_multiplier", "digital_comparator"):
        power_mw = of(result, name)["dynamic_nj"] * result.peak_image_rate_per_s * 1e-6
        assert 0 < power_mw <= rated_mw(plate.of(name))


def test_work_that_an_architecture_has_no_block_for_is_named() -> None:
    """A chip of cores alone adds no sums of arrays and has no buffers: this was 0 without a word."""
    design = load_hardware("neurram")
    result = estimate(network(design, unpacked(design, 300, 50)))
    for event in ("sum_updates", "partial_sums", "rescaled", "outputs", "fetched_bytes", "stored_bytes"):
        assert f"{event}: no component of neurram is charged for them" in result.not_modelled
    assert not any("index_bytes" in line for line in result.not_modelled)
    for name in ("isaac", "puma"):
        design = load_hardware(name)
        said = estimate(network(design, unpacked(design, 300, 50))).not_modelled
        assert not any("is charged for them" in line for line in said)


@pytest.mark.parametrize("name", ["neurram", "hermes"])
def test_an_index_that_an_architecture_has_no_memory_for_is_named(name: str) -> None:
    """A packed band of 100 of 600 columns names each with 10 bits: 125 bytes were left out in silence."""
    design = load_hardware(name)
    columns = np.arange(0, 600, 6)
    tile = Tile(np.arange(100), columns)
    packed = MappedLayer("layer", "linear", 100, 600, 1, (Band(0, 100, (tile,)),), design)
    mapped = network(design, packed)
    assert layer_events(packed, design, workload(mapped).layers["layer"])["index_bytes"] == 125
    said = estimate(mapped).not_modelled
    assert f"index_bytes: no component of {name} is charged for them" in said
    assert not any(line.startswith("partial_sums") for line in said)


@pytest.mark.parametrize("name", ["isaac", "puma"])
def test_activations_beyond_the_outputs_of_layers_are_named(name: str) -> None:
    """A layer of 50 outputs carries 50 of 120 activations: those of a digital recurrent layer passed for
    priced."""
    design = load_hardware(name)
    work = {"sigmoid": {"activations": 80}, "tanh": {"activations": 40}}
    result = estimate(network(design, unpacked(design, 100, 50), digital_operations=work))
    assert sum(result.digital_unpriced.values()) == 120 - 50
    assert dict(result.digital_unpriced) == {"sigmoid": 46, "tanh": 24}
    assert "digital work: sigmoid, 46 operations an image (activations)" in result.not_modelled
    enough = estimate(network(design, unpacked(design, 100, 50, positions=3), digital_operations=work))
    assert not enough.digital_unpriced
