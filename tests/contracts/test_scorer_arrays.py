"""Features come from any array library, and are decomposed where they live."""

import numpy as np
import pytest

from neuralrank.errors import DataError
from neuralrank.scorers import score, score_many
from neuralrank.scorers._arrays import Device, device_of, to_numpy
from neuralrank.scorers._spectrum import decompose

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
TALL = RNG.normal(size=(60, 5)) + np.eye(3, 5)[LABELS]
WIDE = RNG.normal(size=(60, 90)) + np.eye(3, 90)[LABELS]
LOGITS = RNG.normal(size=(60, 4)) + np.eye(3, 4)[LABELS]
NAMES = ["h_score", "h_score_shrunk", "knn", "leep", "energy", "log_me", "neuralrank", "silhouette"]


def values(features, labels=LABELS, **head):
    return {name: each.value for name, each in score_many(NAMES, features, labels, **head).items()}


EXPECTED = values(TALL, logits=LOGITS)


# --- on the host --------------------------------------------------------------------------------------------------


def test_lists_are_arrays():
    assert values(TALL.tolist(), LABELS.tolist(), logits=LOGITS.tolist()) == EXPECTED


def test_the_order_of_the_memory_does_not_matter():
    assert values(np.asfortranarray(TALL), logits=LOGITS) == EXPECTED
    assert values(np.hstack([TALL, TALL])[:, :5], logits=LOGITS) == EXPECTED


def test_pandas_tables_are_arrays():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(TALL, index=np.arange(60)[::-1])
    named = pandas.Series(np.array(["a", "b", "c"])[LABELS])
    assert values(table, named, logits=pandas.DataFrame(LOGITS)) == EXPECTED
    assert values(table, named.astype("category"), logits=LOGITS) == EXPECTED


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.torch
def test_float64_tensors_give_the_same_bits(torch):
    assert values(torch.tensor(TALL), torch.tensor(LABELS), logits=torch.tensor(LOGITS)) == EXPECTED


@pytest.mark.torch
def test_float32_tensors_give_the_value_of_float32_arrays(torch):
    tensor = torch.tensor(TALL, dtype=torch.float32)
    assert values(tensor, logits=LOGITS) == values(TALL.astype(np.float32), logits=LOGITS)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_tensors_are_worked_on_in_float64(torch, dtype):
    tensor = torch.tensor(TALL).to(getattr(torch, dtype))
    assert values(tensor, logits=LOGITS) == values(tensor.to(torch.float64).numpy(), logits=LOGITS)
    assert score("h_score", tensor, LABELS).value == pytest.approx(EXPECTED["h_score"], rel=0.01)


@pytest.mark.torch
def test_tensors_with_a_gradient_are_read(torch):
    tensor = torch.tensor(TALL, requires_grad=True)
    assert values(tensor, logits=torch.tensor(LOGITS, requires_grad=True)) == EXPECTED
    assert tensor.grad is None


@pytest.mark.torch
def test_transposed_tensors_are_read_as_they_are(torch):
    assert values(torch.tensor(np.ascontiguousarray(TALL.T)).T, logits=LOGITS) == EXPECTED


@pytest.mark.torch
def test_tensors_are_not_written_to(torch):
    tensor = torch.tensor(TALL)
    values(tensor, logits=LOGITS)
    assert torch.equal(tensor, torch.tensor(TALL))


# --- on a device --------------------------------------------------------------------------------------------------


class Calls:
    """Counts decompositions inside an array library and those of NumPy outside it."""

    def __init__(self, monkeypatch, linalg):
        self.there, self.here = [], []
        for name in ("eigh", "svd"):
            monkeypatch.setattr(linalg, name, self._counted(name, getattr(linalg, name), self.there))
            monkeypatch.setattr(np.linalg, name, self._counted(name, getattr(np.linalg, name), self.here))

    def _counted(self, name, function, calls):
        def call(*given, **options):
            n_here = len(self.here)
            calls.append(name)
            result = function(*given, **options)
            if calls is self.there:
                del self.here[n_here:]  # the library may use NumPy itself
            return result

        return call


@pytest.fixture
def strict():
    """An independent array library with devices of its own, none of which NumPy may read by itself."""
    return pytest.importorskip("array_api_strict")


@pytest.mark.parametrize("features", [TALL, WIDE], ids=["tall", "wide"])
def test_features_on_a_device_are_decomposed_there(monkeypatch, strict, features):
    expected = score("log_me", features, LABELS).value
    calls = Calls(monkeypatch, strict.linalg)
    there = strict.asarray(features, device=strict.Device("device1"))
    assert score("log_me", there, LABELS).value == pytest.approx(expected, rel=1e-9)
    assert (calls.there, calls.here) == (["eigh"], [])


def test_features_on_the_host_of_another_library_are_decomposed_here(monkeypatch, strict):
    calls = Calls(monkeypatch, strict.linalg)
    there = strict.asarray(TALL, device=strict.Device("CPU_DEVICE"))
    assert score("log_me", there, LABELS).value == pytest.approx(EXPECTED["log_me"], rel=1e-12)
    assert (calls.there, calls.here) == ([], ["eigh"])


def test_ill_conditioned_features_on_a_device_are_decomposed_directly_there(monkeypatch, strict):
    values_ = np.logspace(0, -5.7, 5)
    left = np.linalg.qr(TALL - TALL.mean(axis=0))[0]
    matrix = left * values_
    there = strict.asarray(matrix, device=strict.Device("device1"))
    calls = Calls(monkeypatch, strict.linalg)
    np.testing.assert_allclose(decompose(matrix, device_of(there)).values, values_, rtol=1e-9)
    assert (calls.there, calls.here) == (["eigh", "svd"], [])


def test_every_array_may_live_on_a_device(strict):
    device = strict.Device("device1")
    found = values(
        strict.asarray(TALL, device=device),
        strict.asarray(LABELS, device=device),
        logits=strict.asarray(LOGITS, device=device),
    )
    assert found == pytest.approx(EXPECTED, rel=1e-9)


class CupyLike:
    """An array of a library that leaves its device only by `get`, as CuPy's do."""

    device = "<CUDA Device 0>"

    def __init__(self, inside):
        self.inside = inside

    def get(self):
        return self.inside.copy()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_namespace__(self, api_version=None):
        return CupyLikeNamespace

    def __len__(self):
        raise TypeError("Use shape.")

    def __getitem__(self, key):
        return CupyLike(self.inside[key])

    def __mul__(self, other):
        return CupyLike(self.inside * other.inside)

    shape = property(lambda self: self.inside.shape)
    dtype = property(lambda self: self.inside.dtype)
    ndim = property(lambda self: self.inside.ndim)


class CupyLikeNamespace:
    """The functions of that library; each takes and gives its own arrays alone."""

    decompositions = 0

    @staticmethod
    def asarray(array, *, device=None):
        return CupyLike(np.array(array))

    @staticmethod
    def matmul(first, second):
        return CupyLike(first.inside @ second.inside)

    @staticmethod
    def matrix_transpose(matrix):
        return CupyLike(matrix.inside.T)

    @staticmethod
    def flip(matrix, *, axis):
        return CupyLike(np.flip(matrix.inside, axis=axis))

    class linalg:  # noqa: N801 - a namespace
        @staticmethod
        def eigh(matrix):
            CupyLikeNamespace.decompositions += 1
            return tuple(map(CupyLike, np.linalg.eigh(matrix.inside)))


@pytest.mark.parametrize("features", [TALL, WIDE], ids=["tall", "wide"])
def test_arrays_that_refuse_implicit_copies_are_brought_over_by_their_own_method(monkeypatch, features):
    monkeypatch.setattr(CupyLikeNamespace, "decompositions", 0)
    expected = values(features, logits=LOGITS)
    found = values(CupyLike(features), CupyLike(LABELS), logits=CupyLike(LOGITS))
    assert found == pytest.approx(expected, rel=1e-9)
    assert CupyLikeNamespace.decompositions == 2, "of the features, and of the compressed ones"


def test_a_device_array_of_another_number_of_rows_gets_the_sentence():
    with pytest.raises(DataError) as error:
        score("knn", CupyLike(TALL[:59]), LABELS)
    assert str(error.value) == (
        "A score needs one label per feature row. Got 59 rows and 60 labels. Build both from the same probe."
    )


@pytest.mark.parametrize("place", ["cpu", "mps:0"])
def test_places_without_float64_or_off_the_host_are_told_by_name(place):
    class Elsewhere(CupyLike):
        device = place

    assert device_of(Elsewhere(TALL)) is None


def test_numpy_arrays_and_lists_have_no_device():
    assert device_of(TALL) is None
    assert device_of(TALL.tolist()) is None
    assert device_of(None) is None


def test_a_numpy_array_is_not_copied_on_the_way_in():
    assert to_numpy(TALL) is TALL


@pytest.mark.torch
@pytest.mark.parametrize("features", [TALL, WIDE], ids=["tall", "wide"])
def test_torch_decomposes_with_its_own_functions(monkeypatch, torch, features):
    from array_api_compat import torch as namespace

    calls = Calls(monkeypatch, namespace.linalg)
    matrix = features - features.mean(axis=0)
    found = decompose(matrix, Device(namespace=namespace, place=torch.device("cpu")))
    assert (calls.there, calls.here) == (["eigh"], [])
    np.testing.assert_allclose(found.values, decompose(matrix).values, rtol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("features", [TALL, WIDE], ids=["tall", "wide"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_cuda_tensors_are_decomposed_on_the_gpu(monkeypatch, torch, features, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from array_api_compat import torch as namespace

    there = torch.tensor(features, device="cuda").to(getattr(torch, dtype))
    here = there.to(torch.float64).cpu().numpy()
    devices = []
    eigh = namespace.linalg.eigh
    monkeypatch.setattr(namespace.linalg, "eigh", lambda matrix: devices.append(matrix.device.type) or eigh(matrix))
    found = values(there, torch.tensor(LABELS, device="cuda"), logits=torch.tensor(LOGITS, device="cuda"))
    assert devices == ["cuda", "cuda"], "of the features, and of those that neuralrank standardises and compresses"
    assert found == pytest.approx(values(here, logits=LOGITS), rel=1e-9)
