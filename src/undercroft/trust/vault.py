"""Encryption at rest with a key per person, so that a person can be forgotten by losing one key.

Data is sealed with AES-256-GCM under the subject's data key; data keys are in the database, wrapped
by the project key, which is in the keyring file (envelope encryption, NIST SP 800-57). Shredding a
subject destroys the wrapped key: everything sealed under it, in whatever table, old version or
backup of the lake, stays ciphertext for good. A backup of the database still holds the wrapped key
until it is rotated out; on Postgres so do dead tuples and the write-ahead log until vacuumed.

Sealed bytes: ``1`` (format) | generation of the subject's key, uint32 | nonce, 12 bytes |
ciphertext and tag. The subject, the generation and the caller's ``aad`` are authenticated with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, func, insert, select, update

from undercroft.errors import BadInput, NotFound, Tampered, UndercroftError
from undercroft.trust import keyfile
from undercroft.trust.audit import AuditLog, append
from undercroft.trust.tables import subject_keys
from undercroft.trust.transactions import now, reading, serialise, writing

_FORMAT: Final = 1
_HEADER: Final = struct.Struct(">BI")  # format, generation
_NONCE_BYTES: Final = 12
_PREFIX_BYTES: Final = _HEADER.size + _NONCE_BYTES
_MAX_CACHED: Final = 20_000
RECHECK_S: Final = 1.0  # how long a shredding on another machine may go unnoticed


class Vault:
    """Seals and opens bytes for subjects; the subject ``""`` is the project itself.

    The keys are in the database of ``engine``, wrapped by the one in the file ``keyring`` (made
    when there is none). Shredding is entered in ``audit``. Safe to share between threads.
    """

    def __init__(self, engine: Engine, keyring: Path, audit: AuditLog | None = None) -> None:
        self._engine = engine
        self._audit = audit
        self._project_key = _project_key(engine, keyring)
        self._hash_key = hmac.digest(self._project_key, b"undercroft subject hash", "sha256")
        self._wrapping = AESGCM(hmac.digest(self._project_key, b"undercroft key wrap", "sha256"))
        self._lock = threading.Lock()
        self._ciphers: dict[tuple[str, int], AESGCM] = {}  # (subject, generation)
        self._newest: dict[str, int] = {}  # subject -> generation that seals
        self._shreds_file = keyring.with_name(f".{keyring.name}.shreds")
        self._shreds = self._count_shreds()
        self._seen = (self._file_size(), time.monotonic())
        self._is_refreshed = False  # by somebody else, in a thread

    def refresh(self) -> None:
        """Ask the ledger whether anybody was shredded since the last look, and drop the keys if so.

        For whoever must not wait for the ledger while sealing: from the first call on that is left
        to the caller, who calls it in a thread once in `RECHECK_S`. Raises the errors of `reading`.
        """
        self._is_refreshed = True
        self._look()

    def is_ready_to_seal(self, subject: str) -> bool:
        """Whether `seal` has the subject's key at hand, so that it asks nobody. Raises what `seal`
        raises, but not after `refresh`."""
        self._forget_if_shredded(to_seal=True)
        return (subject, self._newest.get(subject, 0)) in self._ciphers

    def seal(self, subject: str, data: bytes, aad: bytes) -> bytes:
        """Encrypt ``data`` for ``subject``; ``aad`` must be given again to open it.

        ``aad`` ties the sealed bytes to their place (table and row), so that they cannot be moved
        to another. A subject that was shredded before gets a new key. While the ledger cannot be
        asked, the keys at hand go on sealing: what they seal after they were shredded elsewhere
        nobody can open.
        """
        self._forget_if_shredded(to_seal=True)
        generation = self._newest.get(subject)
        cipher = self._ciphers.get((subject, generation)) if generation else None
        if generation is None or cipher is None:
            generation, cipher = self._key_to_seal(subject)
        header = _HEADER.pack(_FORMAT, generation)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, data, _bind(header, subject, aad))

    def open(self, subject: str, sealed: bytes, aad: bytes) -> bytes:
        """Decrypt what `seal` returned for the same ``subject`` and ``aad``.

        Raises `NotFound` when the subject's key was shredded and `Tampered` when the bytes, the
        subject or ``aad`` are not those that were sealed.
        """
        if subject:  # the project itself cannot be shredded
            self._forget_if_shredded()
        header, nonce = sealed[: _HEADER.size], sealed[_HEADER.size : _PREFIX_BYTES]
        if len(sealed) < _PREFIX_BYTES + 16 or header[0] != _FORMAT:
            raise _not_what_was_sealed()
        generation = int(_HEADER.unpack(header)[1])
        cipher = self._ciphers.get((subject, generation)) or self._key_to_open(subject, generation)
        try:
            return cipher.decrypt(nonce, sealed[_PREFIX_BYTES:], _bind(header, subject, aad))
        except InvalidTag:
            raise _not_what_was_sealed() from None

    def pseudonym(self, kind: str, value: str) -> str:
        """Eight hex digits that stand for ``value`` of ``kind`` in this project, always the same.

        Keyed, so that nobody without the keyring can find the value by trying values.
        """
        said = f"undercroft pseudonym\n{kind}\n{value}".encode()
        return hmac.new(self._hash_key, said, hashlib.sha256).hexdigest()[:8]

    def shred(self, subject: str, actor: str = "local") -> bool:
        """Destroy the subject's key: nothing sealed for them can be opened any more.

        Returns False when they had no key (nothing was ever sealed, or it was shredded before).
        Here it holds at once, as it does in other processes on this machine; on other machines
        within a second. Raises `BadInput` for the project's own subject.
        """
        if not subject:
            raise BadInput(
                "The project's own key cannot be shredded.",
                "Everything it keeps would be lost.",
                "Name a person, or delete the project's folder.",
            )
        hashed = self.hashed(subject)
        gone = update(subject_keys).where(
            subject_keys.c.subject_hash == hashed, subject_keys.c.wrapped.is_not(None)
        )
        with writing(self._engine) as connection:
            done = connection.execute(gone.values(wrapped=None, shredded_at=now().isoformat()))
            if done.rowcount:
                append(connection, actor, "subject.shredded", f"subject:{hashed}")
        with self._lock:
            self._drop_keys()
        # A full disk costs the others a second, until they ask the database. A file's size tells
        # two shreddings apart where its time may not.
        with suppress(OSError), self._shreds_file.open("ab") as file:
            file.write(b".")
        if done.rowcount:
            self._scrub()
        if self._audit is not None:
            self._audit.seal()
        return bool(done.rowcount)

    def num_shredded(self) -> int:
        """How many keys were destroyed so far; what is made of sealed data changes with it."""
        query = select(func.count()).where(subject_keys.c.wrapped.is_(None))
        with reading(self._engine) as connection:
            return int(connection.scalar(query) or 0)

    def _scrub(self) -> None:
        """Take the destroyed key out of SQLite's write-ahead log too (in the file itself its bytes
        are overwritten: connections are opened with ``secure_delete``).

        A reader who holds an old snapshot can keep the log from being cut; a later checkpoint will.
        """
        if self._engine.dialect.name != "sqlite":
            return
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()
            cursor.execute("PRAGMA busy_timeout = 1000")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute(f"PRAGMA busy_timeout = {patience}")
        finally:
            connection.close()

    def _key_to_seal(self, subject: str) -> tuple[int, AESGCM]:
        """The subject's newest key, made when there is none."""
        hashed = self.hashed(subject)
        with reading(self._engine) as connection:
            found = self._live_key(connection, hashed)
        if found is None:
            with writing(self._engine) as connection:
                serialise(connection)
                found = self._live_key(connection, hashed) or self._make_key(connection, hashed)
        generation, wrapped = found
        cipher = self._unwrap(hashed, generation, wrapped)
        self._remember(subject, generation, cipher)
        with self._lock:
            self._newest[subject] = generation
        return generation, cipher

    def _key_to_open(self, subject: str, generation: int) -> AESGCM:
        hashed = self.hashed(subject)
        query = select(subject_keys.c.wrapped).where(
            subject_keys.c.subject_hash == hashed, subject_keys.c.generation == generation
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            raise _not_what_was_sealed()
        if row.wrapped is None:
            raise NotFound(
                "This data was erased: the key of its subject has been destroyed.",
                do="Nothing can bring it back. The audit log says when: undercroft audit ls",
            )
        cipher = self._unwrap(hashed, generation, row.wrapped)
        self._remember(subject, generation, cipher)
        return cipher

    @staticmethod
    def _live_key(connection: Connection, hashed: str) -> tuple[int, bytes] | None:
        row = connection.execute(
            select(subject_keys.c.generation, subject_keys.c.wrapped)
            .where(subject_keys.c.subject_hash == hashed, subject_keys.c.wrapped.is_not(None))
            .order_by(subject_keys.c.generation.desc())
            .limit(1)
        ).first()
        return (row.generation, row.wrapped) if row else None

    def _make_key(self, connection: Connection, hashed: str) -> tuple[int, bytes]:
        newest = select(func.max(subject_keys.c.generation))
        before = connection.scalar(newest.where(subject_keys.c.subject_hash == hashed))
        generation = int(before or 0) + 1
        nonce = secrets.token_bytes(_NONCE_BYTES)
        key = AESGCM.generate_key(bit_length=256)
        wrapped = nonce + self._wrapping.encrypt(nonce, key, _wrap_aad(hashed, generation))
        connection.execute(
            insert(subject_keys).values(
                subject_hash=hashed,
                generation=generation,
                wrapped=wrapped,
                created_at=now().isoformat(),
            )
        )
        return generation, wrapped

    def _unwrap(self, hashed: str, generation: int, wrapped: bytes) -> AESGCM:
        nonce, ciphertext = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            key = self._wrapping.decrypt(nonce, ciphertext, _wrap_aad(hashed, generation))
        except InvalidTag:
            raise Tampered(
                "A subject's key does not open with the project's keyring.",
                "The keyring is another project's, or the row in the ledger was changed.",
                "Restore the keyring file that belongs to this ledger.",
            ) from None
        return AESGCM(key)

    def _remember(self, subject: str, generation: int, cipher: AESGCM) -> None:
        with self._lock:
            if len(self._ciphers) >= _MAX_CACHED:
                self._drop_keys()
            self._ciphers[subject, generation] = cipher

    def _forget_if_shredded(self, to_seal: bool = False) -> None:
        """Drop all unwrapped keys when anybody shredded a subject since the last look.

        On this machine every shredding lengthens a file, whose size costs 2 µs to ask; elsewhere
        only the database knows, and is asked at most once a second. What another machine seals
        within that second is erased along with the rest: nobody can open it. So who seals does not
        ask where somebody else does, and goes on when the ledger does not answer.
        """
        size, checked_at = self._seen
        newest, clock = self._file_size(), time.monotonic()
        asks = not (to_seal and self._is_refreshed)
        if newest == size and not (asks and clock - checked_at >= RECHECK_S):
            return
        if not asks:
            with self._lock:
                self._drop_keys()
                self._seen = (newest, checked_at)
            return
        try:
            self._look()
        except UndercroftError:
            if not to_seal or newest != size:
                raise
            self._seen = (size, clock)

    def _look(self) -> None:
        size, newest, clock = self._seen[0], self._file_size(), time.monotonic()
        shreds = self._count_shreds()
        with self._lock:
            if newest != size or shreds != self._shreds:
                self._drop_keys()
            self._shreds = shreds
            self._seen = (newest, clock)

    def _drop_keys(self) -> None:
        self._ciphers.clear()
        self._newest.clear()

    def _count_shreds(self) -> int:
        query = select(func.count()).where(subject_keys.c.shredded_at.is_not(None))
        with reading(self._engine) as connection:
            return int(connection.scalar(query) or 0)

    def _file_size(self) -> int:
        try:
            return self._shreds_file.stat().st_size
        except FileNotFoundError:
            return 0

    def hashed(self, subject: str) -> str:
        """The keyed hash by which ledger and audit log speak of ``subject``."""
        return hmac.new(self._hash_key, subject.encode(), hashlib.sha256).hexdigest()


def _project_key(engine: Engine, keyring: Path) -> bytes:
    """The key in ``keyring``, made unless the ledger shows that there was one already."""
    # Asked before the file: a process that makes the file and seals meanwhile must not look like
    # a file that was lost.
    with reading(engine) as connection:
        in_use = connection.execute(
            select(subject_keys.c.generation).where(subject_keys.c.wrapped.is_not(None)).limit(1)
        ).first()
    key = keyfile.read(keyring)
    if key is None and in_use:
        raise NotFound(
            f"The keyring {keyring} is missing.",
            do="Restore it from a backup: without it, nothing this project sealed can be read.",
        )
    return key or keyfile.read_or_create(keyring, "wraps the data keys of this project")


def _bind(header: bytes, subject: str, aad: bytes) -> bytes:
    """What is authenticated besides the data; lengths keep ("ab","c") apart from ("a","bc")."""
    name = subject.encode()
    return header + struct.pack(">I", len(name)) + name + aad


def _wrap_aad(hashed: str, generation: int) -> bytes:
    return f"undercroft subject key\n{hashed}\n{generation}".encode()


def _not_what_was_sealed() -> Tampered:
    return Tampered(
        "Sealed data does not open.",
        "It was changed, cut or moved from where it was sealed.",
        "Restore it from a backup.",
    )
