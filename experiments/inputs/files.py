"""Data without code: images in a folder for each class, an ``.npz`` file, or a ``.csv`` file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from experiments.inputs.data import Dataset, permutation
from experiments.inputs.parts import DataPart, dataset_of_parts
from xbar.hardware.errors import XbarError, one_line, unknown_name

Parts = tuple[dict[str, DataPart], Sequence[str]]
"""Parts by name, and the names of the classes where there are some."""

TEST_SHARE = 5
"""One part alone gives a test part of so many a whole, the end of a permutation."""
CHANNELS = (1, 3, 4)
LONGEST_WHOLE = 20
"""Characters of -2^63, the longest whole number that int64 holds."""
PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
NPZ_LAYOUT = (
    "arrays x_train, y_train, x_test, y_test and, if there are some, x_val and y_val; or x and y alone"
)
CSV_LAYOUT = "a line of names, then a line a sample; the last column, or the one called target, is the target"
FOLDER_LAYOUT = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE and, if there is one, validation/..."


def file_data(name: str, folder: Path | None, seed: int = 0) -> Dataset:
    """The data of a path: ``folder/``, ``file.npz`` or ``file.csv``, looked for below `folder` first.

    Where there is one part alone, the last fifth of a permutation that depends on `seed` is the test part;
    where there is no validation part, the last tenth of the training part is that, as for all data sets.

    Raises
    ------
    XbarError
        For a path that is not there, and what is not laid out as said, with file, line or key.
    """
    path = folder / name if folder is not None and (folder / name).exists() else Path(name)
    read = READERS_OF_FILES.get(path.suffix.lower(), _folder)
    if not (path.is_dir() if read is _folder else path.is_file()):
        raise XbarError(f"data {name}: {path}: no such {'folder' if read is _folder else 'file'}")
    try:
        parts, classes = read(name, path)
    except OSError as error:
        raise XbarError(f"data {name}: {path}: cannot be read ({error.strerror or error})") from None
    if "all" in parts:
        parts = _split(parts["all"], seed)
    for part in ("train", "test"):
        if part not in parts:
            raise XbarError(f"data {name}: the part {part!r} is missing")
    return dataset_of_parts(name, parts, classes)


def _split(whole: DataPart, seed: int) -> dict[str, DataPart]:
    """Training and test part of one part."""
    whole = whole.checked()
    order = torch.from_numpy(permutation(len(whole.targets), seed))
    train = len(order) - len(order) // TEST_SHARE
    assert isinstance(whole.inputs, torch.Tensor)
    return {
        part: DataPart(f"{whole.where}: {part}", whole.inputs[places], whole.targets[places])
        for part, places in (("train", order[:train]), ("test", order[train:]))
    }


def _npz(name: str, path: Path) -> Parts:
    """Arrays of a file that `numpy.savez` wrote."""
    try:
        with open(path, "rb") as stream:
            arrays = _arrays_of(np.load(stream, allow_pickle=False))
    except OSError:
        raise
    except Exception as error:  # of any kind, for content that is broken
        raise XbarError(f"data {name}: {path}: no .npz file of plain arrays ({one_line(error)})") from error
    names = arrays.pop("classes", np.array([]))
    if names.ndim != 1:
        raise XbarError(f"data {name}: classes: of shape {names.shape}; must be a list of names, (C,)")
    classes = [str(each) for each in names]
    if set(arrays) == {"x", "y"}:
        return {"all": _arrays(name, "all", arrays["x"], arrays["y"])}, classes
    if alone := sorted({"x", "y"} & set(arrays)):
        others = ", ".join(sorted(set(arrays) - {"x", "y"}))
        wrong = f"holds {others} beside {' and '.join(alone)}" if others else f"holds {alone[0]} alone"
        raise XbarError(f"data {name}: {wrong}; must hold {NPZ_LAYOUT}")
    wanted = {f"{axis}_{short}": part for short, part in PARTS.items() for axis in "xy"}
    for key in arrays:
        if key not in wanted:
            raise unknown_name(f"data {name}: array", key, [*wanted, "x", "y", "classes"])
    _check_named_once(f"data {name}", {key.partition("_")[2] for key in arrays})
    parts = {}
    for short, part in PARTS.items():
        pair = [arrays.get(f"{axis}_{short}") for axis in "xy"]
        if pair[0] is not None and pair[1] is not None:
            parts[part] = _arrays(name, part, pair[0], pair[1])
        elif not (pair[0] is None and pair[1] is None):
            raise XbarError(f"data {name}: x_{short} or y_{short} is missing; must hold {NPZ_LAYOUT}")
    if not parts:
        raise XbarError(f"data {name}: must hold {NPZ_LAYOUT}")
    return parts, classes


def _arrays_of(file: Any) -> dict[str, NDArray[Any]]:
    """Arrays by name; what is no .npz file, though numpy can read it, is a TypeError."""
    if not isinstance(file, NpzFile):
        raise TypeError("a single array, as of a .npy file")
    with file:
        found = {key: file[key] for key in file.files}
    for key, array in found.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{key} is no array")
    return found


def _arrays(name: str, part: str, x: NDArray[Any], y: NDArray[Any]) -> DataPart:
    """Inputs and targets of arrays; pixels of a byte become images from 0 to 1 with channels first."""
    where = f"data {name}: {part}"
    for what, array in (("x", x), ("y", y)):
        if array.dtype.kind not in "buif":
            raise XbarError(f"{where}: {what} holds {array.dtype}; must be numbers")
        if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
            raise XbarError(f"{where}: {what} holds whole numbers beyond int64")
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        if x.ndim == 4 and x.shape[1] not in CHANNELS and x.shape[3] in CHANNELS:
            x = np.moveaxis(x, 3, 1)
        x = (x[:, None] if x.ndim == 3 else x).astype(np.float32) / np.float32(255)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "bui" else y
    return DataPart(where, _tensor(x), _tensor(y))


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor of an array of any byte order and width."""
    wide = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    return torch.from_numpy(wide)


def _csv(name: str, path: Path) -> Parts:
    """A table: columns of numbers are the inputs, one is the target, one may name the part."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            names, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise XbarError(f"data {name}: {path}: no CSV file in UTF-8 ({error})") from None
    names = [each.strip() for each in names]
    if len(set(names)) < len(names) or all(map(_is_number, names)):
        raise XbarError(f"data {name}: {path}: must begin with the names of the columns: {CSV_LAYOUT}")
    target = "target" if "target" in names else next((n for n in reversed(names) if n != "part"), "")
    inputs = [each for each in names if each not in (target, "part")]
    if not inputs or not rows:
        raise XbarError(f"data {name}: {path}: must be {CSV_LAYOUT}")
    if not target:
        raise XbarError(f"data {name}: {path}: the last column has no name; must be {CSV_LAYOUT}")
    columns: dict[str, list[str]] = {key: [] for key in names}
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise XbarError(f"data {name}: sample {number} has {len(row)} cells, not {len(names)}")
        for key, cell in zip(names, row, strict=True):
            columns[key].append(cell.strip())
    x = np.stack([_numbers(name, key, columns[key]) for key in inputs], axis=1)
    y, classes = _column_of_targets(name, target, columns[target])
    if "part" not in names:
        return {"all": DataPart(f"data {name}", torch.from_numpy(x), y)}, classes
    where: dict[str, list[int]] = {}
    for place, part in enumerate(columns["part"]):
        if part not in PARTS:
            raise unknown_name(f"data {name}: sample {place + 1}: part", part, PARTS)
        where.setdefault(PARTS[part], []).append(place)
    parts = {
        part: DataPart(f"data {name}: {part}", torch.from_numpy(x[places]), y[places])
        for part, places in where.items()
    }
    return parts, classes


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(name: str, column: str, texts: Sequence[str]) -> NDArray[np.float64]:
    for sample, text in enumerate(texts, 1):
        if not _is_number(text):
            raise XbarError(f"data {name}: sample {sample}: {column} = {text!r}: must be a number")
    return np.array([float(text) for text in texts])


def _column_of_targets(name: str, column: str, texts: Sequence[str]) -> tuple[torch.Tensor, list[str]]:
    """Whole numbers, real numbers, or numbers of classes by their names in alphabetical order."""
    where = f"data {name}: sample"
    if "" in texts:
        raise XbarError(f"{where} {texts.index('') + 1}: {column} is empty; every sample needs a target")
    numbers = [_is_number(text) for text in texts]
    if any(numbers) and not all(numbers):
        one, other = numbers.index(True), numbers.index(False)
        raise XbarError(
            f"{where} {other + 1}: {column} = {texts[other]!r}, where that of sample {one + 1} is the number "
            f"{texts[one]!r}; must be numbers, or names of classes, throughout"
        )
    if all(text.removeprefix("-").isdecimal() for text in texts):
        for sample, text in enumerate(texts, 1):
            if len(text) > LONGEST_WHOLE or not -(2**63) <= int(text) < 2**63:
                raise XbarError(f"{where} {sample}: {column} = {text[:24]}...: a whole number beyond int64")
        return torch.tensor([int(text) for text in texts]), []
    if all(numbers):
        return torch.tensor([float(text) for text in texts], dtype=torch.float64), []
    names = sorted(set(texts))
    places = {each: number for number, each in enumerate(names)}
    return torch.tensor([places[text] for text in texts]), names


def _folder(name: str, path: Path) -> Parts:
    """Images by class, in parts or not."""
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")
    _check_named_once(f"data {name}: {path}", inside)
    named = {PARTS[entry]: path / entry for entry in inside if entry in PARTS}
    others = ", ".join(entry for entry in inside if entry not in PARTS)
    if named and others:
        raise XbarError(f"data {name}: {path}: holds {others} beside the parts; must be {FOLDER_LAYOUT}")
    places = named or {"all": path}
    of_classes = {entry.name for place in places.values() for entry in place.iterdir() if entry.is_dir()}
    classes = sorted(each for each in of_classes if each[0] != ".")
    if len(classes) < 2:
        raise XbarError(f"data {name}: {path}: holds {len(classes)} classes; must be {FOLDER_LAYOUT}")
    files = {
        part: [(file, number) for number, each in enumerate(classes) for file in _images(place / each)]
        for part, place in places.items()
    }
    pictures = _pictures(name, [file for found in files.values() for file, _ in found])
    parts, start = {}, 0
    for part, found in files.items():
        x = pictures[start : start + len(found)]
        start += len(found)
        parts[part] = DataPart(f"data {name}: {part}", x, torch.tensor([number for _, number in found]))
    return parts, classes


def _check_named_once(where: str, found: Collection[str]) -> None:
    """Refuse two names of one part."""
    for part in dict.fromkeys(PARTS.values()):
        names = [short for short, of in PARTS.items() if of == part and short in found]
        if len(names) > 1:
            raise XbarError(f"{where}: {' and '.join(names)} are one part; must be called {names[0]} alone")


def _images(folder: Path) -> list[Path]:
    """Files of images in the order of their names."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry for entry in entries if entry.suffix.lower() in IMAGES and entry.name[0] != "."]


def _pictures(name: str, files: Sequence[Path]) -> torch.Tensor:
    """Pixels from 0 to 1, (N, 1, H, W) where all images are grey, else (N, 3, H, W)."""
    from PIL import Image  # matplotlib brings it

    if not files:
        raise XbarError(f"data {name}: no image ({', '.join(IMAGES)}) in the folders of the classes")
    found: list[Any] = []
    for file in files:
        try:
            with Image.open(file) as image:
                image.load()
                found.append(image.copy())
        except Exception as error:  # of any kind, for content that is broken
            raise XbarError(f"data {name}: {file}: no image that can be read ({one_line(error)})") from error
        if found[-1].mode not in ("1", "L", "P", "RGB", "RGBA", "LA"):
            raise XbarError(f"data {name}: {file}: mode {found[-1].mode}; must have 8 bits a channel")
        if found[-1].size != found[0].size:
            (w, h), (first_w, first_h) = found[-1].size, found[0].size
            raise XbarError(
                f"data {name}: {file}: {w} x {h} pixels, {files[0]} has {first_w} x {first_h}; all must have "
                "one size"
            )
    mode = "L" if all(image.mode in ("1", "L") for image in found) else "RGB"
    pixels = np.stack([np.asarray(image.convert(mode)) for image in found])
    pixels = pixels[:, None] if mode == "L" else np.moveaxis(pixels, 3, 1)
    return torch.from_numpy(pixels.astype(np.float32)) / 255


READERS_OF_FILES: dict[str, Callable[[str, Path], Parts]] = {".npz": _npz, ".csv": _csv}
"""By the end of the file's name; any other path is a folder."""
