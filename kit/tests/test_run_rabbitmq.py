"""The private RabbitMQ node starts, stops, survives a kill, and listens to this machine only."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pika
import psutil
import pytest

from liaison_kit.run import rabbitmq
from liaison_kit.run.process import CannotStart, wait_until
from liaison_kit.run.rabbitmq import RabbitMQ, answers, install


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    node = RabbitMQ(tmp_path_factory.mktemp("rabbitmq")).start()
    yield node
    node.stop()


def send(url: str, queue: str, body: bytes) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True)
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))


def receive(url: str, queue: str) -> bytes | None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        return connection.channel().basic_get(queue, auto_ack=True)[2]


def test_a_wrong_password_is_refused(broker: RabbitMQ) -> None:
    assert answers(broker.url)
    assert not answers(broker.url.replace("liaison:", "liaison:x", 1))


def test_it_listens_on_the_loopback_address_only(broker: RabbitMQ) -> None:
    assert broker.pid is not None

    listening = [
        connection.laddr.ip
        for connection in psutil.Process(broker.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_a_restart_keeps_durable_messages_and_the_address(broker: RabbitMQ) -> None:
    before = broker.url
    send(before, "kept", b"still here")

    broker.stop()
    assert not answers(before)
    broker.start()

    assert broker.url == before
    assert receive(before, "kept") == b"still here"


def test_a_kill_keeps_confirmed_messages(broker: RabbitMQ) -> None:
    send(broker.url, "survived", b"confirmed")

    broker.kill()
    broker.start()

    assert receive(broker.url, "survived") == b"confirmed"


def test_a_node_that_cannot_start_says_why(tmp_path: Path, broker: RabbitMQ) -> None:
    node = RabbitMQ(tmp_path)
    (tmp_path / "data").write_text("not a folder")

    with pytest.raises(CannotStart, match=r"rabbitmq\.log ends with"):
        node.start()

    assert node.pid is None


def test_installing_starts_no_service_and_leaves_no_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The edge of the building: what apt-get would see while it installs.
    policy = tmp_path / "policy-rc.d"
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{policy}; echo $? >> {tmp_path}/answer\n'
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent), prepend=":")
    monkeypatch.setattr("os.geteuid", lambda: 0)

    install(policy)

    asked = (tmp_path / "asked").read_text()
    assert "install --yes --no-install-recommends rabbitmq-server" in asked
    assert set((tmp_path / "answer").read_text().split()) == {"101"}
    assert not policy.exists()


def test_where_it_is_missing_it_is_installed_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise CannotStart("no packages here")

    monkeypatch.setattr(rabbitmq, "_find_server_program", lambda: None)
    monkeypatch.setattr(rabbitmq, "install", refused)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CannotStart, match="no packages here"):
        RabbitMQ(tmp_path / "node").launch()

    assert not (tmp_path / "node").exists()


def test_without_root_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(CannotStart, match="apt-get install rabbitmq-server"):
        install()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from liaison_kit.run.rabbitmq import RabbitMQ;"
        f"print(RabbitMQ(Path({str(tmp_path)!r})).start().pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.stdout.close()

    parent.kill()
    parent.wait()

    assert wait_until(lambda: not _alive(pid), seconds=15)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
