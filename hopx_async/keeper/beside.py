"""A second thread for a subreaper's work, so that its orphans stand in a list of their own."""

from __future__ import annotations

import _thread  # threading is much to load for one thread
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_beside"]


def run_beside(work: Callable[[], object]) -> int:
    """Do *work* in a second thread while this one, the first, waits; return 0, or 1 if it raised.

    The kernel lists children by the thread that has made them, and gives orphans to the first
    thread of a subreaper. So the list of the first one's children has orphans alone, and takes
    no longer to read because thousands of leaders run. Handlers of signals have to be set before.
    """
    done = _thread.allocate_lock()
    done.acquire()
    status = 1

    def run() -> None:
        nonlocal status
        try:
            work()
            status = 0
        except BaseException as error:  # noqa: BLE001  # whatever it is, the process is to end
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    # Each signal would wake this thread, and let the other one wait for the interpreter.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    done.acquire()
    return status
