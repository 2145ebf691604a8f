"""API keys: made once, shown once, known afterwards only by their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from undercroft.errors import BadInput, Busy, NotFound, nearest
from undercroft.records import Principal
from undercroft.trust.audit import AuditLog, append
from undercroft.trust.roles import ROLES
from undercroft.trust.tables import api_keys
from undercroft.trust.transactions import now, reading, writing

PREFIX: Final = "uc-"
_MAX_SECRET_CHARS: Final = 128
_TTL_S: Final = 0.8  # a key revoked by another process is refused within this time
_MAX_CACHED: Final = 10_000


class Keys:
    """The API keys in the database of ``engine``; changes are entered in ``audit`` and sealed.

    A key is 256 random bits. Its plain SHA-256 is stored: slow hashes such as argon2 make guessing
    a person's password costly, but nobody guesses 256 random bits, and the gateway would pay for
    the slowness at every request.
    """

    def __init__(self, engine: Engine, audit: AuditLog | None = None) -> None:
        self._engine = engine
        self._audit = audit
        self._lock = threading.Lock()
        # SHA-256 of a secret -> (who it is, or None; until when that may be believed)
        self._known: dict[str, tuple[Principal | None, float]] = {}

    def create(
        self,
        name: str,
        role: str,
        daily_tokens: int | None = None,
        actor: str = "local",
        tenant: str = "",
    ) -> tuple[Principal, str]:
        """A new key, of ``tenant`` if one is named, and its secret, which cannot be shown again.

        Raises `BadInput` for an unknown role, an empty name or a tenant that is no name, and
        `Busy` when ``name`` is in use.
        """
        _check(name, role, daily_tokens)
        _check_tenant(tenant)
        secret = PREFIX + secrets.token_urlsafe(32)
        who = Principal("key-" + secrets.token_hex(8), name, role, daily_tokens, tenant)
        row = {
            "id": who.id,
            "name": name,
            "role": role,
            "daily_tokens": daily_tokens,
            "secret_sha256": _sha256(secret),
            "created_at": now().isoformat(),
            "tenant": tenant or None,
        }
        told = {"name": name, "role": role} | ({"tenant": tenant} if tenant else {})
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(api_keys).values(**row))
                append(connection, actor, "key.created", who.id, told)
        except IntegrityError:
            raise Busy(
                f"There is already a key named {name!r}.",
                "Names of keys in use are unique.",
                f"Choose another, or first run: undercroft key revoke {name}",
            ) from None
        self._seal()
        return who, secret

    def identify(self, secret: str) -> Principal | None:
        """Who holds ``secret``; None when nobody does, or no longer."""
        if not secret.startswith(PREFIX) or len(secret) > _MAX_SECRET_CHARS:
            return None
        digest = _sha256(secret)
        known = self._known.get(digest)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        asked_at = time.monotonic()  # before the query: what it says may be old by the time it ends
        query = select(api_keys).where(
            api_keys.c.secret_sha256 == digest, api_keys.c.revoked_at.is_(None)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        # The index found it by an ordinary comparison, of hashes nobody can steer towards each
        # other; the comparison that admits is constant-time all the same.
        found = row is not None and hmac.compare_digest(row.secret_sha256, digest)
        who = _principal(row) if row is not None and found else None
        self._remember(digest, who, asked_at + _TTL_S)
        return who

    def list(self) -> Sequence[Principal]:
        """The keys in use, oldest first."""
        query = select(api_keys).where(api_keys.c.revoked_at.is_(None))
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(api_keys.c.created_at, api_keys.c.id))
            return [_principal(row) for row in rows]

    def tenants(self) -> dict[str, str]:
        """The tenant of every key that has one, by the key's id; of revoked keys too."""
        query = select(api_keys.c.id, api_keys.c.tenant).where(api_keys.c.tenant.is_not(None))
        with reading(self._engine) as connection:
            return {row.id: row.tenant for row in connection.execute(query)}

    def revoke(self, name: str, actor: str = "local") -> Principal:
        """Refuse the key ``name`` from now on: here at once, in other processes within a second.

        Raises `NotFound`, with the nearest names, when no key in use has that name.
        """
        live = api_keys.c.revoked_at.is_(None)
        with writing(self._engine) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.name == name, live)).first()
            if row is None:
                names = connection.scalars(select(api_keys.c.name).where(live)).all()
                raise NotFound(
                    f"There is no key named {name!r}.", name, names, "See them: undercroft key ls"
                )
            stamp = {"revoked_at": now().isoformat()}
            connection.execute(update(api_keys).where(api_keys.c.id == row.id).values(**stamp))
            append(connection, actor, "key.revoked", row.id, {"name": name})
        with self._lock:
            self._known.clear()
        self._seal()
        return _principal(row)

    def _remember(self, digest: str, who: Principal | None, until: float) -> None:
        with self._lock:
            if len(self._known) >= _MAX_CACHED:  # wrong secrets must not fill the memory
                self._known.clear()
            self._known[digest] = (who, until)

    def _seal(self) -> None:
        if self._audit is not None:
            self._audit.seal()


def _check(name: str, role: str, daily_tokens: int | None) -> None:
    if not name.strip():
        raise BadInput("A key needs a name.", "The one given is empty.", "Name who will use it.")
    if role not in ROLES:
        near = nearest(role, ROLES)
        raise BadInput(
            f"There is no role {role!r}.",
            f"The nearest is {near!r}." if near else "",
            f"Roles are {', '.join(ROLES)}.",
        )
    if daily_tokens is not None and daily_tokens < 0:
        raise BadInput(
            f"{daily_tokens} is not a token budget.", "It is negative.", "Give 0 or more tokens."
        )


def _check_tenant(tenant: str) -> None:
    if re.fullmatch(r"[\w.-]*", tenant, re.ASCII) is None:
        raise BadInput(
            f"{tenant!r} cannot name a tenant.", do="Use letters, digits, '_', '.' and '-'."
        )


def _principal(row: Row[Any]) -> Principal:
    return Principal(row.id, row.name, row.role, row.daily_tokens, row.tenant or "")


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
