"""Loops: work that goes on for as long as a service runs, as sending what waits to be sent.

    sending = Loop("send_next", rung_by="messages", at_once=2)

The method does the next piece and says whether there may be more. When there is none it is called
again once a transaction notifies `rung_by`, or after a moment: what was made to wait comes due
without anybody's doing. Which process does which piece is for the method to settle, by claims.
"""

from typing import Any

import eventlet
from nameko.extensions import DependencyProvider

from liaison_kit.jobs.runner import wait
from liaison_kit.process.roles import plays
from liaison_kit.telemetry import log

STOP_S = 15.0

LOOK_S = 1.0
"""How long a loop that found nothing waits before it looks again."""


class Loop(DependencyProvider):  # type: ignore[misc]
    """Calls a method of the service again and again, in processes that run its jobs."""

    def __init__(self, method: str, *, rung_by: str, at_once: int = 1) -> None:
        self._method = method
        self._rung_by = rung_by
        self._at_once = at_once
        self._stopping = False
        self._threads: list[Any] = []
        super().__init__()

    def start(self) -> None:
        if plays("jobs"):
            spawn = self.container.spawn_managed_thread
            self._threads = [spawn(self._run) for _ in range(self._at_once)]

    def stop(self) -> None:
        """Begin nothing more, and give what is in hand the time to end."""
        self._stopping = True
        with eventlet.Timeout(STOP_S, False):
            for thread in self._threads:
                thread.wait()

    def _run(self) -> None:
        service = self.container.service_cls
        work = getattr(service(), self._method)
        listening: Any = None
        while not self._stopping:
            try:
                if work():
                    continue
                if listening is None or listening.closed:
                    listening = service.db.listen(self._rung_by)
                wait(listening, LOOK_S)
            except Exception as error:
                # Whatever it was, a process that has stopped looking would be noticed by nobody.
                log.warning("a loop was interrupted", loop=self._method, error=type(error).__name__)
                listening = None
                eventlet.sleep(LOOK_S)
        if listening is not None:
            listening.close()
