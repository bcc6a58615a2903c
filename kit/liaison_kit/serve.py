"""`python -m liaison_kit.serve SERVICE [--roles rpc,events,relay,jobs]`: one service process."""

import eventlet

# Before anything else is imported: what is imported unpatched stays unpatched.
eventlet.monkey_patch()

import argparse
import gc
import os
import signal
import sys
from importlib import import_module

import nameko
from eventlet.support.psycopg2_patcher import make_psycopg_green
from nameko.runners import ServiceRunner

from liaison_kit.calls.serving import OperationConsumer
from liaison_kit.database.migrations import services
from liaison_kit.events.handlers import EventConsumer
from liaison_kit.process import ops
from liaison_kit.settings import NotSecret, settings
from liaison_kit.telemetry import log, start_logging, start_tracing, stop_tracing, trace_sql
from liaison_kit.trust.keys import NoKeys


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM or SIGINT, then end what is in hand and stop."""
    parser = argparse.ArgumentParser(prog="liaison serve")
    parser.add_argument("service", choices=sorted(services()))
    parser.add_argument("--roles", help="parts to play, separated by commas (default: all)")
    given = parser.parse_args(arguments)
    if given.roles:
        os.environ["LIAISON_ROLES"] = given.roles
    chosen = settings()
    try:
        chosen.demand_own_secrets()
    except NotSecret as reason:
        sys.exit(str(reason))
    make_psycopg_green()
    start_logging(chosen, given.service)
    start_tracing(chosen, given.service)
    nameko.config.setup(
        {
            "AMQP_URI": chosen.broker,
            "max_workers": chosen.max_workers,
            "heartbeat": 30,
            "prefetch_count": chosen.max_workers,
        }
    )
    module, _, name = services()[given.service].partition(":")
    service = getattr(import_module(module), name)
    try:
        service.open(chosen)
    except NoKeys as reason:
        sys.exit(str(reason))
    for engine in service.db.engines:
        trace_sql(engine)
    runner = ServiceRunner()
    runner.add_service(service)

    def stop(_signal: int, _frame: object) -> None:
        # The handler interrupts some greenlet; stopping needs one of its own.
        eventlet.spawn_n(_stop, runner)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    health = ops.Health(service)
    if chosen.ops_port:
        eventlet.spawn_n(ops.serve, chosen.ops_host, chosen.ops_port, health)
    runner.start()
    shared = next(iter(runner.containers)).shared_extensions
    events, calls = shared.get(EventConsumer), shared.get(OperationConsumer)
    health.consumes = lambda: (
        (events is None or events.consuming()) and (calls is None or calls.consuming())
    )
    # What has been imported lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    health.started = True
    log.info("serving", service=given.service, roles=chosen.roles, pid=os.getpid())
    runner.wait()
    service.db.dispose()
    stop_tracing()
    log.info("stopped", service=given.service)


def _stop(runner: ServiceRunner) -> None:
    with eventlet.Timeout(20, False):
        runner.stop()
        return
    runner.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
