"""What a site allows: robots.txt as RFC 9309 has it read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp

from undercroft.collect.usage import of_robots

MAX_BYTES: Final = 500 * 1024  # section 2.5: at least this much has to be read
_MAX_REDIRECTS: Final = 5  # section 2.3.1.2


@dataclass(frozen=True)
class Robots:
    """The rules for one site; ``reason`` says why everything is forbidden, where it is."""

    rules: Any = None
    reason: str = ""
    text: str = ""

    @property
    def sitemaps(self) -> list[str]:
        """The addresses of sitemaps that the file names."""
        return list(self.rules.sitemaps) if self.rules is not None else []

    def usage(self, url: str, agent: str) -> list[str]:
        """What the site says about the use of ``url``."""
        return of_robots(self.text, urlsplit(url).path or "/", agent)

    def refusal(self, url: str, agent: str) -> str:
        """Why ``agent`` may not fetch ``url``; empty when it may."""
        if self.reason:
            return self.reason
        if self.rules is not None and not self.rules.can_fetch(url, agent):
            return f"robots: robots.txt forbids this address to {agent}"
        return ""

    def interval_s(self, agent: str) -> float:
        """Seconds that the site wants between two requests; 0 when it does not say."""
        if self.rules is None:
            return 0.0
        rate = self.rules.request_rate(agent)
        spread = rate.seconds / rate.requests if rate and rate.requests else 0.0
        return max(float(self.rules.crawl_delay(agent) or 0.0), spread)


async def fetch_robots(session: aiohttp.ClientSession, site: str) -> Robots:
    """The rules of ``site``.

    Any 4xx means that there are none, and everything is allowed; a 5xx, or no answer, means that
    they are not known, and nothing is (RFC 9309, sections 2.3.1.3 and 2.3.1.4).
    """
    from protego import Protego

    url = urljoin(site, "/robots.txt")
    try:
        async with session.get(url, max_redirects=_MAX_REDIRECTS) as response:
            if response.status >= 500:
                return Robots(reason=f"robots_unreachable: robots.txt answers {response.status}")
            if response.status >= 400:
                return Robots()
            body = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                body += piece
                if len(body) >= MAX_BYTES:
                    break
    except aiohttp.TooManyRedirects:
        return Robots()  # section 2.3.1.2: treated as unavailable
    except (aiohttp.ClientError, TimeoutError) as error:
        what = str(error) or type(error).__name__
        return Robots(reason=f"robots_unreachable: robots.txt cannot be read ({what})")
    text = bytes(body[:MAX_BYTES]).decode("utf-8", "replace")
    return Robots(Protego.parse(text), text=text)
