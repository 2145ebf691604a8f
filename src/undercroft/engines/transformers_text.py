"""Text by transformers' own ``generate``: the reference that other engines are held against.

One prompt at a time is computed; what is slow here is right. Penalties are transformers' own, so
llama.cpp's DRY is not among them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from undercroft.engines.child import usable_cores
from undercroft.engines.served import BASE, Task
from undercroft.errors import BadInput, MissingExtra, NotFound


@dataclass(frozen=True, slots=True)
class Drawing:
    """How tokens are drawn, and where text ends. ``temperature`` 0 is greedy."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()


@dataclass(slots=True)
class Written:
    """How an answer ended: ``stop`` or ``length``, and the tokens that it cost."""

    reason: str
    prompt_tokens: int
    completion_tokens: int


class Model:
    """A model folder, loaded: in float32 on a CPU, as it is kept on a GPU."""

    def __init__(self, task: Task) -> None:
        torch, transformers = _libraries()
        torch.set_num_threads(task.threads or usable_cores())
        is_cuda = torch.cuda.is_available()
        folder = str(task.model)
        self.context = task.context
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto" if is_cuda else torch.float32
        )
        self._torch = torch
        self._transformers = transformers
        self._model: Any = model.to("cuda" if is_cuda else "cpu").eval()
        self._adapters = frozenset(task.adapters)
        self._load_adapters(task.adapters)
        self._computing = threading.Lock()

    def _load_adapters(self, adapters: Mapping[str, Path]) -> None:
        if not adapters:
            return
        try:
            from peft import PeftModel
        except ImportError:
            raise BadInput(
                "The engine transformers applies adapters by PEFT, which is not installed.",
                do="Install it (pip install peft), or serve the model by llama.cpp.",
            ) from None
        model = self._model
        for number, (name, folder) in enumerate(adapters.items()):
            label = _label(name)
            if number:
                model.load_adapter(str(folder), adapter_name=label)
            else:
                model = PeftModel.from_pretrained(model, str(folder), adapter_name=label)
        self._model = model.eval()

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text that the chat template makes of ``messages``. Raises `BadInput`."""
        if not self.tokenizer.chat_template:
            raise BadInput("The model has no chat template.", do="Ask for a plain completion.")
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template may refuse what it likes, in any way
            raise BadInput("The chat template refuses the messages.", f"{error}.") from None
        return text

    def write(
        self, prompt: str, drawing: Drawing, name: str, is_wanted: Callable[[], bool]
    ) -> Iterator[str | Written]:
        """Pieces of the answer as they come, and how it ended; ``name`` is `BASE` or an adapter.
        It stops soon after ``is_wanted`` says no. Raises `NotFound` and `BadInput`."""
        if name not in ("", BASE, *self._adapters):
            raise NotFound(f"There is no model {name!r}.", name, (BASE, *self._adapters))
        ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        length = int(ids.shape[1])
        if length >= self.context:
            raise TooLong(length, self.context)
        adapter = _Adapter(self._model, name if name in self._adapters else "", self._adapters)
        most = min(drawing.max_tokens, self.context - length)
        with self._computing, adapter:
            yield from self._write(ids, drawing, most, is_wanted)

    def _write(
        self, ids: Any, drawing: Drawing, most: int, is_wanted: Callable[[], bool]
    ) -> Iterator[str | Written]:
        pieces: SimpleQueue[Any] = SimpleQueue()
        streamer = _Streamer(self.tokenizer, pieces)
        cut = _Cut(drawing.stops)
        stopper = self._stopper(lambda: not is_wanted() or cut.is_over)
        worker = threading.Thread(
            target=self._compute, args=(ids, drawing, most, streamer, stopper)
        )
        worker.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                if shown := cut.shown(piece):
                    yield shown
            if rest := cut.rest():
                yield rest
        finally:
            worker.join()
        written = streamer.count
        is_full = written >= most and not streamer.ended and not cut.is_over
        yield Written("length" if is_full else "stop", int(ids.shape[1]), written)

    def _compute(self, ids: Any, drawing: Drawing, most: int, streamer: Any, stopper: Any) -> None:
        torch = self._torch
        options: dict[str, Any] = {"do_sample": drawing.temperature > 0}
        if drawing.temperature > 0:
            options |= {
                "temperature": drawing.temperature, "top_p": drawing.top_p, "top_k": drawing.top_k,
            }  # fmt: skip
        try:
            if drawing.seed is not None:
                torch.manual_seed(drawing.seed)
            with torch.inference_mode():
                self._model.generate(
                    input_ids=ids.to(self._model.device), attention_mask=torch.ones_like(ids),
                    max_new_tokens=most, repetition_penalty=drawing.repetition_penalty,
                    pad_token_id=self.tokenizer.eos_token_id, streamer=streamer,
                    stopping_criteria=stopper, **options,
                )  # fmt: skip
        except Exception as error:  # it goes to whoever reads the pieces
            streamer.fail(error)

    def _stopper(self, is_over: Callable[[], bool]) -> Any:
        """transformers' list of reasons to stop, with ours."""
        torch = self._torch

        def asked(ids: Any, _scores: Any, **_: Any) -> Any:
            return torch.full((ids.shape[0],), is_over(), dtype=torch.bool, device=ids.device)

        return self._transformers.StoppingCriteriaList([asked])


class TooLong(BadInput):
    """A prompt that leaves no room for an answer, with its ``tokens`` and the model's ``room``."""

    def __init__(self, tokens: int, room: int) -> None:
        super().__init__(f"The prompt has {tokens} tokens; the model takes {room}.")
        self.tokens, self.room = tokens, room


class _Streamer:
    """What ``generate`` gives its tokens to: text goes out once no later token can change it."""

    def __init__(self, tokenizer: Any, pieces: SimpleQueue[Any]) -> None:
        self._tokenizer = tokenizer
        self._pieces = pieces
        self._ends = {tokenizer.eos_token_id}
        self._ids: list[int] = []
        self._shown = ""
        self._is_prompt = True
        self.count = 0
        self.ended = False

    def put(self, ids: Any) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        for number in ids.flatten().tolist():
            self.count += 1
            self.ended = self.ended or number in self._ends
            self._ids.append(number)
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # a character that is not whole yet
            self._pieces.put(text[len(self._shown) :])
            self._shown = text

    def end(self) -> None:
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        self._pieces.put(text[len(self._shown) :])
        self._pieces.put(None)

    def fail(self, error: BaseException) -> None:
        self._pieces.put(error)


class _Cut:
    """Ends a text before the first of ``stops``, however it is cut into pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.is_over = False

    def shown(self, piece: str) -> str:
        """What may be shown by now; the rest may be the beginning of a stop."""
        if self.is_over:
            return ""
        self._held += piece
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_over = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return text

    def rest(self) -> str:
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of ``text`` that ``stop`` begins with."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


class _Adapter:
    """Within the block the model has the adapter ``name`` on, or none."""

    def __init__(self, model: Any, name: str, known: frozenset[str]) -> None:
        self._model, self._name, self._known = model, name, known
        self._off: Any = None

    def __enter__(self) -> None:
        if self._name:
            self._model.set_adapter(_label(self._name))
        elif self._known:
            self._off = self._model.disable_adapter()
            self._off.__enter__()

    def __exit__(self, *raised: Any) -> None:
        if self._off is not None:
            self._off.__exit__(*raised)


def _label(name: str) -> str:
    """A name as a module of torch may bear."""
    return name.replace(".", "_").replace(":", "_").replace("@", "_")


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(str(error.name), "train") from None
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers
