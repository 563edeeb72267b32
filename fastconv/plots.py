"""Pictures of training and of what a network has learned; matplotlib draws them.

Each function gives a matplotlib Figure, which a notebook shows by itself and `save` writes as PNG.  No window is opened
and matplotlib's global state is left alone.  Colours are those of M. Okabe and K. Ito, and maps that do not depend on
telling red from green.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastconv import nn
from fastconv.serialization import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison", "confusion", "curves", "features", "filters", "mistakes", "require", "save"]

BLUE, ORANGE, GREY, RED = "#0072B2", "#E69F00", "#6b6b6b", "#D55E00"
SIGNED, POSITIVE = "RdBu_r", "magma"
FONT = {"title": 12.0, "label": 10.0, "small": 8.5}
BETWEEN = "#c9ced3"
MOST_MAPS = 32  # of a layer
PER_ROW = 16
DPI = 110

F64 = NDArray[np.float64]


def require() -> Any:
    """matplotlib's Figure; ImportError with what to do where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "pictures are drawn by matplotlib, which is not installed (pip install 'fastconv[train]')"
        ) from None
    return Figure


def _figure(width: float, height: float, title: str | None) -> Figure:
    """An empty figure, in inches."""
    figure: Figure = require()(figsize=(width, height), layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, fontsize=FONT["title"])
    return figure


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = DPI) -> None:
    """Write a figure as PNG, atomically; OSError where that is not possible."""
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None}))


# -- training ----------------------------------------------------------------------------------------------------------


def curves(history: Sequence[Mapping[str, Any]], title: str | None = None) -> Figure:
    """Loss and accuracy by epoch.

    Parameters
    ----------
    history : sequence of mappings
        `Trainer.history`.
    title : str, optional

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the history is empty.
    ImportError
        If matplotlib is not installed.
    """
    if not history:
        raise ValueError("curves: the history is empty; train for an epoch first")
    figure = _figure(9, 3.6, title)
    left, right = figure.subplots(1, 2)
    _spread(figure)
    _lines(left, history, "loss", 1.0)
    left.set_ylabel("loss", fontsize=FONT["label"])
    left.set_ylim(bottom=0)
    _lines(right, history, "accuracy", 100.0)
    right.set_ylabel("images right, %", fontsize=FONT["label"])
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=FONT["label"])
    return figure


def _spread(figure: Figure) -> None:
    """More room between the columns, for their labels."""
    engine: Any = figure.get_layout_engine()
    engine.set(wspace=0.06)


def _lines(axes: Axes, history: Sequence[Mapping[str, Any]], what: str, factor: float) -> None:
    """Training and held-out figures by epoch."""
    epochs = [entry["epoch"] for entry in history]
    marker = "o" if len(epochs) <= 30 else ""
    for key, label, color, style in (("train", "training", BLUE, "--"), ("validation", "held out", RED, "-")):
        name = f"{key}_{what}"
        if all(name in entry for entry in history):
            values = [factor * entry[name] for entry in history]
            axes.plot(epochs, values, style, color=color, marker=marker, markersize=4, label=label)
    _epoch_axis(axes)


def _epoch_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", fontsize=FONT["label"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def comparison(runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], title: str | None = None) -> Figure:
    """Accuracy of several networks by epoch, side by side: the gap between the two curves of each is overfitting.

    Parameters
    ----------
    runs : sequence of (name, history)
        With 'train_accuracy' and 'validation_accuracy' in every entry.
    title : str, optional

    Returns
    -------
    Figure
    """
    figure = _figure(5.0 * len(runs), 4.2, title)
    panels = np.ravel(figure.subplots(1, len(runs), sharey=True, squeeze=False))
    _spread(figure)
    worst = min(entry["validation_accuracy"] for _, history in runs for entry in history)
    lowest = max(0, 10 * int(10 * worst) - 20)  # room for the legend
    for axes, (name, history) in zip(panels, runs, strict=True):
        marker = "o" if len(history) <= 3 else ""
        epochs = [entry["epoch"] for entry in history]
        train = [100 * entry["train_accuracy"] for entry in history]
        test = [100 * entry["validation_accuracy"] for entry in history]
        axes.fill_between(epochs, train, test, color=GREY, alpha=0.12, linewidth=0, label="gap: learned by heart")
        for values, label, color, style in ((train, "training", BLUE, "--"), (test, "test", RED, "-")):
            name_and_end = f"{label} images: {values[-1]:.1f} %"
            axes.plot(epochs, values, style, color=color, marker=marker, linewidth=2, label=name_and_end)
        axes.set_title(name, fontsize=FONT["title"])
        axes.legend(frameon=False, loc="lower right", fontsize=FONT["label"])
        axes.set_ylim(lowest, 102)
        _epoch_axis(axes)
    panels[0].set_ylabel("images right, %", fontsize=FONT["label"])
    return figure


# -- what a network has learned ----------------------------------------------------------------------------------------


def filters(model: nn.Module, input_shape: tuple[int, ...] = (1, 28, 28), title: str | None = None) -> Figure:
    """The learned filters: those of the first convolution one by one, those of the second by their input channels.

    Blue is negative, red positive, white zero.  Of a network without convolutions, the weights of the first linear
    layer are shown as images.

    Parameters
    ----------
    model : Module
    input_shape : (C, H, W)
        Of its images.
    title : str, optional

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the network has neither.
    """
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        return _linear_filters(model, input_shape, title)
    first = np.asarray(convolutions[0].weight.data, np.float64)
    count, channels = min(len(first), 4 * PER_ROW), first.shape[1]
    rows = -(-count // PER_ROW)
    second = np.asarray(convolutions[1].weight.data, np.float64) if len(convolutions) > 1 else None
    heights = [0.62 * rows + 0.3]
    if second is not None:
        shown = second[:16, :MOST_MAPS]
        heights.append(9.6 * shown.shape[0] / max(shown.shape[1], 24) + 0.3)
    figure = _figure(10, sum(heights) + 0.5, title)
    panels = np.ravel(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights))
    size = f"{first.shape[2]}x{first.shape[3]}"
    colours = "their three channels as colours, grey is zero" if channels == 3 else "blue: negative, red: positive"
    note = "" if count == len(first) else f", {count} of them shown"
    panels[0].set_title(
        f"first convolution: {len(first)} filters of {size}{note} ({colours})",
        fontsize=FONT["label"],
        loc="left",
    )
    if channels == 3:  # as colours, with grey for zero
        most = float(np.abs(first[:count]).max()) or 1.0
        tiles = [_mosaic(first[:count, c] / most, PER_ROW) for c in range(3)]
        panels[0].imshow(np.nan_to_num(np.stack(tiles, -1) / 2 + 0.5, nan=1.0), interpolation="nearest")
    else:
        _show(panels[0], _mosaic(first[:count, 0], PER_ROW), signed=True)
    panels[0].set_axis_off()
    if second is not None:
        flat = shown.reshape(-1, *shown.shape[2:])
        _show(panels[1], _mosaic(flat, shown.shape[1]), signed=True)
        panels[1].set_title(
            f"second convolution: {shown.shape[0]} of {len(second)} filters, a row each; "
            f"a column for each of {shown.shape[1]} input channels",
            fontsize=FONT["label"],
            loc="left",
        )
        panels[1].set_axis_off()
    return figure


def _linear_filters(model: nn.Module, input_shape: tuple[int, ...], title: str | None) -> Figure:
    size = int(np.prod(input_shape))
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.in_features == size]
    if not layers:
        raise ValueError("filters: the network has no convolution, and no linear layer that sees the image")
    weights = np.asarray(layers[0].weight.data, np.float64).reshape(-1, *input_shape).mean(axis=1)[:40]
    rows = -(-len(weights) // 10)
    figure = _figure(10, rows + 0.8, title)
    axes = figure.subplots()
    _show(axes, _mosaic(weights, 10), signed=True)
    axes.set_title(f"weights of the first {len(weights)} units, as images", fontsize=FONT["label"], loc="left")
    axes.set_axis_off()
    return figure


def _mosaic(maps: F64, columns: int) -> F64:
    """Maps (K, H, W) side by side, magnified, with lines of NaN between them."""
    count, height, width = maps.shape
    zoom = max(1, 24 // max(min(height, width), 1))
    maps = maps.repeat(zoom, axis=1).repeat(zoom, axis=2)
    height, width = maps.shape[1:]
    columns = min(columns, count)
    rows = -(-count // columns)
    gap = max(2, round(min(height, width) / (9 if zoom < 4 else 3)))
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i, one in enumerate(maps):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = one
    return canvas


def _show(axes: Axes, canvas: F64, signed: bool) -> None:
    """A mosaic in colours: around zero where there are negative numbers; what is between the maps is grey then."""
    import matplotlib

    most = float(np.nanquantile(np.abs(canvas), 0.998)) or float(np.nanmax(np.abs(canvas))) or 1.0
    axes.imshow(
        np.ma.masked_invalid(canvas),
        cmap=matplotlib.colormaps[SIGNED if signed else POSITIVE].with_extremes(bad=BETWEEN if signed else "white"),
        vmin=-most if signed else 0,
        vmax=most,
        interpolation="nearest",
    )


def features(
    model: nn.Sequential,
    x: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    title: str | None = None,
) -> Figure:
    """What each layer makes of one image, from the pixels to the probabilities.

    Parameters
    ----------
    model : Sequential, in eval mode
    x : ndarray, shape (1, C, H, W)
        The image as the network sees it.
    probabilities : ndarray, shape (classes,)
    classes : sequence of str
        Their names.
    title : str, optional

    Returns
    -------
    Figure
        The image and the probabilities, then a row for each layer with maps: up to 32 of them, on one scale.
    """
    stages: list[tuple[str, F64]] = []
    y = x
    for layer in model:
        y = layer(y)
        if y.ndim == 4 and not isinstance(layer, nn.Dropout | nn.Dropout2d):
            stages.append((type(layer).__name__.lstrip("_"), np.asarray(y[0], np.float64)))
    stages = stages[:12]
    rows = [min(2, -(-min(len(maps), MOST_MAPS) // PER_ROW)) for _, maps in stages]
    figure = _figure(10, 2.4 + sum(0.6 * count + 0.32 for count in rows), title)
    parts: Any = figure.subfigures(2 if stages else 1, 1, height_ratios=[2.2, sum(rows) * 0.6 + 0.1] if stages else [1])
    top, bottom = (parts[0], parts[1]) if stages else (parts, None)
    image, bars = top.subplots(1, 2, width_ratios=[1, 3])
    picture = np.moveaxis(np.asarray(x[0], np.float64), 0, -1)
    low, high = float(picture.min()), float(picture.max())
    picture = (picture - low) / ((high - low) or 1.0)
    image.imshow(picture[..., 0] if picture.shape[-1] != 3 else picture, cmap="gray", interpolation="nearest")
    image.set_title("the image", fontsize=FONT["label"])
    image.set_axis_off()
    _probability_bars(bars, probabilities, classes)
    if bottom is not None:
        panels = np.ravel(bottom.subplots(len(stages), 1, squeeze=False, height_ratios=rows))
        for axes, (name, maps) in zip(panels, stages, strict=True):
            shown = maps[:MOST_MAPS]
            signed = bool(shown.min() < 0)
            _show(axes, _mosaic(shown, PER_ROW), signed)
            colours = "blue below zero, red above" if signed else "the brighter, the larger"
            which = f"{len(maps)} maps" if len(shown) == len(maps) else f"{len(shown)} of {len(maps)} maps"
            axes.set_title(
                f"{name}: {which} of {maps.shape[1]}x{maps.shape[2]} ({colours})",
                fontsize=FONT["small"],
                loc="left",
                pad=3,
            )
            axes.set_anchor("W")
            axes.set_axis_off()
    return figure


def _probability_bars(axes: Axes, probabilities: NDArray[Any], classes: Sequence[str]) -> None:
    best = int(np.argmax(probabilities))
    order = range(len(classes)) if len(classes) <= 12 else sorted(np.argsort(probabilities)[-12:])
    values = [100 * float(probabilities[i]) for i in order]
    bars = axes.bar(range(len(values)), values, color=[BLUE if i == best else "#b8c4cc" for i in order])
    for bar, value in zip(bars, values, strict=True):
        if value >= 0.5:
            middle = bar.get_x() + bar.get_width() / 2
            axes.text(middle, value + 2, f"{value:.0f} %", ha="center", fontsize=FONT["small"])
    long = max((len(name) for name in classes), default=1) > 3
    axes.set_xticks(range(len(values)), [classes[i] for i in order], rotation=35 if long else 0, fontsize=FONT["small"])
    axes.set_ylim(0, 112)
    axes.set_yticks([0, 50, 100])
    axes.set_title("probability, %", fontsize=FONT["label"])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


# -- what it has right and wrong ---------------------------------------------------------------------------------------


def confusion(
    labels: NDArray[Any], predicted: NDArray[Any], classes: Sequence[str], title: str | None = None
) -> Figure:
    """How often each class was taken for each other one.

    Parameters
    ----------
    labels, predicted : ndarray of integers, shape (M,)
    classes : sequence of str
    title : str, optional

    Returns
    -------
    Figure
        Counts, a row for each true class; what is wrong is coloured by its share of the row, what is right is grey.
    """
    from matplotlib.patches import Rectangle

    size = len(classes)
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    wrong = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(wrong, 0)
    long = max((len(name) for name in classes), default=1) > 3
    side = max(5.4, 0.52 * size + 1.6) + (0.6 if long else 0)
    figure = _figure(side + 0.9, side, title)
    axes = figure.subplots()
    most = max(5.0, 100 * wrong.max())  # %: a network that is nearly always right must not look alarming
    image = axes.imshow(100 * np.ma.masked_equal(wrong, 0), cmap="Oranges", vmin=0, vmax=most)
    figure.colorbar(image, ax=axes, shrink=0.8, label="taken for another class, % of the row")
    dense = size > 24
    for row in range(size):
        axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, color="#dfe4e8", linewidth=0))
        for column in range(size) if not dense else ():
            count = int(counts[row, column])
            if count:
                dark = row != column and 100 * wrong[row, column] > 0.6 * most
                axes.text(
                    column,
                    row,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    fontsize=FONT["small"],
                    color="white" if dark else "black",
                    fontweight="bold" if row == column else "normal",
                )
    axes.set_xticks(range(size), classes, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(size), classes)
    axes.set_xlabel("the network says", fontsize=FONT["label"])
    axes.set_ylabel("it is", fontsize=FONT["label"])
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#d0d0d0", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    return figure


def mistakes(
    images: NDArray[Any],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    title: str | None = None,
    most: int = 24,
) -> Figure:
    """The images that the network is most sure of and has wrong, the worst first.

    Parameters
    ----------
    images : ndarray, shape (M, H, W) or (M, C, H, W)
        As bytes, or from 0 to 1.
    labels : ndarray of integers, shape (M,)
    probabilities : ndarray, shape (M, classes)
    classes : sequence of str
    title : str, optional
    most : int
        So many images at most.

    Returns
    -------
    Figure
    """
    predicted = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    long = max((len(name) for name in classes), default=1) > 3  # in a line of their own
    columns = min(8, max(len(worst), 5))
    rows = max(1, -(-len(worst) // columns))
    figure = _figure(1.32 * columns, (1.95 if long else 1.65) * rows + 0.5, title)
    between = ":\n" if long else ": "
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in panels:
        axes.set_axis_off()
    if not len(worst):
        panels[0].text(0, 0.5, "no mistakes", fontsize=FONT["title"])
    for axes, i in zip(panels, worst, strict=False):
        image = images[i]
        if image.ndim == 3:
            image = np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
        axes.imshow(image, cmap="gray" if image.ndim == 2 else None, interpolation="nearest")
        number = f"{i}"  # the place among the images: `show --what features --image` takes it
        axes.text(0.03, 0.97, number, transform=axes.transAxes, va="top", fontsize=6, color="#9aa5ae")
        true, said = int(labels[i]), int(predicted[i])
        name_said, name_true = (_shortened(classes[k]) for k in (said, true))
        axes.set_title(
            f"says {name_said}{between}{_percent(probabilities[i, said])}", fontsize=FONT["label"], color=RED, pad=2
        )
        axes.text(
            0.5,
            -0.03,
            f"is {name_true}{between}{_percent(probabilities[i, true])}",
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=FONT["small"],
        )
    return figure


def _percent(share: float) -> str:
    if share >= 0.9995:
        return "100 %"
    return f"{100 * share:.1f} %" if share >= 0.0005 else "0 %"


def _shortened(name: str, most: int = 12) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
