"""The results page."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest

from common.errors import WorkError
from common.files import write_json
from training.tools import report

EVALUATE = {
    "classes": 104,
    "way": 5,
    "instances": 2,
    "mann": {"instance_accuracy": {"1": 0.196, "2": 0.478}, "instance_ci95": {"1": 0.017, "2": 0.02}, "few_shot": {}},
    "lstm": {"instance_accuracy": {"1": 0.188, "2": 0.18}, "instance_ci95": {"1": 0.016, "2": None}, "few_shot": {}},
}
ERRORS = {"mse_standardised": 0.5, "mse_standardised_ci95": 0.01, "bce_pixels": 0.625, "bce_pixels_ci95": None}
STAGE1 = {"fine_tuned": ERRORS, "baseline": ERRORS | {"bce_pixels": None}}
SCORES = {"top1": 0.25, "top1_ci95": 0.03, "top5": 0.75, "top5_ci95": 0.02, "macro_f1": 0.1}
STAGE2 = {"classes": 26, "train_clips": 9, "test_clips": 3, "unmasked": SCORES, "masked": SCORES | {"top1": 0.125}}
NOTHING = {"evaluate": None, "stage1": None, "stage2": None}


def page(figure=None, **metrics):
    return report.render(NOTHING | metrics, figure)


def rows(html, heading):
    """The cells of the table in the section with a heading, row by row."""
    section = next(part for part in html.split("<section>") if heading in part)
    table = ElementTree.fromstring(re.search(r"<table>.*</table>", section, re.S)[0])
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def test_few_shot_accuracies_are_in_percent_with_intervals():
    assert rows(page(evaluate=EVALUATE), "Stage 3") == [
        ["k", "1", "2"],
        ["mann", "19.6 ± 1.7", "47.8 ± 2.0"],
        ["lstm", "18.8 ± 1.6", "18.0"],
    ]
    assert "5-way episodes of 104 held-out classes" in page(evaluate=EVALUATE)


def test_reconstruction_errors_stand_beside_the_paper_s():
    assert rows(page(stage1=STAGE1), "Stage 1") == [
        ["", "MSE, standardised", "BCE, pixels"],
        ["fine_tuned", "0.5000 ± 0.0100", "0.6250"],
        ["baseline", "0.5000 ± 0.0100", "–"],
        ["paper, fine-tuned", "0.1776 (unit not stated)", ""],
        ["paper, baseline", "0.1781 (unit not stated)", ""],
    ]


def test_classification_accuracies_stand_beside_the_paper_s():
    assert rows(page(stage2=STAGE2), "Stage 2") == [
        ["", "top-1", "top-5"],
        ["unmasked", "25.0 ± 3.0", "75.0 ± 2.0"],
        ["masked", "12.5 ± 3.0", "75.0 ± 2.0"],
        ["paper, SPT, unmasked", "46.8", ""],
        ["paper, head, unmasked", "", "74.5"],
        ["paper, head, masked", "", "76"],
    ]


def test_stages_without_metrics_are_shown_as_not_run():
    html = page()
    assert [f"<code>make {target}</code>" in html for target in ("evaluate", "train-stage1", "train-stage2")] == [
        True
    ] * 3
    assert "<table" not in html
    assert "make evaluate" not in page(evaluate=EVALUATE)


def test_names_are_escaped():
    name = "<script>alert('x')</script> & co"
    html = page(evaluate={"classes": 1, "way": 5, name: EVALUATE["mann"]}, stage1={name: ERRORS})
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; co") == 2
    assert rows(html, "Stage 3")[1][0] == name


def test_values_are_escaped():
    hostile = {"instance_accuracy": {"<b>1</b>": 0.5}, "instance_ci95": {"<b>1</b>": 0.1}}
    assert "<b>" not in page(evaluate={"classes": 1, "way": 5, "mann": hostile})


def test_the_figure_is_inside_the_page():
    html = page(figure=b"\x89PNG bytes", stage1=STAGE1)
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', html)[1]
    assert base64.b64decode(encoded) == b"\x89PNG bytes"
    assert "<img" not in page(stage1=STAGE1)


def test_the_page_needs_no_other_file():
    html = page(figure=b"x", evaluate=EVALUATE, stage1=STAGE1, stage2=STAGE2)
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert html.startswith("<!doctype html>")


def test_the_page_is_written_from_the_metrics_files(here, capsys):
    write_json(here / "metrics/evaluate.json", EVALUATE)
    write_json(here / "metrics/stage1.json", STAGE1)
    (here / "plots").mkdir()
    (here / "plots/stage1_reconstruction.png").write_bytes(b"figure")
    report.main()
    assert (here / "reports/results.html").read_text() == page(b"figure", evaluate=EVALUATE, stage1=STAGE1)
    assert capsys.readouterr().out == "reports/results.html: written\n"


def test_the_page_of_a_trained_project_has_every_method(trained_project, monkeypatch, tmp_path):
    monkeypatch.chdir(trained_project)
    monkeypatch.setattr(report, "OUT", tmp_path / "results.html")
    report.main()
    html = (tmp_path / "results.html").read_text()
    assert [row[0] for row in rows(html, "Stage 3")[1:]] == [
        *("mann_pretrained", "mann_scratch", "lstm_pretrained", "untrained"),
        *("nearest_mean_pretrained", "nearest_mean_scratch"),
    ]
    assert "Not run" not in html
    assert "data:image/png" in html


def test_a_dataset_without_training_has_a_page_too(here):
    write_json(here / "metrics/dataset.json", {"classes": 518})
    report.main()
    assert (here / "reports/results.html").read_text().count("Not run") == 3


def test_without_any_metrics_there_is_no_page(here):
    with pytest.raises(WorkError, match="metrics/ is empty: run `make evaluate` first"):
        report.main()
    assert not (here / "reports").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"text"'])
def test_a_damaged_metrics_file_is_named(here, content):
    write_json(here / "metrics/stage1.json", STAGE1)
    (here / "metrics/evaluate.json").write_text(content)
    with pytest.raises(WorkError, match=r"metrics/evaluate\.json is damaged"):
        report.main()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluate", {"classes": 5}),
        ("evaluate", {"classes": 5, "mann": {"accuracy": 1}}),
        ("stage1", {"baseline": {"mse": 1.0}}),
        ("stage1", {"baseline": ERRORS | {"mse_standardised": "much"}}),
        ("stage2", {"classes": 26}),
    ],
)
def test_metrics_of_another_version_are_an_error(here, name, content):
    write_json(here / f"metrics/{name}.json", content)
    with pytest.raises(WorkError, match="metrics/ has results of another version"):
        report.main()
