"""Rules for secrets: keys of known form, private keys, and passwords assigned in the open.

A known prefix and length is proof enough; where there is none, the value must look random. Keys
that documentation prints as examples, placeholders and names of variables are left alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from undercroft.detect.rules import Rule, Spans, every
from undercroft.detect.units import KEY_PATTERN

_PLACEHOLDER: Final = re.compile(
    r"example|sample|dummy|placeholder|changeme|change_me|your[_-]?|redacted|x{4,}|\*{3,}|\.{3,}"
    r"|<|>|0123456|1234567|abcdef",
    re.I,
)


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def _is_not_an_example(text: str) -> bool:
    return _PLACEHOLDER.search(text) is None


def _is_random(text: str) -> bool:
    """Random letters and digits; words joined by hyphens and constants are not."""
    return (
        _is_not_an_example(text)
        and entropy(text) >= 3.2
        and any(char.isdigit() for char in text)
        and any(char.isalpha() for char in text)
    )


# --- private keys ------------------------------------------------------------------------------

_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BODY_LINE: Final = re.compile(r"[A-Za-z0-9+/=]{32}")


def _private_keys(unit: str) -> Iterator[tuple[int, int]]:
    """From the first line to the last; to the end of the unit where the last is missing."""
    at = 0
    while (begin := _BEGIN.search(unit, at)) is not None:
        end = _END.search(unit, begin.end())
        stop = end.end() if end else len(unit)
        if _BODY_LINE.search(unit, begin.end(), stop):
            yield begin.start(), stop
        at = stop


# --- assigned values ---------------------------------------------------------------------------

_ASSIGNED: Final = re.compile(
    KEY_PATTERN + r"""["']{0,2}[ \t]{0,2}[:=]{1,3}[ \t"']{0,3}(?P<value>[^\s"'():=][^\s"'()]{7,})"""
)
#: Names of variables, modules and paths, such as ``secrets.token_hex`` or ``sha256_digest``.
_DIGIT: Final = re.compile(r"\d")
_NAME: Final = re.compile(r"[A-Za-z$]*[0-9]{0,3}(?:[./:_-][A-Za-z$]*[0-9]{0,3})*")


def _is_password(value: str) -> bool:
    """Whether ``value`` looks chosen or drawn to be secret: eight characters with a digit, not a
    name, a path, an address or a plain number, and no shorter of surprise than a weak password."""
    return (
        _DIGIT.search(value) is not None
        and any(char.islower() or char.isupper() for char in value)
        and entropy(value) >= 2.75
        and _is_not_an_example(value)
        and _NAME.fullmatch(value.rstrip(".,:!?")) is None
        and "://" not in value
    )


_URL_PASSWORD: Final = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}://[^\s/@:]{1,128}:(?P<value>[^\s/@]{3,256})@(?P<host>[\w.-]{1,253})"
)
_DULL: Final = frozenset(
    {"pass", "passwd", "password", "pwd", "secret", "user", "pw", "port", "token", "key", "host"}
)


def _url_passwords(unit: str) -> Iterator[tuple[int, int]]:
    for match in _URL_PASSWORD.finditer(unit):
        value = match["value"]
        is_dull = value.lower() in _DULL or value[0] in "$%{<" or "example" in match["host"]
        if not is_dull and _is_not_an_example(value):
            yield match.span("value")


# --- the rules ---------------------------------------------------------------------------------


def _known(
    kind: str, name: str, pattern: str, is_real: Callable[[str], bool] = _is_not_an_example
) -> Rule:
    """A key of known form; ``pattern`` begins with a literal that is its own cheap sign."""
    compiled = re.compile(pattern)

    def search(unit: str) -> Spans:
        return every(compiled, unit, is_real)

    return Rule(f"secret.{kind}", name, compiled, search, 0.95)


RULES: Final = (
    Rule("secret.private_key", "pem-private-key", _BEGIN, _private_keys, 1.0),
    _known("aws_key", "aws-access-key", r"(?<![A-Za-z0-9])A(?:KIA|SIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _known("github_token", "github-token", r"(?<!\w)gh[pousr]_[A-Za-z0-9]{36,251}(?!\w)"),
    _known(
        "github_token", "github-pat", r"(?<!\w)github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?!\w)"
    ),
    _known("gitlab_token", "gitlab-token", r"(?<!\w)glpat-[\w-]{20,}"),
    _known("slack_token", "slack-token", r"(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{10,}", _is_random),
    _known("slack_webhook", "slack-webhook", r"hooks\.slack\.com/services/T\w+/B\w+/\w{16,}"),
    _known("google_key", "google-api-key", r"(?<!\w)AIza[\w-]{35}(?![\w-])"),
    _known("stripe_key", "stripe-key", r"(?<!\w)[rs]k_(?:live|test)_[A-Za-z0-9]{16,}", _is_random),
    _known("stripe_key", "stripe-webhook", r"(?<!\w)whsec_[A-Za-z0-9+/]{24,}=*", _is_random),
    _known("huggingface_token", "huggingface-token", r"(?<!\w)hf_[A-Za-z]{34}(?!\w)"),
    _known("api_key", "sk-key", r"(?<![\w-])sk-(?:[a-z]{2,8}[0-9]{0,2}-)*[\w-]{20,}", _is_random),
    _known("undercroft_key", "undercroft-key", r"(?<![\w-])uc-[\w-]{43}(?![\w-])"),
    _known("jwt", "jwt", r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"),
    Rule("secret.url_password", "url-password", re.compile("://"), _url_passwords, 0.9),
    Rule(
        "secret.password",
        "assigned-password",
        re.compile(KEY_PATTERN),
        lambda u: every(_ASSIGNED, u, _is_password, "value"),
        0.7,
    ),
)
