"""API keys: made, listed and revoked by admins."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field

from services.gateway.authentication import NAME, Scope, allowed, new_key
from services.gateway.context import Context
from services.gateway.models import Model
from services.gateway.problems import answers
from shared.domain.service_records import Key

Name = Annotated[str, Field(pattern=NAME)]


class KeyRequest(Model):
    """A key to make."""

    tenant: Name = Field(description="Owns jobs, one-off predictions and a quota", examples=["shop"])
    scopes: list[Scope] = Field(
        min_length=1, description="submit includes read, admin both", examples=[["submit"]], max_length=3
    )
    name: str = Field("", max_length=100, description="What people call it", examples=["nightly scoring"])


class KeyView(Model):
    """A key, without its secret."""

    id: str
    tenant: str
    scopes: list[str]
    name: str
    revoked: bool
    created: float = Field(description="Seconds since the epoch")


class NewKey(KeyView):
    """A key with its secret, which is shown this once."""

    secret: str


class KeyList(Model):
    """All keys, oldest first."""

    keys: list[KeyView]


def plain(key: Key) -> dict[str, Any]:
    """The fields of a `KeyView`."""
    return {name: getattr(key, name) for name in KeyView.model_fields} | {"scopes": list(key.scopes)}


def router(context: Context) -> APIRouter:
    """Routes under /v1/keys."""
    routes = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[Depends(allowed(context, "admin"))])
    keys = context.stores.keys

    @routes.post("", status_code=HTTPStatus.CREATED, responses=answers())
    def make_key(request: KeyRequest) -> NewKey:
        """Make a key. Its secret is shown in this answer only."""
        key, secret = new_key(request.tenant, tuple(dict.fromkeys(request.scopes)), request.name, context.now())
        return NewKey(**plain(keys.add_key(key)), secret=secret)

    @routes.get("", responses=answers())
    def list_keys() -> KeyList:
        """All keys, revoked ones too."""
        return KeyList(keys=[KeyView(**plain(key)) for key in keys.all_keys()])

    @routes.delete("/{key}", status_code=HTTPStatus.NO_CONTENT, responses=answers(HTTPStatus.NOT_FOUND))
    def revoke_key(key: Annotated[str, Path(max_length=64)]) -> Response:
        """Revoke a key, once and for all."""
        keys.revoke_key(key)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return routes
