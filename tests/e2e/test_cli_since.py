"""Scoring a catalog again after it has changed: only what is new goes through the networks."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest
import simplejpeg

from services import cli
from shared import wiring
from shared.domain.records import Outcome
from shared.ports import Jobs
from shared.settings import Settings
from tests.conftest import Shop

NEW_ID = 10**9


@dataclass(frozen=True)
class Changed:
    """The shop after its catalog `test` has become `later`, scored in full and by copying from `job`."""

    home: Path
    dump: list[dict[str, Any]]
    touched: set[int]
    job: str
    full: str
    since: str

    @property
    def jobs(self) -> Jobs:
        return wiring.stores(Settings(home=self.home)).jobs

    def outcomes(self, job: str) -> dict[int, Outcome]:
        return {outcome.product: outcome for outcome in self.jobs.outcomes(job, limit=10_000)}


def recoded(picture: bytes) -> bytes:
    return bytes(simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(picture), quality=70))


def changed(documents: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], set[int]]:
    """Seven products less, three pictures each of them new, one order of pictures turned; and two new products."""
    kept, touched = documents[7:], set[int]()
    for document in kept[10::90]:
        document["imgs"] = [{"picture": recoded(image["picture"])} for image in document["imgs"]]
        touched.add(document["_id"])
    several = next(d for d in kept if len(d["imgs"]) > 1 and d["_id"] not in touched)
    several["imgs"].reverse()
    touched.add(several["_id"])
    new = [{"_id": NEW_ID + n, "imgs": document["imgs"]} for n, document in enumerate(kept[20:22])]
    return [new[0], *kept, new[1]], touched | {NEW_ID, NEW_ID + 1}


def score(home: Path, dataset: str, *options: str) -> str:
    """The id of the job."""
    before = {job.id for job in wiring.stores(Settings(home=home)).jobs.jobs()}
    arguments = ["score", dataset, "--ensemble", "tiny", "--no-skip-decided", *options]
    assert cli.run(["--home", str(home), *arguments]) == 0
    (job,) = {job.id for job in wiring.stores(Settings(home=home)).jobs.jobs()} - before
    return job


@pytest.fixture(scope="module")
def later(shop: Shop, grocery: Path, tmp_path_factory: pytest.TempPathFactory) -> Changed:
    home = tmp_path_factory.mktemp("later") / "home"
    shop.copy(home)
    with (grocery / "test.bson").open("rb") as file:
        dump, touched = changed(list(bson.decode_file_iter(file)))
    source = home.parent / "later.bson"
    source.write_bytes(b"".join(bson.encode(document) for document in dump))
    assert cli.run(["--home", str(home), "ingest", str(source), "--dataset", "later"]) == 0
    since = score(home, "later", "--since", shop.job, "--chunk-images", "100")
    return Changed(home, dump, touched, shop.job, full=score(home, "later"), since=since)


def test_the_networks_see_only_what_has_changed(later: Changed) -> None:
    expected = sum(len(document["imgs"]) for document in later.dump if document["_id"] in later.touched)
    chunks = later.jobs.chunks(later.since)
    assert sum(chunk.scored_images for chunk in chunks) == expected
    assert sum(chunk.copied for chunk in chunks) == len(later.dump) - len(later.touched)
    assert sum(chunk.done for chunk in chunks) == len(later.dump)
    marks = {product: outcome.since for product, outcome in later.outcomes(later.since).items()}
    assert marks == {d["_id"]: "" if d["_id"] in later.touched else later.job for d in later.dump}


def test_the_outcomes_are_those_of_a_full_scoring(later: Changed) -> None:
    copied, full = later.outcomes(later.since), later.outcomes(later.full)
    assert list(copied) == list(full) == [document["_id"] for document in later.dump]
    for product, outcome in copied.items():
        other = full[product]
        same = ("position", "source", "overridden", "error", "images")
        assert [getattr(outcome, name) for name in same] == [getattr(other, name) for name in same]
        for mine, its in ((outcome.predictions, other.predictions), (outcome.model_only, other.model_only)):
            assert mine.keys() == its.keys()
            for name in mine:
                assert mine[name]["category_id"] == its[name]["category_id"]
                assert mine[name]["probability"] == pytest.approx(its[name]["probability"], abs=1e-6)
                assert [row[0] for row in mine[name]["top"]] == [row[0] for row in its[name]["top"]]


def test_exports_and_figures_are_those_of_a_full_scoring(
    later: Changed, shell: Any, grocery: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.csv" for number in range(2)]
    for file, job in zip(files, (later.since, later.full), strict=True):
        assert shell("--home", later.home, "export", job, "-o", file)[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    ids = {str(document["_id"]) for document in later.dump}
    with (grocery / "test_labels.csv").open() as file:
        rows = [row for row in csv.reader(file) if row[0] == "_id" or row[0] in ids]
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(",".join(row) + "\n" for row in rows))
    figures = []
    for job in (later.since, later.full):
        code, out, _ = shell("--home", later.home, "evaluate", job, "--labels", labels, "--json")
        assert code == 0
        figures.append(json.loads(out)["combinations"])
    assert figures[0] == figures[1]


def test_what_has_not_changed_at_all_needs_no_network(later: Changed, shell: Any, grocery: Path) -> None:
    assert shell("--home", later.home, "ingest", grocery / "test.bson", "--dataset", "same")[0] == 0
    arguments = ("score", "same", "--ensemble", "tiny", "--no-skip-decided", "--since", later.job, "--json")
    code, out, _ = shell("--home", later.home, *arguments)
    assert code == 0
    found = json.loads(out)
    assert (found["since"], found["copied"], found["done"], found["failed"]) == (later.job, 290, 290, 0)
    assert sum(chunk.scored_images for chunk in later.jobs.chunks(found["job"])) == 0
    code, out, err = shell("--home", later.home, *arguments)
    assert (code, json.loads(out)) == (0, found)
    assert "has scored this already" in err
    assert shell("--home", later.home, "rm", "job", found["job"])[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--since", "0123456789abcdef"), "there is no job '0123456789abcdef'; see `shelver jobs`"),
        (("--since", "JOB", "--skip-decided"), "--no-skip-decided, not --duplicates"),
        (("--since", "JOB", "--keep-scores"), "kept scores are not copied"),
    ],
)
def test_what_cannot_be_copied_is_refused_in_one_line(
    later: Changed, shell: Any, options: tuple[str, ...], words: str
) -> None:
    before = later.jobs.jobs()
    given = [later.job if option == "JOB" else option for option in options]
    code, out, err = shell("--home", later.home, "score", "later", "--ensemble", "tiny", "--no-skip-decided", *given)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err
    assert later.jobs.jobs() == before


def test_a_job_that_copied_nothing_says_so(shell, later, tmp_path):
    dump = tmp_path / "other.bson"
    dump.write_bytes(
        b"".join(bson.encode({**document, "_id": 2 * NEW_ID + n}) for n, document in enumerate(later.dump[:3]))
    )
    assert shell("--home", later.home, "ingest", dump, "--dataset", "other")[0] == 0
    since = ("--no-skip-decided", "--since", later.job)
    code, _, err = shell("--home", later.home, "score", "other", "--ensemble", "tiny", *since)
    assert code == 0
    assert f"nothing was copied: job {later.job} has no product of the same id and images" in err
