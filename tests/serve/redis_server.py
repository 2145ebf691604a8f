"""A real Redis server on a socket of its own."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis


@dataclass
class Store:
    url: str
    client: redis.Redis
    process: subprocess.Popen[bytes]


@contextmanager
def redis_of(folder: Path) -> Iterator[Store]:
    """A server that keeps nothing on disk, until the block ends."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program is not None, "redis-server is not installed; make test installs it"
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        _wait(client)
        yield Store(f"unix://{socket}", client, process)
    finally:
        client.close()
        process.kill()
        process.wait()


def _wait(client: redis.Redis) -> None:
    for _ in range(500):
        try:
            client.ping()
        except redis.RedisError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the Redis server was not ready")
