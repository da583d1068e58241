"""Studies: every mistake is one line that names the key; what is resolved can be run again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from experiments.studies.compression import Purify
from experiments.studies.noise_cases import with_noise
from experiments.studies.study import load_study, resolve_study, study_dict, study_names
from xbar import XbarError


@pytest.mark.parametrize("name", study_names())
def test_built_in_studies_resolve_and_resolve_again(name: str) -> None:
    study = load_study(name)
    again = resolve_study(tomllib.loads(tomli_w.dumps(study_dict(study))), "again")
    assert again == study
    assert study.name == name


def test_the_study_the_papers_are_held_against() -> None:
    h = load_study("lenet5-mnist").hardware
    assert (h.crossbar.rows, h.crossbar.cols, h.device.n_states, h.encoding.slices) == (32, 32, 16, 1)
    assert (h.device.g_min, h.device.g_max) == (1e-7, 1e-6)
    assert (h.encoding.subtract, h.dac.v_read, h.dac.bits, h.dac.phases) == ("analog", 0.2, 8, 8)
    assert (h.adc.bits, h.adc.columns, h.adc.library, h.periphery.node_nm) == (9, 32, "isaac-scaled-adc", 32)


def test_changes() -> None:
    study = load_study(
        "digits",
        [
            "hardware.crossbar.rows=64",
            "hardware.device.programming={kind = 'gaussian', sigma = 0.1}",
            "compress.layers.1.share=3",
            "description=some plain words",
        ],
        seed=7,
    )
    assert study.hardware.crossbar.rows == 64
    assert study.hardware.crossbar.cols == 32
    assert study.hardware.device.programming.sigma == 0.1
    assert study.compress.layers[1].share == 3
    assert study.description == "some plain words"
    assert study.seed == 7


def test_a_preset_s_device_can_be_replaced() -> None:
    study = load_study("digits", ["hardware.device=ideal"])
    assert study.hardware.device.n_states == 256
    study = load_study("digits", ["hardware.device={base = 'ideal', states = 64}"])
    assert study.hardware.device.n_states == 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("compress.rat=3", "compress.rat: unknown key; did you mean 'rate'"),
        ("compress.rate=0.5", "compress.rate = 0.5: must be at least 1"),
        ("compress.rate=nan", "compress.rate = nan"),
        ("compress.rate=many", "compress.rate = 'many'"),
        ("hardware.crossbar.rows=-4", "crossbar.rows = -4: must lie between"),
        ("hardware.crossbar.rows=32.5", "hardware.crossbar.rows = 32.5"),
        ("hardware.crosbar.rows=4", "hardware.crosbar: unknown key; did you mean 'crossbar'"),
        ("hardware.base=admm", "did you mean 'admm-32x32'"),
        ("hardware=admm", "did you mean 'admm-32x32'"),
        ("hardware.device.base=idea", "did you mean 'ideal'"),
        (
            "chips.cases.0.programming.kind=cauchy",
            "kind: unknown name 'cauchy'; allowed: gaussian, lognormal, none, polynomial, states",
        ),
        ("chips.cases.7.name=x", "has entries 0 to 2"),
        ("chips.n=0", "chips.n = 0"),
        ("chips.cases=[]", "at least one case"),
        ("train.epochs=-1", "train.epochs = -1"),
        ("name=a/b", "name = 'a/b'"),
        ("seed.x=1", "seed is a value, not a table"),
        ("rate", "must be key=value"),
        ("=3", "must be key=value"),
        ("a..b=3", "must be key=value"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(change: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        load_study("digits", [change])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_studies_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(XbarError, match="did you mean 'digits'"):
        load_study("digit")
    with pytest.raises(XbarError, match="no such file"):
        load_study(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("a = [1,\n")
    with pytest.raises(XbarError, match="not a TOML file"):
        load_study(str(broken))
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(XbarError, match="not a TOML file"):
        load_study(str(broken))
    broken.write_text("name = 'x'\n")
    with pytest.raises(XbarError, match=r"hardware, train\.epochs, chips\.n, chips\.cases: missing"):
        load_study(str(broken))


def test_a_noise_case_takes_what_it_does_not_name_from_the_device() -> None:
    study = load_study(
        "digits",
        [
            "hardware.device.p_stuck_g_max=0.02",
            "chips.cases=[{name = 'a'}, {name = 'b', p_stuck_g_max = 0.1}]",
            "chips.cases.1.programming={kind = 'lognormal', sigma = 0.3}",
        ],
    )
    a, b = (with_noise(study.hardware, case).device for case in study.chips.cases)
    assert a == study.hardware.device
    assert (b.p_stuck_g_max, b.programming.sigma) == (0.1, 0.3)


def test_rates_on_the_way_are_compressions_of_their_own() -> None:
    before = "compress.before=[{rate=2.0, admm={epochs=7}}, {rate=2.5, retrain_lr=0.1}]"
    study = load_study("digits", [before, "compress.rate=3.0"])
    first, second, last = study.compress.steps
    assert [step.rate for step in (first, second, last)] == [2.0, 2.5, 3.0]
    assert (first.method.epochs, second.method.epochs) == (7, study.compress.method.epochs)
    assert first.method.interval == study.compress.method.interval == 4
    assert (second.retrain_lr, last.retrain_lr) == (0.1, load_study("digits").compress.last.retrain_lr)
    assert last == study.compress.last
    with pytest.raises(XbarError, match=r"compress.before: rates 2, 2.5, 2: must rise up to compress.rate"):
        load_study("digits", [before, "compress.rate=2.0"])
    with pytest.raises(XbarError, match=r"compress.before.0.admm.epochs = -1: must lie between 0"):
        load_study("digits", ["compress.before=[{rate=1.5, admm={epochs=-1}}]"])
    with pytest.raises(XbarError, match=r"digits: compress.retrain_lr = -1.0"):
        load_study("digits", ["compress.before=[{rate=1.5}]", "compress.retrain_lr=-1"])
    with pytest.raises(XbarError, match=r"compress.before.1.rate: missing"):
        load_study("digits", ["compress.before=[{rate=1.5}, {retrain_epochs=2}]"])
    with pytest.raises(XbarError, match=r"compress.before.0.gsm: has no effect here; .* the method 'admm'"):
        load_study("digits", ["compress.before=[{rate=1.5, gsm={epochs=1}}]"])
    with pytest.raises(XbarError, match=r"compress.before.0.bytes: has no effect"):
        load_study("digits", ["compress.before=[{rate=1.5, bytes=900}]"])
    with pytest.raises(XbarError, match=r"compress.children = 0: must lie between 1 and 100"):
        load_study("digits", ["compress.children=0"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("compress.gsm.epoch=3", "compress.gsm.epoch: unknown key; did you mean 'epochs'"),
        ("compress.gsm={epochs=-1, weight_decay=0.0}", "compress.gsm.epochs = -1: must lie between 0"),
        ("compress.bytes=-4", "compress.bytes = -4"),
    ],
)
def test_what_no_point_uses_yet_is_checked(change: str, words: str) -> None:
    """A sweep over `compress.method` meets the table at its next point: not in the middle of a night."""
    with pytest.raises(XbarError, match=words):
        load_study("digits", ["compress.method=admm", "compress.target=rate", change])


def test_layers_that_go_onto_levels_last() -> None:
    assert load_study("digits", ["quantise.last=['conv1', 'fc*']"]).quantise.last == ("conv1", "fc*")
    with pytest.raises(
        XbarError, match=r"quantise.last: no layer goes onto levels before .* quantise.epochs"
    ):
        load_study("digits", ["quantise.last=['conv1']", "quantise.epochs=0"])


def test_what_purification_takes() -> None:
    assert load_study("digits").compress.purify is None
    assert load_study("digits", ["compress.purify.emptiness=1"]).compress.purify == Purify(1.0, 0.1)
    with pytest.raises(XbarError, match=r"compress.purify.emptiness = 1.5: must lie between 0 and 1"):
        load_study("digits", ["compress.purify.emptiness=1.5"])
    with pytest.raises(XbarError, match=r"compress.purify.importance = -1.0: must lie between 0"):
        load_study("digits", ["compress.purify.importance=-1.0"])
    with pytest.raises(XbarError, match=r"emptines\b.*emptiness"):
        load_study("digits", ["compress.purify.emptines=1"])


def test_shares_to_freeze_must_rise_to_one() -> None:
    assert load_study("digits", ["quantise.freeze=[0.5, 1.0]"]).quantise.freeze == (0.5, 1.0)
    with pytest.raises(XbarError, match=r"quantise.freeze = \[0.5\]: must rise from above 0 to 1"):
        load_study("digits", ["quantise.freeze=[0.5]"])
