"""Engines that are killed, stopped and swapped while people ask: who can be spared is spared."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import openai
import psutil
import pytest

from tests.serve.serving import Served, gateway_of, keep_model, make_project, release, smollm

CLIENTS = 3
PAUSE_S = 0.05  # engines that start need the processor too
ADMISSION = "\n[admission]\nhang_s = 4.0\nretry_least = 1000\n"


@pytest.fixture(scope="module")
def twofold(tmp_path_factory):
    """A gateway with two replicas of one thread each."""
    folder = tmp_path_factory.mktemp("twofold") / "p"
    project = make_project(folder, replicas=2, slots=2, threads=1, cache_entries=0)
    with (folder / "undercroft.toml").open("a") as file:
        file.write(ADMISSION)
    project = type(project).open(folder)
    release(project, keep_model(project, "docs-q4_1", smollm()))
    with gateway_of(project, timeout_s=90) as gateway:
        yield gateway


@dataclass
class Load:
    """What several clients met who asked again and again. An answer that broke off after its first
    text could not be retried by anybody: it counts as ``broken``, not as ``failed``."""

    answered: int = 0
    broken: int = 0
    failed: list[str] = field(default_factory=list)
    models: set[str] = field(default_factory=set)


async def ask(client: openai.AsyncOpenAI, number: int, load: Load) -> None:
    question = [{"role": "user", "content": f"Count from {number}."}]
    begun = False
    try:
        if number % 2:
            raw = await client.chat.completions.with_raw_response.create(
                model="docs", messages=question, max_tokens=4, temperature=1
            )
            load.models.add(raw.headers["x-undercroft-model"])
            reason = raw.parse().choices[0].finish_reason
        else:
            reason = None
            async for chunk in await client.chat.completions.create(
                model="docs", messages=question, max_tokens=4, temperature=1, stream=True
            ):
                begun = begun or bool(chunk.choices and chunk.choices[0].delta.content)
                reason = chunk.choices[0].finish_reason or reason
        assert reason in ("length", "stop")
        load.answered += 1
    except (openai.APIError, AssertionError) as error:
        if begun:
            load.broken += 1
        else:
            load.failed.append(repr(error))


def under_load(served: Served, trouble: Callable[[Load], Awaitable[None]]) -> Load:
    """Have `CLIENTS` ask until ``trouble`` is over, and a little longer."""
    load = Load()

    async def main() -> None:
        over = asyncio.Event()

        async def keep_asking(client: openai.AsyncOpenAI, first: int) -> None:
            number = first
            while not over.is_set():
                await ask(client, number, load)
                number += CLIENTS
                await asyncio.sleep(PAUSE_S)

        async with openai.AsyncOpenAI(
            base_url=served.url, api_key=served.key, max_retries=0, timeout=60
        ) as client:
            asking = [asyncio.create_task(keep_asking(client, n)) for n in range(CLIENTS)]
            await answers(load, 3)
            await trouble(load)
            await answers(load, 6)
            over.set()
            await asyncio.gather(*asking)

    asyncio.run(main())
    return load


async def answers(load: Load, more: int, within_s: float = 40.0) -> None:
    aim, deadline = load.answered + more, time.monotonic() + within_s
    while load.answered < aim:
        assert time.monotonic() < deadline, f"no answers came: {load}"
        await asyncio.sleep(0.05)


def engines_of(served: Served) -> list[psutil.Process]:
    children = psutil.Process(served.process.pid).children(recursive=True)
    return [each for each in children if "undercroft.engines.llamacpp" in each.cmdline()]


async def until(condition: Callable[[], bool], within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.05)


def test_a_replica_that_is_killed_costs_nobody_an_answer(twofold):
    async def kill(load: Load) -> None:
        engines_of(twofold)[0].kill()
        await answers(load, 4)
        await until(lambda: len(engines_of(twofold)) == 2)

    load = under_load(twofold, kill)
    assert load.failed == []


def test_a_replica_that_hangs_is_found_ended_and_replaced(twofold):
    async def stop(load: Load) -> None:
        hung = engines_of(twofold)[0]
        os.kill(hung.pid, signal.SIGSTOP)
        await until(lambda: not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE)
        await answers(load, 4)
        await until(lambda: len(engines_of(twofold)) == 2)

    load = under_load(twofold, stop)
    assert load.failed == []


def test_a_model_is_swapped_and_swapped_back_without_a_failed_request(twofold):
    project = twofold.project
    before = project.ledger.artifact("route:docs@live")
    other = keep_model(project, "other-q4_1", smollm())

    async def swap(load: Load) -> None:
        await asyncio.to_thread(release, project, other)
        await until(lambda: str(other.ref) in load.models)
        project.ledger.set_alias(before.ref, "live", "test")
        load.models.clear()
        await until(lambda: "model:docs-q4_1@1" in load.models)

    load = under_load(twofold, swap)
    assert load.failed == []
    assert load.broken == 0
