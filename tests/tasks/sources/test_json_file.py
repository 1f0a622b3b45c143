"""JSON lists and lines: read to the end, whatever the name, or refused with the row."""

import gzip
import json

import pytest

from fusionscope.errors import DataError
from fusionscope.tasks import custom

OWN = {"image": "a.png", "question": "Q?", "options": ["up", "down"], "answer": "down"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.JSON", "c.ndjson"])
@pytest.mark.parametrize("form", ["list", "pretty", "lines", "windows"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_a_file_holds_decides_and_not_its_name(tmp_path, png, packed, name, form, mark):
    (tmp_path / "a.png").write_bytes(png(1))
    rows = [OWN, {**OWN, "question": "zwei ä 猫?"}]
    texts = {
        "list": json.dumps(rows),
        "pretty": json.dumps(rows, indent=2, ensure_ascii=False),
        "lines": "\n".join(map(json.dumps, rows)),
        "windows": "\r\n\r\n".join(map(json.dumps, rows)) + "\r\n",
    }
    content = mark + texts[form].encode()
    path = tmp_path / (name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    assert len(custom.load(path=str(path)).questions) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{0}][{0}]", "after its list of 1 rows comes '"),
        ("[{0}]\n{0}", "after its list of 1 rows comes"),
        ("[{0},]", "row 2 is no JSON"),
        ("[{0} {0}]", "after row 1: '"),
        ("[{0}", "after row 1: the end of the file"),
        ("[{0}, [{0}]]", "row 2 is "),
        ("{0}{0}", "row 1 is no JSON: Extra data"),
        ("{0}\n\n{0} x", "row 3 is no JSON"),
        ('{0}\n{{"image": "a.png", "image": "b.png"}}', "row 2 is no JSON: the key 'image' comes twice"),
        ('[{0}, {{"image": "a.png", "image": "b.png"}}]', "row 2 is no JSON: the key 'image' comes twice"),
        ('{{"question": "\\ud83d"}}', "row 1 is no UTF-8"),
        ('[{0}, {{"question": ["\\uDC00"]}}]', "row 2 is no UTF-8"),
        ("[" * 20_000, "row 1 is no JSON"),
    ],
)
def test_files_are_read_to_their_end_or_refused_with_the_row(tmp_path, text, message):
    path = tmp_path / "c.json"
    path.write_text(text.replace("{0}", json.dumps(OWN)).replace("{{", "{").replace("}}", "}"))
    with pytest.raises(DataError, match=rf"c\.json.*{message}"):
        custom.load(path=str(path))


def test_a_whole_surrogate_pair_is_a_sign(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "c.jsonl").write_text(json.dumps(OWN).replace("Q?", "\\ud83d\\ude42?"))
    assert custom.load(path=str(tmp_path / "c.jsonl")).questions[0].text == "🙂?"
