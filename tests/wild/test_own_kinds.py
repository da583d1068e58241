"""A user's own compression method and kind of rule, in a file of theirs that a study names."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_files import read_without, refused
from small_study import SMALL, result_of_run

from experiments.run_folder.ids import files_of, point_id, simulated
from experiments.stages.planned import planned_ids
from experiments.stages.run import prepare
from experiments.studies.study import Study, load_study, resolve_study, study_dict
from experiments.sweeps.running import network_key
from mapping import METHODS, RULES, load_mapping
from mapping.lowering import form
from mapping.network.gemm import to_gemm
from xbar import ENCODINGS
from xbar.conductances.encoding import levels
from xbar.hardware.errors import XbarError

MINE = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from mapping import METHODS, RULES, Method, Pruning, PruningTask, Rate, Recipe, project_layer


@dataclass(frozen=True)
class OneShot:
    """The largest weights stay, after more training or none."""

    takes: ClassVar = (Rate,)
    by_layer: ClassVar = True
    epochs: int = 0


def one_shot(config: OneShot, task: PruningTask) -> Pruning:
    def finish() -> dict[str, torch.Tensor]:
        return {name: project_layer(task.model, name, of) for name, of in task.constraints().items()}

    return Pruning(Method(), Recipe(config.epochs), finish)


@dataclass(frozen=True)
class Checkers:
    """Every second weight."""

    offset: int = 0


class CheckersSet:
    exact = True

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        k, n = v.shape
        mask = (torch.arange(k)[:, None] + torch.arange(n) + self.offset) % 2 == 0
        return torch.where(mask, v, 0.0), mask


METHODS.add("one-shot", OneShot, one_shot)
RULES.add("checkers", Checkers, lambda rule, keep, layer, hardware: CheckersSet(rule.offset))
'''


def changes(folder: Path) -> list[str]:
    (folder / "mine.py").write_text(MINE)
    return changes_of(folder)


def changes_of(folder: Path) -> list[str]:
    return [
        *SMALL,
        f"extensions=['{folder / 'mine.py'}']",
        "compress.method=one-shot",
        "compress.one-shot={}",
        "compress.rate=1.0",
        "compress.layers=[{layer='fc1', kind='checkers', offset=1}]",
        "chips.n=1",
    ]


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kinds and layer types that a test adds are gone after it."""
    forms = dict(form.FORMS)
    for registry in (METHODS, RULES, ENCODINGS):
        entries = {key: of for key, of in registry._entries.items() if key[0] != "signed-digits"}
        monkeypatch.setattr(registry, "_entries", entries)
    yield
    form.FORMS.clear()
    form.FORMS.update(forms)


def test_an_own_method_and_kind_run_from_a_study(tmp_path: Path) -> None:
    study = load_study("digits", changes(tmp_path))
    result = result_of_run(study, None, tmp_path / "run")
    kept = result["compression"]["layers"]["fc1"]
    assert kept["weights_kept"] == kept["weights_total"] / 2
    assert result["compression"]["layers"]["fc2"]["rate"] == 1
    log = json.loads((tmp_path / "run" / "log.json").read_text())
    assert "prune" not in {row["stage"] for row in log}  # no epoch of it
    again = resolve_study(result["study"], "kept")
    assert again == study
    assert study_dict(again)["compress"]["one-shot"] == {"epochs": 0}


def test_a_changed_file_changes_the_ids(tmp_path: Path) -> None:
    study = load_study("digits", changes(tmp_path))
    before = point_id(study, "0" * 64, files_of(study))
    (tmp_path / "mine.py").write_text(MINE.replace("% 2 == 0", "% 2 == 1"))
    changed = load_study("digits", changes_of(tmp_path))
    assert study_dict(changed) == study_dict(study)
    assert point_id(changed, "0" * 64, files_of(changed)) != before
    plan = prepare(changed, None, tmp_path / "run")
    layer = plan.rules.layers["fc1"]
    mask = plan.rules.at_rate(1.0)["fc1"].project(to_gemm(layer))[1]
    assert not mask[0, 1]  # the file was loaded anew


def test_a_worker_has_the_kinds_of_the_study_that_it_is_given(tmp_path: Path) -> None:
    study = load_study("digits", changes(tmp_path))
    file = tmp_path / "study.pickle"
    file.write_bytes(pickle.dumps(study))
    read = f"import pickle; print(pickle.load(open({str(file)!r}, 'rb')).compress.method)"
    done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True)
    assert done.stdout == "OneShot(epochs=0)\n"
    plain = load_study("digits")
    assert pickle.loads(pickle.dumps(plain)) == plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("compress.one-shot={epoch=3}", "compress.one-shot.epoch: unknown key; did you mean 'epochs'"),
        (
            "compress={bytes=900, one-shot={}, retrain_epochs=0}",
            "the method 'one-shot' cannot be asked for it",
        ),
        ("compress.layers=[{layer='fc1', kind='checker'}]", "did you mean 'checkers'"),
        (
            "compress.layers=[{layer='fc1', kind='checkers', offst=1}]",
            "offst: unknown key; did you mean 'offset'",
        ),
    ],
)
def test_mistakes_are_told_as_for_built_in_ones(tmp_path: Path, change: str, words: str) -> None:
    with refused(words):
        load_study("digits", [*changes(tmp_path), change])


def test_a_file_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import torch\n\nraise RuntimeError('my own bug')\n")
    with pytest.raises(XbarError, match=r"extensions: .*bad.py: RuntimeError: my own bug") as caught:
        load_study("digits", [f"extensions=['{tmp_path / 'bad.py'}']"])
    assert isinstance(caught.value.__cause__, RuntimeError)


@dataclass(frozen=True)
class Mine:
    epochs: int = 0


def test_what_cannot_be_added_is_refused() -> None:
    with pytest.raises(XbarError, match="its config must be a frozen dataclass"):
        METHODS.add("mine", str, print)
    with pytest.raises(XbarError, match="compression method 'admm': exists already"):
        METHODS.add("admm", Mine, print)
    with pytest.raises(XbarError, match="compression method 'rate': is the name of a key beside it"):
        METHODS.add("rate", Mine, print)
    METHODS.add("mine", Mine, print)
    with pytest.raises(XbarError, match="compression method 'ours': Mine is the config of 'mine'"):
        METHODS.add("ours", Mine, print)


def compress_ids(study: Study, folder: Path) -> tuple[str, str]:
    """The id of the compression, and what a sweep shares it by."""
    return planned_ids(prepare(study, None, folder), study)["compress"], network_key("compress", study)


def test_what_an_own_kind_may_read_is_in_the_id(tmp_path: Path) -> None:
    """A rule may ask the converter's bits: a result made at others must not be taken up."""
    own, shipped = changes(tmp_path), [*SMALL, "chips.n=1"]
    for made, same in ((own, False), (shipped, True)):
        found = []
        for bits in (6, 8):
            study = load_study("digits", [*made, f"hardware.adc.bits={bits}"])
            found.append(compress_ids(study, tmp_path / "run"))
        for first, second in zip(*found, strict=True):
            assert (first == second) is same


def encoding_changes(folder: Path) -> list[str]:
    """A study on the encoding of `tests/support/own_encoding.py`, as a file of the user's."""
    file = folder / "own_encoding.py"
    file.write_text((Path(__file__).parents[1] / "support" / "own_encoding.py").read_text())
    return [
        *SMALL,
        f"extensions=['{file}']",
        "hardware.encoding.kind=signed-digits",
        "hardware.encoding.base=29",
        "chips.n=1",
    ]


def test_an_own_encoding_runs_from_a_study(tmp_path: Path) -> None:
    """Its levels, its chip, its costs; and what a run leaves is read again."""
    study = load_study("digits", encoding_changes(tmp_path))
    assert len(levels(study.hardware.encoding, study.hardware.device)) == 14
    result = result_of_run(study, None, tmp_path / "run")
    assert result["hardware"]["encoding"]["base"] == 29
    assert result["estimate"]["after"]["weight_bits"] == pytest.approx(math.log2(29))
    accuracy = result["accuracy"]
    assert accuracy["ideal_chip"] == pytest.approx(accuracy["quantised"], abs=2)
    assert accuracy["quantised"] > 70
    mapped = load_mapping(tmp_path / "run" / "mapping.safetensors")
    for layer in mapped.layers.values():
        assert type(layer.hardware.encoding).__name__ == "SignedDigits"
        assert layer.state is not None
        assert abs(layer.state).max() == 14


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "hardware.encoding.kind=signed-digit",
            "hardware.encoding.kind: unknown name 'signed-digit'; did you",
        ),
        ("hardware.encoding.bas=9", "hardware.encoding.bas: unknown key; did you mean 'base'"),
        ("hardware.encoding.base=8", "encoding.base = 8: must be an odd number"),
        ("hardware.encoding.base=33", "encoding.base = 33: at most 31 with these cells"),
        ("hardware.encoding=3", "hardware.encoding = 3: must be a table"),
    ],
)
def test_mistakes_in_an_own_encoding(change: str, words: str, tmp_path: Path) -> None:
    with refused(words):
        prepare(load_study("digits", [*encoding_changes(tmp_path), change]), None, tmp_path / "run")


BOOK = "return Codebook(np.arange(1.0, top + 1), planes.astype(np.int32), np.empty(0, np.int32))"


@pytest.mark.parametrize(
    ("book", "words"),
    [
        (BOOK.replace("planes.ast", "0 * planes.ast"), "the cells of state -14 hold 0, and its level is -14"),
        (BOOK.replace("planes.ast", "planes[::-1].ast"), "state -14 hold 14, and its level is -14"),
        (BOOK.replace("planes.ast", "planes[1:].ast"), "digits of shape (28, 2, 1); must be (29, 2, 1)"),
        (BOOK.replace("planes.ast", "16 * planes.ast"), "must be states from 0 to 15"),
        (BOOK.replace("np.int32), np.e", "float), np.e"), "digits are float64; must be integers"),
        (BOOK.replace("top + 1)", "top + 1)[::-1]"), "levels must be positive and ascending, shape (T,)"),
        (BOOK.replace("np.empty(0", "np.zeros(1"), "reference of shape (1,); must be (0,)"),
        ("return None", "its codebook is a NoneType; must be a Codebook"),
        ("return {}['no']", "encoding 'signed-digits': KeyError: 'no'"),
    ],
)
def test_a_codebook_that_contradicts_itself_is_refused(book: str, words: str, tmp_path: Path) -> None:
    """One with digits of 0 throughout ran to the end: float 70 %, on levels 52 %, on an ideal chip 6 %."""
    own, file = encoding_changes(tmp_path), tmp_path / "own_encoding.py"
    text = file.read_text()
    assert BOOK in text
    file.write_text(text.replace(BOOK, book))
    with refused(words) as told:
        prepare(load_study("digits", own), None, tmp_path / "run")
    assert "signed-digits" in str(told.value)


def test_levels_may_be_a_list(tmp_path: Path) -> None:
    own, file = encoding_changes(tmp_path), tmp_path / "own_encoding.py"
    file.write_text(file.read_text().replace("np.arange(1.0, top + 1),", "list(range(1, top + 1)),"))
    hardware = load_study("digits", own).hardware
    assert levels(hardware.encoding, hardware.device).tolist() == list(range(1, 15))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("CheckersSet(rule.offset)", "1 / 0", "kind of rule 'checkers': ZeroDivisionError: division by zero"),
        (
            "CheckersSet(rule.offset)",
            "None",
            "kind of rule 'checkers': its handler gives a NoneType; must be a Constraint",
        ),
        (
            "lambda rule, keep, layer, hardware: CheckersSet(rule.offset)",
            "'nowhere:nothing'",
            "kind of rule 'checkers': ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            "    def finish() -> dict[str, torch.Tensor]:",
            "    {}['no']\n    def finish():",
            "compression method 'one-shot': KeyError: 'no'",
        ),
        (
            "return Pruning(Method(), Recipe(config.epochs), finish)",
            "return None",
            "compression method 'one-shot': its handler gives a NoneType; must be a Pruning",
        ),
    ],
)
def test_a_handler_that_fails_is_told_in_one_line(
    before: str, after: str, words: str, tmp_path: Path
) -> None:
    own, file = changes(tmp_path), tmp_path / "mine.py"
    assert before in MINE
    file.write_text(MINE.replace(before, after))
    with refused(words):
        result_of_run(load_study("digits", own), None, tmp_path / "run")


def test_a_kind_is_known_to_studies_that_name_its_file_alone(tmp_path: Path) -> None:
    """Another study of the same process had what an earlier one's file added."""
    load_study("digits", changes(tmp_path))
    load_study("digits", encoding_changes(tmp_path))
    for change, kind in (
        ("compress.one-shot={}", "compression method 'one-shot'"),
        ("compress.layers=[{layer='fc1', kind='checkers'}]", "kind of rule 'checkers'"),
        ("hardware.encoding.kind=signed-digits", "hardware.encoding.kind 'signed-digits'"),
    ):
        with refused(f"{kind}: is added by ") as told:
            load_study("digits", [change])
        assert str(told.value).endswith(", which must stand in `extensions`")
    with pytest.raises(XbarError, match="unknown name 'one-shott'; did you mean 'one-shot'"):
        load_study("digits", [*changes(tmp_path), "compress.method=one-shott"])


def test_two_files_may_have_a_kind_of_one_name(tmp_path: Path) -> None:
    """Each study has that of its own file; one that names both is told so."""
    offsets = {}
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        own = changes(folder)
        if name == "other":
            (folder / "mine.py").write_text(MINE.replace("rule.offset)", "rule.offset + 1)"))
        study = load_study("digits", own)
        rules = prepare(study, None, tmp_path / "run").rules
        offsets[name] = rules.at_rate(1.0)["fc1"].offset  # type: ignore[attr-defined]
    assert offsets == {"one": 1, "other": 2}
    both = f"extensions=['{tmp_path}/one/mine.py', '{tmp_path}/other/mine.py']"
    with pytest.raises(XbarError, match=r"one-shot': is added by .*one/mine.py and .*other/mine.py; a study"):
        load_study("digits", [*changes_of(tmp_path), both])


@pytest.mark.slow
def test_a_result_is_read_where_the_file_is_gone(tmp_path: Path) -> None:
    """Method, rule and encoding stand in it as data; nothing is computed from them."""
    own, encoding = changes(tmp_path), encoding_changes(tmp_path)
    files = f"extensions=['{tmp_path}/mine.py', '{tmp_path}/own_encoding.py']"
    study = load_study("digits", [*own, *encoding[len(SMALL) + 1 :], files])
    out = tmp_path / "run"
    result, report = read_without([tmp_path / "mine.py", tmp_path / "own_encoding.py"], study, out)
    assert study_dict(result.study)["compress"]["one-shot"] == {"epochs": 0}
    assert "checkers" in report
    with pytest.raises(XbarError, match="the file that adds it is not there"):
        METHODS.handler(result.study.compress.method)
    with pytest.raises(XbarError, match="encoding 'signed-digits': the file that adds it is not there"):
        levels(result.hardware.encoding, result.hardware.device)
    with pytest.raises(XbarError, match="must be the path of a Python file"):
        load_study(str(out / "study.toml"))


def stage_ids(study: Study, folder: Path) -> dict[str, str]:
    return planned_ids(prepare(study, None, folder), study)


def test_a_changed_file_changes_the_stages_that_use_it(tmp_path: Path) -> None:
    """Another method trained the baseline anew; an encoding changes what stands on cells."""
    study = load_study("digits", changes(tmp_path))
    before = stage_ids(study, tmp_path / "run")
    (tmp_path / "mine.py").write_text(MINE + "# another method\n")
    after = stage_ids(load_study("digits", changes_of(tmp_path)), tmp_path / "run")
    assert [stage for stage in before if before[stage] != after[stage]] == ["compress", "quantise"]

    (tmp_path / "mine.py").write_text(LAYER)  # layer types are part of the network
    plain = [*SMALL, f"extensions=['{tmp_path / 'mine.py'}']"]
    before = stage_ids(load_study("digits", plain), tmp_path / "run")
    (tmp_path / "mine.py").write_text(LAYER + "# another form\n")
    after = stage_ids(load_study("digits", plain), tmp_path / "run")
    assert before["train"] != after["train"]

    own = encoding_changes(tmp_path)
    study = load_study("digits", own)
    before, hardware = stage_ids(study, tmp_path / "run"), simulated(study.hardware)
    file = tmp_path / "own_encoding.py"
    file.write_text(file.read_text() + "# other cells\n")
    changed = load_study("digits", own)
    assert stage_ids(changed, tmp_path / "run") == before  # its levels are the same
    assert simulated(changed.hardware) != hardware


LAYER = """
import torch
from torch import nn

from mapping import FORMS


class LowRank(nn.Module):
    '''A product of two parameters, behind a gate that is no layer.'''

    def __init__(self, inputs, outputs, rank):
        super().__init__()
        self.a = nn.Parameter(torch.randn(inputs, rank) / inputs**0.5)
        self.b = nn.Parameter(torch.randn(rank, outputs) / rank**0.5)

    def forward(self, x):
        return x @ self.a @ self.b


def form(own):
    first, second = nn.Linear(*own.a.shape, bias=False), nn.Linear(*own.b.shape, bias=False)
    first.weight, second.weight = nn.Parameter(own.a.data.t()), nn.Parameter(own.b.data.t())
    return nn.Sequential(first, second)


FORMS[LowRank] = form


def build():
    return nn.Sequential(nn.Flatten(), LowRank(64, 32, 8), nn.ReLU(), nn.Linear(32, 10))
"""


def test_an_own_layer_type_beside_its_network(tmp_path: Path) -> None:
    """Its two products are layers, to rules, tiles and costs."""
    (tmp_path / "net.py").write_text(LAYER)
    rule = "compress.layers=[{layer='1.0', share=1.0}]"
    study = load_study(
        "digits", [*SMALL, f"network={tmp_path}/net.py:build", rule, "compress.rate=1.2", "chips.n=1"]
    )
    result = result_of_run(study, None, tmp_path / "run")
    assert list(result["mapping"]["layers"]) == ["1.0", "1.1", "3"]
    assert result["mapping"]["macs_share"] == 1
    assert result["compression"]["layers"]["1.0"]["rate"] > 1
