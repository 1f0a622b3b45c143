"""The rule by which POPE asks its questions, from the objects that images are annotated with.

Of each image the first three annotated objects are asked about with answer yes, and after each of them an absent one
with answer no: drawn at random from the vocabulary, the most popular one, or the one that most often occurs together
with the object before it; never one object twice. So *popular* and *adversarial* follow from the annotations, and
*random* is a law over all absent objects that is known.

Reference: Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models", and its published code.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.errors import DataError

POSITIVES = 3
TEMPLATE = "Is there {article} {thing} in the image?"


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image and its objects, in the order of the annotation.

    Args:
        image: Name of the image.
        objects: Names of at least three different objects.
    """

    image: str
    objects: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question of POPE.

    Args:
        image: Name of the image.
        thing: The object that is asked about.
        present: Whether it is there.
    """

    image: str
    thing: str
    present: bool


def question_text(thing: str) -> str:
    """The question about an object, as POPE's files write it.

    >>> question_text("apple"), question_text("dog")
    ('Is there an apple in the image?', 'Is there a dog in the image?')
    """
    return TEMPLATE.format(article="an" if thing[0] in "aeiou" else "a", thing=thing)


def vocabulary(annotated: Sequence[Annotated]) -> dict[str, int]:
    """How many images show each object, the most frequent first; equal ones in the order in which they first occur."""
    counts = Counter(thing for image in annotated for thing in image.objects)
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def companions(annotated: Sequence[Annotated]) -> dict[str, list[str]]:
    """For each object those that occur with it, the most frequent first; equal ones in order of first occurrence."""
    together: dict[str, Counter[str]] = {}
    for image in annotated:
        for thing in image.objects:
            together.setdefault(thing, Counter()).update(other for other in image.objects if other != thing)
    return {thing: sorted(counts, key=lambda other: -counts[other]) for thing, counts in together.items()}


def asked(annotated: Sequence[Annotated], variant: str, *, seed: int = 0) -> Iterator[Asked]:
    """POPE's questions about annotated images, in its order.

    Args:
        annotated: The images of the benchmark; vocabulary, frequencies and co-occurrences are theirs.
        variant: ``"random"``, ``"popular"`` or ``"adversarial"``.
        seed: Of what is drawn: every absent object of *random*, and of the others where every candidate is in the image
            or asked about already.

    Raises:
        DataError: An image with fewer than three objects, with one twice, or without any absent object left.
    """
    popular, beside = list(vocabulary(annotated)), companions(annotated)
    generator = torch.Generator().manual_seed(seed)
    for image in annotated:
        _check(image)
        used: set[str] = set()
        for thing in image.objects[:POSITIVES]:
            yield Asked(image=image.image, thing=thing, present=True)
            candidates = {"random": (), "popular": popular, "adversarial": beside[thing]}[variant]
            free = [other for other in candidates if other not in image.objects and other not in used]
            absent = free[0] if free else _draw(image, popular, used, generator)
            used.add(absent)
            yield Asked(image=image.image, thing=absent, present=False)


def random_law(annotated: Sequence[Annotated], things: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The law of *random* over images and objects, and which objects are there.

    Half of an image's questions are about its first three objects, half about absent ones, each as likely as the other.

    Args:
        annotated: The images, each as likely as the other.
        things: The vocabulary, all objects of the benchmark.

    Returns:
        float64 [A, B] weights that sum to 1, and bool [A, B], whether the object is annotated.
    """
    place = {thing: b for b, thing in enumerate(things)}
    present = torch.zeros(len(annotated), len(things), dtype=torch.bool)
    weights = torch.zeros(len(annotated), len(things), dtype=torch.float64)
    for a, image in enumerate(annotated):
        _check(image)
        present[a, [place[thing] for thing in image.objects]] = True
        weights[a, [place[thing] for thing in image.objects[:POSITIVES]]] = 0.5 / POSITIVES
        weights[a, ~present[a]] = 0.5 / int((~present[a]).sum())
    return weights / len(annotated), present


def read_annotations(rows: Sequence[Mapping[str, object]], source: str) -> list[Annotated]:
    """The annotated images of rows ``{"image": name, "objects": [...]}``, POPE's own format.

    Those with fewer than three objects are left out, as POPE does.

    Raises:
        DataError: A row without both.
    """
    images = []
    for number, row in enumerate(rows, start=1):
        image, objects = row.get("image"), row.get("objects")
        if not isinstance(image, str) or not isinstance(objects, list) or not all(isinstance(o, str) for o in objects):
            raise DataError(
                f"{source} row {number} is {str(dict(row))[:200]}",
                "a row of POPE's annotations is an image's name and the list of its objects",
                'write {"image": "a.jpg", "objects": ["dog", "car", "person"]}',
            )
        images.append(Annotated(image=image, objects=tuple(objects)))
    return [image for image in images if len(image.objects) >= POSITIVES]


def _draw(image: Annotated, things: Sequence[str], used: set[str], generator: torch.Generator) -> str:
    free = [thing for thing in things if thing not in image.objects and thing not in used]
    if not free:
        raise DataError(
            f"image {image.image!r} shows all {len(things)} objects of the vocabulary but {len(used)}",
            "POPE asks about three absent ones",
            "give annotations of more images",
        )
    return free[int(torch.randint(len(free), (1,), generator=generator))]


def _check(image: Annotated) -> None:
    if len(image.objects) < POSITIVES or len(set(image.objects)) < len(image.objects):
        raise DataError(
            f"image {image.image!r} has the objects {image.objects}",
            "POPE asks about the first three, and an object is listed once",
            "correct the annotation",
        )
