"""Engines started again one after another, and nobody who asks notices."""

import asyncio
import json
import threading
import time

import psutil
import pytest
from click.testing import CliRunner

from tests.serve.serving import gateway_of, keep_model, make_project, release, smollm
from tests.serve.test_pool import Bench, claim, pool_of, until
from undercroft.cli.main import group
from undercroft.errors import EngineFailed
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.renewal import renew


async def renewed(pool: Pool, *fresh: Bench) -> None:
    async def warm(replica: Bench) -> None:
        assert replica.up

    await renew(pool, fresh, warm, drain_s=5, told=lambda: None)


async def test_one_that_is_alone_is_replaced_by_another_that_runs_already() -> None:
    old, fresh = Bench(), Bench(slots=2)
    pool = await pool_of(old)
    async with pool.slot(claim()) as lease:
        work = asyncio.create_task(renewed(pool, fresh))
        await until(lambda: fresh.up)
        assert old.up, "it is still answering"
        async with pool.slot(claim()) as other:
            assert (lease.replica, other.replica) == (old, fresh)
    await work
    assert not old.up
    assert pool.restarts == 0
    await pool.stop(0)


async def test_one_of_several_is_drained_before_it_is_stopped() -> None:
    olds, fresh = [Bench(), Bench()], [Bench(), Bench()]
    pool = await pool_of(*olds)
    async with pool.slot(claim()) as lease:
        work = asyncio.create_task(renewed(pool, *fresh))
        await asyncio.sleep(0.25)
        assert lease.replica.up
        async with pool.slot(claim()) as other:
            assert other.replica is not lease.replica
    await work
    assert [one.up for one in (*olds, *fresh)] == [False, False, True, True]
    assert pool.restarts == 0
    await pool.stop(0)


async def test_one_that_does_not_start_leaves_the_old_one() -> None:
    old = Bench()
    pool = await pool_of(old)
    with pytest.raises(EngineFailed):
        await renewed(pool, Bench(broken=True))
    async with pool.slot(claim()) as lease:
        assert lease.replica is old
    await pool.stop(0)


async def test_a_replica_that_nobody_asks_is_asked_now_and_then() -> None:
    one = Bench()
    pool = await pool_of(one)
    pool._keeper._check_idle_s = 0.1
    one.reacts = False
    await until(lambda: one.starts == 2)
    one.reacts = True
    await pool.stop(0)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    project = make_project(
        tmp_path_factory.mktemp("restart") / "p",
        replicas=2,
        slots=1,
        threads=1,
        cache_entries=0,
    )
    release(project, keep_model(project, "docs-q4_1", smollm()))
    with gateway_of(project, 60) as gateway:
        yield gateway


def engines(served) -> dict[int, int]:
    """The engines' processes, and how many requests each takes at once."""
    children = psutil.Process(served.process.pid).children(recursive=True)
    found = {}
    for child in children:
        if "undercroft.engines.llamacpp" in child.cmdline():
            launch = next(word for word in child.cmdline() if word.startswith("{"))
            found[child.pid] = json.loads(launch)["slots"]
    return found


def restarted(served):
    return CliRunner().invoke(group, ["-C", str(served.project.root), "serve", "restart", "--json"])


def test_a_restart_under_load_fails_no_request_and_takes_up_settings(served) -> None:
    before, failed, answered, stop = engines(served), [], [], threading.Event()

    def ask() -> None:
        with served.client() as client:
            while not stop.is_set():
                try:
                    said = client.chat.completions.create(
                        model="docs", max_tokens=6,
                        messages=[{"role": "user", "content": f"Say {time.monotonic()}."}],
                    )  # fmt: skip
                    answered.append(said.choices[0].message.content)
                except Exception as error:
                    failed.append(error)

    toml = served.project.root / "undercroft.toml"
    toml.write_text(toml.read_text().replace("slots = 1", "slots = 2"))
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    done = restarted(served)
    stop.set()
    for thread in threads:
        thread.join()
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["replicas"] == 2
    after = engines(served)
    assert not set(before) & set(after)
    assert list(after.values()) == [2, 2]
    assert not failed
    assert answered


def test_settings_that_no_engine_can_run_with_change_nothing(served) -> None:
    before = engines(served)
    toml = served.project.root / "undercroft.toml"
    was = toml.read_text()
    toml.write_text(was + '\n[engine]\nspeculation = "draft"\n')
    done = restarted(served)
    toml.write_text(was)
    assert isinstance(done.exception, EngineFailed)
    assert "engine.draft names no model" in str(done.exception)
    assert set(engines(served)) & set(before), "at most the first was touched"
    with served.client() as client:
        said = client.chat.completions.create(
            model="docs", max_tokens=2, messages=[{"role": "user", "content": "Hello."}]
        )
    assert said.choices[0].message.content
