"""Start the gateway: `python -m liaison_gateway`."""

import gc
import logging

import uvloop

from liaison_gateway.app import serve
from liaison_kit.settings import settings
from liaison_kit.telemetry import start_logging, start_tracing, stop_tracing


def main() -> None:
    """Serve until a signal says stop."""
    chosen = settings()
    chosen.demand_own_secrets(database=False)
    start_logging(chosen, "gateway")
    start_tracing(chosen, "gateway")
    # pika tells the same story as the bus does, in many more words.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # What is loaded now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    uvloop.run(serve(chosen))
    stop_tracing()


if __name__ == "__main__":
    main()
