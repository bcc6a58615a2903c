"""Processes of Liaison's services, forked from one that has all of them imported.

To import a service takes seconds, in which a test of many kills would do nothing else. Leases are
short here: who has died is waited for as long as they last.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "kit" / "tests"))

from forked import take_orders

from liaison_kit import serve
from liaison_kit.database.migrations import services

QUICK = {
    "liaison_connect.sending.CLAIMED_S": 2,
    "liaison_connect.sending.HANDED_S": 4,
    "liaison_kit.events.relay.RESCUE_AFTER_S": 2,
    "liaison_kit.events.relay.HOUSEKEEPING_S": 1.0,
    "liaison_kit.jobs.runner.LEASE_S": 3,
    "liaison_kit.jobs.runner.RENEW_S": 1,
    "liaison_kit.jobs.work.LEASE_S": 3,
    "liaison_kit.timers.queue.LEASE_S": 2.0,
    "liaison_kit.timers.runner.RENEW_S": 0.5,
}


def main() -> None:
    """Serve what the order names."""
    serve.main([os.environ["TEST_SERVICE"]])


if __name__ == "__main__":
    for service in ("contacts", "connect", "sales"):
        import_module(services()[service].partition(":")[0])
    for name, value in QUICK.items():
        module, _, constant = name.rpartition(".")
        assert hasattr(import_module(module), constant), name
        setattr(import_module(module), constant, value)
    take_orders(main)
