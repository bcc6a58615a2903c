"""Kills: how many there are, what dies at which, and how a database dies.

`LIAISON_KILLS=200` makes them many.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence

from liaison_kit.database.database import Database
from liaison_kit.run.postgres import Postgres

KILLS = int(os.environ.get("LIAISON_KILLS", "20"))

Act = Callable[[], None]


def kills(
    often: Sequence[Act], rare: Sequence[Act], number: int = KILLS, every: int = 5
) -> Iterator[Act]:
    """What happens at each kill: of so many one is rare, and those take turns, so that none of
    them is left out; the others are drawn, the same ones in each run."""
    chance = random.Random(number)
    for kill in range(1, number + 1):
        turn, is_often = divmod(kill, every)
        yield chance.choice(often) if is_often else rare[turn % len(rare)]


def kill_database(server: Postgres, *users: Database) -> None:
    """Let the server die as in a power cut, and start it; nobody keeps a connection to it."""
    for user in users:
        user.dispose()
    server.kill()
    server.start()
    for user in users:
        user.dispose()
