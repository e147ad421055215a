"""Scoring of the best model, which goes on after it was stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import best
import pytest
from begun import Begun

from tests.tiny import write_dataset, write_model
from vitseg.errors import ConfigError
from vitseg.evaluation.evaluate import evaluate

IMAGES = 3


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and a data set of three images to score it on."""
    return write_model(tmp_path / "model"), write_dataset(tmp_path / "data", num_val=IMAGES)


def run(monkeypatch, places: tuple[Path, Path], out: Path, protocol: str = "single") -> None:
    model, data = places
    command = f"best.py {model} --name tiny --data {data} --format folder --protocols {protocol} --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())
    best.main()


def stopped_after(monkeypatch, images: int) -> None:
    """From now on a run is interrupted behind so many images."""

    def interrupted(predictor, dataset, *, on_sample):
        def keep(sample):
            on_sample(sample)
            if sample.index + 1 == images:
                raise KeyboardInterrupt

        return evaluate(predictor, dataset, on_sample=keep)

    monkeypatch.setattr(best, "evaluate", interrupted)


def result(out: Path, protocol: str = "single") -> dict:
    return json.loads((out / "best" / f"tiny-val-{protocol}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["single", "multi"])
@pytest.mark.parametrize("images", [1, IMAGES])
def test_it_goes_on_after_it_was_stopped(tmp_path, monkeypatch, capsys, places, images, protocol):
    run(monkeypatch, places, tmp_path / "whole", protocol)
    stopped_after(monkeypatch, images)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, places, tmp_path / "out", protocol)
    assert stopped.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err
    folder = tmp_path / "out" / "best"
    assert [path.name for path in folder.iterdir()] == [f"tiny-val-{protocol}.json.part"]
    assert not best.read_all(folder)
    scored = []

    def counted(predictor, dataset, *, on_sample):
        scored.extend(dataset.ids)
        return evaluate(predictor, dataset, on_sample=on_sample)

    monkeypatch.setattr(best, "evaluate", counted)
    run(monkeypatch, places, tmp_path / "out", protocol)
    assert scored == [f"val_{number}" for number in range(images, IMAGES)]
    assert {**result(tmp_path / "out", protocol), "minutes": 0} == {
        **result(tmp_path / "whole", protocol),
        "minutes": 0,
    }
    assert [path.name for path in folder.iterdir()] == [f"tiny-val-{protocol}.json"]
    assert len(best.read_all(folder)) == 1


def test_the_score_is_that_of_evaluate(tmp_path, monkeypatch, places):
    run(monkeypatch, places, tmp_path / "out")
    model, data = places
    found = evaluate(best.load(model), best.open_dataset(f"folder:{data}", "val"))
    ours = result(tmp_path / "out")
    assert ours["miou"] == pytest.approx(found.scores.mean_iou, abs=1e-12)
    assert list(ours["per_class"].values()) == pytest.approx(list(found.scores.iou), abs=1e-12)
    assert ours["content_hash"] == found.protocol["content_hash"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda head, one: head["identity"].update(weights="00"), "another model"),
        (lambda head, one: head["identity"].update(images="00"), "other data"),
        (lambda head, one: one["images"].update(shape=[1, 1, 9]), "delete it to begin anew"),
        (lambda head, one: one["images"].update(data="?"), "delete it to begin anew"),
        (lambda head, one: one.update(minutes="long"), "delete it to begin anew"),
        (lambda head, one: one.pop("images"), "delete it to begin anew"),
        (lambda head, one: one.clear(), "delete it to begin anew"),
        (lambda head, one: head.clear(), "delete it to begin anew"),
    ],
)
def test_what_was_begun_as_something_else_is_refused(
    tmp_path, monkeypatch, capsys, places, change, said
):
    path = begun_with_one(tmp_path, monkeypatch, places)
    head, one = map(json.loads, path.read_text().splitlines())
    change(head, one)
    lines_are_refused(
        tmp_path, monkeypatch, capsys, places, [json.dumps(head), json.dumps(one)], said
    )


def test_two_processes_do_not_count_into_one_file(tmp_path):
    path = tmp_path / "a.json.part"
    with Begun(path, {}, IMAGES, 2), pytest.raises(ConfigError, match="in use by another process"):
        Begun(path, {}, IMAGES, 2)
    with Begun(path, {}, IMAGES, 2) as again:
        assert again.counts == []


def test_names_that_lead_elsewhere_are_refused(tmp_path, monkeypatch, capsys, places):
    for name in ("../tiny", "a/b", ""):
        command = ["best.py", str(places[0]), "--name", name, "--data", str(places[1])]
        monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as refused:
            best.main()
        assert refused.value.code == 2
        assert "a part of a file's name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "lines",
    [
        lambda head, one: ['{"identity": '],
        lambda head, one: [],
        lambda head, one: ["[]", one],
        lambda head, one: [head, "", one],
        lambda head, one: [head, one[:-9], one],
        lambda head, one: [head, one, one],
        lambda head, one: [head, one.replace('"image": 0', '"image": 1')],
        lambda head, one: [head, *[one] * (IMAGES + 1)],
    ],
)
def test_a_begun_file_that_is_damaged_is_refused(tmp_path, monkeypatch, capsys, places, lines):
    path = begun_with_one(tmp_path, monkeypatch, places)
    damaged = lines(*path.read_text().splitlines())
    lines_are_refused(tmp_path, monkeypatch, capsys, places, damaged, "delete it to begin anew")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["versions"].update(torch="1.13.1"), "torch"),
        (lambda c: c["per_class"].update(dict.fromkeys(c["per_class"], 99)), "per_class"),
        (lambda c: c.update(inference={}), "resize"),
        (lambda c: c["inference"].update(flip=True), "flip True are not its protocol's"),
        (lambda c: c.update(versions=[]), "versions|indices"),
        (lambda c: c["versions"].pop("torch"), "torch"),
        (lambda c: c.update(iterations=[1]), "iterations"),
        (lambda c: c.update(model=["tiny"]), "model is no text"),
        (lambda c: c["recipe"].update(data={"augment": {"crop_size": [64]}}), "crop_size"),
        (lambda c: c["recipe"].update(training={"seed": "0"}), "seed"),
        (lambda c: c.update(training_minutes="long"), "training_minutes"),
        (lambda c: c.pop("commit"), "commit"),
        (lambda c: c.update(miou=None), "miou"),
    ],
)
def test_a_file_that_may_not_stand_in_the_tables_is_refused(
    tmp_path, monkeypatch, places, change, said
):
    run(monkeypatch, places, tmp_path)
    path = tmp_path / "best" / "tiny-val-single.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=said) as refused:
        best.read_all(path.parent)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["recipe"].update(training={"seed": 5}), "other recipes"),
        (lambda c: c.update(device="cuda"), "other devices"),
        (lambda c: c.update(weights_sha256="00"), "other weights"),
    ],
)
def test_files_of_one_model_agree(tmp_path, monkeypatch, places, change, said):
    for protocol in ("single", "multi"):
        run(monkeypatch, places, tmp_path, protocol)
    path = tmp_path / "best" / "tiny-val-single.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=said):
        best.read_all(path.parent)


def begun_with_one(tmp_path: Path, monkeypatch, places: tuple[Path, Path]) -> Path:
    """The file of a run that was stopped behind its first image."""
    stopped_after(monkeypatch, 1)
    with pytest.raises(SystemExit):
        run(monkeypatch, places, tmp_path / "out")
    return tmp_path / "out" / "best" / "tiny-val-single.json.part"


def lines_are_refused(tmp_path, monkeypatch, capsys, places, lines: list[str], said: str) -> None:
    path = tmp_path / "out" / "best" / "tiny-val-single.json.part"
    path.write_text("".join(f"{line}\n" for line in lines))
    before = path.read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        run(monkeypatch, places, tmp_path / "out")
    assert refused.value.code == 2
    message = capsys.readouterr().err
    assert str(path) in message
    assert said in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("end", ["{", '{"minutes": 1.0, "images": {"kind": "conf', "\0\0"])
def test_a_last_line_that_was_cut_off_is_counted_again(tmp_path, monkeypatch, places, end):
    run(monkeypatch, places, tmp_path / "whole")
    path = begun_with_one(tmp_path, monkeypatch, places)
    with path.open("a") as file:
        file.write(end)
    stopped_after(monkeypatch, 1)
    with pytest.raises(SystemExit):
        run(monkeypatch, places, tmp_path / "out")
    assert len(path.read_text().splitlines()) == 3
    monkeypatch.setattr(best, "evaluate", evaluate)
    run(monkeypatch, places, tmp_path / "out")
    whole, ours = result(tmp_path / "whole"), result(tmp_path / "out")
    assert {**ours, "minutes": 0} == {**whole, "minutes": 0}


def test_a_begun_file_whose_first_line_was_cut_off_is_refused(
    tmp_path, monkeypatch, capsys, places
):
    path = tmp_path / "out" / "best" / "tiny-val-single.json.part"
    path.parent.mkdir(parents=True)
    path.write_text('{"identity": ')
    with pytest.raises(SystemExit) as refused:
        run(monkeypatch, places, tmp_path / "out")
    assert refused.value.code == 2
    assert str(path) in capsys.readouterr().err
    assert path.read_text() == '{"identity": '
