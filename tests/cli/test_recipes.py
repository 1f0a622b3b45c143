from types import SimpleNamespace

import pytest
import yaml

from fusionscope.cli import main
from fusionscope.cli.recipes import find_recipe, known_recipes


def test_recipes_are_listed_shown_and_copied(tmp_path, capsys):
    assert main(["recipes", "list"]) == 0
    listed = capsys.readouterr().out
    assert "sandbox/1_align" in listed
    assert "Stage 1: alignment" in listed

    assert main(["recipes", "show", "sandbox/1_align"]) == 0
    assert "AlignmentPretraining" in capsys.readouterr().out

    assert main(["recipes", "copy", "sandbox", str(tmp_path / "mine")]) == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "0_language.yaml",
        "1_align.yaml",
        "2_instruct.yaml",
    ]
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


def test_a_shipped_stage_of_several_does_not_run_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "sandbox/2_instruct"]) == 2
    assert "one of the 3 stages of sandbox" in capsys.readouterr().err
    assert main(["run", "profile"]) == 2
    assert "no key `model`" in capsys.readouterr().err
    assert main(["run", "smolvml"]) == 2
    assert "did you mean smolvlm?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_recipe_is_found_by_directory_file_and_name(tmp_path):
    assert main(["recipes", "copy", "smolvlm/lora_pid", str(tmp_path / "mine")]) == 0
    file = tmp_path / "mine" / "lora_pid.yaml"
    assert find_recipe(str(tmp_path / "mine")) == ("mine", [file])
    assert find_recipe(str(file)) == ("lora_pid", [file])
    assert find_recipe("smolvlm/lora_pid") == find_recipe("smolvlm")
    assert [path.stem for path in find_recipe("sandbox")[1]] == ["0_language", "1_align", "2_instruct"]


def test_several_stages_are_not_copied_into_one_file(tmp_path, capsys):
    assert main(["recipes", "copy", "sandbox", str(tmp_path / "all.yaml")]) == 2
    assert "it has 3 stages" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_that_had_not_begun_takes_other_settings(tmp_path, capsys, monkeypatch):
    refused = SimpleNamespace(wait=lambda: 2)
    monkeypatch.setattr("fusionscope.cli.stages.Child", lambda *arguments, **settings: refused)
    run = ["run", "sandbox", "--run-dir", str(tmp_path)]
    assert main([*run, "--set", "trainer.maxsteps=2"]) == 2
    assert "It had not begun" in capsys.readouterr().err
    assert main([*run, "--set", "trainer.max_steps=2"]) == 2
    assert "It had not begun" in capsys.readouterr().err
    (tmp_path / "records.jsonl").touch()
    assert main([*run, "--set", "trainer.max_steps=2"]) == 2
    assert "goes on from its last checkpoint" in capsys.readouterr().err
    assert main([*run, "--set", "trainer.max_steps=3"]) == 2
    assert "holds a run of recipe 'sandbox'" in capsys.readouterr().err


def test_a_model_that_is_nowhere_is_an_error_with_a_fix(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fusionscope.study.sweep.sources.cached_file", _nowhere)
    assert main(["probe", "nosuch", "--task", "sandbox/synergy"]) == 2
    assert "model='nosuch' cannot be loaded" in capsys.readouterr().err


def _nowhere(*arguments, **settings):
    raise OSError("no file of that name")
