"""Data by name: a local folder first, then a checksummed download; nothing is ever unpickled.

A file `folder/file` is looked for in the given directory, in the folder that the environment variable
JAXLIB_METHODS_DATA names, and in the cache (`$XDG_CACHE_HOME/jaxlib_methods`, by default `~/.cache/jaxlib_methods`);
if it is in none of them it is downloaded into the cache. Wherever it comes from, its sha256 must be the one in
`data_files.toml`.
"""

import difflib
import functools
import gzip
import hashlib
import io
import os
import sys
import tarfile
import tempfile
import tomllib
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

__all__ = ["IMAGE_SETS", "DataError", "ImageSet", "data_path", "load"]

IMAGE_SETS = ("digits", "mnist", "fashion_mnist", "cifar10", "svhn")
ENVIRONMENT_VARIABLE = "JAXLIB_METHODS_DATA"


class DataError(Exception):
    """A data file is missing and cannot be fetched, or its content is not what it should be."""


class ImageSet(NamedTuple):
    """Images in [-1, 1], channels last, with integer labels, in two fixed parts."""

    train_x: Float32[np.ndarray, "n h w c"]
    train_y: Int32[np.ndarray, " n"]
    test_x: Float32[np.ndarray, "m h w c"]
    test_y: Int32[np.ndarray, " m"]

    def all(self) -> tuple[Float32[np.ndarray, "k h w c"], Int32[np.ndarray, " k"]]:
        """Both parts as one: the training images, then the test images."""
        return np.concatenate([self.train_x, self.test_x]), np.concatenate([self.train_y, self.test_y])


def load(name: str, *, directory: Path | str | None = None) -> ImageSet:
    """Loads an image set by name.

    `digits` (1437 + 360 images of 8 x 8) comes with scikit-learn and needs no file; its split is one fixed random
    permutation. `mnist`, `fashion_mnist` (60000 + 10000 of 28 x 28), `cifar10` (50000 + 10000 of 32 x 32 x 3) and
    `svhn` (73257 + 26032 of 32 x 32 x 3) keep their published split and order, except that CIFAR-10 from the encoded
    local copy, which is sorted by class and lossy (JPEG) in its training part, is put into one fixed random order.

    Args:
      name: one of `IMAGE_SETS`.
      directory: data folder to look in first; sets lie in subfolders of their name.

    Returns:
      The images, float32 in [-1, 1] with channels last, and int32 labels.

    Raises:
      ValueError: for an unknown name.
      DataError: if a file is missing and cannot be downloaded, or is corrupt.

    >>> digits = load("digits")
    >>> digits.train_x.shape, digits.all()[0].shape
    ((1437, 8, 8, 1), (1797, 8, 8, 1))
    """
    readers = {"digits": _digits, "cifar10": _cifar10, "mnist": _idx_set, "fashion_mnist": _idx_set, "svhn": _svhn}
    _require_known("data set", name, IMAGE_SETS)
    return readers[name](name, directory)


def data_path(folder: str, file: str, directory: Path | str | None = None) -> Path:
    """Finds or downloads one file of the table, checks its content, and returns where it lies.

    Args:
      folder: data set, such as "planetoid".
      file: name inside the folder, such as "cora.npz".
      directory: data folder to look in first.

    Returns:
      The path of the verified file. Read an `.npz` with `np.load(path, allow_pickle=False)`.

    Raises:
      ValueError: if the table has no such file.
      DataError: if it is missing and cannot be downloaded, or is corrupt.

    >>> data_path("planetoid", "core.npz")
    Traceback (most recent call last):
    ValueError: unknown data file 'planetoid/core.npz'; the nearest is 'planetoid/cora.npz'
    """
    name = f"{folder}/{file}"
    _require_known("data file", name, tuple(_table()["files"]))
    path = _find(name, directory)
    if path is None:
        return _download(name, directory)
    _verify(name, path)
    return path


def _require_known(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        raise ValueError(f"unknown {kind} {name!r}; the nearest is {nearest!r}")


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("data_files.toml").read_text())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxlib_methods"


def _folders(directory: Path | str | None) -> list[Path]:
    named = [directory, os.environ.get(ENVIRONMENT_VARIABLE)]
    return [Path(folder) for folder in named if folder] + [_cache()]


def _find(name: str, directory: Path | str | None) -> Path | None:
    return next((folder / name for folder in _folders(directory) if (folder / name).is_file()), None)


def _verify(name: str, path: Path) -> None:
    entry = _table()["files"][name]
    expected = entry.get("sha256") or entry["sha256_unpacked"]
    try:
        with open(path, "rb") if "sha256" in entry else gzip.open(path) as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); replace it by a good copy") from error
    if actual != expected:
        raise DataError(f"{path} is corrupt: its sha256 is {actual}, it must be {expected}; replace it by a good copy")


def _download(name: str, directory: Path | str | None) -> Path:
    table = _table()
    url = table["files"][name].get("url")
    looked = ", ".join(str(folder) for folder in _folders(directory))
    supply = f"put it at {name} below one of these folders, or name its folder in {ENVIRONMENT_VARIABLE}"
    if url is None:
        origin = table["origin"][name.split("/")[0]]
        raise DataError(f"{name} is not in {looked}, and no public host has it ({origin}); {supply}")
    target = _cache() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            _fetch(url, part)
            _verify(name, part)
            part.replace(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{name} is not in {looked}, and {url} failed ({reason}); {supply}") from error
    return target


def _fetch(url: str, target: Path) -> None:
    from pooch import HTTPDownloader

    on_terminal = sys.stderr.isatty()
    if not on_terminal:
        print(f"downloading {url}", file=sys.stderr, flush=True)
    HTTPDownloader(progressbar=on_terminal)(url, str(target), pooch=None)


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _digits(name: str, directory: Path | str | None) -> ImageSet:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    x = (pixels[order] / 8 - 1).astype(np.float32).reshape(-1, 8, 8, 1)
    y = labels[order].astype(np.int32)
    return ImageSet(x[:1437], y[:1437], x[1437:], y[1437:])


def _idx_set(name: str, directory: Path | str | None) -> ImageSet:
    def part(stem):
        images = _read_idx(data_path(name, f"{stem}-images-idx3-ubyte.gz", directory))
        labels = _read_idx(data_path(name, f"{stem}-labels-idx1-ubyte.gz", directory))
        return _scaled(images)[..., None], labels.astype(np.int32)

    return ImageSet(*part("train"), *part("t10k"))


def _read_idx(path: Path) -> np.ndarray:
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _cifar10(name: str, directory: Path | str | None) -> ImageSet:
    encoded = ("train_jpeg.npz", "test_png.npz")
    archive = "cifar-10-binary.tar.gz"
    have = functools.partial(_find, directory=directory)
    if have(f"{name}/{archive}") is None and all(have(f"{name}/{file}") for file in encoded):
        train, test = (_read_encoded(data_path(name, file, directory)) for file in encoded)
        return ImageSet(*train, *test)
    return _read_cifar_archive(data_path(name, archive, directory))


def _read_encoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    with np.load(path, allow_pickle=False) as file:
        stream, offsets, labels = file["data"].tobytes(), file["offsets"], file["labels"]
    order = np.random.default_rng(0).permutation(len(labels))
    images = [np.asarray(Image.open(io.BytesIO(stream[offsets[i] : offsets[i + 1]])).convert("RGB")) for i in order]
    return _scaled(np.stack(images)), labels[order].astype(np.int32)


def _read_cifar_archive(path: Path) -> ImageSet:
    with tarfile.open(path, "r:gz") as archive:
        batch = lambda name: _read_cifar_batch(archive.extractfile(f"cifar-10-batches-bin/{name}.bin"))
        parts = [batch(f"data_batch_{i}") for i in range(1, 6)]
        train_x, train_y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return ImageSet(train_x, train_y, *batch("test_batch"))


def _read_cifar_batch(file: Any) -> tuple[np.ndarray, np.ndarray]:
    records = np.frombuffer(file.read(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return _scaled(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), records[:, 0].astype(np.int32)


def _svhn(name: str, directory: Path | str | None) -> ImageSet:
    from scipy.io import loadmat

    def part(stem):
        content = loadmat(data_path(name, f"{stem}_32x32.mat", directory))
        return _scaled(content["X"].transpose(3, 0, 1, 2)), (content["y"].ravel() % 10).astype(np.int32)

    return ImageSet(*part("train"), *part("test"))
