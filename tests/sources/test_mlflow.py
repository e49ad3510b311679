"""The MLflow source on a real registry: its SQLite database read directly, and a real `mlflow server` over HTTP.

Faults are injected by a small proxy in front of the real server.
"""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from neuralrank import registry
from neuralrank.entries import ModelEntry, Unchanged
from neuralrank.errors import MissingExtraError, ModelError, SourceError, UsageError
from neuralrank.sources import _mlflow_artifacts, _mlflow_client, _mlflow_fetch
from neuralrank.types import Failure

for package in ("mlflow", "sqlalchemy", "flask", "gunicorn"):
    if __import__("importlib.util").util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed", allow_module_level=True)

SOURCE = registry.get("sources", "mlflow")
LISTING = "/api/2.0/mlflow-artifacts/artifacts"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
USER = """
import numpy as np, onnx, mlflow, pandas, time, urllib.request
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

def net(n):
    weights = [numpy_helper.from_array(np.full((n, 3), 0.5, np.float32), "w")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", n])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

server = mlflow.get_tracking_uri()
for _ in range(600):
    try:
        urllib.request.urlopen(f"{server}/health", timeout=5).close()
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit("the server did not start")

signature = mlflow.models.infer_signature(np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32))
options = {"name": "model", "pip_requirements": []}
for accuracy in (0.75, 0.8, 0.875):
    with mlflow.start_run():
        mlflow.log_metric("val_accuracy", accuracy)
        mlflow.onnx.log_model(net(4), registered_model_name="digits", signature=signature, **options)
mlflow.onnx.log_model(net(4000), registered_model_name="large digits", **options)
model = LogisticRegression().fit(np.eye(3), [0, 1, 1])
mlflow.sklearn.log_model(model, registered_model_name="irises", serialization_format="cloudpickle", **options)
client = mlflow.MlflowClient()
client.set_registered_model_alias("digits", "champion", "1")
client.set_registered_model_tag("digits", "team", "vision")
client.update_registered_model("digits", "Reads *digits*.")
client.set_model_version_tag("digits", "3", "license", "mit")
client.update_model_version("digits", "3", "Trained on post codes.")
client.register_prompt("a-prompt", template="Say {{x}}.")
"""


@dataclass(frozen=True)
class World:
    """A registry: its database, its server, and a proxy in front of that."""

    database: Path
    server: str
    proxy: "Proxy"
    folder: Path

    @property
    def sqlite(self) -> str:
        return f"sqlite:///{self.database}"


class Proxy(ThreadingHTTPServer):
    """Hands requests on to the real server, except where `fault` answers or changes them."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = port
        self.reset()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reset(self) -> None:
        self.requests: list[str] = []
        self.logins: list[str | None] = []
        self.fault: Callable[[_Handler], bool] = lambda _: False


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.logins.append(self.headers.get("Authorization"))
        if self.server.fault(self):
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        self.answer(answer.status, answer.read(), answer.getheader("Content-Type") or "application/json")
        upstream.close()

    do_POST = do_GET  # noqa: N815 - named by http.server

    def answer(self, status: int, body: bytes, kind: str = "application/json", *, length: int | None = None) -> bool:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
        return True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with the models that a user logged, and models in folders of this machine that the database names."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **QUIET, "HOME": str(folder)}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/registry.db"]
    command += ["--artifacts-destination", str(folder / "served"), "--port", str(port)]
    command += ["--workers", "1", "--gunicorn-opts", "--threads 4 --timeout 60"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        as_user(USER, server, folder)
        proxy = Proxy(port)
        made = World(database=folder / "registry.db", server=server, proxy=proxy, folder=folder)
        register(made, "plain", onnx_folder(folder / "plain"))
        yield made
        proxy.shutdown()
        proxy.server_close()
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(20)


@pytest.fixture(autouse=True)
def quick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries without waits, no fault of an earlier test, and no login from outside."""
    world.proxy.reset()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setattr(_mlflow_fetch, "time", SimpleNamespace(sleep=lambda _: None))
    for name in ("TRACKING_TOKEN", "TRACKING_USERNAME", "TRACKING_PASSWORD", "HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


def as_user(script: str, server: str, folder: Path) -> None:
    """Run what somebody does who logs models to a server."""
    environment = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": server, "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def asked(address: str, question: Callable[[Any], Any]) -> Any:
    """Use MLflow's client as a user does, without its warnings."""
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return question(MlflowClient(tracking_uri=address, registry_uri=address))


def register(world: World, name: str, source: str | Path, **options: Any) -> ModelEntry | Failure:
    """Register what lies in a folder, or at an address that the server would not take, and list it."""

    def make(client: Any) -> None:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        client.create_model_version(name, str(source), **options)

    asked(world.sqlite, make)
    return listed(world.sqlite, name)


def listed(address: str, name: str, **options: Any) -> Any:
    """Return the latest version of a name, as it is listed."""
    return next(iter(SOURCE(f"{address}?filter=name = '{name}'", **options).list_entries({})))


def onnx_folder(folder: Path, n: int = 4, file: str = "model.onnx") -> Path:
    folder.mkdir(parents=True)
    weights = [numpy_helper.from_array(np.full((n, 3), 0.5, np.float32), "w")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", n])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / file)
    return folder


def mlmodel(folder: Path, flavors: str, **more: Any) -> Path:
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in more.items())
    (folder / "MLmodel").write_text(f"flavors:\n  python_function: {{}}\n{flavors}\n{lines}")
    return folder


def by_id(entries: Any) -> dict[str, Any]:
    return {entry.model_id: entry for entry in entries if isinstance(entry, ModelEntry)}


def fails(fault: str, *, status: int = 503, times: int = 10**9) -> Callable[[_Handler], bool]:
    """Answer requests whose path has `fault` in it with a status, so many times."""
    left = [times]

    def answer(handler: _Handler) -> bool:
        if fault not in handler.path or left[0] == 0:
            return False
        left[0] -= 1
        return handler.answer(status, b"no")

    return answer


# --- listing -----------------------------------------------------------------------------------------------------


def test_the_latest_version_and_those_with_an_alias_are_listed(world):
    found = by_id(SOURCE(world.server).list_entries({}))
    assert {"mlflow:digits@1", "mlflow:digits@3", "mlflow:large digits@1", "mlflow:irises@1"} <= set(found)
    assert "mlflow:digits@2" not in found
    assert not any("prompt" in model_id for model_id in found)


def test_an_entry_has_what_the_registry_says(world):
    entry = listed(world.server, "digits")
    assert (entry.source, entry.name, entry.location) == ("mlflow", "digits", "digits/3")
    assert (entry.format, entry.refusal, entry.library, entry.modality) == ("onnx", None, "onnx", "tabular")
    assert (entry.accuracy, entry.license) == (87.5, "mit")
    assert entry.tags == ("license:mit", "team:vision")
    assert entry.description == "Trained on post codes. Reads digits."
    assert entry.size_bytes in {path.stat().st_size for path in world.folder.glob("served/**/model.onnx")}
    assert entry.memory_bytes == round(entry.size_bytes * 1.25)
    assert entry.created <= entry.updated <= time.strftime("%Y-%m-%dT%H:%M:%S.999+00:00", time.gmtime())


def test_the_alias_of_a_version_is_a_tag_of_it(world):
    assert by_id(SOURCE(world.server).list_entries({}))["mlflow:digits@1"].tags == ("alias:champion", "team:vision")


def test_a_pickle_is_listed_and_refused(world):
    entry = listed(world.server, "irises")
    sentence = (
        "irises@1 needs to be safetensors, torch.export (.pt2) or ONNX. Got model.pkl, a pickle, and loading a pickle "
        "runs code from the file. Choose another model, or convert it where you trust it."
    )
    assert (entry.format, entry.library, entry.refusal) == ("pkl", "sklearn", sentence)
    with pytest.raises(ModelError) as caught:
        SOURCE(world.server).fetch(entry)
    assert str(caught.value) == sentence


def test_a_pickle_is_not_fetched_although_its_entry_claims_to_be_loadable(world, own_cache):
    with pytest.raises(ModelError, match="a pickle, and loading a pickle runs code"):
        SOURCE(world.server).fetch(replace(listed(world.server, "irises"), refusal=None))
    assert not list(own_cache.rglob("*.pkl"))


def test_what_is_known_is_not_read_again(world):
    source = SOURCE(world.proxy.address)
    first = [entry for entry in source.list_entries({}) if isinstance(entry, ModelEntry)]
    world.proxy.reset()
    again = list(source.list_entries({entry.location: entry.stamp for entry in first}))
    assert [entry.location for entry in again if isinstance(entry, Unchanged)] == [entry.location for entry in first]
    assert [path.partition("?")[0].rsplit("/", 2)[-2:] for path in world.proxy.requests[:2]] == [
        ["registered-models", "search"],
        ["model-versions", "search"],
    ]
    assert not [path for path in world.proxy.requests if "runs/get" in path]


def test_a_new_alias_or_description_changes_the_stamp(world):
    before = register(world, "restamped", onnx_folder(world.folder / "restamped"))
    asked(world.sqlite, lambda client: client.set_registered_model_alias("restamped", "best", "1"))
    aliased = listed(world.sqlite, "restamped")
    asked(world.sqlite, lambda client: client.update_registered_model("restamped", "New words."))
    described = listed(world.sqlite, "restamped")
    assert len({before.stamp, aliased.stamp, described.stamp}) == 3
    assert (aliased.tags, described.description) == (("alias:best",), "New words.")


def test_a_name_registered_again_after_it_was_deleted_is_another_model(world, tmp_path):
    before = register(world, "reborn", onnx_folder(tmp_path / "a"))
    source = SOURCE(world.sqlite)
    first = source.fetch(before)
    asked(world.sqlite, lambda client: client.delete_registered_model("reborn"))
    after = register(world, "reborn", onnx_folder(tmp_path / "b", n=5))
    assert (before.location, before.stamp != after.stamp) == (after.location, True)
    assert source.fetch(after).content_hash != first.content_hash


def test_pages_are_followed_to_the_end(world, monkeypatch):
    whole = [str(entry) for entry in SOURCE(world.server).list_entries({})]
    monkeypatch.setattr(sys.modules["neuralrank.sources.mlflow"], "PAGE", 1)
    assert [str(entry) for entry in SOURCE(world.server).list_entries({})] == whole


def test_pages_without_end_are_an_error(world):
    def same(handler: _Handler) -> bool:
        return handler.answer(200, b'{"registered_models": [], "next_page_token": "x"}')

    world.proxy.fault = same
    with pytest.raises(SourceError) as caught:
        list(SOURCE(world.proxy.address).list_entries({}))
    assert str(caught.value) == (
        f"mlflow:{world.proxy.address} needs to list its models in pages that end. Got one page again and again. "
        "Update its MLflow server."
    )


def test_a_filter_selects_versions(world):
    found = by_id(SOURCE(f"{world.server}?filter=name LIKE '%igits'").list_entries({}))
    assert set(found) == {"mlflow:digits@1", "mlflow:digits@3", "mlflow:large digits@1"}
    assert set(by_id(SOURCE(f"{world.server}?filter=tag.license = 'mit'").list_entries({}))) == {"mlflow:digits@3"}


@pytest.mark.parametrize("kind", ["server", "sqlite"])
def test_a_filter_that_mlflow_does_not_understand_is_a_usage_error(world, kind):
    address = getattr(world, kind)
    with pytest.raises(UsageError) as caught:
        list(SOURCE(f"{address}?filter=colour = 'red'").list_entries({}))
    message = str(caught.value)
    assert message.startswith(f"mlflow:{address} needs a filter that MLflow understands. Got its answer: Invalid")
    assert message.endswith("Correct it.")


def test_the_spec_names_the_registry_again(world):
    assert SOURCE(f"mlflow:{world.server}/").spec == f"mlflow:{world.server}"
    filtered = SOURCE(f"{world.sqlite}?filter=name = 'a'").spec
    assert filtered == f"mlflow:sqlite:///{world.database.resolve()}?filter=name = 'a'"
    assert SOURCE(filtered).spec == filtered


# --- fetching ----------------------------------------------------------------------------------------------------


def test_a_model_is_fetched_and_can_be_loaded(world, own_cache):
    came: list[int] = []
    source = SOURCE(world.server, on_bytes=came.append)
    entry = listed(world.server, "digits")
    record = source.fetch(entry)
    assert (record.model_id, record.name, record.facts.format) == ("mlflow:digits@3", "digits", "onnx")
    assert (record.facts.licence, record.facts.reported_accuracy) == ("mit", 87.5)
    assert record.path.is_relative_to(own_cache / "mlflow")
    assert sum(came) == record.size_bytes == entry.size_bytes
    loaded = registry.get("formats", "onnx")(record.path, record.facts, n_threads=1)
    values = loaded.encode({"x": np.ones((2, 4), np.float32)}, [loaded.layers[-1]])[loaded.layers[-1]].values
    assert values.tolist() == [[2.0] * 3] * 2


def test_only_what_loading_reads_is_fetched(world, own_cache):
    SOURCE(world.server).fetch(listed(world.server, "digits"))
    files = sorted(path.name for path in (own_cache / "mlflow").rglob("*") if path.is_file())
    assert files == ["entry.json", "model.onnx"]


def test_weights_that_mlflow_keeps_outside_of_the_graph_come_along(world):
    record = SOURCE(world.server).fetch(listed(world.server, "large digits"))
    assert record.size_bytes > 48_000
    assert [path.suffix for path in record.facts.files] == [".onnx", ".data"] or len(record.facts.files) == 2
    assert registry.get("formats", "onnx")(record.path, record.facts, n_threads=1).layers


def test_what_was_fetched_is_not_fetched_again(world):
    source = SOURCE(world.proxy.address)
    entry = listed(world.proxy.address, "digits")
    first = source.fetch(entry)
    world.proxy.reset()
    assert source.fetch(entry) == first
    assert world.proxy.requests == []


def test_a_damaged_model_is_one_sentence(world, tmp_path):
    folder = transformers_folder(tmp_path / "m")
    (folder / "model" / "model.safetensors").write_bytes(b"x" * 100)
    entry = register(world, ".damaged", folder)
    source = SOURCE(world.sqlite)
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            source.fetch(entry)
        assert str(caught.value) == (
            "model.safetensors needs a header of at most 100 MiB. Got 8680820740569200760 bytes. Download it again."
        )


def test_a_disk_that_does_not_take_a_model_is_one_sentence(world, tmp_path):
    (tmp_path / "file").write_text("")
    entry = listed(world.server, "digits")
    with pytest.raises(ModelError) as caught:
        SOURCE(world.server, download_dir=tmp_path / "file").fetch(entry)
    assert str(caught.value).startswith(f"digits@3 needs to be stored in '{tmp_path}/file/")
    assert str(caught.value).endswith("'. Got: not a directory. Make room or mend the permissions.")


def test_what_a_killed_process_left_is_removed_after_a_day(world, own_cache):
    entry, source = listed(world.server, "digits"), SOURCE(world.server)
    folder = source.fetch(entry).path.parents[2]
    old, new = folder / ".partial-a", folder / ".partial-b"
    for path in (old, new):
        path.mkdir()
    os.utime(old, (0, 0))
    source.fetch(next(item for item in source.list_entries({}) if item.model_id == "mlflow:digits@1"))
    assert (old.exists(), new.exists()) == (False, True)
    assert len(list(SOURCE(world.server, offline=True).list_entries({}))) == 2


def test_list_models_gives_records_and_failures(world):
    found = [*SOURCE(f"{world.server}?filter=name = 'digits'").list_models()]
    found += SOURCE(f"{world.server}?filter=name = 'irises'").list_models()
    assert [item.model_id for item in found] == ["mlflow:digits@3", "mlflow:digits@1", "mlflow:irises@1"]
    assert isinstance(found[2], Failure)


def test_two_processes_that_fetch_one_model_do_not_disturb_each_other(world, tmp_path):
    entry = listed(world.server, "digits")
    sources = [SOURCE(world.server, download_dir=tmp_path) for _ in range(2)]
    records: list[Any] = []
    threads = [threading.Thread(target=lambda source=source: records.append(source.fetch(entry))) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert records[0] == records[1]
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_offline_uses_what_was_downloaded_from_this_registry(world):
    entry = listed(world.server, "digits")
    record = SOURCE(world.server).fetch(entry)
    world.proxy.reset()
    offline = SOURCE(world.server, offline=True)
    assert list(offline.list_entries({})) == [entry]
    assert list(offline.list_entries({entry.location: entry.stamp})) == [Unchanged(location="digits/3")]
    assert list(offline.list_models()) == [record]
    assert list(SOURCE(world.sqlite, offline=True).list_entries({})) == []
    with pytest.raises(ModelError) as caught:
        offline.fetch(listed(world.server, "large digits"))
    assert str(caught.value) == "mlflow:large digits@1 needs the network. Got --offline. Run without it."


def test_a_damaged_note_of_a_download_is_passed_over(world, own_cache):
    SOURCE(world.server).fetch(listed(world.server, "digits"))
    note = next(own_cache.rglob("entry.json"))
    for content in ("{", "[]", '{"name": 1}', json.dumps({**json.loads(note.read_text()), "location": "../../x"})):
        note.write_text(content)
        assert list(SOURCE(world.server, offline=True).list_entries({})) == []


# --- flavors, by the folders that MLflow makes of them ------------------------------------------------------------


def transformers_folder(folder: Path) -> Path:
    """Lay out what `mlflow.transformers.log_model` writes."""
    (folder / "model").mkdir(parents=True)
    (folder / "components" / "tokenizer").mkdir(parents=True)
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "vocab_size": 9}
    config |= {"id2label": {"0": "ham", "1": "spam"}, "hidden_size": 8, "num_hidden_layers": 1}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    save_file({"embeddings.weight": np.zeros((9, 8), np.float32)}, folder / "model" / "model.safetensors")
    (folder / "components" / "tokenizer" / "tokenizer.json").write_text("{}")
    (folder / "components" / "tokenizer" / "evil.py").write_text("raise SystemExit")
    flavor = "  transformers: {model_binary: model, task: text-classification, source_model_name: org/base}"
    return mlmodel(folder, flavor)


def test_a_transformers_model_and_its_tokenizer_are_put_into_one_folder(world, tmp_path):
    entry = register(world, "spam filter", transformers_folder(tmp_path / "m"))
    assert (entry.format, entry.task, entry.modality) == ("transformers_folder", "text-classification", "text")
    assert (entry.architecture, entry.label_names) == ("BertForSequenceClassification", ("ham", "spam"))
    assert entry.base_model == ("org/base",)
    record = SOURCE(world.sqlite).fetch(entry)
    assert sorted(path.name for path in record.path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert record.facts.format == "transformers_folder"


def test_a_reference_to_the_hub_says_so(world, tmp_path):
    (tmp_path / "m").mkdir()
    entry = register(world, "borrowed", mlmodel(tmp_path / "m", "  transformers: {source_model_name: org/base}"))
    assert entry.refusal == (
        "borrowed@1 needs its weights in the registry. Got a reference alone. Use hf:org/base instead."
    )


def test_a_flavor_without_known_weights_says_which_ones_are_loaded(world, tmp_path):
    folder = mlmodel(tmp_path, "  sklearn: {pickled_model: model.skops}")
    (folder / "model.skops").write_bytes(b"x")
    entry = register(world, "skops", folder)
    assert (entry.format, entry.library) == ("sklearn", "sklearn")
    assert entry.refusal == (
        "skops@1 needs the flavor onnx, transformers, or pytorch with serialization_format='pt2'. Got 'sklearn'. "
        "Log it again as one of these, for example as ONNX."
    )


def growing(item: str, name: str) -> str:
    """Return a YAML text of tables or lists that each hold the one before ten times."""
    lines = [
        f"n{i}: " + item.format(f"n{i}", ", ".join([name.format(f"n{i - 1}")] * 10 if i else [])) for i in range(40)
    ]
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("a: [" * 5000, id="nested"),
        pytest.param("flavors: [1, 2]", id="list"),
        pytest.param("\x00\xff", id="binary"),
        pytest.param("flavors: {onnx: !!python/object/apply:os.system ['touch hacked']}", id="program"),
        pytest.param("flavors:\n  onnx: {}\nsignature: {inputs: '[[['}\nmodel_size_bytes: -5", id="types"),
        pytest.param("x" * (2**20 + 1), id="long"),
        pytest.param(growing("&{0} [{1}]", "*{0}") + "signature: {inputs: *n39}", id="aliases"),
        pytest.param(growing("&{0} {{k: 1, <<: [{1}]}}", "*{0}"), id="merges"),
        pytest.param("model_size_bytes: " + "9" * 100_000, id="digits"),
    ],
)
def test_an_absurd_mlmodel_leaves_the_files_to_speak(world, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    folder = onnx_folder(tmp_path / "m")
    (folder / "MLmodel").write_text(content)
    entry = register(world, f"absurd {hashlib.md5(content.encode()).hexdigest()}", folder)
    assert (entry.format, entry.refusal, entry.size_bytes) == ("onnx", None, (folder / "model.onnx").stat().st_size)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("metrics", "accuracy"),
    [
        ({"accuracy": 0.5, "val_accuracy": 0.6, "test_accuracy": 0.7}, 70.0),
        ({"accuracy": 93.5}, 93.5),
        ({"accuracy": 1.0}, 100.0),
        ({"accuracy": float("nan"), "loss": 3.0}, None),
        ({"accuracy": -1.0}, None),
        ({"accuracy": 250.0}, None),
    ],
)
def test_the_accuracy_is_a_metric_of_the_run_in_per_cent(world, metrics, accuracy):
    def run(client: Any) -> str:
        made = client.create_run("0")
        for name, value in metrics.items():
            client.log_metric(made.info.run_id, name, value)
        return made.info.run_id

    run_id = asked(world.sqlite, run)
    assert register(world, "measured", world.folder / "plain", run_id=run_id).accuracy == accuracy


def test_a_version_that_is_not_ready_is_a_failure(world):
    register(world, "unready", world.folder / "plain")
    with sqlite3.connect(world.database) as database:
        database.execute("UPDATE model_versions SET status = 'FAILED_REGISTRATION' WHERE name = 'unready'")
    database.close()
    error = "unready@1 needs to be READY. Got FAILED_REGISTRATION. Wait, or register it again."
    assert listed(world.server, "unready") == Failure(model_id="mlflow:unready@1", stage="list", error=error)


# --- the database ------------------------------------------------------------------------------------------------


def test_a_database_is_read_and_never_written(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "a b%25?#.db"
    shutil.copy(world.database, copy)
    before = copy.read_bytes()
    assert "mlflow:plain@1" in by_id(SOURCE(f"sqlite:///{copy}").list_entries({}))
    assert copy.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [copy.name]


def test_files_that_a_server_keeps_are_not_had_from_the_database(world):
    assert listed(world.sqlite, "irises") == Failure(
        model_id="mlflow:irises@1",
        stage="list",
        error="irises@1 needs the server that keeps its files. Got the database alone. Use mlflow:http://HOST:PORT.",
    )


def test_a_database_of_another_version_of_mlflow_is_left_as_it_is(world, tmp_path):
    old = tmp_path / "old.db"
    shutil.copy(world.database, old)
    with sqlite3.connect(old) as database:
        database.execute("DROP TABLE webhooks")
        database.execute("UPDATE alembic_version SET version_num = 'bd07f7e963c5'")
    database.close()
    before = old.read_bytes()
    with pytest.raises(SourceError) as caught:
        list(SOURCE(f"sqlite:///{old}").list_entries({}))
    assert str(caught.value) == (
        f"mlflow:sqlite:///{old} could not be read. Got the tables of another version of MLflow. "
        "Start `mlflow server` of the version that wrote it, and use the server's address."
    )
    assert old.read_bytes() == before


def test_other_databases_and_files_are_told_apart(world, tmp_path):
    other, damaged = tmp_path / "other.db", tmp_path / "damaged.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    damaged.write_bytes(b"no database" * 100)
    before = other.read_bytes()
    with pytest.raises(SourceError) as caught:
        list(SOURCE(f"sqlite:///{other}").list_entries({}))
    assert str(caught.value) == (
        f"mlflow:sqlite:///{other} needs the tables of an MLflow registry. Got a database without them. Check the path."
    )
    assert other.read_bytes() == before
    with pytest.raises(SourceError) as caught:
        list(SOURCE(f"sqlite:///{damaged}").list_entries({}))
    assert str(caught.value) == (
        f"mlflow:sqlite:///{damaged} could not be read. Got a file that is damaged or no SQLite database. "
        "Check the address and retry later."
    )


# --- addresses ---------------------------------------------------------------------------------------------------


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(UsageError) as caught:
        SOURCE(f"sqlite:///{tmp_path}/none.db")
    assert str(caught.value) == (
        f"mlflow:sqlite:///PATH needs the database of a registry. Got '{tmp_path}/none.db', where there is no file. "
        "Check the path."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "got"),
    [
        ("postgresql://me:secret@host/db", "postgresql"),
        ("databricks", "databricks"),
        ("", ""),
        ("http://", "http"),
        ("http://host:port", "http://host:port"),
        ("http://host/?x=1", "http"),
        ("http://ho st", "http"),
    ],
)
def test_an_address_of_another_kind_is_a_usage_error(uri, got):
    with pytest.raises(UsageError) as caught:
        SOURCE(uri)
    assert str(caught.value) == (
        f"The mlflow source needs an address such as http://HOST:PORT or sqlite:////PATH. Got {got!r}. "
        "For another database, start `mlflow server` on it and use the server's address."
    )


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        SOURCE("http://me:secret@host:5000")
    assert str(caught.value) == (
        "The address of an MLflow server needs to be without a password. Got one in it, not shown here. "
        "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
    )


@pytest.mark.parametrize("missing", ["mlflow", "alembic"])
def test_a_missing_package_is_named_with_the_command(world, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError) as caught:
        list(SOURCE(world.sqlite).list_entries({}))
    package = {"mlflow": "mlflow-skinny"}.get(missing, missing)
    assert str(caught.value) == (
        f"The mlflow source needs the package {package!r}. Got no such module. Run: pip install 'neuralrank[mlflow]'"
    )


def test_packages_that_do_not_fit_each_other_are_one_sentence(world, monkeypatch):
    def broken(_: Any) -> Any:
        raise ImportError("cannot import name 'Pool' from 'sqlalchemy.pool' (/a/path)")

    monkeypatch.setattr(_mlflow_client.Registry, "client", property(broken))
    with pytest.raises(MissingExtraError) as caught:
        list(SOURCE(world.sqlite).list_entries({}))
    assert str(caught.value) == (
        "The mlflow source needs packages that fit each other. Got: cannot import name 'Pool' from 'sqlalchemy.pool'. "
        "Run: pip install --upgrade 'neuralrank[mlflow]'"
    )


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_server_that_is_down(world):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SourceError) as caught:
            list(SOURCE(address).list_entries({}))
    assert str(caught.value) == (
        f"mlflow:{address} could not be read. Got no connection (connection refused). "
        "Check the address and retry later."
    )


def test_a_server_that_is_busy_is_asked_again(world):
    world.proxy.fault = fails("registered-models/search", times=3)
    assert by_id(SOURCE(world.proxy.address).list_entries({}))


def test_a_server_that_stays_busy(world):
    world.proxy.fault = fails("/")
    with pytest.raises(SourceError) as caught:
        list(SOURCE(world.proxy.address).list_entries({}))
    assert str(caught.value) == (
        f"mlflow:{world.proxy.address} could not be read. Got HTTP 503 after 4 tries. "
        "Check the address and retry later."
    )
    assert len(world.proxy.requests) == 4


def test_an_error_says_how_many_models_are_there_without_the_server(world):
    SOURCE(world.proxy.address).fetch(listed(world.proxy.address, "digits"))
    world.proxy.fault = fails("/")
    with pytest.raises(SourceError, match=r"retry later, or run with --offline to use the 1 downloaded model\.$"):
        list(SOURCE(world.proxy.address).list_entries({}))


@pytest.mark.parametrize(
    ("status", "body", "got"),
    [
        (404, b"<html>nothing here</html>", "HTTP 404"),
        (200, b"<html>hello</html>", "an answer that is not MLflow's"),
        (200, b'{"registered_models": [{"name": ["a"]}]}', "an answer that is not MLflow's"),
        (200, b"[" * 100_000, "an answer that is not MLflow's"),
    ],
    ids=["elsewhere", "page", "types", "nested"],
)
def test_a_server_that_is_no_mlflow_server(world, status, body, got):
    world.proxy.fault = lambda handler: handler.answer(status, body)
    with pytest.raises(SourceError) as caught:
        list(SOURCE(world.proxy.address).list_entries({}))
    assert str(caught.value) == (
        f"mlflow:{world.proxy.address} could not be read. Got {got}. Check the address and retry later."
    )


def test_the_login_is_sent_and_never_shown(world, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    world.proxy.fault = fails("/", status=401)
    source = SOURCE(world.proxy.address)
    with pytest.raises(SourceError) as caught:
        list(source.list_entries({}))
    assert str(caught.value) == (
        f"mlflow:{world.proxy.address} needs a login that may read it. Got HTTP 401. "
        "Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )
    assert world.proxy.logins == ["Bearer s3cret"]
    assert "s3cret" not in repr(source)


def test_a_server_that_goes_down_while_models_are_listed_ends_the_listing(world):
    world.proxy.fault = fails("get-download-uri")
    found = SOURCE(world.proxy.address).list_entries({})
    first = [next(found) for _ in range(2)]
    assert [item.stage for item in first] == ["list", "list"]
    with pytest.raises(SourceError, match=r"could not be read. Got HTTP 503 after 4 tries\."):
        next(found)


def test_files_that_the_server_does_not_give_are_failures_of_their_models(world):
    world.proxy.fault = lambda handler: LISTING in handler.path and handler.answer(404, b"gone")
    assert listed(world.proxy.address, "digits") == Failure(
        model_id="mlflow:digits@3",
        stage="list",
        error="digits@3 needs its files on the server. Got HTTP 404: they are gone. Register it again.",
    )


def test_a_model_larger_than_allowed_is_not_fetched(world, own_cache):
    entry = listed(world.server, "large digits")
    with pytest.raises(ModelError) as caught:
        SOURCE(world.server, max_bytes=20_000).fetch(entry)
    assert str(caught.value) == (
        f"large digits@1 needs at most 20000 bytes to be fetched. Got {entry.size_bytes} bytes. "
        "Raise --max-fetch, or choose a smaller model."
    )
    assert not (own_cache / "mlflow").exists()


def test_a_model_larger_than_the_disk_is_not_fetched(world, monkeypatch, own_cache):
    monkeypatch.setattr(_mlflow_fetch, "_free_bytes", lambda _: 10)
    entry = listed(world.server, "digits")
    with pytest.raises(ModelError) as caught:
        SOURCE(world.server).fetch(entry)
    assert str(caught.value).startswith(f"digits@3 needs {entry.size_bytes} bytes in '{own_cache}/mlflow/")
    assert str(caught.value).endswith(
        "'. Got 10 that are free. Make room, or set NEURALRANK_CACHE_DIR to a larger disk."
    )


def test_a_file_that_is_longer_than_it_was_listed_is_cut_at_the_limit(world, own_cache):
    entry = listed(world.proxy.address, "digits")
    world.proxy.fault = lambda handler: (
        handler.path.endswith("model.onnx") and handler.answer(200, b"x" * 3_000_000, "application/octet-stream")
    )
    with pytest.raises(ModelError) as caught:
        SOURCE(world.proxy.address, max_bytes=1_000_000).fetch(entry)
    assert str(caught.value) == (
        "digits@3 needs at most 1000000 bytes to be fetched. Got more than was listed. "
        "Raise --max-fetch, or choose a smaller model."
    )
    assert not [path for path in (own_cache / "mlflow").rglob("*") if path.is_file()]


def cut_off(times: int) -> Callable[[_Handler], bool]:
    left = [times]

    def answer(handler: _Handler) -> bool:
        if not handler.path.endswith("model.onnx") or left[0] == 0:
            return False
        left[0] -= 1
        return handler.answer(200, b"x" * 10, "application/octet-stream", length=1000)

    return answer


def test_a_file_that_is_cut_off_is_fetched_again(world):
    came: list[int] = []
    entry = listed(world.proxy.address, "digits")
    world.proxy.fault = cut_off(2)
    record = SOURCE(world.proxy.address, on_bytes=came.append).fetch(entry)
    assert record.size_bytes == entry.size_bytes == sum(came)


def test_a_file_that_is_always_cut_off(world, own_cache):
    entry = listed(world.proxy.address, "digits")
    world.proxy.fault = cut_off(10**9)
    with pytest.raises(SourceError) as caught:
        SOURCE(world.proxy.address).fetch(entry)
    assert str(caught.value) == (
        "digits@3 could not be read. Got an answer that was cut off. Check the address and retry later."
    )
    assert not [path for path in (own_cache / "mlflow").rglob("*") if path.is_file()]


def test_a_file_that_comes_too_slowly_is_given_up(world, monkeypatch):
    monkeypatch.setattr(_mlflow_artifacts, "GRACE_SECONDS", -1)
    entry = replace(listed(world.sqlite, "plain"), location="digits/3", name="digits")
    with pytest.raises(SourceError, match=r"^digits@3 could not be read. Got no answer in time\."):
        SOURCE(world.server).fetch(entry)


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "..", "a/b", "", "a\x00b", "a\\b", 7, "x" * 300]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(world, name):
    listing = json.dumps({"files": [{"path": name, "is_dir": False, "file_size": "10"}]}).encode()
    world.proxy.fault = lambda handler: LISTING in handler.path and handler.answer(200, listing)
    found = listed(world.proxy.address, "digits")
    assert isinstance(found, Failure)
    assert found.error.startswith("digits@3 needs files inside its own folder. Got the name ")
    assert found.error.endswith(". Choose another model.")


@pytest.mark.parametrize(
    ("listing", "error"),
    [
        pytest.param(b"not json", "could not be read. Got an answer that is not MLflow's.", id="no-json"),
        pytest.param(b"x" * (9 * 2**20), "needs a list of its files. Got an endless one.", id="endless"),
        pytest.param(
            json.dumps({"files": [{"path": f"f{i}"} for i in range(2_002)]}).encode(),
            "needs at most 2000 files in 100 folders. Got more.",
            id="many-files",
        ),
        pytest.param(
            b'{"files": [{"path": "model.onnx", "file_size": 1e400}, 7, {"path": "b", "is_dir": "yes"}]}',
            "needs files inside its own folder.",
            id="types",
        ),
    ],
)
def test_an_absurd_list_of_files_is_a_failure(world, listing, error):
    world.proxy.fault = lambda handler: f"{LISTING}?" in handler.path and handler.answer(200, listing)
    found = listed(world.proxy.address, "digits")
    assert isinstance(found, Failure)
    assert found.error.startswith(f"digits@3 {error}")


def test_folders_within_folders_without_end_are_a_failure(world, monkeypatch):
    monkeypatch.setattr(_mlflow_artifacts, "MAX_FOLDERS", 5)
    listing = b'{"files": [{"path": "a", "is_dir": true}]}'
    world.proxy.fault = lambda handler: LISTING in handler.path and handler.answer(200, listing)
    assert listed(world.proxy.address, "digits").error == (
        "digits@3 needs at most 2000 files in 5 folders. Got more. Register the model's own folder."
    )
    assert len([path for path in world.proxy.requests if LISTING in path]) == 5


def test_links_pipes_and_what_lies_elsewhere_are_refused(world, tmp_path):
    link, pipe = onnx_folder(tmp_path / "link"), onnx_folder(tmp_path / "pipe")
    (link / "secret.onnx").symlink_to("/etc/passwd")
    os.mkfifo(pipe / "other.onnx")
    for name, folder, odd in (("linked", link, "secret.onnx"), ("piped", pipe, "other.onnx")):
        found = register(world, name, folder)
        assert isinstance(found, Failure)
        assert found.error == (
            f"{name}@1 needs regular files. Got {odd!r}, a link, pipe or device. Put the file itself there."
        )


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_followed(world, tmp_path, monkeypatch):
    folder = onnx_folder(tmp_path / "m")
    entry = register(world, "swapped", folder)
    choose = _mlflow_fetch.read_contents

    def swapped(*arguments: Any) -> Any:
        contents = choose(*arguments)
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").symlink_to("/etc/passwd")
        return contents

    monkeypatch.setattr(_mlflow_fetch, "read_contents", swapped)
    with pytest.raises(
        ModelError, match=r"^swapped@1 needs its files to be readable\. Got too many levels of symbolic"
    ):
        SOURCE(world.sqlite).fetch(entry)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (
            "http://other.host/x",
            "Got 'http://other.host', where no request is sent. Register it again from such a place.",
        ),
        ("mlflow-artifacts://other.host/0/x", "Got 'mlflow-artifacts://other.host', where no request is sent."),
        ("ftp://me:pw@host/x", "where no request is sent."),
        ("s3://bucket/x", "needs the client of s3://. Got no module 'botocore'. Run: pip install boto3"),
        (
            "/no/such/folder",
            "needs its folder '/no/such/folder' on this machine. Got none. Start the server with --serve",
        ),
        ("models:/digits/3", "Got 'models:', where no request is sent."),
    ],
)
def test_files_that_lie_where_no_request_is_sent(world, place, error):
    name = f"at {hashlib.md5(place.encode()).hexdigest()}"
    register(world, name, world.folder / "plain")
    with sqlite3.connect(world.database) as database:
        statement = "UPDATE model_versions SET source = ?, storage_location = ? WHERE name = ?"
        database.execute(statement, (place, place, name))
    database.close()
    found = listed(world.proxy.address, name)
    assert isinstance(found, Failure)
    assert error in found.error
    assert not any("other.host" in path for path in world.proxy.requests)


def test_files_of_a_run_and_of_a_cloud_are_found(world, tmp_path, monkeypatch):
    from mlflow.store.artifact import artifact_repository_registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    monkeypatch.setattr(
        artifact_repository_registry, "get_artifact_repository", lambda uri, **_: LocalArtifactRepository(str(tmp_path))
    )
    onnx_folder(tmp_path / "inner")
    register(world, "clouded", "s3://bucket/x")
    found = listed(world.sqlite, "clouded")
    assert found.format == "onnx"
    assert SOURCE(world.sqlite).fetch(found).path.name == "model.onnx"


def test_an_error_of_a_cloud_is_one_sentence(world, monkeypatch):
    from mlflow.store.artifact import artifact_repository_registry

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Unable to locate credentials for https://host/?signature=s3cret")

    monkeypatch.setattr(artifact_repository_registry, "get_artifact_repository", broken)
    register(world, "locked", "gs://bucket/x")
    assert listed(world.sqlite, "locked").error == (
        "locked@1 needs its files in gs://. Got RuntimeError: Unable to locate credentials for. "
        "Check the login for that cloud."
    )


def test_what_mlflow_is_told_is_undone(world, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    before = dict(os.environ)
    with _mlflow_client.manners():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.torch
def test_pytorch_and_transformers_models_as_mlflow_saves_them(world, tmp_path):
    script = """
import numpy as np, torch, mlflow, sys
from neuralrank.formats._torchvision import repair_torchvision
repair_torchvision()
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 3)).eval()
example = np.ones((2, 3, 8, 8), np.float32)
options = {"name": "model", "pip_requirements": []}
pt2 = {"serialization_format": "pt2", "input_example": example, **options}
mlflow.pytorch.log_model(net, registered_model_name="program", **pt2)
mlflow.pytorch.log_model(net, registered_model_name="pickled", serialization_format="pickle", **options)
open("vocab.txt", "w").write("\\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
bert = BertForSequenceClassification(BertConfig(vocab_size=7, **shape))
parts = {"model": bert, "tokenizer": BertTokenizerFast("vocab.txt")}
mlflow.transformers.log_model(parts, task="text-classification", registered_model_name="bert", **options)
"""
    as_user(script, world.server, tmp_path)
    assert "Got data/model.pth, a pickle" in listed(world.server, "pickled").refusal
    program, bert = listed(world.server, "program"), listed(world.server, "bert")
    assert (program.format, program.modality, program.library) == ("torch_export", "image", "pytorch")
    record = SOURCE(world.server).fetch(program)
    assert registry.get("formats", "torch_export")(record.path, record.facts, n_threads=1).layers
    record = SOURCE(world.server).fetch(bert)
    loaded = registry.get("formats", "transformers_folder")(record.path, record.facts, n_threads=1)
    assert loaded.encode(loaded.preprocessing(["a b", "b"]), ["features"])["features"].values.shape[0] == 2
