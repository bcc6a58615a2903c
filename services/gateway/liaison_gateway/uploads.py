"""Files: uploads go to their service part by part, downloads come back the same way."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from email.message import Message
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from liaison_gateway.bus import Bus, Head, Reply, Target
from liaison_gateway.incoming import Incoming
from liaison_gateway.limits import BODY_TIMEOUT_S, check_length
from liaison_gateway.problems import Gone, ModuleDown, RequestTimeout
from liaison_gateway.routes import Operation
from liaison_gateway.shared import declared_query
from liaison_kit.ids import uuid7
from liaison_sdk.errors import BadRequest, FieldError, TooLarge

PART_BYTES = 512 * 1024
MULTIPART_OVERHEAD_BYTES = 64 * 1024
LONGEST_NAME = 255


class _PartRefusedError(Exception):
    """The service did not take a part; its reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.head.status)
        self.reply = reply


class Files:
    """Moves files between clients and services in parts, holding one part at a time."""

    def __init__(self, bus: Bus, upload_limit_bytes: int) -> None:
        self._bus = bus
        self._limit = upload_limit_bytes
        self._targets: dict[tuple[str, str], Target] = {}

    async def upload(self, operation: Operation, incoming: Incoming, receive: Any) -> Reply:
        """Send the file's parts to the service, then call the operation with the file's facts."""
        file = _File(incoming, self._limit)
        upload_id = str(uuid7())
        put_part = self._target(operation.service, "put_part")
        number = 0
        try:
            async for part in file.parts(receive):
                incoming.restart_clock()
                header = incoming.head(query=[], upload={"id": upload_id, "part": number})
                reply = await self._bus.call(put_part, header, part, incoming.timeout_s)
                if reply.head.status >= 300:
                    raise _PartRefusedError(reply)
                number += 1
        except _PartRefusedError as refused:
            return refused.reply
        incoming.restart_clock()
        header = incoming.head(
            query=declared_query(operation, incoming.query, "name"),
            upload={
                "id": upload_id,
                "name": file.name,
                "content_type": file.content_type,
                "size": file.size,
            },
        )
        return await self._bus.call(operation.target, header, b"", incoming.timeout_s)

    async def download(
        self, operation: Operation, incoming: Incoming, head: Head
    ) -> AsyncIterator[bytes]:
        """The parts of a stored file, each asked for when the client has taken the one before."""
        get_part = self._target(operation.service, "get_part")
        for number in range(head.parts):
            incoming.restart_clock()
            header = incoming.head(query=[], upload={"id": head.upload, "part": number})
            reply = await self._bus.call(get_part, header, b"", incoming.timeout_s)
            if reply.head.status != 200:
                raise ModuleDown("A part of the file is missing.", operation.service)
            yield reply.body

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
        content_type = self._headers.get(b"content-type", b"application/octet-stream")
        kind, options = parse_options_header(content_type)
        self._boundary: bytes | None = None
        self.content_type = kind.decode("latin-1")
        self.name = clean_name(incoming.parameter("name") or _disposition_name(self._headers))
        if kind == b"multipart/form-data":
            self._boundary = options.get(b"boundary")
            if not self._boundary or len(self._boundary) > 200:
                raise BadRequest("The form has no boundary.")

    async def parts(self, receive: Any) -> AsyncIterator[bytes]:
        """The file in parts of 512 KiB; an empty file has none."""
        overhead = MULTIPART_OVERHEAD_BYTES if self._boundary else 0
        check_length(self._headers, self._limit + overhead)
        form = _Form(self._boundary) if self._boundary else None
        buffer = bytearray()
        received = 0
        async for chunk in _chunks(receive):
            received += len(chunk)
            if received > self._limit + overhead:
                raise TooLarge(f"A file may have {self._limit} bytes.")
            data = form.feed(chunk) if form else chunk
            self.size += len(data)
            if self.size > self._limit:
                raise TooLarge(f"A file may have {self._limit} bytes.")
            buffer += data
            while len(buffer) >= PART_BYTES:
                yield bytes(buffer[:PART_BYTES])
                del buffer[:PART_BYTES]
        if form:
            form.finish()
            self.content_type = form.content_type
            self.name = clean_name(form.file_name or self.name)
        if buffer:
            yield bytes(buffer)


class _Form:
    """Finds the one file in a multipart/form-data body as it comes in; other fields are ignored."""

    def __init__(self, boundary: bytes) -> None:
        self.file_name: str | None = None
        self.content_type = "application/octet-stream"
        self._found = bytearray()
        self._files = 0
        self._in_file = False
        self._complete = False
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
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
        )

    def feed(self, chunk: bytes) -> bytes:
        """The file's bytes among these."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
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
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"filename")
        self._in_file = name is not None
        if name is None:
            return
        self._files += 1
        if self._files > 1:
            raise BadRequest("Send one file at a time.")
        self.file_name = name.decode(errors="replace")
        given = self._headers.get(b"content-type")
        if given:
            self.content_type = given.decode("latin-1")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._found += data[start:end]

    def _on_end(self) -> None:
        self._complete = True


async def _chunks(receive: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(f"Nothing arrived for {BODY_TIMEOUT_S:g} s.") from None
        if message["type"] != "http.request":
            raise Gone
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def clean_name(name: str) -> str:
    """A file's own name: no folders, no control characters, not too long."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if c.isprintable()).strip()
    return name[-LONGEST_NAME:] or "upload"


def _disposition_name(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"content-disposition")
    if given is None:
        return ""
    message = Message()
    message["content-disposition"] = given.decode("latin-1")
    return message.get_filename() or ""
