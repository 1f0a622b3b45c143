"""Images in folders, archives and elsewhere."""

import multiprocessing
import shutil
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor

import fsspec
import pytest

from fusionscope.errors import BadImageError, ConfigError, DataError
from fusionscope.tasks import custom, pope

COCO = [f"COCO_val2014_{i:012d}.jpg" for i in range(2)]
HUB_POPE = [
    {"question_id": i, "image": COCO[i % 2], "text": f"Is there a {thing} in the image?", "label": label}
    for i, (thing, label) in enumerate([("dog", "yes"), ("cat", "no"), ("bus", "no")])
]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_images_stay_in_their_archive(tmp_path, coco, kind, lines):
    path = tmp_path / f"val2014.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in (coco / "val2014").iterdir():
                archive.write(file, f"val2014/{file.name}")
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(coco / "val2014", "./val2014")
    task = pope.load(path=lines(tmp_path / "p.json", HUB_POPE), image_folder=str(path))
    assert [picture.getpixel((0, 0))[0] for picture in (task.images[0], task.images[1])] == [0, 50]
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(coco / "val2014", "val2014")
    with pytest.raises(ConfigError, match=r"no plain \.tar file"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=str(tmp_path / "packed.tar"))
    (tmp_path / "x.zip").write_bytes(b"PK?")
    with pytest.raises(DataError, match=r"x\.zip cannot be read"):
        pope.load(path=str(tmp_path / "p.json"), image_folder=str(tmp_path / "x.zip"))


@pytest.fixture
def outside(tmp_path, png):
    """A folder of images, and one image that lies outside of it."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png(3))
    (folder / "below" / "a.png").write_bytes(png(1))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "within.png").symlink_to(folder / "below" / "a.png")
    return folder


@pytest.mark.parametrize("name", ["../secret.png", "below/../../secret.png", "link.png", "{root}/secret.png"])
def test_names_that_lead_out_of_the_folder_are_refused_unless_allowed(tmp_path, outside, lines, name):
    row = {"image": name.format(root=tmp_path), "question": "Q?", "options": ["up", "down"], "answer": "up"}
    path = lines(tmp_path / "c.jsonl", [row])
    with pytest.raises(DataError, match=r"c\.jsonl row 1 column 'image': .*leads out of(?s:.*)allow_outside"):
        custom.load(path=path, image_folder=str(outside))
    assert custom.load(path=path, image_folder=str(outside), allow_outside=True).images[0].getpixel((0, 0))[0] == 3


def test_names_that_stay_in_the_folder_are_read(tmp_path, outside, lines):
    (tmp_path / "way").symlink_to(outside)
    names = ["below/a.png", "below/../below/a.png", "within.png", str(outside / "below" / "a.png")]
    rows = [{"image": name, "question": "Q?", "options": ["up", "down"], "answer": "up"} for name in names]
    for folder in (outside, tmp_path / "way"):
        task = custom.load(path=lines(tmp_path / "c.jsonl", rows), image_folder=str(folder))
        assert [image.getpixel((0, 0))[0] for image in task.images] == [1] * 4


def test_any_address_that_fsspec_opens_is_a_folder(tmp_path, lines, png):
    memory = fsspec.filesystem("memory")
    for i, name in enumerate(COCO):
        memory.pipe_file(f"/coco/val2014/{name}", png(50 * i))
    path = lines(tmp_path / "p.json", HUB_POPE)
    for address in ("memory://coco", "memory://coco/val2014"):
        task = pope.load(path=path, image_folder=address)
        assert [image.getpixel((0, 0))[0] for image in task.images] == [0, 50]
    with zipfile.ZipFile(tmp_path / "val.zip", "w") as archive:
        for i, name in enumerate(COCO):
            archive.writestr(name, png(50 * i))
    packed = pope.load(path=path, image_folder=f"zip://::{tmp_path / 'val.zip'}")
    assert packed.fingerprint == task.fingerprint
    for address, error in [
        ("nosuch://x", ConfigError),
        ("memory://empty", ConfigError),
        (f"zip://::{tmp_path / 'no.zip'}", DataError),
    ]:
        with pytest.raises(error):
            pope.load(path=path, image_folder=address)


def test_a_member_that_would_fill_the_memory_is_a_bad_image(tmp_path, lines, monkeypatch):
    with zipfile.ZipFile(tmp_path / "val.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(COCO[0], bytes(3 * 2**20))
    monkeypatch.setattr("fusionscope.tasks.sources.folder.MAX_STORED_BYTES", 2**20)
    task = pope.load(path=lines(tmp_path / "p.json", HUB_POPE[:1]), image_folder=str(tmp_path / "val.zip"))
    for act in (lambda: task.images[0], lambda: task.images.digest(0)):
        with pytest.raises(BadImageError, match=r"is 3 MiB large(?s:.*)at most 1 MiB"):
            act()


def test_a_name_that_two_members_end_in_is_refused_with_its_row(tmp_path, lines, png):
    with zipfile.ZipFile(tmp_path / "val.zip", "w") as archive:
        for folder in ("a", "b"):
            archive.writestr(f"{folder}/{COCO[0]}", png(1))
    with pytest.raises(DataError, match=r"p\.json row 1 column 'image': .*2 files for"):
        pope.load(path=lines(tmp_path / "p.json", HUB_POPE[:1]), image_folder=str(tmp_path / "val.zip"))


def read_first(task):
    return task.images[0].getpixel((0, 0))[0]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_read_by_several_processes(tmp_path, coco, lines, kind):
    path = shutil.make_archive(str(tmp_path / "val2014"), kind, coco)
    task = pope.load(path=lines(tmp_path / "p.json", HUB_POPE), image_folder=path)
    assert read_first(task) == 0
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(read_first, [task] * 4)) == [0] * 4
