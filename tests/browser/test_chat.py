"""A conversation in the browser with a real model behind a real gateway."""

from __future__ import annotations

from undercroft.console.views import answers

QUESTION = "What does the with statement do?"


def test_an_answer_streams_in_with_its_sources_and_takes_feedback(tab, project, gateway):
    tab.open("/chat")
    tab.page.fill(".composer textarea", QUESTION)
    tab.page.press(".composer textarea", "Enter")
    tab.page.wait_for_selector(".turn .question")
    tab.page.wait_for_selector(".waiting p", timeout=30_000)
    early = len(tab.page.inner_text(".turn .prose"))
    tab.page.wait_for_selector(".thumbs", timeout=60_000)
    assert len(tab.page.inner_text(".turn .prose")) > early
    assert tab.page.locator(".source").count() == project.settings.retrieve.passages
    assert len(tab.page.inner_text(".source blockquote >> nth=0")) > 20

    tab.page.click("[aria-label='Bad answer']")
    tab.page.wait_for_selector("[aria-label='Bad answer'][aria-pressed='true']")
    tab.page.fill("[aria-label=Comment]", "It rambles.")
    tab.page.press("[aria-label=Comment]", "Enter")
    tab.page.wait_for_selector("text=Thank you.")

    answer = tab.page.get_attribute("a:text-is('Trace')", "href")
    trace = _recorded(project, answer.removeprefix("/answers/"))
    assert trace.question == QUESTION
    assert [(each.rating, each.comment) for each in trace.trace.feedback] == [(-1, "It rambles.")]
    tab.click("a:text-is('Trace')")
    assert tab.title == QUESTION


def test_an_answer_can_be_stopped_and_another_asked(tab, gateway):
    tab.open("/chat?q=Tell+me+everything+about+classes.")
    tab.page.click("[aria-label=Ask]")
    tab.page.wait_for_selector(".waiting p", timeout=30_000)
    tab.page.click("[aria-label=Stop]")
    tab.page.wait_for_selector("text=Stopped.")
    tab.page.wait_for_selector("[aria-label=Ask]:visible")
    assert tab.page.locator(".waiting").count() == 0


def _recorded(project, answer_id):
    """The trace, once the gateway has moved answer and feedback to the lake."""
    import time

    for _ in range(100):
        try:
            trace = answers.one(project, answer_id)
            if trace.trace.feedback and trace.trace.feedback[0].comment:
                return trace
        except Exception:  # not there yet
            pass
        time.sleep(0.1)
    raise AssertionError(f"{answer_id} was never recorded")
