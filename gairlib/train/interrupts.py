"""A first interrupt ends the step that is running, not the middle of it.

Ctrl-C, the stop button of JupyterLab and the end of a batch job's time arrive as signals. Raised in
the middle of an optimiser's step they would leave weights that belong to no step.
"""

import signal
import threading
from contextlib import contextmanager


class Asked:
    """Whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.stop = False

    def __bool__(self) -> bool:
        return self.stop


@contextmanager
def deferred():
    """Within it SIGINT and SIGTERM are noted; a second one interrupts at once.

    Yields an object that is true once a signal has come. In a thread other than the main one,
    where Python allows no handlers, signals do what they did before.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number, frame):
        if asked.stop:
            raise KeyboardInterrupt
        asked.stop = True

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
