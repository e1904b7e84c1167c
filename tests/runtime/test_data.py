"""Oracles: files written here with known content, a local host, and the published sets where a copy is at hand."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from jaxlib_methods.runtime import data
from jaxlib_methods.runtime.data import DataError, data_path, load

COPY = Path(os.environ.get("JAXLIB_METHODS_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_copy = pytest.mark.skipif(not (COPY / "mnist").is_dir(), reason="no local copy of the public sets")


@pytest.fixture(autouse=True)
def no_other_folders(tmp_path, monkeypatch):
    """Neither the environment nor the user's cache decides what a test sees."""
    monkeypatch.delenv("JAXLIB_METHODS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """`publish(name, content, url=None)` writes a data file to tmp_path/local and puts it into the table."""
    files = {}
    monkeypatch.setattr(data, "_table", lambda: {"files": files, "origin": {"mnist": "there", "odd": "there"}})

    def write(name, content, url=None):
        path = tmp_path / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        unpacked = name.endswith("-ubyte.gz")
        digest = hashlib.sha256(gzip.decompress(content) if unpacked else content).hexdigest()
        files[name] = {"sha256_unpacked" if unpacked else "sha256": digest} | ({"url": url} if url else {})
        return path

    return write


@pytest.fixture
def host(tmp_path):
    """A web server over tmp_path/local; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "local").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "local"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes())


def publish_mnist(publish, **options):
    images = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
    labels = np.array([3, 1, 4, 1, 5], np.uint8)
    for stem, rows in (("train", slice(0, 3)), ("t10k", slice(3, 5))):
        publish(f"mnist/{stem}-images-idx3-ubyte.gz", idx(images[rows]), **options)
        publish(f"mnist/{stem}-labels-idx1-ubyte.gz", idx(labels[rows]), **options)
    return images, labels


def test_digits_are_scikit_learns_in_a_fixed_split_between_minus_one_and_one():
    from sklearn.datasets import load_digits

    digits = load("digits")
    x, y = digits.all()
    assert [a.shape for a in digits] == [(1437, 8, 8, 1), (1437,), (360, 8, 8, 1), (360,)]
    assert x.dtype == np.float32
    assert y.dtype == np.int32
    assert (x.min(), x.max()) == (-1, 1)
    pixels, labels = load_digits(return_X_y=True)
    rows = lambda x, y: sorted(map(tuple, np.column_stack([x, y])))
    assert rows((x.reshape(-1, 64) + 1) * 8, y) == rows(pixels, labels)
    assert all(np.array_equal(a, b) for a, b in zip(digits, load("digits"), strict=True))


def test_idx_files_become_scaled_images_with_their_published_split(publish, tmp_path):
    images, labels = publish_mnist(publish)
    x, y = load("mnist", directory=tmp_path / "local").all()
    np.testing.assert_allclose(x[..., 0], images / 127.5 - 1, atol=1e-7)
    np.testing.assert_array_equal(y, labels)


def test_the_environment_variable_names_a_data_folder(publish, tmp_path, monkeypatch):
    publish_mnist(publish)
    monkeypatch.setenv("JAXLIB_METHODS_DATA", str(tmp_path / "local"))
    assert load("mnist").train_x.shape == (3, 28, 28, 1)


def test_the_given_folder_comes_before_the_environment_and_the_cache(publish, tmp_path, monkeypatch):
    path = publish("odd/file", b"content")
    (tmp_path / "other" / "odd").mkdir(parents=True)
    (tmp_path / "other" / "odd" / "file").write_bytes(b"content")
    monkeypatch.setenv("JAXLIB_METHODS_DATA", str(tmp_path / "local"))
    assert data_path("odd", "file") == path
    assert data_path("odd", "file", tmp_path / "other") == tmp_path / "other" / "odd" / "file"
    assert data_path("odd", "file", tmp_path / "empty") == path


def test_cifar_pictures_decode_to_the_pixels_that_were_encoded(publish, tmp_path):
    rng = np.random.default_rng(0)
    for file, size in (("train_jpeg.npz", 6), ("test_png.npz", 4)):
        images = rng.integers(0, 256, (size, 32, 32, 3), np.uint8)
        streams = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="PNG")
            streams.append(buffer.getvalue())
        offsets = np.cumsum([0, *map(len, streams)])
        stream, buffer = np.frombuffer(b"".join(streams), np.uint8), io.BytesIO()
        np.savez(buffer, data=stream, offsets=offsets, labels=np.arange(size, dtype=np.uint8))
        publish(f"cifar10/{file}", buffer.getvalue())
    cifar = load("cifar10", directory=tmp_path / "local")
    np.testing.assert_allclose(cifar.test_x, images[cifar.test_y] / 127.5 - 1, atol=1e-7)
    assert sorted(cifar.train_y) == list(range(6))


def test_the_cifar_archive_is_read_in_its_own_order_and_nothing_else_of_it_is_touched(publish, tmp_path):
    buffer, records = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:

        def add(name, content):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        add("../../outside.txt", b"gone astray")
        for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
            record = np.random.default_rng(i).integers(0, 10, 2 * 3073, np.uint8)
            records.append(record.reshape(2, 3073))
            add(f"cifar-10-batches-bin/{name}.bin", record.tobytes())
    publish("cifar10/cifar-10-binary.tar.gz", buffer.getvalue())
    x, y = load("cifar10", directory=tmp_path / "local").all()
    pixels = np.concatenate(records)
    np.testing.assert_array_equal(y, pixels[:, 0])
    channels_first = np.transpose(x, (0, 3, 1, 2)).reshape(12, -1)
    np.testing.assert_allclose(channels_first, pixels[:, 1:] / 127.5 - 1, atol=1e-7)
    assert not list(tmp_path.parent.rglob("outside.txt"))


def test_svhn_has_images_first_and_its_ten_is_the_zero(publish, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    for stem, part in (("train", slice(0, 3)), ("test", slice(3, 5))):
        buffer = io.BytesIO()
        labels = np.array([[1], [10], [9], [10], [2]], np.uint8)[part]
        savemat(buffer, {"X": pixels[part].transpose(1, 2, 3, 0), "y": labels})
        publish(f"svhn/{stem}_32x32.mat", buffer.getvalue())
    svhn = load("svhn", directory=tmp_path / "local")
    x, y = svhn.all()
    assert len(svhn.train_x) == 3
    assert y.tolist() == [1, 0, 9, 0, 2]
    np.testing.assert_allclose(x, pixels / 127.5 - 1, atol=1e-7)


def test_a_download_is_checked_kept_and_not_repeated(publish, host, tmp_path, capfd):
    local = publish("odd/file.bin", b"content", url=f"{host}/odd/file.bin")
    kept = data_path("odd", "file.bin")
    local.unlink()
    assert kept == tmp_path / "cache" / "jaxlib_methods" / "odd" / "file.bin"
    assert data_path("odd", "file.bin").read_bytes() == b"content"
    assert capfd.readouterr().err == f"downloading {host}/odd/file.bin\n"


def test_a_download_with_other_content_is_refused_and_not_kept(publish, host, tmp_path):
    publish("odd/file.bin", b"content", url=f"{host}/odd/file.bin").write_bytes(b"another content")
    with pytest.raises(DataError, match=r"corrupt: its sha256 is [0-9a-f]{64}, it must be [0-9a-f]{64}"):
        data_path("odd", "file.bin")
    assert not list((tmp_path / "cache").rglob("file.bin"))


def test_offline_one_line_names_the_file_the_places_the_address_and_the_remedy(publish, tmp_path):
    url = "http://127.0.0.1:9/file.bin"
    publish("odd/file.bin", b"content", url=url).unlink()
    with pytest.raises(DataError) as caught:
        data_path("odd", "file.bin", tmp_path / "mine")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("odd/file.bin", str(tmp_path / "mine"), str(tmp_path / "cache"), url, "JAXLIB_METHODS_DATA"):
        assert part in message


def test_a_file_without_public_copy_says_so(publish):
    publish("odd/file.bin", b"content").unlink()
    with pytest.raises(DataError, match=r"odd/file\.bin is not in .*no public host has it \(there\); put it at"):
        data_path("odd", "file.bin")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip", "emptied"])
def test_a_damaged_local_file_is_refused_by_name(publish, tmp_path, damage):
    publish_mnist(publish)
    path = tmp_path / "local" / "mnist" / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0x5A
    contents = {"truncated": good[:-20], "flipped": bytes(flipped), "not gzip": b"<html>", "emptied": b""}
    path.write_bytes(contents[damage])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz (cannot be read|is corrupt)"):
        load("mnist", directory=tmp_path / "local")


def test_a_pickle_in_the_place_of_an_archive_is_never_loaded(publish, tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, data=np.array([{"a": 1}], object), offsets=np.arange(2), labels=np.zeros(1, np.uint8))
    publish("cifar10/train_jpeg.npz", buffer.getvalue())
    publish("cifar10/test_png.npz", buffer.getvalue())
    with pytest.raises(ValueError, match="allow_pickle"):
        load("cifar10", directory=tmp_path / "local")


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown data set 'fashionmnist'; the nearest is 'fashion_mnist'"):
        load("fashionmnist")
    with pytest.raises(ValueError, match=r"the nearest is 'words/EN-MC-30\.txt'"):
        data_path("words", "EN-MC-3.txt")


def test_every_file_of_the_table_has_a_digest_and_an_address_or_an_origin():
    table = data._table()
    for name, entry in table["files"].items():
        assert len(entry.get("sha256") or entry["sha256_unpacked"]) == 64
        assert "url" in entry or name.split("/")[0] in table["origin"]


@needs_copy
@pytest.mark.parametrize("name", [name for name in data._table()["files"] if (COPY / name).is_file()])
def test_local_copies_have_the_recorded_digests(name):
    assert data_path(*name.split("/"), COPY) == COPY / name


@needs_copy
@pytest.mark.parametrize(
    ("name", "shape", "test_size"),
    [("mnist", (60000, 28, 28, 1), 10000), ("fashion_mnist", (60000, 28, 28, 1), 10000)],
)
def test_published_sets_have_their_known_sizes_and_balanced_labels(name, shape, test_size):
    images = load(name, directory=COPY)
    assert images.train_x.shape == shape
    assert images.test_x.shape == (test_size, *shape[1:])
    assert set(images.train_y) == set(range(10))
    assert (images.train_x.min(), images.train_x.max()) == (-1, 1)
