"""`python -m liaison_kit.forget SERVICE HANDLER`: throw away the queues of a handler that is gone.

A release that no longer has a handler leaves its queues bound, so that the release before finds in
them what it has missed when it comes back. They go on filling; the metric
`liaison_event_queues_unattended_seconds` names them, and this ends it. It runs with the settings of
the service.
"""

import argparse
import sys

from liaison_kit.database.database import Database
from liaison_kit.database.migrations import services
from liaison_kit.events import generations
from liaison_kit.settings import settings


def main(arguments: list[str]) -> int:
    """Forget one handler of one service, and say what was thrown away."""
    parser = argparse.ArgumentParser(prog="python -m liaison_kit.forget")
    parser.add_argument("service", choices=sorted(services()))
    parser.add_argument("handler", help="as the metric names it, such as on_deal_won")
    given = parser.parse_args(arguments)
    chosen = settings()
    db = Database(chosen.database, application="liaison-forget")
    try:
        messages = generations.forget(
            db, given.service, given.handler, chosen.broker, chosen.retry_delays_s
        )
    except (generations.StillAttended, generations.UnknownHandler) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        db.dispose()
    sys.stdout.write(f"{given.service}.{given.handler}: forgotten, with {messages} events\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
