"""How long may an answer take?  A loop in it that never ends must not hold the notebook.

The clock is the processor's: a busy machine is no endless loop.  It rings where the system lets it, on Unix
and in the main thread, which is where notebooks run; elsewhere the learner interrupts the kernel.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(BaseException):
    """The time is over; no `Exception`, so that an answer that catches those is stopped as well."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in a block of code that takes more seconds of the processor.

    Example:
        >>> try:
        ...     with limited(0.01):
        ...         while True:
        ...             pass
        ... except OutOfTime:
        ...     print("stopped")
        stopped
    """
    here = threading.current_thread() is threading.main_thread()
    if not (here and hasattr(signal, "setitimer") and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL):
        yield  # the system cannot, or somebody else's clock is running
        return
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def _ring(*_: object) -> None:
    raise OutOfTime
