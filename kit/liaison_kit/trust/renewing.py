"""What somebody may do now on whose behalf work goes on: jobs and timers ask identity again."""

import json
import time
from collections.abc import Callable

from liaison_kit.context import NOBODY, Context, Principal
from liaison_kit.trust.principals import Principals
from liaison_sdk.errors import Forbidden


class NoLongerAllowed(Forbidden):
    """Whoever started the work has left, or what they came with was taken back."""

    code, title = "no_longer_allowed", "Whoever started this may not go on with it"


def renewed(principals: Principals, question: Callable[..., bytes], signed: str) -> Principal:
    """Who this was, with their rights of now; `question` asks another service.

    Raises `NoLongerAllowed`, or `Unavailable` when identity does not answer.
    """
    asked = json.dumps({"principal": signed}).encode()
    nobody = Context(tenant=NOBODY)
    answer = json.loads(question("identity", "renew_principal", asked, nobody))
    if answer["principal"] is None:
        raise NoLongerAllowed()
    return principals.read(answer["principal"])


class Rights:
    """Asks once for as long as an answer is good, for work that comes in many pieces."""

    MOST = 1000

    def __init__(self, principals: Principals, question: Callable[..., bytes]) -> None:
        self._principals = principals
        self._question = question
        self._known: dict[str, Principal] = {}

    def __call__(self, signed: str) -> Principal:
        """Who this was, with rights that are minutes old at most."""
        known = self._known.get(signed)
        if known is None or known.expires < time.time():
            known = renewed(self._principals, self._question, signed)
            if len(self._known) >= self.MOST:
                self._known.clear()
            self._known[signed] = known
        return known
