"""Ctrl-C and SIGTERM: a command ends from wherever it is, with one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

#: Exit code of a command that was asked to end.
CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds until it is asked again, where nothing could be left.
_SOON = 0.01


class Interrupted(BaseException):
    """Ctrl-C or a polite request to end."""


def listen() -> None:
    """Have such requests raise Interrupted, in the main thread. Whoever asks twice does not want to wait: that ends the process."""
    for name in _SIGNALS:
        signal.signal(name, _raise)
    signal.signal(signal.SIGALRM, _raise)
    if not isinstance(sys.unraisablehook, _AskAgain):
        sys.unraisablehook = _AskAgain(sys.unraisablehook)


def ignore() -> None:
    """Let them be: the process is about to end."""
    for name in (*_SIGNALS, signal.SIGALRM):
        signal.signal(name, signal.SIG_IGN)


def _raise(*_: object) -> NoReturn:
    for name in _SIGNALS:
        signal.signal(name, lambda *_: os._exit(CODE))
    raise Interrupted


class _AskAgain:
    """What happens to errors that cannot be raised where they happen, as in what is called when an object is gone: the interpreter
    prints them and goes on, so that a request that comes there would be lost. It is made again, a moment later."""

    def __init__(self, others: Callable[[sys.UnraisableHookArgs], object]) -> None:
        self._others = others

    def __call__(self, unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Interrupted):
            signal.setitimer(signal.ITIMER_REAL, _SOON)
        else:
            self._others(unraisable)
