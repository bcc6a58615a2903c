"""One connection carries many mails, for so many and so long, and none twice when it breaks."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from connect_desk import Desk, a_way, intent
from tests.mail_server import HANG_UP, TAKE_AND_HANG_UP, MailServer

from liaison_connect import smtp
from liaison_connect.smtp import Smtp

Connections = Callable[[], list[int]]


@pytest.fixture
def way(mail: MailServer) -> Iterator[Smtp]:
    with a_way(mail.url) as found:
        yield found


@pytest.fixture
def by_connection(mail: MailServer) -> Connections:
    """How many of the mails of this test came by each connection, in order."""
    before = len(mail.peers)

    def counted() -> list[int]:
        peers = mail.peers[before:]
        return [peers.count(peer) for peer in dict.fromkeys(peers)]

    return counted


def addresses(number: int) -> list[str]:
    return [f"kim.{uuid4().hex}@example.com" for _ in range(number)]


def handed_in(desk: Desk, to: list[str]) -> None:
    for address in to:
        desk.hand_in(intent(address))


def states(desk: Desk) -> list[str]:
    return [message["state"] for message in desk.messages()]


def test_mails_share_a_connection(desk: Desk, way: Smtp, by_connection: Connections) -> None:
    handed_in(desk, addresses(5))

    desk.send_all(way)

    assert states(desk) == ["sent"] * 5
    assert by_connection() == [5]


def test_a_connection_carries_so_many(
    desk: Desk, way: Smtp, by_connection: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "MAILS_PER_CONNECTION", 2)
    handed_in(desk, addresses(5))

    desk.send_all(way)

    assert by_connection() == [2, 2, 1]


def test_one_that_nobody_has_used_for_long_is_ended_and_another_one_opened(
    desk: Desk, way: Smtp, by_connection: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_in(desk, addresses(1))
    desk.send_all(way)
    kept = len(way._kept)
    monkeypatch.setattr(smtp, "IDLE_S", 0.0)

    way.rest()
    left = len(way._kept)
    handed_in(desk, addresses(1))
    desk.send_all(way)

    assert (kept, left) == (1, 0)
    assert by_connection() == [1, 1]


@pytest.mark.parametrize("said", [HANG_UP, "421 too long idle"])
def test_one_that_the_server_has_given_up_is_replaced_at_once_and_nobody_gets_two(
    desk: Desk, way: Smtp, mail: MailServer, by_connection: Connections, said: str
) -> None:
    first, second = addresses(2)
    handed_in(desk, [first])
    desk.send_all(way)
    mail.plan(second, "RCPT", said)
    handed_in(desk, [second])

    desk.send_all(way)

    assert states(desk) == ["sent", "sent"]
    assert desk.messages()[1]["attempts"] == 1
    assert by_connection() == [1, 1]
    assert len(mail.to(second)) == 1


def test_one_that_breaks_when_the_server_has_the_mail_is_not_followed_by_another(
    desk: Desk, way: Smtp, mail: MailServer, by_connection: Connections
) -> None:
    first, second, third = addresses(3)
    mail.plan(second, "DATA", TAKE_AND_HANG_UP)
    handed_in(desk, [first])
    desk.send_all(way)
    handed_in(desk, [second, third])

    desk.send_all(way)

    assert sorted(states(desk)) == ["sent", "sent", "unknown"]
    assert len(mail.to(second)) == 1
    assert by_connection() == [2, 1]


def test_after_a_refusal_the_next_mail_goes_over_the_same_connection(
    desk: Desk, way: Smtp, mail: MailServer, by_connection: Connections
) -> None:
    first, refused, last = addresses(3)
    mail.plan(refused, "RCPT", "550 nobody of that name")
    for address in (first, refused, last):
        handed_in(desk, [address])
        desk.send_all(way)

    assert states(desk) == ["sent", "failed", "sent"]
    assert mail.to(refused) == []
    assert by_connection() == [2]
