"""An object store: a real S3 server on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.collect.test_files import gathered
from undercroft.errors import BadSource
from undercroft.project import Project

Opened = Callable[..., Project]
ROWS = [{"id": n, "text": f"Row number {n} of a table in a bucket."} for n in range(3)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield running
    running.stop()


@pytest.fixture
def bucket(server: ThreadedMotoServer) -> Any:
    """A client, and a bucket ``docs`` with a page, a table and a picture in it."""
    client: Any = boto3.client("s3")
    client.create_bucket(Bucket="docs")
    client.put_object(Bucket="docs", Key="guide/a.md", Body=b"# A\n\nThe guide of all guides.")
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    client.put_object(Bucket="docs", Key="guide/rows.jsonl", Body=lines)
    client.put_object(Bucket="docs", Key="guide/x.png", Body=b"\x89PNG")
    client.put_object(Bucket="docs", Key="other/b.md", Body=b"# B\n\nNot asked for.")
    return client


def test_objects_under_a_prefix_become_documents(project: Opened, bucket: Any) -> None:
    opened = project("s3://docs/guide")
    rows = {f"s3://docs/guide/rows.jsonl#{row['id']}": row["text"] for row in ROWS}
    assert gathered(opened) == {
        "s3://docs/guide/a.md": "# A\n\nThe guide of all guides.",
        **rows,
    }


def test_only_what_changed_is_fetched_again(project: Opened, bucket: Any) -> None:
    opened = project("s3://docs/guide")
    gathered(opened)
    version = opened.lake.table("raw").version
    assert len(gathered(opened)) == 4
    assert opened.lake.table("raw").version == version
    bucket.put_object(Bucket="docs", Key="guide/a.md", Body=b"# A\n\nIt says something else now.")
    bucket.delete_object(Bucket="docs", Key="guide/rows.jsonl")
    assert gathered(opened) == {"s3://docs/guide/a.md": "# A\n\nIt says something else now."}


def test_a_store_that_does_not_answer_loses_nothing(
    project: Opened, bucket: Any, server: ThreadedMotoServer
) -> None:
    opened = project("s3://docs/guide")
    before = gathered(opened)
    server.stop()
    with pytest.raises(BadSource, match="cannot be listed"):
        gathered(opened)
    assert opened.lake.table("raw").count() == len(before)


def test_what_is_not_there_is_a_clear_error(project: Opened, bucket: Any) -> None:
    for address in ("s3://docs/nothing", "s3://nobodys-bucket/x"):
        with pytest.raises(BadSource):
            gathered(project(address))
