"""Keep the database and Python busy at the same time: chunks overlap, their commits do not.

A thread converts the next chunk while two more write, each a chunk in a transaction of its own. A
transaction ends only after that of the chunk before it, so whatever a run is interrupted by, what
it leaves behind is the file up to some row. Under eventlet the threads are greenlets.
"""

import contextvars
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

LANES = 2
PATIENCE_S = 5.0
"""How long what is written ahead waits for its turn before it makes way."""


def ahead(items: Iterable[S], convert: Callable[[S], T]) -> Generator[T, None, None]:
    """Convert the next item while the caller's database works on this one."""
    ready: Queue[T | None] = Queue(maxsize=1)
    stopped = threading.Event()
    failed: list[BaseException] = []

    def hand_over(item: T | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.5)
                return
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over(convert(item))
                # In a green process this lets the others have a turn.
                time.sleep(0)
                if stopped.is_set():
                    return
        except BaseException as error:
            failed.append(error)
        hand_over(None)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            yield item
        for error in failed:
            raise error
    finally:
        stopped.set()
        worker.join()


class _Stopped(Exception):
    """An earlier item has failed: what was done behind it is not to be kept."""


class _MakeWay(Exception):
    """The turn has not come: perhaps those in front wait for what is locked here."""


class _Line:
    """How many items are done, in their order, and what has stopped the rest."""

    def __init__(self) -> None:
        self.overlaps = True
        self.error: BaseException | None = None
        self._done = 0
        self._moved = threading.Condition()

    def wait(self, number: int, seconds: float | None = None) -> bool:
        """Whether all before this number are done, within the time."""
        with self._moved:
            self._moved.wait_for(lambda: self.error or self._done >= number, seconds)
            if self.error:
                raise _Stopped
            return self._done >= number

    def advance(self) -> None:
        """The first in the line is done."""
        with self._moved:
            self._done += 1
            self._moved.notify_all()

    def stop(self, error: BaseException) -> None:
        """Nobody's turn comes any more."""
        with self._moved:
            self.error = self.error or error
            self._moved.notify_all()


@dataclass(frozen=True, slots=True)
class Turn:
    """An item's place in the line."""

    line: _Line
    number: int

    def come(self) -> None:
        """Return when every item before this one is done; when it raises, nothing is to be kept."""
        if not self.line.wait(self.number, PATIENCE_S):
            raise _MakeWay


def in_turn(items: Generator[T, None, None], work: Callable[[T, Turn], None]) -> None:
    """Work on two items at a time; what `work` does after `turn.come()` it does in their order.

    Before that, `work` must do nothing but what an exception undoes: an item that has to make way
    is worked on again. An error counts when its turn has come, too.
    """
    line = _Line()
    numbers = itertools.count()
    taking = threading.Lock()

    def lane() -> None:
        number = 0
        try:
            while True:
                with taking:
                    # Numbered before it is there: what goes wrong on the way has its turn, too.
                    number = next(numbers)
                    item = next(items, None)
                if item is None:
                    return
                _work(item, Turn(line, number), work)
                line.advance()
        except _Stopped:
            return
        except BaseException as error:
            with suppress(_Stopped):
                line.wait(number)
                line.stop(error)

    # Each in a copy of the context: their spans belong to the job that they work for.
    lanes = [
        threading.Thread(target=contextvars.copy_context().run, args=(lane,), daemon=True)
        for _ in range(LANES)
    ]
    for thread in lanes:
        thread.start()
    try:
        for thread in lanes:
            thread.join()
    except BaseException as error:
        line.stop(error)
        for thread in lanes:
            thread.join()
        raise
    finally:
        items.close()
    if line.error is not None:
        raise line.error


def _work(item: T, turn: Turn, work: Callable[[T, Turn], None]) -> None:
    line = turn.line
    if line.overlaps:
        try:
            work(item, turn)
            return
        except _MakeWay:
            # Whatever stood in the way once will do so again.
            line.overlaps = False
    line.wait(turn.number)
    work(item, turn)
