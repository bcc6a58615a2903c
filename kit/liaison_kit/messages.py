"""Messages to people: an intent that is handed to connect, once, in the sender's transaction.

    send_message(session, MessageIntent(id=uuid4(), to=..., purpose="survey", content=...))

It travels as an event of the sender's: it is lost with no crash, and is not sent if the change that
it belongs to is undone. What became of it is told by `MessageSent` and `MessageFailed`.
"""

from sqlalchemy.orm import Session

from liaison_kit.events.outbox import emit
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.sealing import seal
from liaison_sdk.contracts.connect import MessageIntended, MessageIntent, Sealed

CONNECT = "connect"
SEALED_FOR = "message_intended"
"""What is sealed for this is of use for nothing else."""


def send_message(session: Session, intent: MessageIntent) -> None:
    """Have a message sent, if this transaction commits.

    What a secret one says is sealed to connect: neither the broker nor a table of this service's
    has it in clear.
    """
    keys: Keyring = session.info["keys"]
    sealed = None
    if intent.secret:
        said = Sealed(content=intent.content, fields=intent.fields).model_dump_json().encode()
        sealed = seal(keys, CONNECT, SEALED_FOR, said).decode()
        intent = intent.model_copy(update={"content": None, "fields": {}})
    told = MessageIntended(intent_id=intent.id, intent=intent, sealed=sealed)
    emit(session, told, source=keys.party)
