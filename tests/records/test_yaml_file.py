"""YAML that a person wrote: read, or refused with its file and line."""

import pytest

from fusionscope.errors import ConfigError
from fusionscope.records.yaml_file import read_yaml_file


def test_a_file_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1, é]", encoding="utf-8")
    assert read_yaml_file(tmp_path / "a.yaml") == {"a": [1, "é"]}


def test_what_is_no_yaml_in_utf_8_is_refused_with_its_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: é".encode("latin-1"))
    (tmp_path / "torn.yaml").write_text("a: 1\nb: [1")
    for name, message in [
        ("latin.yaml", r"latin\.yaml line 2 is no UTF-8"),
        ("torn.yaml", r"torn\.yaml, line 2.* is no YAML"),
        ("gone.yaml", r"gone\.yaml cannot be read: No such file"),
        ("", r"cannot be read: Is a directory"),
    ]:
        with pytest.raises(ConfigError, match=message):
            read_yaml_file(tmp_path / name)
