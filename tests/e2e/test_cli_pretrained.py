"""Initial weights without internet: stored once, used by trainings, refused where they do not fit."""

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from shared import layout, wiring
from shared.settings import Settings
from workers.vision.model import build


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(build("test_resnet", 1000).state_dict(), path)
    return path


def test_weights_are_stored_once_and_listed(shell, tmp_path, weights):
    home = tmp_path / "home"
    assert shell("--home", home, "pretrained")[1].startswith("none; ")
    code, out, err = shell("--home", home, "pretrained", "add", "test_resnet", weights)
    assert (code, out, err) == (0, "weights of test_resnet, which fill 100.0% of the network: stored\n", "")
    assert shell("--home", home, "pretrained", "add", "test_resnet", weights)[1].endswith(": there already\n")
    listed = json.loads(shell("--home", home, "pretrained", "--json")[1])
    assert listed == [{"model": "test_resnet", "bytes": weights.stat().st_size}]
    stored = wiring.objects(Settings(home=home)).read(layout.pretrained("test_resnet"))
    assert stored == weights.read_bytes()


def test_other_weights_do_not_replace_them(shell, tmp_path, weights):
    home = tmp_path / "home"
    assert shell("--home", home, "pretrained", "add", "test_resnet", weights)[0] == 0
    save_file(build("test_resnet", 1000).state_dict(), weights)
    code, out, err = shell("--home", home, "pretrained", "add", "test_resnet", weights)
    assert (code, out) == (2, "")
    assert "there are other weights at pretrained/test_resnet.safetensors" in err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("test_resnet2", "timm knows no such network; did you mean 'test_resnet'?"),
        ("test_efficientnet", "% of 'test_efficientnet' by name and shape"),
    ],
)
def test_weights_of_another_network_are_refused(shell, tmp_path, weights, model, words):
    code, out, err = shell("--home", tmp_path / "home", "pretrained", "add", model, weights)
    assert (code, out) == (2, "")
    assert words in err


def test_what_is_no_weights_file_is_refused(shell, tmp_path):
    (tmp_path / "page.html").write_text("<html>not found</html>")
    code, _, err = shell("--home", tmp_path / "home", "pretrained", "add", "test_resnet", tmp_path / "page.html")
    assert code == 2
    assert "it is no safetensors file" in err
