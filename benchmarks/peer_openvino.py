"""OpenVINO as side_by_side.py --inference times it: whole networks from ONNX, one request; see library.py.

Compiled for latency, in float32; inputs and results are shared with NumPy, not copied.
"""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from cases import Array, Case
from library import Training, Unsupported
from networks import Inference, onnx_graph
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class OpenVino:
    def __init__(self, threads: int) -> None:
        self.threads = threads

    def describe(self) -> dict[str, Any]:
        return {
            "library": f"OpenVINO {openvino.__version__.split('-')[0]}",
            "threads": self.threads,
            "python": platform.python_version(),
        }

    def call(self, case: Case | Inference, which: str) -> Callable[[], Any]:
        if not isinstance(case, Inference):
            raise Unsupported("OpenVINO runs whole networks only")
        nodes, result = onnx_graph(case)
        graph = helper.make_graph(
            nodes,
            case.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, case.x_shape)],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, case.y_shape)],
            [numpy_helper.from_array(array, name) for name, array in case.weights().items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(io.BytesIO(model.SerializeToString())),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": self.threads,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )
        request, x = compiled.create_infer_request(), case.draw()
        return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)

    def arrays(self, result: Any) -> list[Array]:
        return [np.array(result[0])]

    def train(self, network: str, batch_size: int, data_dir: Path | None, exact: bool) -> Training:
        raise Unsupported("OpenVINO does not train")


def make() -> OpenVino:
    return OpenVino(int(os.environ["OMP_NUM_THREADS"]))
