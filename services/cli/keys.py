"""The verb keys: who may ask the gateway."""

import time
from enum import StrEnum
from typing import Annotated

import typer

from services.cli.app import AsJson, app
from services.cli.session import Session
from services.cli.show import as_json, remark, stdout, table

keys = typer.Typer(invoke_without_command=True)
app.add_typer(keys, name="keys")


class Scope(StrEnum):
    """What a key is good for."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@keys.callback()
def every(context: typer.Context, json: AsJson = False) -> None:
    """List the API keys, without their secrets.

    Example: shelver keys --json
    """
    if context.invoked_subcommand:
        return
    session: Session = context.obj
    found = session.place.keys()
    if json:
        as_json(found)
        return
    table(
        ["key", "name", "tenant", "scopes", "revoked", "made"],
        [
            [
                *(one[name] for name in ("id", "name", "tenant")),
                ", ".join(one["scopes"]),
                "yes" if one["revoked"] else "",
                time.strftime("%Y-%m-%d %H:%M", time.localtime(one["created"])),
            ]
            for one in found
        ],
        empty="no keys yet; `shelver keys add` makes one",
    )


@keys.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    tenant: Annotated[str, typer.Option(help="Owns the jobs that are asked for with it.")],
    scope: Annotated[list[Scope], typer.Option(help="May be repeated; submit includes read, and admin includes both.")],
    json: AsJson = False,
) -> None:
    """Make an API key; its secret is shown this once.

    Example: shelver keys add nightly --tenant shop --scope submit
    """
    session: Session = context.obj
    made = session.place.add_key(name, tenant, [one.value for one in dict.fromkeys(scope)])
    if json:
        as_json(made)
        return
    remark(f"key {made['id']} of tenant {made['tenant']}; its secret, which is not shown again:")
    stdout.print(made["secret"], markup=False)


@keys.command("revoke")
def revoke(context: typer.Context, key: Annotated[str, typer.Argument(help="Its id, as `keys` lists it.")]) -> None:
    """Revoke an API key, once and for all.

    Example: shelver keys revoke 0123456789abcdef
    """
    session: Session = context.obj
    session.place.revoke_key(key)
    stdout.print(f"key {key} is revoked", markup=False)
