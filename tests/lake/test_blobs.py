"""Blobs: whole or absent, under the digest of their content."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest

from undercroft.errors import BadInput, NotFound, Tampered
from undercroft.lake import Blobs
from undercroft.lake.blobs import digest_of


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def folder(path: Path, **files: str) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_a_file_is_moved_in_under_its_digest(blobs, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    uri, digest, size = blobs.put(file, "model", "docs-q8_0")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert (uri, size) == (f"blob:model/docs-q8_0/{digest[:32]}.gguf", 7)
    assert blobs.path(uri).read_bytes() == b"weights"
    assert not file.exists()


def test_a_folder_keeps_its_tree(blobs, tmp_path):
    made = folder(tmp_path / "embedding", **{"config.json": "{}", "deep/er/x.bin": "x"})
    (made / "empty").mkdir()
    uri, _, size = blobs.put(made, "embedding", "docs")
    assert (blobs.path(uri) / "deep/er/x.bin").read_text() == "x"
    assert size == 3
    assert not made.exists()


def test_the_same_content_is_kept_once(blobs, tmp_path):
    first = blobs.put(folder(tmp_path / "a", x="1"), "dataset", "docs")
    second = blobs.put(folder(tmp_path / "b", x="1"), "dataset", "docs")
    assert first == second
    assert not (tmp_path / "b").exists()
    assert len(list(blobs.root.glob("*/*/*"))) == 1


def test_the_digest_tells_names_and_borders_apart(tmp_path):
    trees = [{"a": "xy", "b": ""}, {"a": "x", "b": "y"}, {"a": "xy"}, {"b": "xy"}, {"c/a": "xy"}]
    digests = {digest_of(folder(tmp_path / str(i), **t))[0] for i, t in enumerate(trees)}
    assert len(digests) == len(trees)


def test_links_and_missing_paths_are_refused_and_nothing_is_left_behind(blobs, tmp_path):
    made = folder(tmp_path / "m", x="1")
    (made / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="Links"):
        blobs.put(made, "model", "docs")
    with pytest.raises(BadInput):
        blobs.put(tmp_path / "nobody", "model", "docs")
    with pytest.raises(BadInput):
        blobs.put(made, "model", "../docs")
    assert (made / "x").exists()
    assert list(blobs.root.rglob("*")) == []


def test_a_uri_leads_nowhere_but_into_the_store(blobs):
    for uri in ("blob:a/b/c", "blob:../../etc", "table:x@1", "blob:a/../b", "/etc/passwd"):
        with pytest.raises(NotFound):
            blobs.path(uri)


def test_a_changed_blob_is_found(blobs, tmp_path):
    uri, digest, _ = blobs.put(folder(tmp_path / "a", x="1"), "dataset", "docs")
    blobs.verify(uri, digest)
    file = blobs.path(uri) / "x"
    file.chmod(0o644)
    file.write_text("2")
    with pytest.raises(Tampered):
        blobs.verify(uri, digest)


def test_a_sweep_frees_what_is_not_kept_unless_it_is_young(blobs, tmp_path):
    kept, _, _ = blobs.put(folder(tmp_path / "a", x="1"), "dataset", "docs")
    gone, _, _ = blobs.put(folder(tmp_path / "b", x="22"), "dataset", "docs")
    assert blobs.sweep({kept}) == 0
    assert blobs.sweep({kept}, grace=timedelta(0)) == 2
    blobs.path(kept)
    with pytest.raises(NotFound):
        blobs.path(gone)


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a second file system")
def test_a_blob_from_another_file_system_arrives_whole(blobs, tmp_path):
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        made = folder(Path(other) / "m", **{"a/b": "1"})
        assert made.stat().st_dev != tmp_path.stat().st_dev
        uri, digest, _ = blobs.put(made, "model", "docs")
        assert not made.exists()
    blobs.verify(uri, digest)
    assert not any((blobs.root / ".incoming").iterdir())
    shutil.rmtree(blobs.root)
