"""The command `fastconv`: train, evaluate, compare, predict, draw, show, bench, info.

One file a subcommand; each has `add(subparsers)`, which describes its arguments, and `run(args)`, which does its work
and returns the exit status.  Results go to stdout; progress, notices and errors to stderr.  Exit status: 0 only on
success, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM, else 1 with one line that says why (and a traceback
with --debug).
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from fastconv._signals import Terminated
from fastconv._version import __version__

__all__ = ["main"]

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM

# Errors whose own words are for users; others are a mistake in fastconv, and their type helps.
EXPECTED = (OSError, ValueError, ArithmeticError, RuntimeError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of this process by default.

    Returns
    -------
    status : int
        What the process should exit with.

    Raises
    ------
    SystemExit
        With status 2 for wrong usage, 0 after --help and --version.
    """
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            status = int(args.run(args))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        print(f"fastconv: {getattr(error, 'message', '') or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except Terminated as error:
        print(f"fastconv: {error.message or 'terminated'}", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:
        # Whoever read our output has gone (as in `fastconv info | head -1`).  Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        print(f"fastconv: error: {_one_line(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    from fastconv.cli import bench, compare, draw, evaluate, info, predict, show, train

    parser = argparse.ArgumentParser(
        prog="fastconv", description="Train and use small convolutional networks on a CPU.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    parser.add_argument("--debug", action="store_true", help="show a traceback with errors")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (train, evaluate, compare, predict, draw, show, bench, info):
        subparser = command.add(subparsers)
        subparser.set_defaults(run=command.run)
        subparser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback with errors"
        )
    return parser


def _one_line(error: Exception) -> str:
    """What went wrong, in a line; an error of the system names its file."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"not enough memory ({text})" if text else "not enough memory"
    if isinstance(error, EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text} (this is a mistake in fastconv; --debug shows where)"


def _show_warning(message: Warning | str, *_: object) -> None:
    """A warning as a user should see it: its words, without the line of code that it came from."""
    print(f"fastconv: {message}", file=sys.stderr)
