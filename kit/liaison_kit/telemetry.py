"""What a process tells about itself: metrics, traces, logs.

Traces travel as W3C `traceparent` texts, in AMQP headers and in event envelopes. Without a
collector (`LIAISON_OTLP_ENDPOINT`) no span is made and the traceparent is passed on as it came.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from liaison_kit.settings import Settings

_propagator = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None
_shutdown: Any = None


def start_tracing(settings: Settings, process: str) -> None:
    """Send this process's spans to the collector, if one is set."""
    global _tracer, _shutdown
    if not settings.otlp_endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.trace_sample),
        resource=Resource.create({"service.name": f"liaison-{process}"}),
    )
    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=1000)
    )
    _tracer = provider.get_tracer("liaison")
    _shutdown = provider.shutdown


def stop_tracing() -> None:
    """Send what is left."""
    if _shutdown is not None:
        _shutdown()


def tracing() -> bool:
    """Whether spans are recorded at all."""
    return _tracer is not None


@contextmanager
def span(
    name: str,
    traceparent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    **attributes: str | int,
) -> Iterator[str | None]:
    """A piece of work as a span, under the caller's; yields the traceparent to hand on."""
    if _tracer is None:
        yield traceparent
        return
    parent: TraceContext | None = None
    if traceparent:
        parent = _propagator.extract({"traceparent": traceparent})
    with _tracer.start_as_current_span(
        name, context=parent, kind=kind, attributes=attributes
    ) as current:
        try:
            yield traceparent_of(current)
        except Exception as error:
            current.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def traceparent_of(span: Span) -> str:
    """The W3C text that names this span."""
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def trace_id(traceparent: str | None) -> str | None:
    """The trace's id within a traceparent."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else None


def trace_sql(engine: Any) -> None:
    """Make a span of every statement that the engine runs, when tracing is on.

    The statement's text is recorded without its values: they may be personal data.
    """
    if _tracer is None:
        return
    from sqlalchemy import event

    def before(conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        assert _tracer is not None
        verb = statement.rsplit("SET LOCAL liaison.tenant", 1)[-1].split(";", 1)[-1].split(None, 1)
        started = _tracer.start_span(
            f"sql {verb[0].lower() if verb else 'statement'}",
            kind=SpanKind.CLIENT,
            attributes={"db.system": "postgresql", "db.statement": statement[:2000]},
        )
        conn.info.setdefault("spans", []).append(started)

    def after(conn: Any, *_rest: Any) -> None:
        spans = conn.info.get("spans")
        if spans:
            spans.pop().end()

    def failed(context: Any) -> None:
        spans = context.connection.info.get("spans") if context.connection is not None else None
        if spans:
            failed_span = spans.pop()
            failed_span.set_status(StatusCode.ERROR)
            failed_span.end()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def start_logging(settings: Settings, process: str) -> None:
    """Write logs as JSON lines on standard error, one fact a line, with the trace's id."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


log = structlog.get_logger()

__all__ = [
    "SpanKind",
    "log",
    "span",
    "start_logging",
    "start_tracing",
    "stop_tracing",
    "trace_id",
    "trace_sql",
    "traceparent_of",
    "tracing",
]
