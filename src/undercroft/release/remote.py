"""A model that runs elsewhere, behind an OpenAI-compatible API, as an artifact like any other."""

from __future__ import annotations

import json
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from undercroft.settings import Section
from undercroft.stage import Made, StageRun, stage

Kind = Literal["tools", "image", "audio"]


def _tools() -> list[Kind]:
    return ["tools"]


class RemoteModel(Section):
    """What is known of it. ``key`` names a secret of the vault or, failing that, a variable of the
    environment. Prices are for a million tokens, in the meter's currency."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    url: str
    model: str
    key: str = ""
    price_in: float = Field(0.0, ge=0)
    price_out: float = Field(0.0, ge=0)
    slots: int = Field(8, gt=0)
    accepts: list[Kind] = Field(default_factory=_tools)

    @field_validator("url")
    @classmethod
    def _is_web(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("give an address such as https://api.example.com/v1")
        return url.rstrip("/")


@stage("remote", version=1, params=RemoteModel)
def remote(run: StageRun, params: RemoteModel) -> Made:
    """The model as an artifact: its address and prices; no key is in it."""
    meta = {
        "engine": "remote",
        "base_url": params.url,
        "model": params.model,
        "slots": params.slots,
        "accepts": params.accepts,
        "price_in": params.price_in,
        "price_out": params.price_out,
        **({"key_from": params.key} if params.key else {}),
    }
    file = run.workdir / "remote.json"
    file.write_text(json.dumps(meta, indent=2), encoding="utf-8")
    return Made("model", params.name, path=file, meta=meta)
