"""A certificate holds for the very facts that were signed, and by public keys alone."""

from pathlib import Path

import pytest

from liaison_kit.trust import keys
from liaison_kit.trust.certificates import NotGenuine, issue, verify
from liaison_kit.trust.keys import Keyring


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    keys.create("party", tmp_path / "own.json", tmp_path / "trusted")
    return Keyring("party", tmp_path / "own.json", tmp_path / "trusted")


def test_it_holds_also_after_the_keys_were_rotated(ring: Keyring, tmp_path: Path) -> None:
    certificate = issue(ring, {"rows": 3, "ground": "asked", "name": "é"})

    keys.rotate("party", tmp_path / "own.json", tmp_path / "trusted")

    verify(tmp_path / "trusted", certificate)


@pytest.mark.parametrize(
    "changed",
    [{"rows": 4}, {"issuer": "other"}, {"issuer": "../party"}, {"key": "x"}, {"signature": "AA"}],
)
def test_whatever_is_changed_it_holds_no_more(
    ring: Keyring, tmp_path: Path, changed: dict[str, object]
) -> None:
    certificate = issue(ring, {"rows": 3})

    with pytest.raises(NotGenuine):
        verify(tmp_path / "trusted", certificate | changed)


def test_one_whose_key_was_revoked_is_not_genuine(ring: Keyring, tmp_path: Path) -> None:
    certificate = issue(ring, {"rows": 3})

    keys.revoke("party", str(certificate["key"]), tmp_path / "trusted")

    with pytest.raises(NotGenuine):
        verify(tmp_path / "trusted", certificate)
