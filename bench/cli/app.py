"""`dynamicgate-bench`: its commands, put together, and how they end. Each command is a module, named as it is typed.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import atexit
import io
import sys
import traceback
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bench.cli import (
    advise,
    cache,
    card,
    check,
    compare,
    doctor,
    export,
    history,
    imatrix,
    info,
    interrupt,
    ppl,
    quantize,
    recipe,
    report,
    run,
    sample,
    sensitivity,
    tables,
    tasks,
    time,
    traces,
    worker,
)
from bench.cli.help import WIDEST, Command
from bench.cli.program import COMMAND, program
from bench.core.errors import BenchError
from bench.core.files import told
from bench.core.formats import in_one_line
from bench.core.progress import be_quiet

#: Options of the program itself, which may stand before a command or behind it.
_QUIET = ("--quiet", "-q")
_ANYWHERE = ("--debug", *_QUIET)

app = typer.Typer(
    name="bench",
    help="Measure what GGUF quantizations cost and buy: perplexity, size and CPU speed of recipes, against one reference model.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    rich_markup_mode=None,
)

#: In the order of the help.
_COMMANDS = (
    run, sample, tables, compare, recipe, quantize, imatrix, sensitivity, ppl, tasks, time, traces, info, cache, report, history, check, export,
    advise, card, doctor, worker,
)  # fmt: skip
for _module in _COMMANDS:
    for _command in _module.app.registered_commands:
        _command.cls = Command
    app.add_typer(_module.app)


def _say_version(asked: bool) -> None:
    """The program and the build of the engine that it found, which a worker process asks the loaded library for."""
    if not asked:
        return
    from bench.core.files import cache_directory
    from bench.core.version import this_version
    from bench.engine.jobs import LibraryJob
    from bench.execute.local import LocalExecutor

    engine = LocalExecutor(cache_directory(None)).do(LibraryJob())
    print(f"{COMMAND} {this_version().version}")
    print(f"engine: llama-cpp-python {engine.binding} (llama.cpp {engine.llama_cpp}), built for {engine.isa}")
    raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Report warnings only, and no progress. May stand anywhere.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_say_version,
            is_eager=True,
            help="Show the version of the program, and which build of the engine it found.",
        ),
    ] = False,
) -> None:
    """Options of the program itself; main() and _say_version() read them."""


def main() -> None:
    """Run a command. An error is one line on standard error and exit code 2 (a bug shows its traceback); `--debug`, anywhere, shows its traceback."""
    arguments = [a for a in sys.argv[1:] if a not in _ANYWHERE]
    be_quiet(any(a in sys.argv for a in _QUIET))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # tables have a Δ, whatever the locale is
    try:
        interrupt.listen()
        sys.exit(app(arguments or ["--help"], prog_name=program(), standalone_mode=False) or 0)
    except TyperException as e:  # in one line, as any other error
        context = getattr(e, "ctx", None)
        where = f"; see {context.command_path} --help" if context else ""
        print(f"error: {in_one_line(e.format_message()).rstrip('.')}{where}", file=sys.stderr)
        sys.exit(2)
    except (BenchError, OSError) as e:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"error: {in_one_line(told(e) if isinstance(e, OSError) else str(e))}", file=sys.stderr)
        sys.exit(2)
    except interrupt.Interrupted:
        print("interrupted; what was measured is kept, the same command goes on from there", file=sys.stderr)
        sys.exit(interrupt.CODE)
    finally:
        atexit.register(interrupt.ignore)
