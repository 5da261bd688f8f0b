"""The results page shows every number beside the paper's, names what is missing or wrong, and keeps hostile names as text."""

import hashlib
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from common.errors import ParamError, WorkError
from common.files import write_bytes, write_json
from common.pages import make_environment
from tests.pages import CHROMIUM, Document, run_in_browser
from tests.training import toy
from training import params
from training.engine.runs import pretrain_run, stage1_run, stage2_run
from training.tools import report
from training.tools.report import charts, curves, locked, runs, settings, tables
from training.tools.report.charts import Guide, Interval, IntervalChart, Line, LineChart, Point

HOSTILE = "<script>alert('x')</script> & \"quoted\" \u202eעברית " + "long" * 50


def mean(value: float | None, ci95: float | None = 0.01) -> dict[str, Any]:
    return {"mean": value, "ci95": ci95}


def errors(overall: float) -> dict[str, Any]:
    """A reconstruction's fields in metrics/stage1.json."""
    return {
        "clips": 264,
        "mse_standardised": overall,
        "mse_standardised_ci95": 0.0123,
        "mse_standardised_by_tick": {str(tick): mean(overall + tick / 1000) for tick in (20, 40, 60, 80, 100)},
        "bce_pixels": 0.6 + overall / 10,
        "bce_pixels_ci95": None,
        "bce_pixels_by_tick": {"20": mean(0.601), "100": mean(None, None)},
    }


def scores(top1: float) -> dict[str, Any]:
    """A classifier's fields in metrics/stage2.json."""
    of_any = {"top1_any": 0.42, "top1_any_ci95": 0.04, "top5_any": 0.83, "top5_any_ci95": 0.03}
    f1 = {"macro_f1": 0.11, "f1_multilabel": 0.22, "micro_f1": 0.33}
    return {"top1": top1, "top1_ci95": 0.03, "top5": 0.75, "top5_ci95": 0.02} | of_any | f1


def method(second: float) -> dict[str, Any]:
    """A method's fields in metrics/evaluate.json."""
    return {
        "instance_accuracy": {"1": 0.196, "2": second},
        "instance_ci95": {"1": 0.017, "2": None},
        "few_shot": {"5way_1shot": mean(second, 0.02) | {"episodes": 400}},
    }


def arm(labels: int, one_shot: float) -> dict[str, Any]:
    """An arm's fields in metrics/ablation.json, for a share of labels."""
    return {
        "labels": labels,
        "few_shot": {"5way_1shot": mean(one_shot, 0.004) | {"deviation": 0.012, "episodes": 2000}},
    }


DIFFERENCE = {"difference": {"5way_1shot": mean(-0.298, 0.03) | {"episodes": 400}}}
FULL: dict[str, dict[str, Any]] = {
    "pretrain": {
        "clips": 4206,
        "steps": 500,
        "loss_first": 2.0395,
        "loss_last": 0.4163,
        "test_clips": 1054,
        "masked_error": {"model": mean(0.4186, 0.0076), "visible_mean": mean(0.6643), "same_place": mean(0.5532)},
    },
    "stage1": {
        "fine_tuned": errors(0.3),
        "baseline": errors(0.4),
        "controls": {"visible_mean": errors(0.7), "same_place": errors(0.6)},
        "paired": {"mse_standardised": mean(0.1, 0.002), "bce_pixels": mean(0.01, None)},
    },
    "stage2": {
        "classes": 26,
        "train_clips": 1013,
        "test_clips": 247,
        "unmasked": scores(0.178),
        "masked": scores(0.141),
        "controls": {"chance": {"top1": 0.0385, "top1_ci95": 0.0}, "logistic_regression": scores(0.077)},
    },
    "ablation_stage2": {
        "rows": [{"spt": spt, "masked": False, **scores(0.1), "steps": 80, "seconds": 12.5} for spt in (True, False)],
        "scratch": {"spt": True, "masked": False, **scores(0.05), "steps": 40, "seconds": None},
    },
    "stage3": {"mann_pretrained": {"steps": 250, "loss_first": 5.4, "loss_last": 0.6, "accuracy_last": 0.912}},
    "evaluate": {
        "classes": 104,
        "way": 5,
        "instances": 2,
        "mann_pretrained": method(0.478),
        "lstm": method(0.18) | DIFFERENCE,
        "by_source": {"tinyvirat": {"classes": 24, "instances": 2, "lstm": {"few_shot": {"5way_1shot": mean(0.31)}}}},
    },
    "ablation": {
        "classes": 104,
        "way": 5,
        "instances": 10,
        "episodes": 2000,
        "seeds": 3,
        "arms": {
            "mann_scratch": {"0.01": arm(50, 0.251), "1": arm(4206, 0.343)},
            "mann_finetuned": {"0.01": arm(50, 0.452), "1": arm(4206, 0.764)},
        },
    },
}
ABLATION = (
    "Ablation: 5-way, 1-shot accuracy in % by share of the training labels; 2,000 episodes, mean of 3 seeds, in brackets their "
    "standard deviation"
)
TABLES = {
    "Main results",
    "Table 1: stage 1",
    "Table 2: stage 2, from scratch",
    "Error of masked pixels on the held-out classes, 1,054 clips",
    "Mean squared error, standardised pixels, of masked pixels of held-out clips; 264 clips",
    "Binary cross entropy of pixels, of masked pixels of held-out clips; 264 clips",
    "Accuracy in % over 26 labels; 1,013 clips for training, 247 for the test",
    "Ablation: Shifted Patch Tokenization and masking, in %",
    "Few-shot accuracy in % on 104 held-out classes",
    "Accuracy in % at the k-th instance of a class",
    "Few-shot accuracy in %, episodes of tinyvirat alone, 24 classes",
    "Classes that the first method confuses most, in the same episodes",
    ABLATION,
    "Training of embeddings and learners",
    "Runs",
    "Versions on the machine that wrote this page",
    *(f"metrics/{name}.json" for name in FULL),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with shards and the metrics, curves, pictures and logs of all stages."""
    root = tmp_path_factory.mktemp("results")
    toy.write_shards(root, toy.orbit_clips())
    toy.write_params(root)
    for name, values in FULL.items():
        write_json(root / f"metrics/{name}.json", values)
    for run in ("pretrain", "stage1", "stage2/autoencoder", "stage2/unmasked", "stage2/masked"):
        rows = [f"{step}\t{5 / step:.6f}" for step in range(1, 21)]
        write_bytes(root / f"plots/{run}.tsv", "\n".join(["step\tloss", *rows]).encode())
        validation = "step\tloss\ttop1\n10\t0.6\t0.1\n20\t0.4\t0.2\n"
        write_bytes(root / f"plots/{run}_validation.tsv", validation.encode())
    write_bytes(root / "plots/stage1_reconstruction.png", b"\x89PNG bytes")
    pairs = "first\tsecond\tconfused\tshown\tshare\nriding a bike\triding a mule\t412\t1032\t0.3992\n"
    write_bytes(root / "plots/confused_pairs.tsv", pairs.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_log("pretrain", pretrain_run(params.load()).fingerprint)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which the test runs."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def html(template: Path) -> str:
    """Its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(template)
        return page()


@pytest.fixture(scope="module")
def document(html: str) -> Document:
    return Document(html)


def write_log(run: str, fingerprint: str | None, *, ends: bool = True) -> None:
    """A log of a run as the engine writes it, with an unfinished line."""
    start = {"event": "start", "run": run, "fingerprint": fingerprint, "step": 0, "steps": 20, "device": "CPU drawn"}
    start |= {"processes": 1, "threads": 2, "torch": "2.x.y", "compiled": False, "time": "2026-01-02T03:04:05+00:00"}
    lines = [start, *({"event": "step", "step": step, "loss": 1.0, "clips_per_s": 40.0 + step} for step in (10, 20))]
    lines += [{"event": "end", "step": 20, "seconds": 3725.4}] if ends else []
    write_bytes(Path(f"logs/{run}.jsonl"), ("\n".join(map(json.dumps, lines)) + '\n{"event": "st').encode())


def page() -> str:
    return report.render(report.collect())


def leaves(values: Any) -> list[Any]:
    """All values of a metrics file that are no objects or lists."""
    if isinstance(values, dict | list):
        return [leaf for item in (values.values() if isinstance(values, dict) else values) for leaf in leaves(item)]
    return [values]


def test_every_table_and_every_number_of_the_metrics_is_on_the_page(document):
    assert set(document.tables) == TABLES
    for name, values in FULL.items():
        shown = [row[1] for row in document.tables[f"metrics/{name}.json"][1:]]
        assert shown == [json.dumps(leaf) for leaf in leaves(values)]


def test_table_3_has_the_paper_s_losses_beside_ours_by_frame_and_overall(document):
    rows = document.tables["Mean squared error, standardised pixels, of masked pixels of held-out clips; 264 clips"]
    assert rows[0] == ["", "paper", "ours", "controls", "ours, paired"]
    columns = ["", *["fine-tuned", "not fine-tuned"] * 2, "visible mean", "same place", "difference"]
    assert rows[1] == columns
    assert rows[2] == [
        "frame 20",
        "0.1785",
        "0.1621",
        *(f"{v} ± 0.0100" for v in ("0.3200", "0.4200", "0.7200", "0.6200")),
        "–",
    ]
    assert rows[6][:4] == ["frame 100", "0.1457", "0.1885", "0.4000 ± 0.0100"]
    overall = ["0.3000 ± 0.0123", "0.4000 ± 0.0123", "0.7000 ± 0.0123", "0.6000 ± 0.0123", "0.1000 ± 0.0020"]
    assert rows[7] == ["all frames", "0.1776", "0.1781", *overall]
    pixels = document.tables["Binary cross entropy of pixels, of masked pixels of held-out clips; 264 clips"]
    assert "paper" not in pixels[0]
    assert pixels[6] == ["frame 100", *"–––––"]
    assert pixels[7] == ["all frames", "0.6300", "0.6400", "0.6700", "0.6600", "0.0100"]


def test_the_loss_of_a_normalised_target_has_a_table_of_its_own(project):
    own = {"mse_normalised": 0.55, "mse_normalised_ci95": 0.01, "mse_normalised_by_tick": {"20": mean(0.5)}}
    models = {name: errors(0.3) | own for name in ("fine_tuned", "baseline")}
    write_json(project / "metrics/stage1.json", FULL["stage1"] | models)
    rows = Document(page()).tables[
        "Mean squared error, normalised patches, of masked pixels of held-out clips; 264 clips"
    ]
    assert rows[2] == ["frame 20", "0.5000 ± 0.0100", "0.5000 ± 0.0100", "–", "–", "–"]
    assert rows[-1] == ["all frames", "0.5500 ± 0.0100", "0.5500 ± 0.0100", "–", "–", "–"]


def test_masked_errors_of_pretraining_stand_beside_their_controls(document):
    rows = document.tables["Error of masked pixels on the held-out classes, 1,054 clips"]
    assert rows[1:] == [
        ["autoencoder", "0.4186 ± 0.0076"],
        ["control: visible mean", "0.6643 ± 0.0100"],
        ["control: same place", "0.5532 ± 0.0100"],
    ]


def test_classification_accuracies_stand_beside_the_paper_s_and_the_controls(document):
    rows = document.tables["Accuracy in % over 26 labels; 1,013 clips for training, 247 for the test"]
    assert rows == [
        ["", "top-1", "top-5", "top-1, any label", "top-5, any label", "macro F1", "multi-label F1", "micro F1"],
        ["paper: end to end, 3.1 million parameters", "37", "75", *"–––––"],
        ["paper: head, unmasked, 2.7 million parameters", "–", "74.5", *"–––––"],
        ["paper: head, masked 80%", "–", "76", *"–––––"],
        ["paper: SPT, 10 + 10 epochs, unmasked", "46.8", "–", *"–––––"],
        ["ours: unmasked", "17.8 ± 3.0", "75.0 ± 2.0", "42.0 ± 4.0", "83.0 ± 3.0", "11.0", "22.0", "33.0"],
        ["ours: masked", "14.1 ± 3.0", "75.0 ± 2.0", "42.0 ± 4.0", "83.0 ± 3.0", "11.0", "22.0", "33.0"],
        ["control: chance", "3.9 ± 0.0", *"––––––"],
        ["control: logistic regression", "7.7 ± 3.0", "75.0 ± 2.0", "42.0 ± 4.0", "83.0 ± 3.0", "11.0", "22.0", "33.0"],
    ]


def test_the_ablation_has_a_row_for_each_combination(document):
    rows = document.tables["Ablation: Shifted Patch Tokenization and masking, in %"]
    assert [row[0] for row in rows[1:]] == ["SPT, unmasked", "no SPT, unmasked", "SPT, unmasked, not pre-trained"]
    assert rows[1][1:] == ["10.0 ± 3.0", "75.0 ± 2.0", "42.0 ± 4.0", "83.0 ± 3.0", "11.0", "22.0", "33.0", "80", "12.5"]


def test_few_shot_accuracies_are_in_percent_with_chance(document):
    assert document.tables["Few-shot accuracy in % on 104 held-out classes"] == [
        ["", "accuracy", "less mann pretrained, paired", ""],
        ["", "5-way, 1-shot", "5-way, 1-shot", "episodes"],
        ["mann pretrained", "47.8 ± 2.0", "–", "400"],
        ["lstm", "18.0 ± 2.0", "-29.8 ± 3.0", "400"],
        ["control: chance", "20.0", "–", "–"],
    ]
    assert document.tables["Accuracy in % at the k-th instance of a class"] == [
        ["k", "1", "2"],
        ["mann pretrained", "19.6 ± 1.7", "47.8"],
        ["lstm", "19.6 ± 1.7", "18.0"],
        ["control: chance", "20.0", "20.0"],
    ]
    assert "The paper publishes no numbers for it" in document.text


def test_settings_that_are_not_the_paper_s_are_marked(project):
    toy.write_params(
        project, stage2__label_smoothing=0.2, stage2__finetune__weight_decay=0.005, stage2__finetune__batch=4
    )
    rows = {row[0]: row[1:4] for row in Document(page()).tables["Table 2: stage 2, from scratch"]}
    assert rows["label smoothing"] == ["0.1", "0.2", "differs"]
    assert rows["weight decay"] == ["0.005", "0.005", ""]
    assert rows["epochs"] == [
        "50",
        f"{2 * 4 / 36:.2f}",
        "differs",
    ]  # 2 steps of 4; 36 of 48 toy clips are of the train split
    first = {row[0]: row[1:4] for row in Document(page()).tables["Table 1: stage 1"]}
    assert first["base learning rate, for 256 clips"] == ["0.0024", "0.64", "differs"]  # 0.01 x 256 / 4
    assert first["sampling rate, ticks"][0] == "4"
    assert len(first) == len(rows) + 1 == 14


def test_a_number_differs_from_the_paper_s_beyond_rounding():
    assert not settings.Setting("epochs", 50, 49.9).differs
    assert settings.Setting("epochs", 50, 40.0).differs
    assert settings.Setting("mixup", 0.8, None).differs
    assert not settings.Setting("random erasing", None, None).differs


def test_the_overview_has_the_best_control_and_the_paper_s_number(document):
    rows = document.tables["Main results"]
    assert rows[1] == ["pre-training", "masked error", "0.4186 ± 0.0076", "0.5532 ± 0.0100", "–", "current"]
    assert rows[2][2:] == ["0.3000 ± 0.0123", "0.6000 ± 0.0123", "0.1776", "unknown"]
    assert rows[3][2:] == ["17.8 ± 3.0", "7.7 ± 3.0", "46.8", "unknown"]
    assert rows[4][1:4] == ["mann pretrained, in %: 5-way, 1-shot", "47.8 ± 2.0", "20.0 (chance)"]


@pytest.mark.parametrize(
    ("corpus", "shown"),
    [
        ("sample", ["Sample corpus", "not comparable with the paper's", "The clips are drawings"]),
        ("full", ["Full corpus"]),
        ("https://user:secret@host/mirror", ["Corpus: https://host/mirror", "only if it is complete"]),
    ],
)
def test_the_corpus_is_named(project, corpus, shown):
    toy.write_params(project, corpus=corpus)
    html = page()
    assert [text in Document(html).text for text in shown] == [True] * len(shown)
    assert ("The clips are drawings" in html) is (corpus == "sample")
    assert "secret" not in html


def test_the_largest_classes_of_both_splits_are_charts(document):
    titles = [a["aria-label"] or "" for tag, a in document.elements if tag == "svg" and "aria-label" in a]
    assert titles[:2] == ["train: the 7 classes with most clips, of 7", "test: the 5 classes with most clips, of 5"]


def test_curves_and_results_are_charts_with_chance(html, document):
    names = [a["aria-label"] or "" for tag, a in document.elements if tag == "svg" and "aria-label" in a]
    for title in (
        "Pre-training: loss",
        "Mean squared error, standardised pixels, by frame",
        "Top-1 accuracy on TinyVIRAT's test clips",
        "Autoencoder: loss",
        "Unmasked clips: loss",
        "Unmasked clips: top-1, %",
        "Masked clips: loss",
        "5-way accuracy at the k-th instance of a class, %",
    ):
        assert sum(name.startswith(title) for name in names) == 1, title
    assert html.count("<title>chance, 3.8%</title>") == 4  # two validated columns, the autoencoder's, and the intervals
    assert html.count("<title>chance, 20.0%</title>") == 2  # by instance, and the ablation


def test_stages_that_have_not_run_are_named_with_their_target(toy_project):
    write_json(toy_project / "metrics/dataset.json", {"classes": 518})
    document = Document(page())
    for target in ("train-stage1", "train-stage2", "train-stage3", "ablation-stage2", "ablation", "evaluate"):
        assert f"Not run yet: make {target}" in document.text
    assert set(document.tables) == {caption for caption in TABLES if caption.startswith(("Main", "Table", "Versions"))}
    assert "Runs: not recorded." in document.text
    assert document.tables["Main results"][2] == ["stage 1", "", "–", "–", "–", "not run yet: make train-stage1"]


def test_the_ablation_has_an_arm_a_row_and_a_share_of_labels_a_column(document):
    assert document.tables[ABLATION] == [
        ["", "1% (50 clips)", "100% (4,206 clips)"],
        ["MANN only", "25.1 ± 0.4 (1.2)", "34.3 ± 0.4 (1.2)"],
        ["MAE + MANN, fine-tuned", "45.2 ± 0.4 (1.2)", "76.4 ± 0.4 (1.2)"],
        ["control: chance", "20.0", "20.0"],
    ]
    assert "Ablation: 5-way, 1-shot accuracy, %" in document.text


def test_shares_of_labels_are_on_a_logarithmic_axis():
    points = [Point(1, 0.2), Point(10, 0.3), Point(100, 0.4)]
    chart = LineChart("x", "labels", [Line("a", points)], percent=True, log_x=True)
    assert [tick.label for tick in chart.x_ticks] == ["1", "10", "100"]
    first, second, third = (tick.place for tick in chart.x_ticks)
    assert second - first == pytest.approx(third - second, abs=0.2)


def test_sources_and_confused_classes_have_a_table(document):
    source = document.tables["Few-shot accuracy in %, episodes of tinyvirat alone, 24 classes"]
    assert source == [["", "5-way, 1-shot"], ["lstm", "31.0 ± 1.0"], ["control: chance", "20.0"]]
    pairs = document.tables["Classes that the first method confuses most, in the same episodes"]
    assert pairs[1] == ["riding a bike | riding a mule", "412", "1,032", "39.9"]


@pytest.mark.parametrize(
    "content", ["", "first\tsecond\n", "first\tsecond\tconfused\tshown\tshare\na\tb\tx\t1\t0.5\n", "\xff"]
)
def test_a_damaged_table_of_confused_classes_is_named(project, content):
    (project / "plots/confused_pairs.tsv").write_text(content, encoding="latin-1")
    with pytest.raises(WorkError, match=r"plots/confused_pairs\.tsv is damaged: run `make evaluate` again"):
        report.collect()


def test_learners_that_only_have_validation_accuracies_are_shown(project):
    values = {"nearest_mean": {"validation_1shot": 0.25, "validation_last": 0.375}}
    write_json(project / "metrics/stage3.json", FULL["stage3"] | values)
    rows = Document(page()).tables["Training of embeddings and learners"]
    assert rows[2:] == [
        ["mann pretrained", "250", "5.4000", "0.6000", "91.2", "–", "–"],
        ["nearest mean", "–", "–", "–", "–", "25.0", "37.5"],
    ]


def test_each_stage_alone_has_a_page(project):
    for name in FULL:
        for other in FULL:
            (project / f"metrics/{other}.json").unlink(missing_ok=True)
        write_json(project / f"metrics/{name}.json", FULL[name])
        assert f"metrics/{name}.json" in Document(page()).tables


def test_metrics_of_the_first_version_lack_nothing_but_what_was_added_since(project):
    old = {
        "pretrain": {
            key: value for key, value in FULL["pretrain"].items() if key not in ("test_clips", "masked_error")
        },
        "stage1": {name: errors(0.3) for name in ("fine_tuned", "baseline")},
        "stage2": {key: value for key, value in FULL["stage2"].items() if key != "controls"},
    }
    for name, values in old.items():
        write_json(project / f"metrics/{name}.json", values)
    document = Document(page())
    assert document.rows_that_start_with("all frames")[0][-1] == "–"
    assert document.tables["Main results"][1][2] == "–"


def test_without_shards_there_is_a_page(project):
    (project / "manifests/shards.parquet").unlink()
    text = Document(page()).text
    assert "No shards: make dataset" in text
    assert "Digest of the data: not recorded" in text


def test_runs_are_shown_with_machine_time_and_fingerprint(project, document):
    (row,) = [row for row in document.tables["Runs"] if row[0] == "pretrain"]
    fingerprint = pretrain_run(params.load()).fingerprint
    assert row[1:4] == ["current", "CPU drawn, 1 process, 2 threads", "2.x.y"]
    assert row[4:] == ["no", "2026-01-02T03:04:05+00:00", "1:02:05", "20", "55.0", "–", "–", fingerprint]


def test_results_of_other_params_are_stale(project):
    settings_ = params.load()
    write_log("stage1", stage1_run(settings_).fingerprint)
    write_log("stage2/unmasked", stage2_run(settings_, "unmasked").fingerprint)
    write_log("stage2/masked", "0123456789abcdef")
    write_log("another", "0123456789abcdef")
    states = {row[0]: row[-1] for row in Document(page()).tables["Main results"]}
    assert (states["pre-training"], states["stage 1"], states["stage 2"]) == ("current", "current", "stale")
    toy.write_params(project, stage1__seed=7)
    states = {row[0]: row[-1] for row in Document(page()).tables["Main results"]}
    assert (states["pre-training"], states["stage 1"], states["stage 2"]) == ("current", "stale", "stale")
    assert "Stale: made with other params" in page()


def test_results_of_a_run_elsewhere_are_recorded_in_dvc_lock(project):
    (project / "logs/pretrain.jsonl").unlink()
    assert locked.state_of("pretrain") == "unknown"
    metrics = project / "metrics/pretrain.json"
    output = {"path": "metrics/pretrain.json", "md5": hashlib.md5(metrics.read_bytes()).hexdigest()}
    sections = yaml.safe_load((project / "params.yaml").read_text())
    recorded = {
        "corpus": sections["corpus"],
        "pretrain": sections["pretrain"],
        "loader.shuffle": sections["loader"]["shuffle"],
    }
    lock = {"stages": {"pretrain": {"outs": [output], "params": {"params.yaml": recorded}}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert "Not run here: the results that" in page()
    toy.write_params(project, pretrain__seed=7)
    assert locked.state_of("pretrain") == "stale"
    metrics.write_text(metrics.read_text() + "\n")
    assert locked.state_of("pretrain") == "unknown"
    (project / "dvc.lock").write_text("stages: 3")
    assert locked.state_of("pretrain") == "unknown"


def test_a_run_that_has_not_ended_is_unfinished(project):
    write_log("pretrain", pretrain_run(params.load()).fingerprint, ends=False)
    assert "A run of this stage has not finished" in page()
    (record,) = runs.read(params.load())
    assert (record.state, record.seconds, record.steps) == ("unfinished", None, 20)


def test_the_fingerprint_of_a_run_without_a_log_is_its_checkpoint_s(project):
    (project / "logs/pretrain.jsonl").unlink()
    path = project / "checkpoints/pretrain/model.pt"
    path.parent.mkdir(parents=True)
    torch.save({"fingerprint": pretrain_run(params.load()).fingerprint, "model": {"weight": torch.zeros(3)}}, path)
    (record,) = runs.read(params.load())
    assert (record.state, record.seconds) == ("current", None)
    path.write_bytes(path.read_bytes()[:40])
    (record,) = runs.read(params.load())
    assert (record.state, record.fingerprint) == ("unknown", None)
    assert "not recorded" in page()


def test_no_weights_are_fetched_to_compare_a_fingerprint(project):
    toy.write_params(project, stage1__weights="https://localhost:1/absent.pth")
    write_log("stage1", "0123456789abcdef")
    assert {record.name: record.state for record in runs.read(params.load())}["stage1"] == "unknown"


def test_hostile_names_stay_text(project):
    write_json(project / "metrics/evaluate.json", FULL["evaluate"] | {HOSTILE: method(0.5)})
    write_json(project / "metrics/stage3.json", {HOSTILE: FULL["stage3"]["mann_pretrained"]})
    stage2 = FULL["stage2"] | {"controls": {HOSTILE: scores(0.1)}}
    write_json(project / "metrics/stage2.json", stage2)
    write_json(project / "metrics/pretrain.json", FULL["pretrain"] | {"masked_error": {HOSTILE: mean(0.5)}})
    write_bytes(project / "plots/stage2/unmasked.tsv", f"step\t{HOSTILE}\n1\t0.5\n2\t0.4\n".encode())
    write_log("pretrain", HOSTILE)
    toy.write_params(project, stage2__overrides={"depth": 3}, corpus="/mnt/<b>'\"")
    html = page()
    document = Document(html)
    assert [tag for tag, _ in document.elements].count("script") == 1
    assert not [tag for tag, _ in document.elements if tag == "b"]
    assert HOSTILE.replace("_", " ") in [row[0] for row in document.rows]
    assert html.count("<script>") == 1
    document.assert_self_contained(html)


def test_hostile_class_names_stay_text():
    template = make_environment(Path(report.__file__).parent).get_template("macros.html.jinja")
    svg = str(template.module.bar_chart(report.largest("train", [report.Bar(HOSTILE, 3)])))
    assert "<script" not in svg
    assert Document(svg).elements[-1][0] == "text"


def test_page_refers_to_no_other_file_or_host(html, document):
    document.assert_self_contained(html)
    document.assert_links_lead_to_elements()
    (picture,) = [attributes["src"] for tag, attributes in document.elements if tag == "img"]
    assert picture == "data:image/png;base64,iVBORyBieXRlcw=="
    assert html.startswith("<!doctype html>")


def test_the_page_is_written(project, capsys):
    report.main()
    assert (project / "reports/results.html").read_text(encoding="utf-8") == page()
    assert re.fullmatch(r"reports/results\.html: 0\.\d MB\n", capsys.readouterr().out)


def test_the_page_of_a_trained_project_has_every_method(trained_project, monkeypatch, tmp_path):
    monkeypatch.chdir(trained_project)
    monkeypatch.setattr(report, "OUT", tmp_path / "results.html")
    report.main()
    document = Document((tmp_path / "results.html").read_text(encoding="utf-8"))
    evaluated = toy.read_json(Path("metrics/evaluate.json"))
    methods = [name for name, value in evaluated.items() if isinstance(value, dict) and "instance_accuracy" in value]
    shown = [row[0] for row in document.tables["Accuracy in % at the k-th instance of a class"][1:-1]]
    assert shown == [tables.name_of(name) for name in methods]
    assert {row[-1] for row in document.tables["Main results"][1:]} == {"current"}
    assert any(attributes.get("src", "").startswith("data:image/png") for _, attributes in document.elements)


def test_without_any_metrics_there_is_no_page(here):
    with pytest.raises(WorkError, match="metrics/ is empty: run `make evaluate` first"):
        report.main()
    assert not (here / "reports").exists()


def test_without_params_there_is_no_page(here):
    write_json(here / "metrics/stage2.json", FULL["stage2"])
    with pytest.raises(ParamError, match="does not exist"):
        report.main()


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"text"', '{"classes": NaN}', "[" * 100_000, "\xff"])
def test_a_damaged_metrics_file_is_named(here, content):
    write_json(here / "metrics/stage1.json", FULL["stage1"])
    (here / "metrics/evaluate.json").write_text(content, encoding="latin-1")
    with pytest.raises(WorkError, match=r"metrics/evaluate\.json is damaged"):
        report.main()


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("evaluate", {"classes": 5}, "way is missing"),
        ("evaluate", {"classes": True, "way": 5}, "classes is True"),
        (
            "evaluate",
            {"classes": 5, "way": 5, "mann": {"instance_accuracy": {"1": 0.5}}},
            "mann.instance_ci95 is missing",
        ),
        ("stage1", {"baseline": {"mse": 1.0}}, "fine_tuned is missing"),
        ("stage1", {"fine_tuned": errors(0.1) | {"mse_standardised": "much"}}, "fine_tuned.mse_standardised is much"),
        ("stage1", {"fine_tuned": errors(0.1) | {"bce_pixels_by_tick": {"x": mean(1.0)}}}, "x is no whole number"),
        ("stage2", {"classes": 26, "train_clips": 1, "test_clips": 1}, "unmasked is missing"),
        ("stage3", {"mann": {"steps": 1}}, "mann.loss_first is missing"),
        ("ablation_stage2", {"rows": [{"spt": 1}]}, r"rows\[0\].spt is 1"),
        ("ablation_stage2", {"rows": 5}, "rows is no list"),
        ("ablation", {"way": 5, "episodes": 1, "seeds": 1, "arms": {"a": {"half": arm(1, 0.5)}}}, "half is no share"),
        ("pretrain", FULL["pretrain"] | {"loss_last": [1]}, r"loss_last is \[1\]"),
    ],
)
def test_metrics_of_another_version_are_an_error_that_names_file_and_key(here, name, content, key):
    write_json(here / f"metrics/{name}.json", content)
    with pytest.raises(WorkError, match=rf"metrics/{name}\.json has results of another version .*{key}.*run its stage"):
        report.main()


@pytest.mark.parametrize("content", ["step\tloss\n1\tx\n", "step\tloss\n1\n", "step\tloss\n1\t2\n1\t2\t3\n", "\xff"])
def test_a_damaged_curve_is_named(here, content):
    write_bytes(Path("plots/stage1.tsv"), content.encode("latin-1"))
    with pytest.raises(WorkError, match=r"plots/stage1\.tsv is damaged"):
        curves.read(Path("plots/stage1.tsv"))


def test_curves_are_thinned_to_means():
    steps, values = list(range(1, 8)), [2.0, 4.0, 6.0, math.nan, 8.0, 10.0, 1.0]
    assert curves.thin(steps, values, 2) == [Point(2, 3.0), Point(5, 7.0), Point(7, 5.5)]


def svg(chart: LineChart | IntervalChart) -> str:
    """The chart as the page has it."""
    module = make_environment(Path(report.__file__).parent).get_template("plots.html.jinja").module
    name = "interval_chart" if isinstance(chart, IntervalChart) else "line_chart"
    return str(getattr(module, name)(chart, charts))


def test_a_line_chart_is_to_scale_and_reads_out_its_values():
    lines = [Line("a", [Point(0, 0.0), Point(10, 0.5, 0.1)]), Line("b", [Point(10, 1.0)]), Line("empty", [])]
    chart = LineChart("accuracy", "step", lines, [Guide("chance", 0.25)], percent=True)
    assert [tick.label for tick in chart.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    low, high = chart.y_ticks[0].place, chart.y_ticks[-1].place
    assert (low, high) == (charts.HEIGHT - charts.BOTTOM, charts.TOP)
    assert chart.levels[0][0] == pytest.approx(low + (high - low) / 4, abs=0.1)
    a, b = chart.traces
    assert a.path == f"M{charts.LEFT},{low:g}L{charts.WIDTH - charts.RIGHT},{(low + high) / 2:g}"
    assert b.marks[0].y == high
    assert json.loads(chart.stops) == [
        [charts.LEFT, "step 0: a 0.0%"],
        [charts.WIDTH - charts.RIGHT, "step 10: a 50.0 ± 10.0%; b 100.0%"],
    ]
    assert "<title>b, step 10: 100.0%</title>" in svg(chart)
    assert "chance" in svg(chart)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-12, 1e12])
def test_a_chart_of_one_value_or_of_equal_values_can_be_drawn(value):
    for points in ([Point(1, value)], [Point(1, value), Point(1, value)], [Point(5, value, 0.0), Point(6, value)]):
        drawn = svg(LineChart("x", "step", [Line("a", points)]))
        assert "nan" not in drawn
        assert len(Document(drawn).elements) > 10
    assert "nan" not in svg(IntervalChart("x", "y", [Interval("a", value, 0.0)]))


def test_a_chart_without_points_has_a_note():
    assert "Nothing to show." in svg(LineChart("x", "step", [Line("a", [])]))


def test_an_interval_chart_is_to_scale():
    chart = IntervalChart("error", "mse", [Interval("a", 0.5, 0.25), Interval("b", 1.0)])
    places = [chart.place(value) for value in (0.0, 0.25, 0.5, 1.0)]
    assert places[0] == charts.NAMES
    assert places[2] - places[0] == pytest.approx(2 * (places[1] - places[0]), abs=0.2)
    assert f'x1="{places[1]}" x2="{chart.place(0.75)}"' in svg(chart)
    assert "<title>a: 0.5000 ± 0.2500</title>" in svg(chart)


ACTIONS = """
  const plot = document.querySelector("svg[data-stops]");
  const readout = plot.parentElement.querySelector(".readout");
  const press = key => plot.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  plot.focus();
  seen.focused = document.activeElement === plot;
  press("Home"); seen.first = readout.textContent;
  press("ArrowRight"); seen.second = readout.textContent;
  press("End"); press("ArrowRight"); seen.last = readout.textContent;
  const box = plot.getBoundingClientRect();
  plot.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + 1, clientY: box.top + 1}));
  seen.hovered = readout.textContent;
  seen.cursor = plot.querySelector(".cursor").getAttribute("visibility");
  plot.dispatchEvent(new PointerEvent("pointerleave"));
  seen.left = readout.textContent;
  seen.fits = document.documentElement.scrollWidth <= innerWidth;
  seen.outside = [...document.querySelectorAll("main *")].filter(element =>
    !element.closest(".wide, details, svg") && element.getBoundingClientRect().right > innerWidth + 1).length;
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1600, 500])
def test_charts_read_out_values_by_pointer_and_keyboard_in_a_browser(project, tmp_path_factory, width):
    write_json(project / "metrics/evaluate.json", FULL["evaluate"] | {HOSTILE: method(0.5)})
    seen = run_in_browser(page(), ACTIONS, tmp_path_factory.mktemp("browser"), width)
    assert seen["focused"]
    assert seen["first"] == seen["hovered"] == "step 1: training 5.0000"
    assert seen["second"] == "step 2: training 2.5000"
    assert seen["last"] == "step 20: training 0.2500; validation 0.4000"
    assert (seen["cursor"], seen["left"]) == ("visible", "")
    assert seen["fits"]
    assert seen["outside"] == 0
