"""Models out of a root: as a folder of their own with the evidence, to a hub, and as ONNX."""
