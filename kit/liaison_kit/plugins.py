"""The plugin host: hooks are asked one plugin at a time, each behind a time limit.

A plugin that raises, hangs, can't be imported or takes another's name costs its own answer only.
pluggy alone would let one raising plugin discard everybody's answers, fail the start at a broken
import, and skip the second plugin of a name without a word.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import pluggy
from eventlet import Timeout, getcurrent

from liaison_kit.process.metrics import HOOK_FAILURES
from liaison_kit.telemetry import log
from liaison_sdk import hooks as specs

GROUP = "liaison"
STRIKES = 3
REST_S = 60.0


class _Overdue(BaseException):
    """The plugin's time is up; no Exception, so that a plugin's own `except` lets it pass."""


class Hooks:
    """The plugins of one service process."""

    def __init__(self, service: str, timeout_s: float) -> None:
        self._service = service
        self._timeout_s = timeout_s
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(specs)
        self._strikes: dict[str, int] = {}
        self._resting: dict[str, float] = {}

    def load(self) -> None:
        """Register every installed plugin; the broken ones are named in the log and left out."""
        for entry in metadata.entry_points(group=GROUP):
            if self._manager.has_plugin(entry.name):
                self._failed("-", entry.name, "same name", f"{entry.value} is left out")
                continue
            try:
                self._manager.register(entry.load(), entry.name)
            except Exception as error:
                self._failed("-", entry.name, "import", f"{type(error).__name__}: {error}")
        for unknown in self._misspelt():
            self._failed(unknown[1], unknown[0], "unknown hook", "no such hook is specified")

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin by hand."""
        self._manager.register(plugin, name)

    @property
    def names(self) -> list[str]:
        """The plugins that are in."""
        return sorted(name for name, plugin in self._manager.list_name_plugin() if plugin)

    def answers(self, hook: str) -> bool:
        """Whether any plugin answers the hook; if none does, its facts need not be gathered."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def ask(self, hook: str, **facts: Any) -> list[Any]:
        """Every plugin's answer that is one, in the order of registration."""
        answers: list[Any] = []
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            if self._resting.get(name, 0.0) > time.monotonic():
                continue
            others = [p for n, p in self._manager.list_name_plugin() if n != name and p]
            caller = self._manager.subset_hook_caller(hook, others)
            try:
                with self._within_time():
                    answers += [answer for answer in caller(**facts) if answer is not None]
                self._strikes.pop(name, None)
            except _Overdue:
                self._failed(hook, name, "timeout", f"over {self._timeout_s} s")
                self._strike(name)
            except Exception as error:
                self._failed(hook, name, "raised", type(error).__name__)
        return answers

    def _strike(self, name: str) -> None:
        """A plugin that hangs again and again rests for a while: each time costs its limit."""
        self._strikes[name] = self._strikes.get(name, 0) + 1
        if self._strikes[name] >= STRIKES:
            self._strikes.pop(name)
            self._resting[name] = time.monotonic() + REST_S
            log.warning("plugin rests", plugin=name, seconds=REST_S)

    def _failed(self, hook: str, plugin: str, reason: str, detail: str) -> None:
        HOOK_FAILURES.labels(self._service, hook, plugin, reason).inc()
        log.warning("plugin failed", hook=hook, plugin=plugin, reason=reason, detail=detail)

    def _misspelt(self) -> Iterator[tuple[str, str]]:
        for name, plugin in self._manager.list_name_plugin():
            for attribute in dir(plugin) if plugin else ():
                mark = getattr(getattr(plugin, attribute, None), f"{GROUP}_impl", None)
                if mark is not None and not hasattr(specs, attribute):
                    yield name, attribute

    @contextmanager
    def _within_time(self) -> Iterator[None]:
        """Interrupt what takes too long: a loop by SIGALRM, a wait by an eventlet timeout."""
        overdue = _Overdue()
        with Timeout(self._timeout_s, overdue):
            mine = getcurrent()

            def alarm(_signal: int, _frame: Any) -> None:
                # The plugin may have let other greenlets run: their work is not to be interrupted.
                if getcurrent() is mine:
                    raise overdue

            try:
                before = signal.signal(signal.SIGALRM, alarm)
            except ValueError:
                # Signals reach the main thread only. Services answer in it; a test may not.
                yield
                return
            signal.setitimer(signal.ITIMER_REAL, self._timeout_s, self._timeout_s)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
