"""Accuracy and speed of the PID estimators, side by side in one run on one CPU thread.

    python tools/bench_pid.py                      # everything, a few minutes
    python tools/bench_pid.py --sections exact gates
    python tools/bench_pid.py --write              # and a dated file under tools/benchmarks/

Against: cvxpy with Clarabel, dit (both in the `bench` extra; what is missing is left out and said so), and the BATCH
estimator the original way (`batch_reference.py`). On a GPU the exact solver runs again where there is one. Times are
CPU time of the process (on a GPU: wall time after synchronising). Clarabel's programme is compiled once for a shape,
its settings are its defaults; its solving time without cvxpy's share stands beside the whole.
"""

import argparse
import datetime
import platform
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

import batch_reference
import torch
from torch import Tensor

from fusionscope.pid import BatchEstimator, gates, pid_crossed, pid_from_joint, pid_from_posteriors

DIT_SECONDS = 30
Row = tuple[str, str, str, str]


def random_joints(count: int, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Uniform on the simplex, float64 [count, A, B, K]."""
    generator = torch.Generator().manual_seed(seed)
    p = -torch.rand(count, *shape, generator=generator, dtype=torch.float64).clamp_min(1e-300).log()
    return p / p.sum((1, 2, 3), keepdim=True)


def cpu_seconds(call: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after this many seconds of wall time."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Clarabel:
    """The primal of Bertschinger et al. as a cone programme, compiled once for a shape."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        import cvxpy
        import numpy

        a, b, k = shape
        self.first, self.second = cvxpy.Parameter((a, k), nonneg=True), cvxpy.Parameter((b, k), nonneg=True)
        q = cvxpy.Variable((a * b, k), nonneg=True)
        w = cvxpy.reshape(cvxpy.sum(q, axis=1), (a * b, 1), order="C") @ numpy.ones((1, k))
        margins = [
            numpy.kron(numpy.eye(a), numpy.ones((1, b))) @ q == self.first,
            numpy.kron(numpy.ones((1, a)), numpy.eye(b)) @ q == self.second,
        ]
        self.problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(cvxpy.rel_entr(q, w))), margins)
        self.seconds_alone = 0.0

    def union(self, p: Tensor) -> float:
        """The union information in bits."""
        self.first.value, self.second.value = p.sum(1).numpy(), p.sum(0).numpy()
        data, chain, inverse = self.problem.get_problem_data("CLARABEL", solver_opts={})
        spent, solution = cpu_seconds(lambda: chain.solve_via_data(self.problem, data, solver_opts={}))
        self.seconds_alone += spent
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.problem.unpack_results(solution, chain, inverse)
        p_y = p.sum((0, 1))
        nats = -float(torch.special.xlogy(p_y, p_y).sum()) + self.problem.value
        return nats / torch.log(torch.tensor(2.0, dtype=torch.float64)).item()


def exact(count_by_shape: dict[tuple[int, int, int], int]) -> Iterator[Row]:
    for shape, count in count_by_shape.items():
        name = "x".join(map(str, shape))
        p = random_joints(256, shape, seed=1)
        pid_from_joint(p[:8])
        ours, result = cpu_seconds(lambda p=p: pid_from_joint(p))
        gap = float((result.union_upper - result.union_lower).max())
        note = f"certified gap at most {gap:.1e} bits, {int((~result.converged).sum())} failures"
        yield f"{name}: ours, batch of 256", f"{1e3 * ours / 256:.3f} CPU-ms", "1", note
        try:
            solver = Clarabel(shape)
        except ImportError:
            yield f"{name}: cvxpy + Clarabel", "not installed", "", "pip install -e '.[bench]'"
            continue
        solver.union(p[0])
        solver.seconds_alone = 0.0
        theirs, unions = cpu_seconds(lambda p=p, s=solver, n=count: [s.union(p[i]) for i in range(n)])
        union = result.total[:count] - result.synergy[:count]
        error = float((union - torch.tensor(unions)).abs().max())
        note = f"differs from ours by at most {error:.1e} bits, {count} problems"
        yield (
            f"{name}: cvxpy + Clarabel",
            f"{1e3 * theirs / count:.2f} CPU-ms",
            f"{theirs / count / ours * 256:.1f}",
            note,
        )
        alone = solver.seconds_alone
        yield (
            f"{name}: Clarabel alone",
            f"{1e3 * alone / count:.2f} CPU-ms",
            f"{alone / count / ours * 256:.1f}",
            "as above",
        )


def gate_errors() -> Iterator[Row]:
    seconds, worst, where = 0.0, 0.0, ""
    for gate in gates.zoo():
        spent, result = cpu_seconds(lambda gate=gate: pid_from_joint(gate.joint))
        error = max(abs(float(value) - gate.atoms()[atom]) for atom, value in result.atoms().items())
        seconds += spent
        if error > worst:
            worst, where = error, gate.name
    n = len(gates.names())
    yield (
        f"{n} gates: ours, one at a time",
        f"{1e3 * seconds / n:.2f} CPU-ms",
        "1",
        f"worst atom off by {worst:.1e} ({where})",
    )


def dit_rows() -> Iterator[Row]:
    try:
        import dit
    except ImportError:
        yield "dit PID_BROJA", "not installed", "", "pip install -e '.[bench]'"
        return
    cases = [(name, gates.gate(name).joint) for name in ("AND", "RDNXOR")]
    cases += [("random 4x4x4", random_joints(1, (4, 4, 4), seed=1)[0])]
    cases += [("random 20x20x4", random_joints(1, (20, 20, 4), seed=1)[0])]
    for name, p in cases:
        ours, result = cpu_seconds(lambda p=p: pid_from_joint(p))
        outcomes = [tuple(map(int, index)) for index in p.nonzero()]
        distribution = dit.Distribution(outcomes, [float(p[o]) for o in outcomes])
        start = time.process_time()
        try:
            with time_limit(DIT_SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                unique = float(dit.pid.PID_BROJA(distribution, [[0], [1]], [2])[((0,),)])
        except (TimeoutError, dit.exceptions.ditException) as stopped:
            seconds = time.process_time() - start
            reason = "stopped by us" if isinstance(stopped, TimeoutError) else "dit: no solver converged"
            yield f"dit, {name}", f"{seconds:.0f} CPU-s, no result", "", reason
            continue
        seconds = time.process_time() - start
        note = f"unique of the first source {abs(unique - float(result.unique_vision)):.1e} bits from ours"
        yield f"dit, {name}", f"{1e3 * seconds:.0f} CPU-ms", f"{seconds / ours:.0f}", note


def crossed(device: str) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(3)
    conditionals = torch.softmax(2 * torch.randn(33, 64, 64, 4, generator=generator, dtype=torch.float64), -1)
    conditionals = conditionals.to(device)
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        pid_crossed(conditionals[:2], standard_errors=True)
        torch.cuda.synchronize()
    start = clock()
    result = pid_crossed(conditionals, standard_errors=True)
    gap = float((result.union_upper - result.union_lower).max())
    seconds = clock() - start
    note = f"certified gap at most {gap:.1e} bits, standard errors: {'yes' if result.standard_errors else 'no'}"
    yield f"crossed, 33 layers of 64x64x4, {device}", f"{seconds:.2f} s", "", note


def paired(device: str, layers: int = 33) -> Iterator[Row]:
    """Spread-out posteriors of 1,024 samples, four answers: far from any small number of cells."""
    generator = torch.Generator().manual_seed(4)
    own, other = torch.randn(2, layers, 1024, 4, generator=generator, dtype=torch.float64).to(device)
    posteriors = [torch.softmax(scores, -1) for scores in (1.5 * (own + other), 1.5 * own, 1.2 * other)]
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        pid_from_posteriors(*(p[:2] for p in posteriors))
        torch.cuda.synchronize()
    start = clock()
    result = pid_from_posteriors(*posteriors)
    gap = float((result.union_upper - result.union_lower).max())
    note = f"certified width at most {gap:.4f} bits, {int((~result.converged).sum())} layers wider than asked"
    yield f"paired, {layers} layers of 1,024 samples, K = 4, {device}", f"{clock() - start:.1f} s", "", note


def gpu(joints: int = 4096) -> Iterator[Row]:
    if not torch.cuda.is_available():
        yield "GPU", "none here", "", "skipped"
        return
    for shape in ((4, 4, 4), (20, 20, 4)):
        p = random_joints(joints if shape[0] == 4 else 512, shape, seed=2)
        on_gpu = p.cuda()
        pid_from_joint(on_gpu)
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = pid_from_joint(on_gpu)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        tight = [pid_from_joint(x[:64], tolerance=1e-10) for x in (p, on_gpu)]
        off = float((tight[0].synergy - tight[1].synergy.cpu()).abs().max())
        name = f"{'x'.join(map(str, shape))} on {torch.cuda.get_device_name()}, batch of {len(p)}"
        note = f"{int((~result.converged).sum())} failures; CPU and GPU differ by {off:.1e} at a gap of 1e-10"
        yield name, f"{1e3 * seconds / len(p):.4f} ms", "", note
    yield from crossed("cuda")
    yield from paired("cuda")


def samples(name: str, n: int) -> tuple[Tensor, ...]:
    """One-hot sources of n draws from a gate, with its exact posteriors."""
    p = gates.gate(name).joint
    cell = torch.multinomial(p.sum(-1).flatten(), n, replacement=True, generator=torch.Generator().manual_seed(0))
    a, b = cell // p.shape[1], cell % p.shape[1]
    p12, p1, p2 = (x / x.sum(-1, keepdim=True).clamp_min(1e-300) for x in (p, p.sum(1), p.sum(0)))
    one_hot = torch.nn.functional.one_hot
    return tuple(x.float() for x in (one_hot(a, p.shape[0]), one_hot(b, p.shape[1]), p12[a, b], p1[a], p2[b]))


def batch() -> Iterator[Row]:
    names = ("AND", "OR", "XOR", "UNQ", "RDN", "SUM", "RAND", "REDUCED_OR", "BOOM", "DIFF", "PROB_1", "WB_1")
    seeds = (0, 1, 2)
    errors, plug_in, apart, seconds = [], [], [], 0.0
    for name in names:
        data, truth = samples(name, 2000), gates.gate(name).atoms()
        spent, result = cpu_seconds(lambda data=data: BatchEstimator(plug_in=False).estimate(*data, seeds=seeds))
        seconds += spent
        atoms, exact_atoms = numbers(result.atoms()), plug_in_of(data, seeds)
        errors.append(largest(atoms, truth))
        plug_in.append(largest(exact_atoms, truth))
        apart.append(largest(atoms, exact_atoms))
    note = f"largest atom error: mean {mean(errors):.4f}, worst {max(errors):.3f} ({names[errors.index(max(errors))]})"
    what = f"BATCH, {len(names)} gates, 2000 samples, {len(seeds)} splits: ours"
    yield what, f"{seconds / len(names) / len(seeds):.2f} CPU-s a fit", "1", note
    note = f"largest atom error: mean {mean(plug_in):.4f}, worst {max(plug_in):.3f}; BATCH is {mean(apart):.4f} away"
    yield "exact plug-in on the same test samples", "", "", note
    data, truth = samples("AND", 2000), gates.gate("AND").atoms()
    original = {"balance": False, "sinkhorn_tolerance": 0.01}
    base = None
    for name, settings in {"ours": {}, "ours, the original's scaling": original}.items():
        estimator = BatchEstimator(plug_in=False, **settings)
        spent, result = cpu_seconds(lambda e=estimator: e.estimate(*data))
        base = base or spent
        atoms = described(numbers(result.atoms()), truth)
        yield f"BATCH on AND, split 0: {name}", f"{spent:.2f} CPU-s a fit", f"{spent / base:.1f}", atoms
    spent, atoms = cpu_seconds(lambda: batch_reference.estimate(*data, seed=0))
    what = "BATCH on AND, split 0: the original's loop (half of the test part: it drops the tail)"
    yield what, f"{spent:.1f} CPU-s a fit", f"{spent / base:.0f}", described(atoms, truth)
    yield "exact plug-in on AND, split 0", "", "", described(plug_in_of(data, (0,)), truth)


def plug_in_of(data: tuple[Tensor, ...], seeds: tuple[int, ...]) -> dict[str, float]:
    found = BatchEstimator(epochs=1).estimate(*data, seeds=seeds).diagnostics
    return {name.removeprefix("plug_in_"): float(found[name]) for name in found if name.startswith("plug_in_")}


def numbers(atoms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in atoms.items()}


def largest(atoms: dict[str, float], others: dict[str, float]) -> float:
    return max(abs(atoms[name] - others[name]) for name in others)


def described(atoms: dict[str, float], truth: dict[str, float]) -> str:
    short = dict(
        zip(("redundancy", "unique_vision", "unique_language", "synergy"), ("R", "U1", "U2", "S"), strict=True)
    )
    return (
        " ".join(f"{short[atom]} {value:.3f}" for atom, value in atoms.items())
        + f", worst off by {largest(atoms, truth):.3f}"
    )


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "exact": lambda: exact({(4, 4, 4): 100, (20, 20, 4): 20, (64, 64, 2): 2}),
    "gates": gate_errors,
    "dit": dit_rows,
    "crossed": lambda: crossed("cpu"),
    "paired": lambda: paired("cpu"),
    "batch": batch,
    "gpu": gpu,
}


def processor() -> str:
    found = (
        re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        if Path("/proc/cpuinfo").exists()
        else None
    )
    return found.group(1).strip() if found else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=[*SECTIONS], default=[*SECTIONS])
    parser.add_argument("--write", action="store_true", help="write tools/benchmarks/pid_<processor>_<date>.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = f"torch {torch.__version__}, one thread of {processor()}, {datetime.date.today()}"
    lines = [head, "", "| what | time | ratio to ours | accuracy |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for section in arguments.sections:
        for row in SECTIONS[section]():
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    if arguments.write:
        slug = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
        path = Path(__file__).parent / "benchmarks" / f"pid_{slug}_{datetime.date.today()}.md"
        path.write_text("# PID estimators, side by side\n\n" + "\n".join(lines) + "\n")
        print(f"written: {path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else f"written: {path}")


if __name__ == "__main__":
    main()
