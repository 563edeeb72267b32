"""Layers, losses and networks, with explicit forward and backward.

One family a file: module.py has what they share, then containers.py, conv.py, unfold.py, pooling.py, linear.py,
activation.py, norm.py, dropout.py, residual.py, losses.py, init.py for how weights begin, and summary.py
for the table that `model.summary(...)` gives.
"""

from .activation import LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .containers import Sequential
from .conv import Conv2d, ConvTranspose2d
from .dropout import Dropout, Dropout2d
from .linear import Flatten, Linear
from .losses import CrossEntropyLoss, Loss, MSELoss, NLLLoss, OneHotSquaredError
from .module import LoadResult, Module, Parameter
from .norm import BatchNorm1d, BatchNorm2d
from .pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d
from .residual import BasicBlock, ResNet
from .unfold import Fold, Unfold

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BasicBlock",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "Fold",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
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
    "ResNet",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Unfold",
]
