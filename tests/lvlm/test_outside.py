"""A family of another package, found through its entry point, goes through what ours go through."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from family_tester import FamilyTester, forget_families

from fusionscope.lvlm import family_of_checkpoint, known_model_types, register

OUTSIDE = Path(__file__).parents[1] / "outside"


@pytest.fixture(scope="module", autouse=True)
def outside(tmp_path_factory):
    """The package on the path with its metadata, as an installation puts it there."""
    project = tomllib.loads((OUTSIDE / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("site")
    info = folder / f"fusionscope_outside-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    families = project["entry-points"][register.FAMILIES.group]
    lines = [f"[{register.FAMILIES.group}]", *(f"{name} = {value}" for name, value in families.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(OUTSIDE))
        patch.syspath_prepend(str(folder))
        forget_families()
        yield folder
    forget_families()


class TestPrism(FamilyTester):
    model_type = "prism"
    answer = ("", "</s>")

    def test_it_is_known_beside_ours_and_recognised_by_its_checkpoint(self, lvlm, tmp_path):
        assert {"prism", "llava"} <= set(known_model_types())
        lvlm.model.save_pretrained(tmp_path)
        assert family_of_checkpoint(str(tmp_path)) is lvlm.family


def test_its_module_is_not_loaded_before_a_family_is_asked_for(outside):
    code = (
        "import sys, fusionscope.lvlm\n"
        "print(sorted({'fusionscope_outside', 'transformers', 'fusionscope.lvlm.families'} & set(sys.modules)))\n"
        "fusionscope.lvlm.known_model_types()\n"
        "print('fusionscope_outside' in sys.modules)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(outside), str(OUTSIDE)]}\n{code}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:2] == ["[]", "True"]
