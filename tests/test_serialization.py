"""Files of weights: round trips, damaged files, files that would run code or take memory, atomic writing."""

import io
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from fastconv import models, nn, serialization
from fastconv.serialization import ModelInfo, atomic_write, load_model, load_weights, save_model, save_weights

SUFFIXES = [".npz", ".safetensors"]
INFO = ModelInfo("dropout", "mnist", 1 / 255, -0.5)


@pytest.fixture(params=SUFFIXES)
def suffix(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    return request.param


def state(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {"0.weight": rng.random((3, 1, 5, 5)).astype(dtype), "0.bias": rng.random(3).astype(dtype)}


def same(one, two):
    assert sorted(one) == sorted(two)
    for name in one:
        assert one[name].dtype == two[name].dtype
        np.testing.assert_array_equal(one[name], two[name])


# -- round trips -------------------------------------------------------------------------------------------------------


def test_weights(tmp_path, suffix, dtype):
    path = tmp_path / f"weights{suffix}"
    save_weights(path, state(dtype), {"note": "größer"})
    found, metadata = load_weights(path)
    same(found, state(dtype))
    assert metadata == {"note": "größer"}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_without_metadata_and_of_any_layout(tmp_path, suffix):
    path = str(tmp_path / f"weights{suffix}")
    array = np.arange(12.0).reshape(3, 4).T[::2]
    save_weights(path, {"a": array, "scalar": np.array(2.5), "empty": np.zeros((0, 3))})
    found, metadata = load_weights(path)
    same(found, {"a": array, "scalar": np.array(2.5), "empty": np.zeros((0, 3))})
    assert metadata == {}
    found["a"][...] = 0  # ordinary arrays, not views of the file


def test_npz_is_numpys_own_format(tmp_path):
    path = tmp_path / "weights.npz"
    save_weights(path, state(), {"a": "b"})
    with np.load(path, allow_pickle=False) as file:
        same({name: file[name] for name in file.files if name != serialization.METADATA}, state())
    np.savez(tmp_path / "theirs.npz", **state(), fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    found, _ = load_weights(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(found["fortran"], [[0, 1, 2], [3, 4, 5]])
    assert found["fortran"].flags.c_contiguous


@pytest.mark.parametrize("net", models.names())
def test_model(tmp_path, suffix, net):
    path = tmp_path / f"model{suffix}"
    model = models.build(net, rng=1)
    save_model(path, model, ModelInfo(net, "digits", 0.25, 0.5))
    loaded, info = load_model(path)
    assert info == ModelInfo(net, "digits", 0.25, 0.5, (1, 28, 28), tuple("0123456789"))
    assert not loaded.training
    x = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    np.testing.assert_array_equal(loaded(x), model.eval()(x))


def test_model_in_double_precision(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(path, models.build("scratch", rng=1, dtype=np.float64), INFO)
    with pytest.raises(ValueError, match="does not fit"):  # INFO says it is another network
        load_model(path)
    save_model(path, models.build("dropout", rng=1, dtype=np.float64), INFO)
    assert load_model(path)[0][0].weight.dtype == np.float64


# -- files that are not right ------------------------------------------------------------------------------------------


def test_every_truncation_gives_one_clear_error(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(path, models.build("dropout", rng=0), INFO)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 100, 1000, len(whole) // 2, len(whole) - 100, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged") as caught:
            load_model(path)
        assert str(caught.value).startswith(str(path))
        assert str(caught.value).count(str(path)) == 1
        assert "\n" not in str(caught.value)


def test_random_damage_is_an_error_or_harmless(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(path, models.build("dropout", rng=0), INFO)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = np.concatenate(
        [rng.integers(0, 3000, 100), rng.integers(0, len(whole), 50), len(whole) - rng.integers(1, 800, 100)]
    )
    messages = []
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            load_model(path)
        except ValueError as error:
            messages.append(str(error))
    assert messages
    assert all(message.startswith(str(path)) for message in messages)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html></html>", b"\x80\x04N.", b"\x93NUMPY\x01\x00", b"\0" * 100])
def test_other_files(tmp_path, suffix, content):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"other{suffix}: the file is damaged, or no"):
        load_weights(path)


def npz(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["FASTCONV_TEST_EVIL"],)


def test_a_pickle_inside_is_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_TEST_EVIL", str(tmp_path / "ran"))
    path = tmp_path / "evil.npz"
    npz(path, [("a.npy", npy(np.array([Evil()], object), allow_pickle=True))])
    with pytest.raises(ValueError, match=r"evil\.npz: .*a is object, expected float32, float64 or int64"):
        load_weights(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="damaged"):
        load_weights(path)
    assert not (tmp_path / "ran").exists()


def header(shape, descr="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


BAD_ENTRIES = {
    "announces terabytes": [("a.npy", header((10**6, 10**6)))],
    "announces more than 2**64": [("a.npy", header((2**40, 2**40)))],
    "negative": [("a.npy", header((-1, -4)) + b"\0" * 16)],
    "too long": [("a.npy", npy(np.zeros(3)) + b"more")],
    "small integers": [("a.npy", npy(np.zeros(3, np.int32)))],
    "half precision": [("a.npy", npy(np.zeros(3, np.float16)))],
    "strings": [("a.npy", npy(np.array(["a"])))],
    "structured": [("a.npy", npy(np.zeros(2, "f4,f8")))],
    "twice": [("a.npy", npy(np.zeros(3))), ("a", npy(np.zeros(3)))],
    "no array": [("a.npy", b"hello")],
    "metadata no json": [("__metadata__.npy", npy(np.frombuffer(b"{", np.uint8)))],
    "metadata no dict": [("__metadata__.npy", npy(np.frombuffer(b"[1]", np.uint8)))],
    "metadata no strings": [("__metadata__.npy", npy(np.frombuffer(b'{"a": 1}', np.uint8)))],
    "metadata of floats": [("__metadata__.npy", npy(np.zeros(3)))],
    "metadata too long": [("__metadata__.npy", npy(np.zeros(2_000_000, np.uint8)))],
    "metadata too deep": [("__metadata__.npy", npy(np.frombuffer(b"[" * 100_000, np.uint8)))],
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_npz_that_lies(tmp_path, case):
    path = tmp_path / "bad.npz"
    npz(path, BAD_ENTRIES[case])
    with pytest.raises(ValueError, match=r"bad\.npz: the file is damaged, or no \.npz file of weights \(") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_compressed_files_are_refused_before_they_are_inflated(tmp_path):
    path = tmp_path / "bomb.npz"
    npz(path, [("a.npy", header((10**8,)) + b"\0" * 400_000_000)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="compressed"):
        load_weights(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"fastconv": None}, "does not say which network"),
        ({"fastconv": "{"}, "damaged"),
        ({"fastconv": "[]"}, "damaged"),
        ({"net": "resnet"}, "there is no network 'resnet'"),
        ({"net": None}, "there is no network 'None'"),
        ({"scale": "NaN"}, "damaged"),
        ({"offset": [1]}, "damaged"),
        ({"input_shape": 5}, "damaged"),
        ({"classes": None}, "damaged"),
    ],
)
def test_a_model_file_that_does_not_say_what_it_is(tmp_path, suffix, damage, message):
    path = tmp_path / f"model{suffix}"
    model = models.build("dropout", rng=0)
    info = {"net": "dropout", "dataset": "mnist", "scale": 1, "offset": 0, "input_shape": [1, 28, 28], "classes": ["0"]}
    if "fastconv" in damage:
        metadata = {} if damage["fastconv"] is None else damage
    else:
        metadata = {"fastconv": json.dumps(info | damage)}
    save_weights(path, model.state_dict(), metadata)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_weights_that_do_not_fit_the_network(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(path, nn.Sequential(nn.Linear(3, 2)), INFO)
    with pytest.raises(ValueError, match=r"does not fit this Sequential: missing: .*0\.weight has shape \(2, 3\)"):
        load_model(path)


def test_paths(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / f"none{suffix}")
    with pytest.raises(FileNotFoundError):
        save_weights(tmp_path / "none" / f"weights{suffix}", state())
    with pytest.raises(ValueError, match=r"end in \.npz or \.safetensors"):
        save_weights(tmp_path / "weights.pt", state())
    with pytest.raises(ValueError, match=r"end in \.npz or \.safetensors"):
        load_weights(tmp_path / "weights.pt")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        load_weights(tmp_path / f"folder{suffix}")
    with pytest.raises(OSError):  # noqa: PT011
        save_weights(tmp_path / f"folder{suffix}", state())
    assert [file.name for file in tmp_path.iterdir()] == [f"folder{suffix}"]


def test_an_array_must_not_take_the_metadatas_name(tmp_path):
    with pytest.raises(ValueError, match="__metadata__"):
        save_weights(tmp_path / "weights.npz", {"__metadata__": np.zeros(3)})


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    assert serialization.weights_suffix() == ".npz"
    for call in (lambda path: save_weights(path, state()), load_weights):
        with pytest.raises(ImportError, match=r"weights\.safetensors: \.safetensors needs the package safetensors"):
            call(tmp_path / "weights.safetensors")
    monkeypatch.undo()
    if serialization.weights_suffix() != ".npz":
        assert serialization.weights_suffix() == ".safetensors"


# -- atomic writing ----------------------------------------------------------------------------------------------------


def test_atomic_write_replaces(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new and longer"):
        atomic_write(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_atomic_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, fail)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    """Another process reads all the time while this one writes; each reading is whole."""
    path = tmp_path / "weights.npz"
    save_weights(path, {"a": np.zeros(200_000)})
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from fastconv.serialization import load_weights\n"
            "print('ready', flush=True)\n"
            "for _ in range(60):\n"
            "    a = load_weights(sys.argv[1])[0]['a']\n"
            "    assert len(a) == 200_000 and (a == a[0]).all()\n",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    assert reader.stdout.readline() == b"ready\n"
    i = 0
    while reader.poll() is None:
        i += 1
        save_weights(path, {"a": np.full(200_000, float(i))})
    reader.stdout.close()
    assert reader.returncode == 0
