"""Architectures of files: components, levels and prices that a user adds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from power_cases import hardware, network, unpacked

from power.architecture.chip import architecture_files, load_architecture
from power.components.library import load_periphery
from power.estimates.nameplate import nameplate, rated_mw
from power.estimates.prices import bill_of, prices_of
from power.estimates.table import estimate
from xbar.hardware.errors import XbarError
from xbar.hardware.files import load_hardware

AMPLIFIER = """
[components.amplifier]
level = "array"
count = "cols"
events = "conversions"
rate = "1 / t_read"

[components.amplifier.price]
energy_pj = 0.5
area_um2 = 40.0
leakage_uw = 2.0
source = "a guess of this test"
node_nm = 32.0
kind = "analog"
event = "conversion"
unit = "amplifier"
"""


def own(folder: Path, text: str, base: str = "isaac-periphery", name: str = "chip.toml") -> str:
    """Path of an architecture that changes another."""
    path = folder / name
    path.write_text(f'name = "own"\nsource = "a test"\nbase = "{base}"\n{text}')
    return str(path)


def estimates(folder: Path, text: str, **changes):
    """Of a small layer: on the architecture that ships, and on one that changes it."""
    plain = hardware(**changes)
    other = plain.replace(periphery__architecture=own(folder, text))
    return tuple(estimate(network(design, unpacked(design, 6, 5, positions=3))) for design in (plain, other))


def test_the_shipped_architecture_has_the_blocks_of_isaac() -> None:
    shipped = load_architecture("isaac-periphery")
    assert [level.name for level in shipped.levels] == ["array", "core", "node", "cluster", "chip"]
    assert len([c for c in shipped.components.values() if c.level != "chip" and not c.optional]) == 15
    assert {c.level for c in load_architecture("isaac").components.values()} <= {
        *(level.name for level in shipped.levels),
        "layer",
    }
    bill = bill_of(load_hardware("isaac"))
    assert bill.levels == {"array": 1, "core": 8, "node": 96, "cluster": 384}
    digital = ("digital_adder", "digital_multiplier", "digital_comparator", "digital_divider")
    assert bill.missing == (
        *("row_driver", "column_driver", "mux", "factor_register", "rescale"),
        *(*digital, "digital_function", "embedding"),
    )


def test_a_component_of_the_user_costs_its_events_its_area_and_its_leakage(tmp_path: Path) -> None:
    """4 arrays of 4 columns; 8 phases x 3 positions x 10 columns of weights are converted."""
    plain, result = estimates(tmp_path, AMPLIFIER)
    (row,) = [row for row in result.table if row.component == "amplifier" and row.layer == "layer"]
    assert (row.units, row.events, row.level) == (8 * 4, 8 * 3 * 10, "array")
    assert row.leakage_mw == pytest.approx(8 * 4 * 2e-3)
    assert result.area_mm2 - plain.area_mm2 == pytest.approx(32 * 40e-6)
    assert row.energy_nj == pytest.approx(240 * 0.5e-3 + row.leakage_mw * row.image_s * 1e6)
    assert result.energy_nj_per_image - plain.energy_nj_per_image == pytest.approx(row.energy_nj)
    for name, cost in plain.by_component.items():
        assert result.by_component[name] == cost


def test_zero_is_a_price(tmp_path: Path) -> None:
    free = AMPLIFIER.replace("0.5", "0.0").replace("40.0", "0.0").replace("leakage_uw = 2.0\n", "")
    plain, result = estimates(tmp_path, free)
    assert set(result.by_component["amplifier"].values()) == {0}
    assert result.energy_nj_per_image == plain.energy_nj_per_image


def test_a_level_of_the_user_and_its_component(tmp_path: Path) -> None:
    """A chiplet of two nodes of 8 arrays has one amplifier, of which 8 arrays in 16 bring half."""
    levels = """levels = [
    { name = "array" }, { name = "core", holds = "arrays_per_group" },
    { name = "node", holds = "groups_per_tile" }, { name = "chiplet", holds = 2 },
    { name = "cluster", holds = "tiles_per_router / 2" }, { name = "chip" },
]
"""
    added = AMPLIFIER.replace('level = "array"', 'level = "chiplet"').replace('count = "cols"', "count = 1")
    plain, result = estimates(tmp_path, levels + added)
    assert result.area_mm2 - plain.area_mm2 == pytest.approx(40e-6 * 8 / 16)
    assert result.levels == {"core": 2, "node": 1, "chiplet": 1, "cluster": 1}
    assert result.by_level["chiplet"]["area_mm2"] == pytest.approx(20e-6)
    assert result.by_component["router"] == plain.by_component["router"]


def test_what_is_on_a_chip_once_is_shared_by_the_arrays_of_its_layers(tmp_path: Path) -> None:
    text = AMPLIFIER.replace('level = "array"', 'level = "chip"').replace('count = "cols"', "count = 3")
    text = text.replace('events = "conversions"', 'events = "7 * images"')
    design = hardware().replace(periphery__architecture=own(tmp_path, text))
    layers = unpacked(design, 12, 4, name="large"), unpacked(design, 4, 4, name="small")
    result = estimate(network(design, *layers))
    rows = {row.layer: row for row in result.table if row.component == "amplifier"}
    assert {name: row.units for name, row in rows.items()} == pytest.approx(
        {"large": 3 * 6 / 8, "small": 3 * 2 / 8, "(digital)": 0}
    )
    assert {name: row.events for name, row in rows.items()} == {"large": 0, "small": 0, "(digital)": 7}


def test_a_component_may_be_removed_or_counted_otherwise(tmp_path: Path) -> None:
    plain, result = estimates(tmp_path, 'remove = ["sigmoid"]\n[components.edram]\ncount = 3\n')
    assert "sigmoid" not in result.by_component
    assert result.by_component["edram"]["area_mm2"] == pytest.approx(
        3 * plain.by_component["edram"]["area_mm2"]
    )
    assert result.by_component["edram"]["energy_nj"] == plain.by_component["edram"]["energy_nj"]


def test_a_lump_in_place_of_the_device(tmp_path: Path) -> None:
    """30 pJ for each read of an array, whatever its cells are, in the estimate and the nameplate."""
    design = hardware(periphery__architecture="isaac")
    layer = unpacked(design, 6, 5, positions=3)
    results = [estimate(network(one, layer)) for one in (design, design.replace(dac__v_read=0.1), hardware())]
    energies = [result.by_component["array"]["energy_nj"] for result in results]
    assert energies[:2] == pytest.approx([3 * 8 * 2 * 4 * 30e-3] * 2)
    assert energies[2] != pytest.approx(energies[0], rel=0.1)
    assert rated_mw(nameplate(design).of("array")) == pytest.approx(8 * 0.3)


def test_prices_of_another_library_and_a_base_lie_beside_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "designs"
    folder.mkdir()
    (folder / "parts.toml").write_text(
        'name = "parts"\nsource = "a test"\n[components.latch]\nsource = "a test"\nnode_nm = 32.0\n'
        'kind = "digital"\nper = "latch"\nunit = "latch"\ncount = 2\narea_mm2 = 6e-6\npower_mw = 0.0\n'
        'rate_per_s = 1e9\nevent = "bit"\n'
    )
    text = AMPLIFIER.partition("[components.amplifier.price]")[0]
    text += 'price = { library = "parts.toml", part = "latch" }\n'
    own(folder, text, name="base.toml")
    own(folder, "", base="base.toml")
    source = Path(str(load_architecture("isaac").folder)).parents[1] / "xbar" / "hardware" / "designs"
    design = (source / "admm-32x32.toml").read_text()
    (folder / "mine.toml").write_text(
        design.replace("[periphery]", '[periphery]\narchitecture = "chip.toml"')
    )
    monkeypatch.chdir(tmp_path)
    price = prices_of(load_hardware("designs/mine.toml"))["amplifier"]
    assert (price.area_um2, price.energy_pj) == (pytest.approx(3), 0)
    names = [path.name for path in architecture_files("designs/chip.toml")]
    assert names == ["chip.toml", "base.toml", "isaac-periphery.toml", "parts.toml"]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    first = hardware(periphery__architecture=own(tmp_path, AMPLIFIER))
    assert prices_of(first)["amplifier"].area_um2 == pytest.approx(40)
    assert load_architecture(first.periphery.architecture) is load_architecture(first.periphery.architecture)
    assert load_periphery("isaac") is load_periphery("isaac")
    own(tmp_path, AMPLIFIER.replace("40.0", "50.0"))
    assert prices_of(first)["amplifier"].area_um2 == pytest.approx(50)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[components.adc]\ncount = "col"', "components.adc.count: unknown name 'col'; did you mean 'cols'?"),
        ('[components.adc]\nevents = "convs"', "components.adc.events: unknown name 'convs'"),
        ('[components.adc]\nevents = "layer_index_bytes"', "components.adc.events: unknown name"),
        ('[components.adc]\nlevel = "nod"', "components.adc.level: unknown name 'nod'; did you mean 'node'?"),
        ("[components.adc]\ncounts = 3", "components.adc: counts: unknown key; did you mean 'count'?"),
        (
            AMPLIFIER.replace("amplifier", "converter").partition("[components.converter.price]")[0],
            "components.converter.price: missing; a component takes the block of its name, but",
        ),
        ("[components.adc]\nprice = 3", "components.adc.price = 3: must be the name of a block, or a table"),
        ("[components.own]\ncount = 3", "components.own: level, events: missing"),
        ('remove = ["abc"]', "remove: unknown name 'abc'; did you mean"),
        ('levels = [{ name = "node" }]', "must have one of the name 'array'"),
        ('levels = [{ name = "array" }, { name = "array" }]', "each name may be there once"),
        ('levels = [{ name = "chip" }, { name = "array" }]', "'chip' must be the last"),
        ('levels = [{ name = "array", holds = 2 }]', "holds = 2.0: has no effect on the first level"),
        ("phase_bits = 40", "phase_bits = 40: must lie between 1 and 16"),
        ("components = 3", "components = 3: must be a table"),
        ("compnents = 3", "compnents: unknown key; did you mean 'components'?"),
        (AMPLIFIER.replace("0.5", "-0.5"), "components.amplifier.price: energy_pj = -0.5: must be a number"),
        (AMPLIFIER.replace("area_um2 = 40.0", ""), "components.amplifier.price: area_um2: missing"),
        (AMPLIFIER + "capacity_kb = 2.0", "components.amplifier.price: capacity_kb: unknown key"),
        (
            AMPLIFIER.replace('rate = "1 / t_read"', "optional = true"),
            "optional = true: has no effect on a price",
        ),
    ],
)
def test_a_mistake_in_an_architecture_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=r"^chip\.toml: ") as caught:
        load_architecture(own(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (
            '[components.sigmoid]\nprice = "relu"',
            {},
            "own: components.sigmoid.price: the component library 'isaac'",
        ),
        ("[components.dac]\nrate = 0", {}, "own: components.dac: rate = 0.0: gives 0, at which nothing is"),
        ("[components.dac]\nrate = 1e-300", {}, "own: components.dac: rate = 1e-300: gives 1e-300; must lie"),
        (
            "[components.bus]\ncapacity_kb = 3",
            {},
            "components.bus.capacity_kb = 3.0: has no effect; 'bus' is no",
        ),
        (
            "[components.edram]\ncapacity_kb = 3",
            {"periphery__buffer_kb": 2.0},
            "periphery.buffer_kb = 2.0: has no",
        ),
        ('remove = ["array"]', {"crossbar__cell_f2": 4.0}, "crossbar.cell_f2 = 4: has no effect"),
        (
            AMPLIFIER.replace("node_nm = 32.0", "node_nm = 28.0"),
            {},
            "periphery.node_nm = 32: the component library",
        ),
        ("", {"dac__phase_bits": 2}, "dac.phase_bits = 2: has no cost entry"),
    ],
)
def test_what_has_no_price_or_no_effect_is_refused(text, changes, words, tmp_path: Path) -> None:
    design = hardware(**changes).replace(periphery__architecture=own(tmp_path, text))
    with pytest.raises(XbarError) as caught:
        bill_of(design)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wide_phases_are_priced_where_an_architecture_says_so(tmp_path: Path) -> None:
    design = hardware(dac__phase_bits=4, periphery__architecture=own(tmp_path, "phase_bits = 4"))
    layer = unpacked(design, 6, 5)
    one = hardware()
    wide, narrow = estimate(network(design, layer)), estimate(network(one, layer))
    assert wide.by_component["dac"]["energy_nj"] == pytest.approx(narrow.by_component["dac"]["energy_nj"] / 4)


def test_a_block_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lib.toml"
    block = '[components.buss]\nsource = "x"\nnode_nm = 32.0\nkind = "wire"\nper = "tile"\nunit = "bus"\n'
    path.write_text(f'name = "lib"\nsource = "x"\nbase = "isaac"\n{block}count = 1\narea_mm2 = 0.1\n')
    with pytest.raises(XbarError, match=r"^lib: components: unknown name 'buss'; did you mean 'bus'\?"):
        prices_of(hardware(periphery__library=str(path)))


@pytest.mark.parametrize(
    ("level", "count", "events", "words"),
    [
        ("layer", "'layer_index_bytes'", "pooled", r"events = 'pooled': a layer has no 'pooled'"),
        ("layer", "1", "pooled + outputs", r"events = 'pooled \+ outputs': a layer has no 'pooled'"),
        (
            "chip",
            "1",
            "outputs * images",
            r"'outputs \* images': mixes images, which is of the network, with out",
        ),
        ("node", "1", "2 * max(pooled, sums)", r"mixes pooled, which is of the network, with sums"),
        (
            "node",
            "1",
            "pooled if pooled > 10 else outputs",
            r"mixes pooled, which is of the network, with outputs",
        ),
        ("chip", "1", "off_chip_bytes + outputs", r"off_chip_bytes stands alone"),
        ("chip", "1", "5", r"events = '5': gives 5 where nothing happens; must give 0"),
        ("chip", "1", "1 + images", r"events = '1 \+ images': gives 1 where nothing happens; must give 0"),
        ("chip", "1", "1000 / vectors", r"events = '1000 / vectors': .*division by zero"),
    ],
)
def test_events_that_no_row_can_be_charged_for_are_refused(
    level: str, count: str, events: str, words: str, tmp_path: Path
) -> None:
    """A KeyError; an expression that was taken once with the network's events at 0 and once with the layers'
    at 0, and summed; a constant that was charged to every layer, to pools and to empty arrays."""
    text = (
        f'[components.amp]\nlevel = "{level}"\ncount = {count}\nevents = "{events}"\n'
        'price = "output_register"\n'
    )
    with pytest.raises(XbarError, match=rf"components\.amp\.events.*{words}|amp.*{words}") as caught:
        estimates(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_sums_of_events_of_layers_and_of_the_network_are_charged_to_both(tmp_path: Path) -> None:
    text = (
        '[components.amp]\nlevel = "node"\ncount = 1\nevents = "2 * pooled + cols * (outputs + sums)"\n'
        'rate = 1e9\nprice = "output_register"\n'
    )
    design = hardware(periphery__architecture=own(tmp_path, text))
    layer = unpacked(design, 6, 5, positions=3)
    found = estimate(network(design, layer, digital_operations={"max_pool2d": {"pooled": 7}}))
    events = {row.layer: row.events for row in found.table if row.component == "amp" and row.events}
    assert events == {"layer": 4 * (15 + 30), "(digital)": 14}


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (
            '{ name = "core" }, { name = "node", holds = 2 }, { name = "array", holds = 4 }, '
            '{ name = "cluster", holds = 3 }',
            "'node' must be above 'array'",
        ),
        (
            '{ name = "array" }, { name = "core", holds = 1.5 }, { name = "node" }, { name = "cluster" }',
            r"levels\.core\.holds = 1\.5: gives 1\.5; must give a whole number from 1 on",
        ),
        (
            '{ name = "array" }, { name = "core", holds = "rows / 8" }, { name = "node" }, '
            '{ name = "cluster" }',
            r"levels\.core\.holds = 'rows / 8': gives 0\.5; must give a whole number from 1 on",
        ),
        (
            '{ name = "array" }, { name = "core", holds = 0 }, { name = "node" }, { name = "cluster" }',
            r"levels\.core\.holds = 0\.0: gives 0; must give a whole number from 1 on",
        ),
    ],
)
def test_levels_hold_whole_units_and_nodes_hold_arrays(levels: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=words):
        prices_of(
            hardware(periphery__architecture=own(tmp_path, f'levels = [{levels}, {{ name = "chip" }}]'))
        )


@pytest.mark.parametrize("name", ["converter", "device"])
def test_a_block_with_the_name_of_another_price_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "lib.toml"
    block = f'[components.{name}]\nsource = "x"\nnode_nm = 32.0\nkind = "wire"\nper = "tile"\nunit = "bus"\n'
    path.write_text(f'name = "lib"\nsource = "x"\nbase = "isaac"\n{block}count = 1\narea_mm2 = 0.1\n')
    with pytest.raises(XbarError, match=rf"^lib\.toml: components\.{name}: stands for .*needs another name"):
        load_periphery(str(path))
