"""What a member says of decoded images, of products where it is joint: for the holdout, the watch part and the card."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from shared.domain.ensemble import Member
from shared.domain.product_images import EACH_IMAGE
from shared.domain.views import ViewSpec
from workers.training.dataset import Int64
from workers.training.device import Device
from workers.vision.forward import forward_probabilities
from workers.vision.joint import Running, joint_probabilities


def running(member: Member, module: nn.Module, device: Device, batch: int) -> Running:
    """A joint member, `member` being resolved and `module` in eval mode, in batches of one size."""
    return Running(module, member.joint, member.input, device.device, device.precision, batch)


def probabilities_of(
    member: Member,
    module: nn.Module,
    pictures: Sequence[Tensor],
    product_id: Int64,
    views: Sequence[ViewSpec],
    device: Device,
    batch: int,
    probabilities: Callable[[Tensor], Tensor],
) -> npt.NDArray[np.float16]:
    """float16 [n, views, classes] as `forward_probabilities`; of each image of a joint member what is said of its
    product, all of whose images, together, are among the pictures.
    """
    if member.joint != EACH_IMAGE:
        return joint_probabilities(running(member, module, device, batch), pictures, product_id, views, probabilities)
    return forward_probabilities(
        module,
        pictures,
        member.input,
        views,
        device=device.device,
        precision=device.precision,
        batch_images=batch,
        probabilities=probabilities,
    )


def whole_products(product_id: Int64, most: int) -> Iterator[slice]:
    """Rows of whole products, which lie together: as many as fit into `most`, unless one product is larger."""
    ends = np.flatnonzero(np.r_[product_id[1:] != product_id[:-1], True][: len(product_id)]) + 1
    start = 0
    while start < len(product_id):
        full = int(np.searchsorted(ends, start + most, side="right"))
        beyond = int(np.searchsorted(ends, start, side="right"))
        end = int(ends[max(full - 1, beyond)])
        yield slice(start, end)
        start = end
