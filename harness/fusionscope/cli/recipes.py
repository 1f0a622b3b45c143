"""``fusionscope recipes``: the recipes that we ship, found from a checkout and from an installed wheel."""

import argparse
import os
import shutil
import sys
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path

import fusionscope
from fusionscope.errors import ConfigError, UnknownNameError

HELP = "list, show or copy the recipes that we ship"
EXAMPLE = "recipes copy sandbox my-recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="name them, with the first line of each").set_defaults(call=_list)
    show = actions.add_parser("show", help="print one")
    copy = actions.add_parser("copy", help="copy one, to change it and run the copy")
    for action, call in ((show, _show), (copy, _copy)):
        action.add_argument("name", help="a recipe, such as sandbox, or one stage of it, such as sandbox/1_align")
        action.set_defaults(call=call)
    copy.add_argument("target", help="the directory to write (for one stage also a .yaml file); must not exist yet")


def shelves() -> list[Path]:
    """Where recipes are: in a checkout first, since an editable install copies them only once, then as installed."""
    roots = [Path(root) for root in fusionscope.__path__]
    checkouts = [root.parents[1] for root in roots if (root.parents[1] / "pyproject.toml").is_file()]
    places = [*(checkout / "recipes" for checkout in dict.fromkeys(checkouts)), *(root / "recipes" for root in roots)]
    return [place for place in places if place.is_dir()]


def known_recipes() -> dict[str, Path]:
    """Each YAML file that we ship under its name, ``directory/stage``; the first shelf that has one counts."""
    recipes: dict[str, Path] = {}
    for shelf in shelves():
        for path in sorted(shelf.rglob("*.yaml")):
            recipes.setdefault(path.relative_to(shelf).with_suffix("").as_posix(), path)
    return recipes


def find_recipe(name: str) -> tuple[str, list[Path]]:
    """A recipe's name and its stages' files in order: a directory or a file by its path, else one that we ship.

    Raises:
        UnknownNameError: Nothing of that name is there, or it holds no YAML file.
        ConfigError: One shipped stage of several, which cannot begin without those before it.
    """
    if Path(name).is_file():
        return Path(name).stem, [Path(name)]
    shipped = known_recipes()
    whole = Path(name).parent.as_posix() if name in shipped else name
    for folder in (Path(name), *(shelf / whole for shelf in shelves())):
        stages = sorted(folder.glob("*.yaml"))
        if whole != name and len(stages) > 1:
            raise ConfigError(
                f"{name} is one of the {len(stages)} stages of {whole}",
                "each begins with the model that the one before it has written",
                f"`fusionscope run {whole}`; or `fusionscope recipes copy {name} DIR`, name its model there, run DIR",
            )
        if stages:
            return folder.name, stages
    raise _unknown(name, "a recipe is a YAML file, or a directory with one a stage", shipped)


def _list(options: argparse.Namespace) -> int:
    recipes = known_recipes()
    width = max(map(len, recipes), default=0)
    return _print(f"{name:{width}}  {path.read_text().splitlines()[0].lstrip('# ')}" for name, path in recipes.items())


def _show(options: argparse.Namespace) -> int:
    return _print(f"# {path.name}\n{path.read_text()}" for path in _files(options.name))


def _print(texts: Iterable[str]) -> int:
    """Print, for a reader that may stop early, such as ``head``."""
    try:
        print("\n".join(texts), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries again as it ends
    return 0


def _copy(options: argparse.Namespace) -> int:
    target, paths = Path(options.target), _files(options.name)
    if target.exists():
        raise ConfigError(f"{target} exists already", "nothing is overwritten", "choose another target")
    if target.suffix in (".yaml", ".yml"):
        if len(paths) > 1:
            raise ConfigError(
                f"{options.name} -> {target}",
                f"it has {len(paths)} stages, a file each",
                "name a directory",
            )
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
    files = [recipes[name]] if name in recipes else [p for n, p in recipes.items() if n.startswith(f"{name}/")]
    if not files:
        raise _unknown(name, "it is none of those that we ship", recipes)
    return files


def _unknown(name: str, why: str, known: Collection[str]) -> UnknownNameError:
    directories = sorted({stage.rpartition("/")[0] for stage in known})
    near = get_close_matches(name, known if "/" in name else directories, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return UnknownNameError(
        f"no recipe {name!r}", why, f"{hint}`fusionscope recipes list` names {', '.join(directories)}"
    )
