"""``fusionscope recipes``: the recipes that we ship, found from a checkout and from an installed wheel."""

import argparse
import shutil
from pathlib import Path

import fusionscope
from fusionscope.errors import ConfigError, UnknownNameError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="name them, with the first line of each").set_defaults(call=_list)
    show = actions.add_parser("show", help="print one")
    copy = actions.add_parser("copy", help="copy one, to change it")
    for action, call in ((show, _show), (copy, _copy)):
        action.add_argument("name", help="such as sandbox, or llava15_7b/align")
        action.set_defaults(call=call)
    copy.add_argument("target", help="the directory or file to write; must not exist yet")


def shelves() -> list[Path]:
    """Where recipes are: in a checkout first, since an editable install copies them only once, then as installed."""
    roots = [Path(root) for root in fusionscope.__path__]
    checkouts = [root.parents[1] for root in roots if (root.parents[1] / "pyproject.toml").is_file()]
    places = [*(checkout / "recipes" for checkout in dict.fromkeys(checkouts)), *(root / "recipes" for root in roots)]
    return [place for place in places if place.is_dir()]


def known_recipes() -> dict[str, Path]:
    """Each YAML file that we ship under its name, ``directory/stage``; the first shelf that has one counts."""
    found: dict[str, Path] = {}
    for shelf in shelves():
        for path in sorted(shelf.rglob("*.yaml")):
            found.setdefault(path.relative_to(shelf).with_suffix("").as_posix(), path)
    return found


def find_recipe(name: str) -> Path:
    """The directory of a recipe: a path, else one that we ship.

    Raises:
        UnknownNameError: Neither is there, or it holds no YAML file.
    """
    for folder in (Path(name), *(shelf / name for shelf in shelves())):
        if folder.is_dir() and any(folder.glob("*.yaml")):
            return folder
    raise _unknown(name, "a recipe is a directory with one YAML file a stage")


def _list(options: argparse.Namespace) -> int:
    recipes = known_recipes()
    width = max(map(len, recipes), default=0)
    for name, path in recipes.items():
        print(f"{name:{width}}  {path.read_text().splitlines()[0].lstrip('# ')}")
    return 0


def _show(options: argparse.Namespace) -> int:
    for path in _files(options.name):
        print(f"# {path.name}\n{path.read_text()}")
    return 0


def _copy(options: argparse.Namespace) -> int:
    target, paths = Path(options.target), _files(options.name)
    if target.exists():
        raise ConfigError(f"{target} exists already", "nothing is overwritten", "choose another target")
    if options.name in known_recipes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths[0], target)
    else:
        target.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, target)
    print(f"{options.name} -> {target}")
    return 0


def _files(name: str) -> list[Path]:
    """The files of a recipe directory, or the one file of that name."""
    recipes = known_recipes()
    found = [recipes[name]] if name in recipes else [p for n, p in recipes.items() if n.startswith(f"{name}/")]
    if not found:
        raise _unknown(name, "`fusionscope recipes list` names those that we ship")
    return found


def _unknown(name: str, why: str) -> UnknownNameError:
    directories = sorted({known.rpartition("/")[0] for known in known_recipes()})
    return UnknownNameError(f"no recipe {name!r}", why, f"give a path, or one of {', '.join(directories)}")
