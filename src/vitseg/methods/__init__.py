"""One file per paper: its configuration and how its parts are wired."""

from vitseg.methods.table import MethodTable

__all__ = ["METHODS"]

METHODS = MethodTable(
    {
        "carafe": "carafe.CarafeConfig",
        "deeplab": "deeplab.DeepLabConfig",
        "dtop": "dtop.DtopConfig",
        "duc": "duc.DucConfig",
        "eomt": "eomt.EomtConfig",
        "fcn": "fcn.FcnConfig",
        "fpn": "fpn.FpnConfig",
        "linear": "linear.LinearProbeConfig",
        "mask2former": "mask2former.Mask2FormerConfig",
        "maskformer": "maskformer.MaskFormerConfig",
        "nrd": "nrd.NrdConfig",
        "pspnet": "pspnet.PspNetConfig",
        "segformer": "segformer.SegFormerConfig",
        "segmenter": "segmenter.SegmenterConfig",
        "segvit": "segvit.SegVitConfig",
        "segvit_cl": "segvit_cl.SegVitClConfig",
        "segvit_joint": "segvit_joint.SegVitJointConfig",
        "semask": "semask.SeMaskConfig",
        "semaskvit": "semaskvit.SeMaskVitConfig",
        "setr": "setr.SetrConfig",
        "shrunk": "shrunk.ShrunkConfig",
        "upernet": "upernet.UperNetConfig",
    }
)
