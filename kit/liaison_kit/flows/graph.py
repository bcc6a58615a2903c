"""The graph of a flow: which steps are reached, and whether a run always gets to an end."""

from collections.abc import Collection, Iterator, Mapping

from liaison_kit.flows.frame import END, Fault

Edges = Mapping[str, Collection[str]]
"""By step: where its ways lead. One that ends the run leads to `end`."""


def faults(first: str, edges: Edges, pausing: Collection[str]) -> Iterator[Fault]:
    """What is wrong with the graph; its ways lead to steps that there are, or to `end`."""
    reached = _from(first, edges)
    for step in edges:
        if step not in reached:
            said = "No step leads here: let one, or take it out"
            yield _fault(step, "unreachable", said)
    ending = _from(END, _turned(edges))
    for step in edges:
        if step in reached and step not in ending:
            said = f"From here a run never gets to an end: let a way lead to `{END}`"
            yield _fault(step, "no_end", said)
    for step in sorted(_in_circles({k: v for k, v in edges.items() if k not in pausing})):
        said = "It is in a circle in which nothing waits: put a wait in between"
        yield _fault(step, "circle", said)


def _fault(step: str, code: str, message: str) -> Fault:
    return Fault(step=step, path=f"steps.{step}", code=code, message=message)


def _from(start: str, edges: Edges) -> set[str]:
    found, ahead = {start}, [start]
    while ahead:
        for following in edges.get(ahead.pop(), ()):
            if following not in found:
                found.add(following)
                ahead.append(following)
    return found


def _turned(edges: Edges) -> dict[str, list[str]]:
    turned: dict[str, list[str]] = {}
    for step, following in edges.items():
        for other in following:
            turned.setdefault(other, []).append(step)
    return turned


def _in_circles(edges: Edges) -> set[str]:
    """Those of the steps that a way leads back to."""
    inside = {k: [f for f in v if f in edges] for k, v in edges.items()}
    # What nothing leads to, or what leads nowhere, is in no circle; nor is it without these.
    turned = _turned(inside)
    waiting = {step: len(turned.get(step, ())) for step in inside}
    leaves = [step for step, count in waiting.items() if not count]
    while leaves:
        gone = leaves.pop()
        for following in inside.pop(gone):
            waiting[following] -= 1
            if not waiting[following]:
                leaves.append(following)
    return {step for step in inside if step in _from_any(inside[step], inside)}


def _from_any(starts: Collection[str], edges: Edges) -> set[str]:
    found: set[str] = set()
    for start in starts:
        if start not in found:
            found |= _from(start, edges)
    return found
