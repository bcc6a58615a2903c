"""`python -m liaison_kit.keys rotate|revoke PARTY …`: the keys of a service or of the gateway.

`make run` makes keys by itself and renews them every month. Elsewhere whoever deploys keeps two
folders: the private keys of each party, given to that party alone, and the public keys of all.
"""

import argparse
import sys
from pathlib import Path

from liaison_kit.trust import keys


def main(arguments: list[str]) -> int:
    """Make new keys, or trust one no longer."""
    parser = argparse.ArgumentParser(prog="python -m liaison_kit.keys")
    parser.add_argument("--trust-dir", type=Path, required=True, help="public keys of everybody")
    acts = parser.add_subparsers(dest="act", required=True)
    rotate = acts.add_parser("rotate", help="give a party new keys; the former ones stay trusted")
    rotate.add_argument("party")
    rotate.add_argument("--key-file", type=Path, required=True, help="the party's private keys")
    rotate.add_argument(
        "--after", type=float, default=0.0, help="seconds until they are used (default: at once)"
    )
    revoke = acts.add_parser("revoke", help="trust a stolen key no longer")
    revoke.add_argument("party")
    revoke.add_argument("kid")
    given = parser.parse_args(arguments)
    try:
        if given.act == "rotate":
            keys.rotate(given.party, given.key_file, given.trust_dir, begins_in_s=given.after)
        else:
            keys.revoke(given.party, given.kid, given.trust_dir)
    except (keys.NoKeys, keys.UnknownKey) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.party}: {'new keys' if given.act == 'rotate' else 'revoked'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
