"""The store: nothing finished is lost, whatever a crash leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from experiments.sweeps.store import Writer, read_rows, store_files
from xbar import XbarError


def row(identity: str, status: str = "done", **more: object) -> dict:
    return {"id": identity, "values": {"seed": 1}, "status": status, **more}


@given(cut=st.integers(0, 200), names=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_line_cut_short_loses_that_line_only(
    tmp_path_factory: pytest.TempPathFactory, cut: int, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("store") / "points.jsonl"
    whole = [row(f"{i}", note=name) for i, name in enumerate(names)]
    with Writer(path) as writer:
        for one in whole:
            writer.append(one)
    last = len(path.read_bytes().splitlines(keepends=True)[-1])
    path.write_bytes(path.read_bytes()[: -min(cut, last)] if cut else path.read_bytes())
    with Writer(path) as writer:
        writer.append(row("after"))
    found = read_rows([path])
    assert found.pop("after") == row("after")
    lost = 0 if cut <= 1 else 1
    assert found == {one["id"]: one for one in whole[: len(whole) - lost]}


def test_files_merge_by_id_and_a_finished_point_stays(tmp_path: Path) -> None:
    lines = {
        "a.jsonl": [
            row("1", "failed", reason="x"),
            row("2", result={"n": 2}),
            row("3", "failed", reason="y"),
        ],
        "b.jsonl": [
            row("1", result={"n": 1}),
            row("2", result={"n": 22}),
            row("2", "failed"),
            row("3", "failed", reason="z"),
        ],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = read_rows(store_files(tmp_path))
    assert found["1"]["result"] == {"n": 1}
    assert found["2"]["result"] == {"n": 2}
    assert found["3"]["reason"] == "z"


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    with Writer(path), pytest.raises(XbarError, match="another sweep is writing it"):
        Writer(path)
    Writer(path).close()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=r"no store of a sweep; must be a .jsonl file, or a folder"):
        store_files(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(XbarError, match=r"log.jsonl:1: not a point of a sweep"):
        read_rows(store_files(tmp_path))
    with pytest.raises(ValueError, match="not JSON compliant"), Writer(tmp_path / "new.jsonl") as writer:
        writer.append({"value": float("nan")})
