"""Settings: everything that an operator may set, read from the environment, in one place."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a Liaison process needs to know; each field is the environment variable
    `LIAISON_<FIELD>`.

    `DATABASE_URL` and `AMQP_URL` keep the names that platforms give them.
    """

    model_config = SettingsConfigDict(env_prefix="LIAISON_", extra="ignore", frozen=True)

    database_url: str = Field(
        default="postgresql://postgres@127.0.0.1:5432/postgres",
        validation_alias="DATABASE_URL",
        description="PostgreSQL server. `migrate` needs a role that may create roles and databases;"
        " services swap in their own role and their own database `liaison_<service>`.",
    )
    amqp_url: str = Field(
        default="amqp://guest:guest@127.0.0.1:5672/%2F",
        validation_alias="AMQP_URL",
        description="RabbitMQ broker.",
    )
    database_password: SecretStr = Field(
        default=SecretStr("liaison"), description="Password of the services' database roles."
    )
    secret_key: SecretStr = Field(
        default=SecretStr("liaison-development-only"),
        description="Signs cookies and CSRF tokens. Set your own anywhere but on your own machine.",
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
    max_workers: int = Field(default=16, description="Operations that a process runs at once.")
    request_timeout_s: float = Field(
        default=10.0, description="How long the gateway waits for a module's answer, in seconds."
    )
    rate_limit_per_minute: int = Field(
        default=6000, description="Requests per minute that one user may make; 0 means no limit."
    )
    body_limit_bytes: int = Field(default=1 << 20, description="Largest JSON body, in bytes.")
    upload_limit_bytes: int = Field(default=64 << 20, description="Largest file, in bytes.")
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
    session_hours: int = Field(default=12, description="How long a sign-in lasts, in hours.")


@cache
def settings() -> Settings:
    """This process's settings, read once."""
    return Settings()
