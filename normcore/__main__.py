"""The command `normcore`."""

import argparse
import importlib
import json
import sys
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from normcore import __version__
from normcore.experiments import find_stored


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 where all is well, 1 where something was found, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="normcore", description="Tools of the course on normalization.")
    parser.add_argument("--version", action="version", version=f"normcore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    audit = commands.add_parser("audit", help="prove a problem set: mistakes are told apart, mutants fail")
    audit.add_argument("problem_set", nargs="+", help="such as ps02")
    audit.add_argument("--seeds", type=int, default=100, help="seeds on which each mistake is tried (100)")
    audit.add_argument("--solutions", type=Path, default=Path("solutions"), help="folder of the sources")
    audit.set_defaults(run=_audit)
    bench = commands.add_parser("bench", help="time each method beside torch's own, eager and compiled")
    bench.add_argument("methods", nargs="*", help='such as "layer norm"; all by default')
    bench.add_argument(
        "--sizes", nargs="+", default=["small", "middle", "large"], help="small middle large huge"
    )
    bench.add_argument("--no-compile", action="store_true", help="leave torch.compile out: much faster")
    bench.add_argument("--repeats", type=int, default=15, help="of each measurement (15)")
    bench.add_argument("--device", default="cpu", help="such as cuda (cpu)")
    bench.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    bench.set_defaults(run=_bench)
    stored = find_stored()
    experiment = commands.add_parser(
        "experiment",
        help="make the stored results of an experiment again",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="experiments:\n" + "\n".join(f"  {name}: {line}" for name, line in stored.items()),
    )
    experiment.add_argument("name", choices=list(stored))
    experiment.set_defaults(run=_experiment)
    grade = commands.add_parser("grade", help="grade a folder of submissions that nobody trusts")
    grade.add_argument("assignment", help="such as ps02")
    grade.add_argument("--student", action="append", help="only this one; may be given again")
    grade.add_argument("--workers", type=int, help="submissions at the same time (one a core)")
    grade.add_argument("--scheduler", help="address of a Dask scheduler, such as tcp://host:8786")
    grade.add_argument(
        "--again", action="store_true", help="those too that have not changed since; interrupted, it goes on"
    )
    grade.add_argument(
        "--json", action="store_true", help="print one JSON object a submission, and the summary"
    )
    grade.add_argument("--trust-submissions", action="store_true", help="run them without a sandbox")
    grade.add_argument("--course", type=Path, default=Path("."), help="folder of nbgrader_config.py")
    grade.set_defaults(run=_grade)
    regrade = commands.add_parser("regrade", help="grade a recorded submission once more, and compare")
    regrade.add_argument("assignment", help="such as ps02")
    regrade.add_argument("--student", action="append", required=True, help="whose; may be given again")
    regrade.add_argument("--trust-submissions", action="store_true", help="run them without a sandbox")
    regrade.add_argument("--course", type=Path, default=Path("."), help="folder of nbgrader_config.py")
    regrade.set_defaults(run=_regrade)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"normcore: {error}", file=sys.stderr)
        return 2


def _audit(options: argparse.Namespace) -> int:
    from normcore.checks import cosmic
    from normcore.checks.audit import MAKERS, audit, solution_sources
    from normcore.checks.catalogue import find_problem_set

    problems, mutants, killed = 0, Counter(), Counter()
    for name in options.problem_set:
        problem_set = find_problem_set(name)
        sources = solution_sources(options.solutions / name / f"{name}.ipynb")
        print(f"{name}: {options.seeds} seeds a mistake")
        for result in audit(problem_set, sources, options.seeds):
            check = problem_set.checks[result.name]
            rates = ", ".join(f"{result.killed[m]} of {result.mutants[m]} {m}" for m in result.mutants)
            rates = f"mutants killed: {rates}" if rates else "no mutants of an answer that is a test"
            print(f"  {result.name}: {len(check.mistakes)} mistakes; {rates}")
            for change, why in result.survivors.items():
                print(f"    survives: {change}\n      {why or 'UNEXPLAINED'}")
            for problem in result.problems:
                print(f"    PROBLEM: {problem}")
            problems += len(result.problems)
            mutants, killed = mutants + result.mutants, killed + result.killed
    for maker in MAKERS:
        rate = killed[maker] / max(mutants[maker], 1)
        print(f"{killed[maker]} of {mutants[maker]} mutants killed ({rate:.1%}), {maker}")
    if not cosmic.INSTALLED:
        print("without cosmic-ray, which is not installed: pip install cosmic-ray")
    print("clean" if not problems else f"{problems} problems")
    return 1 if problems else 0


def _bench(options: argparse.Namespace) -> int:
    import torch

    from normcore.bench import METHODS, compare, environment, measure

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {options.device}: torch sees no GPU here")
    print(environment(options.device))
    dtype = getattr(torch, options.dtype)
    rows = []
    for name in options.methods or METHODS:
        for size in options.sizes:
            rows.append(measure(name, size, not options.no_compile, options.repeats, options.device, dtype))
            print(f"measured {name}, {size}", file=sys.stderr)
    lines, over = compare(rows)
    print("\n".join(lines))
    for sentence in over:
        print(f"OVER THE LIMIT: {sentence}")
    return 1 if over else 0


def _grade(options: argparse.Namespace) -> int:
    from sqlalchemy.exc import SAWarning
    from tqdm import tqdm

    from normcore.grading.batch import grade_all
    from normcore.grading.bubblewrap import SandboxMissing
    from normcore.grading.cluster import ClusterMissing
    from normcore.grading.course import Course
    from normcore.grading.retry import Stopped

    warnings.filterwarnings("ignore", category=SAWarning)  # nbgrader's, at each new submission
    # where somebody looks on
    bar = tqdm(unit="", smoothing=0.05, leave=False, disable=None, desc="starting")

    def report(graded, done: int, total: int) -> None:
        tqdm.write(_in_json(graded) if options.json else f"{done}/{total} {_in_words(graded)}")
        sys.stdout.flush()
        if done == 1:
            bar.set_description_str("", refresh=False)
            bar.reset(total)  # the rate is that of grading, without the start
        bar.update(done - bar.n)

    try:
        with bar:
            summary = grade_all(
                Course(options.course),
                options.assignment,
                options.student,
                options.workers,
                options.trust_submissions,
                options.again,
                options.scheduler,
                report=report,
                tell=lambda sentence: tqdm.write(f"normcore: {sentence}", file=sys.stderr),
            )
    except (ClusterMissing, SandboxMissing, Stopped) as error:
        print(f"normcore: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nnormcore: stopped. What is recorded stays; the same command goes on.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps({"summary": asdict(summary)}))
    else:
        _print_summary(summary)
    return 1 if summary.failed else 0


def _in_json(graded) -> str:
    """In ASCII: a submission may hold what no terminal can show."""
    from normcore.grading.record import account

    told = account(graded)
    for name, verdict in graded.tasks.items():
        told["tasks"][name]["message"] = verdict.message
    return json.dumps(told)


def _in_words(graded) -> str:
    outcomes = [t.outcome for t in graded.tasks.values()]
    line = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))
    if graded.refused:
        line = f"refused: {graded.refused}"
    if graded.failed:
        why = dict.fromkeys(t.message for t in graded.tasks.values() if t.outcome == "our failure")
        line = f"our failure: {'; '.join(why)}"
    line = f"{graded.student}: {line}"
    look = "; ".join(f"{task} names {', '.join(names)}" for task, names in graded.attention.items())
    line = f"{line}   look at it: {look}" if look else line
    # a file's name may hold a terminal's commands
    return "".join(c if c.isprintable() else "?" for c in line)


def _print_summary(summary) -> None:
    print(
        f"{summary.graded} graded, of which {summary.refused} refused; {summary.skipped} unchanged; "
        f"{summary.failed} not graded, by our failure"
    )
    if summary.outdated:
        print(f"{summary.outdated} of the unchanged were graded by other checks; --again grades them anew")
    if summary.dated:
        print(f"{summary.dated} of the unchanged: time and penalty looked at again")


def _regrade(options: argparse.Namespace) -> int:
    from normcore.grading.batch import regrade
    from normcore.grading.bubblewrap import SandboxMissing
    from normcore.grading.course import Course

    differ = 0
    for student in options.student:
        try:
            again = regrade(Course(options.course), options.assignment, student, options.trust_submissions)
        except SandboxMissing as error:
            print(f"normcore: {error}", file=sys.stderr)
            return 2
        since = f"   since then: {'; '.join(again.changed)}" if again.changed else ""
        if again.before == again.now:
            print(f"{student}: the same on all {len(again.now)} tasks{since}")
            continue
        differ += 1
        for task, outcome in again.now.items():
            if again.before.get(task) != outcome:
                print(f"{student}: {task} was {again.before.get(task)}, is {outcome}{since}")
    return 1 if differ else 0


def _experiment(options: argparse.Namespace) -> int:
    print(importlib.import_module(f"normcore.experiments.{options.name}").main())
    return 0


if __name__ == "__main__":
    sys.exit(main())
