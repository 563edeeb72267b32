"""Layers, losses and networks, with explicit forward and backward.

One family a file: module.py has what they share, then containers.py, conv.py, pooling.py, linear.py, activation.py,
dropout.py, losses.py, and init.py for how weights begin.
"""

from .activation import LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .containers import Sequential
from .conv import Conv2d
from .dropout import Dropout, Dropout2d
from .linear import Flatten, Linear
from .losses import CrossEntropyLoss, Loss, MSELoss, NLLLoss, OneHotSquaredError
from .module import LoadResult, Module, Parameter
from .pooling import AvgPool2d, MaxPool2d

__all__ = [
    "AvgPool2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "LeakyReLU",
    "Linear",
    "LoadResult",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "NLLLoss",
    "OneHotSquaredError",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
