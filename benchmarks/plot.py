"""The picture of a run of side_by_side.py: a bar for each row, how many times as fast as the best peer.

Rows are grouped: convolutions, pools, whole networks ...  A group is a block of bars with a column for each pass, so
that the passes of a case stand in one line.  All columns have one logarithmic axis, and begin at 1, where fastconv and
the best peer are equally fast.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import report

WIDTH, DPI = 9.2, 130  # of the picture, in inches, and pixels an inch: some 1200 pixels
COLOURS = 48  # few, so that the file is small
LINE, TITLE, FRAME = 0.205, 0.42, 1.05  # inches: a line of bars, a block's title, the picture's title and legend
AHEAD, BEHIND = "tab:blue", "tab:red"
CLIP = 16.0  # the longest bar; its number is written beside it


class Block(NamedTuple):
    """One group of rows."""

    title: str
    columns: dict[str, dict[str, float]]  # pass: {name of a line: ratio}

    @property
    def lines(self) -> list[str]:
        return list(dict.fromkeys(name for column in self.columns.values() for name in column))


def blocks(result: dict[str, Any]) -> list[Block]:
    """The groups of a run that have ratios."""
    groups: dict[str, dict[str, dict[str, float]]] = {}
    for row in result["rows"]:
        value, kind = report.ratio(row), report.kind_of(row)
        if value is not None:
            title = "pools" if kind in report.POOLS else "convolutions" if kind == "conv2d" else kind
            groups.setdefault(title, {}).setdefault(row["pass"], {})[_line(row, kind)] = value
    for row in result["epochs"]:
        value = report.ratio(row)
        if value is not None:
            line = f"{row['network']}, batch {row['batch_size']}"
            groups.setdefault("training", {}).setdefault("epoch", {})[line] = value
    return [Block(title, columns) for title, columns in groups.items()]


def _line(row: dict[str, Any], kind: str) -> str:
    """How a row is called in its block."""
    if kind in ("inference", "optimiser"):
        return f"{row['case'].removeprefix(kind)[1:]}, {row['label'].split(':')[0]}"
    return str(row["case"].removeprefix("linear."))


def draw(result: dict[str, Any], path: str) -> None:
    """Write the picture to a file.  Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image  # which matplotlib needs, too

    shown = blocks(result)
    if not shown:
        raise ValueError("there are no ratios to plot: fastconv and a peer are both needed")
    heights = [TITLE + LINE * len(block.lines) for block in shown]
    most = max(len(block.columns) for block in shown)
    figure, axes = pyplot.subplots(
        len(shown),
        most,
        figsize=(WIDTH, FRAME + sum(heights)),
        height_ratios=heights,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    values = [value for block in shown for column in block.columns.values() for value in column.values()]
    limits = min(*values, 0.75) / 1.15, min(max(*values, 2.0), CLIP) * 1.5  # room for the numbers
    for row, block in zip(axes, shown, strict=True):
        for i, one in enumerate(row):
            if i < len(block.columns):
                _draw_column(one, block, list(block.columns)[i], limits)
                if i == 0:
                    one.set_yticks(range(len(block.lines)), block.lines, fontsize=8)
            else:
                one.set_axis_off()
    figure.suptitle(_title(result), fontsize=9.5)
    label = f"times as fast as the fastest of {_peers(result)}\nblue: fastconv is ahead; red: the peer"
    figure.supxlabel(label, fontsize=8.5)
    pixels = io.BytesIO()
    figure.savefig(pixels, dpi=DPI)
    pyplot.close(figure)
    Image.open(pixels).convert("RGB").quantize(COLOURS).save(path, "PNG", optimize=True)


def _draw_column(axes: Any, block: Block, which: str, limits: tuple[float, float]) -> None:
    """The bars of one pass."""
    lines, column = block.lines, block.columns[which]
    axes.set_title(f"{block.title}: {which}", fontsize=9, fontweight="bold", loc="left", pad=4)
    axes.set_xscale("log", base=2)
    axes.set_xlim(*limits)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="x", labelsize=8, labelbottom=True)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for y, name in enumerate(lines):
        if name in column:
            ratio = column[name]
            end, colour = min(ratio, CLIP), AHEAD if ratio > 1 else BEHIND
            axes.barh(y, end - 1, left=1, color=colour, height=0.72)
            beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            beside |= {"fontsize": 7.5, "color": "black" if ratio > 1 else colour}
            axes.annotate(f"{ratio:.2f}", (max(end, 1), y), **beside)
    axes.axvline(1, color="black", linewidth=1)


def _title(result: dict[str, Any]) -> str:
    """The machine, and the sum of it all."""
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    title = f"fastconv on {machine['cpu']} ({machine['isa']}), {threads}, float32, precision {machine['precision']}"
    table = [row for row in result["rows"] if report.kind_of(row) not in report.OTHERS]
    values = [value for row in table if (value := report.ratio(row)) is not None]
    if values:
        ahead = sum(value > 1 for value in values)
        mean = report.geometric_mean(values)
        title += f"\n{ahead} of {len(values)} rows ahead of the fastest peer, geometric mean {mean:.2f}"
    return title


def _peers(result: dict[str, Any]) -> str:
    """The other libraries, with their versions and formats."""
    formats: dict[str, list[str]] = {}
    for name, entry in result["libraries"].items():
        if name != report.OURS:
            formats.setdefault(entry["library"], []).extend([entry["format"]] if "format" in entry else [])
    return ", ".join(f"{library} ({', '.join(kinds)})" if kinds else library for library, kinds in formats.items())
