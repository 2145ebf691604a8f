"""URLs in one spelling each, and the links of a page."""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from undercroft.collect import usage
from undercroft.nesting import flattened

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: Parameters that only say how a visitor came.
_TRACKING: Final = re.compile(r"(?:utm_\w+|gclid|fbclid|mc_[ce]id|ref_src)\Z", re.I)
#: Parameters that say who visits, which every visit has another of.
_SESSION: Final = re.compile(
    r"(?:phpsessid|jsessionid|aspsessionid\w*|session_?id|cfid|cftoken)=|s?sid=\w{16,}\Z", re.I
)
_SESSION_IN_PATH: Final = re.compile(r";jsessionid=[\w.!-]*", re.I)
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_LONE_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_LINKS: Final = (
    "a[href], area[href], link[rel=alternate][type='application/rss+xml'], "
    "link[rel=alternate][type='application/atom+xml']"
)
_MOST_LISTING: Final = 50_000_000  # of a sitemap unpacked, as sitemaps.org has it
_SAFE: Final = "-._~!$&'()*+,;=:@/?%"


def canonical(url: str, base: str = "") -> str | None:
    """``url``, resolved against ``base``, in its one spelling (RFC 3986, section 6.2).

    Scheme and host are lowered, default ports, fragments, tracking parameters and ids of sessions
    left out, dot segments resolved and escapes made uniform. None for what is no http(s) address.
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()))
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return None
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    path = _escaped(_without_dots(_escaped(_SESSION_IN_PATH.sub("", parts.path))))
    query = "&".join(pair for pair in parts.query.split("&") if not _is_of_the_visit(pair))
    query = _escaped(query.strip("&"))
    return urlunsplit((parts.scheme, netloc, path or "/", query, ""))


def _is_of_the_visit(pair: str) -> bool:
    is_tracking = _TRACKING.match(pair.partition("=")[0]) is not None
    return is_tracking or _SESSION.match(pair) is not None


def _escaped(text: str) -> str:
    """Every character escaped that has to be, none that need not, escapes in capitals."""

    def plain(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        is_unreserved = char.isascii() and (char.isalnum() or char in "-._~")
        return char if is_unreserved else match[0].upper()

    kept = _ESCAPE.sub(plain, _LONE_PERCENT.sub("%25", text))
    return quote(kept, safe=_SAFE, errors="surrogateescape")


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def same_site(url: str, start: str) -> bool:
    """Whether ``url`` is on the host and port of ``start``; https may stand in for http."""
    one, other = urlsplit(url), urlsplit(start)
    if one.hostname != other.hostname:
        return False
    ports = [each.port or _DEFAULT_PORTS.get(each.scheme) for each in (one, other)]
    return ports[0] == ports[1] or (one.scheme == "https" and one.port is None and ports[1] == 80)


@dataclass
class Page:
    """What a page says to a crawler."""

    links: list[str] = field(default_factory=list[str])
    is_index: bool = True  # false: robots meta says noindex
    is_follow: bool = True
    usage: list[str] = field(default_factory=list[str])


def obey(page: Page, directives: str) -> None:
    """Take over the words of a robots meta element or of ``X-Robots-Tag``."""
    words = {word.strip().lower() for word in directives.split(",")}
    page.is_index &= not words & {"noindex", "none"}
    page.is_follow &= not words & {"nofollow", "none"}


def read_page(html: str, url: str) -> Page:
    """Links (its feeds' too), in order and in their one spelling, and directives of the page."""
    from selectolax.lexbor import LexborHTMLParser

    page, tree = Page(), LexborHTMLParser(flattened(html))
    for meta in tree.css("meta[name]"):
        name, said = _attribute(meta, "name").lower(), _attribute(meta, "content")
        page.usage += usage.of_meta(name, said)
        if name == "robots":
            obey(page, said)
    if not page.is_follow:
        return page
    base = tree.css_first("base[href]")
    place = urljoin(url, _attribute(base, "href")) if base is not None else url
    found: dict[str, None] = {}
    for link in tree.css(_LINKS):
        target = canonical(_attribute(link, "href"), place)
        if target is not None and "nofollow" not in _attribute(link, "rel").lower():
            found[target] = None
    page.links = list(found)
    return page


def links_of_listing(data: bytes, url: str) -> list[str]:
    """The addresses in a sitemap (or an index of sitemaps) or a feed, RSS or Atom."""
    from lxml import etree

    if data[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            data = packed.read(_MOST_LISTING)
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    root = etree.fromstring(data, parser) if data.strip() else None
    found: dict[str, None] = {}
    for element in root.iter("{*}loc", "{*}link") if root is not None else ():
        target = canonical(element.get("href") or element.text or "", url)
        if target is not None and (element.text or element.get("href")):
            found[target] = None
    return list(found)


def _attribute(node: Any, name: str) -> str:
    return node.attributes.get(name) or ""
