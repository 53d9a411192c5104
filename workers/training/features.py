"""Precomputed features: a frozen backbone runs once over a member's pictures, and its head learns from what it said.

Float16 arrays [images, channels] of up to `FILE_ROWS` images lie in the object store, under a digest of all that
decides them, so that members that differ in their heads or schedules share them. They are held in memory while a head
learns: 4 kB per image of 2,048 channels.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from hashlib import sha256
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from shared import layout
from shared.domain.digests import digest
from shared.domain.ensemble import Member
from shared.domain.product_images import EVERY_PRODUCT
from shared.packs import Manifest
from shared.ports import Objects
from workers.training.dataset import Images, Int64
from workers.training.device import Device
from workers.training.pictures import PictureBatch, PictureSource
from workers.training.preemption import PreemptedError
from workers.vision import preprocessing

FILE_ROWS = 4096
_BATCH_IMAGES = 128

Features = npt.NDArray[np.float16]


def key_of(manifest: Manifest, member: Member, module: nn.Module, device: Device) -> str:
    """The digest under which the features of a member's training part lie; `member` is resolved."""
    weights = sha256()
    for name, tensor in module.get_submodule("backbone").state_dict().items():
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest(
        [
            manifest.fingerprint,
            member.model,
            asdict(member.input),
            member.head.kind,
            member.split.digest,
            device.precision,
            weights.hexdigest(),
            *([asdict(member.images), member.share] if (member.images, member.share) != (EVERY_PRODUCT, 1.0) else []),
        ]
    )


class FeatureSource:
    """Reads the features of images as `PictureSource` reads pictures: a vector float16 [channels] each."""

    def __init__(self, objects: Objects, dataset: str, key: str, images: int) -> None:
        """All files of `images` images are there, see `store`."""
        numbers = range(-(-images // FILE_ROWS))
        contents = (objects.read(layout.features(dataset, key, number)) for number in numbers)
        self._features: Features = np.concatenate([np.load(BytesIO(content)) for content in contents])

    def __enter__(self) -> "FeatureSource":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open."""

    def batches(self, batches: Iterable[Int64]) -> Iterator[PictureBatch]:
        """The features of each batch of rows; those of an image that could not be decoded are not there."""
        for rows in batches:
            found = self._features[rows]
            there = ~np.isnan(found[:, 0])
            lost = dict.fromkeys(rows[~there].tolist(), "it could not be decoded when its features were computed")
            yield PictureBatch(rows[there], list(torch.from_numpy(found[there])), lost)


def store(
    objects: Objects,
    dataset: str,
    key: str,
    member: Member,
    module: nn.Module,
    images: Images,
    source: PictureSource,
    device: Device,
    *,
    progress: Callable[[int, int], None],
    preempted: Callable[[], bool],
) -> None:
    """Write the features of all images that are not there yet, file by file. Raises PreemptedError."""
    module.eval()
    for number, start in enumerate(range(0, len(images), FILE_ROWS)):
        rows = np.arange(start, min(start + FILE_ROWS, len(images)))
        name = layout.features(dataset, key, number)
        if not objects.exists(name):
            stream = BytesIO()
            np.save(stream, _of(member, module, rows, source, device, preempted), allow_pickle=False)
            objects.put(name, stream.getvalue())
        progress(int(rows[-1]) + 1, len(images))


@torch.inference_mode()
def _of(
    member: Member,
    module: nn.Module,
    rows: Int64,
    source: PictureSource,
    device: Device,
    preempted: Callable[[], bool],
) -> Features:
    pool = nn.AdaptiveMaxPool2d(1) if member.head.kind == "max" else nn.AdaptiveAvgPool2d(1)
    found: Features | None = None
    for batch in source.batches(rows[at : at + _BATCH_IMAGES] for at in range(0, len(rows), _BATCH_IMAGES)):
        if preempted():
            raise PreemptedError
        if not batch.pictures:
            continue
        pictures = preprocessing.resize(batch.pictures, member.input, device.device)
        pictures = preprocessing.normalise(pictures, member.input.mean, member.input.std)
        maps = device.forward(module.get_submodule("backbone"), pictures)
        if found is None:
            found = np.full((len(rows), maps.shape[1]), np.nan, dtype=np.float16)
        found[batch.rows - rows[0]] = pool(maps).flatten(1).to(torch.float16).cpu().numpy()
    return np.full((len(rows), 1), np.nan, dtype=np.float16) if found is None else found


def answers(module: nn.Module, batch: PictureBatch, device: Device, product: Int64 | None = None) -> Tensor:
    """Logits float32 [n, classes] of a network's head, of stored features; or of products, see `Device.forward`."""
    features = torch.stack(batch.pictures).to(device.device, torch.float32)
    return device.forward(
        module.get_submodule("head"), features[:, :, None, None], product
    )  # a map that is pooled already
