"""Work that holds the core for long, done in a thread of the system's so that others go on."""

from collections.abc import Callable
from typing import Any, TypeVar

from eventlet import patcher, tpool

T = TypeVar("T")


def natively(work: Callable[..., T], *given: Any) -> T:
    """Run C code that releases the interpreter (a password hash) beside the event loop."""
    if not patcher.is_monkey_patched("thread"):
        return work(*given)
    done: T = tpool.execute(work, *given)
    return done
