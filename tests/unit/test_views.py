import pytest

from shared.domain.errors import BadInputError
from shared.domain.views import NAMES, ViewSpec, parse


def test_plain_and_hflip_are_the_whole_image() -> None:
    assert parse("plain") == ViewSpec((0, 0, 1, 1), False)
    assert parse("hflip") == ViewSpec((0, 0, 1, 1), True)
    assert parse("plain").whole
    assert not parse("crop_center").whole


def test_crops_lie_where_their_names_say() -> None:
    assert parse("crop_center") == ViewSpec((0.0625, 0.0625, 0.875, 0.875), False)
    assert parse("crop_top_right") == ViewSpec((0.0, 0.125, 0.875, 0.875), False)
    assert parse("crop_bottom_left_hflip") == ViewSpec((0.125, 0.0, 0.875, 0.875), True)


def test_all_names_are_distinct_views_inside_the_image() -> None:
    specs = [parse(name) for name in NAMES]
    assert len(set(specs)) == len(NAMES) == 12
    for spec in specs:
        top, left, height, width = spec.box
        assert 0 <= top <= top + height <= 1
        assert 0 <= left <= left + width <= 1


def test_an_unknown_view_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(BadInputError, match="there is no view 'flip'; use any of plain, hflip"):
        parse("flip")
