"""In place of onnx, of which qonnx.util.basic imports two names for annotations."""


class GraphProto:
    """Never made on a board."""


class ModelProto:
    """Never made on a board."""
