"""The command line: what it does, what it writes and says, and how it fails."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastconv
from fastconv import data, models, nn, serialization
from fastconv.cli import main, train
from fastconv.training import Callback, Trainer, evaluate

SMALL = ["train", "--data", "digits", "--train-size", "300", "--net", "dropout", "--epochs", "1", "--batch-size", "50"]


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in, and no MNIST on the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)


def run(*arguments, status=0):
    assert main([str(argument) for argument in arguments]) == status


def model_file(folder, name):
    (path,) = (path for path in folder.glob(f"{name}.*") if path.suffix in (".npz", ".safetensors"))
    return path


def write_mnist(folder, n=60):
    """Small files in MNIST's format: the package's own digits."""
    folder.mkdir()
    for prefix, split in (("train", "train"), ("t10k", "test")):
        images = data.digits(n, split=split)
        header = np.array([0x803, n, 28, 28], ">i4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.images.tobytes())
        header = np.array([0x801, n], ">i4").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + images.labels.astype(np.uint8).tobytes())
    return folder


# -- train -------------------------------------------------------------------------------------------------------------


def test_train(tmp_path, capsys):
    run(*SMALL, "--epochs", 2, "--metrics", "metrics.json", "--out", "deep/er")
    out, err = capsys.readouterr()
    path = model_file(tmp_path / "deep" / "er", "dropout-digits")
    assert f"model: deep/er/{path.name}" in out
    assert "test accuracy: " in out
    assert "not MNIST" in out
    assert "training time: " in out
    assert "epoch 2/2" in err
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert list(found) == [
        "dataset",
        "net",
        "seed",
        "threads",
        "epochs",
        "test_accuracy",
        "train_seconds",
        "train_accuracy",
    ]
    assert (found["dataset"], found["net"], found["seed"]) == ("digits", "dropout", 0)
    assert found["threads"] == fastconv.get_num_threads()
    assert [list(epoch) for epoch in found["epochs"]] == [["epoch", "train_loss", "train_seconds", "test_accuracy"]] * 2
    assert [epoch["epoch"] for epoch in found["epochs"]] == [1, 2]
    assert found["test_accuracy"] == found["epochs"][-1]["test_accuracy"]
    assert found["train_seconds"] == sum(epoch["train_seconds"] for epoch in found["epochs"])
    model, info = serialization.load_model(path)
    assert (info.net, info.dataset, info.scale, info.offset) == ("dropout", "digits", 1 / 255, 0)
    images = data.Loader(data.digits(50, split="test"), 50, shuffle=False)
    evaluated = evaluate(model, nn.CrossEntropyLoss(), images)
    assert evaluated["accuracy"] == found["test_accuracy"]


def test_quiet_says_the_result_only(capsys):
    run(*SMALL, "--quiet")
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "training images",
        "test accuracy",
        "training time",
        "model",
        "history",
    ]


def test_by_default_models_go_to_a_folder_of_that_name(tmp_path):
    run(*SMALL, "--quiet")
    assert model_file(tmp_path / "models", "dropout-digits").exists()


def weights(folder, *arguments):
    run(*SMALL, "--quiet", "--out", folder, *arguments)
    return serialization.load_weights(model_file(folder, "dropout-digits"))[0]


def test_one_seed_gives_the_same_bits_whatever_the_threads(tmp_path):
    one = weights(tmp_path / "1", "--seed", 5, "--threads", 1)
    two = weights(tmp_path / "2", "--seed", 5, "--threads", 2)
    other = weights(tmp_path / "3", "--seed", 6)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])
        assert not np.array_equal(array, other[name])


def test_threads_are_as_before_afterwards():
    before = fastconv.get_num_threads()
    run(*SMALL, "--quiet", "--threads", before + 1)
    assert fastconv.get_num_threads() == before


def test_arguments_reach_the_run(monkeypatch):
    seen = {}

    class Stop(Exception):
        pass

    def fit(self, batches, epochs, validation, checkpoint):
        seen.update(batches=batches, epochs=epochs, optimizer=self.optimizer)
        raise Stop

    monkeypatch.setattr(Trainer, "fit", fit)
    arguments = ["--epochs", 7, "--batch-size", 17, "--lr", 0.125, "--optimizer", "sgd", "--train-size", 99]
    run("train", "--data", "digits", "--net", "scratch", *arguments, status=1)
    assert seen["epochs"] == 7
    assert seen["batches"].batch_size == 17
    assert seen["batches"].offset == -0.5
    assert len(seen["batches"].dataset) == 99
    assert repr(seen["optimizer"]).startswith("SGD(lr=0.125, momentum=0")
    run("train", "--data", "digits", "--net", "ann", "--train-size", 2000, status=1)
    assert len(seen["batches"].dataset) == 2000
    assert not seen["batches"].shuffle
    run("train", "--data", "digits", "--net", "ann", "--train-size", 50, status=1)
    assert seen["epochs"] == 350
    assert repr(seen["optimizer"]).startswith("SGD(lr=0.005")


def test_mnist_from_a_folder(tmp_path, capsys):
    folder = write_mnist(tmp_path / "mnist")
    run("train", "--data-dir", folder, "--net", "dropout", "--epochs", 1, "--metrics", "m.json")
    out, _ = capsys.readouterr()
    assert "of 60 images of mnist\n" in out
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["dataset"] == "mnist"
    assert "mnist_test_accuracy" not in found
    path = model_file(tmp_path / "models", "dropout-mnist")
    run("evaluate", path, "--data-dir", folder)
    assert f"test accuracy: {100 * found['test_accuracy']:.2f} % of 60 images of mnist" in capsys.readouterr().out


def test_digits_with_mnist_at_hand_reports_both(tmp_path, capsys):
    folder = write_mnist(tmp_path / "mnist")
    run(*SMALL, "--data-dir", folder, "--metrics", "m.json")
    out, _ = capsys.readouterr()
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["dataset"] == "digits"
    assert 0 <= found["mnist_test_accuracy"] <= 1
    assert "test accuracy: " in out
    assert f"on MNIST's test images, none of which it has seen: {100 * found['mnist_test_accuracy']:.2f} %" in out
    run("evaluate", model_file(tmp_path / "models", "dropout-digits"), "--data", "mnist", "--data-dir", folder)
    assert f"{100 * found['mnist_test_accuracy']:.2f} % of 60 images of mnist" in capsys.readouterr().out


def test_auto_without_mnist_says_so(capsys):
    run("train", "--train-size", 100, "--net", "dropout", "--epochs", 1, "--no-download", "--quiet")
    out, err = capsys.readouterr()
    assert "fastconv: MNIST" in err
    assert "synthetic" in err
    assert "of digits" in out


def test_mnist_that_is_not_there_is_an_error(capsys):
    run("train", "--data", "mnist", "--no-download", status=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastconv: error: MNIST")
    assert err.count("\n") == 1


# -- evaluate and info -------------------------------------------------------------------------------------------------


def test_evaluate_uses_the_data_set_that_the_model_was_trained_on(tmp_path, capsys, monkeypatch):
    run(*SMALL, "--quiet")
    monkeypatch.setattr("fastconv.cli.evaluate.DIGITS_SIZE", 60)
    run("evaluate", model_file(tmp_path / "models", "dropout-digits"), "--threads", 1)
    out = capsys.readouterr().out
    assert "model: dropout, trained on digits" in out
    assert "of 10 images of digits" in out
    assert "images a second" in out


def test_evaluate_a_model_of_float64(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastconv.cli.evaluate.DIGITS_SIZE", 6 * 50)
    info = serialization.ModelInfo("scratch", "digits", 1 / 255, 0.0)
    serialization.save_model(tmp_path / "m.npz", models.build("scratch", 0, np.float64), info)
    run("evaluate", tmp_path / "m.npz")
    assert "of 50 images of digits" in capsys.readouterr().out


def test_evaluate_bad_files(tmp_path, capsys):
    run("evaluate", tmp_path / "none.npz", status=1)
    assert capsys.readouterr().err == f"fastconv: error: {tmp_path / 'none.npz'}: No such file or directory\n"
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    run("evaluate", tmp_path / "bad.npz", status=1)
    assert "bad.npz: the file is damaged" in capsys.readouterr().err
    (tmp_path / "bad.pt").write_bytes(b"x")
    run("evaluate", tmp_path / "bad.pt", status=1)
    assert "end in .npz or .safetensors" in capsys.readouterr().err


def test_info(capsys):
    run("info")
    out = capsys.readouterr().out
    for word in ("fastconv", "isa", "threads", "mnist", *models.names(), "421,642"):
        assert word in out


def test_version_and_help(capsys):
    for arguments, text in ((["--version"], fastconv.__version__), (["--help"], "COMMAND"), (["train", "-h"], "--net")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


# -- how it fails ------------------------------------------------------------------------------------------------------

WRONG_USAGE = [
    [],
    ["fly"],
    ["train", "--net", "resnet"],
    ["train", "--data", "cifar"],
    ["train", "--epochs", "0"],
    ["train", "--epochs", "1.5"],
    ["train", "--batch-size", "-1"],
    ["train", "--train-size", "0"],
    ["train", "--lr", "0"],
    ["train", "--lr", "nan"],
    ["train", "--lr", "inf"],
    ["train", "--lr", "fast"],
    ["train", "--optimizer", "lion"],
    ["train", "--seed", "-1"],
    ["train", "--seed", "x"],
    ["train", "--threads", "0"],
    ["train", "--threads", "1025"],
    ["train", "--epoch", "1"],
    ["train", "extra"],
    ["evaluate", "a", "b"],
    ["show", "--what", "nothing"],
    ["compare", "--ann-epochs", "0"],
    ["info", "--net", "cnn"],
]


@pytest.mark.parametrize("arguments", WRONG_USAGE, ids=" ".join)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fastconv")


@pytest.fixture
def no_training(monkeypatch):
    def fit(*_, **__):
        raise AssertionError("the long work has begun")

    monkeypatch.setattr(data, "load", fit)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "file"], "--out: file is a file, expected a folder"),
        (["--out", "file/below"], "file/below: Not a directory"),
        (["--metrics", "."], "--metrics: . is a folder, expected a file"),
        (["--metrics", "none/m.json"], "--metrics: there is no folder none"),
        (["--metrics", "/proc/m.json"], "--metrics: cannot write to /proc"),
        (["--out", "/proc"], "--out: cannot write to /proc"),
    ],
)
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc, which nobody can write to")
def test_what_cannot_be_written_is_refused_at_once(tmp_path, capsys, no_training, arguments, message):
    (tmp_path / "file").touch()
    run("train", *arguments, status=1)
    err = capsys.readouterr().err
    assert err.startswith(f"fastconv: error: {message}")
    assert err.count("\n") == 1


def test_writing_is_tried_without_a_trace(tmp_path):
    run(*SMALL, "--quiet", "--metrics", "m.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "m.json", "models"]
    assert [path.name for path in (tmp_path / "cache").rglob("*.*")] == ["last-model.txt"]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted(
        [model_file(tmp_path / "models", "dropout-digits").name, "dropout-digits.history.json"]
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two lines"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (MemoryError(), "not enough memory"),
        (KeyError("x"), "KeyError: 'x' (this is a mistake in fastconv; --debug shows where)"),
    ],
)
def test_errors_are_one_line_and_a_traceback_only_with_debug(monkeypatch, capsys, error, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(train, "run", fail)
    run("train", status=1)
    assert capsys.readouterr().err == f"fastconv: error: {line}\n"
    for arguments in (["--debug", "train"], ["train", "--debug"]):
        run(*arguments, status=1)
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert err.endswith(f"fastconv: error: {line}\n")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence(capsys, tmp_path):
    run(*SMALL, "--optimizer", "sgd", "--lr", "1e30", status=1)
    assert "fastconv: error: the loss became" in capsys.readouterr().err
    assert not list((tmp_path / "models").iterdir())


def test_ctrl_c_saves_the_weights_beside_the_old_model(tmp_path, monkeypatch, capsys):
    run(*SMALL, "--quiet")
    path = model_file(tmp_path / "models", "dropout-digits")
    before = path.read_bytes()

    class Interrupt(Callback):
        def on_step_end(self, trainer, loss):
            raise KeyboardInterrupt

    fit = Trainer.fit

    def interrupted(self, *args, **options):
        self.callbacks.append(Interrupt())
        return fit(self, *args, **options)

    monkeypatch.setattr(Trainer, "fit", interrupted)
    run(*SMALL, "--quiet", "--seed", 3, status=130)
    err = capsys.readouterr().err
    saved = model_file(tmp_path / "models", "dropout-digits-interrupted")
    assert f"the weights as they are now lie in models/{saved.name}" in err
    assert path.read_bytes() == before
    serialization.load_model(saved)


# -- as a process ------------------------------------------------------------------------------------------------------


def process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "fastconv", *arguments], capture_output=True, text=True, timeout=120, **options
    )


def test_python_m_fastconv():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"fastconv {fastconv.__version__}\n")
    assert process().returncode == 2
    done = process("evaluate", "none.npz")
    assert (done.returncode, done.stderr) == (1, "fastconv: error: none.npz: No such file or directory\n")


def test_train_as_a_process(tmp_path):
    done = process(*SMALL)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert "epoch 1/1" in done.stderr
    assert model_file(tmp_path / "models", "dropout-digits").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals work differently there")
def test_ctrl_c_as_a_process(tmp_path):
    arguments = ["train", "--data", "digits", "--train-size", "300", "--net", "scratch", "--epochs", "10000"]
    running = subprocess.Popen(
        [sys.executable, "-m", "fastconv", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background makes them, and all that they start, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with running:
        try:
            running.stderr.readline()  # the first epoch is over
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    serialization.load_model(model_file(tmp_path / "models", "scratch-digits-interrupted"))


@pytest.mark.skipif(sys.platform == "win32", reason="no head there")
def test_a_reader_that_goes_away():
    done = subprocess.run(
        f"{sys.executable} -m fastconv info | head -c 1", shell=True, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""


def test_a_folder_of_data_that_is_not_there_is_no_reason_to_train_on_something_else(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data-dir", "typo"])
    assert "--data-dir: there is no folder 'typo'" in capsys.readouterr().err


def test_models_that_are_replaced_are_named(capsys):
    run(*SMALL, "--quiet")
    assert "is replaced" not in capsys.readouterr().err
    run(*SMALL, "--quiet")
    assert "was there, and is replaced" in capsys.readouterr().err
