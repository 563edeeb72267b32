"""Time fastconv and its peers in turn, each in a process of its own.

    python benchmarks/side_by_side.py --torch-python PATH                     # every case and pass: a table
    python benchmarks/side_by_side.py --torch-python PATH --cases 'resnet.*forward'
    python benchmarks/side_by_side.py --torch-python PATH --epoch cnn,keras   # an epoch of training
    python benchmarks/side_by_side.py --torch-python PATH --inference         # whole networks, forward
    python benchmarks/side_by_side.py --torch-python PATH --others            # linear layers, optimisers
    python benchmarks/side_by_side.py --scaling                               # fastconv alone: 1 and 2 threads
    python benchmarks/side_by_side.py --torch-python PATH --check --repeat 0  # do their results agree?
    python benchmarks/side_by_side.py --torch-python PATH --cases . --epoch all --plot FILE.png   # and a picture
    python benchmarks/side_by_side.py --replay FILE.json --plot FILE.png      # show an earlier run again

Peers: PyTorch in NCHW and in channels_last (its arrays converted beforehand, glibc told to keep freed memory), and ONNX
Runtime's forward passes where onnxruntime and onnx can be imported; OpenVINO where that and onnx can, for --inference.
The libraries take turns in many short rounds; one works while the others' threads sleep.  Reported are median and
minimum over all rounds, and the ratio of the fastest peer's time to fastconv's, the median of the rounds' ratios: above
1, fastconv is ahead.  With --scaling, one thread and several take turns instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import plot
import report
from cases import OTHERS, TABLE, Case
from networks import INFERENCES, Inference
from processes import ISA_VARIABLES, Neighbours, Process, WorkerError
from training_data import BATCH_SIZES, EPOCH_IMAGES, IMAGES

Turn = TypeVar("Turn")
EPOCH_NETWORKS = ("cnn", "keras", "dropout", "fast", "scratch")
CHECK_STEPS = 5
WARM_UP_STEPS, SETTLE_STEPS = 10, 3  # untimed steps of a new network, and at the start of each round
QUIET = 0.1  # CPUs that other processes may keep busy
PEAK_STEPS = 100  # the peak is reached in the first few
SCALING_ROWS = r"^resnet\."


def main() -> int:
    options = _options()
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        sys.exit("--plot needs matplotlib: pip install matplotlib")
    if options.replay:
        result = json.loads(Path(options.replay).read_text(encoding="utf-8"))
        _show(result)
    else:
        neighbours = Neighbours()
        try:
            result = _measure(options)
        except WorkerError as error:
            sys.exit(str(error))
        result["machine"]["busy_elsewhere"] = neighbours.cpus()
        print("\n" + _quiet(result))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot.draw(result, options.plot)
    for failure in result["disagreements"]:
        print(f"DISAGREE  {failure}")
    return 1 if result["disagreements"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Time fastconv, PyTorch, ONNX Runtime and OpenVINO in turn, each in a process of its own."
    )
    add = parser.add_argument
    add("--torch-python", default=sys.executable, metavar="PATH", help="interpreter with torch (this one)")
    add("--onnxruntime-python", metavar="PATH", help="interpreter with onnxruntime and onnx (that of torch)")
    add("--openvino-python", metavar="PATH", help="interpreter with openvino and onnx (that of torch)")
    add(
        "--peers", default="torch,torch-channels_last,onnxruntime,openvino", help="which peers, by commas (%(default)s)"
    )
    add("--cases", metavar="REGEX", help="only rows whose 'name label pass' matches")
    add("--inference", action="store_true", help="time whole networks forward; ops and epochs only if asked for")
    add("--others", action="store_true", help="time linear layers and optimisers; not in the table of all ops")
    add("--scaling", action="store_true", help="time fastconv alone, with 1 and --threads threads (resnet.* rows)")
    add("--epoch", metavar="NETS", help="time an epoch of these networks, by commas, or 'all'; ops only with --cases")
    add("--batch-size", type=int, help="of the epochs (each network's own)")
    add("--steps", type=int, default=60, help="steps a round of an epoch, scaled to the whole (%(default)s)")
    add("--data-dir", help="folder with MNIST's files, for the peak memory of training")
    add("--threads", type=int, default=2, help="(%(default)s)")
    add("--isa", choices=tuple(ISA_VARIABLES), help="hold fastconv and PyTorch to an instruction set")
    add("--precision", choices=("highest", "high", "medium"), help="fastconv.set_float32_precision")
    add("--repeat", type=int, help="rounds (15 for ops, 7 for epochs); 0 with --check: no timing")
    add("--round-seconds", type=float, default=0.03, help="of a library's turn on an op (%(default)s)")
    add("--check", action="store_true", help="compare the results of all libraries, too")
    add("--json", metavar="FILE", help="write all of it to a file")
    add("--plot", metavar="FILE.png", help="draw the ratios (needs matplotlib)")
    add("--replay", metavar="FILE.json", help="show an earlier run instead of measuring")
    options = parser.parse_args()
    if options.inference and options.others:
        parser.error("--inference and --others are tables of their own: one at a time")
    if options.scaling and (options.epoch or options.check or options.plot):
        parser.error("--scaling times operations, without a peer: there is no --epoch, --check or --plot of that")
    if options.scaling and options.threads < 2:
        parser.error("--scaling needs at least 2 --threads")
    options.onnxruntime_python = options.onnxruntime_python or options.torch_python
    options.openvino_python = options.openvino_python or options.torch_python
    options.peers = options.peers.split(",") if options.peers else []
    unknown = set(options.peers) - set(report.HEADS)
    if unknown:
        parser.error(f"--peers: there is no {', '.join(unknown)}; expected some of {', '.join(report.HEADS)}")
    options.networks = []
    if options.epoch:
        options.networks = list(EPOCH_NETWORKS) if options.epoch == "all" else options.epoch.split(",")
        unknown = set(options.networks) - set(BATCH_SIZES)
        if unknown:
            parser.error(
                f"--epoch: there is no network {', '.join(unknown)}; expected some of {', '.join(BATCH_SIZES)}"
            )
    for name in ("threads", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.repeat is not None and options.repeat < (0 if options.check else 1):
        parser.error("--repeat must be at least 1 (0 only with --check)")
    return options


# -- measuring ---------------------------------------------------------------------------------------------------------


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    table = INFERENCES if options.inference else OTHERS if options.others else TABLE
    pattern = options.cases or (SCALING_ROWS if options.scaling and table is TABLE else "")
    rows: list[tuple[Case | Inference, str]] = [
        (case, which)
        for case in table
        for which in case.passes
        if re.search(pattern, f"{case.name} {case.label} {which}")
    ]
    if options.networks and not options.cases and table is TABLE:
        rows = []
    elif not rows:
        sys.exit(f"--cases: no row matches {options.cases!r}")
    with ExitStack() as stack:
        processes = [stack.enter_context(process) for process in _start(options)]
        result: dict[str, Any] = {
            "machine": _machine(options, processes),
            "libraries": {process.name: process.description for process in processes},
            "rows": [],
            "scaling": [],
            "epochs": [],
            "disagreements": [],
        }
        print("\n".join(_heading(result)))
        if options.scaling:
            _measure_scaling(options, processes[0], rows, result)
        elif rows:
            _measure_ops(options, processes, rows, result)
        if options.networks:
            _measure_epochs(options, processes, result)
    if options.networks and options.repeat != 0:
        _measure_memory(options, [process.name for process in processes], result)
    return result


def _start(options: argparse.Namespace) -> list[Process]:
    """A process for each library; peers that are not installed are left out, and said to be."""
    processes = [_process(options, "fastconv")]
    for name in () if options.scaling else options.peers:
        graphs = name in ("onnxruntime", "openvino")
        needed = [name, "onnx"] if graphs else ["torch"]
        if name == "openvino" and not options.inference:
            continue
        if name == "torch-channels_last" and options.others and not options.networks:
            continue
        if graphs and options.isa:
            print(f"# without {report.HEADS[name]}: it cannot be held to an instruction set")
        elif not _importable(_python(options, name), needed):
            print(f"# without {report.HEADS[name]}: its Python cannot import {' and '.join(needed)}")
        elif not graphs or options.inference or options.cases or not options.networks:
            processes.append(_process(options, name))
    return processes


def _process(options: argparse.Namespace, name: str, keep_memory: bool = True, threads: int | None = None) -> Process:
    python = _python(options, name)
    return Process(name, python, threads or options.threads, options.isa, options.precision, keep_memory)


def _python(options: argparse.Namespace, name: str) -> str:
    pythons = {
        "fastconv": sys.executable,
        "onnxruntime": options.onnxruntime_python,
        "openvino": options.openvino_python,
    }
    return str(pythons.get(name, options.torch_python))


def _importable(python: str, modules: Sequence[str]) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in {list(modules)!r}))"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def _machine(options: argparse.Namespace, processes: Sequence[Process]) -> dict[str, Any]:
    ours = processes[0].description
    return {
        "cpu": ours["cpu"],
        "cpus": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": options.threads,
        "isa": ours["isa"],
        "precision": ours["precision"],
    }


def _heading(result: dict[str, Any]) -> list[str]:
    machine = result["machine"]
    lines = [
        f"# {machine['cpu']}, {machine['cpus']} CPUs, {machine['platform']}; {machine['threads']} threads, float32, "
        f"precision {machine['precision']}"
    ]
    for name, description in result["libraries"].items():
        details = ", ".join(f"{key} {value}" for key, value in description.items() if key not in ("library", "cpu"))
        lines.append(f"# {name}: {description['library']} ({details})")
    return lines


def _quiet(result: dict[str, Any]) -> str:
    """Whether other processes took part of the CPUs."""
    busy = result["machine"]["busy_elsewhere"]
    if busy is None:
        return "# how busy other processes were is not known"
    verdict = "" if busy < QUIET else ": measure again on a quiet machine before quoting this"
    return f"# other processes kept {busy:.2f} CPUs busy meanwhile{verdict}"


def _measure_ops(
    options: argparse.Namespace,
    processes: Sequence[Process],
    rows: Sequence[tuple[Case | Inference, str]],
    result: dict[str, Any],
) -> None:
    names = [process.name for process in processes]
    print("\n" + report.op_head(names))
    for case, which in rows:
        with tempfile.TemporaryDirectory() as folder:
            ready = []
            for process in processes:
                arrays = str(Path(folder, f"{process.name}.npz")) if options.check else None
                if _prepare(options, process, case, which, arrays):
                    ready.append(process)
            if options.check:
                names_ready = [process.name for process in ready]
                result["disagreements"] += _disagreements(
                    folder, names_ready, f"{case.name} {case.label} {which}", options
                )
        timings = _in_turn(options, ready)
        seconds = {process.name: timing for process, timing in zip(ready, timings, strict=True) if timing}
        row = {"case": case.name, "label": case.label, "pass": which, "seconds": seconds}
        result["rows"].append(row)
        print(report.op_line(row, names), flush=True)
    if options.repeat != 0:
        print("\n" + "\n".join(report.op_summary(result["rows"])))


def _prepare(
    options: argparse.Namespace, process: Process, case: Case | Inference, which: str, arrays: str | None
) -> bool:
    """Have a process ready for a row; False if its library does not do that."""
    answer = process.ask(
        "prepare", case=case.name, label=case.label, which=which, seconds=options.round_seconds, arrays=arrays
    )
    return "unsupported" not in answer


def _in_turn(options: argparse.Namespace, processes: Sequence[Process]) -> list[dict[str, Any]]:
    """The timings of each process on the row that it is ready for; empty after no rounds."""
    samples: list[list[list[float]]] = [[] for _ in processes]
    turns = list(zip(processes, samples, strict=True))
    for number in range(15 if options.repeat is None else options.repeat):
        for process, seconds in _rotated(turns, number):
            seconds.append(process.ask("time")["seconds"])
    return [report.timing(rounds) if rounds else {} for rounds in samples]


def _measure_scaling(
    options: argparse.Namespace,
    several: Process,
    rows: Sequence[tuple[Case | Inference, str]],
    result: dict[str, Any],
) -> None:
    """fastconv with one thread and with several, in turn."""
    print("\n" + report.scaling_head(options.threads))
    with _process(options, "fastconv", threads=1) as one:
        for case, which in rows:
            for process in (one, several):
                _prepare(options, process, case, which, None)
            timings = _in_turn(options, (one, several))
            seconds = dict(zip(("1", str(options.threads)), timings, strict=True))
            row = {"case": case.name, "label": case.label, "pass": which, "seconds": seconds}
            result["scaling"].append(row)
            print(report.scaling_line(row), flush=True)
    print("\n" + "\n".join(report.scaling_summary(result["scaling"])))


def _disagreements(folder: str, names: Sequence[str], what: str, options: argparse.Namespace) -> list[str]:
    """How the results of the peers differ from those of fastconv, in units of the largest element."""
    tolerance = 1e-4 if options.precision in (None, "highest") else 1e-2
    saved = {}
    for name in names:
        with np.load(Path(folder, f"{name}.npz")) as arrays:
            saved[name] = [arrays[key] for key in arrays.files]
    ours = saved["fastconv"]
    failures = []
    for name in names[1:]:
        if [(a.shape, a.dtype) for a in saved[name]] != [(a.shape, a.dtype) for a in ours]:
            failures.append(f"{what}: {name} has other shapes or dtypes")
            continue
        for one, other in zip(ours, saved[name], strict=True):
            limit = tolerance * float(np.abs(other).max()) if one.dtype.kind == "f" else 0.0
            worst = float(np.abs(one - other).max())
            if not worst <= limit:
                failures.append(f"{what}: {name} and fastconv differ by {worst:.3g}, more than {limit:.3g}")
    return failures


def _rotated(turns: Sequence[Turn], by: int) -> list[Turn]:
    """Another library begins each round."""
    by %= len(turns)
    return [*turns[by:], *turns[:by]]


# -- epochs ------------------------------------------------------------------------------------------------------------


def _measure_epochs(options: argparse.Namespace, processes: Sequence[Process], result: dict[str, Any]) -> None:
    processes = [process for process in processes if process.name not in ("onnxruntime", "openvino")]
    names = [process.name for process in processes]
    print("\n" + report.epoch_head(names))
    for network in options.networks:
        batch_size = options.batch_size or BATCH_SIZES[network]
        if options.check:
            result["disagreements"] += _training_disagreements(processes, network, batch_size)
        for process in processes:
            process.ask("train", network=network, batch_size=batch_size, data_dir=None, exact=False)
            process.ask("steps", count=WARM_UP_STEPS)
        epochs: dict[str, list[list[float]]] = {name: [] for name in names}
        for number in range(7 if options.repeat is None else options.repeat):
            for process in _rotated(processes, number):
                process.ask("steps", count=SETTLE_STEPS)
                timed = process.ask("steps", count=options.steps)
                images = EPOCH_IMAGES.get(network, IMAGES)
                epochs[process.name].append([timed["seconds"] / timed["images"] * images])
        seconds = {name: report.timing(values) for name, values in epochs.items() if values}
        row = {"network": network, "batch_size": batch_size, "seconds": seconds, "memory": {}}
        result["epochs"].append(row)
        print(report.epoch_line(row, names), flush=True)


def _training_disagreements(processes: Sequence[Process], network: str, batch_size: int) -> list[str]:
    """Whether the losses of the first steps, from the same weights, on the same batches, without dropout, are equal."""
    losses = {}
    for process in processes:
        process.ask("train", network=network, batch_size=batch_size, data_dir=None, exact=True)
        losses[process.name] = process.ask("steps", count=CHECK_STEPS)["losses"]
    ours = losses["fastconv"]
    return [
        f"{network}: the losses of {name} are {theirs}, those of fastconv {ours}"
        for name, theirs in losses.items()
        if not np.allclose(theirs, ours, rtol=1e-3)
    ]


def _measure_memory(options: argparse.Namespace, names: Sequence[str], result: dict[str, Any]) -> None:
    """The peak of a fresh process that trains on MNIST, and after it has evaluated; the allocator is as it comes."""
    from fastconv.data import find_mnist

    folder = find_mnist(options.data_dir)
    if folder is None:
        print("\n# without peak memory: MNIST is not on this machine; --data-dir names its folder")
        return
    names = [name for name in names if name not in ("onnxruntime", "openvino")]
    print("\n" + report.memory_head(names))
    for row in result["epochs"]:
        for name in names:
            with _process(options, name, keep_memory=False) as process:
                process.ask(
                    "train",
                    network=row["network"],
                    batch_size=row["batch_size"],
                    data_dir=str(folder.resolve()),
                    exact=False,
                )
                process.ask("steps", count=PEAK_STEPS)
                trained = process.ask("peak")["bytes"]
                process.ask("evaluate")
                row["memory"][name] = {"training": trained, "evaluation": process.ask("peak")["bytes"]}
        print("\n".join(report.memory_lines(row, names)), flush=True)


# -- an earlier run ----------------------------------------------------------------------------------------------------


def _show(result: dict[str, Any]) -> None:
    names, machine = list(result["libraries"]), result["machine"]
    lines = _heading(result)
    if result["rows"]:
        lines += ["", report.op_head(names), *(report.op_line(row, names) for row in result["rows"])]
        lines += ["", *report.op_summary(result["rows"])]
    if result.get("scaling"):
        lines += ["", report.scaling_head(machine["threads"]), *map(report.scaling_line, result["scaling"])]
        lines += ["", *report.scaling_summary(result["scaling"])]
    names = [name for name in names if name not in ("onnxruntime", "openvino")]
    if result["epochs"]:
        lines += ["", report.epoch_head(names), *(report.epoch_line(row, names) for row in result["epochs"])]
    if any(row["memory"] for row in result["epochs"]):
        lines += ["", report.memory_head(names)]
        lines += [line for row in result["epochs"] for line in report.memory_lines(row, names)]
    lines += ["", _quiet(result)]
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
