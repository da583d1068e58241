"""What the kinds of a study's rules let stay of one layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from experiments.inputs import data as datasets
from experiments.plans.plan import resolve
from experiments.studies.compression import LayerRule
from experiments.studies.study import load_study
from mapping import BothSparse
from mapping.constraints.rule_kinds import RULES, Share, aspect_of
from mapping.constraints.rules import constraint_of
from mapping.network.gemm import to_gemm
from xbar.hardware.errors import XbarError
from xbar.hardware.files import load_hardware

HARDWARE = load_hardware("admm-32x32").replace(crossbar__rows=8, crossbar__cols=4)
KEEP = 0.25


def layer_and_mask(kind: str, **keys: int) -> tuple[nn.Conv2d, torch.Tensor]:
    """A convolution from 8 to 16 channels and what stays of it, as (filters, channels, kernel) bool."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 3)
    rule = RULES.build(kind, keys or {"share": 1.0}, "")
    constraint = constraint_of((rule,), KEEP, layer, HARDWARE)
    mask = constraint.project(to_gemm(layer))[1]
    return layer, mask.T.reshape(16, 8, 9)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in RULES.kinds if issubclass(RULES.config(kind), Share) and kind != "rows-and-columns"],
)
def test_kinds_keep_at_most_their_share(kind: str) -> None:
    _, mask = layer_and_mask(kind)
    assert 0 < mask.float().mean() <= KEEP


def test_filters_are_output_channels_of_largest_norm() -> None:
    layer, mask = layer_and_mask("filters")
    norms = layer.weight.detach().flatten(1).norm(dim=1)
    assert mask.all((1, 2)).nonzero().flatten().tolist() == sorted(norms.topk(4).indices.tolist())
    assert mask.sum() == 4 * 8 * 9


def test_channels_are_input_channels_of_largest_norm() -> None:
    layer, mask = layer_and_mask("channels")
    norms = layer.weight.detach().transpose(0, 1).flatten(1).norm(dim=1)
    assert mask.all((0, 2)).nonzero().flatten().tolist() == sorted(norms.topk(2).indices.tolist())
    assert mask.sum() == 2 * 16 * 9


def test_filters_and_channels_leave_a_smaller_layer() -> None:
    _, mask = layer_and_mask("filters-and-channels")
    filters, channels = mask.any(2).any(1), mask.any(2).any(0)
    assert (int(filters.sum()), int(channels.sum())) == (8, 4)
    assert torch.equal(mask, (filters[:, None] & channels)[:, :, None].expand_as(mask))


def test_a_study_prunes_filters_and_channels_by_layer() -> None:
    rules = (
        "compress.layers=[{layer='conv*', share=1.0, kind='filters-and-channels'}, "
        "{layer='fc*', share=1.0, kind='channels'}]"
    )
    study = load_study("digits", [rules, "compress.rate=2.0"])
    rules = resolve(study, datasets.load("digits", None), Path()).rules
    for name, constraint in rules.at_rate(2.0).items():
        mask = constraint.project(to_gemm(rules.layers[name]))[1]
        assert isinstance(constraint, BothSparse) == name.startswith("conv")
        if name.startswith("fc"):
            assert torch.equal(mask, mask[:, :1].expand_as(mask)), name


def test_segments_keep_few_weights_of_each_run_of_word_lines() -> None:
    """Those of a tile's 8 word lines, or of as many as the rule says."""
    for rows, keys in ((8, {"most": 2}), (4, {"most": 1, "rows": 4})):
        _, mask = layer_and_mask("segments", **keys)
        of_columns = mask.reshape(16, 72).T.reshape(-1, rows, 16)
        assert (of_columns.sum(1) == keys["most"]).all()


def test_kernels_and_shapes_go_whole() -> None:
    _, mask = layer_and_mask("kernels")
    assert torch.equal(mask, mask[:, :, :1].expand_as(mask))
    _, mask = layer_and_mask("shapes")
    assert torch.equal(mask, mask[:1].expand_as(mask))


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(XbarError, match="did you mean 'filters'"):
        load_study("digits", ["compress.layers=[{layer='*', share=1.0, kind='filterz'}]"])


@dataclass(frozen=True)
class Misspelt(Share):
    aspect: ClassVar = "sign"


def test_an_aspect_that_there_is_not_is_refused() -> None:
    """Such a rule was left out, and the study pruned without it."""
    with pytest.raises(XbarError, match=r"Misspelt.aspect: unknown name 'sign'; did you mean 'signs'"):
        aspect_of(Misspelt(1.0))
    study = load_study("digits")
    row = LayerRule("fc1", Misspelt(1.0))
    study = replace(study, compress=replace(study.compress, layers=(row,)))
    with pytest.raises(XbarError, match="unknown name 'sign'"):
        resolve(study, datasets.load("digits", None), Path())


def test_two_rules_of_one_aspect_for_one_pattern_are_refused() -> None:
    """The later one took the place of the earlier one without a word."""
    one, other = "{layer='fc1', share=1.0, kind='irregular'}", "{layer='fc1', share=1.0, kind='filters'}"
    study = load_study("digits", [f"compress.layers=[{one}, {other}]"])
    with pytest.raises(XbarError, match="'fc1': irregular and filters are both for groups; must be one"):
        resolve(study, datasets.load("digits", None), Path())
    signs = "{layer='fc1', kind='one-sign'}"
    study = load_study("digits", [f"compress.layers=[{one}, {signs}]", "compress.rate=2.0"])
    plan = resolve(study, datasets.load("digits", None), Path())
    assert len(plan.rules.rules["fc1"]) == 2
