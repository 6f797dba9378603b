"""What to say of layers and functions that cannot be built: the reason, and what does instead."""

from __future__ import annotations

_ACTIVATION = (
    "what layers hand on are unsigned integers behind a ReLU, found with thresholds",
    "use nn.ReLU and train anew",
)
_NORM = (
    "it takes its statistics from the image at hand, thresholds are fixed",
    "use nn.BatchNorm2d or nn.BatchNorm1d between the layer and its ReLU",
)
_LOGITS = (
    "training, scoring and FINN want the logits, whose order it does not change",
    "leave it out",
)
_MEAN = (
    "the only average that is built is that over a whole feature map",
    "use nn.AdaptiveAvgPool2d(1), nn.MaxPool2d or another convolution",
)
_MEMORY = (
    "an accelerator of FINN's is a pipeline of layers that remembers nothing from step to step",
    "use convolutions and linear layers",
)
_SHAPE = (
    "feature maps are built for two dimensions",
    "use nn.Conv2d, over a height or width of 1 if need be",
)
_WEIGHTS = (
    "its weights belong to no module that could be given bits",
    "use the module of that name, nn.Conv2d, nn.Linear or nn.BatchNorm2d",
)
_NUMBERS = (
    "only layers, ReLUs, pools and flattening are built; an image comes scaled to -1 to 1",
    "leave it out or let a batch norm learn it",
)
_SUM = (
    "networks of your own are built as chains, without branches or shortcuts so far",
    "leave the shortcut out",
)

REASONS: dict[tuple[str, ...], tuple[str, str]] = {
    (
        "Sigmoid", "Tanh", "GELU", "SiLU", "Mish", "LeakyReLU", "ELU", "SELU", "CELU", "PReLU", "RReLU", "ReLU6", "Hardtanh",
        "Hardswish", "Hardsigmoid", "Softplus", "Softsign", "LogSigmoid", "Threshold", "sigmoid", "tanh", "gelu", "silu",
        "mish", "leaky_relu", "elu", "selu", "celu", "prelu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "softplus",
        "clamp", "clip", "clamp_", "sigmoid_", "tanh_",
    ): _ACTIVATION,
    (
        "LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
        "layer_norm", "group_norm", "rms_norm", "local_response_norm", "instance_norm", "normalize",
    ): _NORM,
    ("Softmax", "LogSoftmax", "Softmax2d", "Softmin", "softmax", "log_softmax", "argmax", "max"): _LOGITS,
    (
        "AvgPool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "LPPool2d", "avg_pool2d", "adaptive_avg_pool2d",
        "adaptive_max_pool2d", "mean", "sum", "amax",
    ): _MEAN,
    (
        "RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "MultiheadAttention", "Transformer", "TransformerEncoder",
        "TransformerEncoderLayer", "scaled_dot_product_attention",
    ): _MEMORY,
    ("Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "MaxPool1d", "MaxPool3d"): _SHAPE,
    ("conv2d", "linear", "batch_norm", "matmul", "mm", "bmm", "einsum"): _WEIGHTS,
    ("add", "sub", "mul", "truediv", "div", "iadd", "isub", "imul", "pad", "neg", "pow"): _NUMBERS,
}  # fmt: skip
_BY_NAME = {name: reason for names, reason in REASONS.items() for name in names}
_OTHER = (
    "there is no unit for it",
    "allowed are nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d(1), "
    "nn.Flatten, nn.Dropout and "
    "nn.Identity",
)


def refusal(what: str, name: str, is_sum: bool = False) -> str:
    """The sentence that refuses something.

    Args:
        what: it, as people know it.
        name: of its class or function.
        is_sum: whether two values of the network are added, as a shortcut does.
    """
    reason, remedy = _SUM if is_sum else _BY_NAME.get(name, _OTHER)
    return f"{what} cannot be built: {reason}; {remedy}"
