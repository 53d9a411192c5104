"""What benchmarks against other programs do themselves, without those programs."""

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import data, peer_scoring, peer_steps, ray_data, torch_loader, web_dataset
from benchmarks.peer_scoring import Answers, Pictures, Score, Setting
from benchmarks.rounds import Timed, UnequalError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Twenty, of products with ids from 7 on that are not in order."""
    contents = data.pictures(20)
    dump = tmp_path_factory.mktemp("peers") / "dump"
    dump.write_bytes(b"head" + b"".join(contents))
    lengths = np.array([len(content) for content in contents])
    products = 7 + np.random.default_rng(1).permutation(20)
    return Pictures(str(dump), products, 4 + np.cumsum(lengths) - lengths, lengths)


@pytest.fixture(scope="module")
def expected(pictures: Pictures) -> Answers:
    """From the colour of each picture's middle: the stub network knows bright and dark."""
    brightness = [
        peer_steps.pixels(pictures.dump, "Pillow", [at], [size])[0, data.EDGE // 2, data.EDGE // 2].astype(float).sum()
        for at, size in zip(pictures.offset, pictures.length, strict=True)
    ]
    classes = np.where(np.array(brightness) > 3 * 127.5, 11, 0)
    assert len(set(classes.tolist())) == 2
    return peer_scoring.answers([pictures.product], [classes])


def test_answers_are_in_the_order_of_products() -> None:
    found = peer_scoring.answers([np.array([5, 1]), np.array([3])], [np.array([0, 11]), np.array([4])])
    assert found.tolist() == [[1, 11], [3, 4], [5, 0]]


def test_the_fastest_with_all_of_the_three_fastest_with_a_part_wins(
    monkeypatch: pytest.MonkeyPatch, pictures: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []
    seconds = {"slow": {4: 5, 20: 1}, "good": {4: 2, 20: 10}, "best": {4: 4, 20: 8}, "middling": {4: 3, 20: 11}}
    monkeypatch.setattr(peer_scoring, "_SEARCHED", 4)
    monkeypatch.setattr(peer_scoring, "timed", lambda score: Timed(seconds[asked[-1][0]][asked[-1][1]], score()))

    @contextmanager
    def peer(given: Pictures, setting: Setting) -> Iterator[Score]:
        def score() -> Answers:
            asked.append((setting["way"], len(given)))
            return peer_scoring.answers([given.product], [given.product])

        yield score

    expected = peer_scoring.answers([pictures.product], [pictures.product])
    best = peer_scoring.tuned("peer", peer, [{"way": way} for way in seconds], pictures, expected)
    assert best == {"way": "best"}
    assert asked[::2] == asked[1::2]
    assert asked[::2] == [*((way, 4) for way in seconds), ("good", 20), ("middling", 20), ("best", 20)]
    assert "2 images/s of 20 with way best" in capsys.readouterr().out


def test_a_setting_that_answers_otherwise_is_named(pictures: Pictures, expected: Answers) -> None:
    @contextmanager
    def peer(given: Pictures, setting: Setting) -> Iterator[Score]:
        classes = np.zeros(len(given), np.int64) if setting["way"] == "wrong" else expected[:, 1]
        yield lambda: peer_scoring.answers([np.sort(given.product)], [classes])

    right: Setting = {"way": "right"}
    assert peer_scoring.tuned("peer", peer, [right], pictures, expected) == right
    with pytest.raises(UnequalError, match="peer: other answers than ours with way wrong"):
        peer_scoring.tuned("peer", peer, [right, {"way": "wrong"}], pictures, expected)


@pytest.mark.parametrize("decoder", peer_steps.DECODERS)
@pytest.mark.parametrize("how", ["tasks", "actors", "tasks, then an actor"])
def test_the_steps_of_ray_data_score_pictures(how: str, decoder: str, pictures: Pictures, expected: Answers) -> None:
    columns = {name: getattr(pictures, name) for name in ("product", "offset", "length")}
    steps = ray_data.steps(how, pictures.dump, decoder)
    assert [step.actors > 0 for step in steps] == [part in ("actors", "then an actor") for part in how.split(", ")]
    for step in steps:
        columns = (step.what(*step.arguments) if step.actors else step.what)(columns)
    assert peer_scoring.answers([columns["product"]], [columns["class"]]).tolist() == expected.tolist()


def _scored(dataset: torch.utils.data.Dataset[object], best: Callable[[torch.Tensor], peer_steps.Int64]) -> Answers:
    return torch_loader.scores(torch.utils.data.DataLoader(dataset, batch_size=3), best)()


def test_datasets_of_pictures_one_by_one_and_transformed_score_alike(pictures: Pictures, expected: Answers) -> None:
    items = torch_loader.Items(pictures, "simplejpeg")
    assert _scored(items, peer_steps.best).tolist() == expected.tolist()
    transformed = torch_loader.Transformed(pictures)
    assert _scored(transformed, peer_steps.best_of_normalised).tolist() == expected.tolist()
    assert transformed[0][1].min() >= -1
    assert transformed[0][1].shape == (3, data.EDGE, data.EDGE)


def test_a_dataset_of_batches_has_each_picture_once(pictures: Pictures) -> None:
    batches = torch_loader.Batches(pictures, "Pillow", 6)
    found = [batches[number] for number in range(len(batches))]
    assert [len(pixels) for _, pixels in found] == [6, 6, 6, 2]
    assert torch.cat([products for products, _ in found]).tolist() == pictures.product.tolist()


def test_tar_files_hold_each_picture_once_under_its_product(
    pictures: Pictures, expected: Answers, tmp_path: Path
) -> None:
    found = []
    for path in web_dataset.write_shards(pictures, tmp_path):
        with tarfile.open(path) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                assert file is not None
                found.append((entry.name.removesuffix(".jpg"), file.read()))
    keys, batch = web_dataset.batch([web_dataset.item(one, "simplejpeg") for one in found])
    assert peer_scoring.answers([keys.numpy()], [peer_steps.best(batch)]).tolist() == expected.tolist()


def test_loaders_of_more_processes_than_cores_are_no_warning(pictures: Pictures) -> None:
    assert torch_loader.processes(0) == {"num_workers": 0}
    torch.utils.data.DataLoader(torch_loader.Items(pictures, "Pillow"), **torch_loader.processes(64))
