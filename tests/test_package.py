"""The package as it is installed: one namespace, no generic names, recipes inside."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_namespace_has_no_init_file():
    assert not list(ROOT.glob("*/fusionscope/__init__.py"))


def test_the_wheel_holds_one_name_besides_its_metadata(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fusionscope"}


def test_the_wheel_holds_every_room_and_recipe(wheel):
    names = set(wheel.namelist())
    rooms = {path.name for root in ("harness", "callbacks") for path in (ROOT / root / "fusionscope").glob("*/")}
    for room in rooms - {"__pycache__"}:
        assert f"fusionscope/{room}/__init__.py" in names, room
    for recipe in (ROOT / "recipes").rglob("*.yaml"):
        assert f"fusionscope/{recipe.relative_to(ROOT).as_posix()}" in names


def test_recipes_are_listed_shown_and_copied_from_the_wheel(wheel, tmp_path):
    """The wheel's files alone on the path: no checkout, and none of the packages that it needs to train."""
    wheel.extractall(tmp_path / "installed")

    def fusionscope(*words: str) -> str:
        command = [sys.executable, "-S", "-m", "fusionscope.cli", *words]
        env = {"PYTHONPATH": str(tmp_path / "installed")}
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=env).stdout

    names = {line.split()[0] for line in fusionscope("recipes", "list").splitlines()}
    recipes = ROOT / "recipes"
    assert names == {path.relative_to(recipes).with_suffix("").as_posix() for path in recipes.rglob("*.yaml")}
    assert (recipes / "sandbox" / "1_align.yaml").read_text() in fusionscope("recipes", "show", "sandbox/1_align")
    fusionscope("recipes", "copy", "sandbox", "mine")
    for path in (recipes / "sandbox").glob("*.yaml"):
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()


def test_the_information_theory_imports_neither_lightning_nor_transformers():
    code = (
        "import sys, fusionscope.pid; print(sorted({'lightning', 'transformers', 'torchmetrics'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_needs_no_heavy_import():
    code = (
        "import sys\nfrom fusionscope.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'lightning', 'transformers'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"
    assert "run the stages of a recipe" in found.stdout
