"""A disk that fills up: one clear error, and nothing acknowledged is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, resource, signal, sys
from pathlib import Path
import pyarrow as pa
from undercroft.errors import StorageFull
from undercroft.lake import Lake

def rows(count):
    return pa.table({"id": [os.urandom(8).hex() for _ in range(count)],
                     "payload": [os.urandom(1000) for _ in range(count)]})

lake = Lake(sys.argv[1])
table = lake.table("raw")
good = table.append(rows(500))
for attempt in range(3):
    try:
        table.append(rows(8000))
        sys.exit("the disk was not full")
    except StorageFull as error:
        assert "disk is full" in str(error) and error.exit_code == 9
        assert table.count() == 500 and table.version == good
blob = Path(sys.argv[2]) / "big"
blob.write_bytes(os.urandom(8_000_000))
try:
    lake.blobs.put(blob, "model", "docs")
    sys.exit("the disk was not full")
except StorageFull:
    assert blob.exists() and not list(lake.blobs.root.glob("[!.]*/*/*"))
table.append(rows(10))
assert table.count() == 510
print("kept", table.count())
"""


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real file system of 5 MB, or None where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(place)]
    mounted = (
        os.geteuid() == 0
        and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    )
    yield place if mounted else None
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def in_a_namespace(place: Path) -> list[str]:
    """The command's prefix that gives an ordinary user a small disk of its own at ``place``."""
    mount = f'mount -t tmpfs -o size=5m tmpfs {place} && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]


def test_a_full_disk_is_one_clear_error_and_good_rows_are_kept(small_disk, tmp_path):
    prefix = [] if small_disk else in_a_namespace(tmp_path / "disk")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "disk"), str(tmp_path)]
    done = subprocess.run(
        [*prefix, *command], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "kept 510\n"), done.stderr
