"""The text of /metrics, read by the official parser: what the C test program renders is checked
here; a running service's text can be given to check_text as well."""

import math
import os
import pathlib
import subprocess

import pytest

parser = pytest.importorskip("prometheus_client.parser")

TOP = pathlib.Path(__file__).resolve().parents[2]
KINDS = {"counter", "gauge", "histogram"}


def check_histogram(family):
    """Buckets rise, +Inf is the last one and equals the count."""
    series = {}
    for sample in family.samples:
        labels = {k: v for k, v in sample.labels.items() if k != "le"}
        one = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if sample.name.endswith("_bucket"):
            one["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            one[sample.name.rsplit("_", 1)[1]] = sample.value
    assert series
    for one in series.values():
        bounds = [bound for bound, _ in one["buckets"]]
        counts = [count for _, count in one["buckets"]]
        assert bounds == sorted(bounds) and bounds[-1] == math.inf
        assert counts == sorted(counts) and counts[-1] == one["count"]
        assert one["sum"] >= 0


def check_text(text):
    """Every family is announced, typed and named as the guide of Prometheus wants; no sample
    stands there twice. Returns the families by name."""
    assert text.endswith("\n")
    families = {}
    seen = set()
    for family in parser.text_string_to_metric_families(text):
        assert family.name not in families
        assert family.name.startswith("oneshot_")
        assert family.type in KINDS, family.name
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in seen, key
            seen.add(key)
            assert not math.isnan(sample.value)
            if family.type == "counter":
                assert sample.name.endswith("_total") and sample.value >= 0
        if family.type == "histogram":
            check_histogram(family)
        families[family.name] = family
    assert families
    assert len(seen) < 5000
    return families


def test_what_the_program_renders_is_valid(tmp_path):
    programs = sorted(TOP.glob("build/*/unit/test_metrics"), key=os.path.getmtime)
    if not programs:
        pytest.skip("build/*/unit/test_metrics is not built: run `make unit`")
    out = tmp_path / "metrics.txt"
    subprocess.run([programs[-1]], env={**os.environ, "ONESHOT_METRICS_OUT": str(out)}, check=True,
                   stdout=subprocess.DEVNULL)
    families = check_text(out.read_text())
    assert {"oneshot_runs", "oneshot_run_stage_seconds", "oneshot_pool_containers",
            "oneshot_engine_calls", "oneshot_build_info"} <= families.keys()
    names = {s.labels["policy"] for s in families["oneshot_pool_containers"].samples}
    assert 'a"b\\c\nd' in names
