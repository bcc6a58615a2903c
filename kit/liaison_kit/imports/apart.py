"""Read a file that others have made in a process of its own, whose memory and time are bounded.

A workbook or a book of cards may unpack to gigabytes or keep its reader busy for hours. So no
service opens one: `convert_apart` runs a module of this package that writes it as CSV
(`answer`), and what can't be done within the limits is refused.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Told = dict[str, Any]
"""What a conversion found, or `error` and `detail` of why there is none."""


class RefusedError(Exception):
    """The file can't be read; carries the error's code and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def convert_apart(
    module: str, source: Path, target: Path, limits: Mapping[str, int], said: str | None
) -> Told:
    """Have the module convert the file; `said` is what somebody chose of it."""
    meta = target.with_suffix(".json")
    arguments = [str(source), str(target), str(meta), json.dumps(dict(limits))]
    if said is not None:
        arguments.append(said)
    try:
        subprocess.run(
            [sys.executable, "-I", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=limits["workbook_seconds"] * 2,
            check=False,
        )
        told: Told = json.loads(meta.read_text(encoding="utf-8"))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        # Killed by its limits (or crashed on them): it left no word.
        told = {
            "error": "file_too_large",
            "detail": "The file needs more memory or time than allowed",
        }
    finally:
        meta.unlink(missing_ok=True)
    if "error" in told:
        target.unlink(missing_ok=True)
    return told


def answer(
    convert: Callable[[str, str, dict[str, int], str | None], Told],
    source: str,
    target: str,
    meta: str,
    limits_json: str,
    said: str | None = None,
) -> None:
    """In the process of its own: convert within the limits and write what happened."""
    limits = json.loads(limits_json)
    memory, seconds = limits["workbook_memory"], limits["workbook_seconds"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["unpacked_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        told = convert(source, target, limits, said)
    except RefusedError as refused:
        told = {"error": refused.code, "detail": str(refused)}
    except MemoryError:
        told = {"error": "file_too_large", "detail": "The file needs too much memory"}
    with open(meta, "w", encoding="utf-8") as out:
        json.dump(told, out)
