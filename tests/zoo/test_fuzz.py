"""A few mutated inputs of every kind: no exception that is none of ours (the whole run is tools/fuzz_inputs.py)."""

import runpy
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "fuzz_inputs.py"


def test_damaged_inputs_are_read_whole_or_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz_inputs.py", "--inputs", "220", "--seed", "1"])
    assert runpy.run_path(str(TOOL))["main"]() == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "all"
