"""Answering: what happens for every operation, around the method that it is declared on.

Decode and validate, check permission and tenant, open one transaction, call the method, commit,
then reply. It never raises: what goes wrong becomes the reply.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import psycopg2
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from liaison_kit.calls import idempotency
from liaison_kit.calls.arguments import arguments_of
from liaison_kit.calls.operations import Operation
from liaison_kit.calls.outside import Known, doing, knows
from liaison_kit.calls.wire import Accepted, Call, Download, Raw, Reply, problem
from liaison_kit.context import NOBODY, CallerLeft, Context, Principal
from liaison_kit.database import bad_values
from liaison_kit.database.faults import took_too_long
from liaison_kit.process.metrics import EXPIRED, OPERATION_SECONDS, OPERATIONS, REFUSED
from liaison_kit.records import files
from liaison_kit.telemetry import SpanKind, log, span, trace_id
from liaison_kit.trust.principals import NotVouchedFor
from liaison_kit.trust.sealing import unseal
from liaison_sdk.errors import (
    LiaisonError,
    TookTooLong,
    Unauthenticated,
    Unavailable,
)

DRIVER_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)


def answer(operation: Operation, service: Any, call: Call) -> Reply:
    """Do the whole of it; never raises: what goes wrong becomes the reply."""
    started = time.perf_counter()
    meta = call.meta
    name = f"{service.name}.{operation.name}"
    with span(name, meta.get("traceparent"), SpanKind.SERVER) as traceparent:
        try:
            reply = _run(operation, service, call, traceparent)
        except CallerLeft as error:
            EXPIRED.labels(service.name).inc()
            reply = problem(error, traceparent)
        except LiaisonError as error:
            reply = problem(error, traceparent)
        except (DataError, psycopg2.DataError, ValueError) as error:
            refused = bad_values.named(error)
            if refused is None:
                reply = _broken(operation, error, name, traceparent)
            else:
                reply = problem(refused, traceparent)
        except (OperationalError, InterfaceError, PoolTimeout, *DRIVER_LOST) as error:
            if took_too_long(error):
                log.warning("a statement took too long", operation=name)
                reply = problem(
                    TookTooLong(f"{service.name} needed too long for this"), traceparent
                )
            elif bad_values.is_over_a_limit(error):
                reply = _broken(operation, error, name, traceparent)
            else:
                log.warning("database unavailable", operation=name, error=type(error).__name__)
                down = Unavailable(f"The database of {service.name} does not answer")
                reply = problem(down, traceparent)
                reply.headers["Retry-After"] = "2"
        except Exception as error:
            reply = _broken(operation, error, name, traceparent)
    OPERATIONS.labels(service.name, operation.name, str(reply.status)).inc()
    OPERATION_SECONDS.labels(service.name, operation.name).observe(time.perf_counter() - started)
    return reply


def _broken(operation: Operation, error: Exception, name: str, traceparent: str | None) -> Reply:
    # The message of such an error quotes values, which may be personal data.
    quotes = isinstance(error, StatementError | psycopg2.Error | ValidationError | UnicodeError)
    log.error(
        "operation failed",
        operation=name,
        error=type(error).__name__,
        detail=None if quotes else str(error),
        sqlstate=bad_values.sqlstate(error),
        where=_where(error),
        trace_id=trace_id(traceparent),
    )
    return problem(LiaisonError(), traceparent)


def _run(operation: Operation, service: Any, call: Call, traceparent: str | None) -> Reply:
    about = _context(operation, service, call.meta, traceparent)
    about.deadline = call.meta.get("deadline")
    about.demand_time()
    if operation.sealed:
        call = Call(call.meta, unseal(service.keys, operation.name, call.body))
    arguments = arguments_of(operation, call)
    if operation.principal is not None:
        arguments[operation.principal] = about.principal
    if operation.session is None:
        return _reply(operation, operation.function(service, **arguments))
    if operation.reads:
        return doing(
            service.ask, about, lambda known: _read(operation, service, about, arguments, known)
        )

    def write(known: Known) -> Reply:
        return _write(operation, service, call, about, arguments, known)

    try:
        return doing(service.ask, about, write)
    except DBAPIError as error:
        # Nothing was committed; the server was restarted, and a fresh connection will do.
        if not error.connection_invalidated or about.committing:
            raise
    return doing(service.ask, about, write)


def _read(
    operation: Operation, service: Any, about: Context, arguments: dict[str, Any], known: Known
) -> Reply:
    assert operation.session is not None
    with service.db.reading(about, strictly=True) as session:
        knows(session, known)
        arguments[operation.session] = session
        return _reply(operation, operation.function(service, **arguments))


def _write(
    operation: Operation,
    service: Any,
    call: Call,
    about: Context,
    arguments: dict[str, Any],
    known: Known,
) -> Reply:
    assert operation.session is not None
    key = call.meta.get("idempotency_key")
    with service.db.session(about) as session:
        knows(session, known)
        if key:
            earlier = idempotency.claim(session, key, operation.name, call)
            if earlier is not None:
                if operation.upload is not None:
                    files.drop(session, arguments[operation.upload].id)
                    session.commit()
                return earlier
        arguments[operation.session] = session
        reply = _reply(operation, operation.function(service, **arguments))
        if key:
            idempotency.remember(session, key, reply)
        session.flush()
        about.committing = True
        session.commit()
        return reply


def _context(
    operation: Operation, service: Any, meta: Mapping[str, Any], traceparent: str | None
) -> Context:
    given = meta.get("principal")
    if given is None:
        if not operation.public:
            raise Unauthenticated()
        return Context(tenant=NOBODY, traceparent=traceparent)
    try:
        principal: Principal = service.principals.read(given)
    except NotVouchedFor as refused:
        REFUSED.labels(service.name, "call", refused.reason).inc()
        log.warning("call refused", operation=operation.name, reason=refused.reason)
        raise
    if operation.allow is not None:
        principal.demand(operation.allow)
    return Context(tenant=principal.tenant, principal=principal, traceparent=traceparent)


def _reply(operation: Operation, result: Any) -> Reply:
    if isinstance(result, Raw):
        reply = Reply(operation.status, result.body)
        if result.version is not None:
            reply.headers["ETag"] = f'"{result.version}"'
        return reply
    if isinstance(result, Reply):
        return result
    if result is None:
        return Reply(204)
    if isinstance(result, Accepted):
        location = f"/api/v1/jobs/{result.job_id}"
        body = json.dumps({"job": str(result.job_id)}).encode()
        return Reply(202, body, {"Location": location})
    if isinstance(result, Download):
        headers = {"Content-Disposition": _disposition(result.name)}
        reply = Reply(200, result.body, headers, result.content_type)
        if result.stored is not None:
            reply.extra = {"upload": str(result.stored), "parts": result.parts}
        return reply
    if isinstance(result, BaseModel):
        return Reply(operation.status, result.model_dump_json().encode())
    return Reply(operation.status, json.dumps(result, default=str).encode())


def _disposition(name: str) -> str:
    from urllib.parse import quote

    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"
