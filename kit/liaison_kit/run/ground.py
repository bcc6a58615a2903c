"""The database and the broker that this machine's Liaison stands on: yours, or its own."""

from collections.abc import Callable
from pathlib import Path

from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import CannotStart, kept_secret
from liaison_kit.run.rabbitmq import LOCAL_BROKER, RabbitMQ, answers, install, is_installed
from liaison_kit.settings import Settings


class Ground:
    """Starts what the environment does not provide, and tells the processes where it all is.

    `DATABASE_URL` and `AMQP_URL` name servers of your own. Without them PostgreSQL comes from a
    wheel, and RabbitMQ is the broker at its usual address on this machine, else a private node.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.folder = settings.run_dir.resolve()
        self.postgres: Postgres | None = None
        self.rabbitmq: RabbitMQ | None = None
        self._say = say

    @property
    def logs(self) -> Path:
        """Where every process writes its log."""
        return self.folder / "logs"

    def start_database(self) -> None:
        """Start PostgreSQL unless `DATABASE_URL` names one."""
        if "database_url" in self.settings.model_fields_set:
            return
        self.postgres = Postgres(self.folder / "postgres", log=self.logs / "postgres.log")
        self.postgres.start()

    def launch_broker(self) -> None:
        """Begin to start RabbitMQ unless there is a broker to use; `wait_for_broker` ends it."""
        if "amqp_url" in self.settings.model_fields_set:
            if not answers(self.settings.amqp_url):
                raise CannotStart("The broker that AMQP_URL names does not answer.")
            return
        own = self.folder / "rabbitmq"
        # Once there is a node of our own, its queues hold what is still to be delivered.
        if not own.exists() and answers(LOCAL_BROKER):
            self._say("Using the RabbitMQ that runs on this machine already.")
            return
        if not is_installed():
            self._say("Installing RabbitMQ from the system's packages …")
            install()
        self.rabbitmq = RabbitMQ(own, log=self.logs / "rabbitmq.log")
        self.rabbitmq.launch()

    def wait_for_broker(self) -> None:
        """Wait until the broker lets us in."""
        if self.rabbitmq:
            self.rabbitmq.wait()

    def environment(self) -> dict[str, str]:
        """What the processes must be told about this ground."""
        told = {"LIAISON_RUN_DIR": str(self.folder)}
        if self.postgres:
            told["DATABASE_URL"] = self.postgres.url
        told["AMQP_URL"] = self.rabbitmq.url if self.rabbitmq else self.settings.amqp_url
        for field in ("secret_key", "database_password"):
            if field not in self.settings.model_fields_set:
                told[f"LIAISON_{field.upper()}"] = kept_secret(self.folder / field)
        return told

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
