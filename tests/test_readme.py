"""What the README promises: its script runs as it stands, its commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fusionscope.records import RecordFile

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_script_for_a_foreign_module_runs_as_it_stands(tmp_path):
    (script,) = re.findall(r"```python\n(.*?class MyModule.*?)```", README, re.DOTALL)
    assert len([line for line in script.splitlines() if line.strip()]) <= 30
    (tmp_path / "own.py").write_text(script)
    ran = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (path,) = tmp_path.rglob("records.jsonl")
    records = RecordFile(path).read()
    assert [record.step for record in records if record.layer == record.n_layers] == [0, 4, 8]
    assert {record.stage for record in records} == {"MyModule"}
    assert all(record.converged for record in records)
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_the_commands_exist():
    for script in re.findall(r"bash (tools/\w+\.sh)", README):
        assert (ROOT / script).is_file(), script
    known = subprocess.run(
        [sys.executable, "-m", "fusionscope.cli", "--help"], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    for command in set(re.findall(r"^ {4}fusionscope (\w+)", README, re.MULTILINE)):
        assert command in known
