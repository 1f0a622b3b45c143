"""How far each design is from the truth on a trained sandbox model: a table and one figure.

    python tools/design_error.py RUN [--images N]

For the model at the end of RUN and each question family: the exact PID of its own decision function over the whole
world, under the pairs as they occur; then what the default design (crossed), the learned one, the paper's masked design
(arXiv 2603.29676: one noise draw, options under 0.3 of the probability made uniform, its own arithmetic) and the same
with six draws say of it. Writes RUN/figures/designs.png, .svg and RUN/designs.json.
"""

import argparse
import json
from pathlib import Path

from tqdm.auto import tqdm

from fusionscope.lvlm import LVLM
from fusionscope.probe import ProbeSpec, probe
from fusionscope.records import ATOMS, Run
from fusionscope.sandbox import model_pid
from fusionscope.sandbox.tasks import VARIANTS
from fusionscope.study.page import save
from fusionscope.study.report.figures import design_figure
from fusionscope.tasks import HeldOutTask, load_task

Atoms = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=144, help="images of each probe, a multiple of 48 (144)")
    options = parser.parse_args()
    lvlm = LVLM.from_pretrained(str(final_model(options.run)))
    found = {}
    for variant in tqdm(VARIANTS, desc="designs against the truth"):
        task = load_task(f"sandbox/{variant}", images=options.images)
        weights = "natural" if "natural" in task.pair_weights else "uniform"
        truth = model_pid(lvlm, variant, layers="last")[weights][0]
        found[task.name] = {"truth": floats(truth.atoms()), **estimates(lvlm, task, weights)}
    (options.run / "designs.json").write_text(json.dumps(found, indent=1) + "\n")
    save(design_figure(errors(found)), options.run / "figures" / "designs")
    print(table(found, options.images))
    print(f"Figure: {options.run / 'figures' / 'designs.png'}")


def final_model(directory: Path) -> Path:
    """The export of a run's last stage."""
    run = Run.find(directory)
    if run is None or any(stage.status != "done" for stage in run.stages):
        raise SystemExit(
            f"{directory} holds no finished run; finish it with: fusionscope run RECIPE --run-dir {directory}"
        )
    return run.stage_directory(run.stages[-1].name).model


def estimates(lvlm: LVLM, task: HeldOutTask, weights: str) -> dict[str, Atoms]:
    """What each design says of the last layer, in bits."""
    crossed = probe(lvlm, task, ProbeSpec(laws=(weights,), layers="last"))[0].pid
    return {
        "crossed": floats(crossed.atoms()),
        "learned": floats(probe(lvlm, task, ProbeSpec(design="learned", layers="last"))[0].pid.atoms()),
        "masked, 1 draw (the paper's)": masked(lvlm, task, draws=1),
        "masked, 6 draws": masked(lvlm, task, draws=6),
    }


def masked(lvlm: LVLM, task: HeldOutTask, *, draws: int) -> Atoms:
    """The paper's design and arithmetic on the natural pairs, its unclipped atoms."""
    spec = ProbeSpec(
        design="masked",
        design_options={"mask": "noise", "draws": draws},
        layers="last",
        estimator="faithful",
        fallback=0.3,
        standard_errors=False,
    )
    return floats(probe(lvlm, task, spec)[0].pid.atoms())


def floats(atoms: dict) -> Atoms:
    return {atom: float(value) for atom, value in atoms.items()}


def errors(found: dict[str, dict[str, Atoms]]) -> dict[str, dict[str, Atoms]]:
    """Estimate minus truth."""
    return {
        task: {
            design: {atom: atoms[atom] - designs["truth"][atom] for atom in ATOMS}
            for design, atoms in designs.items()
            if design != "truth"
        }
        for task, designs in found.items()
    }


def table(found: dict[str, dict[str, Atoms]], images: int) -> str:
    lines = [
        f"Last layer, bits, {images} images; truth: all 2304 scene classes",
        f"{'task':20}{'design':32}" + "".join(f"{name:>8}" for name in ("R", "U1", "U2", "S")),
    ]
    for task, designs in found.items():
        for design, atoms in designs.items():
            lines.append(f"{task:20}{design:32}" + "".join(f"{atoms[atom]:8.3f}" for atom in ATOMS))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
