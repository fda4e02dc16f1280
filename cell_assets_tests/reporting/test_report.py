import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.motion.division_steps import DivisionTrajectory
from cell_assets.evaluation.studies.published_report import read_report
from cell_assets.reporting.division_figure import trajectory_table
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.html import render_html
from cell_assets.reporting.report import write_report
from cell_assets_tests.evaluation.motion.test_division_steps import families
from cell_assets_tests.reporting.contents import renumbered, small_report


@pytest.fixture(scope="module")
def report():
    return small_report()


def bytes_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_report_is_page_figures_numbers_and_predictions(report, tmp_path):
    write_report(tmp_path, report)
    assert set(bytes_of(tmp_path)) == {
        "report.html",
        "numbers.json",
        "figures/precision_recall_infection_state.png",
        "figures/scores.png",
        "figures/example_track_about_to_divide.png",
        "figures/example_track_infection_state.png",
        "figures/projections.png",
        "figures/smoothness_features.png",
        "figures/explained_variance.png",
        "figures/training.png",
        "predictions/infection_state.parquet",
        "predictions/about_to_divide.parquet",
        "displacement.parquet",
        "explained_variance.parquet",
    }


def test_another_process_writes_the_same_bytes(report, tmp_path):
    write_report(tmp_path / "here", renumbered(report))
    script = (
        "import sys; from pathlib import Path\n"
        "from cell_assets.reporting.report import write_report\n"
        "from cell_assets_tests.reporting.contents import small_report\n"
        "write_report(Path(sys.argv[1]), small_report())"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there")], check=True)
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")


def test_no_date_path_or_software_in_any_file(report, tmp_path):
    write_report(tmp_path, report)
    for name, content in bytes_of(tmp_path).items():
        assert str(tmp_path).encode() not in content, name
        if name.endswith(".png"):
            assert not {b"tEXt", b"iTXt", b"tIME"} & {content[k : k + 4] for k in range(8, 200)}, name


def test_numbers_json_holds_every_number_with_its_value_or_reason(report, tmp_path):
    write_report(tmp_path, report)
    document = json.loads((tmp_path / "numbers.json").read_text())
    assert document["format"] == "cell_assets.report"
    assert document["simulated"] is True
    assert document["split"]["n_test_units"] == 8
    assert len(document["numbers"]) == len(report.evaluation.numbers)
    for written, number in zip(document["numbers"], report.evaluation.numbers, strict=True):
        assert written["value"] == number.value
        assert (written["value"] is None) == (written["why_missing"] is not None)


def test_a_report_reads_back(report, tmp_path):
    write_report(tmp_path, report)
    found = read_report(tmp_path)
    evaluation = report.evaluation
    assert (found.simulated, found.split, found.numbers) == (True, evaluation.split, evaluation.numbers)
    assert set(found.predictions) == {"infection_state", "about_to_divide"}
    assert found.explained["share"].tolist() == evaluation.spectrum.explained.tolist()
    for name, curve in (
        ("displacement", evaluation.dynamics[0].dynamics.displacement),
        ("from_first", evaluation.dynamics[0].dynamics.from_first),
    ):
        is_asked = (found.displacement["space"] == "features") & (found.displacement["curve"] == name)
        written = found.displacement[is_asked]
        assert written["lag_min"].tolist() == curve.lag_min.tolist()
        assert written["mean"].tolist() == curve.mean.tolist()


def test_trajectories_read_back_and_an_earlier_report_has_none(report, tmp_path):
    cells = families(n_fovs=2)
    views = [Projection("PCA", np.random.default_rng(0).normal(size=(len(cells), 2)), ("PC 1", "PC 2"))]
    one = DivisionTrajectory(np.arange(6), (np.arange(6, 10), np.arange(10, 14)))
    table = trajectory_table(cells, views, [], [one], cells["t"].to_numpy(dtype=float))
    for name, given in (("seen", table), ("none", table.iloc[:0])):
        write_report(tmp_path / name, replace(report, trajectories=given))
        pd.testing.assert_frame_equal(read_report(tmp_path / name).trajectories, given, check_dtype=False)
    write_report(tmp_path / "earlier", report)
    assert read_report(tmp_path / "earlier").trajectories is None


def test_predictions_read_back(report, tmp_path):
    write_report(tmp_path, report)
    frame = pd.read_parquet(tmp_path / "predictions" / "infection_state.parquet")
    expected = report.evaluation.tasks[0].predictions
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.alts, self.text, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[key] for key in ("src", "href") if key in attrs]
        if tag == "img":
            self.alts.append(attrs["alt"])
        if tag not in {"meta", "img", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(report):
    page = Page()
    page.feed(render_html(report))
    return page


def words(page):
    return re.sub(r"\s+", " ", " ".join(page.text))


def test_the_page_needs_nothing_from_outside_and_every_tag_closes(report, page):
    assert page.open == []
    assert len(page.links) == len(report.figures)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in render_html(report).replace("data:image", "")
    assert all(page.alts)


def test_the_page_says_what_was_scored_on_what_and_where_it_came_from(page):
    text = words(page)
    assert "are scored on 8 test tracks; no track is on both sides" in text
    assert "50 bootstrap resamples of whole units" in text
    assert "positive): test tracks. Intervals are over tracks." in text
    assert "raw_acquisition P1 " + "ab" * 32 in text
    assert "training.preset quick" in text
    assert "not computed: all 160 labelled training rows are negative" in text


def test_simulated_data_are_named_on_the_page_and_real_data_are_not(page):
    assert "Simulated data." in words(page)
    real = small_report(simulated=False)
    assert "imulat" not in re.sub(r"\.simulated|<style>.*</style>", "", render_html(real), flags=re.S)


def test_text_from_outside_is_escaped(report):
    html = render_html(replace(report, subtitle="<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "DynaCLR on &lt;E1&gt; &amp; more" in html


def test_an_animated_page_and_steps_to_look_at_stand_beside_the_report_and_on_it(report, tmp_path):
    steps = pd.DataFrame(
        {
            "plate": ["P1"], "fov_name": ["A/1/<3>"], "track_id": [7], "t": [4], "score": [5.04],
            "motion_score": [0.96], "displacement": [0.75], "displacement_um": [3.25], "minutes_to_division": [10.0],
            "above_threshold": pd.array([True], dtype="boolean"),
        }
    )  # fmt: skip
    full = replace(report, dynamics_page="<!doctype html><p>moving", suspicious_steps=steps)
    write_report(tmp_path, full)
    assert (tmp_path / "dynamics.html").read_text() == "<!doctype html><p>moving"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "suspicious_steps.parquet"), steps)
    read = Page()
    read.feed((tmp_path / "report.html").read_text())
    assert read.open == [] and [link for link in read.links if "data:" not in link] == ["dynamics.html"]
    assert "P1 A/1/<3> 7 4 5.0 1.0 0.750 3.250 10 min later yes" in words(read)
    assert "Steps to look at" not in render_html(report) and "dynamics.html" not in render_html(report)


@pytest.mark.parametrize("name", ["../x", "a/b", "not infected", "a%2Fb", "Zelle geöffnet?"])
def test_whatever_a_person_calls_a_state_has_its_own_files(report, tmp_path, name):
    """A column or state of annotations names tasks and figures; a report must not end over one."""
    first, *others = report.evaluation.tasks
    numbers = [
        replace(one, report=f"dynaclr/{name}") if one.report == f"dynaclr/{first.name}" else one
        for one in report.evaluation.numbers
    ]
    named = replace(report.evaluation, tasks=(replace(first, name=name), *others), numbers=tuple(numbers))
    write_report(
        tmp_path / "report",
        replace(report, evaluation=named, figures=(replace(report.figures[0], name=name),)),
    )
    assert set(read_report(tmp_path / "report").predictions) == {name, *(task.name for task in others)}
    assert len(list((tmp_path / "report" / "figures").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_two_figures_of_one_name_are_refused(report, tmp_path):
    with pytest.raises(BadInputError, match="given more than once"):
        write_report(tmp_path, replace(report, figures=(report.figures[0], report.figures[0])))
