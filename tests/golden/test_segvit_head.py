"""The ATM decoder and its loss against the reference implementation."""

from __future__ import annotations

import pytest
import torch

from tests.golden.reference import Golden, load_golden
from vitseg.checkpoint.segvit_names import segvit_name
from vitseg.classes import IGNORE_INDEX
from vitseg.decoders.atm import AtmConfig, AtmDecoder
from vitseg.features import Features
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.outputs import MixedMasks

pytestmark = pytest.mark.golden

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def our_name(name: str) -> str:
    renamed = segvit_name(f"decode_head.{name}")
    assert renamed is not None
    return renamed.removeprefix("decoder.")


def our_labels(labels: torch.Tensor) -> torch.Tensor:
    return torch.where(labels == 255, IGNORE_INDEX, labels)


def our_terms(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in losses.items() if name.startswith("loss_")}


def build_decoder(
    golden: Golden, config: AtmConfig, num_stages: int, num_classes: int = 10
) -> AtmDecoder:
    decoder = AtmDecoder((96,) * num_stages, num_classes, config)
    state = {our_name(n): v for n, v in golden.state_dict().items() if "empty_weight" not in n}
    decoder.load_state_dict(state)
    return decoder


def run(golden: Golden, config: AtmConfig):
    """Outputs, loss terms and gradients (the golden dropout rates are 0)."""
    maps = [m.clone().requires_grad_() for m in golden.series("feats")]
    decoder = build_decoder(golden, config.model_copy(update={"dropout": 0.0}), len(maps))
    features = Features(tuple(maps), (128, 128), (128, 128))
    output = decoder.train()(features)
    terms = AtmLoss(AtmLossConfig())(output, our_labels(golden["labels"]))
    torch.stack(list(terms.values())).sum().backward()
    evaluated = decoder.eval()(features)
    return decoder, maps, output, terms, evaluated


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("segvit_atm_small", AtmConfig(embed_dim=64, num_heads=4)),
        ("segvit_atm_single", AtmConfig(embed_dim=64, num_heads=4)),
        (
            "segvit_v2_single",
            AtmConfig(
                embed_dim=64,
                num_heads=4,
                self_attention=False,
                classifier="presence",
                supervise="layers",
            ),
        ),
    ],
)
def test_head_computes_the_reference_function(shared, name, config):
    golden = load_golden(shared, name)
    decoder, maps, output, terms, evaluated = run(golden, config)

    torch.testing.assert_close(output.class_logits, golden["train_out/pred_logits"], **TOLERANCE)
    aux = golden.group("train_out/aux_outputs")
    assert len(output.stages) == len(aux) // 2
    for value in output.stages:
        stage = value.name
        torch.testing.assert_close(value.class_logits, aux[f"{stage}/pred_logits"], **TOLERANCE)
        torch.testing.assert_close(value.mask_logits, aux[f"{stage}/pred_masks"], **TOLERANCE)
    for out, key in ((output, "train_out/pred[::3,::3]"), (evaluated, "eval_pred[::3,::3]")):
        scores = out.scores()[..., ::3, ::3]
        torch.testing.assert_close(scores, golden[key], **TOLERANCE)

    expected = our_terms(golden.group("losses"))
    assert set(terms) == set(expected)
    for term, value in expected.items():
        torch.testing.assert_close(terms[term], value, **TOLERANCE)
    torch.testing.assert_close(sum(terms.values()), golden["total"], atol=1e-5, rtol=1e-5)

    for parameter, gradient in golden.group("grads").items():
        ours = decoder.get_parameter(our_name(parameter)).grad
        torch.testing.assert_close(ours, gradient, atol=1e-5, rtol=1e-4, msg=parameter)
    for index, gradient in golden.group("feat_grads").items():
        torch.testing.assert_close(maps[int(index)].grad, gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ["case_normal", "case_one_ignored", "case_all_ignored"])
def test_loss_alone(shared, case):
    golden = load_golden(shared, "segvit_loss_only")

    def stage(prefix: str, **fields) -> MixedMasks:
        masks, logits = golden[f"{prefix}/pred_masks"], golden[f"{prefix}/pred_logits"]
        return MixedMasks(masks, (48, 48), (48, 48), class_logits=logits, **fields)

    stages = tuple(stage(f"outputs/aux_outputs/{index}", name=index) for index in ("0", "1"))
    labels = our_labels(golden[f"cases/{case}/0"])
    terms = AtmLoss(AtmLossConfig())(stage("outputs", stages=stages), labels)
    expected = golden.group(f"cases/{case}/1")
    assert set(terms) == set(expected)
    for term, value in expected.items():
        torch.testing.assert_close(
            terms[term], value, **TOLERANCE, msg=f"{term}: {terms[term]} {value}"
        )
