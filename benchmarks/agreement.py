"""Before sides are measured: whether each gives the same answer, whole and streamed. While they
are: which one is, and how long it has taken."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from benchmarks.sides import Side

PATIENCE_S = 60.0  # of a gateway whose port is open before it can answer


@dataclass(frozen=True)
class Said:
    """What an answer says, however it came."""

    text: str
    reason: str | None
    tokens: int | None = None


def whole(side: Side, max_tokens: int = 512) -> Said:
    """One answer in one piece. Raises `RuntimeError` with what came instead."""
    body = json.loads(_reply(side, max_tokens=max_tokens))
    (choice,) = body["choices"]
    said = choice["message"]["content"], choice["finish_reason"]
    return Said(*said, body["usage"]["completion_tokens"])


def streamed(side: Side) -> Said:
    """One answer, put together from its events. Raises `RuntimeError` as `whole` does, and where
    the stream does not end as it should."""
    text, reason, lines = "", None, _reply(side, max_tokens=512, stream=True).splitlines()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        raise RuntimeError(f"its stream ended with {events[-1:]}")
    for event in events[:-1]:
        for choice in json.loads(event)["choices"]:
            text += choice["delta"].get("content") or ""
            reason = choice.get("finish_reason") or reason
    return Said(text, reason)


def _reply(side: Side, **fields: Any) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=30)
    with closing(connection):
        body = side.request(**fields).partition(b"\r\n\r\n")[2]
        headers = {"content-type": "application/json", **side.headers}
        connection.request("POST", "/v1/chat/completions", body, headers)
        reply = connection.getresponse()
        text = reply.read().decode()
    if reply.status != 200:
        raise RuntimeError(f"it answers with {reply.status}: {text[:200]}")
    return text


def agreeing(sides: Sequence[Side]) -> list[Side]:
    """Those that answer as the first does; of the others it is said why they are left out."""
    first, *others = sides
    wanted = whole(first), streamed(first)
    kept = [first]
    for side in others:
        try:
            wait_until_ready(side)
            found = whole(side), streamed(side)
        except RuntimeError as problem:
            print(f"{side.name} is left out: {problem}", file=sys.stderr)
            continue
        if found == wanted:
            kept.append(side)
        else:
            print(f"{side.name} is left out: it says {found}, not {wanted}", file=sys.stderr)
    return kept


def wait_until_ready(side: Side) -> None:
    """Return when it answers. Raises what kept it from that for longer than `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            whole(side, max_tokens=1)
        except (RuntimeError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def announced(
    ways: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1
) -> dict[str, Callable[[], Any]]:
    """``ways`` that say on standard error which one is run, of how many, since when."""
    total, done, began = (warm_up + rounds) * len(ways), 0, time.monotonic()

    def saying(name: str, way: Callable[[], Any]) -> Any:
        nonlocal done
        done += 1
        passed = time.monotonic() - began
        print(f"\r{done:4} of {total}, {passed:4.0f} s: {name:24}", end="", file=sys.stderr)
        if done == total:
            print(file=sys.stderr)
        return way()

    return {name: lambda name=name, way=way: saying(name, way) for name, way in ways.items()}  # type: ignore[misc]
