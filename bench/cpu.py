"""CPU time and memory of groups of processes, read from /proc.

A group is a process with all that it has started. The time of children that have ended and were
waited for is in their parent's own figures, so a group's time only ever grows.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MiB: shared pages once (PSS), and in full for each process (RSS)."""

    pss: float
    rss: float
    processes: int


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces.
    return text[text.rindex(")") + 2 :].split()


def family(roots: Iterable[int]) -> list[int]:
    """The processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(int(entry))
            if stat is not None:
                children.setdefault(int(stat[1]), []).append(int(entry))
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, ())
    return found


def seconds(groups: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """CPU seconds that each group has used up to now."""
    used: dict[str, float] = {}
    for name, roots in groups.items():
        ticks = 0
        for pid in family(roots):
            stat = _stat(pid)
            if stat is not None:
                ticks += sum(int(part) for part in stat[11:15])
        used[name] = ticks * _TICK
    return used


def memory_of(pids: Iterable[int]) -> Memory:
    """What these processes keep in memory now."""
    pss = rss = count = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        count += 1
        for line in lines:
            name, _, rest = line.partition(":")
            if name == "Pss":
                pss += int(rest.split()[0])
            elif name == "Rss":
                rss += int(rest.split()[0])
    return Memory(pss / 1024, rss / 1024, count)
