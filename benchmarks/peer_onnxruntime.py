"""ONNX Runtime as side_by_side.py times it: forward passes, one session for one operator or network; see library.py.

Weights are initialisers, so that the session may pack them beforehand; the result goes into an array that is there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from cases import Array, Case, Conv, Linear, Update
from library import Training, Unsupported
from networks import Inference, onnx_graph
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class OnnxRuntime:
    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.shape: tuple[int, ...] = ()

    def describe(self) -> dict[str, Any]:
        return {
            "library": f"ONNX Runtime {onnxruntime.__version__}",
            "threads": self.threads,
            "python": platform.python_version(),
        }

    def call(self, case: Case | Inference, which: str) -> Callable[[], Any]:
        if isinstance(case, Inference):
            nodes, result = onnx_graph(case)
            return self._session(nodes, case.draw(), case.weights(), {result: (np.float32, case.y_shape)})
        if which != "forward" or isinstance(case, Update):
            raise Unsupported("ONNX Runtime does forward passes only")
        self.shape = case.x_shape
        x = case.draw()[0]
        outputs: dict[str, tuple[Any, tuple[int, ...]]] = {"y": (np.float32, case.y_shape)}
        weights: dict[str, Array] = {}
        if isinstance(case, Conv | Linear):
            _, weight, bias, _ = case.draw()
            weights = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        if isinstance(case, Linear):
            node = helper.make_node("Gemm", ["x", *weights], ["y"], transB=1)
            return self._session([node], x, weights, outputs)
        window: dict[str, Any] = {
            "kernel_shape": [case.kernel] * 2,
            "strides": [case.stride] * 2,
            "pads": [case.padding] * 4,
        }
        if isinstance(case, Conv):
            window |= {"dilations": [case.dilation] * 2, "group": case.groups}
            operator = "Conv"
        elif case.kind == "max":
            operator = "MaxPool"
            outputs["indices"] = (np.int64, case.y_shape)
        else:
            operator = "AveragePool"
            window["count_include_pad"] = 1
        node = helper.make_node(operator, ["x", *weights], list(outputs), **window)
        return self._session([node], x, weights, outputs)

    def _session(
        self, nodes: list[Any], x: Array, weights: dict[str, Array], outputs: dict[str, tuple[Any, tuple[int, ...]]]
    ) -> Callable[[], Any]:
        kinds = {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64}
        graph = helper.make_graph(
            nodes,
            "side_by_side",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info(name, kinds[dtype], shape) for name, (dtype, shape) in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = {name: np.zeros(shape, dtype) for name, (dtype, shape) in outputs.items()}
        binding = session.io_binding()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (x, *results.values())]
        binding.bind_ortvalue_input("x", values[0])
        for name, value in zip(results, values[1:], strict=True):
            binding.bind_ortvalue_output(name, value)

        def run() -> Any:
            session.run_with_iobinding(binding)
            return values[1:]

        return run

    def arrays(self, result: Any) -> list[Array]:
        y, *indices = (value.numpy() for value in result)
        if not indices:
            return [y]
        H, W = self.shape[2:]
        return [y, *(flat % (H * W) for flat in indices)]  # ONNX counts them from the start of the array

    def train(self, network: str, batch_size: int, data_dir: Path | None, exact: bool) -> Training:
        raise Unsupported("ONNX Runtime does not train")


def make() -> OnnxRuntime:
    return OnnxRuntime(int(os.environ["OMP_NUM_THREADS"]))
