"""Ensemble versions: listed, imported, made current."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from services.gateway.authentication import allowed
from services.gateway.context import Context
from services.gateway.models import Model
from services.gateway.problems import answers
from services.gateway.trainings import FILE_EXAMPLE
from shared import ensemble_versions
from shared.domain.records import EnsembleVersion
from shared.dumps import locate
from shared.ensemble_file import architectures, parse
from shared.ensemble_import import import_ensemble
from shared.ingest_requests import allowed_source
from shared.ports import Runs

EnsembleName = Annotated[str, Path(max_length=100, examples=["grocery-small"])]
VersionId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$")]


class ImportRequest(Model):
    """Weights that were trained elsewhere. Their files lie under the prefixes that the installation allows."""

    file: str = Field(max_length=2**20, description="The text of an ensemble file (YAML)", examples=[FILE_EXAMPLE])
    dataset: str = Field(
        max_length=100, description="Its category table has the classes, in their order", examples=["train"]
    )
    weights: dict[str, str] = Field(
        max_length=1000,
        description="Member -> safetensors file, an absolute path or s3://BUCKET/KEY",
        examples=[{"one": "s3://weights/one.safetensors"}],
    )
    current: bool = Field(True, description="Make it the current version")


class CurrentRequest(Model):
    """Which version `current` points at."""

    version: str = Field(pattern=r"^[0-9a-f]{1,64}$")


class VersionSummary(Model):
    """An ensemble version in a list."""

    name: str
    version: str
    current: bool
    dataset: str
    dataset_fingerprint: str
    taxonomy: str
    runs: dict[str, str] = Field(description="Member -> run")
    combinations: dict[str, list[str]]
    image_duplicates: str
    product_duplicates: str
    duplicate_table: str = Field(description="Its key in the object store; empty without one")
    fitted: list[str] = Field(description="Combinations that have a fit")
    imported: bool
    created: float


class VersionView(VersionSummary):
    """An immutable ensemble version."""

    document: dict[str, Any] = Field(description="The resolved ensemble file")
    fits: dict[str, Any] = Field(description="What was fitted on held-out products, by combination")


class VersionList(Model):
    """Versions, oldest first."""

    ensembles: list[VersionSummary]


def router(context: Context) -> APIRouter:
    """Routes under /v1/ensembles."""
    routes = APIRouter(prefix="/v1/ensembles", tags=["ensembles"])
    reads, submits = Depends(allowed(context, "read")), Depends(allowed(context, "submit"))
    stores = context.stores
    runs = stores.runs

    @routes.post(
        "",
        status_code=HTTPStatus.CREATED,
        dependencies=[submits],
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def import_weights(request: ImportRequest) -> VersionView:
        """Make a version from weights that were trained elsewhere; equal ones are the version that is there."""
        ensemble = parse(request.file, "file", architectures())
        weights = {
            member: locate(allowed_source(context.settings, source), context.buckets)
            for member, source in request.weights.items()
        }
        version = import_ensemble(
            stores, ensemble, request.dataset, weights, move_current=request.current, now=context.now()
        )
        return _view(runs, version)

    @routes.get("", dependencies=[reads], responses=answers())
    def list_versions() -> VersionList:
        """All versions of all ensembles, without their files and fits."""
        return VersionList(
            ensembles=[VersionSummary(**ensemble_versions.summary(runs, version)) for version in runs.versions()]
        )

    @routes.get("/{name}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def current_version(name: EnsembleName) -> VersionView:
        """The current version of an ensemble."""
        return _view(runs, runs.version(name))

    @routes.get("/{name}/{version}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def one_version(name: EnsembleName, version: VersionId) -> VersionView:
        """One version."""
        return _view(runs, runs.version(name, version))

    @routes.put("/{name}/current", dependencies=[submits], responses=answers(HTTPStatus.NOT_FOUND))
    def make_current(name: EnsembleName, request: CurrentRequest) -> VersionView:
        """Point `current` at a version; jobs that name the ensemble alone take it from now on."""
        runs.set_current(name, request.version)
        return _view(runs, runs.version(name))

    return routes


def _view(runs: Runs, version: EnsembleVersion) -> VersionView:
    return VersionView(
        **ensemble_versions.summary(runs, version), document=dict(version.document), fits=dict(version.fits)
    )
