"""Files that are not what was written are named before they are read."""

import pytest

from fusionscope.errors import DataError
from fusionscope.records import digests
from fusionscope.records.digests import digest_of, newest_whole, note, note_directory, renamed, verify


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.setattr(digests, "_verified", set())


def written(folder, name, content=b"x" * 1000):
    (folder / name).write_bytes(content)
    note(folder, [digest_of(folder / name, folder)])
    return folder / name


def test_a_whole_file_is_verified_and_an_unlisted_one_is_not_known(tmp_path):
    assert verify(written(tmp_path, "a.ckpt"))
    (tmp_path / "b.ckpt").write_bytes(b"y")
    assert not verify(tmp_path / "b.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:500], "500 bytes, 1,000 were written"),
        (lambda b: b"", "0 bytes"),
        (lambda b: b"y" + b[1:], "SHA-256"),
    ],
)
def test_a_torn_or_changed_file_is_refused(tmp_path, change, message):
    path = written(tmp_path, "a.ckpt")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        verify(path)


def test_the_newest_whole_file_is_found(tmp_path):
    import os

    for second, name in enumerate(("a.ckpt", "b.ckpt", "c.ckpt")):
        os.utime(written(tmp_path, name, name.encode()), (second, second))
    (tmp_path / "c.ckpt").write_bytes(b"torn")
    os.utime(tmp_path / "c.ckpt", (9, 9))
    assert newest_whole(tmp_path) == tmp_path / "b.ckpt"


def test_a_process_may_die_between_digest_and_name(tmp_path):
    """The old file is there under the name whose newest digest is that of the file that never got it."""
    old = written(tmp_path, "last.ckpt", b"old")
    written(tmp_path, "new.ckpt", b"new")
    renamed(tmp_path, "new.ckpt", "last.ckpt")
    assert verify(old)
    (tmp_path / "new.ckpt").replace(old)
    assert verify(old)
    old.write_bytes(b"odd")
    with pytest.raises(DataError):
        verify(old)


def test_a_directory_holds_the_digests_of_its_files(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    assert not verify(tmp_path)
    note_directory(tmp_path)
    assert verify(tmp_path)
    (tmp_path / "deep" / "a").unlink()
    with pytest.raises(DataError, match="a is missing"):
        verify(tmp_path)


def test_an_unfinished_line_is_of_a_file_that_never_got_its_name(tmp_path):
    path = written(tmp_path, "a.ckpt")
    with (tmp_path / digests.FILE).open("ab") as file:
        file.write(b'{"file": "b.ck')
    assert verify(path)
    written(tmp_path, "c.ckpt")
    assert len((tmp_path / digests.FILE).read_text().splitlines()) == 2


def test_a_line_that_cannot_be_read_is_named(tmp_path):
    path = written(tmp_path, "a.ckpt")
    with (tmp_path / digests.FILE).open("ab") as file:
        file.write(b'{"file": "b.ckpt"}\n')
    with pytest.raises(DataError, match=r"digests\.jsonl line 2 cannot be read"):
        verify(path)


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    path = written(tmp_path, "a.ckpt")
    verify(path)
    monkeypatch.setattr(digests, "digest_of", lambda *arguments: pytest.fail("hashed again"))
    assert verify(path)
