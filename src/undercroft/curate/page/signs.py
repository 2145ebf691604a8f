"""What tags, roles, classes and ids say of an element: content, or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from undercroft.curate.page.blocks import names_of

#: Never part of what is read.
SKIPPED: Final = names_of(
    "script style template noscript svg iframe object embed audio video canvas button input "
    "select option textarea datalist dialog head title link meta rt rp frame frameset applet "
    "map"
)
#: An element is not removed by its sign if it holds more than this share of the page's text.
HARD: Final = -0.8
#: It is said in so many words to be the content.
SAID: Final = 2.0
SOFT: Final = -0.35

_ROLES: Final = {
    "main": SAID,
    "article": 1.0,
    "navigation": HARD,
    "banner": HARD,
    "contentinfo": HARD,
    "search": HARD,
    "dialog": HARD,
    "alertdialog": HARD,
    "menu": HARD,
    "menubar": HARD,
    "toolbar": HARD,
    "complementary": SOFT,
}
#: Of others, and where it is long, an id is rather made of the words of a heading.
_NAMED_BY_ID: Final = names_of("div aside ul ol table td header form")
_TAGS: Final = {"main": SAID, "article": 1.0, "nav": HARD, "footer": HARD}

_WORD: Final = r"(?:^|[\s_-])(?:{})(?=$|[\s_\d-])"
_HARD: Final = re.compile(
    _WORD.format(
        r"comments?|commentlist|disqus|respond|replies|cookies?|consent|gdpr|modal|popup|overlay|"
        r"adverts?|advertisement|ads|ad|adsense|sponsor(?:ed|s)?|outbrain|taboola|promo(?:tion)?|"
        r"nav|navbar|navigation|navheader|navfooter|toctree|navi|docnav|submenu|breadcrumbs?|crumbs|pagination|pager|"
        r"paging|newsletter|signup|signin|login|subscribe|subscription|sphinxsidebar|"
        r"footer|foot|copyright|linenos|gutter|editsection|catlinks|printfooter|jumplinks?|skiplinks?|sr-only|"
        r"visually-hidden|noprint|toast|tooltip|dropdown|searchbox"
    )
    + r"|(?:^|\s)(?:hidden|search|menu|skip|screen-reader-text|mainmenu|topmenu)(?=$|\s)"
)
_SOFT: Final = re.compile(
    _WORD.format(
        r"bottom|header|masthead|banner|topbar|toolbar|sidebar|side|rail|aside|"
        r"widgets?|social|share|sharing|sharethis|addthis|follow|related|recommend(?:ed|ations?)?|"
        r"more|popular|trending|mostread|most|teasers?|promos?|toc|tocs|byline|meta|metadata|"
        r"postmeta|dateline|timestamp|tags?|taglist|keywords|categor(?:y|ies)|legal|"
        r"disclaimer|credits?|author|bio|print|email|feedback|rating|ratings|votes?|poll|"
        r"carousel|slideshow|gallery|thumbs?|thumbnails?|caption|infobox|navbox|metabox|sistersite|"
        r"links|linklist|tools|utility|utilities|partners?|shop|shopping|buy|store|jobs|alert"
    )
)
_GOOD: Final = re.compile(
    r"(?:^|[\s_-])(?:article[\s_-]?(?:body|content|text)|articletext|(?:post|entry|story|page|main|"
    r"body|news|blog|text|doc|docs|rst|md)[\s_-]?(?:content|body|text|entry|main)|postcontent|"
    r"storytext|storybody|bodytext|markdown-body|mw-parser-output|hentry|h-entry|e-content|"
    r"theme-doc-markdown|documentwrapper)(?=$|[\s_\d-])"
)
_GOOD_IDS: Final = frozenset({"content", "main", "main-content", "maincontent", "article", "story"})
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_INVISIBLE: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")


def sign_of(tag: str, attributes: Mapping[str, str | None]) -> float:
    """Over 0 where the element says that it is the content, below 0 where it says that it is
    not: then no more than minus this share of the page's text is believed to be in it."""
    if attributes.get("role") == "tabpanel":  # all but one are hidden at first
        return 0.0
    if "hidden" in attributes or _INVISIBLE.search(attributes.get("style") or ""):
        return HARD
    sign = _ROLES.get(attributes.get("role") or "", 0.0) or _TAGS.get(tag, 0.0)
    if sign:
        return sign
    if "articlebody" in (attributes.get("itemprop") or "").lower():
        return SAID
    names, own = attributes.get("class") or "", attributes.get("id") or ""
    if own and tag in _NAMED_BY_ID and own.count("-") + own.count("_") <= 2:
        names = f"{names} {own}"
    sign = _named(names) if names else 0.0
    return SOFT if tag == "aside" and not sign and "footnote" not in names else sign


@lru_cache(maxsize=4096)
def _named(names: str) -> float:
    """The sign of an element by its classes and id."""
    lowered = _CAMEL.sub("-", names).lower()
    if _HARD.search(lowered):
        return HARD
    if _GOOD.search(lowered) or not _GOOD_IDS.isdisjoint(lowered.split()):
        return 1.0
    return SOFT if _SOFT.search(lowered) else 0.0
