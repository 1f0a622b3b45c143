"""Images that are opened when they are asked for, and told apart by their content without being opened."""

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from fusionscope.errors import BadImageError, InputError
from fusionscope.tasks.sources.images import open_image

_DIGEST_BYTES = 16


class ImageSource(Protocol):
    """One image that is not open yet."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def open(self) -> Image.Image:
        """The image, RGB; raises BadImageError where it cannot be read."""

    def digest(self) -> str:
        """A hash of its content, equal for equal files wherever they are."""


@dataclass(frozen=True, kw_only=True)
class FileImage:
    """An image file.

    Args:
        path: The file.
        name: What messages call it.
    """

    path: Path
    name: str

    def open(self) -> Image.Image:
        """The image, RGB."""
        return open_image(self.path, self.name)

    def digest(self) -> str:
        """The hash of the file's bytes, which are streamed."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=_DIGEST_BYTES)).hexdigest()
        except OSError as error:
            raise BadImageError(
                f"image {self.name!r} cannot be read: {error}", "its content tells it apart", "restore the file"
            ) from error


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image file inside something else: a cell of a table, an archive, a bucket.

    Args:
        read: Reads the file's bytes.
        name: What messages call it.
    """

    read: Callable[[], bytes]
    name: str

    def open(self) -> Image.Image:
        """The image, RGB."""
        return open_image(io.BytesIO(self._bytes()), self.name)

    def digest(self) -> str:
        """The hash of the file's bytes."""
        return digest_of_bytes(self._bytes())

    def _bytes(self) -> bytes:
        try:
            return self.read()
        except BadImageError:
            raise
        except Exception as error:  # damaged archives raise as much as damaged images do
            raise BadImageError(
                f"image {self.name!r} cannot be read: {error}", "its archive is damaged or gone", "restore the archive"
            ) from error


@dataclass(frozen=True, kw_only=True)
class MissingImage:
    """An image that was looked for and is not there.

    Args:
        name: What messages call it.
        where: Where it was looked for.
    """

    name: str
    where: str

    def open(self) -> Image.Image:
        """Never an image."""
        raise BadImageError(
            f"image {self.name!r} is missing",
            f"it was looked for in {self.where}",
            "set image_folder to where the images are, or allow a few to be left out (max_bad_images)",
        )

    def digest(self) -> str:
        """Never a digest."""
        self.open()
        return ""


@dataclass(frozen=True, kw_only=True)
class DrawnImage:
    """An image that is in memory, or drawn when it is asked for: it has pixels and no file.

    Args:
        draw: Returns the image.
        name: What messages call it.
    """

    draw: Callable[[], Image.Image]
    name: str

    def open(self) -> Image.Image:
        """The image, RGB."""
        try:
            image = self.draw()
        except OSError as error:
            raise BadImageError(
                f"image {self.name!r} cannot be read: {error}", "it has to open", "restore it"
            ) from error
        if not isinstance(image, Image.Image):
            raise InputError(f"image {self.name!r} is {type(image)}", "it has to be a PIL image", "convert it first")
        return open_image(image, self.name)

    def digest(self) -> str:
        """The hash of the pixels as they are seen."""
        return digest_of_pixels(self.open())


@dataclass(frozen=True, kw_only=True)
class ChangedImage:
    """Another image with something done to it.

    Args:
        source: The other image.
        change: What is done to the opened image.
        what: Says what is done, parameters included; two changes of one name are the same change.
    """

    source: ImageSource
    change: Callable[[Image.Image], Image.Image]
    what: str

    @property
    def name(self) -> str:
        """The other image's name."""
        return self.source.name

    def open(self) -> Image.Image:
        """The changed image, RGB."""
        return self.change(self.source.open())

    def digest(self) -> str:
        """A hash of the other image's digest and of what is done."""
        return digest_of_bytes(f"{self.source.digest()}\n{self.what}".encode())


class LazyImages(Sequence[Image.Image]):
    """A sequence of RGB images, opened when they are asked for.

    Args:
        sources: What opens each.

    >>> grey = DrawnImage(draw=lambda: Image.new("L", (2, 2), 128), name="grey")
    >>> images = LazyImages([grey]).map(lambda image: image.rotate(90), "rotate(90)")
    >>> images[0].mode, images.digest(0) == LazyImages([grey]).digest(0)
    ('RGB', False)
    """

    def __init__(self, sources: Iterable[ImageSource]) -> None:
        self.sources = tuple(sources)
        self._digests: dict[int, str] = {}
        self._unreadable: dict[int, BadImageError] | None = None

    @classmethod
    def of(cls, images: Sequence[Any], names: Sequence[str] = ()) -> "LazyImages":
        """Any sequence of images as a lazy one; one that is lazy already is returned as it is.

        Args:
            images: Anything with ``len`` and ``[i] -> PIL.Image``.
            names: What messages call them; their numbers by default.
        """
        if isinstance(images, LazyImages):
            return images
        names = names or [str(i) for i in range(len(images))]
        return cls(DrawnImage(draw=_Element(images, i), name=name) for i, name in enumerate(names))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Any) -> Any:
        return self.sources[index].open()

    def digest(self, index: int) -> str:
        """The content's hash of one image: of its file's bytes, or of its pixels where it has no file."""
        if index not in self._digests:
            self._digests[index] = self.sources[index].digest()
        return self._digests[index]

    def unreadable(self) -> Mapping[int, BadImageError]:
        """Which images cannot be read, and why; all are opened once, and what was found is kept."""
        if self._unreadable is None:
            self._unreadable = {i: error for i in range(len(self)) if (error := failure(self.sources[i])) is not None}
        return self._unreadable

    def map(self, change: Callable[[Image.Image], Image.Image], what: str) -> "LazyImages":
        """The images, each changed when it is opened.

        Args:
            change: What is done to each.
            what: Says what is done, parameters included; the digests follow from it.
        """
        return LazyImages(ChangedImage(source=source, change=change, what=what) for source in self.sources)

    def select(self, indices: Iterable[int]) -> "LazyImages":
        """Some of the images, in the order of the indices."""
        chosen = list(indices)
        images = LazyImages(self.sources[i] for i in chosen)
        images._digests = {new: self._digests[old] for new, old in enumerate(chosen) if old in self._digests}
        return images


def digest_of_images(images: Sequence[Any]) -> tuple[str, ...]:
    """The content's hash of each image; see `LazyImages.digest`.

    Args:
        images: Anything with ``len`` and ``[i] -> PIL.Image``; a `LazyImages` keeps its digests.
    """
    lazy = LazyImages.of(images)
    return tuple(lazy.digest(i) for i in range(len(lazy)))


def failure(source: ImageSource) -> BadImageError | None:
    """Why an image cannot be read, or None."""
    try:
        source.open()
    except BadImageError as error:
        return error
    return None


@dataclass(frozen=True)
class _Element:
    """One element of a sequence, taken when it is asked for."""

    images: Sequence[Any]
    index: int

    def __call__(self) -> Any:
        return self.images[self.index]


def digest_of_bytes(content: bytes) -> str:
    """The hash of a file's bytes, as hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def digest_of_pixels(image: Image.Image) -> str:
    """The hash of an image's size and RGB pixels, as hexadecimal digits."""
    return digest_of_bytes(repr(image.size).encode() + image.tobytes())
