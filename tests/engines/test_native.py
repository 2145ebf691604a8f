"""Builds for this processor: for which instructions, which is used, and how one is probed.

The servers here are scripts around the wheel's llama.cpp, so that nothing is compiled.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from undercroft.cli.main import group
from undercroft.engines import LlamaServer, building, native, probe
from undercroft.engines.client import EngineClient
from undercroft.engines.native import NativeBuild
from undercroft.engines.processor import features, target
from undercroft.engines.toolchain import compiler
from undercroft.errors import BadInput, EngineFailed, NotFound
from undercroft.settings import EngineSettings

SERVER = """#!{python}
import argparse, pathlib, signal, sys, xllamacpp
from undercroft.engines.tiny import write_tiny
from undercroft.processes import end_with_parent
end_with_parent()
known = argparse.ArgumentParser()
for name in ("model", "ctx-size", "parallel"):
    known.add_argument(f"--{{name}}")
options, _ = known.parse_known_args()
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = options.model, 0, ["127.0.0.1"]
params.n_ctx, params.n_parallel, params.verbosity = int(options.ctx_size), 1, 1
{twist}
server = xllamacpp.Server(params)
while True:
    signal.pause()
"""
OTHER_WEIGHTS = """
other = pathlib.Path(options.model).with_suffix(".other")
params.model.path = str(write_tiny(other, pathlib.Path(options.model).stem, seed=1))
"""
DIES = "import os; os.kill(os.getpid(), signal.SIGILL)"


def server(folder: Path, twist: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / native.SERVER
    file.write_text(SERVER.format(python=sys.executable, twist=twist))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return native.folder()


def put(name: str, twist: str = "", needs: tuple[str, ...] = (), version: str = "") -> NativeBuild:
    """A build that is registered, of the installed version unless another is given."""
    file = server(native.folder() / name, twist)
    made = NativeBuild(
        name, version or native.installed(), needs, (), "", native.digest(file), "gcc", 1.0,
        "2026-01-01", 0.0, 100,
    )  # fmt: skip
    made.keep()
    return made


def test_every_switch_is_set_after_what_the_processor_lists(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    listed = "fpu sse4_2 avx f16c fma bmi2 avx2 avx512f avx512cd avx512vl avx512dq avx512bw"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {listed} avx512_vnni avx512_bf16\n\n")
    has = features(cpuinfo)
    aim = target(has, "x86_64")
    assert {"GGML_AVX512=ON", "GGML_AVX512_VNNI=ON", "GGML_AVX512_BF16=ON"} <= set(aim.options)
    assert {"GGML_AVX512_VBMI=OFF", "GGML_AMX_TILE=OFF"} <= set(aim.options)
    assert aim.more
    assert "avx512_vnni" in aim.needs
    assert "fpu" not in aim.needs
    less = target(has, "x86_64", without=frozenset({"avx512f"}))
    assert "GGML_AVX512_VNNI=OFF" in less.options
    assert not less.more
    arm = target(frozenset({"asimd", "asimddp", "asimdhp", "i8mm"}), "aarch64")
    assert arm.options == ("GGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16+i8mm",)
    assert features(tmp_path / "none") == frozenset()


def test_a_build_is_used_only_where_it_fits(cache: Path) -> None:
    assert native.choose("auto") is None
    with pytest.raises(NotFound, match="undercroft engine build"):
        native.choose("native")
    put("older", version="2020.1")
    put("foreign", needs=("quantum",))
    with pytest.raises(NotFound, match=r"older: made of version 2020\.1.*installed"):
        native.choose("native")
    good = put("good")
    assert native.choose("auto") == good
    assert native.choose("wheel") is None
    good.server.write_text("#!/bin/sh\n")
    assert native.choose("auto") is None
    (cache / "good" / native.RECORD).write_text("{")
    assert {each.name for each in native.builds()} == {"older", "foreign"}


async def test_a_native_server_serves_and_ends_as_the_wheel_does(
    cache: Path, wheel_gguf: Path
) -> None:
    made = put("good")
    with LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1) as engine:
        assert engine.build == made
        engine.wait_ready()
        assert engine.responsive(20)
        async with EngineClient(engine.base_url) as client:
            assert await client.tokenize("vault")
    assert not engine.alive()


@pytest.mark.parametrize("dies", ["at once", "later"])
def test_a_build_that_dies_of_an_instruction_is_not_used_again(
    cache: Path, wheel_gguf: Path, dies: str
) -> None:
    put("broken", DIES if dies == "at once" else "")
    with LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1) as engine:
        if dies == "at once":
            with pytest.raises(EngineFailed, match="SIGILL"):
                engine.wait_ready()
        else:
            engine.wait_ready()
            os.kill(engine.pid, signal.SIGILL)
            while engine.alive():
                time.sleep(0.02)
    assert native.choose("auto") is None
    listed = CliRunner().invoke(group, ["engine", "ls", "--json"])
    (row,) = json.loads(listed.stdout)["builds"]
    assert not row["used"]
    assert "instruction" in row["unfit"]


def test_the_probe_lets_a_good_build_pass_and_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "FORMATS", ("Q8_0",))
    good = probe.probe(server(tmp_path / "good"))
    assert not good.fault
    assert good.difference < 1e-4
    assert good.compared >= len(probe.PROMPTS) * probe.STEPS
    assert "differ" in probe.probe(server(tmp_path / "wrong", OTHER_WEIGHTS)).fault
    assert "SIGILL" in probe.probe(server(tmp_path / "dies", DIES)).fault


def test_what_cannot_be_built_is_said_before_anything_is_fetched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"something else")
    with pytest.raises(BadInput, match="not the source distribution"):
        building._unpacked(other, building.SOURCES[native.installed()], tmp_path / "tree")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BadInput, match=r"gain nothing|compiler"):
        building.build(lambda *_: None)
    with pytest.raises(BadInput, match="no C\\+\\+ compiler"):
        compiler()


def test_settings_choose_the_wheel(cache: Path, wheel_gguf: Path) -> None:
    put("good")
    tuning = EngineSettings(build="wheel")
    with LlamaServer.start(wheel_gguf, context=256, slots=1, threads=1, tuning=tuning) as engine:
        assert engine.build is None
