import gc
from pathlib import Path

from services.dispatcher import planning
from shared.adapters.directory import DirectoryObjects
from shared.packs import PackIndex
from tests.job_scene import Scene


class Watched(DirectoryObjects):
    """Counts the indexes in memory at each read of an object."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.held: list[int] = []

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.held.append(sum(isinstance(thing, PackIndex) for thing in gc.get_objects()))
        return super().read(key, offset, length)


def test_one_index_at_a_time_is_in_memory(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [2] * 6, packs=3)
    objects = Watched(tmp_path / "objects")
    planning.plan(scene.jobs, objects, scene.job)
    assert [chunk.pack for chunk in scene.chunks()] == [0, 1, 2]
    assert len(objects.held) == 4  # the manifest and each index
    assert len(set(objects.held)) == 1
