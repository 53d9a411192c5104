"""Who asks, and what they may: API keys with scopes and a tenant."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.gateway.context import Context
from services.gateway.problems import RefusedError
from shared.domain.errors import BadInputError
from shared.domain.service_records import Key
from shared.ports import Keys

Scope = Literal["read", "submit", "admin"]
_INCLUDES: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "admin": frozenset({"read", "submit", "admin"}),
}
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a tenant may be called."""
_PREFIX = "shelver_"  # so that a secret that leaked is recognised for what it is
_FIRST = "admin"

bearer = HTTPBearer(auto_error=False, description="An API key")


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that a request came with."""

    key: str
    tenant: str
    scopes: frozenset[str]


Check = Callable[..., Caller]


def digest_of(secret: str) -> str:
    """What is kept of a secret: it has 256 random bits, so that no slow hash is needed."""
    return sha256(secret.encode()).hexdigest()


def new_key(tenant: str, scopes: tuple[str, ...], name: str, now: float) -> tuple[Key, str]:
    """A key and its secret, which is not kept. Raises BadInputError for what cannot be the name of a tenant."""
    if not re.match(NAME, tenant):
        remedy = "use up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
        raise BadInputError("tenant", f"'{tenant}' is no name of a tenant", remedy=remedy)
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = Key(id=uuid4().hex[:16], tenant=tenant, scopes=scopes, digest=digest_of(secret), name=name, created=now)
    return key, secret


def add_first_key(keys: Keys, secret: str, now: float) -> None:
    """Store the admin key of the settings, by which others are made; again is fine."""
    digest = digest_of(secret)
    if keys.key_of(digest) is None:
        scopes = ("admin",)
        keys.add_key(Key(id=digest[:16], tenant=_FIRST, scopes=scopes, digest=digest, name="first", created=now))


def allowed(context: Context, scope: Scope) -> Check:
    """A dependency: the caller, refused without a valid key (401) or without the scope (403)."""

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]) -> Caller:
        challenge = {"WWW-Authenticate": "Bearer"}
        if given is None:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "send an API key: Authorization: Bearer KEY", challenge)
        key = context.stores.keys.key_of(digest_of(given.credentials))
        if key is None or key.revoked:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "this API key is not known, or was revoked", challenge)
        scopes = frozenset[str]().union(*(_INCLUDES[one] for one in key.scopes))
        if scope not in scopes:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this needs a key with the scope '{scope}'")
        return Caller(key.id, key.tenant, scopes)

    return check
