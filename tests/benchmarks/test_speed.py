"""The command line of the speed benchmark, end to end in a temporary folder, and its adapters of other libraries."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

import rnnjax
from benchmarks import readme
from benchmarks.__main__ import main
from benchmarks.commandline import run_alone
from benchmarks.peers import PEERS, jax_cudnn
from benchmarks.speed import records as speed_records
from benchmarks.speed import table as speed_table
from benchmarks.speed.config import Column, Config, Shape
from benchmarks.speed.measure import differences, draw, ours
from benchmarks.speed.report import table_rows
from rnnjax.kernels import cudnn
from rnnjax.kernels.choice import Measured
from tests.support import relative_error

speed_command = sys.modules["benchmarks.speed.command"]  # the package has the function by this name
REPOSITORY = Path(__file__).parents[2]
TINY = ["speed", "--cells", "rnn", "--repeats", "2"]


@pytest.fixture(autouse=True)
def settings_of_jax():
    """Puts back what the command sets for its process."""
    before = {name: getattr(jax.config, name) for name in ("jax_platforms", "jax_enable_compilation_cache")}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def results_in(out: Path) -> Path:
    (folder,) = (out / "speed").iterdir()
    return folder


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def pretend(monkeypatch, library, adapter):
    """Puts an adapter in the place of a library's; None: the library is not installed."""
    if adapter is None:
        monkeypatch.delitem(sys.modules, PEERS[library], raising=False)
    monkeypatch.setitem(sys.modules, library if adapter is None else PEERS[library], adapter)


def test_run_and_resume(tmp_path, capsys):
    """A run writes all that it promises; one whose records were lost halfway does what is missing, and no more."""
    shapes = ["4x2x3", "5x1x2"]
    columns = ["rnnjax", "rnnjax remat sqrt", "rnnjax parallel", "rnnjax parallel remat sqrt"]
    columns += [f"{column} x2" for column in columns]
    arguments = ["--kernels", "auto", "parallel", "--remat", "none", "sqrt", "--devices", "1", "2"]
    assert main([*TINY, "--shapes", *shapes, "--libraries", "rnnjax", *arguments, "--out", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    folder = results_in(tmp_path)
    assert str(folder) in text
    assert "Training step" in text
    assert 'rnnjax parallel: unsupported: kernel "parallel" needs a linear recurrence' in text
    names = {path.name for path in folder.iterdir()}
    figures = {f"{name}.{kind}" for name in ("speed", "speed-x2") for kind in ("png", "svg")}
    assert names == {"records.jsonl", "config.json", "environment.json", "report.html"} | figures
    records = read(folder)
    places = [(record["shape"], record["column"]) for record in records]
    assert places == [(shape, column) for shape in shapes for column in columns]
    assert "rnnjax x2 (rnn 5x1x2): unsupported: a batch of 1 does not spread over 2 devices" in text
    for record in records:
        assert record["config"] == json.loads((folder / "config.json").read_text())
        assert record["environment"] == json.loads((folder / "environment.json").read_text())
        check_record(record)
        runs = "parallel" not in record["column"] and (record["shape"], record["devices"]) != ("5x1x2", 2)
        assert (record["status"] == "ok") == runs

    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records[:9]))
    assert main(["speed", "--resume", str(folder)]) == 0
    resumed = read(folder)
    assert resumed[:8] == records[:8]
    assert [(record["shape"], record["column"]) for record in resumed] == places
    assert resumed[8]["step"] != records[8]["step"]


def test_budget_and_both_precisions(tmp_path, capsys, monkeypatch):
    """A folder a precision; what is not begun in time is left for --resume. Kernels by name make rows for "auto"."""
    moments = iter([0.0, 0.5, 5.0, 5.0])
    monkeypatch.setattr(speed_command, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    arguments = ["--shapes", "4x2x3", "5x1x2", "--libraries", "rnnjax", "--dtype", "both", "--budget", "2"]
    arguments += ["--kernels", "scan", "blocked"]
    assert main([*TINY, *arguments, "--out", str(tmp_path)]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("The budget is over; go on with: python -m") == 2
    first, second = sorted((tmp_path / "speed").iterdir())
    records = read(first)
    assert [(record["shape"], record["config"]["dtype"]) for record in records] == [("4x2x3", "float32")] * 2
    (row,) = speed_table.rows(records)
    assert (row["time"], row["batch"], row["hidden"], row["dtype"]) == (4, 2, 3, "float32")
    assert set(row["milliseconds"]) == {"scan", "blocked"}
    assert json.loads((second / "config.json").read_text())["dtype"] == "bfloat16"
    assert not (second / "records.jsonl").exists()


def test_defaults_on_an_accelerator_are_settings():
    found = speed_command.defaults(Config(platform="gpu"))
    assert found.pop("budget") < 600
    config = Config(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})
    config.check()
    assert [run.dtype for run in config.runs] == ["float32", "bfloat16"]
    assert speed_command.defaults(Config()) == {}


def test_table_that_auto_chooses_by(tmp_path, monkeypatch):
    """Of what ran and was right, on one device, without remat, beside another kernel; of devices that are measured."""

    def timed(kernel, milliseconds, **others):
        return {
            **record(f"rnnjax {kernel}", "100x32x64", milliseconds / 1e3),
            "benchmark": "speed",
            "library": "rnnjax",
            "kernel": kernel,
            "remat": None,
            "devices": 1,
            "config": {"dtype": "float32"},
            "environment": {"platform": "gpu", "device": "a GPU"},
            **others,
        }

    others = [timed("fused", 1, status="different"), timed("fused", 1, remat="sqrt"), timed("fused", 1, devices=2)]
    others += [timed("fused", 1, environment={"platform": "METAL", "device": "a GPU"}), timed("fused", 1, cell="gru")]
    others += [timed("cudnn", 1), timed("auto", 1), timed("fused", 1, library="keras")]
    others += [timed("scan", 1, cell="min-gru"), timed("blocked", 1, cell="min-gru")]  # no gates to look it up by
    (row,) = speed_table.rows([timed("scan", 3), timed("blocked", 2), *others])
    size = {"gates": 4, "time": 100, "batch": 32, "hidden": 64}
    assert row == {
        "platform": "cuda",
        "device": "a GPU",
        "dtype": "float32",
        **size,
        "milliseconds": row["milliseconds"],
    }
    assert row["milliseconds"] == {"scan": 3, "blocked": 2}
    assert Measured(**row).hidden == 64

    table, path = tmp_path / "measured.json", tmp_path / "records.jsonl"
    monkeypatch.setattr(speed_table, "MEASURED", table)
    tpu = row | {"platform": "tpu", "device": "a TPU"}
    table.write_text(json.dumps([row | {"time": 7}, tpu]))
    path.write_text("".join(json.dumps(timed(name, 1)) + "\n" for name in ("scan", "fused")))
    speed_table.command(path)
    assert json.loads(table.read_text()) == [tpu, row | {"milliseconds": {"scan": 1, "fused": 1}}]


def test_table_from_what_is_none(tmp_path, capsys, monkeypatch):
    """One line, and the table stays as it is."""
    monkeypatch.setattr(speed_table, "MEASURED", tmp_path / "measured.json")
    (tmp_path / "other.jsonl").write_text('{"benchmark": "lags"}\n')
    one_kernel = f"{REPOSITORY}/benchmarks/reference/speed-length.jsonl"
    wanted = {
        "": "RECORDS: give at least one file",
        f"{tmp_path}/none.jsonl": "RECORDS: cannot read ",
        f"{tmp_path}/other.jsonl": f"RECORDS: {tmp_path}/other.jsonl does not hold records of the speed benchmark",
        one_kernel: "RECORDS: no two kernels are timed in them; the table stays as it is",
    }
    for arguments, message in wanted.items():
        assert run_alone("table", speed_table.command, arguments.split()) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith(message)
        assert printed.err.count("\n") == 1
    assert run_alone("table", speed_table.command, ["--help"]) == 0
    assert "Files records.jsonl of the speed benchmark." in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["other.jsonl"]


def check_record(record: dict) -> None:
    """It has times and says that it computes the same, or why it has none."""
    if record["status"] != "ok":
        assert record["reason"]
        assert record["forward"] is record["step"] is None
        return
    assert record["reason"] is None
    assert set(record["differences"]) == {"ys", "weights", "xs"}
    assert max(record["differences"].values()) < (1e-4 if record["config"]["dtype"] == "float32" else 5e-2)
    for routine in (record["forward"], record["step"]):
        assert len(routine["seconds"]) == record["config"]["repeats"]
        assert routine["quartiles"][0] <= routine["median"] <= routine["quartiles"][1]
        np.testing.assert_allclose(routine["median"], np.median(routine["seconds"]))
        if record["library"] == "rnnjax":
            assert routine["compile_seconds"] > 0
            assert routine["memory_bytes"] > 0


def test_library_that_is_missing_or_wrong_or_fails_is_listed(tmp_path, capsys, monkeypatch):
    def wrong(name, params, xs):
        return ours(Column(kernel="scan"), name, params._replace(b=1.01 * params.b), xs)

    def fail(name, params, xs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore")

    pretend(monkeypatch, "equinox", None)
    pretend(monkeypatch, "keras", SimpleNamespace(PACKAGE="numpy", CELLS={"rnn": 0}, LACKS={}, make=wrong))
    pretend(monkeypatch, "flax-nnx", SimpleNamespace(PACKAGE="numpy", CELLS={"rnn": 0}, LACKS={}, make=fail))
    pretend(monkeypatch, "haiku", SimpleNamespace(PACKAGE="numpy", CELLS={}, LACKS={"rnn": "has none"}, make=None))
    libraries = ["rnnjax", "equinox", "keras", "flax-nnx", "haiku"]
    assert main([*TINY, "--shapes", "4x2x3", "--libraries", *libraries, "--out", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    records = {record["library"]: record for record in read(results_in(tmp_path))}
    statuses = {library: record["status"] for library, record in records.items()}
    assert statuses == dict(
        zip(libraries, ("ok", "not installed", "different", "out of memory", "unsupported"), strict=True)
    )
    assert records["keras"]["reason"].startswith("ys apart by 0.0")
    assert 1e-4 < records["keras"]["differences"]["weights"] < 0.1
    for library, record in records.items():
        check_record(record)
        assert library == "rnnjax" or f"{library}: {record['status']}: " in text


def test_difference_never_passes_a_nan():
    results = ours(Column(kernel="scan"), "rnn", *draw("rnn", Shape(3, 1, 2), "float32")).results()
    broken = results._replace(weights=np.full_like(results.weights, np.nan), xs=results.xs[:1])
    found = differences(broken, results)
    assert found["ys"] == 0
    assert not found["weights"] < np.inf
    assert found["xs"] == np.inf


def test_training_step_is_the_gradient_of_the_mean_of_squares():
    """By finite differences in one direction, of a loss written in numpy."""
    params, xs = draw("rnn", Shape(4, 2, 3), "float32")
    results = ours(Column(), "rnn", params, xs).results()
    direction = np.random.RandomState(1).standard_normal((2, 3, 3))

    def loss(scale):
        h, total = np.zeros((2, 3)), 0.0
        w_x, w_h = params.w_x + scale * direction[0], params.w_h + scale * direction[1]
        for x in np.float64(xs):
            h = np.tanh(x @ w_x + h @ w_h + params.b)
            total += np.square(h).sum()
        return total / xs.size

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(np.vdot(results.weights, direction), slope, rtol=1e-4)


def record(column, shape, seconds, status="ok"):
    times = {"median": seconds, "quartiles": [seconds, seconds], "compile_seconds": None, "memory_bytes": None}
    routine = times if status == "ok" else None
    where = {"cell": "lstm", "shape": shape, "column": column, "status": status, "reason": "why"}
    return where | {"forward": routine, "step": routine}


def test_table_shows_multiples_of_the_first_column():
    config = Config(cells=("lstm",), shapes=("1x1x1", "2x2x2"), libraries=("rnnjax", "pytorch", "haiku"))
    records = [record("rnnjax", "1x1x1", 0.002), record("pytorch", "1x1x1", 0.003), record("haiku", "1x1x1", 0.001)]
    records += [record("rnnjax", "2x2x2", 0, "failed"), record("pytorch", "2x2x2", 0.004)]
    records += [record("haiku", "2x2x2", 0, "failed")]
    assert table_rows(records, config, "step", 1) == [
        ("cell", "shape", "rnnjax (ms)", "pytorch", "haiku"),
        ("lstm", "1x1x1", "2", "1.50", "0.50"),
        ("lstm", "2x2x2", "-", "4 ms", "-"),
    ]
    assert speed_records.failures(records) == [
        "rnnjax (lstm 2x2x2): failed: why",
        "haiku (lstm 2x2x2): failed: why",
    ]


def test_table_of_the_readme(tmp_path):
    line = record("rnnjax", "1x1x1", 0.5) | {"config": dataclasses.asdict(Config(("lstm",), ("1x1x1",), ("rnnjax",)))}
    (tmp_path / "records.jsonl").write_text(json.dumps(line) + "\n")
    text = f"<!-- table: speed {tmp_path}/records.jsonl forward 1 -->\n<!-- end of table -->"
    assert "| lstm | 1x1x1 | 500 |\n" in readme.render(text)


BAD_INPUT = {
    "--cells ltsm": "--cells: unknown cell 'ltsm': did you mean 'lstm'? Known: rnn,",
    "--cells": "--cells: give at least one",
    "--shapes 100x32": "--shapes: '100x32' is not TIMExBATCHxHIDDEN, such as 100x32x128",
    "--shapes 0x1x1": "--shapes: '0x1x1' is not",
    "--shapes 1x1x1 1x1x1": "--shapes: 1x1x1 1x1x1 has a value twice",
    "--libraries torch": "--libraries: unknown library 'torch': did you mean 'pytorch'? Known: rnnjax, pytorch,",
    "--kernels scn": "--kernels: unknown kernel 'scn': did you mean 'scan'? Known: auto,",
    "--kernels scan --libraries keras": "--kernels has no effect without rnnjax among --libraries: leave it out",
    "--remat half": "--remat: 'half' is neither none, nor sqrt, nor a number of steps",
    "--remat sqrt --libraries keras": "--remat has no effect without rnnjax among --libraries: leave it out",
    "--devices 0": "--devices must be at least 1, got 0",
    "--devices 99": "--devices: there are 2 here, not 99",
    "--budget -1": "--budget must be at least 0, got -1",
    "--repeats 0": "--repeats must be at least 1, got 0",
    "--repeats 1.5": 'Invalid value for --repeats: unable to convert "1.5" into int',
    "--dtype float64": 'Invalid value "float64" for --dtype. Choose from: "float32", "bfloat16", "both"',
    "--platform tpu": "--platform: JAX ",
    "--resume .": "--resume: . is not a results folder",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, tmp_path, capsys):
    assert main(["speed", *arguments.split(), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_INPUT[arguments])
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(jax.default_backend() == "gpu", reason="it has one here")
def test_a_gpu_that_is_not_there():
    """In a process of its own, where JAX has not started: it is looked for, and not one of every maker."""
    command = [sys.executable, "-m", "benchmarks", "speed", "--platform", "gpu"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.stderr == f"--platform: JAX runs on {jax.default_backend()} here, not on gpu\n"


# --- other libraries --------------------------------------------------------------------------------------------------

LACKING = {("equinox", "rnn"), ("haiku", "rnn"), ("haiku", "gru"), ("jax-cudnn", "rnn"), ("jax-cudnn", "gru")}


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def all_libraries(request, tmp_path_factory):
    """Records of a run of all libraries, in a process of its own: Keras runs on JAX there, and on PyTorch in others."""
    out = tmp_path_factory.mktemp("all")
    arguments = ["--shapes", "4x2x3", "--repeats", "1", "--dtype", request.param, "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks", "speed", *arguments]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return {(record["library"], record["cell"]): record for record in read(results_in(out))}


@pytest.mark.peers
@pytest.mark.parametrize("library", PEERS)
def test_adapter_computes_the_same(library, all_libraries):
    found = {cell: all_libraries[library, cell] for cell in ("rnn", "lstm", "gru")}
    if found["lstm"]["status"] == "not installed" or found["lstm"]["reason"] == "needs a GPU":
        pytest.skip(found["lstm"]["reason"])
    for cell, record in found.items():
        check_record(record)
        assert record["status"] == ("unsupported" if (library, cell) in LACKING else "ok"), record["reason"]


@pytest.mark.peers
def test_peak_memory_of_pytorch(capfd):
    """What is held at once, not what is asked for in all: an array of 1 MiB after another, and two together."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers.pytorch import peak_bytes

    def one_after_another():
        for _ in range(3):
            torch.zeros(2**18)

    def two_together():
        return torch.zeros(2**18), torch.zeros(2**18)

    assert peak_bytes(one_after_another, "cpu") == 2**20
    assert peak_bytes(two_together, "cpu") == 2**21
    assert capfd.readouterr().err == ""


def test_weights_of_cudnn():
    """As jax.experimental.rnn packs them, by its own reference, which runs everywhere."""
    params, xs = draw("lstm", Shape(4, 2, 3), "float32")
    vector = cudnn.pack(params)
    unpacked = jax_cudnn.unpack("lstm", params, vector)
    for got, want in zip(unpacked, params, strict=True):
        np.testing.assert_array_equal(got, want)
    zeros, lengths = jnp.zeros((1, 2, 3)), jnp.full(2, 4, jnp.int32)
    weights = rnn.unpack_lstm_weights(vector, 3, 3, 1, False)
    ys, _, _ = rnn.lstm_ref(xs.swapaxes(0, 1), zeros, zeros, *weights, lengths, 3, 3, 1, 0.0, False)
    want = rnnjax.unroll(rnnjax.LSTM(3), params, xs)[1]
    assert relative_error(ys.swapaxes(0, 1), want) < 1e-6
