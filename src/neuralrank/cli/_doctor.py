"""`neuralrank doctor`: what is installed, what the machine has, and what the walls around models hold here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from neuralrank import __version__, settings
from neuralrank.cli._output import print_out
from neuralrank.errors import NeuralrankError, UsageError

SCHEMA = "neuralrank/doctor/1"
_GPU_SECONDS = 60.0
_GB = 1e9
_COLOURS = {"ok": typer.colors.GREEN, "missing": typer.colors.YELLOW, "wrong": typer.colors.RED}
_NOT_FOR_USERS = ("dev", "all")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    group: str
    name: str
    state: Literal["ok", "missing", "wrong"]
    """'missing': neuralrank works without it; 'wrong': something that is needed does not work."""
    detail: str


def doctor(
    format_: Annotated[str, typer.Option("--format", help="Output: table, json.")] = "table",
) -> int:
    """Check the installation, the machine, and what keeps a stranger's model from doing harm here."""
    if format_ not in ("table", "json"):
        raise UsageError(f"--format needs one of table, json. Got {format_!r}. Leave it out for a table.")
    checks = [*_packages(), *_extras(), *_machine(), *_folders(), *_gpu(), *_walls()]
    n_wrong = sum(check.state == "wrong" for check in checks)
    if format_ == "json":
        document = {"schema": SCHEMA, "ok": n_wrong == 0, "checks": [asdict(check) for check in checks]}
        print_out(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print_out(_text(checks, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return 1 if n_wrong else 0


def _text(checks: list[Check], *, color: bool) -> str:
    width = max(len(check.name) for check in checks)
    lines: list[str] = []
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            lines += ["", group]
        state = check.state.ljust(7)
        shown = typer.style(state, fg=_COLOURS[check.state]) if color else state
        lines.append(f"  {shown}  {check.name.ljust(width)}  {check.detail}")
    n_wrong = sum(check.state == "wrong" for check in checks)
    n_missing = sum(check.state == "missing" for check in checks)
    verdict = f"{n_wrong} wrong: mend these first." if n_wrong else "Everything needed works."
    return "\n".join([*lines[1:], "", f"{verdict} {n_missing} missing that neuralrank can do without."])


# --- what is installed -------------------------------------------------------------------------------------------


def _packages() -> Iterator[Check]:
    group = "Installed"
    implementation = f"{platform.python_implementation()} at {sys.executable}"
    yield Check(group=group, name="python", state="ok", detail=f"{platform.python_version()}, {implementation}")
    yield Check(group=group, name="neuralrank", state="ok", detail=__version__)
    for name, version in _needed(extra="") if _version("neuralrank") else ():
        found = f"{version}" if version else "It is needed. Run: pip install --force-reinstall neuralrank"
        yield Check(group=group, name=name, state="ok" if version else "wrong", detail=found)


def _extras() -> Iterator[Check]:
    if _version("neuralrank") is None:
        detail = "neuralrank runs from its sources, without a list of them. Run: pip install -e ."
        yield Check(group="Extras", name="all", state="missing", detail=detail)
        return
    declared = importlib.metadata.metadata("neuralrank").get_all("Provides-Extra") or []
    for extra in sorted(set(declared).difference(_NOT_FOR_USERS)):
        versions = dict(_needed(extra=extra))
        lacking = [name for name, version in versions.items() if version is None]
        have = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        detail = f"Without {', '.join(lacking)}. Run: pip install 'neuralrank[{extra}]'" if lacking else have
        yield Check(group="Extras", name=extra, state="missing" if lacking else "ok", detail=detail)


def _needed(*, extra: str) -> Iterator[tuple[str, str | None]]:
    """Yield each package that neuralrank, or one of its extras, needs here, with its version if it is installed."""
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires("neuralrank") or []:
        needed = Requirement(text)
        always = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if needed.name == "neuralrank" or always == bool(extra):
            continue
        if not extra or (needed.marker is not None and needed.marker.evaluate({"extra": extra})):
            yield needed.name, _version(needed.name)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


# --- the machine -------------------------------------------------------------------------------------------------


def _machine() -> Iterator[Check]:
    from neuralrank.machine import available_cores, total_memory_bytes

    group = "Machine"
    yield Check(group=group, name="system", state="ok", detail=f"{platform.system()} {platform.release()}, {os.name}")
    yield Check(group=group, name="cores", state="ok", detail=f"{available_cores()} for this process")
    if os.name == "posix":
        yield Check(group=group, name="memory", state="ok", detail=f"{total_memory_bytes() / _GB:.1f} GB")


def _folders() -> Iterator[Check]:
    folders: Mapping[str, tuple[Path, str]] = {
        "cache": (settings.cache_dir(), "NEURALRANK_CACHE_DIR"),
        "catalogue": (settings.catalogue_dir(), "NEURALRANK_CATALOGUE"),
        "scratch": (Path(tempfile.gettempdir()), "TMPDIR"),
    }
    for name, (folder, variable) in folders.items():
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                room = f"{shutil.disk_usage(existing).free / _GB:.1f} GB free"
            yield Check(group="Folders", name=name, state="ok", detail=f"{folder}: {room}")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            detail = f"{folder} cannot be written: {reason}. Set {variable} to another folder."
            yield Check(group="Folders", name=name, state="wrong", detail=detail)


def _gpu() -> Iterator[Check]:
    from neuralrank.engines._places import gpu_devices

    group, devices = "GPU", gpu_devices()
    found = ", ".join(devices) if devices else "No device of a GPU was found; models run on the processor."
    yield Check(group=group, name="devices", state="ok" if devices else "missing", detail=found)
    try:
        import onnxruntime
    except ImportError as error:
        detail = f"It cannot be imported: {error}. Run: pip install --force-reinstall onnxruntime"
        yield Check(group=group, name="onnxruntime", state="wrong", detail=detail)
        return
    providers = onnxruntime.get_available_providers()
    usable = "CUDAExecutionProvider" in providers
    yield Check(
        group=group,
        name="onnxruntime",
        state="ok" if usable else "missing",
        detail=", ".join(providers) + ("" if usable else ". For NVIDIA's, run: pip install onnxruntime-gpu"),
    )
    if version := _version("torch"):
        state: Literal["ok", "missing"] = "missing" if version.endswith("+cpu") else "ok"
        detail = f"{version}, built without GPUs" if state == "missing" else version
        yield Check(group=group, name="torch", state=state, detail=detail)
        if devices and state == "ok":
            yield _gpu_in_worker()


def _gpu_in_worker() -> Check:
    from neuralrank.engines.worker_process import worker_process

    name, job = "torch in a worker", "neuralrank.formats._torch_module:name_gpu"
    try:
        with tempfile.TemporaryDirectory(prefix="neuralrank-doctor-") as folder:
            scratch = Path(folder).resolve()
            outcome = worker_process(job, {}, timeout_seconds=_GPU_SECONDS, scratch=scratch, readable=())
    except (NeuralrankError, OSError) as error:
        return Check(group="GPU", name=name, state="wrong", detail=str(error))
    found = outcome.result or {"given": False, "told": outcome.error}
    if found["given"]:
        return Check(group="GPU", name=name, state="ok", detail=str(found["told"]))
    detail = f"A model is given none behind its walls and runs on the processor. Got: {found['told']}"
    return Check(group="GPU", name=name, state="missing", detail=detail)


# --- walls -------------------------------------------------------------------------------------------------------


def _walls() -> Iterator[Check]:
    group, tried = "Walls around a model", "A model that tries to"
    if os.name != "posix":
        detail = f"Models cannot be run on {sys.platform}. Run neuralrank under WSL."
        yield Check(group=group, name="worker", state="wrong", detail=detail)
        return
    from neuralrank.engines._wall_probe import probe

    try:
        result = probe()
    except (NeuralrankError, OSError) as error:
        yield Check(group=group, name="worker", state="wrong", detail=str(error))
        return
    for wall in result.walls:
        state: Literal["ok", "missing"] = "ok" if wall.state == "on" else "missing"
        shown = wall.why if wall.state == "on" else f"{wall.state.capitalize()}. {wall.why}"
        yield Check(group=group, name=wall.name, state=state, detail=shown)
    if result.error is not None:
        yield Check(group=group, name="worker", state="wrong", detail=result.error)
    states: Mapping[str, Literal["ok", "missing", "wrong"]] = {
        "refused": "ok",
        "not prevented": "missing",
        "wrong": "wrong",
    }
    for attempt in result.attempts:
        said = {
            "refused": f"is refused: {attempt.answer}",
            "not prevented": "is not prevented here",
            "wrong": "goes through although a wall stands: please report this",
        }[attempt.state]
        yield Check(group=tried, name=attempt.name, state=states[attempt.state], detail=said)
