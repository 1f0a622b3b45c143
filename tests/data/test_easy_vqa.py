"""easy-VQA as installed: training rows."""

import pytest

from fusionscope.data.easy_vqa import EasyVqa, EasyVqaCaptions
from fusionscope.errors import UnknownNameError
from fusionscope.tasks.easy_vqa import COLORS


def test_the_whole_package_is_read():
    assert len(EasyVqa("train")) == 38575
    assert len(EasyVqa("test")) == 9673
    assert len(EasyVqa("train", kinds=["yesno"])) == 28407
    assert len(EasyVqaCaptions("train")) == 3578
    row = EasyVqa("train", kinds=["color"], n=5, seed=1)[0]
    assert row["image"].size == (64, 64)
    assert row["conversations"][0]["value"].startswith("<image>\nwhat")
    assert row["conversations"][1]["value"] in COLORS


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="part of easy-VQA 'dev'"):
        EasyVqa("dev")
    with pytest.raises(UnknownNameError, match="kind of question 'size'"):
        EasyVqa(kinds=["size"])
