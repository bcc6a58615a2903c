"""Files: uploads go to their service part by part, downloads come back the same way."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from email.errors import MessageError
from email.message import Message
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from liaison_gateway.bus import Bus, Head, Reply, Target
from liaison_gateway.incoming import Incoming
from liaison_gateway.limits import check_length, chunks
from liaison_gateway.problems import ModuleDown, TooManyUploads
from liaison_gateway.routes import Operation
from liaison_gateway.shared import declared_query
from liaison_kit.ids import uuid7
from liaison_kit.settings import Settings
from liaison_kit.telemetry import log
from liaison_sdk.errors import BadRequest, FieldError, LiaisonError, TooLarge

PART_BYTES = 512 * 1024
MULTIPART_OVERHEAD_BYTES = 64 * 1024
LONGEST_NAME = 255
LONGEST_HEADER = 2048
"""Bytes of a header that tells of a file."""

_CONTENT_TYPE = re.compile(r"[!-~]+/[!-~]+( *;[ -~]*)?")
_CHARSETS = ("utf-8", "iso-8859-1")
"""What the name of a file may be encoded in (RFC 8187)."""

_ANYTHING = "application/octet-stream"


class _PartRefusedError(Exception):
    """The service did not take a part; its reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.head.status)
        self.reply = reply


class Files:
    """Moves files between clients and services in parts, holding one part at a time."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._limit = settings.upload_limit_bytes
        self._grace_s = settings.body_timeout_s
        self._at_once = settings.uploads_at_once
        self._under_way: dict[bytes | str, int] = {}
        self._targets: dict[tuple[str, str], Target] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def upload(
        self, operation: Operation, incoming: Incoming, sender: bytes | str, receive: Any
    ) -> Reply:
        """Send the file's parts to the service, then call the operation with the file's facts.

        Whatever is stored of a file that is refused, or that breaks off, is given up at once.
        """
        with self._place(sender):
            file = _File(incoming, self._limit)
            upload_id = str(uuid7())
            stored = False
            try:
                async for number, part in file.parts(receive, self._grace_s):
                    stored = True
                    await self._put(operation, incoming, upload_id, number, part)
                await incoming.next_step()
                header = incoming.head(
                    query=declared_query(operation, incoming.query, "name"),
                    upload={"id": upload_id, **file.facts()},
                )
                reply = await self._bus.call(operation.target, header, b"", incoming.timeout_s)
            except _PartRefusedError as refused:
                reply = refused.reply
            except BaseException:
                if stored:
                    self._give_up(operation, incoming, upload_id)
                raise
            if stored and reply.head.status >= 400:
                self._give_up(operation, incoming, upload_id)
            return reply

    async def download(
        self, operation: Operation, incoming: Incoming, head: Head
    ) -> AsyncIterator[bytes]:
        """The parts of a stored file, each asked for when the client has taken the one before."""
        get_part = self._target(operation.service, "get_part")
        for number in range(head.parts):
            await incoming.next_step()
            header = incoming.head(query=[], upload={"id": head.upload, "part": number})
            reply = await self._bus.call(get_part, header, b"", incoming.timeout_s)
            if reply.head.status != 200:
                raise ModuleDown("A part of the file is missing.", operation.service)
            yield reply.body

    @contextmanager
    def _place(self, sender: bytes | str) -> Iterator[None]:
        """One of the uploads that somebody may have under way at once."""
        others = self._under_way.get(sender, 0)
        if others >= self._at_once:
            raise TooManyUploads(self._at_once)
        self._under_way[sender] = others + 1
        try:
            yield
        finally:
            self._under_way[sender] -= 1
            if not self._under_way[sender]:
                del self._under_way[sender]

    async def _put(
        self, operation: Operation, incoming: Incoming, upload_id: str, number: int, part: bytes
    ) -> None:
        await incoming.next_step()
        header = incoming.head(query=[], upload={"id": upload_id, "part": number})
        target = self._target(operation.service, "put_part")
        reply = await self._bus.call(target, header, part, incoming.timeout_s)
        if reply.head.status >= 300:
            raise _PartRefusedError(reply)

    def _give_up(self, operation: Operation, incoming: Incoming, upload_id: str) -> None:
        """Have the service drop the parts that it has; nobody waits for it."""

        async def drop() -> None:
            incoming.restart_clock()
            header = incoming.head(query=[], upload={"id": upload_id})
            target = self._target(operation.service, "drop_parts")
            try:
                reply = await self._bus.call(target, header, b"", incoming.timeout_s)
            except LiaisonError as error:
                said = error.detail
            else:
                if reply.head.status < 300:
                    return
                said = str(reply.head.status)
            # Not lost for good: what nothing claims is swept after a day.
            log.warning("parts not dropped", service=operation.service, error=said)

        task = asyncio.create_task(drop(), name="drop parts")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _target(self, service: str, operation: str) -> Target:
        key = (service, operation)
        if key not in self._targets:
            self._targets[key] = Target(service, operation)
        return self._targets[key]


class _File:
    """The one file of a request, from a raw body or from a form."""

    def __init__(self, incoming: Incoming, limit: int) -> None:
        self._headers = incoming.headers
        self._limit = limit
        self.size = 0
        # Only a repeated request has to be told from another one.
        self._digest = hashlib.sha256() if incoming.idempotency_key is not None else None
        kind, options = _parsed("Content-Type", self._headers.get(b"content-type", b""))
        self._boundary: bytes | None = None
        self.content_type = _content_type("Content-Type", kind)
        self.name = clean_name(incoming.parameter("name") or _disposition_name(self._headers))
        if kind == b"multipart/form-data":
            self._boundary = options.get(b"boundary")
            if not self._boundary or len(self._boundary) > 200:
                raise BadRequest("The form has no boundary.")

    def facts(self) -> dict[str, Any]:
        """What the service is told of the file once it has all of it."""
        facts = {"name": self.name, "content_type": self.content_type, "size": self.size}
        return facts if self._digest is None else facts | {"sha256": self._digest.hexdigest()}

    async def parts(self, receive: Any, grace_s: float) -> AsyncIterator[tuple[int, bytes]]:
        """The file in numbered parts of 512 KiB; an empty file has none."""
        overhead = MULTIPART_OVERHEAD_BYTES if self._boundary else 0
        check_length(self._headers, self._limit + overhead)
        form = _Form(self._boundary) if self._boundary else None
        buffer = bytearray()
        received = number = 0
        async for chunk in chunks(receive, grace_s):
            received += len(chunk)
            if received > self._limit + overhead:
                raise TooLarge(f"A file may have {self._limit} bytes.")
            data = form.feed(chunk) if form else chunk
            self.size += len(data)
            if self.size > self._limit:
                raise TooLarge(f"A file may have {self._limit} bytes.")
            if self._digest is not None:
                self._digest.update(data)
            buffer += data
            while len(buffer) >= PART_BYTES:
                yield number, bytes(buffer[:PART_BYTES])
                del buffer[:PART_BYTES]
                number += 1
        if form:
            form.finish()
            self.content_type = form.content_type
            self.name = clean_name(form.file_name or self.name)
        if buffer:
            yield number, bytes(buffer)


class _Form:
    """Finds the one file in a multipart/form-data body as it comes in; other fields are ignored."""

    def __init__(self, boundary: bytes) -> None:
        self.file_name: str | None = None
        self.content_type = _ANYTHING
        self._found = bytearray()
        self._files = 0
        self._in_file = False
        self._complete = False
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_name,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_data,
                    "on_end": self._on_end,
                },
                max_header_size=LONGEST_HEADER,
            )
        except FormParserError as error:
            raise BadRequest(f"The form cannot be read: {error}") from None

    def feed(self, chunk: bytes) -> bytes:
        """The file's bytes among these."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadRequest(f"The form cannot be read: {error}") from None
        data = bytes(self._found)
        self._found.clear()
        return data

    def finish(self) -> None:
        """Refuse a form that broke off or that has no file."""
        if not self._complete:
            raise BadRequest("The form is not complete.")
        if self._files == 0:
            error = FieldError("file", "missing", "Send the file as a part with a file name.")
            raise BadRequest(error.message, [error])

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = _parsed("Content-Disposition", self._headers.get(b"content-disposition", b""))
        name = options.get(b"filename")
        self._in_file = name is not None
        if name is None:
            return
        self._files += 1
        if self._files > 1:
            raise BadRequest("Send one file at a time.")
        self.file_name = name.decode(errors="replace")
        self.content_type = _content_type("Content-Type", self._headers.get(b"content-type", b""))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._found += data[start:end]

    def _on_end(self) -> None:
        self._complete = True


def clean_name(name: str) -> str:
    """A file's own name: no folders, no control characters, not too long."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if c.isprintable()).strip()
    return name[-LONGEST_NAME:] or "upload"


def _disposition_name(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"content-disposition")
    if given is None:
        return ""
    _check_length("Content-Disposition", given)
    message = Message()
    try:
        message["content-disposition"] = given.decode("latin-1")
        name = message.get_param("filename", "", "content-disposition")
        if not isinstance(name, tuple):
            return name
        charset, _language, text = name
        encoding = (charset or "").lower()
        if encoding not in _CHARSETS:
            # Python would decode a name with whatever of its codecs the name asks for.
            raise _unreadable("Content-Disposition")
        return text.encode("latin-1").decode(encoding)
    except (ValueError, MessageError):
        raise _unreadable("Content-Disposition") from None


def _parsed(header: str, given: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    _check_length(header, given)
    try:
        return parse_options_header(given)
    except (ValueError, MessageError):
        raise _unreadable(header) from None


def _content_type(header: str, given: bytes) -> str:
    """A file's kind as it will be sent out again, so nothing that a header can't hold."""
    text = given.decode("latin-1").strip(" ")
    if text and _CONTENT_TYPE.fullmatch(text) is None:
        raise _unreadable(header)
    return text or _ANYTHING


def _check_length(header: str, given: bytes) -> None:
    if len(given) > LONGEST_HEADER:
        said = f"{header} may have {LONGEST_HEADER} bytes."
        raise BadRequest(said, [FieldError(header, "too_long", said)])


def _unreadable(header: str) -> BadRequest:
    said = f"{header} can't be read."
    return BadRequest(said, [FieldError(header, "unreadable", said)])
