"""The report holds every number it is given, escapes what it does not own, and loads nothing."""

import copy
import dataclasses
import html
import re
from html.parser import HTMLParser

import pytest
from result_case import chips, complete_result

from experiments.figures import plots
from experiments.report.hardware_table import changes, hardware_notes, hardware_rows
from experiments.report.page import number
from experiments.report.run_page import CAPTIONS, changed_of_study, write_report
from experiments.results.result import Result
from experiments.results.summary import chip_statistics, text_summary
from experiments.studies.study import load_study, resolve_study
from xbar.hardware.files import load_device, load_hardware, read_toml, to_dict

VOID = {"meta", "br", "img", "link", "input", "hr"}


def typed(result: dict) -> Result:
    return Result.from_dict(result, "a test")


def small_figures() -> dict[str, str]:
    figure = plots.accuracy_over_chips([chip_statistics("a", [98.0, 98.5], 98.0)], 98.97)
    return {stem: plots.svg(figure) for stem in (*CAPTIONS, "own_sketch")}


class Reader(HTMLParser):
    """Checks that tags balance, and collects text, ids and the addresses that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.loads, self.words, self.figures = [], [], [], [], 0

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self.figures += tag == "figure"
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.loads.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(typed(complete_result()), small_figures(), path)
    return path


@pytest.mark.parametrize(
    "words",
    [
        "float 99.21 %",
        "lenet5, trained on mnist, on the hardware admm-32x32 ( 1 key changed ): arrays of 32 × 32 cells",
        "of admm-10mohm (0.1 to 1 µS)",
        "weights of 5 bit in 1 slice a plane, DAC bits: 8, ADC bits: 9.",
        "area, −93.8 % 0.416 mm²",
        "power, −93.8 % 77.2 mW",
        "latency 57.6 µs",
        "energy an image, +2.5 % 61.7 nJ",
        "compressed 99.13 %",
        "quantised 99.02 %",
        "ideal chip 98.97 %",
        "mean of 40 98.61 %",
        "95 % interval 98.54 to 98.68 %",
        "95 % within ±0.18",
        "ideal chip 98.97 % 99.05 %",
        "log-normal 10 % 40 97.44 % 0.21 % 97.37 to 97.51 % 97.46 % 97.04 % 98.50 %: 42.5 %",
        "Chips end where the interval is within ± 0.1 point; * where the most chips, 40, were run before.",
        "Time after the write as published a factor a layer "
        "20 s 98.40 % (98.33 to 98.47 %; 40) – "
        "1 day 91.20 % (91.13 to 91.27 %; 40*) 97.50 % (97.43 to 97.57 %; 40)",
        "Write error: standard deviation of ln g [%] log-normal 5 % 98.20 % (98.13 to 98.27 %; 40)",
        "log-normal 10 % conv1 98.61 % (98.54 to 98.68 %; 40) 97.77 % (97.70 to 97.84 %; 40*)",
        "7,023 of 430,500 weights are kept: a rate of 61.3. Counted: all mapped weights, no biases.",
        "449 before, 426 after pruning without packing, 68 after packing. 10.1 % of the cells",
        "fc1 800 × 500 1 400,000 6,251 64.0 400 377 35 20.0 %",
        "multiply-accumulates on tiles 98.69 %",
        "Quantity Unit Uncompressed, 9 bit in 2 slices Uncompressed, 5 bit in 1 slice "
        "Compressed, 5 bit in 1 slice Reduction By pruning alone",
        "Area (whole arrays, share of tiles) mm² 6.66 3.33 0.416 93.8 % 87.5 %",
        "Energy an image nJ 988 494 61.7 -2.5 % 12.5 %",
        "Power at this image rate mW 1,234 617 77.2 93.8 % 86.0 %",
        "Latency of an image µs 57.6 57.6 57.6 0.0 % 0.0 %",
        "Arrays 900 450 56 93.8 % 87.6 %",
        "Peak image rate 1/s 1,250,000 2,500,000 20,000,000",
        "adc 4.12 2.06 0.258 619 309 38.7 edram",
        "conv1 1.50 0.750 0.0938 224 112 14.0",
        "isaac-scaled-adc, 9 bit",
        "device.g_max 1 µS",
        "dac.v_read assumed 0.2 V",
        "periphery.t_read assumed 100 ns",
        "adc.rate 1.28 × 10⁹ 1/s adc.gain_sigma 0",
        "adc.bits = 9, adc.columns = 32: the papers publish neither",
        "leakage of the blocks",
        "doi:10.1109/ISCA.2016.12",
        "seed 17 data set mnist SHA-256 of the data 5a5a",
        "id of stage compress c0ffee00c0ffee00",
        "python 3.11.9 xbar 0.1.0 torch 2.13.0",
        "xbar run study.toml --data FOLDER --out runs/again",
        "Yuan et al., An Ultra-Efficient Memristor-Based DNN Framework",
        "For: device admm-10mohm, hardware design admm-32x32",
        "compress 209",
        "total 413",
        "rate = 60.0",
        "own_sketch",
    ],
)
def test_every_number_is_on_the_page(page, words):
    assert words in read(page).text


def test_the_share_on_crossbars_stands_in_the_first_lines(page):
    """2,295,500 multiply-accumulates of 2,300,000 operations, 30,000 of them digital."""
    share = "98.69 % of 2,295,500 multiply-accumulates an image are on crossbars"
    assert share in read(page).text.partition("compressed")[0]
    result = complete_result()
    result["accuracy"]["test_images"] = 10_000
    assert share in text_summary(typed(result)).splitlines()[2]


def test_every_figure_is_there_once_with_ids_of_its_own(page):
    reader = read(page)
    assert reader.figures == len(CAPTIONS) + 1
    captions = [caption for _, caption in CAPTIONS.values()]
    for number_, caption in enumerate([*captions, "own_sketch"], 1):
        assert reader.text.count(f"Figure {number_}. {caption}") == 1
    assert len(reader.ids) == len(set(reader.ids))
    local = {address[1:] for address in reader.loads if address.startswith("#")}
    assert local <= set(reader.ids)


def test_nothing_is_loaded(page):
    content = page.read_text(encoding="utf-8")
    assert all(address.startswith(("#", "data:")) for address in read(page).loads)
    assert "http://" not in content
    assert "https://" not in content
    assert "@import" not in content
    assert content.count("<script") == content.count("<script>") == 1
    assert "default-src 'none'" in content
    assert not re.search(r"url\((?!#)", content)


def test_hostile_names_are_text(tmp_path):
    hostile = "</title><script>alert('x')</script>&\"<img src=http://example.org/x>"
    result = complete_result()
    result["study"]["description"] = hostile
    result["estimate"]["after"]["by_layer"][hostile] = {"area_mm2": 1.0, "energy_nj": 2.0}
    result["study"]["hardware"]["assumed"].append(hostile)
    write_report(typed(result), {}, tmp_path / "report.html")
    reader = read(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<script") == 1
    assert "<img" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert reader.text.count(hostile) == 4  # the assumption also among what differs from the study


def test_the_study_on_the_page_can_be_run_again(tmp_path):
    result = complete_result()
    write_report(typed(result), {}, tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "study.toml").write_text(html.unescape(content.split("<pre>")[-1].split("</pre>")[0]))
    assert load_study(str(tmp_path / "study.toml")) == resolve_study(result["study"], "kept")
    assert read_toml(tmp_path / "study.toml")["compress"]["rate"] == 60.0


def test_one_chip_has_no_interval(tmp_path):
    result = complete_result()
    result["accuracy"]["chips_cases"] = [
        {**chips("single", 98.0), "n": 1, "ci95_low": None, "ci95_high": None}
    ]
    result["accuracy"]["chips"] = result["accuracy"]["chips_cases"][0]
    write_report(typed(result), {}, tmp_path / "report.html")
    text = read(tmp_path / "report.html").text
    assert "mean of 1 98.00 % 95 % interval –" in text
    assert "single 1 98.00 % 0.21 % – 98.02 %" in text


def test_chips_without_a_threshold_have_no_share(tmp_path):
    result = complete_result()
    result["accuracy"]["chips_cases"] = [{**chips("free", 98.0), "threshold": None, "share_above": None}]
    result["accuracy"]["chips"] = result["accuracy"]["chips_cases"][0]
    write_report(typed(result), {}, tmp_path / "report.html")
    text = read(tmp_path / "report.html").text
    assert "98.02 % 97.60 % – " in text
    assert "None" not in text


def test_optional_parts_may_be_absent(tmp_path):
    result = copy.deepcopy(complete_result())
    for table, key in (
        (result["accuracy"], "validation"),
        (result["accuracy"], "by_layer"),
        (result["accuracy"], "under_noise"),
        (result["study"]["hardware"], "assumed"),
        (result["mapping"], "operations"),
        (result["mapping"], "digital"),
        (result["study"], "description"),
    ):
        del table[key]
    del result["estimate"]["unpruned"], result["estimate"]["pruning_percent"]
    for estimate in (result["estimate"]["before"], result["estimate"]["after"]):
        del estimate["peak_power_mw"], estimate["peak_image_rate_per_s"]
    write_report(typed(result), {}, tmp_path / "report.html")
    text = read(tmp_path / "report.html").text
    assert "98.61 %" in text
    assert "By pruning alone" not in text
    assert "Energy an image nJ 988 61.7 -2.5 %" in text
    assert "Peak image" not in text
    assert "The hardware lists none." in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.0, "0"),
        (5.0, "5"),
        (1234567, "1,234,567"),
        (1234.5, "1,234"),
        (99.96, "100"),
        (0.0123456, "0.0123"),
        (1.5, "1.50"),
        (-2.5, "-2.50"),
        (1.234e-7, "1.23 × 10⁻⁷"),
        (2e9, "2.00 × 10⁹"),
        (float("inf"), "inf"),
        (None, "–"),
        ("analog", "analog"),
        (True, "True"),
    ],
)
def test_number(value, words):
    assert number(value) == words


def test_what_a_user_changed_of_a_preset_is_marked(tmp_path):
    """Its source, and what it assumes, speak of other values. 64 x 64 and 6 bits stood beside "the papers
    publish neither adc.bits = 9"."""
    result = complete_result()
    hardware = result["study"]["hardware"]
    hardware["crossbar"]["rows"], hardware["adc"]["bits"] = 64, 6
    write_report(typed(result), {}, tmp_path / "report.html")
    text = read(tmp_path / "report.html").text
    assert "on the hardware admm-32x32 ( 3 keys changed ):" in text
    assert "crossbar.rows changed: 32 in the preset 64" in text
    assert "encoding.scale changed: column in the preset layer" in text
    assert "source not the source of what is changed device, tile size: arXiv:1908.11691" in text
    note = "adc.bits = 9, adc.columns = 32: the papers publish neither"
    assert f"{note} overridden: adc.bits is 6 here, 9 in the preset periphery.t_read" in text
    assert text.count("overridden:") == 1
    hardware["name"] = "mine"
    write_report(typed(result), {}, tmp_path / "report.html")
    assert "in the preset" not in read(tmp_path / "report.html").text


def test_what_a_user_changed_of_a_built_in_study_is_listed(tmp_path):
    """Its description spoke of 32 x 32 beside 64 x 64."""
    assert changed_of_study(load_study("lenet5-mnist", seed=5)) == []
    changed = load_study("lenet5-mnist", ["train.epochs=1", "chips.cases.0.name=first"])
    rows = [("train.epochs", "1", "8"), ("chips.cases.0.name", "first", "5 % log-normal")]
    assert changed_of_study(changed) == rows
    assert changed_of_study(dataclasses.replace(changed, name="mine")) == []
    result = complete_result()
    write_report(typed(result), {}, tmp_path / "report.html")
    text = read(tmp_path / "report.html").text
    assert "LeNet-5 under ADMM float" in text
    assert "compress.rate 60 17.69" in text
    result["study"]["description"] = load_study("lenet5-mnist").description
    write_report(typed(result), {}, tmp_path / "report.html")
    text = read(tmp_path / "report.html").text
    assert "16-state cells of 1-10 Mohm of the study as it ships; 3 keys changed float" in text


def test_cells_are_held_against_their_own_preset():
    """A design of one's own with cells that ship: what is changed of these is known."""
    hardware = to_dict(load_hardware("admm-32x32").replace(device=load_device("pcm-90nm"), name="mine"))
    assert changes(hardware) == {}
    hardware["device"]["g_max"] = 3e-5
    assert list(changes(hardware)) == ["device.g_max"]
    hardware["device"]["programming"] = None
    keys = changes(hardware)
    assert {"device.programming.kind", "device.g_max"} < set(keys)
    removed = [row for row in hardware_rows(hardware) if row.tag.startswith("removed:")]
    assert "device.programming.kind" in [row.key for row in removed]
    hardware["name"] = "hermes"
    assert "crossbar.rows" in changes(hardware)
    overridden = {note.text.partition(":")[0]: note.overridden for note in hardware_notes(hardware)}
    assert overridden.get("adc.bits = 9, adc.columns = 32", "").startswith("adc.bits is 9 here, 8 in")


def test_other_cells_than_those_of_a_design_are_one_change():
    hardware = to_dict(load_hardware("admm-32x32").replace(device=load_device("pcm-90nm")))
    assert changes(hardware) == {"device.name": ("admm-10mohm", "pcm-90nm")}


@pytest.mark.parametrize(("layers", "is_folded"), [(2, False), (6, False), (7, True)])
def test_panels_of_many_layers_are_folded(tmp_path, layers: int, is_folded: bool):
    log = [
        {"stage": "prune", "epoch": epoch, "layer": f"conv{i}", "primal": 0.5**epoch, "dual": 0.1}
        for epoch in range(3)
        for i in range(layers)
    ]
    write_report(typed(complete_result()), small_figures(), tmp_path / "report.html", log)
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("<summary>Residuals of 7 layers, epoch by epoch</summary>" in content) == is_folded
    text = read(tmp_path / "report.html").text
    assert "The residual of every layer was smaller after the last epoch" in text
    assert "did not fall" not in text
    log[-1]["primal"] = 1.0
    write_report(typed(complete_result()), small_figures(), tmp_path / "report.html", log)
    text = read(tmp_path / "report.html").text
    assert f"conv{layers - 1}: its residual did not fall in stage prune, 1 after the first epoch" in text
    assert "The residual of every layer" not in text


def test_figures_have_the_colours_of_the_page(page):
    """Every colour of a figure is a property with a value for light and for dark pages."""
    content = page.read_text(encoding="utf-8")
    figures = "".join(re.findall(r"<svg.*?</svg>", content, flags=re.DOTALL))
    used = set(re.findall(r"var\(--(c[0-9a-f]{6})\)", figures))
    assert {"cffffff", "c2b2b2b", "c2a6496", "cc65d21"} <= used
    assert not re.findall(r"(?:fill|stroke): #", figures)
    light, dark = content.split("@media screen and (prefers-color-scheme: dark)")[:2]
    for name in used:
        assert f"--{name}: #{name[1:]};" in light
        assert len(re.findall(rf"--{name}: #[0-9a-f]{{6}};", dark)) == 1
    assert "--cffffff: #15191c;" in dark


def test_a_result_without_seconds_has_a_page(tmp_path) -> None:
    """It ended in an error of jinja; `seconds` need not have a total."""
    for seconds in ({}, {"train": 2.5}):
        write_report(
            typed({**complete_result(), "seconds": seconds}), small_figures(), tmp_path / "page.html"
        )
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert ("<th>Seconds</th>" in text) == bool(seconds)


def test_a_network_that_is_one_layer_has_a_name(tmp_path) -> None:
    result = complete_result()
    parts = [result["mapping"]["layers"], result["compression"]["layers"]]
    parts += [result["estimate"][side]["by_layer"] for side in ("before", "unpruned", "after")]
    for part in parts:
        part[""] = part.pop(next(iter(part)))
    write_report(typed(result), small_figures(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<td[^>]*>the network</td>", text)) == 2
    assert "<tr><td></td>" not in text
