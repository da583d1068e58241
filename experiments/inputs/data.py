"""Image data sets from local files: IDX (MNIST, Fashion-MNIST), CIFAR-10 binaries, scikit-learn's digits.

Nothing is downloaded: a missing file is refused with what was looked for, where, and how to get it.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.errors import XbarError, unknown_name

if TYPE_CHECKING:
    import torch

    from mapping.network.inputs import Inputs

Bytes = NDArray[np.uint8]

DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
IDX_FOLDERS = {
    "mnist": ("", "mnist", "MNIST/raw"),
    "fashion-mnist": ("", "fashion-mnist", "fashion", "FashionMNIST/raw"),
}
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
IDX_HINT = {
    "mnist": "put its four IDX files (plain or .gz) in a folder and give it with --data DIR",
    "fashion-mnist": "`apt install dataset-fashion-mnist`, or give the folder of its four IDX files, "
    "its name beginning with 'fashion', with --data DIR",
}
TRAIN_LABELS_SHA256 = {
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": "mnist",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9": "fashion-mnist",
}

CIFAR_FOLDERS = ("", "cifar-10-batches-bin")
CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR_TEST = "test_batch.bin"
CIFAR_RECORDS = 10_000
CIFAR_PIXELS = 3 * 32 * 32
CIFAR_HINT = (
    "unpack the data set's 'binary version' (cifar-10-binary.tar.gz, not the Python one) "
    "and give its folder with --data DIR"
)

OWN_DATA = "path/file.py:function, folder/, file.npz, file.csv"
"""How data of a user's own are named."""
VALIDATION_MOST = 5_000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets in three parts that share none.

    Parameters
    ----------
    train_x, val_x, test_x
        Inputs, N along the first axis: images, float32 in [0, 1], shape (N, C, H, W), of the data sets that
        are built in; of a user's own any tensor, or a tuple or dict of those that a network is called with.
    train_y, val_y, test_y
        Targets, N along the first axis: class numbers, int64, shape (N,), masks, tokens, or numbers, float32.
    classes
        Class names by number; empty where targets are no class numbers.
    checksum
        SHA-256 of the bytes that were read, after unpacking: a file and its .gz give the same.
    """

    name: str
    train_x: Inputs
    train_y: torch.Tensor
    val_x: Inputs
    val_y: torch.Tensor
    test_x: Inputs
    test_y: torch.Tensor
    classes: tuple[str, ...]
    checksum: str


@dataclass(frozen=True, eq=False)
class _Raw:
    """Parts that a reader found: pixels (N, C, H, W) with labels (N,); `white` is the largest pixel value."""

    train: tuple[Bytes, Bytes]
    test: tuple[Bytes, Bytes]
    white: int
    classes: tuple[str, ...]
    checksum: str


def load(name: str, folder: Path | None, seed: int = 0) -> Dataset:
    """A data set by name: ``digits``, ``mnist``, ``fashion-mnist`` or ``cifar10``; what a function of a
    user's file gives, ``path/file.py:function`` (`experiments.inputs.own_data`); or what a path holds,
    ``folder/``, ``file.npz`` or ``file.csv`` (`experiments.inputs.files`).

    The validation part is the last tenth, at most 5,000 images, of a permutation of the training images that
    depends on `seed` alone. The test part is the published one (for digits, a fixed fifth).

    Parameters
    ----------
    folder
        Where the files are; not used for ``digits``, which scikit-learn brings along. A user's function is
        given it.
    seed
        Seed of the split; studies leave it at 0, so that runs of any seed share one split.

    Raises
    ------
    XbarError
        For an unknown name, a missing folder, and files that are missing, broken, or of another data set.
    """
    if ":" in name:
        from experiments.inputs.own_data import own_data

        return own_data(name, folder)
    if is_path(name):
        from experiments.inputs.files import file_data

        return file_data(name, folder, seed)
    raw = _raw(name, folder)
    images, labels = raw.train
    train, val = split_off(len(images), seed)
    return Dataset(
        name,
        *_tensors(images[train], labels[train], raw.white),
        *_tensors(images[val], labels[val], raw.white),
        *_tensors(*raw.test, raw.white),
        raw.classes,
        raw.checksum,
    )


def checksum(name: str, folder: Path | None) -> str:
    """Checksum of a data set, and the check that it is there; errors as those of `load`."""
    return load(name, folder).checksum if ":" in name or is_path(name) else _raw(name, folder).checksum


def is_path(name: str) -> bool:
    """Whether data are a folder or file: names of data sets have no slash, and no such end."""
    return "/" in name or name.endswith((".npz", ".csv"))


def split_off(count: int, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the training part and of the validation part among so many inputs."""
    held = min(VALIDATION_MOST, count // 10)
    order = permutation(count, seed)
    return order[: count - held], order[count - held :]


def _raw(name: str, folder: Path | None) -> _Raw:
    if name not in READERS and any((place / name).is_dir() for place in (Path(), folder or Path())):
        raise XbarError(f"data {name!r}: no built-in data; for the folder of this name give {name + '/'!r}")
    if name.endswith(".py"):
        raise XbarError(f"data {name}: must name a function in it: {name}:function")
    if name not in READERS:
        raise unknown_name(f"data (or {OWN_DATA})", name, READERS)
    if folder is not None and not folder.is_dir():
        raise XbarError(f"data {name!r}: {folder} is not a folder; --data takes the folder of the files")
    return READERS[name](folder)


def permutation(n: int, seed: int) -> NDArray[np.intp]:
    """Permutation of n items from raw PCG64 words, which, unlike a Generator's methods, never change."""
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def _tensors(images: Bytes, labels: Bytes, white: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    pixels = torch.from_numpy(images.astype(np.float32)).div_(white)
    return pixels, torch.from_numpy(labels.astype(np.int64))


def _checksum(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


PART = 1 << 20
"""A file is read in parts of this many bytes."""


def _read(path: Path, head: int, size: Callable[[bytes], int]) -> bytes:
    """Contents of a file, unpacked where its name ends in .gz: one byte more at most than `size` says of its
    first `head` bytes, whatever it unpacks to."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            parts = [file.read(head)]
            left = size(parts[0]) + 1 - len(parts[0])
            while left > 0 and (part := file.read(min(left, PART))):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, zlib.error) as error:
        raise XbarError(f"{path}: broken gzip file ({error}); get it again") from None


def _digits(folder: Path | None) -> _Raw:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images, labels = bundle.images.astype(np.uint8)[:, None], bundle.target.astype(np.uint8)
    order = permutation(len(images), 0)
    train, test = np.split(order, [len(order) - len(order) // 5])
    checksum = _checksum([images.tobytes(), labels.tobytes()])
    return _Raw((images[train], labels[train]), (images[test], labels[test]), 16, DIGITS, checksum)


def _idx_file(folder: Path, stem: str) -> Path | None:
    kind = "idx3" if stem.endswith("images") else "idx1"
    names = (f"{stem}{dot}{kind}-ubyte{end}" for end in ("", ".gz") for dot in "-.")
    return next((folder / name for name in names if (folder / name).is_file()), None)


IDX_DIMENSIONS = (3, 1, 3, 1)
"""Number of dimensions of each of the arrays in `IDX_STEMS`."""


def _idx_shape(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    """Shape in the header of an IDX file of unsigned bytes: 0, 0, 8, dimensions, then each size as big-endian
    uint32."""
    magic = bytes((0, 0, 8, dimensions))
    if head[:4] != magic or len(head) < _idx_start(dimensions):
        raise XbarError(
            f"{path}: begins with {head[:4].hex()}; an IDX file of these begins with {magic.hex()}"
        )
    shape = tuple(int(size) for size in np.frombuffer(head, ">u4", dimensions, 4))
    if dimensions == 3 and shape[1:] != (28, 28):
        raise XbarError(f"{path}: images of {shape[1]} x {shape[2]} pixels; allowed: 28 x 28")
    return shape


def _idx_start(dimensions: int) -> int:
    return 4 + 4 * dimensions


def _read_idx(path: Path, dimensions: int) -> bytes:
    """Contents of an IDX file, as many bytes as its header asks for."""

    def size(head: bytes) -> int:
        return _idx_start(dimensions) + math.prod(_idx_shape(path, head, dimensions))

    content = _read(path, _idx_start(dimensions), size)
    expected = size(content)
    if len(content) != expected:
        found = "more" if len(content) > expected else f"{len(content)} bytes"
        raise XbarError(f"{path}: {found}, its header asks for {expected} bytes; get it again")
    return content


def _idx(path: Path, content: bytes, dimensions: int) -> Bytes:
    """Array of an IDX file."""
    shape = _idx_shape(path, content, dimensions)
    return np.frombuffer(content, np.uint8, offset=_idx_start(dimensions)).reshape(shape)


def _idx_content(folder: Path, train_labels: bytes) -> str:
    """Which data set IDX files are: the known checksums say so, else the folder's name.

    The two data sets have the same file names, so files of neither checksum count as MNIST unless the folder
    (or the parent of one called ``raw``) begins with "fashion".
    """
    known = TRAIN_LABELS_SHA256.get(hashlib.sha256(train_labels).hexdigest())
    place = folder.resolve()
    title = place.parent.name if place.name == "raw" else place.name
    return known or ("fashion-mnist" if title.lower().startswith("fashion") else "mnist")


def _idx_reader(name: str, classes: tuple[str, ...]) -> Callable[[Path | None], _Raw]:
    def read(folder: Path | None) -> _Raw:
        folders = [folder / sub for sub in IDX_FOLDERS[name]] if folder is not None else []
        folders += [DEBIAN_FASHION] if name == "fashion-mnist" else []
        notes = []
        for place in folders:
            paths = [_idx_file(place, stem) for stem in IDX_STEMS]
            found = [path for path in paths if path is not None]
            if not found:
                continue
            if len(found) < len(paths):
                absent = [stem for stem, path in zip(IDX_STEMS, paths, strict=True) if path is None]
                notes.append(f"{place} lacks {', '.join(absent)}")
                continue
            contents = [_read_idx(path, n) for path, n in zip(found, IDX_DIMENSIONS, strict=True)]
            content = _idx_content(place, contents[1])
            if content == name:
                return _idx_raw(found, contents, classes)
            notes.append(f"{place} holds {content}")
        seen = f" ({'; '.join(notes)})" if notes else ""
        raise XbarError(f"data {name!r}: {_not_found(folders)}{seen}; {IDX_HINT[name]}")

    return read


def _not_found(folders: list[Path]) -> str:
    return f"not found in {', '.join(map(str, folders))}" if folders else "not found: no folder was given"


def _idx_raw(paths: list[Path], contents: list[bytes], classes: tuple[str, ...]) -> _Raw:
    train_x, train_y, test_x, test_y = (
        _idx(path, content, dimensions)
        for path, content, dimensions in zip(paths, contents, IDX_DIMENSIONS, strict=True)
    )
    for path, images, labels in ((paths[1], train_x, train_y), (paths[3], test_x, test_y)):
        if len(images) != len(labels):
            raise XbarError(f"{path}: {len(labels)} labels for {len(images)} images")
        _check_labels(path, labels, classes)
    return _Raw((train_x[:, None], train_y), (test_x[:, None], test_y), 255, classes, _checksum(contents))


def _check_labels(path: Path, labels: Bytes, classes: tuple[str, ...]) -> None:
    if len(labels) == 0:
        raise XbarError(f"{path}: holds no image")
    if labels.max() >= len(classes):
        raise XbarError(f"{path}: label {labels.max()}; allowed: 0 to {len(classes) - 1}")


def _cifar(folder: Path | None) -> _Raw:
    files = (*CIFAR_TRAIN, CIFAR_TEST)
    folders = [folder / sub for sub in CIFAR_FOLDERS] if folder is not None else []
    place = next((f for f in folders if any((f / name).is_file() for name in files)), None)
    if place is None:
        raise XbarError(f"data 'cifar10': {', '.join(files)} {_not_found(folders)}; {CIFAR_HINT}")
    absent = [name for name in files if not (place / name).is_file()]
    if absent:
        raise XbarError(f"data 'cifar10': {place} lacks {', '.join(absent)}; {CIFAR_HINT}")
    expected = CIFAR_RECORDS * (1 + CIFAR_PIXELS)
    contents = [_read(place / name, 0, lambda _: expected) for name in files]
    parts = [_cifar_batch(place / name, content) for name, content in zip(files, contents, strict=True)]
    train = np.concatenate([part[0] for part in parts[:-1]]), np.concatenate([part[1] for part in parts[:-1]])
    return _Raw(train, parts[-1], 255, CIFAR, _checksum(contents))


def _cifar_batch(path: Path, content: bytes) -> tuple[Bytes, Bytes]:
    """Images (N, 3, 32, 32) and labels (N,) of records of one label byte and the R, G and B planes."""
    expected = CIFAR_RECORDS * (1 + CIFAR_PIXELS)
    if len(content) != expected:
        found = "more" if len(content) > expected else f"{len(content)} bytes"
        raise XbarError(f"{path}: {found}, a batch of CIFAR-10 has {expected} bytes; {CIFAR_HINT}")
    records = np.frombuffer(content, np.uint8).reshape(CIFAR_RECORDS, 1 + CIFAR_PIXELS)
    _check_labels(path, records[:, 0], CIFAR)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


READERS: dict[str, Callable[[Path | None], _Raw]] = {
    "digits": _digits,
    "mnist": _idx_reader("mnist", DIGITS),
    "fashion-mnist": _idx_reader("fashion-mnist", FASHION),
    "cifar10": _cifar,
}
