"""Readers of image data sets: valid, packed, broken and missing files, and what may pass for what."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.inputs import data
from xbar.hardware.errors import XbarError

SHARED_MNIST = Path(__file__).resolve().parents[4] / "shared" / "data" / "mnist"


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def idx_arrays(train: int = 40, test: int = 12) -> dict[str, np.ndarray]:
    """Images whose first pixel is their number, so that each can be told from all others."""
    rng = np.random.default_rng(1)
    arrays = {}
    for part, n, first in (("train", train, 0), ("t10k", test, 100)):
        images = rng.integers(0, 256, (n, 28, 28))
        images[:, 0, 0] = first + np.arange(n)
        arrays[f"{part}-images-idx3-ubyte"] = images
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(n) % 10
    return arrays


def write_idx(folder: Path, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in idx_arrays().items():
        content = idx(array)
        (folder / f"{name}.gz" if packed else folder / name).write_bytes(
            gzip.compress(content) if packed else content
        )
    return folder


def test_idx_pixels_labels_and_split(tmp_path):
    got = data.load("mnist", write_idx(tmp_path))
    arrays = idx_arrays()
    assert (got.train_x.shape, got.val_x.shape, got.test_x.shape) == (
        (36, 1, 28, 28),
        (4, 1, 28, 28),
        (12, 1, 28, 28),
    )
    assert (got.train_x.dtype, got.train_y.dtype) == (torch.float32, torch.int64)
    images = arrays["train-images-idx3-ubyte"]
    for x, y in ((got.train_x, got.train_y), (got.val_x, got.val_y)):
        number = (x[:, 0, 0, 0] * 255).round().long()
        torch.testing.assert_close(x[:, 0], torch.tensor(images[number] / 255, dtype=torch.float32))
        assert torch.equal(y, number % 10)
    numbers = torch.cat([got.train_x, got.val_x])[:, 0, 0, 0] * 255
    assert sorted(numbers.round().tolist()) == list(range(40))
    expected = torch.tensor(arrays["t10k-images-idx3-ubyte"] / 255, dtype=torch.float32)
    torch.testing.assert_close(got.test_x[:, 0], expected)


@pytest.mark.parametrize("sub", ["mnist", "MNIST/raw"])
def test_packed_files_in_a_subfolder_are_the_same_data(tmp_path, sub):
    plain = data.load("mnist", write_idx(tmp_path / "plain"))
    write_idx(tmp_path / "packed" / sub, packed=True)
    packed = data.load("mnist", tmp_path / "packed")
    assert torch.equal(plain.val_x, packed.val_x)
    assert plain.checksum == packed.checksum


def test_checksum_sees_one_changed_pixel(tmp_path):
    before = data.load("mnist", write_idx(tmp_path)).checksum
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\xaa")
    assert data.load("mnist", tmp_path).checksum != before


def test_split_depends_on_its_own_seed_alone(tmp_path):
    folder = write_idx(tmp_path)
    first = data.load("mnist", folder)
    torch.manual_seed(5)
    np.random.default_rng(5).random()
    assert torch.equal(first.val_x, data.load("mnist", folder).val_x)
    assert not torch.equal(first.val_x, data.load("mnist", folder, seed=1).val_x)
    assert torch.equal(first.test_x, data.load("mnist", folder, seed=1).test_x)


def test_split_of_a_seed_never_changes():
    assert data.permutation(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


def truncate(content: bytes) -> bytes:
    return content[:-7]


def extend(content: bytes) -> bytes:
    return content + b"\0"


def wrong_magic(content: bytes) -> bytes:
    return b"\0\0\x0d" + content[3:]


def one_less(content: bytes) -> bytes:
    labels = np.frombuffer(content, np.uint8, offset=8)[:-1]
    return idx(labels)


def bad_label(content: bytes) -> bytes:
    return content[:-1] + b"\x0a"


@pytest.mark.parametrize(
    ("stem", "damage", "message"),
    [
        ("train-images-idx3-ubyte", truncate, "31369 bytes, its header asks for 31376"),
        ("train-images-idx3-ubyte", extend, "more, its header asks for 31376 bytes"),
        ("t10k-images-idx3-ubyte", wrong_magic, "begins with 00000d03"),
        ("t10k-labels-idx1-ubyte", one_less, "11 labels for 12 images"),
        ("train-labels-idx1-ubyte", bad_label, "label 10; allowed: 0 to 9"),
        ("t10k-labels-idx1-ubyte", lambda content: content[:6], "an IDX file of these begins with 00000801"),
    ],
)
def test_broken_idx_is_refused_by_file(tmp_path, stem, damage, message):
    path = write_idx(tmp_path) / stem
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(XbarError, match=message) as error:
        data.load("mnist", tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_another_size_are_refused(tmp_path):
    (write_idx(tmp_path) / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((40, 32, 28))))
    with pytest.raises(XbarError, match="32 x 28 pixels; allowed: 28 x 28"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize(
    "damage", [truncate, lambda content: b"no gzip", lambda content: content[:20] + b"\xff" * 60]
)
def test_broken_gzip_is_refused(tmp_path, damage):
    path = write_idx(tmp_path, packed=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(XbarError, match=r"train-images-idx3-ubyte\.gz: "):
        data.load("mnist", tmp_path)


def test_missing_files_name_places_and_remedy(tmp_path):
    with pytest.raises(XbarError, match="--data DIR") as error:
        data.load("mnist", tmp_path)
    assert str(tmp_path / "MNIST/raw") in str(error.value)
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(XbarError, match="lacks t10k-labels"):
        data.load("mnist", tmp_path)


def test_missing_folder_and_unknown_name(tmp_path):
    with pytest.raises(XbarError, match="is not a folder"):
        data.load("mnist", tmp_path / "nowhere")
    with pytest.raises(XbarError, match="did you mean 'fashion-mnist'"):
        data.load("fashionmnist", tmp_path)
    with pytest.raises(XbarError, match="not found: no folder was given; "):
        data.load("mnist", None)


def test_plain_mnist_is_not_taken_for_fashion(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN_FASHION", tmp_path / "absent")
    folder = write_idx(tmp_path / "images")
    with pytest.raises(XbarError, match="images holds mnist"):
        data.load("fashion-mnist", folder)


def test_known_checksum_outweighs_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN_FASHION", tmp_path / "absent")
    folder = write_idx(tmp_path / "fashion")
    digest = data.hashlib.sha256((folder / "train-labels-idx1-ubyte").read_bytes()).hexdigest()
    monkeypatch.setattr(data, "TRAIN_LABELS_SHA256", {digest: "mnist"})
    with pytest.raises(XbarError, match="fashion holds mnist"):
        data.load("fashion-mnist", folder)
    assert data.load("mnist", folder).classes == data.DIGITS


@pytest.mark.parametrize("sub", ["fashion-mnist", "fashion", "FashionMNIST/raw"])
def test_fashion_by_folder_name(tmp_path, sub):
    write_idx(tmp_path)
    folder = write_idx(tmp_path / sub)
    assert data.load("fashion-mnist", tmp_path).classes == data.FASHION
    assert data.load("fashion-mnist", folder).classes == data.FASHION
    with pytest.raises(XbarError, match="holds fashion-mnist"):
        data.load("mnist", folder)


def test_fashion_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN_FASHION", write_idx(tmp_path / "fashion-mnist", packed=True))
    assert len(data.load("fashion-mnist", None).test_x) == 12


def write_cifar(folder: Path, records: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate((*data.CIFAR_TRAIN, data.CIFAR_TEST)):
        content = np.zeros((records, 3073), np.uint8)
        content[:, 0] = np.arange(records) % 10
        content[:, 1] = 10 * i + np.arange(records)
        content[:, 1 + 1024 + 32 + 2] = 51
        content.tofile(folder / name)
    return folder


def test_cifar_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CIFAR_RECORDS", 6)
    write_cifar(tmp_path / "cifar-10-batches-bin", 6)
    got = data.load("cifar10", tmp_path)
    assert (got.train_x.shape, got.val_x.shape, got.test_x.shape) == (
        (27, 3, 32, 32),
        (3, 3, 32, 32),
        (6, 3, 32, 32),
    )
    assert got.classes[got.test_y[3]] == "cat"
    assert (got.test_x[:, 1, 1, 2] == 0.2).all()
    assert (got.test_x[:, 0, 0, 0] * 255).round().tolist() == [50, 51, 52, 53, 54, 55]
    numbers = (torch.cat([got.train_x, got.val_x])[:, 0, 0, 0] * 255).round().int()
    assert sorted(numbers.tolist()) == [10 * i + j for i in range(5) for j in range(6)]
    assert torch.equal(torch.cat([got.train_y, got.val_y]), numbers % 10)


def test_cifar_broken_and_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CIFAR_RECORDS", 6)
    with pytest.raises(XbarError, match="not the Python one"):
        data.load("cifar10", tmp_path)
    path = write_cifar(tmp_path, 6) / "data_batch_4.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3073])
    with pytest.raises(XbarError, match=r"data_batch_4\.bin: 15365 bytes, a batch of CIFAR-10 has 18438"):
        data.load("cifar10", tmp_path)
    path.write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(XbarError, match="label 11"):
        data.load("cifar10", tmp_path)
    path.unlink()
    with pytest.raises(XbarError, match=r"lacks data_batch_4\.bin"):
        data.load("cifar10", tmp_path)


def test_digits():
    got = data.load("digits", None)
    assert (len(got.train_x), len(got.val_x), len(got.test_x)) == (1295, 143, 359)
    assert got.train_x.shape[1:] == (1, 8, 8)
    assert got.train_x.max() == 1
    assert torch.equal(got.train_x * 16, (got.train_x * 16).round())
    assert torch.equal(got.test_x, data.load("digits", None, seed=3).test_x)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_MNIST.is_dir(), reason=f"MNIST is not beside the checkout ({SHARED_MNIST})")
def test_real_mnist(tmp_path, monkeypatch):
    got = data.load("mnist", SHARED_MNIST)
    assert (len(got.train_x), len(got.val_x), len(got.test_x)) == (55_000, 5_000, 10_000)
    assert got.test_y[:5].tolist() == [7, 2, 1, 0, 4]
    mean = (got.train_x.sum() + got.val_x.sum()) / (60_000 * 784)
    assert mean.item() == pytest.approx(0.1306604, abs=1e-6)
    monkeypatch.setattr(data, "DEBIAN_FASHION", tmp_path)
    with pytest.raises(XbarError, match="holds mnist"):
        data.load("fashion-mnist", SHARED_MNIST)


def test_an_archive_that_unpacks_to_more_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    """14 MB that unpack to 3 GB took 6.5 GB of memory before they were refused."""
    folder = write_idx(tmp_path)
    path = folder / "train-images-idx3-ubyte"
    with gzip.open(f"{path}.gz", "wb", compresslevel=1) as file:
        file.write(path.read_bytes())
        for _ in range(256):
            file.write(bytes(1 << 20))
    path.unlink()
    tracemalloc.start()
    try:
        with pytest.raises(XbarError, match="more, its header asks for 31376 bytes"):
            data.load("mnist", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
