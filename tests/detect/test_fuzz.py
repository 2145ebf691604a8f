"""Whatever the text: findings lie in it, what is masked is gone, and a stream gives the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts import fuzz
from tests.detect.test_streaming import GLUE, NOISE, VALUES
from undercroft.detect import DETECTORS, find, mask

KINDS = ("pii", "secret", "identity")
WORDS = ["born on ", "passport ", "ssn ", "iban ", "\u200b", "\u2011", "ｐ", "а", "٣", "1.1.1990"]
SHORT = [value for value in VALUES if len(value) < 100]
texts = st.lists(
    st.sampled_from(SHORT + GLUE * 2 + NOISE + WORDS) | st.text(max_size=4), max_size=12
).map("".join)


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """What is loaded on first use is no input's fault."""
    fuzz.detect(b"Loaded, with jo@corp.com in it.")


@settings(max_examples=150, deadline=10_000)
@given(texts | st.binary(max_size=200).map(lambda data: data.decode("utf-8", "replace")))
@example("03.0.113.9 and 81.2.69.142")
@example("00:1b:44:11:3a:b7+1 650-253-0000%")
@example("81.2.69.142(415) 555-2671")
@example("pasSword =QQQQ44444444QQQQrp.coAQSKIHQ@db.44444444-----BEGIN RSA PRIVATE KEY-----\n"
         "MYQQQQQQQ44444444QQQQrp.coAQSKIHQ@db.4444-----BEGIN RSA PRIVATE KEY-----\n"
         "MYQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQrp.coQ.com/m")  # fmt: skip
@example("password=QQQQ44444444rp.co-----BEGIN RSA PRIVA443-----BEGIN RSA PRIVATE KEY-----\n"
         + "MIIEow" * 11 + " and so on")  # fmt: skip
def test_every_detector_takes_any_text(text: str) -> None:
    fuzz.detect(text.encode())


@settings(max_examples=150, deadline=10_000)
@given(texts)
def test_masking_removes_every_value_that_was_found(text: str) -> None:
    findings = [each for each in find(text, tuple(DETECTORS)) if each.kind.split(".")[0] in KINDS]
    masked = mask(text, findings, KINDS)
    kept = list(text)
    for each in findings:
        kept[each.start : each.end] = [""] * (each.end - each.start)
    rest = iter(masked)
    assert all(char in rest for char in "".join(kept)), "what was not found is not kept"
    again = find(masked, ("pii", "secret"))
    assert mask(masked, again, KINDS) == masked
