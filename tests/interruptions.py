"""Ctrl-C at a chosen line of the package, or after some time."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import mkfusion

PACKAGE = str(Path(mkfusion.__file__).parent)


@contextlib.contextmanager
def interrupted_at(line):
    """Raise KeyboardInterrupt at the n-th line of the package that runs; yield what has run."""
    ran = []

    def in_function(frame, event, arg):
        if event == "line":
            ran.append(frame.f_lineno)
            if len(ran) == line:
                raise KeyboardInterrupt
        return in_function

    def on_call(frame, event, arg):
        file = frame.f_code.co_filename
        return in_function if file.startswith(PACKAGE) and "_parallel" not in file else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield ran
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def interrupted_after(seconds):
    """Send this process Ctrl-C once the time is over, also where it was started to ignore that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
