"""Pictures named by address: fetched from named hosts at public addresses, or refused."""

import asyncio
import base64
import datetime
import ssl
from contextlib import asynccontextmanager

import openai
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.serve.test_asks import PIXEL
from undercroft.serve.prompting.pictures import Pictures, is_public
from undercroft.serve.wire.asks import parse_chat
from undercroft.serve.wire.failures import HttpError
from undercroft.settings import SamplingSettings

HOST, OTHER = "pictures.example", "other.example"
PNG = base64.b64decode(PIXEL.partition(",")[2])


def asking(*urls: str):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = {"model": "docs", "messages": [{"role": "user", "content": parts}]}
    return parse_chat(web.json_response(body).body, SamplingSettings())


def shown(ask) -> list[str]:
    return [part["image_url"]["url"] for part in ask.turns[0].more["content"]]


class Names(AbstractResolver):
    """Says of a name each of ``answers`` in turn, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), []

    async def resolve(self, host, port=0, family=0):
        self.asked.append(host)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {"hostname": host, "host": each, "port": self.port, "family": 2, "proto": 6, "flags": 4}
            for each in said
        ]

    async def close(self):
        pass

    port = 0


@asynccontextmanager
async def host_of(tmp_path, **pages):
    """A server over TLS for both names that gives each path its page; its port, who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName(OTHER)])
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "host.pem"
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, *kinds)
    file.write_bytes(pem + cert.public_bytes(serialization.Encoding.PEM))
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(file)
    app = web.Application()
    for path, page in pages.items():
        app.router.add_get(f"/{path}", page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
    try:
        yield runner.addresses[0][1], ssl.create_default_context(cafile=str(file))
    finally:
        await runner.cleanup()


async def png(request):
    return web.Response(body=PNG, content_type="image/png")


async def brought(tmp_path, page, url=f"https://{HOST}/a", names=None, reached=None, **pages):
    """What becomes of a request with ``url``, whose host answers with ``page``."""
    names = names or Names(["127.0.0.1"])
    async with host_of(tmp_path, a=page, **pages) as (names.port, tls):
        reached = reached or (lambda address: True)
        pictures = Pictures([HOST], resolver=lambda: names, reached=reached, tls=tls)
        try:
            return await pictures.brought(asking(url, PIXEL))
        finally:
            await pictures.close()


async def test_a_picture_of_a_named_host_goes_on_as_data(tmp_path):
    asked = {}

    async def page(request):
        asked.update(request.headers)
        return await png(request)

    assert shown(await brought(tmp_path, page)) == [PIXEL, PIXEL]
    assert asked["Host"] == HOST
    assert "Authorization" not in asked
    assert "Cookie" not in asked


@pytest.mark.parametrize("url", [
    "http://pictures.example/a", "https://other.example/a", "https://pictures.example:8443/a",
    "https://u:p@pictures.example/a", "https://pictures.example.evil.example/a",
    "https://127.0.0.1/a", "https://[::1]/a", "https://2130706433/a", "https://0x7f.1/a",
    "https://pictures.example@127.0.0.1/a", "https:///a", "https://pictures。example@evil/a",
])  # fmt: skip
async def test_other_addresses_are_refused_unasked(tmp_path, url):
    names = Names(["127.0.0.1"])
    with pytest.raises(HttpError):
        await brought(tmp_path, png, url, names)
    assert names.asked == []


async def elsewhere(request):
    raise web.HTTPFound(request.query.get("to", "/a"))


async def around(request):
    raise web.HTTPFound("/around")


async def test_redirects_within_named_hosts_are_followed_and_none_beyond(tmp_path):
    ask = await brought(tmp_path, png, f"https://{HOST}/to", to=elsewhere)
    assert shown(ask) == [PIXEL, PIXEL]
    for to in (f"https://{OTHER}/a", "http://169.254.169.254/", "file:///etc/passwd", "/around"):
        url = f"https://{HOST}/to?to={to}"
        with pytest.raises(HttpError) as refused:
            await brought(tmp_path, png, url, to=elsewhere, around=around)
        assert refused.value.code == "image_url_not_fetched"


async def test_a_name_that_means_another_machine_a_moment_later_is_judged_again(tmp_path):
    reached: list[str] = []

    def judge(address: str) -> bool:
        reached.append(address)
        return address == "127.0.0.1"

    names = Names(["127.0.0.1"], ["127.0.0.2"])
    with pytest.raises(HttpError):
        await brought(tmp_path, png, f"https://{HOST}/to", names, judge, to=elsewhere)
    assert reached == ["127.0.0.1", "127.0.0.2"]


async def test_one_private_address_among_public_ones_is_enough_to_refuse(tmp_path):
    names = Names(["93.184.215.14", "10.0.0.1"])
    with pytest.raises(HttpError):
        await brought(tmp_path, png, names=names, reached=is_public)
    assert names.asked == [HOST]


@pytest.mark.parametrize("address", [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "198.18.0.1",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "::ffff:10.0.0.1",
    "::ffff:127.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1",
])  # fmt: skip
def test_addresses_of_machines_and_networks_and_clouds_are_not_public(address):
    assert not is_public(address)
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


async def test_what_is_no_picture_or_has_no_end_is_refused(tmp_path):
    async def html(request):
        return web.Response(text="<html>", content_type="text/html")

    async def svg(request):
        return web.Response(text="<svg/>", content_type="image/svg+xml")

    async def missing(request):
        raise web.HTTPNotFound

    async def endless(request):
        reply = web.StreamResponse(headers={"content-type": "image/png"})
        await reply.prepare(request)
        while True:
            await reply.write(b"\0" * 1_000_000)

    for page in (html, svg, missing, endless):
        with pytest.raises(HttpError) as refused:
            await brought(tmp_path, page)
        assert refused.value.http_status == 400


async def test_a_host_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("undercroft.serve.prompting.pictures.WITHIN_S", 0.2)

    async def hang(request):
        await asyncio.sleep(5)

    with pytest.raises(HttpError, match=r"within 0\.2 s"):
        await brought(tmp_path, hang)


def test_by_default_no_address_reaches_an_engine(remote, scripted):
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    messages = [{"role": "user", "content": [part]}]
    before = len(scripted.asked)
    with remote.client() as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="model:able", messages=messages)
    assert (refused.value.code, refused.value.param) == ("image_url_not_fetched", "messages")
    assert "data: URL" in str(refused.value)
    assert len(scripted.asked) == before
