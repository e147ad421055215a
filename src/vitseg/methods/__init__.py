"""One file per paper: its configuration and how its parts are wired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from torch import nn

from vitseg.backbones import BackboneConfig, PyramidConfig
from vitseg.methods import (
    carafe,
    deeplab,
    dtop,
    duc,
    eomt,
    fcn,
    fpn,
    linear,
    mask2former,
    maskformer,
    nrd,
    pspnet,
    segformer,
    segmenter,
    segvit,
    segvit_cl,
    semask,
    semaskvit,
    setr,
    shrunk,
    upernet,
)
from vitseg.methods.model import SegmentationModel

__all__ = ["METHODS", "Method", "SegmentationModel"]


@dataclass(frozen=True)
class Method:
    """What the rest of the package needs to know of a method.

    Attributes:
        config: Its configuration class; the class's fields are the recipe's sections.
        build: (config, num_classes, image_size, load_pretrained) to the model.
        build_loss: (config, class_weights) to the loss: (SegOutput, labels) to weighted terms by name. The weights are
            (k,), or None for all alike.
        backbone: Its backbone's configuration.
    """

    config: type[BaseModel]
    build: Callable[..., SegmentationModel]
    build_loss: Callable[..., nn.Module]
    backbone: Callable[..., BackboneConfig | PyramidConfig]


METHODS: dict[str, Method] = {
    "carafe": Method(
        carafe.CarafeConfig, carafe.build, carafe.build_loss, lambda config: config.backbone
    ),
    "deeplab": Method(
        deeplab.DeepLabConfig, deeplab.build, deeplab.build_loss, lambda config: config.backbone
    ),
    "dtop": Method(dtop.DtopConfig, dtop.build, dtop.build_loss, lambda config: config.backbone),
    "duc": Method(duc.DucConfig, duc.build, duc.build_loss, lambda config: config.backbone),
    "eomt": Method(eomt.EomtConfig, eomt.build, eomt.build_loss, lambda config: config.backbone),
    "fcn": Method(fcn.FcnConfig, fcn.build, fcn.build_loss, lambda config: config.backbone),
    "fpn": Method(fpn.FpnConfig, fpn.build, fpn.build_loss, lambda config: config.backbone),
    "linear": Method(
        linear.LinearProbeConfig, linear.build, linear.build_loss, lambda config: config.backbone
    ),
    "mask2former": Method(
        mask2former.Mask2FormerConfig,
        mask2former.build,
        mask2former.build_loss,
        lambda config: config.backbone,
    ),
    "maskformer": Method(
        maskformer.MaskFormerConfig,
        maskformer.build,
        maskformer.build_loss,
        lambda config: config.backbone,
    ),
    "nrd": Method(nrd.NrdConfig, nrd.build, nrd.build_loss, lambda config: config.backbone),
    "pspnet": Method(
        pspnet.PspNetConfig, pspnet.build, pspnet.build_loss, lambda config: config.backbone
    ),
    "segformer": Method(
        segformer.SegFormerConfig,
        segformer.build,
        segformer.build_loss,
        lambda config: config.backbone,
    ),
    "segmenter": Method(
        segmenter.SegmenterConfig,
        segmenter.build,
        segmenter.build_loss,
        lambda config: config.backbone,
    ),
    "segvit": Method(
        segvit.SegVitConfig, segvit.build, segvit.build_loss, lambda config: config.backbone
    ),
    "segvit_cl": Method(
        segvit_cl.SegVitClConfig,
        segvit_cl.build,
        segvit_cl.build_loss,
        lambda config: config.backbone,
    ),
    "semask": Method(
        semask.SeMaskConfig, semask.build, semask.build_loss, lambda config: config.backbone
    ),
    "semaskvit": Method(
        semaskvit.SeMaskVitConfig,
        semaskvit.build,
        semaskvit.build_loss,
        lambda config: config.backbone,
    ),
    "setr": Method(setr.SetrConfig, setr.build, setr.build_loss, lambda config: config.backbone),
    "shrunk": Method(
        shrunk.ShrunkConfig, shrunk.build, shrunk.build_loss, lambda config: config.backbone
    ),
    "upernet": Method(
        upernet.UperNetConfig,
        upernet.build,
        upernet.build_loss,
        lambda config: config.backbone,
    ),
}
