"""easy-VQA as training data: its questions and answers, and captions made from them, as LLaVA rows."""

from collections.abc import Sequence
from typing import Any, get_args

from PIL import Image
from torch.utils.data import Dataset

from fusionscope.tasks import open_image
from fusionscope.tasks.easy_vqa import Kind, Part, checked, drawn, facts, image_paths, kind_of, questions_of


class EasyVqa(Dataset[dict[str, Any]]):
    """Questions and answers about images, as LLaVA rows.

    Args:
        part: The package's training or test split.
        kinds: Which questions: ``"color"``, ``"shape"`` (open ones) and ``"yesno"``; every kind by default.
        n: How many, drawn without replacement; all by default.
        seed: Seed of the draw.
    """

    def __init__(
        self, part: Part = "train", kinds: Sequence[Kind] = get_args(Kind), n: int | None = None, seed: int = 0
    ) -> None:
        for kind in kinds:
            checked(kind, get_args(Kind), "kind of question")
        self.paths = image_paths(part)
        self.rows = drawn([row for row in questions_of(part) if kind_of(row[1]) in kinds], n, seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        question, answer, image = self.rows[index]
        return _row(f"{image}-{index}", open_image(self.paths[image], self.paths[image].name), question, answer)


class EasyVqaCaptions(Dataset[dict[str, Any]]):
    """One caption (``"a blue circle"``) for each image whose colour and shape its questions tell.

    Args:
        part: The package's training or test split.
    """

    PROMPT = "describe the image."

    def __init__(self, part: Part = "train") -> None:
        self.paths = image_paths(part)
        self.captions = [
            (image, f"a {min(shown.colors)} {min(shown.shapes)}") for image, shown in facts(part).items() if shown.known
        ]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, caption = self.captions[index]
        return _row(str(image), open_image(self.paths[image], self.paths[image].name), self.PROMPT, caption)


def _row(name: str, image: Image.Image, question: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "conversations": turns}
