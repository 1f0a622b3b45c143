"""Tear and flip checkpoints of every kind: how many are accepted, and how many end in another error than ours.

    python tools/fuzz_checkpoints.py [--truncations 200] [--flips 400] [--seed 0] [--report FILE]

Makes one of each kind with a tiny model: weights of a step, whole checkpoints to resume from, an export (safetensors
and its JSON files) and the digests themselves. Then cuts them at random places and flips random bits, and reads each in
the way that a command does. Also without the digests, as of a file that was copied alone: then only the archive's
checksums protect the weights, and the count stands apart. Exits with 1 where damaged weights or settings are accepted
although their digests are there, or any error is not a `FusionscopeError`.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import lightning as L
from PIL import Image

from fusionscope.data import LlavaDataModule
from fusionscope.errors import FusionscopeError
from fusionscope.records import digests
from fusionscope.records.checkpoints import save_to_resume, to_resume
from fusionscope.records.directory import LAST
from fusionscope.sandbox.model import write
from fusionscope.stages import AlignmentPretraining
from fusionscope.stages.checkpoint import read
from fusionscope.stages.loading import load
from fusionscope.stages.rebuild import rebuild


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of checkpoint.

    Args:
        name: For the table.
        folder: Where it is, digests included.
        files: What is damaged, in the folder.
        read: Reads it from a copy of the folder as a command does.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    read: Callable[[Path], object]


class Rows:
    """Eight rows of LLaVA's format."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict[str, object]:
        turns = [{"from": "human", "value": "<image>\nwhat ?"}, {"from": "gpt", "value": "red"}]
        return {"id": str(i), "image": Image.new("RGB", (32, 32), (i, 9, 9)), "conversations": turns}


def kinds(directory: Path) -> list[Kind]:
    """One of each kind, trained for two steps."""
    base = write(directory / "base", seed=0)
    stage = AlignmentPretraining(str(base), warmup_steps=0)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
        max_epochs=1,
    )
    trainer.fit(stage, datamodule=LlavaDataModule(train=Rows(), batch_size=4))
    folder = directory / "checkpoints"
    trainer.save_checkpoint(folder / "step=00000002.ckpt", weights_only=True)
    save_to_resume(trainer, folder)
    exported = stage.export(directory / "exported")
    names = tuple(path.name for path in sorted(exported.iterdir()) if path.name != digests.FILE)
    weights = tuple(name for name in names if name.endswith(".safetensors"))
    step = Kind(name="step=*.ckpt", folder=folder, files=("step=00000002.ckpt",), read=probed("step=00000002.ckpt"))
    return [
        step,
        Kind(name="last.ckpt, to probe", folder=folder, files=(LAST,), read=probed(LAST)),
        Kind(name="last.ckpt, to resume from", folder=folder, files=(LAST,), read=resumed),
        Kind(name="exported weights", folder=exported, files=weights, read=loaded),
        Kind(name="exported JSON", folder=exported, files=tuple(set(names) - set(weights)), read=loaded),
        Kind(name=digests.FILE, folder=folder, files=(digests.FILE,), read=step.read),
    ]


def probed(name: str) -> Callable[[Path], object]:
    """As `fusionscope probe` and `export` read a checkpoint."""

    def read_it(folder: Path) -> object:
        saved = read(folder / name)
        stage = rebuild(saved, file=name)
        stage.configure_model()
        stage.on_load_checkpoint(saved)
        return stage.load_state_dict(saved["state_dict"])

    return read_it


def resumed(folder: Path) -> object:
    """As `fusionscope run` looks for what to go on from."""
    return to_resume(folder)


def loaded(folder: Path) -> object:
    """As the next stage loads an export."""
    return load(str(folder), dtype="float32", attention="sdpa")


def damage(kind: Kind, how: str, generator: random.Random, listed: bool) -> tuple[str, str]:
    """Damage one copy and read it; returns how that went, and what was done."""
    with tempfile.TemporaryDirectory(dir=kind.folder.parent) as name:
        folder = Path(name) / kind.folder.name
        shutil.copytree(kind.folder, folder)
        if not listed:
            (folder / digests.FILE).unlink()
        file = folder / generator.choice(kind.files)
        content = bytearray(file.read_bytes())
        place = generator.randrange(len(content))
        if how == "truncation":
            del content[place:]
        else:
            content[place] ^= 1 << generator.randrange(8)
        file.write_bytes(bytes(content))
        done = f"{how} of {file.name} at {place}"
        try:
            kind.read(folder)
        except FusionscopeError as error:
            return "refused", f"{done}: {error.what}"
        except Exception as error:
            return "traceback", f"{done}: {type(error).__name__}: {error}"
        return "accepted", done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truncations", type=int, default=200)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    counts: dict[tuple[str, bool, str], Counter[str]] = {}
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fuzz") as name:
        every = kinds(Path(name))
        for listed in (True, False):
            chosen = every if listed else [kind for kind in every if kind.name.startswith(("step", "last.ckpt, to p"))]
            for how, number in (("truncation", options.truncations), ("flip", options.flips)):
                for i in range(number if listed else number // 4):
                    kind = chosen[i % len(chosen)]
                    outcome, text = damage(kind, how, generator, listed)
                    counts.setdefault((kind.name, listed, how), Counter())[outcome] += 1
                    if outcome == "traceback" or (outcome == "accepted" and listed and kind.name != digests.FILE):
                        bad.append(f"{kind.name}: {outcome}: {text}")
    text = table(counts, bad, options)
    print(text)
    if options.report:
        options.report.write_text(text)
    return 1 if bad else 0


def table(counts: dict[tuple[str, bool, str], Counter[str]], bad: list[str], options: argparse.Namespace) -> str:
    lines = [
        f"# Damaged checkpoints, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python tools/fuzz_checkpoints.py --truncations {options.truncations} --flips {options.flips} --seed "
        f"{options.seed}`.",
        "One random cut, or one random bit, each. Without digests only the archive's checksums protect a file. A",
        "checkpoint whose digest is damaged is still whole, and is read where no digest speaks against it.",
        "",
        "| kind | digests | damage | refused | accepted | other errors |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, listed, how), count in counts.items():
        there = "there" if listed else "deleted"
        lines.append(f"| {kind} | {there} | {how} | {count['refused']} | {count['accepted']} | {count['traceback']} |")
    return "\n".join([*lines, "", *(f"* {line}" for line in bad), ""])


if __name__ == "__main__":
    sys.exit(main())
