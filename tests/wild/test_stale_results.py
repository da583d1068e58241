"""Results that went on with old numbers although the user had changed what they follow from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tomli_w
from small_study import SMALL, comparable, result_of_run
from small_sweep import small_sweep

from experiments.inputs.networks import build_network
from experiments.run_folder.ids import component_files, files_of, network_files, point_id
from experiments.run_folder.makers import this_maker
from experiments.searches.search import Points, load_search
from experiments.studies.sources import code_digest, project_modules
from experiments.studies.study import load_study, study_dict
from experiments.sweeps.pools import in_this_process
from experiments.sweeps.running import known_rows, plan, run_points
from experiments.sweeps.sweep import load_sweep, points_of
from experiments.sweeps.tasks import Outcome
from xbar import XbarError

NET = "from parts.wide import body\n\n\ndef build():\n    return body()\n"
WIDE = (
    "from torch import nn\n\nfrom .sizes import HIDDEN\n\n\n"
    "def body():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, HIDDEN), nn.ReLU(), "
    "nn.Linear(HIDDEN, 10))\n"
)


@pytest.fixture(autouse=True)
def _nothing_loaded() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("parts", "other", "plain")]:
        del sys.modules[name]


def project(folder: Path, hidden: int = 24) -> Path:
    """net.py imports from the package parts, which imports from a module of its own."""
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "wide.py").write_text(WIDE)
    (folder / "parts" / "sizes.py").write_text(f"HIDDEN = {hidden}\n")
    (folder / "net.py").write_text(NET)
    return folder / "net.py"


def hidden_of(net: Path) -> int:
    return build_network(f"{net}:build")[1].out_features


def test_a_resumed_run_sees_a_module_that_the_network_file_imports(tmp_path: Path) -> None:
    """81.2 % of the old network stood in the result in place of 88.9 % of the new one."""
    net = project(tmp_path / "project", 8)
    rules = ["compress.rate=2", "compress.layers=[{layer='Linear', share=1.0}]"]
    study = load_study("digits", [*SMALL, *rules, f"network={net}:build"])
    result_of_run(study, None, tmp_path / "run")
    (net.parent / "parts" / "sizes.py").write_text("HIDDEN = 24\n")
    resumed = result_of_run(study, None, tmp_path / "run", resume=True)
    fresh = result_of_run(study, None, tmp_path / "fresh")
    assert comparable(resumed) == comparable(fresh)
    assert resumed["compression"]["weights_total"] == 64 * 24 + 24 * 10


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("net.py", NET + "\n"),
        ("parts/__init__.py", "X = 1\n"),
        ("parts/wide.py", WIDE + "\n"),
        ("parts/sizes.py", "HIDDEN = 25\n"),
    ],
)
def test_the_digest_sees_every_file(tmp_path: Path, file: str, text: str) -> None:
    net = project(tmp_path)
    before = code_digest(net)
    (tmp_path / "not_imported.py").write_text("A = 1\n")
    assert code_digest(net) == before
    (tmp_path / file).write_text(text)
    assert code_digest(net) != before


def test_a_project_that_moves_keeps_its_digest(tmp_path: Path) -> None:
    assert code_digest(project(tmp_path / "a")) == code_digest(project(tmp_path / "b"))


@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("import parts.wide", ["parts/__init__.py", "parts/sizes.py", "parts/wide.py"]),
        (
            "import parts.wide as w, other",
            ["other.py", "parts/__init__.py", "parts/sizes.py", "parts/wide.py"],
        ),
        ("from parts import sizes", ["parts/__init__.py", "parts/sizes.py"]),
        ("from plain.deep import inner", ["plain/deep/inner.py"]),
        ("try:\n    import other\nexcept ImportError:\n    pass", ["other.py"]),
        ("def build():\n    import other", ["other.py"]),
        ("import models", ["models/__init__.py"]),
        ("import torch, numpy, xbar, mapping.network.gemm, nothing_like_it", []),
        ("import round", ["ring.py", "round.py"]),
        ("this is no Python", []),
    ],
)
def test_what_counts_as_imported(tmp_path: Path, statement: str, files: list[str]) -> None:
    """Packages, folders without __init__, our own names, a ring of imports; not torch, not xbar."""
    net = project(tmp_path)
    (tmp_path / "plain" / "deep").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    for file in ("other.py", "plain/deep/inner.py", "models/__init__.py"):
        (tmp_path / file).write_text("")
    (tmp_path / "round.py").write_text("import ring\n")
    (tmp_path / "ring.py").write_text("import round\n")
    net.write_text(statement + "\n")
    found = sorted(str(file.relative_to(tmp_path.resolve())) for file in project_modules(net).values())
    assert found == files


def test_a_module_beside_the_project_s_root_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nets/net.py imports a package of the project, which is on Python's path."""
    project(tmp_path)
    (tmp_path / "nets").mkdir()
    net = tmp_path / "nets" / "net.py"
    net.write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    assert sorted(project_modules(net)) == ["parts", "parts.sizes", "parts.wide"]


def test_a_changed_module_is_loaded_anew_in_the_same_process(tmp_path: Path) -> None:
    """A notebook, or a worker of a cluster, went on with the network that it had loaded before."""
    net = project(tmp_path, 24)
    assert hidden_of(net) == 24
    (tmp_path / "parts" / "sizes.py").write_text("HIDDEN = 25\n")
    assert hidden_of(net) == 25
    net.write_text(NET.replace("return body()", "return body()[:2]"))
    assert len(build_network(f"{net}:build")) == 2


def test_modules_of_two_projects_with_the_same_name(tmp_path: Path) -> None:
    """The second network was built from the first one's `parts`."""
    first, second = project(tmp_path / "a", 24), project(tmp_path / "b", 32)
    assert [hidden_of(net) for net in (first, second, first)] == [24, 32, 24]


def test_what_the_user_has_loaded_stays_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's own classes are those of its networks."""
    net = project(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import parts.sizes  # type: ignore[import-not-found]

    build_network(f"{net}:build")
    assert sys.modules["parts.sizes"] is parts.sizes


LIBRARY = 'name = "mine"\nsource = "a test"\nbase = "{base}"\n'


def library(folder: Path) -> tuple[Path, Path]:
    """A library of the user's with a base of the user's, which has ISAAC's components."""
    base, own = folder / "base.toml", folder / "own.toml"
    base.write_text(LIBRARY.format(base="isaac"))
    own.write_text(LIBRARY.format(base=base))
    return own, base


ROUTER = """
[components.bus]
source = "a test"
node_nm = 32
kind = "wire"
per = "tile"
unit = "bus"
count = 1
area_mm2 = 0.09
power_mw = 700.0
rate_per_s = 1e7
event = "byte"
"""


def test_a_sweep_sees_the_base_of_a_component_library(tmp_path: Path) -> None:
    """54.3 nJ stood in the store in place of 16.9."""
    own, base = library(tmp_path)
    path = small_sweep(tmp_path / "sweep", bits="[6]")
    changes = {"hardware.periphery.library": str(own)}
    points = list(points_of(load_sweep(str(path)), changes))[:1]

    def energy() -> float:
        found = plan(points, None, tmp_path / "out")
        if left := found.left():
            run_points(left, None, tmp_path / "out", in_this_process)
        row = known_rows(tmp_path / "out")[next(iter(found.points))]
        return float(row["result"]["estimate"]["energy_nj_per_image"])

    before = energy()
    base.write_text(LIBRARY.format(base="isaac") + ROUTER)
    after = energy()
    assert after > 1.5 * before
    base.write_text(LIBRARY.format(base="isaac"))
    assert energy() == before


def test_pruning_to_a_cost_sees_the_library(tmp_path: Path) -> None:
    own, base = library(tmp_path)
    study = load_study("digits", [f"hardware.periphery.library={own}"])
    before = component_files([study.hardware])
    assert list(before) == [str(own)]
    base.write_text(LIBRARY.format(base="isaac") + ROUTER)
    assert component_files([study.hardware]) != before
    assert component_files([load_study("digits").hardware]) == {}


@pytest.mark.parametrize(
    "change",
    [
        'hardware.device="{device}"',
        'hardware.device={{base="{device}", p_stuck_g_min=0.01}}',
        'layers=[{{layer="fc1", hardware={{device="{device}"}}}}]',
        'layers=[{{layer="fc1", hardware={{device={{base="{device}", p_stuck_g_min=0.01}}}}}}]',
    ],
)
def test_devices_and_their_bases_are_seen(tmp_path: Path, change: str) -> None:
    """Of the study they are part; a layer's own setting names the file."""
    device = tmp_path / "mine.toml"
    text = study_dict(load_study("digits"))["hardware"]["device"]

    def identity(**changes: float) -> str:
        device.write_text(tomli_w.dumps({**text, **changes}))
        study = load_study("digits", [change.format(device=device)])
        return point_id(study, "0" * 64, files_of(study))

    assert identity() == identity() != identity(g_max=0.9 * text["g_max"])


def test_weights_of_any_suffix_are_seen(tmp_path: Path) -> None:
    weights = tmp_path / "weights.ckpt"
    study = load_study("digits", [f"train.weights={weights}"])
    weights.write_bytes(b"1")
    before = files_of(study)
    weights.write_bytes(b"2")
    assert files_of(study) != before
    weights.unlink()
    with pytest.raises(XbarError, match=r"weights\.ckpt: cannot be read \(No such file"):
        network_files(study)


def test_a_file_that_changes_while_a_sweep_runs(tmp_path: Path) -> None:
    """The old id would have got the new network's numbers."""
    path = small_sweep(tmp_path / "sweep", bits="[6]")
    points = list(points_of(load_sweep(str(path))))[:2]
    found = plan(points, None, tmp_path / "out")
    net = path.parent / "net.py"

    def edited(tasks):
        net.write_text(net.read_text() + "# edited\n")
        return in_this_process(tasks)

    run_points(found.left(), None, tmp_path / "out", edited)
    rows = plan(points, None, tmp_path / "out")
    assert not rows.statuses()
    assert len(rows.left()) == 2
    reasons = {
        json.loads(line)["reason"] for line in (tmp_path / "out" / "points.jsonl").read_text().splitlines()
    }
    assert len(reasons) == 1
    assert "is not what it was when the sweep began" in reasons.pop()


def test_a_built_in_study_names_no_file() -> None:
    assert files_of(load_study("lenet5-mnist")) == {}


def test_a_file_that_changes_while_a_search_runs(tmp_path: Path) -> None:
    """The front would have mixed the figures of two networks."""
    small_sweep(tmp_path)
    net = tmp_path / "net.py"
    (tmp_path / "search.toml").write_text(
        f'name = "s"\nstudy = "digits"\n[set]\nnetwork = "{net}:Net"\ncompress.rate = 2.0\n'
        'compress.layers = [{ layer = "fc", share = 1.0 }]\n[space]\n"hardware.adc.bits" = [6, 8]\n'
    )
    points = Points(load_search(str(tmp_path / "search.toml")), None, tmp_path / "out")

    def pool(tasks):
        return iter([(number, Outcome({}, {}, "not now", 0.0, this_maker())) for number in range(len(tasks))])

    source = points.source(points.check_values([points.search.values_at(0.0)]))
    evaluate = points.evaluate_on(source, pool, lambda what, reason: None)
    assert evaluate([{"hardware.adc.bits": 6}]) == [None]
    assert evaluate([{"hardware.adc.bits": 8}]) == [None]
    net.write_text(net.read_text() + "# edited\n")
    with pytest.raises(XbarError, match=r"net\.py: it, or what it imports, changed while the search ran"):
        evaluate([{"hardware.adc.bits": 6}])
