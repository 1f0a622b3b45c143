"""Checkpoints are whole or not there; what is torn is an error that says what to use instead."""

import errno
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from fusionscope.errors import DataError, RunDirectoryError
from fusionscope.records import digests
from fusionscope.records.checkpoints import save_to_resume, to_resume
from fusionscope.stages import AlignmentPretraining, PartConfig, files
from fusionscope.stages.checkpoint import read
from fusionscope.stages.files import WholeFiles, save

FULL = PartConfig(tune="full", lr=1e-2)
STATE = {"state_dict": {"w": torch.arange(5000.0)}, "global_step": 3}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.setattr(digests, "_verified", set())


@pytest.fixture
def full_disk(monkeypatch):
    """``full_disk(after)``: writing fails after this many bytes, as on a full disk."""

    def fill(after):
        class Full(io.FileIO):
            room = after

            def write(self, piece):
                self.room -= len(bytes(piece))
                if self.room < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return super().write(piece)

        original = Path.open
        monkeypatch.setattr(
            Path,
            "open",
            lambda path, mode="r", *a, **k: Full(path, mode) if mode == "wb" else original(path, mode, *a, **k),
        )

    return fill


def test_a_file_is_written_beside_and_hashed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    save(STATE, tmp_path / "deep" / "a.ckpt")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.ckpt", digests.FILE]
    assert digests.verify(tmp_path / "deep" / "a.ckpt")
    assert torch.equal(read(tmp_path / "deep" / "a.ckpt")["state_dict"]["w"], STATE["state_dict"]["w"])


@pytest.mark.parametrize("after", [0, 100, 15_000])
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path, full_disk, after):
    save(STATE, tmp_path / "a.ckpt")
    before = (tmp_path / "a.ckpt").read_bytes()
    full_disk(after)
    with pytest.raises(RunDirectoryError, match=r"a\.ckpt was not saved: the disk is full"):
        save({"state_dict": {"w": torch.ones(9000)}}, tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == before
    assert digests.verify(tmp_path / "a.ckpt")
    assert not list(tmp_path.glob(".*.part"))


def test_an_error_that_is_not_the_disks_keeps_its_name(tmp_path):
    with pytest.raises(Exception, match=r"(?i)pickle"):
        save({"function": lambda: None}, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


def test_a_training_saves_through_it_and_names_the_newest_whole_one(tiny, fit, tmp_path):
    folder = tmp_path / "checkpoints"

    def stage():
        return AlignmentPretraining(tiny, projector=FULL)

    trainer = fit(stage(), n=8)
    assert type(trainer.strategy.checkpoint_io) is WholeFiles
    save_to_resume(trainer, folder)
    save_to_resume(trainer, folder)
    torn = folder / "last.ckpt"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"last\.ckpt has [\s\S]*newest whole checkpoint here is .*previous\.ckpt"):
        fit(stage(), n=8, max_epochs=2, ckpt_path=str(torn))
    path, problem = to_resume(folder)
    assert path == folder / "previous.ckpt"
    assert "last.ckpt has" in problem
    fit(stage(), n=8, max_epochs=2, ckpt_path=str(path))


def test_nothing_whole_to_resume_from_is_an_error(tmp_path):
    assert to_resume(tmp_path) == (None, "")
    for name in ("last.ckpt", "previous.ckpt", "step=00000001.ckpt"):
        save(STATE, tmp_path / name)
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"torn")
    with pytest.raises(
        DataError, match=r"last\.ckpt has[\s\S]*previous\.ckpt has[\s\S]*step=00000001\.ckpt: probe or export"
    ):
        to_resume(tmp_path)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("change", ["empty", "truncated", "flipped", "text"])
def test_a_bad_file_is_a_data_error_with_its_digest_or_without(tmp_path, listed, change):
    path = tmp_path / "a.ckpt"
    save(STATE, path)
    if not listed:
        (tmp_path / digests.FILE).unlink()
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensor = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
    content[tensor.header_offset + 2000] ^= 4
    bad = {"empty": b"", "truncated": content[:9000], "flipped": content, "text": b"weights"}[change]
    path.write_bytes(bytes(bad))
    with pytest.raises(DataError, match=r"a\.ckpt"):
        read(path)


def test_weights_of_another_shape_are_named(tiny, fit, tmp_path):
    stage = AlignmentPretraining(tiny, projector=FULL)
    fit(stage, n=8).save_checkpoint(tmp_path / "a.ckpt")
    saved = read(tmp_path / "a.ckpt")
    name = next(iter(saved["state_dict"]))
    saved["state_dict"][name] = torch.ones(3)
    with pytest.raises(DataError, match=rf"checkpoint's {name} is \(3,\)"):
        stage.load_state_dict(saved["state_dict"])


def test_a_remote_address_is_lightnings(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(files.TorchCheckpointIO, "save_checkpoint", lambda self, *a: calls.append(a))
    WholeFiles().save_checkpoint({}, "memory://bucket/a.ckpt")
    assert len(calls) == 1
    assert not os.listdir(tmp_path)
