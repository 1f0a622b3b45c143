"""Images in folders, archives and elsewhere."""

import tarfile
import zipfile

import pytest

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks import pope

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
