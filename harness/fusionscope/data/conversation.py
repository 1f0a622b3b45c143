"""Conversations in LLaVA's format, checked.

``{"id": ..., "image": path, PIL image, a list of them or None, "conversations": [{"from": "human", "value":
"<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}, ...]}``
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
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple[Any, ...] = ()


def parse(row: Mapping[str, Any]) -> Conversation:
    """A LLaVA row as a conversation.

    As in LLaVA, placeholders move to the front of their turn, leading assistant turns are dropped, and turns alternate.

    Args:
        row: The row; ``image`` holds opened images (a PIL image, a list of them, or None).

    Raises:
        DataError: A field is missing, a speaker unknown, turns do not alternate, or there are more or fewer
            placeholders than images.
    """
    name = str(row.get("id", "without id"))
    turns = [_turn(name, turn) for turn in row.get("conversations") or ()]
    while turns and turns[0].role == "assistant":
        turns.pop(0)
    roles = [turn.role for turn in turns]
    if len(roles) < 2 or roles != (["user", "assistant"] * len(roles))[: len(roles)]:
        raise DataError(
            f"sample {name!r} has turns {roles}", "a conversation alternates user and assistant", "correct its row"
        )
    given = row.get("image")
    images = tuple(given) if isinstance(given, list | tuple) else (() if given is None else (given,))
    wanted = sum(turn.images for turn in turns)
    if wanted != len(images):
        raise DataError(
            f"sample {name!r} has {wanted} {IMAGE} placeholders and {len(images)} images",
            "each image has one placeholder",
            "correct its row",
        )
    return Conversation(id=name, turns=tuple(turns), images=images)


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
