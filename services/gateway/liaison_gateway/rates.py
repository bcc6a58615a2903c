"""Rates: each request is charged to somebody before it costs anything.

Who is known by their token pays alone, with all of their tokens together. An address pays for
those who have none, and, apart from that, for tokens that nobody has vouched for: so neither
strangers nor guessers who share an address with somebody slow them down.
"""

import time
from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from liaison_gateway.problems import OverRate

KEYS_REMEMBERED = 50_000
TURNED_AWAY_FOR_S = 60.0
_IPV6_SITE = (1 << 64) - 1

Key = bytes | str | tuple[str, bool]


class Buckets:
    """A token bucket per key, as the one time at which it will be full again (GCRA).

    A whole minute's worth may come at once; after that they come at the steady rate.
    `per_minute` 0 lets everything in.
    """

    def __init__(self, per_minute: int, what: str) -> None:
        self._per_minute = per_minute
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._what = what
        self._full_at: dict[Key, float] = {}

    def take(self, key: Key) -> None:
        """Let one request in or raise `OverRate`."""
        if not self._per_minute:
            return
        now = time.monotonic()
        full_at = self._full_at.get(key, 0.0)
        if full_at < now:
            full_at = now
        wait = full_at + self._interval - now - 60.0
        if wait > 1e-9:
            raise self.refusal(wait)
        if len(self._full_at) >= KEYS_REMEMBERED:
            self._forget(now)
        self._full_at[key] = full_at + self._interval

    def give_back(self, key: Key) -> None:
        """Take back what was taken for a request that was no such one."""
        if key in self._full_at:
            self._full_at[key] -= self._interval

    def refusal(self, wait: float = 1.0) -> OverRate:
        """What somebody is told who is over the rate."""
        return OverRate(self._what, limit_per_minute=self._per_minute, retry_after_s=wait)

    def _forget(self, now: float) -> None:
        full = [key for key, full_at in self._full_at.items() if full_at <= now]
        # When every caller is busy, the oldest make room: memory stays bounded.
        for key in full or list(self._full_at)[: KEYS_REMEMBERED // 10]:
            del self._full_at[key]


class Rates:
    """What tokens and addresses have left."""

    def __init__(self, per_minute: int) -> None:
        # Guests share addresses, but none of them has much to ask before signing in.
        fewer = max(60, per_minute // 10) if per_minute else 0
        few = max(10, per_minute // 100) if per_minute else 0
        # Or whoever has many tokens would have as many limits.
        self._by_user = Buckets(per_minute, "You have made too many requests.")
        self._by_address = Buckets(fewer, "Too many requests from this address.")
        self._sign_ins = Buckets(few, "Too many sign-ins from this address.")
        self._guesses = Buckets(fewer, "Too many unknown tokens from this address.")
        self._second_looks = Buckets(few, "Too many unknown tokens from this address.")
        self._met: OrderedDict[bytes, str] = OrderedDict()
        self._turned_away: OrderedDict[bytes, float] = OrderedDict()

    def charge_user(self, user: str) -> None:
        """A request of somebody known, whichever of their tokens they came with."""
        self._by_user.take(user)

    def charge_token(self, token_hash: bytes) -> None:
        """A request with a token that has been met: its user pays."""
        self._by_user.take(self._met[token_hash])

    def charge_address(self, address: str) -> None:
        """A request of nobody in particular."""
        self._by_address.take(address)

    def charge_sign_in(self, address: str) -> None:
        """Somebody tries a password."""
        self._sign_ins.take(address)

    def charge_guess(self, address: str, token_hash: bytes) -> bool:
        """Somebody comes with a token that has to be looked up; whether it is a second look.

        Whoever is new at an address whose guesses are used up is looked at as well, within a small
        allowance; who was turned away and comes back has one that made-up tokens don't use up,
        since those don't come twice.
        """
        try:
            self._guesses.take(address)
        except OverRate:
            came_back = self._turned_away.pop(token_hash, 0.0) > time.monotonic()
            try:
                self._second_looks.take((address, came_back))
            except OverRate:
                self._turn_away(token_hash)
                raise
            return True
        return False

    def guessed_right(
        self, address: str, token_hash: bytes, user: str, *, second_look: bool
    ) -> None:
        """It was no guess: the token is somebody's, who pays with it from now on."""
        if not second_look:
            self._guesses.give_back(address)
        self.meet(token_hash, user)
        self.charge_user(user)

    def guessed_wrong(self, *, second_look: bool) -> None:
        """It was one; raises `OverRate` when the address had used up its guesses before."""
        if second_look:
            raise self._guesses.refusal()

    def has_met(self, token_hash: bytes) -> bool:
        """Whether the token was somebody's the last time that it was looked up."""
        return token_hash in self._met

    def meet(self, token_hash: bytes, user: str) -> None:
        """The token is this user's."""
        self._met[token_hash] = user
        self._met.move_to_end(token_hash)
        if len(self._met) > KEYS_REMEMBERED:
            self._met.popitem(last=False)

    def forget(self, token_hash: bytes) -> None:
        """The token is nobody's any more."""
        self._met.pop(token_hash, None)

    def _turn_away(self, token_hash: bytes) -> None:
        self._turned_away[token_hash] = time.monotonic() + TURNED_AWAY_FOR_S
        if len(self._turned_away) > KEYS_REMEMBERED:
            self._turned_away.popitem(last=False)


@lru_cache(maxsize=10_000)
def payer_at(host: str) -> str:
    """The address that pays for a host: of IPv6 the whole site, which may have 2⁶⁴ of them."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) & ~_IPV6_SITE))
