"""The plugin host: hooks are asked one plugin at a time, each behind a time limit.

A plugin that raises, hangs, answers something else than the hook declares, can't be imported or
takes another's name costs its own answer only. pluggy alone would let one raising plugin discard
everybody's answers, fail the start at a broken import, and skip the second plugin of a name without
a word.
"""

import dataclasses
import itertools
import signal
import time
import types
import typing
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any

import pluggy
from eventlet import Timeout, getcurrent
from pydantic import TypeAdapter, ValidationError

from liaison_kit.process.metrics import HOOK_FAILURES
from liaison_kit.telemetry import log
from liaison_sdk import hooks as specs

GROUP = "liaison"
STRIKES = 3
REST_S = 60.0
MOST = 1000
"""So many things one answer may list."""


class _Overdue(BaseException):
    """The plugin's time is up; no Exception, so that a plugin's own `except` lets it pass."""


class BadAnswer(Exception):
    """A plugin answered something else than its hook declares."""


def checked(hook: str, answer: Any) -> Any:
    """The answer as the hook declares it, made anew: nothing of the plugin's own comes with it."""
    try:
        return _made(_declared(hook), answer)
    except ValidationError as error:
        # Without the values: they may be personal data.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        where = ".".join(str(part) for part in found[0]["loc"])
        raise BadAnswer(f"{where}: {found[0]['msg']}" if where else found[0]["msg"]) from None


def _declared(hook: str) -> Any:
    return _hints(getattr(specs, hook))["return"]


@cache
def _hints(declared: Any) -> dict[str, Any]:
    return typing.get_type_hints(declared, include_extras=True)


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _made(hint: Any, value: Any) -> Any:
    return _adapter(hint).validate_python(_opened(hint, value), strict=True)


def _opened(hint: Any, value: Any) -> Any:
    """The value with its parts made anew: pydantic does not look into what is an object already."""
    if value is None:
        return None
    origin, inside = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Annotated:
        return _opened(inside[0], value)
    if origin in (typing.Union, types.UnionType):
        return _of_several(inside, value)
    if dataclasses.is_dataclass(origin) and isinstance(origin, type):
        if not isinstance(value, origin):
            raise BadAnswer(f"a {type(value).__name__} is no {origin.__name__}")
        hints = _hints(origin)
        names = [field.name for field in dataclasses.fields(origin)]
        return origin(**{name: _made(hints[name], getattr(value, name)) for name in names})
    if isinstance(origin, type) and issubclass(origin, (Sequence, Set, Mapping)):
        return value if issubclass(origin, (str, bytes)) else _listed(origin, inside, value)
    return value


def _of_several(hints: Sequence[Any], value: Any) -> Any:
    """The value as the type among these that it is of."""
    for hint in hints:
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        known = typing.get_origin(plain) or plain
        if isinstance(known, type) and isinstance(value, known):
            return _opened(hint, value)
    wanted = " or ".join(getattr(hint, "__name__", str(hint)) for hint in hints)
    raise BadAnswer(f"a {type(value).__name__} is no {wanted}")


def _listed(origin: type, inside: Sequence[Any], value: Any) -> Any:
    if not isinstance(value, origin):
        raise BadAnswer(f"a {type(value).__name__} is no {origin.__name__}")
    pairs: Any = value.items() if isinstance(value, Mapping) else value
    parts = list(itertools.islice(iter(pairs), MOST + 1))
    if len(parts) > MOST:
        raise BadAnswer(f"more than {MOST} at once")
    if isinstance(value, Mapping):
        (_, held) = inside or (Any, Any)
        return {key: _opened(held, part) for key, part in parts}
    held = inside[0] if inside else Any
    opened = [_opened(held, part) for part in parts]
    return tuple(opened) if issubclass(origin, tuple) else opened


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
        return [answer for _, answer in self._answers(hook, None, facts)]

    def ask_each(self, hook: str, **facts: Any) -> list[tuple[str, Any]]:
        """The same, each with the plugin whose answer it is."""
        return self._answers(hook, None, facts)

    def ask_one(self, plugin: str, hook: str, **facts: Any) -> Any:
        """What this plugin answers, if anything."""
        return next((answer for _, answer in self._answers(hook, plugin, facts)), None)

    def refuse(self, hook: str, plugin: str, why: str) -> None:
        """Name a plugin whose answer makes no sense here; it counts as that plugin's failure."""
        self._failed(hook, plugin, "bad answer", why)

    def _answers(
        self, hook: str, only: str | None, facts: Mapping[str, Any]
    ) -> list[tuple[str, Any]]:
        answers: list[tuple[str, Any]] = []
        # The first time it takes a while, which is no plugin's fault.
        _adapter(_declared(hook))
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            if only not in (None, name):
                continue
            if self._resting.get(name, 0.0) > time.monotonic():
                continue
            others = [p for n, p in self._manager.list_name_plugin() if n != name and p]
            caller = self._manager.subset_hook_caller(hook, others)
            try:
                with self._within_time():
                    # Read to the end here: what is lazy may raise or hang later.
                    found = [checked(hook, a) for a in caller(**facts) if a is not None]
                    answers += [(name, answer) for answer in found]
                self._strikes.pop(name, None)
            except _Overdue:
                self._failed(hook, name, "timeout", f"over {self._timeout_s} s")
                self._strike(name)
            except BadAnswer as error:
                self._failed(hook, name, "bad answer", str(error))
            except (Exception, SystemExit) as error:
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
