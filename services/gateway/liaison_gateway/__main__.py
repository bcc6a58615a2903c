"""Start the gateway: `python -m liaison_gateway`."""

import gc
import logging
import sys

import uvloop

from liaison_gateway.app import serve
from liaison_kit.settings import NotSecret, settings
from liaison_kit.telemetry import start_logging, start_tracing, stop_tracing
from liaison_kit.trust.keys import NoKeys


def main() -> None:
    """Serve until a signal says stop."""
    chosen = settings()
    try:
        chosen.demand_own_secrets(database=False)
    except NotSecret as reason:
        sys.exit(str(reason))
    start_logging(chosen, "gateway")
    start_tracing(chosen, "gateway")
    # pika tells the same story as the bus does, in many more words.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # What is loaded now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        uvloop.run(serve(chosen))
    except NoKeys as reason:
        sys.exit(str(reason))
    stop_tracing()


if __name__ == "__main__":
    main()
