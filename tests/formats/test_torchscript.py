"""TorchScript archives: made here, run against torch itself, and turned into weapons that must not go off."""

import enum
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import ModelError

torch = pytest.importorskip("torch")

import hostile_torch  # noqa: E402 - it needs torch

SCRIPT = registry.get("formats", "torchscript")
CARD = {"input_size": [3, 8, 8], "colour_order": "RGB", "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


class Residual(torch.nn.Module):
    """Convolutions with a shortcut, an in-place step, batch normalisation, dropout and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.BatchNorm2d(6))
        self.block = torch.nn.Conv2d(6, 6, 3, padding=1)
        self.relu = torch.nn.ReLU(inplace=True)
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.relu(x + self.block(x))
        return self.fc(self.drop(x.mean([2, 3])))


class Choosing(torch.nn.Module):
    """Control flow: a loop, a branch on the size of the batch, a list and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3)
        self.parts = torch.nn.ModuleList([torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)])
        self.fc = torch.nn.Linear(6, 4)
        self.times = 3
        self.names = ["a", "b"]

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.conv(x).mean([2, 3])
        if y.shape[0] > 100:
            y = y * 2
        i = 0
        while i < self.times:
            y = y + 0.5
            i += 1
        kept = [y for _ in self.names]
        for part in self.parts:
            y = part(y).relu()
            kept = kept + [y]  # noqa: RUF005 - the language has no stars
        y = y + torch.stack(kept[1:]).sum(0)
        y = y + kept[0] + float(len(self.names))
        return {"logits": self.fc(y).softmax(-1), "extra": y}


class Attention(torch.nn.Module):
    """Patches whose number follows the input, attention over them, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 8, 4, stride=4)
        self.attend = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return self.head(self.norm(tokens + mixed).mean(1))


class Fixed(torch.nn.Module):
    """A reshape with a length of the batch in it."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.fc = torch.nn.Linear(192, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.reshape(self.n, -1))


class Remembering(torch.nn.Module):
    """Keeps what it computed in a dictionary, as some networks do with position biases."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.jit.Attribute({}, dict[str, torch.Tensor])
        self.fc = torch.nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "first" not in self.kept:
            self.kept["first"] = x.mean([2, 3])
        return self.fc(self.kept["first"])


class Order(enum.Enum):
    PLAIN = "plain"
    TURNED = "turned"


def scaling(factor: float) -> Any:
    """Return one of several functions of one name."""

    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    def half(x: torch.Tensor) -> torch.Tensor:
        return x * 0.5

    half.__qualname__ = double.__qualname__
    half.__name__ = "double"
    return double if factor > 1 else half


DOUBLE, HALF = scaling(2), scaling(0.5)


class Masking(torch.nn.Module):
    """Writes numbers into slices of a new tensor, asks for a member of an enumeration, and takes powers of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order.TURNED
        self.fc = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = x.new_zeros((x.size(2), x.size(3)))
        mask[1:, :-2] = 3
        mask[:2, 1:] = 2
        if self.order == Order.TURNED:
            x = x.flip([2])
        y = (x * mask).sum([1, 2]) * x.size(1) ** -0.5
        return self.fc(HALF(DOUBLE(DOUBLE(y))) + torch.arange(x.size(3)))


class Two(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def made(model: Any, how: str = "trace", example: Any = None) -> Any:
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    if how == "script":
        return torch.jit.script(model.eval())
    example = torch.zeros(2, 3, 8, 8) if example is None else example
    return torch.jit.trace(model.eval(), example, check_trace=False, strict=False)


def write(path: Path, program: Any, card: dict[str, Any] | None = CARD) -> Path:
    torch.jit.save(program, path)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return path


def load(path: Path) -> Any:
    return SCRIPT(path, SCRIPT.describe(path), n_threads=1)


def images(n: int, shape: tuple[int, ...] = (3, 8, 8)) -> dict[str, Any]:
    return {"image": np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)}


def head_of(model: Any, head: str, batch: dict[str, Any]) -> tuple[Any, Any]:
    """Return what the head of the module itself reads and gives."""
    seen: list[Any] = []
    hook = model.get_submodule(head).register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    with torch.inference_mode():
        model(torch.from_numpy(batch["image"].copy()))
    hook.remove()
    return seen[0].numpy(), seen[1].numpy()


def sentence_of(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load(path)
    return str(error.value)


# --- what a program gives ------------------------------------------------------------------------------------------


def test_a_program_says_what_it_is(tmp_path: Path):
    model = Residual()
    path = write(tmp_path / "net.pt", made(model), None)
    facts = SCRIPT.describe(path)
    assert (facts.format, facts.modality, facts.files) == ("torchscript", "image", (path,))
    assert facts.n_params == sum(parameter.numel() for parameter in model.parameters())
    assert facts.needs_trust is None
    assert facts.preprocessing.size == (224, 224)
    assert "The input size was assumed: 224 × 224 pixels." in facts.assumptions


@pytest.mark.parametrize("how", ["trace", "script", "freeze"])
@pytest.mark.parametrize(
    ("make", "head"),
    [
        pytest.param(Residual, "fc", id="residual"),
        pytest.param(Attention, "head", id="attention"),
        pytest.param(Choosing, "fc", id="control-flow"),
        pytest.param(Masking, "fc", id="numbers-and-names"),
    ],
)
def test_features_and_logits_are_those_of_the_module(tmp_path: Path, make: Any, head: str, how: str):
    model = make()
    program = made(model, "script" if how == "freeze" else how)
    program = torch.jit.freeze(program) if how == "freeze" else program
    path = write(tmp_path / "net.pt", program, {**CARD, "modality": "image"})
    encoder, batch = load(path), images(5)
    features, logits = head_of(model, head, batch)
    values = encoder.encode(batch, [encoder.feature_layer, encoder.head_layer])
    np.testing.assert_allclose(values[encoder.feature_layer].values, features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values[encoder.head_layer].values, logits, rtol=1e-4, atol=1e-5)


def test_every_module_is_a_layer_and_gives_what_torch_gives(tmp_path: Path):
    model = Residual()
    encoder, batch = load(write(tmp_path / "net.pt", made(model))), images(3)
    assert encoder.layers == (
        *("stem.0", "stem.1", "stem", "block", "relu", "drop", "fc"),
        *("features", "output"),
    )
    assert (encoder.feature_layer, encoder.head_layer, encoder.warnings) == ("features", "output", ())
    values = encoder.encode(batch, encoder.layers)
    for layer in ("stem.0", "stem", "relu", "fc"):
        np.testing.assert_allclose(values[layer].values, head_of(model, layer, batch)[1], rtol=1e-4, atol=1e-5)


def test_a_value_that_a_later_step_overwrites_is_kept(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    batch = images(2)
    values = load(write(tmp_path / "net.pt", made(model))).encode(batch, ["0"])["0"].values
    with torch.inference_mode():
        np.testing.assert_allclose(values, model[0](torch.from_numpy(batch["image"])).numpy(), rtol=1e-4, atol=1e-5)
    assert values.min() < 0


@pytest.mark.parametrize("how", ["trace", "script"])
def test_rows_keep_their_order_in_batches_of_any_size(tmp_path: Path, how: str):
    encoder, batch = load(write(tmp_path / "net.pt", made(Attention(), how))), images(7)
    whole = encoder.encode(batch, ["features"])["features"].values
    turned = encoder.encode({"image": batch["image"][::-1]}, ["features"])["features"].values
    np.testing.assert_allclose(turned[::-1], whole, rtol=1e-4, atol=1e-5)
    for n in (1, 3):
        part = encoder.encode({"image": batch["image"][:n]}, ["features"])["features"].values
        np.testing.assert_allclose(part, whole[:n], rtol=1e-4, atol=1e-5)


def test_a_program_traced_for_one_sample_is_served_one_by_one(tmp_path: Path):
    model = Fixed(1)
    program = made(model, example=torch.zeros(1, 3, 8, 8))
    encoder = load(write(tmp_path / "net.pt", program, {**CARD, "modality": "image"}))
    batch = images(3)
    expected = model.fc(torch.from_numpy(batch["image"]).reshape(3, -1)).detach().numpy()
    np.testing.assert_allclose(encoder.encode(batch, ["output"])["output"].values, expected, rtol=1e-4, atol=1e-5)


def test_a_program_traced_for_another_number_of_samples_is_refused(tmp_path: Path):
    program = made(Fixed(3), example=torch.zeros(3, 3, 8, 8))
    path = write(tmp_path / "net.pt", program, {**CARD, "modality": "image"})
    assert "net.pt could not run a batch. Got " in sentence_of(path)


def test_a_module_saved_while_it_was_trained_is_run_for_inference(tmp_path: Path):
    model = Residual()
    program = made(model, "script")
    program.train()
    encoder, batch = load(write(tmp_path / "net.pt", program)), images(4)
    features, _ = head_of(model.eval(), "fc", batch)
    np.testing.assert_allclose(encoder.encode(batch, ["features"])["features"].values, features, rtol=1e-4, atol=1e-5)


def test_a_program_traced_while_it_was_trained_is_refused(tmp_path: Path):
    program = torch.jit.trace(Residual().train(), torch.zeros(2, 3, 8, 8), check_trace=False)
    assert sentence_of(write(tmp_path / "net.pt", program)) == (
        "net.pt needs a program saved for inference. Got 'add_', which overwrites a weight. "
        "Call model.eval() before torch.jit.trace or torch.jit.script."
    )


def test_what_a_pass_keeps_in_a_module_ends_with_it(tmp_path: Path):
    model = torch.jit.script(Remembering().eval())
    encoder, batch = load(write(tmp_path / "net.pt", model, {**CARD, "modality": "image"})), images(6)
    for part in (batch["image"][:2], batch["image"][2:]):
        values = encoder.encode({"image": part}, ["features"])["features"].values
        np.testing.assert_allclose(values, part.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_single(tmp_path: Path):
    model = Residual()
    program = made(model, "script").half()
    encoder, batch = load(write(tmp_path / "net.pt", program)), images(2)
    features, _ = head_of(model.float(), "fc", batch)
    np.testing.assert_allclose(encoder.encode(batch, ["features"])["features"].values, features, rtol=1e-2, atol=1e-2)


def test_vectors_are_taken(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    path = write(tmp_path / "net.pt", made(model, example=torch.zeros(2, 5)), None)
    assert SCRIPT.describe(path).modality == "tabular"
    encoder, batch = load(path), images(4, (5,))
    expected = model[:2](torch.from_numpy(batch["image"])).detach().numpy()
    np.testing.assert_allclose(encoder.encode(batch, ["features"])["features"].values, expected, rtol=1e-4, atol=1e-5)


def test_the_card_names_a_module_for_the_features(tmp_path: Path):
    encoder = load(write(tmp_path / "net.pt", made(Residual()), {**CARD, "feature_layer": "stem"}))
    assert encoder.feature_layer == "stem"
    assert encoder.encode(images(2), ["stem"])["stem"].values.shape == (2, 6, 8, 8)


def test_a_layer_that_the_card_names_and_the_program_lacks_is_told(tmp_path: Path):
    path = write(tmp_path / "net.pt", made(Residual()), {**CARD, "feature_layer": "neck"})
    assert sentence_of(path) == (
        "net.pt needs the feature_layer that its card names. Got 'neck', which the program does not have. "
        "Correct the card."
    )


def test_a_layer_that_is_not_there_is_told(tmp_path: Path):
    encoder = load(write(tmp_path / "net.pt", made(Residual())))
    with pytest.raises(ModelError, match="The model has no layer 'neck'"):
        encoder.encode(images(2), ["neck"])


def test_images_of_another_size_are_told(tmp_path: Path):
    encoder = load(write(tmp_path / "net.pt", made(Residual())))
    with pytest.raises(ModelError) as error:
        encoder.encode(images(2, (3, 9, 9)), ["features"])
    assert str(error.value) == (
        "The program needs samples of shape 3 × 8 × 8. Got 3 × 9 × 9. Choose a model made for such samples."
    )


def test_a_program_of_two_inputs_is_told(tmp_path: Path):
    example = (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8))
    path = write(tmp_path / "net.pt", made(Two(), example=example), {**CARD, "modality": "image"})
    assert sentence_of(path) == "net.pt needs exactly one input. Got 2: 'x', 'y'. Save it with one."


def test_a_text_model_is_told(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 2))
    path = write(tmp_path / "net.pt", made(model, example=torch.zeros(2, 5, dtype=torch.long)), None)
    assert SCRIPT.describe(path).modality == "text"
    assert sentence_of(path).startswith("net.pt needs a tokenizer to read text. Got a TorchScript file")


@pytest.mark.parametrize("name", ["net.pth", "net.ts", "net.torchscript", "net.bin", "NET.PT"])
def test_it_is_recognised_by_its_content(tmp_path: Path, name: str):
    assert SCRIPT.describe(write(tmp_path / name, made(Residual()), None)).format == "torchscript"


def test_other_files_of_torch_are_not_recognised(tmp_path: Path):
    torch.save(Residual().state_dict(), tmp_path / "a.pt")
    torch.save(Residual(), tmp_path / "b.pt")
    (tmp_path / "c.ts").write_text("export const x: number = 1;")
    (tmp_path / "d.pt").write_bytes(b"")
    assert [SCRIPT.describe(path) for path in sorted(tmp_path.iterdir())] == [None] * 4


def test_describing_needs_no_torch(tmp_path: Path):
    path = write(tmp_path / "net.pt", made(Residual()))
    program = (
        "import sys, pathlib; from neuralrank import registry; "
        "facts = [registry.get('formats', name).describe(pathlib.Path(sys.argv[1])) for name in "
        "('torchscript', 'state_dict', 'trusted_module')]; "
        "print([fact and fact.n_params for fact in facts], 'torch' in sys.modules)"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, env={"PYTHONPATH": source}
    )
    n_params = sum(parameter.numel() for parameter in Residual().parameters())
    assert done.stdout == f"[{n_params}, None, None] False\n", done.stderr


# --- damaged files -------------------------------------------------------------------------------------------------


def test_a_file_cut_short_anywhere_is_told_in_one_sentence(tmp_path: Path):
    whole = write(tmp_path / "net.pt", made(Residual())).read_bytes()
    for share in np.linspace(0.001, 0.999, 40):
        (tmp_path / "net.pt").write_bytes(whole[: int(len(whole) * share)])
        assert "Got " in sentence_of(tmp_path / "net.pt")


def test_flipped_bits_never_raise_anything_else(tmp_path: Path):
    path = write(tmp_path / "net.pt", made(hostile_torch.Net(), "script"))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for place in rng.integers(0, len(whole), 120):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            facts = SCRIPT.describe(path)
            if facts is not None:
                encoder = SCRIPT(path, facts, n_threads=1)
                encoder.encode(images(2), [encoder.feature_layer])
        except ModelError:
            n_refused += 1
    assert n_refused > 20


# --- hostile files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", hostile_torch.GO_OFF_IN_TORCH, ids=lambda make: make.__name__)
def test_the_payload_goes_off_in_torch(tmp_path: Path, make: Any):
    make(tmp_path / "evil.pt", tmp_path / "marker")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(tmp_path / "evil.pt")(torch.zeros(3, 3, 8, 8))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("make", hostile_torch.SCRIPTS, ids=lambda make: make.__name__)
def test_hostile_programs_are_refused_and_do_nothing(tmp_path: Path, make: Any):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    make(path, marker)
    path.with_suffix(".json").write_text(json.dumps(CARD))
    before = sorted(tmp_path.iterdir())
    said = sentence_of(path)
    assert said.startswith("evil.pt needs ")
    assert "Got " in said
    assert not marker.exists()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("make", hostile_torch.ARCHIVES, ids=lambda make: make.__name__)
def test_hostile_archives_are_refused_when_they_are_listed(tmp_path: Path, make: Any):
    make(tmp_path / "evil.pt", tmp_path / "marker")
    with pytest.raises(ModelError, match=r"^evil.pt needs .* Got "):
        SCRIPT.describe(tmp_path / "evil.pt")
    assert not (tmp_path / "marker").exists()


def test_a_file_is_named_in_the_sentence_about_an_operator(tmp_path: Path):
    hostile_torch.script_maps_a_file(tmp_path / "evil.pt", tmp_path / "marker")
    assert sentence_of(tmp_path / "evil.pt") == (
        "evil.pt needs operators that are known to be safe. Got 'torch.from_file'. Save the model for inference, made "
        "of the modules and operators of torch alone, or export it to ONNX."
    )


def test_a_program_that_asks_for_all_memory_is_a_failure(tmp_path: Path):
    path = tmp_path / "evil.pt"
    hostile_torch.script_fills_the_memory(path, tmp_path / "marker")
    path.with_suffix(".json").write_text(json.dumps(CARD))
    assert sentence_of(path).startswith("evil.pt could not run a batch. Got ")


def test_lists_of_lists_are_looked_at_once(tmp_path: Path):
    path = tmp_path / "deep.pt"
    hostile_torch.script_holds_lists_of_lists(path, tmp_path / "marker")
    assert SCRIPT.describe(path).n_params == 122
    path.with_suffix(".json").write_text(json.dumps(CARD))
    assert load(path).encode(images(2), ["features"])["features"].values.shape == (2, 4)


def test_no_operator_on_the_lists_touches_files_or_is_unknown_to_torch():
    from neuralrank.formats import _script_operators as operators

    forbidden = {"from_file", "save", "load", "set_", "resize_", "as_strided", "_cudnn_init_dropout_state"}
    assert not forbidden & (operators.TENSOR | operators.OVERWRITING)
    own = (operators.TENSOR | operators.OVERWRITING) - operators.PURE
    assert [name for name in own if not hasattr(torch.ops.aten, name)] == []


def test_an_operator_off_the_list_is_refused_where_it_is_called_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from neuralrank.formats import _script_code

    monkeypatch.setattr(_script_code, "known", lambda *_: True)
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    hostile_torch.script_writes_a_file(path, marker)
    path.with_suffix(".json").write_text(json.dumps(CARD))
    assert sentence_of(path).startswith("evil.pt needs operators that are known to be safe. Got 'torch.save'.")
    assert not marker.exists()
