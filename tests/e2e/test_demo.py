"""`make demo`'s script: a sentence in, a plot out, and nothing left behind."""

import pathlib
import re
import subprocess
import tempfile

import engine
import pytest
from standins.running import HEAVY, TESTS, judged

STEM = "inverter_voltage_current"
SIGNALS = ["INV_DC_Bus_Current", "INV_DC_Bus_Voltage"]
PACKAGES_S = 600  # the two of the fixture are within the time of the test that asks first

pytestmark = pytest.mark.skipif(not HEAVY.exists(), reason="needs make build/venv-standins/ready")


def demo(place, *words):
    return subprocess.run([str(HEAVY), str(TESTS / "demo.py"), "--output", str(place), *words],
                          text=True, capture_output=True, timeout=PACKAGES_S, check=False)


def judge(place, seed):
    return judged(place / f"{STEM}.png", place / f"{STEM}.csv", seed, SIGNALS)


def left_behind():
    """Directories and containers of demonstrations."""
    places = pathlib.Path(tempfile.gettempdir()).glob("oneshot-demo-*")
    names = [c["Labels"].get("oneshot.instance", "")
             for c in engine.call("GET", "/containers/json?all=1")]
    return {str(place) for place in places} | {n for n in names if n.startswith("demo-")}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The demonstration with two seeds; the second in Slack, too."""
    found = {"before": left_behind()}  # by one that was killed
    for seed, more in ((1, []), (2, ["--slack"])):
        place = tmp_path_factory.mktemp(f"seed{seed}")
        p = demo(place, "--seed", str(seed), *more)
        assert p.returncode == 0, p.stderr
        found[seed] = (place, p.stdout)
    return found


@pytest.mark.timeout(3 * PACKAGES_S)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_plot_opens_and_its_points_are_the_databases_rows(shown, seed):
    place, said = shown[seed]
    assert f"saved  {place}/{STEM}.png" in said and f"saved  {place}/{STEM}.csv" in said
    got = judge(place, seed)
    assert got["size"] == [1500, 900] and got["colours"] > 100
    assert got["columns"] == SIGNALS
    # An hour, a row a second; the second that is now may not be there yet.
    assert 3590 <= got["points"] == got["rows"] <= 3601
    assert got["same"] and got["differ"] == 0


def test_two_seeds_give_two_plots(shown):
    pictures = [(shown[seed][0] / f"{STEM}.png").read_bytes() for seed in (1, 2)]
    assert pictures[0] != pictures[1]
    assert judge(shown[1][0], 2)["differ"] > 3000, "the judge sees no difference"


def test_what_happens_is_shown_as_it_happens(shown):
    lines = [line.split(None, 1) for line in shown[1][1].splitlines()]
    words = [words[0] for words in lines]
    assert words[:5] == ["stand-ins", "service", "prompt", "model", "model"]
    assert words[-2:] == ["saved", "saved"]
    assert re.search(r"stdout  \d+ points from ", shown[1][1])


def test_slack_gets_the_answer_too(shown):
    said = shown[2][1]
    assert "slack  U1: !agent plot inverter voltage vs current from the last hour" in said
    assert "slack  bot: <@U1> Processing your request..." in said
    assert f"slack  bot: [{STEM}.png, " in said


def test_nothing_is_left(shown):
    assert left_behind() <= shown["before"]


def test_a_failure_is_told_and_cleans_up(tmp_path):
    p = demo(tmp_path / "out", "--prompt", "impossible")
    assert p.returncode == 1
    assert "failed" in p.stdout and "demo: " in p.stderr
    assert not (tmp_path / "out").exists()
