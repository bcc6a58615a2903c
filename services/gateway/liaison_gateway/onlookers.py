"""Onlookers: which screens show which record, and in which of them somebody types.

A screen says what it shows, and says it again before it is forgotten; nothing of it is kept for
longer. Each gateway knows the screens of all: what is said to one is told to the others on the
broker. Who may hear of a record's onlookers is who may be one of them.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from liaison_gateway.auth import Caller, Stale

KEPT_S = 30.0
"""How long a screen is remembered that says nothing."""
SAY_AGAIN_S = 10
KEPT_UNHEARD_S = 5.0
"""The same, of a browser whose stream of live events has ended and that does not come back."""
CHECKED_FOR_S = 60.0
"""How long it is remembered that somebody may read a record, unless their rights change."""
SCREENS, SCREENS_OF_SESSION = 20_000, 20
CHECKS = 20_000
FACES_SHOWN = 50
SWEEP_EVERY_S = 1.0


class Place(NamedTuple):
    """A record that is looked at."""

    tenant: str
    record: str
    id: str


class Screen(NamedTuple):
    """A screen that shows a record; `checked_at` is when its person was known to may read it."""

    session: str
    screen: str
    place: Place
    user: str
    name: str
    typing: bool
    said_at: float
    checked_at: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.place.tenant, self.session, self.screen


Key = tuple[str, str, str]


def session_of(caller: Caller) -> str:
    """All screens of one browser, or of one program: those that share a token."""
    # What travels between gateways is not what identity knows the token by.
    return hashlib.sha256(b"onlookers:" + caller.id).hexdigest()[:32]


class Onlookers:
    """Knows the screens of all gateways.

    `publish(message)` tells the other gateways; `on_change(session, place)` is called for each
    session that looks at a place where somebody came, left, or began or ceased to type.
    """

    def __init__(self) -> None:
        self._screens: OrderedDict[Key, tuple[Screen, float]] = OrderedDict()
        """With the monotonic time until which each is remembered; said last, comes last."""
        self._at: dict[Place, dict[Key, Screen]] = {}
        self._sessions: dict[str, OrderedDict[Key, Place]] = {}
        self._checks: OrderedDict[tuple[Place, str], float] = OrderedDict()
        self._doubts: dict[tuple[str | None, str | None], float] = {}
        self._swept_at = 0.0
        self.publish: Callable[[dict[str, Any]], None] = lambda _message: None
        self.on_change: Callable[[str, Place], None] = lambda _session, _place: None

    def __len__(self) -> int:
        return len(self._screens)

    # ---- what screens say

    def say(self, caller: Caller, screen: str, place: Place, typing: bool) -> None:
        """A screen of somebody who may read it shows a record."""
        assert caller.who is not None
        session = session_of(caller)
        said = Screen(
            session,
            screen,
            place,
            caller.user,
            caller.who.name,
            typing,
            time.time(),
            self._checks.get((place, session), 0.0),
        )
        self._seat(said)
        self.publish({"screen": said})

    def leave(self, caller: Caller, screen: str) -> None:
        """A screen shows no record any more."""
        assert caller.tenant is not None
        self._leave((caller.tenant, session_of(caller), screen))
        gone = {"tenant": caller.tenant, "session": session_of(caller), "screen": screen}
        self.publish({"gone": gone, "at": time.time()})

    def unheard(self, session: str) -> None:
        """A browser's last stream has ended: unless it comes back, nobody looks there."""
        if session in self._sessions:
            self._fade(session)
            self.publish({"unheard": session, "at": time.time()})

    def heard(self, said: dict[str, Any]) -> None:
        """Take in what another gateway was told; raises ValueError, KeyError or TypeError."""
        if "screen" in said:
            session, screen, place, user, name, typing, said_at, checked_at = said["screen"]
            whole = Screen(
                str(session),
                str(screen),
                Place(*(str(part) for part in place)),
                str(user),
                str(name),
                bool(typing),
                float(said_at),
                float(checked_at),
            )
            if abs(time.time() - whole.said_at) < KEPT_S:
                self._seat(whole)
        elif abs(time.time() - float(said["at"])) < KEPT_S:
            if "gone" in said:
                gone = said["gone"]
                self._leave((str(gone["tenant"]), str(gone["session"]), str(gone["screen"])))
            else:
                self._fade(str(said["unheard"]))

    # ---- who may

    def may(self, caller: Caller, place: Place) -> bool:
        """Whether it is remembered that somebody may read a record."""
        checked_at = self._checks.get((place, session_of(caller)))
        return checked_at is not None and self._holds(
            place.tenant, session_of(caller), checked_at, CHECKED_FOR_S
        )

    def checked(self, caller: Caller, place: Place, asked_at: float) -> None:
        """The service has said that somebody may read a record, having been asked at a time."""
        key = (place, session_of(caller))
        self._checks[key] = asked_at
        self._checks.move_to_end(key)
        if len(self._checks) > CHECKS:
            self._checks.popitem(last=False)

    def refused(self, caller: Caller, place: Place) -> None:
        """Somebody may not read a record, or not any more: none of their screens shows it."""
        session = session_of(caller)
        self._checks.pop((place, session), None)
        for key, at in list(self._sessions.get(session, {}).items()):
            if at == place:
                self.leave(caller, key[2])

    def look_again(self, stale: Stale) -> None:
        """Rights may have changed: what was known of them before holds no more."""
        now = time.time()
        longest = max(KEPT_S, CHECKED_FOR_S)
        self._doubts = {whose: at for whose, at in self._doubts.items() if now - at < longest}
        token = stale.token_hash
        whose = None if token is None else session_of(Caller(token, None, 0.0))
        self._doubts[stale.tenant, whose] = now

    def changed(self, place: Place) -> None:
        """A record was changed: perhaps not everybody who might read it may now."""
        for _, session, _ in self._at.get(place, ()):
            self._checks.pop((place, session), None)

    def _holds(self, tenant: str, session: str, checked_at: float, for_s: float) -> bool:
        if checked_at < time.time() - for_s:
            return False
        doubts = ((None, None), (tenant, None), (tenant, session), (None, session))
        return all(self._doubts.get(whose, 0.0) < checked_at for whose in doubts)

    # ---- who is there

    def faces(self, caller: Caller, place: Place) -> list[dict[str, Any]]:
        """Who else looks at a record: each person once, however many screens they have there."""
        found: dict[str, dict[str, Any]] = {}
        for screen in self._at.get(place, {}).values():
            if screen.user != caller.user:
                face = found.setdefault(
                    screen.user, {"user": screen.user, "name": screen.name, "typing": False}
                )
                face["typing"] = face["typing"] or screen.typing
        ordered = sorted(found.values(), key=lambda face: (face["name"], face["user"]))
        return ordered[:FACES_SHOWN]

    def hears(self, caller: Caller, place: Place) -> bool:
        """Whether a browser has a screen there whose person may read what it shows."""
        session = session_of(caller)
        # As long as it is said again in time, what lets it be said is younger than this.
        longest = CHECKED_FOR_S + KEPT_S
        return caller.tenant == place.tenant and any(
            key[1] == session and self._holds(place.tenant, session, screen.checked_at, longest)
            for key, screen in self._at.get(place, {}).items()
        )

    def places(self, session: str) -> set[Place]:
        """The records that a browser shows."""
        return set(self._sessions.get(session, {}).values())

    def look(self) -> None:
        """What comes to pass by waiting; to be called several times a second."""
        now = time.monotonic()
        if now < self._swept_at + SWEEP_EVERY_S:
            return
        self._swept_at = now
        for key in [key for key, (_, until) in self._screens.items() if until <= now]:
            self._leave(key)

    # ---- the seats

    def _seat(self, screen: Screen) -> None:
        key = screen.key
        known = self._screens.get(key)
        before = None if known is None else known[0]
        if before is not None and before.said_at > screen.said_at:
            return
        if before is not None and before.place != screen.place:
            self._leave(key)
        self._screens[key] = screen, time.monotonic() + KEPT_S
        self._screens.move_to_end(key)
        self._at.setdefault(screen.place, {})[key] = screen
        of_session = self._sessions.setdefault(screen.session, OrderedDict())
        of_session[key] = screen.place
        of_session.move_to_end(key)
        if before is None or (before.place, before.typing) != (screen.place, screen.typing):
            self._stir(screen.place)
        elif before.checked_at != screen.checked_at:
            # While it was in doubt whether they may, they were told nothing.
            self.on_change(screen.session, screen.place)
        if len(of_session) > SCREENS_OF_SESSION:
            self._leave(next(iter(of_session)))
        if len(self._screens) > SCREENS:
            # A tenant that floods pushes out its own, as long as it has any.
            tenant = screen.place.tenant
            own = (known for known in self._screens if known[0] == tenant and known != key)
            self._leave(next(own, next(iter(self._screens))))

    def _leave(self, key: Key) -> None:
        screen, _ = self._screens.pop(key, (None, 0.0))
        if screen is None:
            return
        there = self._at[screen.place]
        del there[key]
        if not there:
            del self._at[screen.place]
        of_session = self._sessions[screen.session]
        del of_session[key]
        if not of_session:
            del self._sessions[screen.session]
        self._stir(screen.place)

    def _fade(self, session: str) -> None:
        until = time.monotonic() + KEPT_UNHEARD_S
        for key in self._sessions.get(session, ()):
            screen, kept_until = self._screens[key]
            self._screens[key] = screen, min(until, kept_until)

    def _stir(self, place: Place) -> None:
        for session in {key[1] for key in self._at.get(place, ())}:
            self.on_change(session, place)
