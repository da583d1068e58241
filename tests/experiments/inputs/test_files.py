"""Data without code: what a folder, an .npz and a .csv give, their split, and one line for every mistake."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_study import SMALL

from experiments.inputs.data import checksum, load
from experiments.stages.run import run_study
from experiments.studies.study import load_study
from xbar.hardware.errors import XbarError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 6, 5), dtype=np.uint8)
CLASSES = np.arange(60) % 3
NAMES = ("ant", "bee", "cat")


def folder_of(place: Path, pixels: np.ndarray, suffix: str = ".png") -> Path:
    for number, image in enumerate(pixels):
        path = place / NAMES[CLASSES[number]] / f"{number:03}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return place


def refused(name: object, folder: Path | None = None) -> str:
    with pytest.raises(XbarError) as caught:
        load(str(name), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_one_part_is_split_by_a_fixed_permutation(tmp_path: Path) -> None:
    folder_of(tmp_path / "pictures", PIXELS)
    found = load(f"{tmp_path}/pictures/", None)
    assert found.classes == NAMES
    assert [len(y) for y in (found.train_y, found.val_y, found.test_y)] == [44, 4, 12]
    assert found.train_x.shape[1:] == (1, 6, 5)
    every = torch.cat([found.train_x, found.val_x, found.test_x])
    classes = torch.cat([found.train_y, found.val_y, found.test_y])
    expected = torch.from_numpy(PIXELS.astype(np.float32))[:, None] / 255
    places = [int((expected == image).all((1, 2, 3)).nonzero()) for image in every]
    assert sorted(places) == list(range(60))  # no image is in two parts
    assert classes.tolist() == [int(CLASSES[place]) for place in places]
    assert load(f"{tmp_path}/pictures/", None, seed=1).checksum != found.checksum
    assert load("pictures/", tmp_path).checksum == found.checksum
    Image.fromarray(PIXELS[1]).save(tmp_path / "pictures" / "ant" / "000.png")
    assert checksum(f"{tmp_path}/pictures/", None) != found.checksum


def test_a_folder_with_parts_and_an_npz_give_the_same(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
    order = np.argsort(CLASSES, kind="stable")  # as a folder of classes is read
    for part, chosen in (("train", slice(0, 40)), ("val", slice(40, 50)), ("test", slice(50, 60))):
        for number in range(60)[chosen]:
            path = tmp_path / "set" / part / NAMES[CLASSES[number]] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours[number]).save(path)
    arrays = {"classes": np.array(NAMES)}
    for short, low, high in (("train", 0, 40), ("val", 40, 50), ("test", 50, 60)):
        inside = [number for number in order if low <= number < high]
        arrays |= {f"x_{short}": colours[inside], f"y_{short}": CLASSES[inside].astype(np.uint8)}
    np.savez(tmp_path / "set.npz", **arrays)
    one, other = load(f"{tmp_path}/set/", None), load(f"{tmp_path}/set.npz", None)
    assert one.checksum == other.checksum
    assert one.test_x.shape == (10, 3, 6, 5)
    assert torch.equal(one.test_x, other.test_x)


def test_an_npz_of_numbers_keeps_them(tmp_path: Path) -> None:
    x, y = RNG.normal(size=(30, 4, 7)), RNG.normal(size=30)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    found = load(str(tmp_path / "a.npz"), None)
    assert found.classes == ()
    assert [len(part) for part in (found.train_y, found.val_y, found.test_y)] == [22, 2, 6]
    assert sorted(torch.cat([found.train_y, found.val_y, found.test_y]).tolist()) == sorted(
        y.astype(np.float32).tolist()
    )
    assert found.test_x.shape == (6, 4, 7)


def test_a_table_has_numbers_classes_or_parts(tmp_path: Path) -> None:
    lines = [f"{i}, {i * 0.5}, {NAMES[i % 3]}" for i in range(40)]
    (tmp_path / "names.csv").write_text("\n".join(["a,b,kind", *lines]))
    found = load(str(tmp_path / "names.csv"), None)
    assert found.classes == NAMES
    assert torch.equal(found.test_y, found.test_x[:, 0].long() % 3)
    assert torch.equal(found.train_x[:, 1], found.train_x[:, 0] / 2)
    lines = [f"{i + 0.5},{'test' if i >= 30 else 'train'},{i}" for i in range(40)]
    (tmp_path / "parts.csv").write_text("\n".join(["target,part,a", *lines]))
    found = load(str(tmp_path / "parts.csv"), None)
    assert found.test_y.tolist() == [i + 0.5 for i in range(30, 40)]
    assert found.test_x.tolist() == [[i] for i in range(30, 40)]
    assert len(found.train_y) == 27


def test_a_study_runs_on_a_table(tmp_path: Path) -> None:
    x = RNG.normal(size=(200, 5))
    table = np.column_stack([x * 10 + 3, x @ np.arange(5) + 7])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,c,d,e,y", comments="")
    (tmp_path / "net.py").write_text("from torch import nn\n\ndef net():\n    return nn.Linear(5, 1)\n")
    own = [f"data={tmp_path}/t.csv", f"network={tmp_path}/net.py:net", "loss=mse", "metric=r2"]
    own += [
        "train.normalise=training",
        "train.lr=0.3",
        "train.epochs=8",
        "compress.rate=1",
        "compress.layers=[]",
    ]
    result = run_study(load_study("digits", [*SMALL, *own]), None, tmp_path / "run")
    assert result.accuracy.float > 0.9
    assert result.accuracy.metric.name == "R2"
    assert result.accuracy.chips.share_above is None  # that of the study is a percentage
    assert load_study(str(tmp_path / "run" / "study.toml")).chips.threshold is None


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    assert "no such folder" in refused(f"{tmp_path}/none/")
    assert "no such file" in refused(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    assert "must begin with the names of the columns" in refused(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,3\n1,x,3\n")
    assert "sample 2: b = 'x': must be a number" in refused(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,3\n1,3\n")
    assert "sample 2 has 2 cells, not 3" in refused(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("a,part,y\n1,trian,3\n")
    assert "did you mean 'train'" in refused(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    assert "no CSV file in UTF-8" in refused(tmp_path / "a.csv")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    assert "no .npz file of plain arrays" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    assert "no .npz file of plain arrays" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x_trian=np.zeros(3))
    assert "did you mean 'x_train'" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x_train=np.zeros((20, 2)), y_train=np.zeros(20))
    assert "the part 'test' is missing" in refused(tmp_path / "a.npz")
    folder_of(tmp_path / "f", PIXELS)
    Image.fromarray(PIXELS[0][:3]).save(tmp_path / "f" / "bee" / "zzz.png")
    assert "zzz.png: 5 x 3 pixels" in refused(f"{tmp_path}/f/")
    (tmp_path / "f" / "bee" / "zzz.png").write_bytes(b"no image")
    assert "zzz.png: no image that can be read" in refused(f"{tmp_path}/f/")
    (tmp_path / "f" / "bee" / "zzz.png").unlink()
    shutil.copytree(tmp_path / "f" / "bee", tmp_path / "f" / "train")
    assert "holds ant, bee, cat beside the parts" in refused(f"{tmp_path}/f/")


@pytest.mark.parametrize(
    ("header", "target", "words"),
    [
        (
            "a,y",
            ["-0.129"] * 5 + ["NA"] + ["1.5"] * 4,
            "sample 6: y = 'NA', where that of sample 1 is",
        ),
        (
            "a,y",
            ["bee", "ant"] * 4 + ["bee", "nan"],
            "sample 1: y = 'bee', where that of sample 10 is",
        ),
        ("a,y", ["-0.5"] * 9 + [""], "sample 10: y is empty"),
        ("a,y", [str(i) for i in range(9)] + [" "], "sample 10: y is empty"),
        ("a,y", ["bee"] * 3 + [""] + ["ant"] * 6, "sample 4: y is empty"),
        ("a,", [""] * 20, "the last column has no name"),
    ],
)
def test_a_column_of_targets_is_of_one_kind(
    tmp_path: Path, header: str, target: list[str], words: str
) -> None:
    lines = [f"{number},{text}" for number, text in enumerate(target)]
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]))
    assert words in refused(tmp_path / "a.csv")


def test_numbers_that_their_types_do_not_hold_are_refused(tmp_path: Path) -> None:
    x, y = RNG.normal(size=(30, 4)), np.arange(30)
    for inputs, targets, words in (
        (1e300 * x, y, "inputs hold NaN or inf, or numbers beyond float32"),
        (x, 1e300 * x[:, 0], "targets hold NaN or inf, or numbers beyond float32"),
        (x, y.astype(np.uint64) + 2**63, "y holds whole numbers beyond int64"),
        (x.astype(np.uint64) + 2**63, y, "x holds whole numbers beyond int64"),
    ):
        np.savez(tmp_path / "a.npz", x=inputs, y=targets)
        assert words in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=x, y=y.astype(np.uint64))
    assert len(load(str(tmp_path / "a.npz"), None).classes) == 30


def test_two_names_of_one_part_are_refused(tmp_path: Path) -> None:
    words = "validation and val are one part; must be called validation alone"
    parts = ("train", "test", "val", "validation")
    np.savez(tmp_path / "a.npz", **{f"{axis}_{part}": np.zeros(20) for axis in "xy" for part in parts})
    assert words in refused(tmp_path / "a.npz")
    for part in parts:
        folder_of(tmp_path / "f" / part, PIXELS)
    assert words in refused(f"{tmp_path}/f/")


def test_broken_content_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.zeros(3))
    assert "no .npz file of plain arrays (TypeError: a single array" in refused(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("x", "no array")
    assert "x is no array" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 2)), y=np.zeros(20), classes=np.array("ant"))
    assert "classes: of shape (); must be a list of names" in refused(tmp_path / "a.npz")
    for digits in (20, 5000):
        (tmp_path / "a.csv").write_text("a,y\n" + 9 * "1,2\n" + f"1,{'9' * digits}\n")
        assert "sample 10: y = 99999" in refused(tmp_path / "a.csv")
    folder_of(tmp_path / "f", PIXELS)
    picture = tmp_path / "f" / "bee" / "001.png"
    content = picture.read_bytes()
    for place in range(len(content)):
        picture.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            load(f"{tmp_path}/f/", None)
        except XbarError as error:
            assert "\n" not in str(error)  # noqa: PT017
    picture.write_bytes(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "no image that can be read (DecompressionBombError" in refused(f"{tmp_path}/f/")


def test_large_whole_numbers_are_no_classes(tmp_path: Path) -> None:
    for largest, classes in ((99_999, 100_000), (100_000, 0), (20_000_000, 0)):
        np.savez(tmp_path / "a.npz", x=np.zeros((20, 2)), y=np.arange(20) + largest - 19)
        found = load(str(tmp_path / "a.npz"), None)
        assert len(found.classes) == classes
        assert found.train_y.dtype == torch.int64
