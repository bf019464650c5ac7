"""What "auto" takes, and whether it tells the truth about it."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.kernels import choice
from tests.support import declared, normal_like

ROW = {"device": "a GPU", "dtype": "float32", "gates": 4, "time": 100, "batch": 32, "hidden": 64}
TIMES = {"scan": 3.0, "blocked": 2.0, "fused": 1.0}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A function that puts rows in the place of the table."""

    def put(*rows):
        path = tmp_path / "measured.json"
        path.write_text(json.dumps(rows))
        monkeypatch.setattr(choice, "MEASURED", path)
        monkeypatch.setattr(choice, "devices_here", lambda platform: [SimpleNamespace(device_kind=ROW["device"])])
        choice.measured.cache_clear()

    yield put
    choice.measured.cache_clear()


def explain(cell, time=100, batch=32, dtype=jnp.float32, inputs=None):
    xs = jax.ShapeDtypeStruct((time, batch, 8), inputs or dtype)
    return rnnjax.explain_kernel(cell, declared(cell, 8, dtype), xs)


def kernels(*arguments, **others):
    return {each.platform: each.kernel for each in explain(*arguments, **others)}


def test_what_is_committed_is_a_table():
    """Nothing is in it that was not measured: where there is nothing, all platforms do alike."""
    choice.measured.cache_clear()
    rows = choice.measured()
    assert all(row.platform in choice.PLATFORMS and min(row.milliseconds.values()) > 0 for row in rows)
    for platform in set(choice.PLATFORMS) - {row.platform for row in rows}:
        assert kernels(rnnjax.LSTM(64))[platform] == "blocked"
        assert kernels(rnnjax.GRU(64), time=15)[platform] == "scan"


def test_the_fastest_that_was_measured_nearby(measured):
    measured(
        {"platform": "cuda", **ROW, "milliseconds": TIMES},
        {"platform": "cuda", **ROW, "time": 1000, "milliseconds": TIMES | {"scan": 0.5}},
        {"platform": "tpu", **ROW, "milliseconds": TIMES | {"fused": 2.5}},
    )
    usual = {"cpu": "blocked", "other": "blocked"}
    assert kernels(rnnjax.LSTM(64)) == {**usual, "cuda": "fused", "tpu": "blocked"}
    assert kernels(rnnjax.PeepholeLSTM(60), time=60) == {**usual, "cuda": "fused", "tpu": "blocked"}  # four gates too
    assert kernels(rnnjax.LSTM(64), time=900) == {**usual, "cuda": "scan", "tpu": "blocked"}
    # Not near, in another precision, of other gates.
    assert kernels(rnnjax.LSTM(64), batch=1024)["cuda"] == "blocked"
    assert kernels(rnnjax.LSTM(64), dtype=jnp.bfloat16)["cuda"] == "blocked"
    assert kernels(rnnjax.Elman(64))["cuda"] == "blocked"
    assert kernels(rnnjax.LSTM(64), inputs=jnp.bfloat16)["cuda"] == "blocked"
    measured({"platform": "cuda", **ROW, "gates": 1, "milliseconds": TIMES})
    assert kernels(rnnjax.Elman(64))["cuda"] == "fused"
    assert kernels(rnnjax.CELLS["lstm-1997"](32))["cuda"] == "blocked"  # nine square matrices in one


def test_nothing_is_taken_that_was_not_seen_to_run(measured, monkeypatch):
    """On another kind of GPU the kernel may not fit; with products in another precision it is another kernel."""
    measured({"platform": "cuda", **ROW, "device": "another GPU", "milliseconds": TIMES})
    assert kernels(rnnjax.LSTM(64))["cuda"] == "blocked"
    (found,) = (each.why for each in explain(rnnjax.LSTM(64)) if each.platform == "cuda")
    assert found.endswith("; what is measured near it is on another GPU, which is not here")
    measured({"platform": "cuda", **ROW, "milliseconds": TIMES})
    assert kernels(rnnjax.LSTM(64))["cuda"] == "fused"
    with jax.default_matmul_precision("highest"):
        assert kernels(rnnjax.LSTM(64))["cuda"] == "blocked"
    monkeypatch.undo()
    assert choice.devices_here(jax.default_backend()) == jax.devices()
    assert choice.devices_here("no such platform") == []


def test_a_cpu_is_measured_too(measured):
    """The usual kernel stays unless another is a tenth faster, and the reason tells the truth with or without a row."""
    row = {"platform": "cpu", **ROW}

    def on_cpu(scan, blocked, **others):
        measured(row | {"milliseconds": {"scan": scan, "blocked": blocked}})
        (found,) = (each for each in explain(rnnjax.LSTM(64), **others) if each.platform == "cpu")
        return found.kernel, found.why

    at = "measured at 100x32x64 in float32 on a GPU"
    assert on_cpu(3.0, 2.0) == ("blocked", f"2 ms a training step, 3 by 'scan', {at}")
    assert on_cpu(2.0, 2.2) == ("scan", f"2 ms a training step, 2.2 by 'blocked', {at}")
    close = "; 'scan' has less than 1.1 times its speed, which may be noise"
    assert on_cpu(2.0, 2.1) == ("blocked", f"2.1 ms a training step, 2 by 'scan', {at}{close}")
    few = "; not 'blocked': \"blocked\" takes longer to compile than so few steps can make up for"
    assert on_cpu(2.0, 1.0, time=15) == ("scan", f"2 ms a training step, 1 by 'blocked', {at}{few}")
    usual = (
        "one product a step in the backward loop, where the scan has two; nothing near it is measured on this platform"
    )
    assert on_cpu(2.0, 3.0, time=10_000) == ("blocked", usual)


def test_fused_is_not_taken_where_a_batch_may_be_spread(measured, monkeypatch):
    """Over two devices of one kind: JAX cannot share out such a kernel. Inside `jax.shard_map` it need not."""
    measured({"platform": "tpu", **ROW, "milliseconds": TIMES})
    two = [SimpleNamespace(device_kind=ROW["device"])] * 2
    monkeypatch.setattr(choice, "devices_here", lambda platform: two)
    (found,) = (each for each in explain(rnnjax.LSTM(64)) if each.platform == "tpu")
    assert found.kernel == "blocked"
    assert found.why.endswith("; not 'fused': several devices are here, and only jax.shard_map spreads it over them")

    def inside(names, axis_type=jax.sharding.AxisType.Auto):
        """What is taken inside shard_map over some axes of two."""
        mesh = jax.make_mesh((2, 1), ("batch", "seeds"), axis_types=(axis_type,) * 2)
        taken = []

        def look(xs):
            taken.append(kernels(rnnjax.LSTM(64))["tpu"])
            return xs

        spec = jax.sharding.PartitionSpec()
        spread = jax.shard_map(look, mesh=mesh, in_specs=spec, out_specs=spec, axis_names=names)
        jax.eval_shape(jax.jit(spread), jnp.zeros(2))
        return taken[-1]

    assert inside({"batch", "seeds"}) == "fused"
    assert inside({"batch"}) == "fused"  # one device along the other
    assert inside({"seeds"}) == "blocked"


def test_the_next_if_the_fastest_cannot_run(measured):
    """A layer norm of 100 units, in 128 lanes, is too large for one multiprocessor, and is not split."""
    measured({"platform": "cuda", **ROW, "hidden": 128, "milliseconds": TIMES})
    assert kernels(rnnjax.LSTM(100))["cuda"] == "fused"
    assert kernels(rnnjax.cells.LayerNormLSTM(100))["cuda"] == "blocked"


def test_fused_that_was_measured_on_fewer_units_does_not_speak_for_more(measured):
    """Those may be split, one launch a step."""
    measured({"platform": "cuda", **ROW, "milliseconds": TIMES})
    assert kernels(rnnjax.LSTM(64))["cuda"] == "fused"
    assert kernels(rnnjax.LSTM(100))["cuda"] == "blocked"


def test_a_choice_by_platform_changes_no_result(measured):
    """A program with one kernel for each platform runs on this one, and is differentiated."""
    cell = rnnjax.Elman(4)
    params, xs = normal_like((declared(cell, 3), jax.ShapeDtypeStruct((16, 2, 3), jnp.float32)), 0)
    sizes = {"gates": 1, "time": 16, "batch": 2, "hidden": 4}
    rows = [{"platform": platform, **ROW, **sizes} for platform in ("cuda", "tpu")]

    def gradient():
        return jax.jit(jax.grad(lambda params: jnp.square(rnnjax.unroll(cell, params, xs)[1]).sum()))(params)

    want = gradient()
    measured(*(row | {"milliseconds": TIMES} for row in rows))
    assert kernels(cell, 16, 2)["tpu"] == "fused"
    for got, expected in zip(gradient(), want, strict=True):
        np.testing.assert_array_equal(got, expected)

    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(None, "batch")
    spread = jax.shard_map(lambda *point: rnnjax.unroll(cell, *point)[1], mesh=mesh, in_specs=specs, out_specs=specs[1])
    assert jax.eval_shape(spread, params, xs).shape == (16, 2, 4)


def test_explanation():
    """Every cell of a composition, each once, in words; the same errors as `unroll`."""
    cell = rnnjax.Stack((rnnjax.Zoneout(rnnjax.GRU(8)), rnnjax.LSTM(8), rnnjax.LSTM(8), rnnjax.MinGRU(8)))
    params, xs = declared(cell, 8), jax.ShapeDtypeStruct((100, 4, 8), jnp.float32)
    lines = [str(each) for each in rnnjax.explain_kernel(cell, params, xs, deterministic=True)]
    assert len(lines) == len(set(lines)) == 3 * len(choice.PLATFORMS)
    assert lines[0].startswith("cpu: 'blocked' for Zoneout over 100 steps: one product a step in the backward loop, ")
    assert (
        "cuda: 'parallel' for MinGRU over 100 steps: a linear recurrence, all steps at once; not measured yet" in lines
    )
    assert lines[5].startswith("cuda: 'blocked' for LSTM over 100 steps: ")
    with pytest.raises(ValueError, match=r"^xs has 8 features, but params were initialised for 3"):
        rnnjax.explain_kernel(rnnjax.LSTM(8), declared(rnnjax.LSTM(8), 3), xs)
    with pytest.raises(ValueError, match=r"^kernel must be \"auto\", whose choice is explained, got 'scan'$"):
        rnnjax.explain_kernel(cell, params, xs, kernel="scan")
    assert rnnjax.explain_kernel(cell, params, xs, kernel="auto", deterministic=True)


def test_explanation_of_segments():
    """Of 30, 30, 30 and 10 steps, where the last are too few: each line says which it is about."""
    cell = rnnjax.LSTM(8)
    found = rnnjax.explain_kernel(cell, declared(cell, 8), jax.ShapeDtypeStruct((100, 4, 8), jnp.float32), remat=30)
    taken = {(each.steps, each.kernel) for each in found if each.platform == "other"}
    assert taken == {(30, "blocked"), (10, "scan")}
    assert len(found) == 2 * len(choice.PLATFORMS)
