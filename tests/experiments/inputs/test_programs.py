"""Programs of torch.export: what would run code is refused by name, whatever part of the file it is in."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from experiments.commands.cli import main
from experiments.inputs.programs import TRUST, load_program
from xbar import XbarError

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


class Code:
    """Makes a folder where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.mkdir, (self.place,)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.reshape(x.shape[0], -1)) * x.shape[0]

    x, file = torch.rand(2, 2, 3), tmp_path / "net.pt2"
    torch.export.save(export(Net().eval(), (x,), dynamic_shapes=({0: Dim.DYNAMIC},)), file)
    return file


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """The archive with the contents of its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            new = change(name, content)
            archive.writestr(name, content if new is None else new)


def model_with(change: Callable[[str], str]) -> Callable[[str, bytes], bytes | None]:
    def of(name: str, content: bytes) -> bytes | None:
        if not name.endswith("models/model.json"):
            return None
        text = content.decode()
        changed = change(text)
        assert changed != text
        return changed.encode()

    return of


def inputs_of(place: Path) -> Callable[[str, bytes], bytes | None]:
    buffer = io.BytesIO()
    torch.save(((Code(place),), {}), buffer)
    return lambda name, _: buffer.getvalue() if "sample_inputs" in name else None


def size(text: str) -> Callable[[str, bytes], bytes | None]:
    return model_with(lambda model: re.sub(r'"expr_str": "[^"]*"', f'"expr_str": {json.dumps(text)}', model))


def name(text: str) -> Callable[[str, bytes], bytes | None]:
    return model_with(lambda model: model.replace('"name": "x"', f'"name": {json.dumps(text)}'))


def test_a_program_of_tensors_is_read(path: Path) -> None:
    x = torch.rand(5, 2, 3)
    network = load_program(path)
    torch.testing.assert_close(network(x), torch.export.load(path).module()(x))
    assert isinstance(network.fc, nn.Linear)


def test_nothing_that_a_file_holds_is_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "ran"
    rewritten(path, inputs_of(place))
    before = torch.load, pickle.loads
    with pytest.raises(
        XbarError, match=r"net\.pt2: not read, because it holds (posix\.)?mkdir, which runs code"
    ):
        load_program(path)
    assert not place.exists()
    assert (torch.load, pickle.loads) == before
    monkeypatch.setenv(TRUST, "1")
    with pytest.raises(XbarError, match=r"not a torch\.export program"):
        load_program(path)
    assert place.exists()  # what it would have done


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (size("exec(chr(97))"), "has a size 'exec"),
        (size("().__class__.__base__"), "has a size '"),
        (size("Max(s0, eval('1'))"), 'has a size "Max'),
        (size("Symbol('s0').func"), 'has a size "Symbol'),
        (size("(lambda: 1)()"), "has a size '"),
        (name("x=print(1)):\n pass\n#"), "has a name 'x=print"),
    ],
)
def test_texts_that_are_evaluated_are_sizes_and_names(
    path: Path, change: Callable[[str, bytes], bytes | None], words: str
) -> None:
    rewritten(path, change)
    with pytest.raises(XbarError, match=re.escape(words)):
        load_program(path)


def test_compiled_code_is_refused_and_trust_is_an_option(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST, "0")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/extra/kernel.so", b"code")
    with pytest.raises(SystemExit):
        main(["layers", str(path), "--input", "2x3"])
    told = capsys.readouterr().err
    assert "holds compiled code (kernel.so), which runs code of the file" in told
    assert f"if you trust it, give --trust, or set {TRUST}=1" in told
    main(["layers", str(path), "--input", "2x3", "--trust"])
    assert "fc" in capsys.readouterr().out
