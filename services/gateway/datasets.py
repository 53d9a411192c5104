"""Datasets, their categories and products."""

import hashlib
from http import HTTPStatus
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field

from services.gateway.authentication import allowed
from services.gateway.context import Context
from services.gateway.models import Model
from services.gateway.problems import answers
from shared import removal
from shared.domain.errors import NotFoundError
from shared.domain.records import Dataset
from shared.packs import PackRef, read_index, read_label_sets, read_manifest, read_products, read_taxonomy
from shared.ports import Stores

DatasetName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["train"])]
ProductId = Annotated[int, Path(ge=-(2**63), lt=2**63)]
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}


class DatasetView(Model):
    """A dataset that is complete."""

    name: str
    fingerprint: str
    products: int
    images: int
    labelled: int
    bytes: int
    repeated: int
    bad: int
    taxonomy: str = Field(description="Fingerprint of the category table; empty without one")
    created: float


class DatasetList(Model):
    """All datasets by name."""

    datasets: list[DatasetView]


class PackView(Model):
    """A pack. Its bytes lie under another dataset after a relabel."""

    number: int
    dataset: str
    bytes: int
    products: int
    images: int


class BadDocumentView(Model):
    """What the ingest left out."""

    offset: int = Field(description="In the dump")
    reason: str


class ManifestView(Model):
    """The full account of a dataset."""

    dataset: str
    fingerprint: str
    source: str
    products: int
    images: int
    labelled: int
    bytes: int
    repeated: int
    unrecognised: int = Field(description="Images that do not begin like a JPEG, PNG or WebP file")
    taxonomy: str
    label_sets: int = Field(0, description="Distinct ones of a multilabel dataset; 0: a product has one category")
    pack_bytes: int
    packs: list[PackView]
    bad: list[BadDocumentView]


class CategoryView(Model):
    """A row of the category table; its place is the class index."""

    category_id: int
    path: list[str]


class CategoryList(Model):
    """The category table in its order."""

    fingerprint: str
    categories: list[CategoryView]


class ImageView(Model):
    """One image of a product."""

    bytes: int
    md5: str


class ProductView(Model):
    """A product as it was ingested."""

    dataset: str
    id: int
    category_id: int | None
    category_ids: list[int] | None = Field(None, description="Its labels, in a multilabel dataset")
    images: list[ImageView]


def router(context: Context) -> APIRouter:
    """Routes under /v1/datasets."""
    routes = APIRouter(prefix="/v1/datasets", tags=["datasets"])
    reads, stores = Depends(allowed(context, "read")), context.stores

    @routes.get("", dependencies=[reads], responses=answers())
    def list_datasets() -> DatasetList:
        """All datasets."""
        return DatasetList(datasets=[_view(dataset) for dataset in stores.catalog.datasets()])

    @routes.get("/{dataset}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def one_dataset(dataset: DatasetName) -> DatasetView:
        """A dataset."""
        return _view(stores.catalog.dataset(dataset))

    @routes.get("/{dataset}/manifest", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def manifest(dataset: DatasetName) -> ManifestView:
        """The full account of a dataset, with its packs and with what its ingest left out."""
        found = read_manifest(stores.objects, dataset).plain()
        return ManifestView(**{name: found[name] for name in ManifestView.model_fields})

    @routes.delete(
        "/{dataset}",
        status_code=HTTPStatus.NO_CONTENT,
        dependencies=[Depends(allowed(context, "admin"))],
        responses=answers(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    def remove(dataset: DatasetName) -> Response:
        """Remove a dataset that nothing uses."""
        removal.remove_dataset(stores.objects, stores.catalog, stores.runs, stores.jobs, dataset)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @routes.get("/{dataset}/categories", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def categories(dataset: DatasetName) -> CategoryList:
        """The category table."""
        if not read_manifest(stores.objects, dataset).taxonomy:
            raise NotFoundError(f"dataset '{dataset}' has no category table")
        taxonomy = read_taxonomy(stores.objects, dataset)
        rows = zip(taxonomy.category_ids.tolist(), taxonomy.paths, strict=True)
        return CategoryList(
            fingerprint=taxonomy.fingerprint,
            categories=[CategoryView(category_id=category, path=list(path)) for category, path in rows],
        )

    @routes.get("/{dataset}/products/{product}", dependencies=[reads], responses=answers(HTTPStatus.NOT_FOUND))
    def one_product(dataset: DatasetName, product: ProductId) -> ProductView:
        """A product, with sizes and digests of its images."""
        stored = stores.catalog.product(dataset, product).category_id
        sets = read_label_sets(stores.objects, read_manifest(stores.objects, dataset))
        return ProductView(
            dataset=dataset,
            id=product,
            category_id=None if sets else stored,
            category_ids=list(sets[stored]) if sets and stored is not None else None,
            images=[
                ImageView(bytes=len(content), md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
                for content in pictures(stores, dataset, product)
            ],
        )

    @routes.get(
        "/{dataset}/products/{product}/images/{number}",
        dependencies=[reads],
        response_class=Response,
        responses=answers(HTTPStatus.NOT_FOUND)
        | {200: {"description": "The image's bytes", "content": {kind: {} for kind in [*_MAGIC.values(), _OTHER]}}},
    )
    def image(dataset: DatasetName, product: ProductId, number: Annotated[int, Path(ge=0)]) -> Response:
        """One image as it was ingested, numbered from 0."""
        found = pictures(stores, dataset, product)
        if number >= len(found):
            raise NotFoundError(f"product {product} of dataset '{dataset}' has {len(found)} images, from 0")
        return Response(found[number], media_type=media_type(found[number]))

    return routes


_OTHER = "application/octet-stream"


def media_type(content: bytes) -> str:
    """By the first bytes: what a browser may show."""
    return next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), _OTHER)


def pictures(stores: Stores, dataset: str, product: int) -> list[bytes]:
    """The images of a stored product. Raises NotFoundError."""
    row = stores.catalog.product(dataset, product)
    manifest = read_manifest(stores.objects, dataset)
    ref: PackRef = next(ref for ref in manifest.packs if ref.number == row.pack)
    index = read_index(stores.objects, dataset, ref)
    place = int(np.flatnonzero(index.product_id == product)[0])
    one = index.slice(place, place + 1)
    begin = int(one.image_offset[0])
    content = read_products(stores.objects, ref, begin, int(one.image_offset[-1] + one.image_length[-1]))
    spans = zip((one.image_offset - begin).tolist(), one.image_length.tolist(), strict=True)
    return [content[start : start + length] for start, length in spans]


def _view(dataset: Dataset) -> DatasetView:
    return DatasetView(**{name: getattr(dataset, name) for name in DatasetView.model_fields})
