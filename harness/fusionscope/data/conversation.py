"""Conversations in LLaVA's format, checked.

``{"id": ..., "image": path, PIL image, a list of them or None, "conversations": [{"from": "human", "value":
"<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}, ...]}``, where a turn from ``"system"`` may come first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fusionscope.errors import DataError

IMAGE = "<image>"
_ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn: who speaks, the text without image placeholders, and how many images it brings.

    Args:
        role: ``"user"`` or ``"assistant"``.
        text: What is said.
        images: Images that the turn shows, before its text.
    """

    role: Literal["user", "assistant"]
    text: str
    images: int = 0


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns in order, user first, and the images that they show.

    Args:
        id: Name of the sample, for messages.
        turns: At least one user turn and one assistant turn, alternating.
        images: PIL images in order of their placeholders.
        system: What the system says before them; None for the template's own system prompt, if it has one.
        image_names: What messages call the images; their numbers by default.
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple[Any, ...] = ()
    system: str | None = None
    image_names: tuple[str, ...] = ()

    def named_images(self) -> list[tuple[str, Any]]:
        """The images, each with its name."""
        names = self.image_names or tuple(map(str, range(1, len(self.images) + 1)))
        return list(zip(names, self.images, strict=True))


def parse(row: Mapping[str, Any]) -> Conversation:
    """A LLaVA row as a conversation.

    As in LLaVA, placeholders move to the front of their turn, leading assistant turns are dropped, and turns alternate.

    Args:
        row: The row; ``image`` holds opened images (a PIL image, a list of them, or None), and ``image_names`` their
            names for messages.

    Raises:
        DataError: A field is missing, a speaker unknown, turns do not alternate, or there are more or fewer
            placeholders than images.
    """
    name = str(row.get("id", "without id"))
    given = list(row.get("conversations") or ())
    system = _system(name, given.pop(0)) if given and _is_system(given[0]) else None
    turns = [_turn(name, turn) for turn in given]
    while turns and turns[0].role == "assistant":
        turns.pop(0)
    roles = [turn.role for turn in turns]
    if len(roles) < 2 or roles != (["user", "assistant"] * len(roles))[: len(roles)]:
        raise DataError(
            f"sample {name!r} has turns {roles}", "a conversation alternates user and assistant", "correct its row"
        )
    shown = row.get("image")
    images = tuple(shown) if isinstance(shown, list | tuple) else (() if shown is None else (shown,))
    wanted = sum(turn.images for turn in turns)
    if wanted != len(images):
        raise DataError(
            f"sample {name!r} has {wanted} {IMAGE} placeholders and {len(images)} images",
            "each image has one placeholder",
            "correct its row",
        )
    names = tuple(row.get("image_names") or ())
    return Conversation(id=name, turns=tuple(turns), images=images, system=system, image_names=names)


def _is_system(turn: Any) -> bool:
    return isinstance(turn, Mapping) and turn.get("from") == "system"


def _system(name: str, turn: Mapping[str, Any]) -> str:
    text = turn.get("value")
    if not isinstance(text, str) or not text.strip() or IMAGE in text:
        raise DataError(
            f"sample {name!r} has the system turn {text!r}", "it is a text that shows no image", "correct its row"
        )
    return text


def _turn(name: str, turn: Any) -> Turn:
    if not isinstance(turn, Mapping) or turn.get("from") not in _ROLES or not isinstance(turn.get("value"), str):
        raise DataError(
            f"sample {name!r} has the turn {turn!r}",
            'a turn is {"from": "human" or "gpt", "value": text}',
            "correct its row",
        )
    role = _ROLES[turn["from"]]
    value = turn["value"]
    if role == "assistant" or IMAGE not in value:
        return Turn(role=role, text=value)  # blanks at the ends stay, as in LLaVA
    return Turn(role=role, text=value.replace(IMAGE, "").strip(), images=value.count(IMAGE))
