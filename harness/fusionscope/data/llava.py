"""LLaVA's JSON and image folder, or a table of the hub, as a dataset that is mapped from disk."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import datasets
from PIL import Image
from torch.utils.data import Dataset

from fusionscope.data.rows import checked, rows_of
from fusionscope.errors import BadImageError, DataError
from fusionscope.tasks.sources import HUB, ImageFolder, hub_name, image_folder, missing, open_image

_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "image": datasets.List(datasets.Value("string")),
        "conversations": datasets.List({"from": datasets.Value("string"), "value": datasets.Value("string")}),
    }
)
_FORM = "2"
"""Of the converted rows; another one where `rows_of` makes other rows of the same file."""


class LlavaJson(Dataset[dict[str, Any]]):
    """Conversations in LLaVA's format and the images that they name.

    A local file is converted to Arrow once, row by row, into the cache of `datasets`, and mapped from there: 665,298
    rows (LLaVA-1.5's mixture) take disk, not memory, however many processes and workers read them. A changed file is
    converted anew.

    Args:
        path: A JSON list or JSON lines, such as ``blip_laion_cc_sbu_558k.json``; or a data set of the hub,
            ``hub:owner/name``, with the column ``conversations`` and, where there are images, ``image`` or ``images``.
        image_folder: Where image paths start: a folder, a .zip or .tar file, or an address that fsspec opens; the
            file's own folder by default.
        split: Split of the data set on the hub.
        cache_dir: Where the Arrow file goes; the cache of `datasets` by default.
        allow_outside: Whether image paths may lead out of ``image_folder`` (``..``, absolute, symbolic links).

    Raises:
        ConfigError: There is no such image folder.
        DataError: The file is not what it should be, with the row.
    """

    def __init__(
        self,
        path: str,
        image_folder: str | None = None,
        split: str = "train",
        cache_dir: str | None = None,
        allow_outside: bool = False,
    ) -> None:
        self.path = path
        self.rows = _from_hub(path, split, cache_dir) if path.startswith(HUB) else _mapped(Path(path), cache_dir)
        self.image_folder = folder_of(path, image_folder, allow_outside=allow_outside)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return opened(self.rows[index], f"{self.path} row {index + 1}", self.image_folder)

    def lengths(self) -> list[int]:
        """Words of each conversation, negative where there is no image: LLaVA's measure for grouping."""
        columns = [name for name in ("image", "images", "conversations") if name in self.rows.column_names]
        return [
            sum(len(turn["value"].split()) for turn in row["conversations"])
            * (1 if row.get("image") or row.get("images") else -1)
            for row in undecoded(self.rows.select_columns(columns))
        ]


def folder_of(path: str, folder: str | None, *, allow_outside: bool) -> ImageFolder:
    """Where the images of a file of rows are: what is set, or the file's own folder.

    Args:
        path: The file of rows, or a data set of the hub.
        folder: What is set.
        allow_outside: Whether image paths may lead out of it.
    """
    own = "." if path.startswith(HUB) else str(Path(path).expanduser().parent)
    return image_folder(folder if folder is not None else own, allow_outside=allow_outside)


def opened(row: Mapping[str, Any], place: str, folder: ImageFolder) -> dict[str, Any]:
    """A row, checked, with its images opened.

    Args:
        row: ``image`` or ``images`` holds a path, an opened image, a list of them, or nothing.
        place: File and row, for messages.
        folder: Where paths start.

    Raises:
        BadImageError: An image is missing or cannot be read.
        DataError: The row is not in LLaVA's format, or a path leads out of the folder.
    """
    row = checked(row, place)
    images = [_open(image, place, folder) for image in row["image"]]
    return {**row, "image": images or None, "image_names": [_name(image) for image in row["image"]]}


def _open(given: Any, place: str, folder: ImageFolder) -> Image.Image:
    try:
        if isinstance(given, Image.Image):
            return open_image(given, "in the row")
        if isinstance(given, Mapping):  # of a table of the hub: what it was loaded with knows where its files are
            name = str(given.get("path") or "in the row")
            content = given.get("bytes")
            return open_image(io.BytesIO(content), name) if content else _of_table(given, name)
        if not isinstance(given, str):
            raise DataError(f"the image {str(given)[:200]!r}", "an image has a path or bytes", "correct the row")
        return folder.image(given).open()
    except BadImageError as error:
        raise BadImageError(
            f"{place}: {error.what}",
            f"images are looked for in {folder}",
            "set image_folder, restore the file, drop the row, or allow a few (LlavaDataModule's max_bad_images)",
        ) from error
    except DataError as error:
        raise DataError(f"{place}: {error.what}", error.why, error.fix) from error


def _name(given: Any) -> str:
    path = given.get("path") if isinstance(given, Mapping) else given
    return path[:200] if isinstance(path, str) and path else "in the row"


def _of_table(given: Mapping[str, Any], name: str) -> Image.Image:
    """An image that lies beside its table, opened by `datasets`."""
    try:
        image = datasets.Image().decode_example({"path": given.get("path"), "bytes": None})
    except (OSError, ValueError, TypeError) as error:
        raise BadImageError(f"image {name!r} cannot be read: {error}", "its table names it", "load it anew") from error
    return open_image(image, name)


def undecoded(rows: Any) -> Any:
    """Rows whose images, where the table holds them, are left closed.

    Args:
        rows: A `datasets.Dataset` or `datasets.IterableDataset`.
    """
    closed = datasets.Image(decode=False)
    for name, kind in dict(rows.features or {}).items():
        if isinstance(kind, datasets.Image):
            rows = rows.cast_column(name, closed)
        elif isinstance(kind, datasets.List) and isinstance(kind.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(closed))
    return rows


def _mapped(path: Path, cache_dir: str | None) -> datasets.Dataset:
    path = path.expanduser()
    if not path.is_file():
        error = missing(str(path))
        raise DataError(error.what, error.why, error.fix)
    stat = path.stat()
    version = f"{_FORM}:{stat.st_size}:{stat.st_mtime_ns}"
    try:
        return datasets.Dataset.from_generator(
            rows_of, _FEATURES, cache_dir, gen_kwargs={"path": str(path.resolve()), "version": version}
        )
    except (OSError, datasets.exceptions.DatasetGenerationError) as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise DataError(
            f"{path} cannot be converted: {error.__cause__ or error}",
            "its rows are written to the cache of `datasets` before they are read",
            "free space there, or set cache_dir to another place",
        ) from error


def _from_hub(path: str, split: str, cache_dir: str | None) -> datasets.Dataset:
    name, configuration = hub_name(path)
    try:
        rows = datasets.load_dataset(name, configuration, split=split, cache_dir=cache_dir)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path!r} cannot be loaded (split {split!r}): {error}",
            "training data is a file in LLaVA's format or a data set of the hub",
            "check the name, the split and the connection",
        ) from error
    if "conversations" not in rows.column_names:
        raise DataError(
            f"{path!r} has the columns {', '.join(rows.column_names)}",
            'a row is {"id", "image", "conversations": [{"from", "value"}, ...]}',
            "give a data set in LLaVA's format",
        )
    return cast(datasets.Dataset, undecoded(rows))
