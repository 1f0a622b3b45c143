"""What goes into a training encoder and what comes out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

    from fusionscope.lvlm.family import Family

Images = Sequence[Sequence["Image.Image"]]
"""The images of each sample of a batch, in the order of their marks."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A conversation as one string.

    Args:
        text: The string, one image token of the processor per image.
        spans: (start, end) of what the assistant says, end signs included.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Conversations as a batch, and where the text of each token is found.

    Args:
        inputs: The model's inputs, padded on the right.
        rendered: The conversations that ``replaced`` and ``offsets`` speak of.
        offsets: (start, end) in the expanded string, per token of each row; (0, 0) for tokens that cover no text.
        replaced: The expansions of each row's string: ``span`` before, ``new_span`` after, ``replacement``.
    """

    inputs: dict[str, Tensor]
    rendered: Sequence[Rendered]
    offsets: Sequence[Sequence[Sequence[int]]]
    replaced: Sequence[Sequence[Mapping[str, Any]]]


class Encoder(ABC):
    """Makes a padded batch of samples, each with its images.

    Args:
        processor: The model's whole processor, with a fast tokenizer.
        family: The model's family.

    Raises:
        ConfigError: The processor lacks something that the family needs.
    """

    needs_image: ClassVar[bool] = False
    """The model's forward takes no batch without an image."""

    def __init__(self, processor: Any, family: "Family") -> None:
        self.processor = processor
        self.form = family.prompt

    @abstractmethod
    def __call__(self, rendered: Sequence[Rendered], images: Images) -> Encoded:
        """Encode a batch.

        Args:
            rendered: The conversations.
            images: The images of each.
        """
