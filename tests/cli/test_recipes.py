import pytest
import yaml

from fusionscope.cli import main
from fusionscope.cli.recipes import known_recipes


def test_recipes_are_listed_shown_and_copied(tmp_path, capsys):
    assert main(["recipes", "list"]) == 0
    listed = capsys.readouterr().out
    assert "sandbox/1_align" in listed
    assert "Stage 1: alignment" in listed

    assert main(["recipes", "show", "sandbox/1_align"]) == 0
    assert "AlignmentPretraining" in capsys.readouterr().out

    assert main(["recipes", "copy", "sandbox", str(tmp_path / "mine")]) == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "0_language.yaml", "1_align.yaml", "2_instruct.yaml",
    ]  # fmt: skip
    assert main(["recipes", "copy", "sandbox/1_align", str(tmp_path / "one.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "one.yaml").read_text())["model"]


def test_nothing_is_overwritten_and_unknown_names_are_told(tmp_path, capsys):
    assert main(["recipes", "copy", "sandbox", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["recipes", "show", "sandbux"]) == 2
    assert "no recipe 'sandbux'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(known_recipes()))
def test_every_recipe_is_short_and_says_what_it_is(name):
    lines = known_recipes()[name].read_text().splitlines()
    assert len(lines) <= 90
    assert lines[0].startswith("# ")
