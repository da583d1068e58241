"""Component libraries reproduce the tables that they were read from, and refuse what is not in them."""

import re
import shutil
from importlib import resources
from pathlib import Path

import pytest
from power_cases import hardware, network, unpacked

from power.architecture.chip import load_architecture
from power.components.converters import load_adc
from power.components.library import at_node, load_periphery
from power.estimates.prices import prices_of
from power.estimates.table import estimate
from xbar.hardware.errors import XbarError

GROUPS, TILES, TILES_A_ROUTER = 12, 168, 4


@pytest.fixture(scope="module")
def isaac():
    return load_periphery("isaac").components


def total_power_mw(parts, per):
    """Energy an event times nameplate events a second, over the counts that stand in one `per`."""
    lumps = [p for p in parts.values() if p.per == per and p.power_mw is not None]
    return sum(p.energy_j * p.rate_per_s * p.count for p in lumps) * 1e3


def total_area_mm2(parts, per):
    return sum(p.unit_area_mm2 * p.count for p in parts.values() if p.per == per)


def chip(parts, total):
    """Totals of an IMA, a tile, 168 tiles and the chip."""
    ima = total(parts, "group")
    tile = GROUPS * ima + total(parts, "tile") + total(parts, "router") / TILES_A_ROUTER
    return ima, tile, TILES * tile, TILES * tile + total(parts, "chip")


def test_isaac_power_totals(isaac):
    assert chip(isaac, total_power_mw) == pytest.approx([24.08, 329.81, 55408, 65808], rel=1e-3)


def test_isaac_area_totals(isaac):
    assert chip(isaac, total_area_mm2) == pytest.approx([0.01312, 0.37229, 62.545, 85.425], rel=1e-3)


def test_isaac_peak_efficiency_and_adc_shares(isaac):
    *_, power = chip(isaac, total_power_mw)
    *_, area = chip(isaac, total_area_mm2)
    gops = TILES * GROUPS * isaac["array_read"].count * 4096 / 1.6e-6 / 1e9
    assert gops / (power * 1e-3) == pytest.approx(627.5, rel=1e-3)
    adc, imas = isaac["adc"], TILES * GROUPS
    tiles_power, tiles_area = chip(isaac, total_power_mw)[2], chip(isaac, total_area_mm2)[2]
    assert imas * adc.power_mw / tiles_power == pytest.approx(0.582, abs=5e-4)
    assert imas * adc.area_mm2 / tiles_area == pytest.approx(0.309, abs=5e-4)
    assert area == pytest.approx(85.4, rel=1e-3)


def test_isaac_energy_of_an_event(isaac):
    published_pj = {
        "adc": 1.5625,
        "dac": 0.3906,
        "sample_hold": 0.977e-3,
        "array_read": 30,
        "edram": 2.02,
        "bus": 0.684,
    }
    for name, energy in published_pj.items():
        assert isaac[name].energy_j * 1e12 == pytest.approx(energy, rel=1e-3), name


def test_isaac_converter_line_from_one_conversion_a_mac(isaac):
    """16 b x 16 b, 8 slices, 16 phases, 128 rows: one conversion a MAC, so 20.644 T-MAC/s are 32.256 W."""
    macs_per_s = TILES * GROUPS * 8 * 4096 / 2 / 1.6e-6
    assert macs_per_s == pytest.approx(20.644e12, rel=1e-4)
    assert macs_per_s * isaac["adc"].energy_j == pytest.approx(32.256, rel=1e-4)


def test_every_component_has_source_unit_node_and_event(isaac):
    for name, part in isaac.items():
        assert "doi:" in part.source, name
        assert part.unit, name
        assert part.node_nm == 32, name
        assert part.power_mw is None or part.event, name


def test_scaled_converters():
    library = load_adc("isaac-scaled-adc")
    assert [c.bits for c in library.converter] == [4, 5, 6, 7, 8, 9]
    assert library.of(8, 1.28e9, 32).energy_pj == pytest.approx(2 / 1.2, abs=5e-3)
    nameplate = load_periphery("isaac").components["adc"]
    assert library.of(8, 1.28e9, 32).area_um2 == pytest.approx(nameplate.unit_area_mm2 * 1e6)
    for converter in library.converter:
        bits = converter.bits
        assert converter.energy_pj == pytest.approx(0.1956 * bits + 0.00041 * 2**bits, abs=2e-3)
        assert converter.area_um2 == pytest.approx(81.72 * bits + 2.134 * 2**bits, abs=0.3)


@pytest.mark.parametrize("bits", [3, 10, "ideal"])
def test_converter_outside_the_library_is_refused(bits):
    with pytest.raises(XbarError, match=r"^adc\.bits = .*allowed: 4, 5, 6, 7, 8, 9$"):
        load_adc("isaac-scaled-adc").of(bits, 1.28e9, 32)


def test_unknown_names_are_refused_with_those_of_the_kind():
    with pytest.raises(
        XbarError,
        match=r"^periphery\.library.*'isac'; did you mean 'isaac'\? allowed: forms, hermes, isaac, isaac",
    ):
        load_periphery("isac")
    with pytest.raises(
        XbarError, match=r"^adc\.library.*'isaac'.*allowed: adc-regression, .*isaac-scaled-adc, puma-adc$"
    ):
        load_adc("isaac")


def own_library(folder: Path, old: str, new: str) -> str:
    """Path of a copy of ISAAC's library with one change."""
    path = folder / "own.toml"
    shutil.copy(str(resources.files("power.components") / "isaac.toml"), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return str(path)


def test_own_library_is_read_from_its_path(tmp_path):
    path = own_library(tmp_path, "power_mw = 4.0", "power_mw = 8.0")
    own, isaac = load_periphery(path).components["dac"], load_periphery("isaac").components["dac"]
    assert own.energy_j == 2 * isaac.energy_j


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "power_mw = 4.0",
            "power_mw = -4.0",
            r"components\.dac: power_mw = -4\.0: must be a number from 0",
        ),
        (
            "power_mw = 4.0",
            "power_mv = 4.0",
            r"components\.dac: power_mv: unknown key; did you mean 'power_mw'",
        ),
        ("power_mw = 4.0", "", r"components\.dac: rate_per_s, event: have no effect without power_mw"),
        ("rate_per_s = 1e07", "", r"components\.dac: power_mw = 4\.0: needs rate_per_s"),
        ('kind = "analog"', 'kind = "analogue"', r"components\.adc: kind = 'analogue'.*'analog'"),
        ("count = 8\n", "count = 0\n", r"components\.adc: count = 0: must be a positive number"),
        (
            'kind = "analog"',
            'kind = "analog"\ncapacity_kb = 2.0',
            r"components\.adc: capacity_kb = 2\.0: has no",
        ),
    ],
)
def test_a_mistake_in_a_library_is_one_line_with_file_and_key(tmp_path, old, new, message):
    with pytest.raises(XbarError, match=rf"^own\.toml: {message}") as caught:
        load_periphery(own_library(tmp_path, old, new))
    assert "\n" not in str(caught.value)


def test_missing_library_file_is_refused():
    with pytest.raises(XbarError, match=r"^nowhere\.toml: no such file$"):
        load_adc("nowhere.toml")


def test_two_converters_of_the_same_bits_are_refused(tmp_path):
    source = resources.files("power.components") / "isaac-scaled-adc.toml"
    path = tmp_path / "own.toml"
    path.write_text(source.read_text().replace("bits = 5", "bits = 4"))
    with pytest.raises(XbarError, match=r"own\.toml: converter\.bits .* once"):
        load_adc(str(path))


def test_the_documented_prices_are_those_of_the_library(isaac):
    text = (Path(__file__).parents[3] / "docs" / "estimate.md").read_text()
    for name, part in isaac.items():
        row = re.search(rf"^\| `{name}` \| \d+ a \w+ \|.*$", text, re.M)[0]
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        area = f"{part.unit_area_mm2 * 1e6:.4g}" if part.area_mm2 is not None else "-"
        energy = f"{part.energy_j * 1e12:.4g}" if part.power_mw is not None else "-"
        assert (cells[1], cells[3], cells[6]) == (f"{part.count} a {part.per}", area, energy), name
    for converter in load_adc("isaac-scaled-adc").converter:
        assert f"| {converter.bits} | {converter.energy_pj:g} | {converter.area_um2:g} |" in text


def test_a_library_takes_from_its_base_what_it_has_not() -> None:
    own, base = (load_periphery(name).components for name in ("isaac-aladdin", "isaac"))
    changed = {name for name in base if own[name] != base[name]}
    assert changed == {
        "shift_add",
        "tile_shift_add",
        "input_register",
        "output_register",
        "tile_output_register",
        "max_pool",
    }
    assert own["shift_add"].energy_j == pytest.approx(0.21e-12)
    assert own["input_register"].unit_area_mm2 * 1e6 == pytest.approx(8 * 5.98)
    assert own["output_register"].energy_j == pytest.approx(8 * 9e-15)


def test_only_digital_blocks_are_scaled() -> None:
    """From 40 to 32 nm, between 45 and 32 in the row of 45 nm: area 1 - 5/13 x .54 at 40 nm."""
    parts = load_periphery("isaac-aladdin").components
    adder = at_node(parts["shift_add"], 32)
    assert adder.node_nm == 32
    assert adder.unit_area_mm2 / parts["shift_add"].unit_area_mm2 == pytest.approx(0.46 / (1 - 5 / 13 * 0.54))
    at_45, at_32 = (a * 0.64 + b * 0.8 + c for a, b, c in ((1.103, -0.362, 0.2767), (0.9559, -0.7823, 0.471)))
    at_40 = at_45 + (at_32 - at_45) * 5 / 13
    assert adder.energy_j / parts["shift_add"].energy_j == pytest.approx(at_32 / at_40)
    for name in ("dac", "sample_hold", "cell", "edram", "bus"):
        assert at_node(parts[name], 45) is parts[name]


def test_a_base_that_leads_back_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'name = "own"\nsource = "none"\nbase = "{path}"\n')
    with pytest.raises(XbarError, match=r"own\.toml: a base that leads back to itself$"):
        load_periphery(str(path))


def test_a_base_that_leads_back_by_another_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'name = "own"\nsource = "none"\nbase = "../{tmp_path.name}/own.toml"\n')
    with pytest.raises(XbarError, match=r"a base that leads back to itself$"):
        load_periphery(str(path))


def test_a_base_that_is_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\nsource = "none"\nbase = 3\n')
    with pytest.raises(
        XbarError, match=r"^own\.toml: base = 3: must be the name of a file that ships, or a path$"
    ):
        load_periphery(str(path))


def test_leakage_goes_with_area_and_time() -> None:
    """Aladdin's adder and register leak 2.25 uW and 74 nW a bit at 40 nm; others are named as not known."""
    design = hardware(periphery__library="isaac-aladdin", periphery__scaling="stillmaker-baas")
    mapped = network(design, unpacked(design, 4, 4, positions=3))
    fast, slow = estimate(mapped), estimate(mapped, image_rate=1000.0)
    rows = {row.component: row for row in slow.table if row.layer == "layer"}
    assert rows["shift_add"].leakage_mw == pytest.approx(rows["shift_add"].allocated_units * 2.25e-3)
    assert rows["input_register"].leakage_mw == pytest.approx(
        rows["input_register"].allocated_units * 8 * 74e-6
    )
    assert rows["adc"].leakage_mw is None
    events = {
        key: sum(r.events * r.event_energy_pj * 1e-3 for r in one.table)
        for key, one in (("fast", fast), ("slow", slow))
    }
    assert events["fast"] == pytest.approx(events["slow"])
    assert slow.energy_nj_per_image - events["slow"] == pytest.approx(slow.leakage_mw * 1e-3 * 1e6)
    assert slow.power_mw == pytest.approx(events["slow"] * 1e-3 + slow.leakage_mw)
    assert fast.peak_power_mw == pytest.approx(slow.peak_power_mw)
    (text,) = [text for text in slow.not_modelled if text.startswith("leakage")]
    assert "adc" in text
    assert "shift_add" not in text


def test_a_memory_of_another_size_and_a_cell_in_f2() -> None:
    design = hardware()
    plain = prices_of(design)
    small = prices_of(design.replace(periphery__buffer_kb=16.0, crossbar__cell_f2=12.0))
    assert small["edram"].energy_pj == pytest.approx(plain["edram"].energy_pj * 0.25**0.78)
    assert small["edram"].area_um2 == pytest.approx(83_000 / 4)
    assert small["array"].area_um2 == pytest.approx(16 * 12 * 0.032**2)
    assert "depth^0.78" in small["edram"].derivation
    assert prices_of(design.replace(periphery__buffer_kb=64.0))["edram"].energy_pj == pytest.approx(
        plain["edram"].energy_pj
    )
    with pytest.raises(XbarError, match=r"^periphery.buffer_kb = 0.0: must lie between"):
        design.replace(periphery__buffer_kb=0.0)


def test_a_memory_of_another_size_leaks_with_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "leaking.toml"
    path.write_text(
        'name = "leaking"\nsource = "mine"\nbase = "isaac"\n[components.edram]\n'
        'source = "mine"\nnode_nm = 32.0\nkind = "memory"\nper = "tile"\nunit = "buffer"\ncount = 2\n'
        "capacity_kb = 64.0\narea_mm2 = 0.083\nleakage_mw = 0.8\n"
    )
    design = hardware(periphery__library=str(path))
    assert prices_of(design)["edram"].leakage_uw == pytest.approx(400)
    small = prices_of(design.replace(periphery__buffer_kb=16.0))["edram"]
    assert small.leakage_uw == pytest.approx(100)
    assert small.area_um2 == pytest.approx(83_000 / 2 / 4)


def test_paths_of_files_are_as_good_as_their_texts(tmp_path: Path) -> None:
    """`load_periphery(Path)` ended in an AttributeError, as did the other two."""
    for load, room, name in (
        (load_periphery, "power.components", "isaac"),
        (load_adc, "power.components", "isaac-adc"),
        (load_architecture, "power.architecture", "isaac-periphery"),
    ):
        path = tmp_path / f"{room}-{name}.toml"
        shutil.copy(str(resources.files(room) / f"{name}.toml"), path)
        assert load(path) == load(str(path))


AREA_ONLY = (
    'source = "mine"\nnode_nm = 32.0\nkind = "memory"\nper = "tile"\nunit = "buffer"\ncount = 1\n'
    "capacity_kb = 64.0\narea_mm2 = 0.083\n"
)
POWER_ONLY = (
    'source = "mine"\nnode_nm = 32.0\nkind = "wire"\nper = "tile"\nunit = "bus"\ncount = 1\n'
    'power_mw = 7.0\nrate_per_s = 1.024e10\nevent = "byte"\n'
)


def test_a_price_that_a_block_does_not_give_is_not_modelled(tmp_path: Path) -> None:
    """Bytes of a buffer that has an area only were 0 pJ, and a bus without an area 0 mm2, in silence."""
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nsource = "mine"\nbase = "isaac"\n'
        f"[components.edram]\n{AREA_ONLY}[components.bus]\n{POWER_ONLY}"
    )
    design = hardware(periphery__library=str(path))
    found = estimate(network(design, unpacked(design, 16, 4, positions=3)))
    assert "energy of edram: not in the libraries" in found.not_modelled
    assert "area of bus: not in the libraries" in found.not_modelled
    design = hardware()
    shipped = estimate(network(design, unpacked(design, 16, 4, positions=3)))
    assert not [text for text in shipped.not_modelled if text.startswith(("energy of", "area of"))]
    assert shipped.prices["edram"][0].not_known == ()
    assert found.prices["edram"][0].to_dict()["not_known"] == ["energy"]


def test_a_lump_or_a_cell_without_its_number_is_not_modelled(tmp_path: Path) -> None:
    cell = 'source = "mine"\nnode_nm = 32.0\nkind = "analog"\nper = "chip"\nunit = "cell"\ncount = 1\n%s'
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nsource = "mine"\nbase = "isaac"\n[components.cell]\n'
        + cell % 'power_mw = 1.0\nrate_per_s = 1e7\nevent = "read"\n'
        + "[components.array_read]\n"
        + cell % "area_mm2 = 1e-6\n"
    )
    design = hardware(periphery__library=str(path), periphery__architecture="isaac")
    found = estimate(network(design, unpacked(design, 16, 4)))
    assert {"energy of array: not in the libraries", "area of array: not in the libraries"} <= set(
        found.not_modelled
    )
    of_size = estimate(network(design.replace(crossbar__cell_f2=4.0), unpacked(design, 16, 4)))
    assert "area of array: not in the libraries" not in of_size.not_modelled
