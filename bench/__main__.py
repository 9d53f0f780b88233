"""`python -m bench`, which is `dynamicgate-bench`."""

import os
import signal
import types


def main() -> None:
    """Run a command. Ctrl-C ends it in one line, from the first moment: imports take a second on a busy machine."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _end)
    from bench.cli.app import main as command

    command()


def _end(number: int, frame: types.FrameType | None) -> None:
    os.write(2, b"interrupted before anything was begun\n")
    os._exit(130)


if __name__ == "__main__":
    main()
