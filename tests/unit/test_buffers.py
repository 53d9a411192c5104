import numpy as np
import pytest
import torch

from shared.domain.ensemble import Input
from tests.engine_parts import CPU
from workers.scoring.buffers import InputBuffers


def pictures(count: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_pictures_of_an_inputs_size_stay_as_they_are(fit):
    given, some = Input(size=8, fit=fit), pictures(2, 8)
    buffers = InputBuffers([given], 4, CPU)
    buffers.put(np.array([0, 3]), some)
    assert torch.equal(buffers.batch(given)[[0, 3]], some.permute(0, 3, 1, 2))
    assert buffers.batch(given).dtype == torch.uint8


def test_memory_that_is_lent_is_the_batch_of_inputs_of_its_size_alone():
    small, large = Input(size=4), Input(size=8)
    buffers, memory, other = InputBuffers([small, large], 4, CPU), pictures(4, 8), pictures(1, 8)
    expected = memory.clone()
    buffers.begin(memory)
    buffers.put(np.arange(2), memory[:2], lies_there=True)
    assert buffers.batch(large).data_ptr() == memory.data_ptr()
    buffers.put(np.array([2]), other)
    buffers.fill_up(np.array([True, True, True]))
    expected[2], expected[3] = other[0], 0
    assert torch.equal(buffers.batch(large), expected.permute(0, 3, 1, 2))
    assert buffers.batch(small)[:3].float().mean() > 0
    buffers.begin(None)
    assert buffers.batch(large).data_ptr() != memory.data_ptr()


def test_a_picture_of_another_size_takes_the_batch_out_of_the_memory_lent():
    given = Input(size=8)
    buffers, memory, odd = InputBuffers([given], 4, CPU), pictures(4, 8), pictures(1, 6)
    buffers.begin(memory)
    buffers.put(np.arange(2), memory[:2], lies_there=True)
    before = memory.clone()
    buffers.put(np.array([2]), odd)
    buffers.put(np.array([3]), memory[3:], lies_there=True)
    batch = buffers.batch(given)
    assert torch.equal(memory, before)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[[0, 1, 3]], memory[[0, 1, 3]].permute(0, 3, 1, 2).float())
    assert batch[2].mean() == pytest.approx(float(odd.float().mean()), abs=30)
