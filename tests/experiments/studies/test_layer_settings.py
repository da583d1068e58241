"""Choices of layers in a study reach the mapping, the constraints and the levels."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.stages.planned import planned_ids
from experiments.stages.run import prepare
from experiments.studies.study import load_study, study_dict
from power.estimates.table import estimate
from xbar.hardware.errors import XbarError

SETTINGS = (
    'layers=[{layer="conv1",digital=true},'
    '{layer="fc1",bias_rows=2,hardware={crossbar={rows=64},adc={bits=7}}},'
    '{layer="Linear",hardware={device={states=4}}}]'
)


def test_choices_reach_every_step(tmp_path: Path) -> None:
    study = load_study("digits", [SETTINGS])
    plan = prepare(study, None, tmp_path)
    assert list(plan.rules.layers) == ["conv2", "fc1", "fc2"]
    constraints = plan.rules.at_rate(study.compress.rate)
    assert constraints["fc1"].rows == 64
    assert constraints["conv2"].rows == 32
    model = plan.network.on_crossbars(plan.network.form.state_dict())
    mapped = plan.placement.map(model, plan.network.example)
    assert list(mapped.layers) == ["conv2", "fc1", "fc2"]
    assert mapped.layers["fc1"].bias_rows == 2
    assert mapped.layers["fc1"].hardware.adc.bits == 7
    assert mapped.layers["fc1"].hardware.device.n_states == 16
    assert mapped.layers["fc2"].hardware.device.n_states == 4
    assert mapped.layers["conv2"].hardware == study.hardware
    assert mapped.digital_macs["convolution"] == 16 * 9 * 64
    plain = plan.uncompressed.map(model, plan.network.example)
    assert plain.layers["fc1"].hardware.encoding.slices == 2
    assert plain.layers["fc1"].hardware.adc.bits == 7
    not_modelled = estimate(mapped).not_modelled
    convolution = "digital work: convolution, 19,456 operations an image (additions, digital_macs)"
    assert convolution in not_modelled  # two for each product, and one for the bias of each output


def test_a_study_with_choices_can_be_run_again(tmp_path: Path) -> None:
    from tomli_w import dumps

    study = load_study("digits", [SETTINGS])
    file = tmp_path / "again.toml"
    file.write_text(dumps(study_dict(study)))
    assert load_study(str(file)) == study


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('layers=[{layer="conv9"}]', "layers: nothing fits: unknown name 'conv9'; did you mean 'conv2'"),
        ('layers=[{layer="conv1",hardware={adc={bit=7}}}]', "layers: 'conv1'.*adc.bit"),
        ('layers=[{layer="conv1",hardware={periphery={node_nm=45.0}}}]', "periphery"),
        ('layers=[{layer="*",digital=true}]', "every layer is left digital"),
        ('layers=[{layer="conv1",bias_row=1}]', "bias_row"),
    ],
)
def test_choices_that_do_not_fit_are_refused(settings: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=message) as caught:
        prepare(load_study("digits", [settings]), None, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [0, 2])
def test_calibration_counts_where_it_sets_a_bias(rows: int, tmp_path: Path) -> None:
    """In the id of `quantise`: a bias on word lines is put on levels by the range of the inputs."""
    seen = []
    for images in (100, 200):
        changes = [f'layers=[{{layer="fc2",bias_rows={rows}}}]', f"calibration_images={images}"]
        study = load_study("digits", changes)
        seen.append(planned_ids(prepare(study, None, tmp_path), study)["quantise"])
    assert (seen[0] != seen[1]) == (rows > 0)
