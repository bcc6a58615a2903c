"""Settings: everything that an operator may set, read from the environment, in one place."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from sqlalchemy import URL


class Settings(BaseSettings):
    """What a Liaison process needs to know; each field is the environment variable
    `LIAISON_<FIELD>`.

    `DATABASE_URL` and `AMQP_URL` keep the names that platforms give them.
    """

    model_config = SettingsConfigDict(env_prefix="LIAISON_", extra="ignore", frozen=True)

    database_url: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="DATABASE_URL",
        description="This service's own database, under the role that the service works as. For"
        " `make run`: a server where it may create roles and databases.",
    )
    database_owner_url: SecretStr = Field(
        default=SecretStr(""),
        description="The same database under the role that owns it: for `migrate`, and for nobody"
        " else.",
    )
    database_server_url: SecretStr = Field(
        default=SecretStr(""),
        description="For `migrate`: a role that may create the two roles and the database where"
        " they are missing. Unset, whoever runs PostgreSQL has made them.",
    )
    amqp_url: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="AMQP_URL",
        description="RabbitMQ, under a user of this service's own.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="This process's own secret: it signs cookies and CSRF tokens, seals lists'"
        " cursors, and hides what idempotency keys were used for.",
    )
    declare_exchanges: bool = Field(
        default=True,
        description="Whether processes make the exchanges that all share. Not where whoever runs"
        " the broker has made them, and services may not.",
    )
    key_file: Path = Field(
        default=Path("private.json"),
        description="This service's private keys, a JWK set that only it may read"
        " (`liaison_kit.trust.keys`).",
    )
    trust_dir: Path = Field(
        default=Path("trusted"),
        description="Folder with the public keys of every service and of the gateway, a JWK set"
        " each.",
    )
    run_dir: Path = Field(
        default=Path(".run"), description="Where `make run` keeps its data, logs and sockets."
    )
    http_host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    http_port: int = Field(default=8080, description="Port that the gateway listens on.")
    ops_host: str = Field(
        default="127.0.0.1", description="Address that /metrics and /health listen on."
    )
    ops_port: int = Field(
        default=0, description="Port of this process for /metrics and /health; 0 turns them off."
    )
    roles: str = Field(
        default="rpc,events,relay,jobs",
        description="Which parts of a service this process runs, separated by commas.",
    )
    pool_size: int = Field(default=4, description="Database connections of a process, per pool.")
    job_pool_size: int = Field(
        default=4, description="Database connections that a process's jobs have for themselves."
    )
    statement_timeout_s: float = Field(
        default=30.0, gt=0, description="How long one statement of a request or an event may run."
    )
    job_statement_timeout_s: float = Field(
        default=600.0, gt=0, description="How long one statement of a job may run."
    )
    max_workers: int = Field(default=16, description="Operations that a process runs at once.")
    request_timeout_s: float = Field(
        default=10.0, description="How long the gateway waits for a module's answer, in seconds."
    )
    search_within_s: float = Field(
        default=1.5,
        gt=0,
        description="How long a search over all modules waits for the slowest of them, in seconds.",
    )
    hung_after_s: float = Field(
        default=2.0,
        description="After how long without a sign of life a module's process counts as hung.",
    )
    rate_limit_per_minute: int = Field(
        default=6000, description="Requests per minute that one user may make; 0 means no limit."
    )
    body_limit_bytes: int = Field(default=1 << 20, description="Largest JSON body, in bytes.")
    body_timeout_s: float = Field(
        default=30.0,
        description="How long a JSON body may take to arrive, in seconds; a file as long before it"
        " has to come at 16 KiB a second.",
    )
    upload_limit_bytes: int = Field(default=64 << 20, description="Largest file, in bytes.")
    uploads_at_once: int = Field(
        default=8, ge=1, description="Files that one token may be sending at once, per gateway."
    )
    upload_quota_bytes: int = Field(
        default=1 << 30,
        description="What a tenant's uploads may hold in a service before a record has claimed"
        " them, in bytes.",
    )
    queue_type: Literal["classic", "quorum"] = Field(
        default="classic", description="`quorum` where the broker is a cluster."
    )
    event_shards: int = Field(
        default=1, ge=1, le=16, description="Queues per event handler; each keeps its own order."
    )
    retry_delays_s: tuple[float, ...] = Field(
        default=(1.0, 10.0, 60.0, 600.0),
        description="How long a failing event waits before each further try, in seconds.",
    )
    hook_timeout_s: float = Field(
        default=0.5, description="How long one plugin may take to answer a hook, in seconds."
    )
    otlp_endpoint: str | None = Field(
        default=None, description="OTLP/HTTP collector for traces; unset turns tracing off."
    )
    trace_sample: float = Field(
        default=1.0, ge=0, le=1, description="Share of new traces that are recorded."
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    public_url: str = Field(
        default="",
        description="Where people reach Liaison, as in https://crm.example.com: links in messages"
        " begin with it. Unset, it is the address that the gateway listens on.",
    )
    flow_runs_kept_days: int = Field(
        default=365,
        ge=0,
        description="For how many days runs of flows are kept with their logs once they have"
        " ended; 0 is for good. The figures of flows count what is kept.",
    )
    message_bodies_kept_days: int = Field(
        default=365,
        ge=0,
        description="For how many days what messages said is kept once they have ended; 0 is for"
        " good. After that they can't be sent again.",
    )
    messages_kept_days: int = Field(
        default=0,
        ge=0,
        description="For how many days it is kept that messages were sent; 0 is for good.",
    )
    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="The server that mail is sent by, for connect only:"
        " smtp://user:password@host:587 asks for STARTTLS, smtps://… speaks TLS from the start, and"
        " ?tls=off neither. ?ca=FILE trusts this authority.",
    )
    mail_from: str = Field(
        default="", description="Who mail comes from, as in: Helios <no-reply@helios.example>."
    )
    mail_folder: Path | None = Field(
        default=None,
        description="Where mail is written while no LIAISON_SMTP_URL is set, for developers to"
        " read. With neither it waits in the ledger.",
    )
    session_hours: int = Field(default=12, description="How long a sign-in lasts, in hours.")

    @property
    def database(self) -> "URL":
        """Where the service's own database is."""
        return _driven(self.database_url)

    @property
    def owned_database(self) -> "URL":
        """The same, for who may change its tables."""
        return _driven(self.database_owner_url)

    @property
    def database_server(self) -> "URL | None":
        """The server, for who may create roles and databases, where somebody may."""
        given = self.database_server_url
        return _driven(given) if given.get_secret_value() else None

    @property
    def public_address(self) -> str:
        """What links in messages begin with; never what a request says that it was sent to."""
        return self.public_url.rstrip("/") or f"http://{self.http_host}:{self.http_port}"

    @property
    def broker(self) -> str:
        """Where RabbitMQ is."""
        return self.amqp_url.get_secret_value()

    def demand_own_secrets(self, *, database: bool = True) -> None:
        """Raise `NotSecret` when a process would start without secrets of its own."""
        wanted = {"AMQP_URL": self.amqp_url, "LIAISON_SECRET_KEY": self.secret_key}
        if database:
            wanted["DATABASE_URL"] = self.database_url
        missing = [name for name, given in wanted.items() if not given.get_secret_value()]
        if missing:
            raise NotSecret(f"Set {' and '.join(missing)}: there is no default that anybody knows.")
        if urlsplit(self.broker).username in (None, "guest"):
            raise NotSecret("AMQP_URL names RabbitMQ's user guest: give this service its own.")
        if len(self.secret_key.get_secret_value()) < SHORTEST_SECRET:
            raise NotSecret(f"LIAISON_SECRET_KEY has to have {SHORTEST_SECRET} characters or more.")


class NotSecret(Exception):
    """A secret is missing, or is one that everybody knows; the message says what to set."""


SHORTEST_SECRET = 24


def _driven(url: SecretStr) -> "URL":
    # The gateway, which has no database, need not load what reads such addresses.
    from sqlalchemy import make_url

    return make_url(url.get_secret_value()).set(drivername="postgresql+psycopg2")


@cache
def settings() -> Settings:
    """This process's settings, read once."""
    return Settings()
