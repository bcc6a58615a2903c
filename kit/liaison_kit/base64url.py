"""Bytes as text that every address and header may have: RFC 4648's base64url, without padding."""

import base64


def write(raw: bytes) -> str:
    """The text."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read(text: str) -> bytes:
    """The bytes; `ValueError` unless the text is the one way to write them.

    Other ways, as with letters of plain base64, would be the same thing under another name.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if write(raw) != text:
        raise ValueError("this is not how it is written")
    return raw
