"""A wrong setting is named before any pass; none is taken for another."""

import pytest

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lvlm import LVLM
from fusionscope.probe import Settings, probe


@pytest.mark.parametrize("settings", [{"scoring": "sequnce"}, {"padding_side": "Right"}, {"mask": "fog"}])
def test_names_are_checked(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(UnknownNameError, match=f"{name} '{value}'"):
        Settings(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"folds": 1},  # a classifier that saw everything gave no information at all
        {"draws": 0},
        {"max_pairs": 0},
        {"batch_size": 0},
        {"max_bad_images": -1},
        {"noise_scale": float("nan")},
        {"fallback": 30},
    ],
)
def test_numbers_are_checked(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(InputError, match=f"{name}={value}"):
        Settings(**settings)


@pytest.mark.parametrize(("estimator", "design"), [("exakt", "crossed"), ("faithful", "crossed"), ("exakt", "learned")])
def test_an_estimator_is_checked_before_any_pass(llava, make_task, monkeypatch, estimator, design):
    monkeypatch.setattr(LVLM, "look", lambda *_: pytest.fail("a pass was run"))
    with pytest.raises((UnknownNameError, InputError), match=f"estimator '{estimator}'"):
        probe(llava, make_task(), estimator=estimator, design=design)
