"""Every error a user can meet, in one tree.

Each says what happened, why, and what to do next, in a sentence each; nothing raised by a
library below reaches a user unwrapped.

    UndercroftError                 exit  HTTP
    ├── BadInput                       2   400   the user's input cannot be used as it is
    │   ├── BadConfig                              undercroft.toml is wrong
    │   ├── BadRef                                 not the form of a ref
    │   └── BadSource                              a document source cannot be read at all
    ├── NotFound                       3   404   named thing does not exist (nearest names given)
    ├── Busy                           4   409   somebody else holds it: a port, a project
    ├── Denied                         5   401/403  identity or access policy says no
    ├── Overloaded                     6   429/503  try again after ``retry_after_s``
    ├── MissingExtra                   7   501   an optional part is not installed
    ├── StageFailed                    8   500   a stage could not finish; the run says why
    ├── StorageFull                    9   507   the disk is full; nothing acknowledged was lost
    ├── Tampered                      10   500   audit log or artifact is not what was written
    ├── EngineFailed                  11   502   the model's engine died or answered nonsense
    └── Cancelled                    130   499   stopped on request
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class UndercroftError(Exception):
    """Base of all errors shown to users.

    ``code`` is a stable machine-readable name, ``what`` happened, ``why``, and what to ``do``.
    """

    code = "error"
    exit_code = 1
    http_status = 500

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.do = do

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.do) if part)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors come whole out of worker processes, whatever their constructors take."""
        return _again, (type(self), self.args, self.__dict__)

    def as_dict(self) -> dict[str, str]:
        """The one JSON error shape of the command line: ``code``, ``what``, ``why``, ``do``."""
        return {"code": self.code, "what": self.what, "why": self.why, "do": self.do}


class BadInput(UndercroftError):
    code = "bad_input"
    exit_code = 2
    http_status = 400


class BadConfig(BadInput):
    code = "bad_config"


class BadSource(BadInput):
    code = "bad_source"


class BadRef(BadInput):
    code = "bad_ref"

    def __init__(self, text: str, kinds: Sequence[str]) -> None:
        head = text.partition(":")[0]
        near = nearest(head, kinds)
        super().__init__(
            f"{text!r} is not a ref.",
            "A ref has the form kind:name, kind:name@version or kind:name@alias.",
            f"Kinds are {', '.join(kinds)}."
            + (f" Did you mean {near}:…?" if near and near != head else ""),
        )


class NotFound(UndercroftError):
    code = "not_found"
    exit_code = 3
    http_status = 404

    def __init__(self, what: str, name: str = "", known: Iterable[str] = (), do: str = "") -> None:
        close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4) if name else []
        why = f"The nearest names are {', '.join(close)}." if close else ""
        super().__init__(what, why, do or "See what there is with: undercroft ls")


class Busy(UndercroftError):
    code = "busy"
    exit_code = 4
    http_status = 409


class Denied(UndercroftError):
    code = "denied"
    exit_code = 5
    http_status = 401


class Overloaded(UndercroftError):
    code = "overloaded"
    exit_code = 6
    http_status = 503

    def __init__(self, what: str, why: str = "", do: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(what, why, do)
        self.retry_after_s = retry_after_s


class MissingExtra(UndercroftError):
    code = "missing_extra"
    exit_code = 7
    http_status = 501

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed.",
            f"It belongs to the optional part {extra!r}.",
            f"Install it with: pip install 'undercroft[{extra}]'",
        )


class StageFailed(UndercroftError):
    code = "stage_failed"
    exit_code = 8


class StorageFull(UndercroftError):
    code = "storage_full"
    exit_code = 9
    http_status = 507


class Tampered(UndercroftError):
    code = "tampered"
    exit_code = 10


class EngineFailed(UndercroftError):
    code = "engine_failed"
    exit_code = 11
    http_status = 502


class Cancelled(UndercroftError):
    code = "cancelled"
    exit_code = 130
    http_status = 499


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None when none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def _again(
    kind: type[UndercroftError], args: tuple[object, ...], state: dict[str, Any]
) -> UndercroftError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error
