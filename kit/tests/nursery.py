"""Processes of a service to start and to kill, forked from one that has everything imported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from liaison_kit.run.process import wait_until


class Nursery:
    """Forks processes of a service from one that runs `worker`."""

    def __init__(self, worker: Path) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, **order: Any) -> Any:
        """Give an order; what came of it."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return json.loads(self._parent.stdout.readline())

    def close(self) -> None:
        """Take every process along."""
        self._parent.terminate()
        self._parent.communicate()


class Process:
    """One process of a service."""

    def __init__(self, nursery: Nursery, log: Path, environment: dict[str, str]) -> None:
        self._nursery = nursery
        self._code: int | None = None
        self.pid: int = nursery.ask(log=str(log), environment=environment)

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask(ended=self.pid)
        return self._code

    def wait(self, seconds: float = 10) -> int | None:
        """How it has ended."""
        wait_until(lambda: self.ended() is not None, seconds=seconds)
        return self.ended()

    def kill(self) -> None:
        """Die at once, as in a power cut."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        os.kill(self.pid, signal.SIGTERM)
