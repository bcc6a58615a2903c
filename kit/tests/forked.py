"""The processes that a nursery forks: each serves until it ends, its parent takes the orders.

Orders are lines of JSON on standard input: start one, or tell how one has ended.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import eventlet


def take_orders(serve: Callable[[], None]) -> None:
    """Fork a process that serves for each order; importing takes seconds, forking milliseconds."""
    signal.signal(signal.SIGTERM, _stop_all)
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(_answer(json.loads(line), serve))}\n")
        sys.stdout.flush()
    _stop_all()


def _answer(order: dict[str, Any], serve: Callable[[], None]) -> int | None:
    """Start a process, or tell how one has ended: its exit code, None while it runs."""
    if "ended" in order:
        pid, status = os.waitpid(order["ended"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None
    pid = os.fork()
    if pid:
        return pid
    # A hub of its own: the one that was forked polls through a descriptor that all would share.
    eventlet.hubs.use_hub()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log_file = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log_file, 1)
    os.dup2(log_file, 2)
    os.environ.update(order["environment"])
    code = 1
    try:
        serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Not the way out of the process that forked us.
        os._exit(code)


def _stop_all(*_: Any) -> None:
    """Take every process that was forked here along."""
    os.killpg(os.getpgid(0), signal.SIGKILL)
