"""Exported models as models: what `vitseg export` wrote, run by ONNX Runtime, OpenVINO or torch."""
