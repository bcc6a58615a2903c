"""`python -m liaison_kit.certificates FILE`: check a certificate, as that of an erasure.

It needs the folder of public keys only (`LIAISON_TRUST_DIR`, or `--trust-dir`), and no Liaison that
runs. Exits with 1 when the certificate is not genuine.
"""

import argparse
import json
import sys
from pathlib import Path

from liaison_kit.settings import settings
from liaison_kit.trust.certificates import NotGenuine, verify


def main(arguments: list[str]) -> int:
    """Check one certificate, and say who has issued it."""
    parser = argparse.ArgumentParser(prog="python -m liaison_kit.certificates")
    parser.add_argument("file", type=Path, help="the certificate, as the API gave it")
    parser.add_argument("--trust-dir", type=Path, help="the public keys of every party")
    given = parser.parse_args(arguments)
    try:
        certificate = json.loads(given.file.read_text())
        verify(given.trust_dir or settings().trust_dir, certificate)
    except (OSError, ValueError, NotGenuine) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"genuine: issued by {certificate['issuer']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
