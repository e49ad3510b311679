"""Measure what every score costs: CPU and wall seconds with one thread and two, memory, and beside public code.

    python benchmarks/scores.py [--quick] [--parts base score set pairs beside] [--sizes 10000] [--scores knn]

Every measurement is a process of its own (`scores_worker.py`), on the same arrays: rectified normal features of three
sizes. Rows that were measured again replace those in benchmarks/results/score_timings.csv; the Markdown tables on
stdout are made of that file (`--parts` without a name measures nothing and prints them). transformer-ranker and what
it imports have to lie in a folder of their own: `make bench-scores` puts them there.

The set of closed-form scores is every score except those that fit iteratively (linear_probe, nleep, pactran_*) and
those that compare pairs of samples (knn, parc, gdv, the Euclidean silhouette).
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neuralrank import registry
from neuralrank.scorers import Scorer

SIZES = ((2_000, 512, 10), (10_000, 768, 100), (20_000, 2_048, 100))
THREADS = (1, 2)
N_SOURCE_CLASSES = 100
RESULTS = Path(__file__).parent / "results" / "score_timings.csv"
WORKER = Path(__file__).with_name("scores_worker.py")
ITERATIVE = ("linear_probe", "nleep", "pactran_dirichlet", "pactran_gamma", "pactran_gauss")
PAIRWISE = ("gdv", "knn", "parc")
EUCLIDEAN = {"metric": "euclidean"}
REFERENCES = {
    "alpha_req": "own.alpha_req_slope",
    "calinski_harabasz": "calinski_harabasz@sklearn",
    "davies_bouldin": "davies_bouldin_neg@sklearn",
    "emms": "emms_onehot@emms",
    "etran": "etran_lda@etran",
    "fisher_ratio": "own.fisher_trace_ratio",
    "gbc": "gbc_spherical@airtran(=stable_transfer port)",
    "h_score": "hscore@tllib",
    "h_score_shrunk": "hscore_regularized@tllib",
    "lda_probe": "own.lda_lw_cv5_acc@sklearn",
    "leep": "leep@tllib",
    "linear_cka": "own.linear_cka_labels",
    "linear_probe": "own.logreg_cv5_acc@sklearn",
    "log_me": "logme_fixed_point@thuml/LogME",
    "nce": "nce@tllib",
    "ncti": "ncti_seli_nuc_all@ncti",
    "nleep": "nleep_neg@pactran(seed0)",
    "pactran_dirichlet": "pac_dir_1.0@pactran",
    "pactran_gamma": "pac_gamma_1.0@pactran",
    "pactran_gauss": "pac_gauss_l1_s100@pactran(seed0)",
    "rank_me": "rankme@stable-pretraining",
    "ridge_probe": "own.ridge_loo_r2",
    "sfda": "sfda@TencentARC",
    "transrate": "transrate@tllib",
}
"""Rows of the reference timings: public code, or plain NumPy (`own.`) where there is none."""
PAIR_REFERENCES = {
    "gdv": ("own.gdv_neg",),
    "knn": ("knn3_loo@transformer-ranker", "knn1_cv@parc"),
    "lfc": ("lfc_cos@airtran",),
    "parc": ("parc_full@parc",),
    "silhouette": ("msc_silhouette_l2@airtran/sklearn",),
}
BESIDE = (
    ("log_me", {}, "transformer-ranker: LogME"),
    ("h_score_shrunk", {}, "transformer-ranker: HScore"),
    ("knn", {"neighbours": 3, **EUCLIDEAN, "max_queries": 10**6}, "transformer-ranker: 3-NN"),
    ("silhouette", {}, "scikit-learn: silhouette, cosine"),
    ("silhouette", {**EUCLIDEAN, "max_samples": 10**6}, "scikit-learn: silhouette, Euclidean"),
    ("davies_bouldin", {}, "scikit-learn: Davies-Bouldin"),
    ("calinski_harabasz", {}, "scikit-learn: Calinski-Harabasz"),
    ("lda_probe", {}, "scikit-learn: LDA, 5 folds"),
    ("knn", {"max_queries": 10**6}, "scikit-learn: 5-NN, 5 folds"),
)
"""Where the public code looks at all samples, so do we."""
BARS = {(10_000, 768, 100): (1.0, None), (20_000, 2_048, 100): (6.0, 2_560)}
"""Wall seconds and MiB of the set with two threads."""
MOST_OF_DECOMPOSITION = 1.3
TIMES_FASTER, SMALL_MIB, LARGE_MIB = 5.0, 1_024, 6_000
KEY = ("part", "n_samples", "n_features", "n_classes", "threads", "environment", "score", "options", "what")
COLUMNS = (*KEY, "wall_seconds", "cpu_seconds", "peak_above_mib", "peak_mib", "repeats", "wall_ratio", "cpu_ratio",
           "wall_ratios", "cpu_ratios", "value", "kernel", "free_cores", "status")  # fmt: skip

Size = tuple[int, int, int]
Row = dict[str, str]


def write_inputs(size: Size, folder: Path) -> None:
    """Write features, labels and head probabilities: the generator of the reference timings."""
    n_samples, n_features, n_classes = size
    random = np.random.default_rng(0)
    labels = np.arange(n_samples) % n_classes
    features = (random.normal(size=(n_classes, n_features)) * 0.2)[labels] + random.normal(size=(n_samples, n_features))
    np.save(folder / "features.npy", np.maximum(features, 0))
    np.save(folder / "labels.npy", labels.astype(np.int64))
    np.save(folder / "head.npy", random.dirichlet(np.ones(N_SOURCE_CLASSES) * 0.1, size=n_samples))


def array_scores() -> list[str]:
    """List the scores that are computed from arrays."""
    return [name for name in registry.names("scorers") if isinstance(registry.get("scorers", name), Scorer)]


def closed_form() -> list[str]:
    """List the scores of the set."""
    return [name for name in array_scores() if name not in (*ITERATIVE, *PAIRWISE)]


def tasks(part: str, size: Size, reference: Path) -> list[dict]:
    """List what to measure of one part, without threads and environment."""
    if part == "base":
        return [{}]
    if part == "set":
        return [{"names": closed_form()}]
    if part == "pairs":
        return [{"name": "neuralrank"}]
    if part == "beside":
        public = [(name, options, public) for name, options, public in BESIDE if can_run(public, reference)]
        return [{"name": n, "options": o, "public": p, "reference": str(reference)} for n, o, p in public]
    everything = [("gdv", {"max_samples": size[0]}), ("silhouette", {**EUCLIDEAN, "max_samples": size[0]})]
    everything.append(("knn", {"max_queries": size[0]}))
    chosen = [(name, {}) for name in array_scores()] + [("silhouette", EUCLIDEAN)]
    return [{"name": name, "options": options} for name, options in chosen + everything]


def chosen(found: list[dict], part: str, names: Sequence[str] | None) -> list[dict]:
    """Return the tasks of the scores asked for; those of the other parts all."""
    return [task for task in found if not names or part not in ("score", "beside") or task["name"] in names]


def can_run(public: str, reference: Path) -> bool:
    """Return whether a public implementation is there."""
    return not public.startswith("transformer-ranker") or (reference / "transformer_ranker").is_dir()


def environments(part: str) -> list[str]:
    """List the environments of a part: as it is, and for the bars without OPENBLAS_* where some are set."""
    set_here = any(name.startswith("OPENBLAS_") for name in os.environ)
    return ["as it is", "without OPENBLAS_*"] if set_here and part in ("base", "set", "pairs") else ["as it is"]


def measure(
    part: str, task: dict, threads: int, environment: str, folder: Path, timeout: float, patience: float
) -> list[Row]:
    """Run one worker and return its rows, or one row that says why there are none."""
    variables = dict(os.environ)
    if environment != "as it is":
        variables = {name: value for name, value in variables.items() if not name.startswith("OPENBLAS_")}
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    variables |= {name: str(threads) for name in limits}
    given = json.dumps({**task, "part": part, "threads": threads, "folder": str(folder)})
    free = wait_for_cores(threads, patience)
    try:
        done = subprocess.run(
            [sys.executable, str(WORKER), given], env=variables, timeout=timeout, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return [{"what": task.get("public", "alone"), "status": f"more than {timeout:.0f} s"}]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [{"what": task.get("public", "alone"), "status": last}]
    return [{**row, "free_cores": free, "status": "ok"} for row in json.loads(done.stdout.splitlines()[-1])]


def wait_for_cores(wanted: int, patience: float) -> str:
    """Wait until so many cores are idle, or patience ends; return how many were, '' where that cannot be read."""
    give_up = time.monotonic() + patience
    while Path("/proc/stat").exists():
        before = idle_ticks()
        time.sleep(0.5)
        free = min((idle_ticks() - before) / os.sysconf("SC_CLK_TCK") / 0.5, os.cpu_count() or 1)
        if free > wanted - 0.2 or time.monotonic() > give_up:
            return f"{free:.1f}"
    return ""


def idle_ticks() -> int:
    """Return the idle time of all cores since the machine started."""
    return int(Path("/proc/stat").read_text().split()[4])


def measure_size(size: Size, parts: Sequence[str], options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for everything that is measured at one size."""
    with tempfile.TemporaryDirectory(dir=options.out) as name:
        folder = Path(name)
        write_inputs(size, folder)
        wanted = [part for part in ("base", "set", "pairs", "beside", "score") if part in parts or part == "base"]
        for part in wanted:
            for task in chosen(tasks(part, size, options.reference), part, options.scores):
                too_slow = False
                for threads in sorted(THREADS, reverse=part != "base"):
                    for environment in environments(part):
                        if too_slow:  # with more threads already
                            continue
                        found = measure(part, task, threads, environment, folder, options.timeout, options.patience)
                        too_slow = found[0]["status"].startswith("more than")
                        yield from (described(row, part, size, threads, environment, task) for row in found)


def described(row: Row, part: str, size: Size, threads: int, environment: str, task: dict) -> Row:
    """Return the row with all that identifies it."""
    options = " ".join(f"{key}={value}" for key, value in task.get("options", {}).items())
    identity = {
        "part": part, "n_samples": size[0], "n_features": size[1], "n_classes": size[2], "threads": threads,
        "environment": environment, "score": task.get("name", ""), "options": options,
    }  # fmt: skip
    lists = {key: " ".join(map(str, row[key])) for key in ("wall_ratios", "cpu_ratios") if key in row}
    return {key: str(value) for key, value in {**row, **lists, **identity}.items()}


def known(path: Path) -> dict[tuple[str, ...], Row]:
    """Return the rows measured before, by what identifies them."""
    if not path.exists():
        return {}
    with path.open() as file:
        return {tuple(row[key] for key in KEY): row for row in csv.DictReader(file)}


def write(rows: dict[tuple[str, ...], Row], path: Path) -> None:
    """Write the table."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows.values())


class Table:
    """The rows, found by what identifies them."""

    def __init__(self, rows: dict[tuple[str, ...], Row]) -> None:
        self.rows = rows
        self.sizes = [size for size in SIZES if any(key[1:4] == tuple(map(str, size)) for key in rows)]

    def find(
        self, part: str, size: Size, what: str, *, threads: int, score: str = "", options: str = "",
        environment: str = "as it is",
    ) -> Row:  # fmt: skip
        """Return one row, an empty one where it was not measured."""
        key = (part, *map(str, size), str(threads), environment, score, options, what)
        return {column: self.rows.get(key, {}).get(column) or "" for column in COLUMNS}

    def environments(self, part: str) -> list[str]:
        """List the environments in which a part was measured."""
        found = {key[5] for key in self.rows if key[0] == part}
        return sorted(found)


def seconds(row: Row, column: str) -> str:
    """Return seconds with three digits, or why there are none."""
    return f"{float(row[column]):.3g}" if row[column] else ("timeout" if row["status"].startswith("more") else "–")


def title(size: Size) -> str:
    """Return a size for a heading."""
    return f"({size[0]:,}, {size[1]:,}, {size[2]})"


def bars(table: Table) -> Iterator[str]:
    """Yield the tables of the set of closed-form scores and of the ratio of `neuralrank` to its decomposition."""
    yield f"**The {len(closed_form())} closed-form scores by one call** ({', '.join(closed_form())}; not those that fit"
    yield "iteratively or compare pairs), wall · CPU seconds, peak of the process with its inputs:\n"
    yield "| size | environment, kernel | 1 thread | 2 threads | peak MiB | bar |"
    yield "|:--|:--|--:|--:|--:|:--|"
    for size in table.sizes:
        for where in table.environments("set"):
            one, two = (table.find("set", size, "set", threads=each, environment=where) for each in THREADS)
            cells = [f"{seconds(row, 'wall_seconds')} · {seconds(row, 'cpu_seconds')}" for row in (one, two)]
            kernel = two["kernel"].split(" ")[-1]
            cells += [two["peak_mib"], verdict(size, two)]
            yield f"| {title(size)} | {where}, {kernel} | {' | '.join(cells)} |"
    yield "\n**neuralrank beside the one decomposition it needs**, (decomposition + score) / decomposition, median of"
    yield "pairs in one process, wall · CPU (bar: 1.3); seconds are wall, with 1 thread / 2:\n"
    yield "| size | environment | preparation | decomposition | ratio, 1 thread | ratio, 2 threads |"
    yield "|:--|:--|--:|--:|--:|--:|"
    for size in table.sizes:
        for where in table.environments("pairs"):
            cells = [
                " / ".join(
                    seconds(table.find("base", size, what, threads=each, environment=where), "wall_seconds")
                    for each in THREADS
                )
                for what in ("preparation", "decomposition")
            ]
            for each in THREADS:
                row = table.find("pairs", size, "pairs", threads=each, score="neuralrank", environment=where)
                cells.append(f"{row['wall_ratio']} · {row['cpu_ratio']}")
            yield f"| {title(size)} | {where} | {' | '.join(cells)} |"


def verdict(size: Size, row: Row) -> str:
    """Return the bar of a size and whether it is met."""
    if size not in BARS or not row["wall_seconds"]:
        return ""
    most_seconds, most_mib = BARS[size]
    met = float(row["wall_seconds"]) <= most_seconds and (most_mib is None or float(row["peak_mib"]) <= most_mib)
    limit = f"{most_seconds:g} s" + (f", {most_mib:,} MiB" if most_mib else "")
    return f"{limit}: {'met' if met else 'NOT met'}"


def costs(table: Table) -> Iterator[str]:
    """Yield the table of every score."""
    yield "\n**Every score**: CPU seconds with 1 thread, on a shared preparation that has its decomposition / alone,"
    yield "from the arrays · wall seconds with 2 threads, the same two · MiB above the inputs, alone:\n"
    yield "| score | " + " | ".join(title(size) for size in table.sizes) + " |"
    yield "|:--|" + "--:|" * len(table.sizes)
    for name, options in [(name, "") for name in array_scores()] + [("silhouette", "metric=euclidean")]:
        cells = []
        for size in table.sizes:
            found = {
                (what, threads): table.find("score", size, what, threads=threads, score=name, options=options)
                for what in ("on shared preparation", "alone")
                for threads in THREADS
            }
            cpu = " / ".join(seconds(found[w, 1], "cpu_seconds") for w in ("on shared preparation", "alone"))
            wall = " / ".join(seconds(found[w, 2], "wall_seconds") for w in ("on shared preparation", "alone"))
            cells.append(f"{cpu} · {wall} · {found['alone', 1]['peak_above_mib'] or '–'}")
        yield f"| {name}{' (Euclidean)' if options else ''} | {' | '.join(cells)} |"


def beside(table: Table) -> Iterator[str]:
    """Yield the table of public implementations in the same process."""
    yield "\n**Beside public code in the same process, on the same arrays**: CPU seconds with 1 thread, ours / theirs ="
    yield "times faster (wall, 2 threads, times faster):\n"
    yield "| score | public code | " + " | ".join(title(size) for size in table.sizes) + " |"
    yield "|:--|:--|" + "--:|" * len(table.sizes)
    for name, given, public in BESIDE:
        options = " ".join(f"{key}={value}" for key, value in given.items())
        cells = []
        for size in table.sizes:
            one, two = (
                [table.find("beside", size, what, threads=each, score=name, options=options)
                 for what in ("neuralrank", public)]
                for each in THREADS
            )  # fmt: skip
            pair = " / ".join(seconds(row, "cpu_seconds") for row in one)
            cells.append(f"{pair} = {times(one, 'cpu_seconds')} ({times(two, 'wall_seconds')})")
        yield f"| {name} | {public} | {' | '.join(cells)} |"


def times(pair: Sequence[Row], column: str) -> str:
    """Return how many times faster the first is than the second."""
    ours, theirs = (row[column] for row in pair)
    return f"{float(theirs) / float(ours):.1f}×" if ours and theirs else "–"


def elsewhere(table: Table, reference: dict[tuple[str, Size], Row]) -> Iterator[str]:
    """Yield the tables beside reference timings that were measured on another occasion."""
    yield "\n**Pairwise scores beside their reference** (its timings were measured elsewhere: trust no more than the"
    yield "order of magnitude), CPU seconds with 1 thread, ours alone; MiB above the inputs. Bar: 5 times faster, or at"
    yield "most 1 GiB where the reference needs 6:\n"
    yield "| score | options | size | reference | ours | theirs | times faster | MiB ours / theirs | bar |"
    yield "|:--|:--|:--|:--|--:|--:|--:|--:|:--|"
    for name, names in PAIR_REFERENCES.items():
        for size in table.sizes:
            variants = {"gdv": ("", "max_samples"), "knn": ("", "max_queries")}.get(name, ("",))
            if name == "silhouette":
                variants = ("metric=euclidean", "metric=euclidean max_samples")
            for variant in variants:
                options = f"{variant}={size[0]}" if variant.endswith(("samples", "queries")) else variant
                ours = table.find("score", size, "alone", threads=1, score=name, options=options)
                for other in names:
                    yield pair_line(name, variant, size, ours, other, reference.get((other, size), {}))
    yield "\n**All other scores beside their reference** (measured elsewhere; CPU seconds with 1 thread, ours alone /"
    yield "theirs = times faster):\n"
    yield "| score | reference | " + " | ".join(title(size) for size in table.sizes) + " |"
    yield "|:--|:--|" + "--:|" * len(table.sizes)
    for name, other in REFERENCES.items():
        cells = []
        for size in table.sizes:
            pair = [table.find("score", size, "alone", threads=1, score=name), cpu_of(reference.get((other, size), {}))]
            both = " / ".join(seconds(row, "cpu_seconds") for row in pair)
            cells.append(f"{both} = {times(pair, 'cpu_seconds')}")
        yield f"| {name} | {other} | {' | '.join(cells)} |"


def pair_line(name: str, variant: str, size: Size, ours: Row, other: str, theirs: Row) -> str:
    """Return the line of one pairwise score and one reference."""
    pair = [ours, cpu_of(theirs)]
    ratio = times(pair, "cpu_seconds")
    mib = [ours["peak_above_mib"], theirs.get("extra_peak_mib(above inputs)", "")]
    fast = ratio != "–" and float(ratio[:-1]) >= TIMES_FASTER
    small = all(mib) and float(mib[0]) <= SMALL_MIB and float(mib[1]) >= LARGE_MIB
    met = "–" if ratio == "–" and not small else ("met" if fast or small else "NOT met")
    shown = {"": "as they are", "metric=euclidean": "Euclidean"}.get(variant, "all samples")
    cells = [*(seconds(row, "cpu_seconds") for row in pair), ratio, " / ".join(each or "–" for each in mib), met]
    return f"| {name} | {shown} | {title(size)} | {other} | {' | '.join(cells)} |"


def cpu_of(theirs: Row) -> Row:
    """Return a row of the reference timings with our column names."""
    status = theirs.get("status", "")
    return {
        "cpu_seconds": theirs.get("cpu_seconds_1thread", "") if status == "ok" else "",
        "status": "more" if status.startswith("timeout") else status,
    }


def read_reference(path: Path) -> dict[tuple[str, Size], Row]:
    """Return the reference timings, none where the file is not there."""
    if not path.exists():
        print(f"{path} is not there: the tables beside it stay empty.", file=sys.stderr)
        return {}
    with path.open() as file:
        return {(row["metric"], (int(row["n"]), int(row["d"]), int(row["k"]))): row for row in csv.DictReader(file)}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size only; results go to --out")
    parser.add_argument("--parts", nargs="*", default=["base", "set", "pairs", "beside", "score"])
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of samples; all three where it is left out")
    parser.add_argument("--scores", nargs="+", help="which ones, of the parts score and beside; all if left out")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument(
        "--reference", type=Path, default=Path("bench-out/reference"), help="transformer-ranker's folder"
    )
    parser.add_argument("--timings", type=Path, default=Path("../shared/research/reference_timings.csv"))
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds of one measurement")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait for idle cores before each")
    return parser.parse_args()


def main() -> None:
    """Measure, write the table, and print it."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    if "beside" in options.parts and not can_run("transformer-ranker", options.reference):
        print(
            f"transformer-ranker is left out: it is not in {options.reference}. Run: pip install --no-deps --target "
            f"{options.reference} transformer-ranker torchmetrics lightning-utilities",
            file=sys.stderr,
        )
    path = options.out / "score_timings-quick.csv" if options.quick else RESULTS
    rows = known(path)
    for size in SIZES[:1] if options.quick else SIZES:
        if not options.parts or (options.sizes and size[0] not in options.sizes):
            continue
        for row in measure_size(size, options.parts, options):
            rows[tuple(row.get(key, "") for key in KEY)] = row
            write(rows, path)
            shown = {
                key: row[key]
                for key in ("wall_seconds", "cpu_seconds", "wall_ratio", "peak_mib", "free_cores")
                if key in row
            }
            print(
                size, row["threads"], row["score"], row["options"], row["what"], shown, row["status"], file=sys.stderr
            )
    table = Table(rows)
    print(*bars(table), *costs(table), *beside(table), *elsewhere(table, read_reference(options.timings)), sep="\n")


if __name__ == "__main__":
    main()
