"""From raw documents to a served assistant that cites its sources, as a user meets it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from openai import OpenAI

from tests.system.conftest import BroughtUp, error_of, wait_until


def test_the_summary_accounts_for_every_document(brought_up: BroughtUp) -> None:
    documents = brought_up.summary["documents"]
    files = len([path for path in brought_up.folder.iterdir() if path.is_file()])
    assert documents["collected"] == files - 1
    assert sum(documents["rejected"].values()) == 1
    assert documents["kept"] + sum(documents["removed"].values()) == documents["collected"]
    assert sum(documents["removed"].values()) >= 2


def test_the_summary_has_both_scorecards_and_says_whether_it_released(
    brought_up: BroughtUp,
) -> None:
    evaluation = brought_up.summary["evaluation"]
    metrics = {"answer_f1", "grounded", "cited", "refused_unanswerable", "answer_perplexity"}
    assert metrics <= evaluation["base"].keys()
    assert metrics <= evaluation["tuned"].keys()
    assert evaluation["cases"] == 4
    assert isinstance(evaluation["significant"], bool)
    assert brought_up.summary["release"]["released"] in (True, False)
    assert brought_up.summary["release"]["reason"]
    assert brought_up.summary["energy_is"] in ("measured", "estimated")


def test_the_answer_names_passages_of_the_documents(brought_up: BroughtUp) -> None:
    answer = brought_up.summary["answer"]
    assert answer["text"]
    assert answer["sources"]
    for source in answer["sources"]:
        start, end = source["span"]
        assert 0 <= start < end
        assert source["uri"].endswith(".md")


def test_the_thread_leads_from_the_answer_to_the_documents(brought_up: BroughtUp) -> None:
    answer = brought_up.summary["answer"]
    graph = brought_up.shell.json("-C", "handbook", "lineage", f"answer:{answer['id']}", "--up")
    kinds = {node["kind"] for node in graph["nodes"]}
    assert {"answer", "document", "route", "model", "dataset", "raw", "run"} <= kinds
    document = answer["sources"][0]["document"]
    below = brought_up.shell.json("-C", "handbook", "lineage", f"document:{document}", "--down")
    assert f"answer:{answer['id']}" in {node["id"] for node in below["nodes"]}


def test_what_was_removed_has_a_rule_and_a_value(brought_up: BroughtUp) -> None:
    facts = brought_up.shell.json("-C", "handbook", "show", "dataset:handbook")
    by_uri = {Path(row["uri"]).name: row for row in facts["removed"]}
    assert by_uri["tiny.md"]["rule"]
    assert str(by_uri["tiny.md"]["value"]) == "11"
    assert "copy-of-with.md" in by_uri or "with.md" in by_uri
    raw = brought_up.shell.json("-C", "handbook", "show", "raw:handbook")
    assert [Path(row["uri"]).name for row in raw["rejected"]] == ["photo.txt"]
    assert all(row["reason"] for row in raw["rejected"])


def test_personal_data_reaches_neither_the_index_nor_an_answer(brought_up: BroughtUp) -> None:
    found = brought_up.shell.run("-C", "handbook", "show", "dataset:handbook", "--json")
    assert json.loads(found.stdout)["meta"]["masked"]
    vectors = brought_up.folder / ".undercroft" / "lake" / "vectors.lance"
    files = [file for file in vectors.rglob("*") if file.is_file()]
    assert files
    assert not any(b"jane.roe" in file.read_bytes() for file in files)


def test_reading_commands_answer_in_json_and_in_words(brought_up: BroughtUp) -> None:
    for command in (
        ["ls"],
        ["ls", "model"],
        ["runs"],
        ["runs", "--stage", "train"],
        ["status"],
        ["key", "ls"],
        ["audit", "verify"],
        ["audit", "ls"],
        ["show", "model:handbook"],
        ["lineage", "model:handbook"],
    ):
        assert brought_up.shell.json("-C", "handbook", *command), command
        words = brought_up.shell.run("-C", "handbook", *command)
        assert words.returncode == 0, (command, words.stderr)
        assert words.stdout.strip(), command


def test_doctor_finds_the_finished_project_in_order(brought_up: BroughtUp) -> None:
    checks = {
        check["check"]: check
        for check in json.loads(brought_up.shell.run("-C", "handbook", "doctor", "--json").stdout)
    }
    assert checks["ledger"]["ok"]
    assert checks["audit log"]["ok"]
    assert checks["artifact files"]["ok"]


def test_a_second_up_serves_within_fifteen_seconds_and_stops_cleanly(
    brought_up: BroughtUp,
) -> None:
    shell, state = brought_up.shell, brought_up.folder / ".undercroft"
    runs_before = len(shell.json("-C", "handbook", "runs", "--limit", "1000"))
    started = time.monotonic()
    process = shell.start("up", "handbook", "--no-console")
    try:
        wait_until(lambda: "api" in shell.json("-C", "handbook", "status")["urls"], 60)
        assert time.monotonic() - started < 15
        second = shell.run("up", "handbook")
        assert second.returncode == 4
        assert "already up" in second.stderr
        answer = shell.json("-C", "handbook", "ask", "How does the with statement work?")
        assert answer["sources"]
        api = shell.json("-C", "handbook", "status")["urls"]["api"]
        key = shell.json("-C", "handbook", "key", "create", "bob", "--role", "user")["key"]
        client = OpenAI(base_url=api, api_key=key)
        whole = client.chat.completions.create(
            model="handbook", messages=[{"role": "user", "content": "What does pass do?"}]
        )
        assert whole.choices[0].message.content
        stopped = shell.run("-C", "handbook", "stop")
        assert "has stopped" in stopped.stdout
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert not (state / "up.pid").exists()
    assert len(shell.json("-C", "handbook", "runs", "--limit", "1000")) == runs_before


def test_ctrl_c_stops_everything_and_says_how_to_go_on(brought_up: BroughtUp) -> None:
    shell = brought_up.shell
    log = shell.folder / "up.log"
    log.unlink(missing_ok=True)
    process = shell.start("up", "handbook", "--no-console")
    try:
        wait_until(lambda: "Try:" in log.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
    wait_until(lambda: not shell.json("-C", "handbook", "status")["urls"], 10)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("model:handbok", "handbook"),
        ("modle:handbook", "model:"),
        ("model:handbook@99", ""),
        ("document:0123456789abcdef", ""),
        ("answer:ans-00000000000000000000", ""),
        ("handbook", "kind:name"),
    ],
)
def test_a_ref_that_does_not_exist(brought_up: BroughtUp, name: str, hint: str) -> None:
    for command in ("show", "lineage"):
        code, error = error_of(brought_up.shell, "-C", "handbook", command, name)
        assert code in (2, 3), (command, name)
        assert hint in error["why"] + error["do"], (command, name)
