"""The ops port of a service process: metrics and health."""

from collections.abc import Callable, Iterable
from typing import Any

from eventlet import listen, wsgi
from prometheus_client import make_wsgi_app
from sqlalchemy import text

from liaison_kit.telemetry import log


class Health:
    """Whether this process lives, and whether it is ready to work."""

    def __init__(self, service: type[Any]) -> None:
        self._service = service
        self.started = False
        self.consumes: Callable[[], bool] = lambda: True
        """Whether calls and events reach this process, as far as it plays those roles."""

    def ready(self) -> tuple[bool, str]:
        """Ready means started, with a database that answers."""
        if not self.started:
            return False, "starting"
        if not self.consumes():
            return False, "broker: nothing is consumed"
        try:
            with self._service.db.connection() as connection:
                connection.execute(text("SELECT 1"))
        except Exception as error:
            return False, f"database: {type(error).__name__}"
        return True, "ready"


def serve(host: str, port: int, health: Health) -> None:
    """Answer /metrics, /health/live and /health/ready for as long as the process lives."""
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start)  # type: ignore[no-any-return]
        if path == "/health/live":
            ok, said = True, "live"
        elif path == "/health/ready":
            ok, said = health.ready()
        else:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found\n"]
        start("200 OK" if ok else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [said.encode() + b"\n"]

    try:
        wsgi.server(listen((host, port)), app, log_output=False, debug=False)
    except OSError as error:
        log.error("ops port not available", host=host, port=port, error=str(error))
