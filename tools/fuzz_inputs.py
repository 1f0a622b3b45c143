"""Whether damaged inputs are read whole or refused by an error of ours: mutated rows, tables, images and archives.

    python tools/fuzz_inputs.py [--inputs 3000] [--seed 0] [--show 0]

Good files of every kind that tasks and training data are read from are mutated (bytes flipped, cut, doubled, glued;
values of rows replaced by odd ones, keys dropped or renamed) and read as real ones are, images opened
and content hashed. Prints, for each kind, how many inputs were accepted and refused, and every exception that is no
FusionscopeError with its input's number, which with the seed makes it again; ``--show`` prints accepted inputs to look
at by hand. Exits with 1 where an exception was none of ours. Takes about two minutes.
"""

import argparse
import base64
import csv
import gzip
import io
import json
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fusionscope.data.conversation import parse
from fusionscope.data.llava import opened
from fusionscope.data.rows import rows_of
from fusionscope.errors import FusionscopeError
from fusionscope.tasks import HeldOutTask, TaskSpec, custom, mmbench, pmc_vqa, pope, reefknot, vqa_rad
from fusionscope.tasks.sources import image_folder

_ODD_TEXTS = '| |nan|A|B|yes|no|<image>|\ud800|../a.png|/etc/hostname|http://a/b.png|a.png|"|\0|\ufeffQ|system|<video>'
_ODD_VALUES = (
    '[null, true, false, 0, 1, -1, 2.5, NaN, [], ["yes", "no"], {}, {"path": "a.png"}, {"bytes": "x"}, [["a"]]]'
)
_ODD: tuple[Any, ...] = (*_ODD_TEXTS.split("|"), "random,popular", "x" * 300, 10**30, *json.loads(_ODD_VALUES))
_BYTES = (
    *(bytes([byte]) for byte in b"\"'\n\t,{}[]\\\0\xff/:"),
    b"\r\n",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"<image>",
    b"..",
)


Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of input: how a good one is made of random numbers, and how it is read.

    Args:
        name: What the report calls it.
        file: Name of the file.
        write: The bytes of a good one, or of one whose rows are odd.
        read: Reads the file, in a folder that holds good images as well.
    """

    name: str
    file: str
    write: Callable[[Random], bytes]
    read: Callable[[Path], object]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=3000, help="number of mutated inputs (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (%(default)s)")
    parser.add_argument("--show", type=int, default=0, help="number of accepted inputs that are printed (%(default)s)")
    options = parser.parse_args()
    formats = all_formats()
    outcomes: Counter[tuple[str, str]] = Counter()
    shown = 0
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(options.inputs):
            format = formats[number % len(formats)]
            rng = Random(f"{options.seed}/{number}")
            content = mutated(format.write(rng), rng)
            outcome, text = outcome_of(format, content, Path(directory) / str(number))
            outcomes[format.name, outcome] += 1
            if outcome == "accepted" and shown < options.show:
                shown += 1
                print(f"accepted {number} {format.name} {text}: {content[:600]!r}\n")
            elif outcome == "other":
                print(f"input {number} of {format.name}: {content[:300]!r}\n{text}")
    print(table(outcomes, [format.name for format in formats]))
    return 1 if any(outcome == "other" for _, outcome in outcomes) else 0


def outcome_of(format: Format, content: bytes, folder: Path) -> tuple[str, str]:
    """Accepted, refused or other, and what was read or raised."""
    folder.mkdir()
    (folder / "a.png").write_bytes(image_bytes("PNG", 1))
    (folder / "b.png").write_bytes(image_bytes("PNG", 2))
    (folder / "a.jpg").write_bytes(image_bytes("JPEG", 1))
    (folder / "b.jpg").write_bytes(image_bytes("JPEG", 2))
    (folder / format.file).write_bytes(content)
    try:
        return "accepted", str(format.read(folder / format.file))
    except FusionscopeError as error:
        return "refused", str(error)
    except Exception:
        return "other", traceback.format_exc(limit=-4)


def table(outcomes: Counter[tuple[str, str]], names: Iterable[str]) -> str:
    """Counts of outcomes, a line each."""
    kinds = ("accepted", "refused", "other")
    counts = {name: [outcomes[name, kind] for kind in kinds] for name in dict.fromkeys(names)}
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    head = f"{'':24}" + "".join(f"{kind:>10}" for kind in kinds)
    return "\n".join([head, *(f"{name:24}" + "".join(f"{n:10}" for n in row) for name, row in counts.items())])


def mutated(content: bytes, rng: Random) -> bytes:
    """The bytes with up to three of them, or spans of them, changed; some inputs stay as they are."""
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        content = rng.choice(_MUTATIONS)(content, rng)
    return content


def _span(content: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + int(rng.expovariate(1 / 12)) + 1)


def _flip(content: bytes, rng: Random) -> bytes:
    at, _ = _span(content, rng)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _insert(content: bytes, rng: Random) -> bytes:
    at, _ = _span(content, rng)
    return content[:at] + rng.choice(_BYTES) + content[at:]


def _delete(content: bytes, rng: Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _double(content: bytes, rng: Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:end] + content[end:]


def _cut(content: bytes, rng: Random) -> bytes:
    return content[: _span(content, rng)[0]]


def _glue(content: bytes, rng: Random) -> bytes:
    return content + content


_MUTATIONS = (_flip, _insert, _insert, _delete, _double, _cut, _glue)


def odd_rows(rows: Rows, rng: Random) -> Rows:
    """The rows with up to two values or keys replaced."""
    rows = json.loads(json.dumps(rows))
    for _ in range(rng.choice((0, 1, 1, 2))):
        row = rng.choice(rows)
        if not row:
            continue
        key = rng.choice(sorted(row))
        action = rng.random()
        if action < 0.7:
            row[key] = rng.choice(_ODD)
        elif action < 0.8:
            del row[key]
        elif action < 0.9:
            row[rng.choice(("images", "video", "system", "E", "Choice E", "category", "id"))] = rng.choice(_ODD)
        else:
            row[key.upper()] = row.pop(key)
    return rows


def as_json(rows: Rows) -> bytes:
    """A JSON list."""
    return json.dumps(rows).encode()


def as_lines(rows: Rows) -> bytes:
    """JSON lines."""
    return "\n".join(map(json.dumps, rows)).encode()


def as_table(rows: Rows, delimiter: str) -> bytes:
    """CSV or TSV."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(buffer, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(rows: Rows) -> bytes:
    """Parquet; every column is text, but for images."""
    rows = [
        {key: value if key == "image" else str(value).encode(errors="replace").decode() for key, value in row.items()}
        for row in rows
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def image_bytes(kind: str, value: int) -> bytes:
    """A small image file."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((12, 9)).convert("RGB").point(lambda p: (p + value) % 256).save(buffer, kind)
    return buffer.getvalue()


def packed(kind: str) -> bytes:
    """An archive of two images."""
    buffer = io.BytesIO()
    members = {f"in/{name}.png": image_bytes("PNG", i) for i, name in enumerate("ab")}
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


OWN = [
    {"image": f"{name}.png", "question": f"Is it {i}?", "options": ["yes", "no"], "answer": "yes"}
    for i, name in enumerate("abab")
]
POPE = [
    {"question_id": i, "image": f"{name}.png", "text": f"Is there a {i}?", "label": "yes"}
    for i, name in enumerate("ab")
]
REEFKNOT = [
    {"image_id": name, "query_prompt": f"{i} is it? A. b B. c C. d D. e, please choose.", "label": "D"}
    for i, name in enumerate("ab")
]
PMC = [
    {"Figure_path": "a.png", "Question": f"{i}?", "Answer": " B:v ", "Answer_label": "B"}
    | {f"Choice {letter}": f" {letter}:{text} " for letter, text in zip("ABCD", "uvwx", strict=True)}
    for i in range(3)
]
ABOUT = {"answer_type": "CLOSED ", "phrase_type": "test_a", "image_organ": "HEAD"}
RAD = [{"image_name": "a.png", "question": f"{i}?", "answer": "Yes", **ABOUT} for i in range(3)]
CELL = base64.b64encode(image_bytes("PNG", 3)).decode()
MMBENCH = [
    {
        "index": i,
        "question": f"{i}?",
        "hint": "nan",
        "A": "u",
        "B": "v",
        "C": "w",
        "D": "x",
        "answer": "C",
        "image": CELL,
    }
    for i in range(3)
]
TRAINING = [
    {
        "id": i,
        "image": "a.png",
        "conversations": [{"from": "human", "value": "<image>\nQ?"}, {"from": "gpt", "value": "A."}],
    }
    for i in range(4)
]
SPEC = b"pope/random:path=a.json,candidates=['Yes', 'No'],n=3"


def read_task(task: HeldOutTask) -> str:
    """All of a task: images opened, content hashed."""
    for image in task.images:
        image.load()
    texts = [question.text for question in task.questions]
    return f"{len(task.pairs)} pairs, {task.fingerprint}, answers {task.pair_answers.tolist()}, {texts}"


def read_training(path: Path) -> list[str]:
    """All rows of training data, images opened."""
    folder = image_folder(str(path.parent))
    return [str(parse(opened(row, "row", folder)).turns) for row in rows_of(str(path))]


def read_image(path: Path) -> str:
    """One image, whose pixels training and probing see alike."""
    rows = path.with_name("rows.jsonl")
    rows.write_bytes(as_lines([{**OWN[0], "image": path.name}]))
    task = custom.load(path=str(rows))
    trained = opened({**TRAINING[0], "image": path.name}, "row", image_folder(str(path.parent)))["image"][0]
    if trained.tobytes() != task.images[0].tobytes():
        raise AssertionError("training and probing see other pixels")
    return read_task(task)


def read_archive(path: Path) -> str:
    """Two images of an archive."""
    rows = path.with_name("rows.jsonl")
    rows.write_bytes(as_lines(OWN))
    return read_task(custom.load(path=str(rows), image_folder=str(path)))


def read_spec(path: Path) -> TaskSpec:
    """A task's name and settings."""
    return TaskSpec.parse(path.read_bytes().decode("utf-8", "replace"))


def all_formats() -> list[Format]:
    """Everything that is read from outside."""

    def rows(
        name: str, file: str, good: Rows, write: Callable[[Rows], bytes], read: Callable[[Path], object]
    ) -> Format:
        return Format(name=name, file=file, write=lambda rng: write(odd_rows(good, rng)), read=read)

    def tsv(some: Rows) -> bytes:
        return as_table(some, "\t")

    def comma(some: Rows) -> bytes:
        return as_table([{**row, "options": json.dumps(row.get("options"))} for row in some], ",")

    def own(path: Path) -> str:
        return read_task(custom.load(path=str(path)))

    def in_cells(some: Rows) -> bytes:
        held = {"bytes": image_bytes("PNG", 4), "path": None}
        return as_parquet([{**row, "options": '["yes", "no"]', "image": held} for row in some])

    def with_folder(load: Callable[..., HeldOutTask], *variant: str, **settings: Any) -> Callable[[Path], str]:
        return lambda path: read_task(load(*variant, path=str(path), image_folder=str(path.parent), **settings))

    def image(kind: str) -> Format:
        return Format(
            name=f"image {kind}",
            file=f"x.{kind.lower()}",
            write=lambda rng: image_bytes(kind, rng.randrange(99)),
            read=read_image,
        )

    return [
        rows("own JSON list", "x.json", OWN, as_json, own),
        rows("own JSON lines", "x.jsonl", OWN, as_lines, own),
        rows("own JSON lines, gzip", "x.jsonl.gz", OWN, lambda some: gzip.compress(as_lines(some)), own),
        rows("own CSV", "x.csv", OWN, comma, own),
        rows("own Parquet with images", "x.parquet", OWN, in_cells, own),
        rows("POPE", "x.json", POPE, as_lines, with_folder(pope.load)),
        rows("POPE, TSV", "x.tsv", POPE, tsv, with_folder(pope.load)),
        rows("Reefknot", "x.jsonl", REEFKNOT, as_lines, with_folder(reefknot.load, "multichoice")),
        rows("PMC-VQA", "x.csv", PMC, lambda some: as_table(some, ","), with_folder(pmc_vqa.load)),
        rows("VQA-RAD", "x.json", RAD, as_json, with_folder(vqa_rad.load)),
        rows("MMBench", "x.tsv", MMBENCH, tsv, with_folder(mmbench.load, "circular")),
        rows("training JSON list", "x.json", TRAINING, as_json, read_training),
        rows("training JSON lines", "x.jsonl", TRAINING, as_lines, read_training),
        *map(image, ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")),
        Format(name="zip", file="x.zip", write=lambda rng: packed("zip"), read=read_archive),
        Format(name="tar", file="x.tar", write=lambda rng: packed("tar"), read=read_archive),
        Format(name="task of a command line", file="x.txt", write=lambda rng: SPEC, read=read_spec),
    ]


if __name__ == "__main__":
    sys.exit(main())
