"""Mail over SMTP, to a real server that takes, refuses, dawdles and hangs up."""

import datetime as dt
import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from connect_desk import FROM, HELLO, Desk, a_way, intent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.mail_server import HANG_UP, TAKE_AND_HANG_UP, MailServer

from liaison_connect.composing import Letter, compose
from liaison_connect.outlets import Folder, NoOutlet, outlet
from liaison_connect.sending import DELAYS_S
from liaison_connect.smtp import BadServer, Smtp
from liaison_kit.run.process import free_port
from liaison_kit.settings import Settings
from liaison_sdk.contracts.connect import Recipient


@pytest.fixture
def way(mail: MailServer) -> Iterator[Smtp]:
    """The way to the mail server."""
    with a_way(mail.url) as found:
        yield found


@pytest.fixture
def address() -> str:
    """Somebody whom no other test writes to."""
    return f"ada.{uuid4().hex}@example.com"


def headers(mail: EmailMessage) -> dict[str, str]:
    return {name: str(value) for name, value in mail.items()}


def test_a_mail_arrives_as_it_was_written(
    desk: Desk, way: Smtp, mail: MailServer, address: str
) -> None:
    lines = ".\r\n..\r\nHélène, 你好\r\n" + "x" * 2000
    content = HELLO.model_copy(update={"subject": "Été – 你好 " + "long " * 30, "text": lines})
    to = Recipient(address=address, name="Hélène “H” Dupont", language="fr")
    desk.hand_in(intent(to=to, content=content, purpose="account"))

    desk.send_all(way)

    (arrived,) = mail.to(address)
    assert arrived["From"] == FROM
    assert arrived["To"].addresses[0].display_name == "Hélène “H” Dupont"
    assert arrived["Subject"] == content.subject.strip()
    assert arrived["Message-ID"] == f"<{desk.message()['id']}@helios.example>"
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert arrived["Content-Language"] == "fr"
    assert arrived["Date"].datetime is not None
    assert arrived.get_content_type() == "multipart/alternative"
    plain, html = arrived.iter_parts()
    assert plain.get_content().splitlines() == lines.splitlines()
    assert html.get_content().strip() == HELLO.html
    assert all(byte < 128 for byte in mail.raw[-1])
    assert desk.message()["answer"].startswith("250")


def test_nothing_that_a_person_wrote_becomes_a_header(
    desk: Desk, way: Smtp, mail: MailServer, address: str
) -> None:
    evil = "Eve\r\nBcc: all@example.com\n\nHello\u2028X: y\x00"
    content = HELLO.model_copy(update={"subject": f"Hi {evil}"})
    desk.hand_in(intent(to=Recipient(address=address, name=evil), content=content))

    desk.send_all(way)

    (arrived,) = mail.to(address)
    assert set(headers(arrived)) == {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Content-Language",
        "MIME-Version",
        "Content-Type",
    }
    assert arrived["Subject"] == "Hi Eve Bcc: all@example.com Hello X: y"
    assert len(arrived["To"].addresses) == 1


def test_a_domain_in_any_script_is_written_as_mail_servers_know_it() -> None:
    letter = Letter(uuid4(), "ada@münchen.example", None, "de", "s", "t", None, automatic=False)

    made = compose(letter, FROM, dt.datetime.now(dt.UTC))

    assert made.recipient == "ada@xn--mnchen-3ya.example"


@pytest.mark.parametrize("at", ["RCPT", "DATA"])
def test_what_the_server_can_not_take_now_is_tried_again_and_given_up_in_the_end(
    desk: Desk, way: Smtp, mail: MailServer, address: str, at: Any
) -> None:
    tries = len(DELAYS_S) + 1
    mail.plan(address, at, *["451 try later"] * tries)
    desk.hand_in(intent(address))

    states = []
    for _ in range(tries):
        desk.send_all(way)
        states.append((desk.message()["state"], desk.message()["attempts"]))
        desk.let_pass(max(DELAYS_S) + 1)
    desk.send_all(way)

    assert states == [("queued", n) for n in range(1, tries)] + [("failed", tries)]
    assert desk.message()["reason"] == "gave_up"
    assert desk.message()["answer"] == "451 try later"
    assert mail.to(address) == []


@pytest.mark.parametrize("at", ["RCPT", "DATA"])
def test_what_the_server_refuses_for_good_has_failed_at_once(
    desk: Desk, way: Smtp, mail: MailServer, address: str, at: Any
) -> None:
    mail.plan(address, at, "550 no such person")
    desk.hand_in(intent(address))

    desk.send_all(way)

    assert desk.message()["reason"] == "refused"
    assert desk.message()["answer"] == "550 no such person"
    assert desk.told() == [("message_failed", "refused")]


def test_a_server_that_hangs_up_before_it_has_a_mail_gets_it_again(
    desk: Desk, way: Smtp, mail: MailServer, address: str
) -> None:
    mail.plan(address, "RCPT", HANG_UP)
    desk.hand_in(intent(address))

    desk.send_all(way)
    waiting = desk.message()["state"]
    desk.let_pass(DELAYS_S[0] + 1)
    desk.send_all(way)

    assert waiting == "queued"
    assert len(mail.to(address)) == 1


@pytest.mark.parametrize(("said", "taken"), [(HANG_UP, 0), (TAKE_AND_HANG_UP, 1)])
def test_a_server_that_hangs_up_with_a_mail_in_hand_does_not_get_it_twice(
    desk: Desk, way: Smtp, mail: MailServer, address: str, said: str, taken: int
) -> None:
    mail.plan(address, "DATA", said)
    desk.hand_in(intent(address))

    desk.send_all(way)
    desk.let_pass(max(DELAYS_S) + 1)
    desk.send_all(way)

    assert desk.message()["state"] == "unknown"
    assert desk.told() == [("message_failed", "unknown")]
    assert len(mail.to(address)) == taken


def test_somebody_may_have_it_sent_again_under_the_same_message_id(
    desk: Desk, way: Smtp, mail: MailServer, address: str
) -> None:
    mail.plan(address, "DATA", TAKE_AND_HANG_UP)
    desk.hand_in(intent(address))
    desk.send_all(way)
    unknown = desk.message()

    desk.see("retry_message", version=unknown["version"], id=unknown["id"])
    desk.send_all(way)

    first, second = mail.to(address)
    assert first["Message-ID"] == second["Message-ID"]
    assert desk.message()["state"] == "sent"


def test_a_server_that_is_away_is_nobodys_fault(desk: Desk) -> None:
    desk.hand_in(intent())

    desk.send_all(Smtp(f"smtp://127.0.0.1:{free_port()}?tls=off", known_as="helios.example"))

    assert desk.message()["state"] == "queued"
    assert desk.message()["answer"].startswith("ConnectionRefusedError")


# --- TLS and signing in ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture(scope="module")
def locked(certificate: Path) -> Iterator[MailServer]:
    """A server that takes mail by TLS only, of who signs in."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with MailServer(tls=tls, user=("helios", "s3cret@/")) as server:
        yield server


def test_a_server_is_spoken_to_by_tls_and_signed_in_to(
    desk: Desk, locked: MailServer, certificate: Path, address: str
) -> None:
    place = f"127.0.0.1:{locked.port}"
    desk.hand_in(intent(address))

    for user, query, known in (
        ("helios:wrong@", f"?ca={certificate}", "535"),
        ("helios:s3cret%40%2F@", "", "SSLCertVerificationError"),
        ("helios:s3cret%40%2F@", f"?ca={certificate}", "250"),
    ):
        with a_way(f"smtp://{user}{place}{query}") as way:
            desk.send_all(way)
        assert desk.message()["answer"].startswith(known), desk.message()
        desk.let_pass(max(DELAYS_S) + 1)

    assert len(locked.to(address)) == 1
    assert "s3cret" not in desk.kept()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://mail.example", "begins with smtp://"),
        ("smtp://", "names a host"),
        ("smtp://mail.example:port", "names no port"),
        ("smtp://mail.example?tsl=off", "no option tsl"),
        ("smtp://ada:secret@mail.example?tls=off", "without TLS"),
        ("smtp://mail.example?ca=/nowhere.pem", "can't be read"),
    ],
)
def test_an_address_that_can_not_be_used_is_told_without_its_password(url: str, said: str) -> None:
    with pytest.raises(BadServer) as refused:
        Smtp(url, known_as="helios.example")

    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("set_to", "said"),
    [
        ({}, "set LIAISON_SMTP_URL"),
        ({"smtp_url": "smtp://mail.example"}, "set LIAISON_MAIL_FROM"),
        ({"smtp_url": "smtp://mail.example", "mail_from": "nobody"}, "set LIAISON_MAIL_FROM"),
        ({"smtp_url": "ftp://mail.example", "mail_from": FROM}, "begins with smtp://"),
    ],
)
def test_without_a_usable_server_the_operator_is_told_what_to_set(
    set_to: dict[str, str], said: str
) -> None:
    with pytest.raises(NoOutlet) as held:
        outlet(Settings(**set_to))  # type: ignore[arg-type]

    assert said in str(held.value)


def test_a_developer_finds_mail_in_a_folder(desk: Desk, tmp_path: Path) -> None:
    desk.hand_in(intent())

    desk.send_all(outlet(Settings(mail_folder=tmp_path)))

    (file,) = tmp_path.iterdir()
    assert b"Hello Ada." in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    assert isinstance(outlet(Settings(mail_folder=tmp_path)), Folder)


IN_A_SERVICE = """
import eventlet
eventlet.monkey_patch()
import sys
from uuid import UUID
from liaison_connect.composing import Mail
from liaison_connect.smtp import Smtp
url, address = sys.argv[1:]
text = b"Subject: green\\r\\n\\r\\nHello\\r\\n"
mail = Mail(UUID(int=1), "no-reply@helios.example", address, text)
assert Smtp(url, known_as="helios.example").hand_over(mail, lambda: None).startswith("250")
"""


def test_tls_is_spoken_as_well_where_threads_are_green(
    locked: MailServer, certificate: Path, address: str
) -> None:
    url = f"smtp://helios:s3cret%40%2F@127.0.0.1:{locked.port}?ca={certificate}"

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_A_SERVICE, url, address],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert locked.to(address)[0]["Subject"] == "green"
