"""Networks in eval mode: nothing is kept for a backward, memory is reused, batches of any size give the same bits."""

import gc
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _kernels, models, nn

NETWORKS = models.names()


def kept(model: nn.Module) -> list[Any]:
    return [module._saved for module in model.modules() if module._saved is not None]


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_kept(name: str, rng: Any) -> None:
    x = rng.standard_normal((3, 1, 28, 28)).astype(np.float32)
    model = models.build(name, rng=0)
    model(x)
    assert kept(model)
    model.eval()
    assert not kept(model)
    model(x)
    assert not kept(model)
    with pytest.raises(RuntimeError, match="training mode"):
        model.backward(np.zeros((3, 10), np.float32))


@pytest.mark.parametrize("name", ["cnn", "fast"])
def test_memory_is_reused(name: str, rng: Any) -> None:
    """From the second pass on nothing comes from the system: what is cached and in use stays the same."""
    x = rng.standard_normal((16, 1, 28, 28)).astype(np.float32)
    model = models.build(name, rng=0).eval()
    fastconv.release_memory()
    gc.collect()
    del_y = model(x)
    del del_y
    cached = _kernels.memory_cached()
    for _ in range(5):
        model(x)
    assert _kernels.memory_cached() == cached
    # Of the first convolution's result, only what the pool leaves is ever there.
    fastconv.release_memory()
    for _ in range(2):
        y = x
        for layer in model:
            y = layer(y)
    del y
    result = model[0](x).nbytes
    assert cached < _kernels.memory_cached() - result // 2


@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_fresh_arrays(name: str, rng: Any) -> None:
    x = rng.standard_normal((2, 1, 28, 28)).astype(np.float32)
    before = x.copy()
    model = models.build(name, rng=0).eval()
    one = model(x)
    saved = one.copy()
    two = model(x[::-1].copy())
    assert np.array_equal(one, saved)
    assert not np.shares_memory(one, two)
    assert np.array_equal(x, before)
    assert np.array_equal(one, two[::-1]) or name in ("ann",)  # a Linear's rows: see below


@pytest.mark.parametrize("name", ["cnn", "fast", "keras", "scratch", "dropout"])
def test_an_image_alone_or_in_a_batch(name: str, threads: int, rng: Any) -> None:
    x = rng.standard_normal((20, 1, 28, 28)).astype(np.float32)
    model = models.build(name, rng=0).eval()
    batch = model(x)
    for n in (0, 7, 19):
        assert model(x[n : n + 1]).tobytes() == batch[n : n + 1].tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_eval_and_train_agree_without_dropout(name: str, rng: Any) -> None:
    x = rng.standard_normal((4, 1, 28, 28)).astype(np.float32)
    model = models.build(name, rng=0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert model(x).tobytes() == model.eval()(x).tobytes()


@pytest.mark.parametrize("name", ["cnn", "fast"])
def test_one_thread_or_two(name: str, rng: Any) -> None:
    model = models.build(name, rng=0).eval()
    for batch in (1, 3, 40):
        x = rng.standard_normal((batch, 1, 28, 28)).astype(np.float32)
        with fastconv.threads(1):
            one = model(x)
        with fastconv.threads(2):
            two = model(x)
        assert one.tobytes() == two.tobytes()


def test_new_weights_are_seen_at_once(rng: Any) -> None:
    """No layer may hold on to weights that it has rearranged."""
    x = rng.standard_normal((2, 1, 28, 28)).astype(np.float32)
    model = models.build("cnn", rng=0).eval()
    before = model(x)
    for parameter in model.parameters():
        parameter.data *= 2
    assert not np.array_equal(model(x), before)
    model.load_state_dict(models.build("cnn", rng=0).state_dict())
    assert np.array_equal(model(x), before)
