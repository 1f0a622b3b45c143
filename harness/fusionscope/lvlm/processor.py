"""Loading a processor, also where transformers' own class needs packages that are not there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionscope.errors import InputError
from fusionscope.lvlm.register import known_families

PROCESSOR_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What transformers' processors raise of an image that they cannot take."""


@dataclass(kw_only=True)
class ComposedProcessor:
    """Image processor and tokenizer side by side: all that an adapter needs.

    Several families list a video processor, which needs torchvision, in a processor that is otherwise complete; the
    parts for images are then loaded one by one.

    Args:
        tokenizer: The checkpoint's tokenizer.
        image_processor: The checkpoint's image processor, in its PIL variant where torchvision is missing.
        chat_template: The checkpoint's chat template, or None.
        qformer_tokenizer: InstructBLIP's second tokenizer, or None.
        reason: Why the processor did not load as a whole.
    """

    tokenizer: Any
    image_processor: Any
    chat_template: str | None = None
    qformer_tokenizer: Any = None
    reason: str = ""

    def save_pretrained(self, directory: str | Path) -> None:
        """Write all parts so that `load_processor` finds them again."""
        self.tokenizer.save_pretrained(directory)
        self.image_processor.save_pretrained(directory)
        if self.chat_template is not None:
            (Path(directory) / "chat_template.jinja").write_text(self.chat_template, encoding="utf-8")
        if self.qformer_tokenizer is not None:
            self.qformer_tokenizer.save_pretrained(Path(directory) / "qformer_tokenizer")


def load_processor(name_or_path: str, **settings: Any) -> Any:
    """The processor stored with a model: transformers' own, or its parts where that cannot be built here.

    Args:
        name_or_path: A directory or the name of a model on the hub.
        **settings: Passed to the loaders (such as ``revision``).

    Raises:
        InputError: Neither loads; the message carries both reasons.
    """
    known_families()  # one of another package may register a processor's class with transformers
    from transformers import AutoProcessor

    load: Any = AutoProcessor.from_pretrained
    try:
        processor = load(name_or_path, **settings)
    except (ImportError, AttributeError, OSError, ValueError, TypeError) as error:
        return _compose(name_or_path, error, settings)
    if all(getattr(processor, part, None) is not None for part in ("tokenizer", "image_processor")):
        return processor
    return _compose(name_or_path, TypeError(f"it loads as {type(processor).__name__}"), settings)


def _compose(name_or_path: str, reason: Exception, settings: dict[str, Any]) -> ComposedProcessor:
    from transformers import AutoImageProcessor, AutoTokenizer

    load_words: Any = AutoTokenizer.from_pretrained
    load_images: Any = AutoImageProcessor.from_pretrained
    try:
        tokenizer = load_words(name_or_path, **settings)
        images = load_images(name_or_path, backend="pil", **settings)
    except (ImportError, AttributeError, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"the processor of {name_or_path!r} does not load",
            f"as a whole: {type(reason).__name__}: {reason}; in parts: {type(error).__name__}: {error}",
            "pass processor=, any object with .tokenizer, .image_processor and .chat_template",
        ) from error
    second = Path(name_or_path) / "qformer_tokenizer"
    return ComposedProcessor(
        tokenizer=tokenizer,
        image_processor=images,
        chat_template=_template(name_or_path, settings) or tokenizer.chat_template,
        qformer_tokenizer=load_words(second) if second.is_dir() else None,
        reason=" ".join(str(reason).split()),
    )


def _template(name_or_path: str, settings: dict[str, Any]) -> str | None:
    """A template in the file that processors read and tokenizers do not, unless there is one that both read."""
    from transformers.utils.hub import cached_file

    hub = {name: value for name, value in settings.items() if name != "trust_remote_code"}
    both, older = (
        cached_file(name_or_path, file, _raise_exceptions_for_missing_entries=False, **hub)
        for file in ("chat_template.jinja", "chat_template.json")
    )
    if both is not None or older is None:
        return None
    template: str = json.loads(Path(older).read_text(encoding="utf-8"))["chat_template"]
    return template
