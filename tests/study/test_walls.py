"""What importing the study costs, and how its rooms import each other."""

import subprocess
import sys


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_study_imports_nothing() -> None:
    new = loaded_after("import fusionscope.study")
    assert not {"torch", "numpy", "matplotlib", "lightning", "transformers"} & new
    assert {name for name in new if name.startswith("fusionscope")} == {"fusionscope", "fusionscope.study"}


def test_a_sweep_draws_nothing_and_a_report_trains_nothing() -> None:
    sweep = loaded_after("import fusionscope.study.sweep")
    assert not {name for name in sweep if name.startswith(("fusionscope.study.page", "fusionscope.study.report"))}
    assert not {"fusionscope.stages", "fusionscope.study.sweep"} & loaded_after("import fusionscope.study.report")
