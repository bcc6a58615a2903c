"""A cursor leads on in its own list, and nowhere else."""

import base64
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.listing import cursors
from liaison_kit.listing.cursors import ForeignCursor

texts = st.text(max_size=20)
positions = st.lists(st.none() | texts, max_size=3)


@given(of=st.lists(texts | st.integers() | st.booleans()), position=positions)
def test_a_cursor_leads_back_to_its_place(of: list[Any], position: list[str | None]) -> None:
    assert cursors.read(of, cursors.written(of, position)) == position


@given(of=texts, other=texts, position=positions)
def test_another_lists_cursor_is_refused(of: str, other: str, position: list[str | None]) -> None:
    cursor = cursors.written(of, position)

    if of == other:
        assert cursors.read(other, cursor) == position
    else:
        with pytest.raises(ForeignCursor):
            cursors.read(other, cursor)


@given(cursor=st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.hex()))
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ForeignCursor):
        cursors.read("list", cursor)


@pytest.mark.parametrize(
    "told",
    [5, None, [], {}, [None], ["id"], ["id", None, 5], ["id", None, None], ["id", [], {}],
     ["id", None, str(UUID(int=1))]],
)  # fmt: skip
def test_a_place_that_somebody_made_up_is_refused(told: Any) -> None:
    made_up = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")

    with pytest.raises(ForeignCursor):
        cursors.read("list", made_up)


def test_depth_is_refused_unread() -> None:
    with pytest.raises(ForeignCursor):
        cursors.read("list", base64.urlsafe_b64encode(b"[" * 100_000).decode())


@given(position=positions.filter(bool), at=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_cursor_with_one_bit_turned_is_refused(
    position: list[str | None], at: int, bit: int
) -> None:
    cursor = cursors.written("list", position)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[at % len(raw)] ^= 1 << bit

    with pytest.raises(ForeignCursor):
        cursors.read("list", base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))
