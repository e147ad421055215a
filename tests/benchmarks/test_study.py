"""The driver of the study, with tiny rows on the synthetic scenes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from identity import Identities, Places, recipe_hash
from results import hits_in, packed, read_results, unpacked
from row import Row, RowList, read_list
from run import tell_of_bf16
from steps import Plan, choose, in_order

from vitseg.data.scenes import write_scenes
from vitseg.errors import ConfigError

STUDY = Path(__file__).resolve().parents[2] / "benchmarks" / "study"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root, 3, 3, (64, 96), 0)
    return root


def places_in(folder: Path, scenes: Path) -> Places:
    return Places({"ccp": scenes}, None, folder / "runs", folder / "out")


def arguments(folder: Path, scenes: Path, rows: Path) -> list[str]:
    return [
        "--ccp",
        str(scenes),
        "--runs",
        str(folder / "runs"),
        "--out",
        str(folder / "out"),
        "--list",
        str(rows),
    ]


def driver(folder: Path, scenes: Path, rows: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(STUDY / "run.py"), *arguments(folder, scenes, rows), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def run(folder: Path, scenes: Path, rows: Path, *more: str) -> tuple[int, str, str]:
    process = driver(folder, scenes, rows, *more)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def made_up(folder: Path, scenes: Path, rows: Path, name: str = "one", drawn: int = 0) -> Path:
    """A result file of a row, as its scoring would write it; the pixel counts are drawn."""
    import numpy as np
    from bootstrap import ious
    from results import hits_of
    from score import write_result

    listed = read_list(rows)
    row = listed.row(name)
    assert row is not None
    places = places_in(folder, scenes)
    counts = np.random.default_rng(drawn).integers(1, 99, (3, 6, 6))
    found = ious(hits_of(counts))
    identity = Identities(listed, places).of(row, 0)
    content = {
        **identity,
        "device": "cpu",
        "threads": 1,
        "inference": identity["recipe"]["inference"],
        "commit": None,
        "minutes": 1.0,
        "validations": [[2, 0.1]],
        "miou": float(found.mean()),
        "per_class": {f"class {place}": float(iou) for place, iou in enumerate(found)},
        "gmacs": 0.1,
        "images": {"last": packed(counts, "confusions")},
    }
    write_result(places.result(row, 0), content)
    return places.result(row, 0)


def more_hit_than_labelled() -> dict:
    import numpy as np

    return packed(np.tile([9, 5, 9], (3, 6, 1)), "hits")


def refused(folder: Path, scenes: Path, rows: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read_results(folder / "out", Identities(read_list(rows), places_in(folder, scenes)))
    return str(error.value)


def test_a_result_of_the_study_is_read(tmp_path, scenes, fake_list):
    rows = fake_list()
    made_up(tmp_path, scenes, rows)
    listed = read_list(rows)
    found = read_results(tmp_path / "out", Identities(listed, places_in(tmp_path, scenes)))
    assert [(each.row.name, each.seed) for each in found] == [("one", 0)]
    assert found[0].counts("last").shape == (3, 6, 3)
    assert (
        len(read_results(tmp_path / "out", Identities(listed))) == 1
    )  # as the tables do, without the data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["versions"].update(torch="1.13.1"), "torch 1.13"),
        (lambda c: c["versions"].update(timm="0.9.0"), "timm 0.9.0"),
        (lambda c: c["versions"].update(vitseg="0.0.9"), "vitseg 0.0.9"),
        (lambda c: c.update(iterations=9), "9 iterations, but the row has 2"),
        (lambda c: c["recipe"]["optimizer"].update(lr=0.5), "another recipe: optimizer.lr changed"),
        (lambda c: c.update(row="gone"), "'gone', which the study does not have"),
        (lambda c: c.update(seed=7), "seed 7"),
        (lambda c: c["data"].update(val="0" * 16), "other data"),
        (lambda c: c.update(format=2), "format 2"),
        (lambda c: c.update(threshold=0.5), "threshold changed"),
        (lambda c: c.pop("recipe"), "no result of the study"),
        (lambda c: c.pop("miou"), "damaged"),
        (lambda c: c["images"]["last"].update(data="AAAA"), "damaged"),
        (lambda c: c["images"]["last"].update(kind="hits"), "damaged"),
        (lambda c: c["images"]["last"].pop("kind"), "damaged"),
        (lambda c: c["images"]["last"].update(shape=[18, 6]), "damaged"),
        (lambda c: c["images"]["last"].update(shape=[6, 6, 3], kind="hits"), "damaged"),
        (lambda c: c["images"].pop("last"), "damaged"),
        (lambda c: c["per_class"].popitem(), "damaged"),
        (lambda c: c["per_class"].update({"class 0": "0.5"}), "damaged"),
        (lambda c: c["per_class"].update({"class 0": None}), "per_class.class 0 is nan"),
        (lambda c: c["per_class"].update({"class 0": 0.0}), "per_class.class 0 is 0.0"),
        (lambda c: c.update(gmacs=-1), "gmacs is no number"),
        (lambda c: c.update(gmacs=0), "gmacs is 0"),
        (lambda c: c["images"]["last"].update(shape=[-1, 6, 6]), "their shape is"),
        (lambda c: c["images"]["last"].update(shape=[2, 6, 6]), "they are no 288 bytes"),
        (lambda c: c["images"].update(last=more_hit_than_labelled()), "damaged"),
        (lambda c: c["inference"].update(flip=True), "scored in another way"),
        (lambda c: c["data"].update(name="camvid"), "data"),
        (lambda c: c.update(minutes=-1.0), "minutes is no number"),
        (lambda c: c.update(recipe_hash="0" * 16), "recipe_hash"),
        (lambda c: c.pop("overrides"), "damaged"),
        (lambda c: c.update(threads="1"), "threads is no number"),
        (lambda c: c.update(inference=None), "inference has no fields"),
        (lambda c: c.update(weights={"name": "vit.safetensors"}), "weights are vit.safetensors"),
        (lambda c: c.update(miou=0.99), "miou is 0.99"),
        (lambda c: c.update(miou=None), "miou is no number"),
        (lambda c: c.update(gmacs="6"), "gmacs is no number"),
        (lambda c: c.update(minutes=[1]), "minutes is no number"),
        (lambda c: c.update(device=None), "device is no text"),
        (lambda c: c.pop("commit"), "damaged"),
        (lambda c: c.update(seed="0"), "seed '0'"),
        (lambda c: c.update(data=None), "made with other data"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_may_not_be_mixed_is_named(tmp_path, scenes, fake_list, change, said):
    rows = fake_list()
    path = made_up(tmp_path, scenes, rows)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    message = refused(tmp_path, scenes, rows)
    assert said in message
    assert str(path) in message
    assert "\n" not in message
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["weights"].update(sha256="1"), "other weights"),
        (lambda c: c.update(device="cuda"), "other devices"),
        (lambda c: c["data"].update(val="1"), "other data"),
        (lambda c: None, "other masks (ccp, class 0)"),
        (lambda c: rename_classes(c), "other classes (ccp)"),
    ],
)
def test_results_that_would_be_paired_are_of_the_same(tmp_path, scenes, fake_list, change, said):
    """Also without data and weights at hand, as the tables are made."""
    warmup = '"schedule.warmup_iterations=1",'
    rows = fake_list(**{warmup: f'{warmup} "backbone.pretrained=true",'})
    for name, seed in (("one", 0), ("other", 0 if "masks" not in said else 1)):
        path = made_up(tmp_path, scenes, rows, name, seed)
        content = json.loads(path.read_text())
        content["weights"] = {"name": "test_vit.safetensors", "sha256": "0"}
        if name == "other":
            change(content)
        path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as error:
        read_results(tmp_path / "out", Identities(read_list(rows)))
    assert f"one-seed0.json and other-seed0.json are of {said}" in str(error.value)


def test_a_copy_is_not_the_result_of_another_seed(tmp_path, scenes, fake_list):
    rows = fake_list(**{'data="ccp", seeds=(0,)': 'data="ccp", seeds=(0, 1)'})
    path = made_up(tmp_path, scenes, rows)
    listed = read_list(rows)
    again = Identities(listed, places_in(tmp_path, scenes)).of(listed.rows[0], 1)
    copy = path.with_name("one-seed1.json")
    copy.write_text(json.dumps({**json.loads(path.read_text()), **again}))
    message = refused(tmp_path, scenes, rows)
    assert "one-seed0.json and one-seed1.json have the same counts" in message


def steps_rows(fake_list) -> Path:
    """A list whose first row learns classes in steps."""
    row = 'Row("one", "fake", "One", "scenes/segvit-test_vit", TINY, iterations=2, data="ccp", seeds=(0,)),'
    steps = (
        'Row("one", "fake", "One", "ccp/continual-linear-vit_tiny-12_2", ("continual.split=4-2",), kind="steps", '
        'data="ccp", seeds=(0,)),'
    )
    return fake_list(**{row: steps})


def rename_classes(content: dict) -> None:
    content["per_class"] = {f"{name}!": iou for name, iou in content["per_class"].items()}


def reorder(counts: dict) -> None:
    """The same counts of the images in another order."""
    counts.update(packed(unpacked(counts)[::-1], counts["kind"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: None, ""),
        (lambda c: c["images"].pop("learnt"), "learnt"),
        (lambda c: c["tasks"].reverse(), "another order"),
        (lambda c: c.pop("tasks"), "tasks"),
        (lambda c: c.update(tasks=[list(c["per_class"])]), "tasks have [6] classes, but 4-2 of 6"),
        (lambda c: c["tasks"].insert(0, []), "tasks have [0, 4, 2] classes"),
        (lambda c: reorder(c["images"]["learnt"]), "of other images or masks"),
        (lambda c: c["images"]["last"].update(kind="confusions"), "are no hits"),
    ],
)
def test_a_result_in_steps_says_all_that_its_claims_read(tmp_path, scenes, fake_list, change, said):
    rows = steps_rows(fake_list)
    path = made_up(tmp_path, scenes, rows)
    content = json.loads(path.read_text())
    names = list(content["per_class"])
    content["tasks"] = [names[:4], names[4:]]
    hits = packed(hits_in(content["images"]["last"]), "hits")
    content["images"] = {"last": hits, "learnt": dict(hits)}
    content["weights"] = {"name": "vit_tiny_patch16_224.safetensors", "sha256": "0"}
    change(content)
    path.write_text(json.dumps(content))
    if said:
        assert said in refused(tmp_path, scenes, rows)
    else:
        identities = Identities(read_list(rows), places_in(tmp_path, scenes))
        assert read_results(tmp_path / "out", identities)


@pytest.mark.parametrize(("share", "is_part"), [(1.0, False), (0.5, True)])
def test_the_band_around_boundaries_is_a_part_of_the_images(
    tmp_path, scenes, fake_list, share, is_part
):
    rows = fake_list(**{'data="ccp", seeds=(0,)': 'data="ccp", trimap=True, seeds=(0,)'})
    path = made_up(tmp_path, scenes, rows)
    content = json.loads(path.read_text())
    band = (share * unpacked(content["images"]["last"])).astype(int)
    content["images"]["trimap"] = packed(band, "confusions")
    path.write_text(json.dumps(content))
    if is_part:
        assert read_results(tmp_path / "out", Identities(read_list(rows)))
    else:
        assert "images.trimap is no part of images.last" in refused(tmp_path, scenes, rows)


def test_patches_of_torch_and_the_commit_may_differ(tmp_path, scenes, fake_list):
    rows = fake_list()
    path = made_up(tmp_path, scenes, rows)
    content = json.loads(path.read_text())
    content["versions"]["torch"] += "7"
    content["commit"] = "0123456789ab"
    path.write_text(json.dumps(content))
    assert read_results(tmp_path / "out", Identities(read_list(rows), places_in(tmp_path, scenes)))


def test_a_field_that_the_package_has_gained_since_is_no_change(tmp_path, scenes, fake_list):
    rows = fake_list()
    path = made_up(tmp_path, scenes, rows)
    content = json.loads(path.read_text())
    del content["recipe"]["training"]["ema"]  # as if the recipe were older than it
    content["recipe_hash"] = recipe_hash(content["recipe"])
    path.write_text(json.dumps(content))
    assert read_results(tmp_path / "out", Identities(read_list(rows), places_in(tmp_path, scenes)))


def test_a_broken_file_and_a_wrong_name_are_named(tmp_path, scenes, fake_list):
    rows = fake_list()
    path = made_up(tmp_path, scenes, rows)
    wrong = path.with_name("two-seed0.json")
    path.rename(wrong)
    assert "give it its name back" in refused(tmp_path, scenes, rows)
    wrong.write_text('{"row": "on')
    assert f"{wrong} cannot be read" in refused(tmp_path, scenes, rows)


def test_a_model_that_a_row_starts_from_counts_as_well(tmp_path, scenes, fake_list):
    with_start = "(*TINY, 'decoder.init=xavier'), start='one',"
    rows = fake_list(**{'(*TINY, "decoder.init=xavier"),': with_start})
    path = made_up(tmp_path, scenes, rows, "other")
    content = json.loads(path.read_text())
    assert content["start"]["row"] == "one"
    content["start"]["recipe"]["training"]["batch_size"] = 3
    path.write_text(json.dumps(content))
    assert "starts from a model of another recipe: training.batch_size changed" in refused(
        tmp_path, scenes, rows
    )


@pytest.mark.slow
def test_a_refusal_ends_with_2_and_changes_nothing(tmp_path, scenes, fake_list):
    rows = fake_list()
    path = made_up(tmp_path, scenes, rows)
    path.write_text(path.read_text().replace('"iterations": 2', '"iterations": 5'))
    before = path.read_bytes()
    code, out, err = run(tmp_path, scenes, rows)
    assert (code, out) == (2, "")
    assert err.startswith(f"ConfigError: {path} is of 5 iterations, but the row has 2 now")
    assert len(err.splitlines()) == 1
    assert path.read_bytes() == before
    assert not list((tmp_path / "runs").glob("one*"))
    path.unlink()
    code, out, err = run(tmp_path, scenes, rows, "--seeds", "0", "7")
    assert (code, out) == (2, "")
    assert err == "ConfigError: --seeds: none of the rows has seed 7; --plan lists rows.\n"


def test_other_options_that_do_not_fit(tmp_path, scenes, fake_list):
    listed = read_list(fake_list())
    with pytest.raises(ConfigError, match="'nope' is no row and no group"):
        choose(listed, "nope", has_gpu=False)
    gpu = RowList(
        (Row("full", "g", "l", "r", on_gpu=True), Row("extra", "g", "l", "r", extra=True)), ()
    )
    assert choose(gpu, None, has_gpu=False) == []
    assert [row.name for row in choose(gpu, None, has_gpu=True)] == ["full"]
    assert [row.name for row in choose(gpu, "extra", has_gpu=False)] == ["extra"]
    with pytest.raises(ConfigError, match="on a GPU alone"):
        choose(gpu, "full", has_gpu=False)
    with pytest.raises(ConfigError, match="names no row"):
        choose(listed, " , ", has_gpu=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ROWS = (", "SyntaxError"),
        ("ROWS = ()", "KeyError: 'TABLES'"),
        ("1 / 0", "ZeroDivisionError"),
        (None, "FileNotFoundError"),
        ('ROWS = (Row("a", "g", "l", "r"),) * 2\nTABLES = ()', "several rows of the name a"),
        ('ROWS = (Row("a", "g", "l", "r", data="coco"),)\nTABLES = ()', "data are camvid, ccp"),
        ('ROWS = (Row("a", "g", "l", "r", start="b"),)\nTABLES = ()', "no row b before a"),
        ('ROWS = (Row("a", "g", "l", "r", kind="look"),)\nTABLES = ()', "a start and a threshold"),
        ('ROWS = ()\nTABLES = (Table("T", ("a",)),)', "no rows a of the table 'T'"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "rows.py"
    if text is not None:
        path.write_text(f"from row import Row, Table\n{text}\n")
    with pytest.raises(ConfigError) as error:
        read_list(path)
    assert said in str(error.value)


def test_a_seed_of_all_rows_of_a_group_comes_before_the_next():
    a, b = (Row(name, "g", name, "r", seeds=(0, 1)) for name in "ab")
    c = Row("c", "h", "c", "r")
    found = [(row.name, seed) for row, seed in in_order([a, c, b], None)]
    assert found == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("c", 0)]
    assert in_order([a, c], [1]) == [(a, 1)]


def test_that_a_machine_has_no_bf16_is_told_where_it_matters(tmp_path, monkeypatch, capsys):
    slow = Row("slow", "g", "l", "camvid/segvit-vit_tiny", ("training.precision=bf16-mixed",))
    listed = RowList((slow, Row("fast", "g", "l", "camvid/segvit-vit_tiny")), ()).check()
    places = Places({}, None, tmp_path / "runs", tmp_path / "out")
    identities = Identities(listed, places)
    told = []
    for has_it in (False, True):
        monkeypatch.setattr("vitseg.inference.precision.has_bf16", lambda device, held=has_it: held)
        for row in listed.rows:
            tell_of_bf16(identities, Plan(identities, places, [row]), False)
            told.append((row.name, has_it, "bfloat16" in capsys.readouterr().err))
    assert [each for each in told if each[2]] == [("slow", False, True)]


def test_what_a_missing_row_starts_from_is_trained_first(tmp_path):
    base = Row("base", "g", "l", "r")
    moved = Row("moved", "g", "l", "r", start="base", exit_behind=8)
    look = Row("look", "g", "l", "r", kind="look", start="moved", threshold=0.5)
    listed = RowList((base, moved, look), ()).check()
    places = Places({}, None, tmp_path / "runs", tmp_path / "out")
    plan = Plan(Identities(listed, places), places, [look])
    needs = {name: step.needs for name, step in plan.steps.items()}
    assert needs == {
        "train base-seed0": (),
        "start moved-seed0": ("train base-seed0",),
        "train moved-seed0": ("train base-seed0", "start moved-seed0"),
        "score look-seed0": ("train moved-seed0",),
    }


def test_a_run_of_another_study_is_not_gone_on_with(tmp_path, scenes, fake_list):
    listed = read_list(fake_list())
    places = places_in(tmp_path, scenes)
    identities = Identities(listed, places)
    row = listed.rows[0]
    folder = places.run(row, 0)
    folder.mkdir(parents=True)
    Plan(identities, places, [row]).refuse_other_runs()
    (folder / "notes.txt").write_text("of somebody else")  # no state: it would be begun anew
    with pytest.raises(ConfigError, match="did not begin"):
        Plan(identities, places, [row]).refuse_other_runs()
    begun = {**identities.of(row, 0), "versions": {**identities.versions, "torch": "2.3.1"}}
    places.begun(row, 0).write_text(json.dumps(begun))
    with pytest.raises(ConfigError, match=r"is of torch 2\.3, but this is torch"):
        Plan(identities, places, [row]).refuse_other_runs()
    places.begun(row, 0).write_text(json.dumps(identities.of(listed.rows[1], 0)))
    with pytest.raises(ConfigError, match=r"is of other, seed 0, by one-seed0\.json"):
        Plan(identities, places, [row]).refuse_other_runs()
    places.begun(row, 0).write_text(json.dumps(identities.of(row, 0)))
    Plan(identities, places, [row]).refuse_other_runs()
    trained = {**identities.recipe(row, 0), "method": "eomt"}
    (folder / "recipe.yaml").write_text(json.dumps(trained))
    with pytest.raises(ConfigError, match=r"by its recipe\.yaml: .*method"):
        Plan(identities, places, [row]).refuse_other_runs()


def test_no_model_is_trained_anew_of_which_there_are_results(tmp_path):
    base = Row("base", "g", "l", "r")
    looks = [
        Row(f"look{each}", "g", "l", "r", kind="look", start="base", threshold=each)
        for each in (0.5, 0.9)
    ]
    listed = RowList((base, *looks), ()).check()
    places = Places({}, None, tmp_path / "runs", tmp_path / "out")
    places.out.mkdir()
    places.result(looks[0], 0).write_text("{}")
    with pytest.raises(ConfigError, match=r"delete look0\.5-seed0\.json"):
        Plan(Identities(listed, places), places, [base])
    with pytest.raises(ConfigError, match="would be another model"):
        Plan(Identities(listed, places), places, [looks[1]])


def test_weights_are_asked_for_before_a_finished_training_is_scored(tmp_path, scenes, fake_list):
    warmup = '"schedule.warmup_iterations=1",'
    listed = read_list(fake_list(**{warmup: f'{warmup} "backbone.pretrained=true",'}))
    places = places_in(tmp_path, scenes)
    row, identities = listed.rows[0], Identities(listed, places)
    run = places.run(row, 0)
    (run / "last").mkdir(parents=True)
    for name in ("result.json", "last/config.json"):
        (run / name).write_text("{}")
    places.begun(row, 0).write_text(json.dumps(identities.of(row, 0)))
    plan = Plan(identities, places, [row])
    assert list(plan.steps) == ["score one-seed0"]
    with pytest.raises(ConfigError, match="give --weights DIR"):
        plan.refuse_other_runs()


def test_a_result_is_not_replaced(tmp_path, scenes, fake_list):
    rows = fake_list()
    path = made_up(tmp_path, scenes, rows)
    before = path.read_bytes()
    command = [sys.executable, str(STUDY / "score.py"), "--row", "one", "--seed", "0"]
    done = subprocess.run(
        [*command, *arguments(tmp_path, scenes, rows)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is there, and is not replaced" in done.stderr
    assert path.read_bytes() == before


def wait_for(condition, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def trainings(runs: Path) -> list[int]:
    """Processes that train in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "-m vitseg " in command and str(runs) in command:
            found.append(int(path.name))
    return found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_study_goes_on(tmp_path, scenes, fake_list, number):
    """Ctrl-C saves and ends everything; after a kill the trainings end by themselves. The same command goes on."""
    rows = fake_list(400)
    log = tmp_path / "runs" / "one-seed0.log"
    process = driver(tmp_path, scenes, rows, "--rows", "one")
    wait_for(lambda: log.is_file() and b"iteration 1/" in log.read_bytes(), "no training")
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in out
        assert trainings(tmp_path / "runs") == []
    wait_for(lambda: not trainings(tmp_path / "runs"), "a training outlived the driver")
    assert (tmp_path / "runs" / "one-seed0" / "state.ckpt").is_file()
    assert not (tmp_path / "out" / "one-seed0.json").exists()
    code, out, err = run(tmp_path, scenes, rows)
    assert code == 0, err
    assert "--resume" in log.read_text()  # what the stopped training said
    content = json.loads((tmp_path / "out" / "one-seed0.json").read_text())
    assert [at for at, _ in content["validations"]] == [100, 200, 300, 400]
    assert content["miou"] == pytest.approx(content["validations"][-1][1], abs=1e-6)
    assert (tmp_path / "out" / "other-seed0.json").is_file()
    code, out, _ = run(tmp_path, scenes, rows)
    assert (code, out) == (0, f"all 0 steps are done; results are in {tmp_path / 'out'}\n")

    page = tmp_path / "study.md"
    command = [
        sys.executable,
        str(STUDY / "tables.py"),
        "--out",
        str(tmp_path / "out"),
        "--list",
        str(rows),
    ]
    subprocess.run([*command, "--to", str(page)], check=True, timeout=120)
    text = page.read_text()
    assert "## Fake" in text
    assert "| One | `one` |" in text
    assert "less `" in text


@pytest.mark.slow
@pytest.mark.long
def test_a_failed_row_does_not_stop_the_others(tmp_path, scenes, fake_list):
    rows = fake_list(2, **{"TINY, iterations": "(*TINY, 'data.train_split=none'), iterations"})
    code, _, err = run(tmp_path, scenes, rows)
    assert code == 1
    assert "train one-seed0 failed with 2" in err
    assert (tmp_path / "out" / "other-seed0.json").is_file()
    assert not (tmp_path / "out" / "one-seed0.json").exists()
