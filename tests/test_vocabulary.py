"""Words that were retired: the field has its own, and CONTRIBUTING.md's glossary is the authority."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RETIRED = {
    r"\bpictures?\b": "image",
    r"\b[Jj]ourneys?\b": "run",
    r"\bsinks\b": "writers",
    r"\bseeing_parts\b": "vision_modules",
    r"\bsight\b": "image_config_key, vision",
    r"\bstand-ins?\b": "placeholder",
    r"\bmend(s|ed)?\b": "fix, correct",
    r"\bbend\b": "half-sample curvature",
    r"\bso many\b": "maximum number of, this many",
    r"\bis told\b": "is given",
    r"_look\b|\.look\(": "encode_images",
    r"shares that are none": "fractions outside 0 to 1",
    r"\blearnt\b": "supervised, trained",
}
NOT_PROSE = re.compile(r"describe the picture|\"picture\", \"list\"|diagnostics/bend")
"""What a tokenizer of the sandbox knows (another word would be another model), and a column of old record files."""
FILES = [
    path
    for place in ("harness", "callbacks", "tools", "recipes", "README.md")
    for path in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*")))
    if path.suffix in (".py", ".yaml", ".md", ".sh") and "__pycache__" not in path.parts
]


@pytest.mark.parametrize("pattern", RETIRED)
def test_a_retired_word_is_nowhere(pattern: str) -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, NOT_PROSE.sub("", line))
    ]
    assert hits == [], f"say {RETIRED[pattern]}"


def test_lines_are_formatted() -> None:
    mark = "# fmt: " + "skip"
    places = ("harness", "callbacks", "tools", "tests")
    hits = [path for place in places for path in (ROOT / place).rglob("*.py") if mark in path.read_text()]
    assert len(hits) <= 5, hits
