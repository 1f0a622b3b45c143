"""One lazy sequence: opened late, picked and changed without being opened, told apart by content."""

import io
import pickle

import pytest
from PIL import Image

from fusionscope.errors import BadImageError, InputError
from fusionscope.tasks import DrawnImage, LazyImages, digest_of_images
from fusionscope.tasks.sources.lazy import FileImage, StoredImage, digest_of_bytes


@pytest.fixture
def files(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / f"{i}.png")
    return LazyImages(FileImage(path=tmp_path / f"{i}.png", name=f"{i}.png") for i in range(3))


def test_a_file_and_its_bytes_have_one_digest_wherever_they_are(files, tmp_path):
    content = (tmp_path / "1.png").read_bytes()
    stored = LazyImages([StoredImage(read=lambda: content, name="cell")])
    assert stored.digest(0) == files.digest(1) == digest_of_bytes(content)
    assert stored[0].getpixel((0, 0)) == files[1].getpixel((0, 0)) == (1, 1, 1)
    buffer = io.BytesIO()
    files[1].save(buffer, "PNG", compress_level=0)
    assert digest_of_bytes(buffer.getvalue()) != files.digest(1)


def test_selected_images_keep_their_digests_and_changed_ones_get_others(files):
    whole = digest_of_images(files)
    picked = files.select([2, 0])
    assert [picked.digest(i) for i in range(2)] == [whole[2], whole[0]]
    turned = files.map(lambda image: image.rotate(90), "rotate(90)")
    again = files.map(lambda image: image.rotate(90), "rotate(90)")
    assert digest_of_images(turned) == digest_of_images(again)
    assert set(digest_of_images(turned)).isdisjoint(whole)
    assert turned.map(lambda image: image, "b").digest(0) != turned.digest(0)
    assert picked.map(lambda image: image.resize((2, 2)), "resize(2)")[0].size == (2, 2)


def test_any_sequence_is_one_and_a_lazy_one_stays_itself(files):
    assert LazyImages.of(files) is files
    images = [Image.new("L", (2, 2), 9)]
    lazy = LazyImages.of(images, ["grey"])
    assert (len(lazy), lazy[0].mode, lazy.sources[0].name) == (1, "RGB", "grey")
    assert [image.getpixel((0, 0)) for image in lazy] == [(9, 9, 9)]
    with pytest.raises(IndexError):
        lazy[1]
    with pytest.raises(InputError, match="image '0' is <class 'str'>"):
        LazyImages.of(["a.png"])[0]


def test_what_cannot_be_read_is_named(tmp_path):
    gone = LazyImages([FileImage(path=tmp_path / "a.png", name="a.png")])
    for act in (lambda: gone[0], lambda: gone.digest(0)):
        with pytest.raises(BadImageError, match=r"image 'a\.png' cannot be read"):
            act()

    def torn():
        raise OSError("truncated")

    with pytest.raises(BadImageError, match="image 'x' cannot be read: truncated"):
        LazyImages([DrawnImage(draw=torn, name="x")])[0]
    with pytest.raises(BadImageError, match="image 'y' cannot be read: truncated"):
        LazyImages([StoredImage(read=torn, name="y")]).digest(0)


def test_files_go_to_other_processes(files):
    assert pickle.loads(pickle.dumps(files))[1].getpixel((0, 0)) == (1, 1, 1)
