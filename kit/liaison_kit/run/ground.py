"""The database and the broker that this machine's Liaison stands on: yours, or its own."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import URL, make_url

from liaison_kit.database.migrations import services
from liaison_kit.run import broker_users
from liaison_kit.run.credentials import Credentials
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import CannotStart
from liaison_kit.run.rabbitmq import RabbitMQ, answers, install, is_installed
from liaison_kit.settings import Settings


class Ground:
    """Starts what the environment does not provide, and tells each process what it needs of it.

    `DATABASE_URL` and `AMQP_URL` name servers of your own. Without them PostgreSQL comes from a
    wheel, and RabbitMQ is a private node.
    """

    def __init__(
        self, settings: Settings, parties: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.folder = settings.run_dir.resolve()
        self.credentials = Credentials(self.folder)
        self.postgres: Postgres | None = None
        self.rabbitmq: RabbitMQ | None = None
        self._parties = parties
        self._say = say

    @property
    def logs(self) -> Path:
        """Where every process writes its log."""
        return self.folder / "logs"

    @property
    def server(self) -> URL:
        """PostgreSQL, for who may make roles and databases there."""
        return self.settings.database if self.postgres is None else make_url(self.postgres.url)

    def start_database(self) -> None:
        """Start PostgreSQL unless `DATABASE_URL` names one."""
        if self._is_given("database_url"):
            self._say(
                "The database server is yours (DATABASE_URL): each service gets a role and a"
                " database of its own there; from who else may enter it they aren't held apart."
            )
            return
        self.postgres = Postgres(self.folder / "postgres", log=self.logs / "postgres.log")
        self.postgres.start()

    def launch_broker(self) -> None:
        """Begin to start RabbitMQ unless there is a broker to use; `wait_for_broker` ends it."""
        if self._is_given("amqp_url"):
            if not answers(self.settings.broker):
                raise CannotStart("The broker that AMQP_URL names does not answer.")
            self._say(
                "The broker is yours (AMQP_URL) and all services share its user: they aren't held"
                " apart there. docs/operations/security.md says how to give each its own."
            )
            return
        if not is_installed():
            self._say("Installing RabbitMQ from the system's packages …")
            install()
        self.rabbitmq = RabbitMQ(
            self.folder / "rabbitmq",
            log=self.logs / "rabbitmq.log",
            users={name: self.credentials.broker_password(name) for name in self._parties},
            needs=broker_users.installed(),
        )
        self.rabbitmq.launch()

    def wait_for_broker(self) -> None:
        """Wait until the broker lets us in."""
        if self.rabbitmq:
            self.rabbitmq.wait()

    def environment(self, party: str) -> dict[str, str]:
        """What one service, or the gateway, must be told about this ground, and no more."""
        told = {"LIAISON_RUN_DIR": str(self.folder), **self.credentials.environment(party)}
        if party in services():
            told["DATABASE_URL"] = _text(self.credentials.roles(party, self.server).service)
        if self.rabbitmq:
            told["AMQP_URL"] = self.credentials.broker_url(party, self.rabbitmq.url)
            told["LIAISON_DECLARE_EXCHANGES"] = "false"
        else:
            told["AMQP_URL"] = self.settings.broker
        return told

    def migrations_environment(self) -> dict[str, str]:
        """What migrations must be told: they may do anything to the databases."""
        return {
            "LIAISON_RUN_DIR": str(self.folder),
            "LIAISON_DATABASE_SERVER_URL": _text(self.server),
        }

    def keep_up(self) -> None:
        """Start again whatever of the ground has died."""
        if self.postgres and self.postgres.pid is None:
            self._say("PostgreSQL died; starting it again.")
            self.postgres.start()
        if self.rabbitmq and self.rabbitmq.pid is None:
            self._say("RabbitMQ died; starting it again.")
            self.rabbitmq.start()

    def stop(self) -> None:
        """Stop what was started."""
        if self.rabbitmq:
            self.rabbitmq.stop()
        if self.postgres:
            self.postgres.stop()

    def _is_given(self, setting: str) -> bool:
        return setting in self.settings.model_fields_set


def _text(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
