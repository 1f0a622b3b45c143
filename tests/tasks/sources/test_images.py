"""Images as a viewer shows them."""

import numpy as np
from PIL import Image

from fusionscope.tasks import custom

OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


def test_images_look_as_one_sees_them(tmp_path, lines):
    turned = Image.Exif()
    turned[274] = 6
    Image.new("RGB", (2, 4)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((4, 4), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    names = ("turned.jpg", "cmyk.jpg", "clear.png", "deep.png", "moving.gif")
    task = custom.load(path=lines(tmp_path / "c.jsonl", [OWN | {"image": name} for name in names]))
    assert task.images[0].size == (4, 2)
    assert [task.images[i].getpixel((0, 0)) for i in range(1, 5)] == [
        (255, 0, 0),
        (255, 255, 255),
        (255, 255, 255),
        (255, 0, 0),
    ]
