"""How side_by_side.py shows what it measured: tables, and a summary in ratios.

A row is {"case", "label", "pass", "seconds": {library: {"median", "min", "rounds"}}}.  An epoch has "network" and
"batch_size" instead, and "memory": {library: {"training", "evaluation"}}, peaks in bytes.
"rounds" are the medians of each round.  A machine can be twice as slow for seconds on end, so what is compared are the
turns of one round, milliseconds apart: ratio = median over the rounds of peer / fastconv, for the fastest peer.  Above
1, fastconv is ahead.  A row of the scaling has numbers of threads in place of libraries.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

OURS = "fastconv"
HEADS = {
    "torch": "torch NCHW",
    "torch-channels_last": "torch NHWC",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
POOLS = ("max-pool", "avg-pool")
OTHERS = ("linear", "optimiser")
WIDTH = 19


def timing(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Of the seconds of each round."""
    samples = [seconds for each in rounds for seconds in each]
    medians = [statistics.median(each) for each in rounds]
    return {"median": statistics.median(samples), "min": min(samples), "rounds": medians}


def paired(other: dict[str, Any], ours: dict[str, Any]) -> float:
    """How many times as long the other takes, turn beside turn."""
    return statistics.median(a / b for a, b in zip(other["rounds"], ours["rounds"], strict=True))


def ratio(row: dict[str, Any], peer: str | None = None) -> float | None:
    """Of the fastest peer, or of one; None where there is none."""
    seconds = row["seconds"]
    if OURS not in seconds:
        return None
    return min(
        (paired(seconds[name], seconds[OURS]) for name in seconds if name != OURS and peer in (None, name)),
        default=None,
    )


# -- ops ---------------------------------------------------------------------------------------------------------------


def op_head(libraries: Sequence[str]) -> str:
    heads = "".join(f"{HEADS.get(name, name):>{WIDTH}}" for name in libraries)
    return f"{'ms: median (min)':<64}{heads}{'ratio':>8}"


def op_line(row: dict[str, Any], libraries: Sequence[str]) -> str:
    cells = "".join(f"{_cell(row['seconds'].get(name), 1e3):>{WIDTH}}" for name in libraries)
    return f"{row['case']:<23}{row['label']:<29}{row['pass']:<12}{cells}{_ratio(ratio(row)):>8}"


def op_summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Geometric mean, worst row and rows ahead, for all rows, the pools and each kind; then beside each peer.

    Linear layers and optimisers are kinds of their own, which "all" leaves out.
    """
    if all(ratio(row) is None for row in rows):
        return ["# no ratios: there is no peer"]
    lines = [f"{'':<26}{'rows':>5}{'geometric mean':>16}{'ahead':>12}   worst row"]
    table = [row for row in rows if kind_of(row) not in OTHERS]
    kinds = {"all": table, "pools": [row for row in table if kind_of(row) in POOLS]}
    kinds["linear"] = [row for row in rows if kind_of(row) == "linear"]
    for row in rows:
        kinds.setdefault(f"{kind_of(row)} {row['pass']}", []).append(row)
    lines += [line for kind, members in kinds.items() for line in _summary(kind, members, None)]
    for peer in HEADS:
        lines += _summary(f"all, {HEADS[peer]}", table, peer)
        lines += _summary(f"max-pool forward, {HEADS[peer]}", kinds.get("max-pool forward", []), peer)
    return lines


def _summary(title: str, rows: Iterable[dict[str, Any]], peer: str | None) -> list[str]:
    ratios = [(value, row) for row in rows if (value := ratio(row, peer)) is not None]
    if not ratios:
        return []
    values = [value for value, _ in ratios]
    ahead = sum(value > 1 for value in values)
    worst, row = min(ratios, key=lambda pair: pair[0])
    return [
        f"{title:<32} {len(values):>4} {geometric_mean(values):>10.2f} {f'{ahead} of {len(values)}':>12}"
        f"   {worst:.2f}  {row['case']} {pass_of(row)}"
    ]


def pass_of(row: dict[str, Any]) -> str:
    """What tells rows of one case apart."""
    return str(row["label"] if kind_of(row) == "inference" else row["pass"])


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def kind_of(row: dict[str, Any]) -> str:
    return next((kind for kind in (*POOLS, *OTHERS, "inference") if row["case"].startswith(kind)), "conv2d")


# -- scaling -----------------------------------------------------------------------------------------------------------


def scaling_head(threads: int) -> str:
    heads = "".join(f"{head:>{WIDTH}}" for head in ("1 thread", f"{threads} threads"))
    return f"{'fastconv, ms: median (min)':<64}{heads}{'ratio':>8}"


def scaling_line(row: dict[str, Any]) -> str:
    cells = "".join(f"{_cell(timing, 1e3):>{WIDTH}}" for timing in row["seconds"].values())
    return f"{row['case']:<23}{row['label']:<29}{row['pass']:<12}{cells}{_ratio(scaling(row)):>8}"


def scaling_summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    worst = min(rows, key=scaling)
    return [
        f"one thread's time / that of {list(worst['seconds'])[1]}: geometric mean "
        f"{geometric_mean([scaling(row) for row in rows]):.2f} over {len(rows)} rows, "
        f"worst {scaling(worst):.2f}  {worst['case']} {pass_of(worst)}"
    ]


def scaling(row: dict[str, Any]) -> float:
    one, several = row["seconds"].values()
    return paired(one, several)


# -- epochs ------------------------------------------------------------------------------------------------------------


def epoch_head(libraries: Sequence[str]) -> str:
    heads = "".join(f"{HEADS.get(name, name):>{WIDTH}}" for name in libraries)
    return f"{'s an epoch: median (min)':<28}{heads}{'ratio':>8}"


def epoch_line(row: dict[str, Any], libraries: Sequence[str]) -> str:
    cells = "".join(f"{_cell(row['seconds'].get(name), 1):>{WIDTH}}" for name in libraries)
    return f"{row['network']:<10}{'batch ' + str(row['batch_size']):<18}{cells}{_ratio(ratio(row)):>8}"


def memory_head(libraries: Sequence[str]) -> str:
    heads = "".join(f"{HEADS.get(name, name):>{WIDTH}}" for name in libraries)
    return f"{'MB at the peak, on MNIST':<28}{heads}{'share':>8}"


def memory_lines(row: dict[str, Any], libraries: Sequence[str]) -> list[str]:
    """After training, and after evaluating 500 images at a time; share = fastconv / the smallest peer."""
    lines = []
    for phase in ("training", "evaluation"):
        memory = {name: peaks[phase] for name, peaks in row["memory"].items()}
        cells = "".join(f"{memory[name] / 1e6:>{WIDTH}.0f}" if name in memory else " " * WIDTH for name in libraries)
        peers = [memory[name] for name in memory if name != OURS]
        share = memory[OURS] / min(peers) if peers else None
        lines.append(f"{row['network']:<10}{phase:<18}{cells}{_ratio(share):>8}")
    return lines


def _cell(time: dict[str, float] | None, unit: float) -> str:
    return "" if time is None else f"{_number(time['median'] * unit)} ({_number(time['min'] * unit)})"


def _number(value: float) -> str:
    """Three significant digits, never in exponents."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value < 100 else f"{value:.0f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
