"""Loading a processor, also where transformers' own class needs packages that are not there."""

from typing import Any

from fusionscope.errors import InputError


def load_processor(name_or_path: str) -> Any:
    """The processor stored with a model.

    Raises:
        InputError: It cannot be loaded; the message carries the reason.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(name_or_path)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        raise InputError(
            f"the processor of {name_or_path!r} does not load",
            f"{type(error).__name__}: {error}",
            "pass processor=, any object with .tokenizer, .image_processor and .chat_template",
        ) from error
