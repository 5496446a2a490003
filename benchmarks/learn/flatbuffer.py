"""A network of dense layers as a TFLite file, written with TFLite's own schema; no TensorFlow."""

from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from water.model import Layer

SCHEMA_VERSION: Final = 3
IDENTIFIER: Final = b"TFL3"
ALIGNED_BYTES: Final = 16  # what the schema asks of every buffer


def tflite_file(layers: tuple[Layer, ...]) -> bytes:
    """Return the file: float32 ``(1, inputs)`` in, float32 ``(1, 1)`` out; the first axis resizes.

    Raises:
        ModuleNotFoundError: The schema is not installed: the distribution is called ``tflite``.
    """
    file = _File()
    values = first = file.tensor("features", (1, layers[0].weights.shape[0]))
    for number, layer in enumerate(layers):
        width, last = len(layer.bias), number == len(layers) - 1
        inputs = [
            values,
            file.tensor(f"weights {number}", layer.weights.T.shape, layer.weights.T),
            file.tensor(f"bias {number}", (width,), layer.bias),
        ]
        values = file.tensor(f"layer {number}", (1, width))
        file.dense(inputs, values, relu=not last)
    score = file.tensor("score", (1, 1))
    file.logistic(values, score)
    return file.finished(first, score)


class _File:
    """A file under construction: vectors and tables must be written before what holds them."""

    def __init__(self) -> None:
        self._schema: Any = import_module("tflite")
        self._builder: Any = import_module("flatbuffers").Builder(1 << 14)
        self._buffers = [self._buffer(b"")]  # by convention the first is nobody's
        self._tensors: list[int] = []
        self._operators: list[int] = []

    def tensor(
        self, name: str, shape: tuple[int, ...], values: NDArray[np.float32] | None = None
    ) -> int:
        """Add a float32 tensor, constant if it has values; return its number."""
        builder, schema, buffer = self._builder, self._schema, 0
        if values is not None:
            buffer = len(self._buffers)
            self._buffers.append(self._buffer(np.ascontiguousarray(values, "<f4").tobytes()))
        called = builder.CreateString(name)
        sizes = self._numbers(schema.TensorStartShapeVector, shape)
        schema.TensorStart(builder)
        schema.TensorAddShape(builder, sizes)
        schema.TensorAddType(builder, schema.TensorType.FLOAT32)
        schema.TensorAddBuffer(builder, buffer)
        schema.TensorAddName(builder, called)
        self._tensors.append(schema.TensorEnd(builder))
        return len(self._tensors) - 1

    def dense(self, inputs: list[int], output: int, *, relu: bool) -> None:
        """Add a dense layer."""
        builder, schema = self._builder, self._schema
        kind = schema.ActivationFunctionType
        schema.FullyConnectedOptionsStart(builder)
        activation = kind.RELU if relu else kind.NONE
        schema.FullyConnectedOptionsAddFusedActivationFunction(builder, activation)
        options = schema.FullyConnectedOptionsEnd(builder)
        self._operator(0, inputs, output, schema.BuiltinOptions.FullyConnectedOptions, options)

    def logistic(self, values: int, output: int) -> None:
        """Add the logistic function."""
        self._operator(1, [values], output, self._schema.BuiltinOptions.NONE, 0)

    def finished(self, first: int, last: int) -> bytes:
        """Return the file, given the tensors that go in and come out."""
        builder, schema = self._builder, self._schema
        tensors = self._tables(schema.SubGraphStartTensorsVector, self._tensors)
        operators = self._tables(schema.SubGraphStartOperatorsVector, self._operators)
        into = self._numbers(schema.SubGraphStartInputsVector, (first,))
        out = self._numbers(schema.SubGraphStartOutputsVector, (last,))
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        schema.SubGraphAddInputs(builder, into)
        schema.SubGraphAddOutputs(builder, out)
        schema.SubGraphAddOperators(builder, operators)
        graphs = self._tables(schema.ModelStartSubgraphsVector, [schema.SubGraphEnd(builder)])
        kind = schema.BuiltinOperator
        codes = [self._code(kind.FULLY_CONNECTED), self._code(kind.LOGISTIC)]
        codes_at = self._tables(schema.ModelStartOperatorCodesVector, codes)
        buffers = self._tables(schema.ModelStartBuffersVector, self._buffers)
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, SCHEMA_VERSION)
        schema.ModelAddOperatorCodes(builder, codes_at)
        schema.ModelAddSubgraphs(builder, graphs)
        schema.ModelAddBuffers(builder, buffers)
        builder.Finish(schema.ModelEnd(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _operator(self, code: int, inputs: list[int], output: int, kind: int, options: int) -> None:
        builder, schema = self._builder, self._schema
        into = self._numbers(schema.OperatorStartInputsVector, tuple(inputs))
        out = self._numbers(schema.OperatorStartOutputsVector, (output,))
        schema.OperatorStart(builder)
        schema.OperatorAddOpcodeIndex(builder, code)
        schema.OperatorAddInputs(builder, into)
        schema.OperatorAddOutputs(builder, out)
        if options:
            schema.OperatorAddBuiltinOptionsType(builder, kind)
            schema.OperatorAddBuiltinOptions(builder, options)
        self._operators.append(schema.OperatorEnd(builder))

    def _code(self, operator: int) -> int:
        builder, schema = self._builder, self._schema
        schema.OperatorCodeStart(builder)
        schema.OperatorCodeAddDeprecatedBuiltinCode(builder, operator)
        schema.OperatorCodeAddVersion(builder, 1)
        schema.OperatorCodeAddBuiltinCode(builder, operator)
        return int(schema.OperatorCodeEnd(builder))

    def _buffer(self, content: bytes) -> int:
        builder, schema, held = self._builder, self._schema, 0
        if content:
            builder.StartVector(1, len(content), ALIGNED_BYTES)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            held = builder.EndVector()
        schema.BufferStart(builder)
        if held:
            schema.BufferAddData(builder, held)
        return int(schema.BufferEnd(builder))

    def _numbers(self, start: Any, numbers: tuple[int, ...]) -> int:
        start(self._builder, len(numbers))
        for number in reversed(numbers):
            self._builder.PrependInt32(number)
        return int(self._builder.EndVector())

    def _tables(self, start: Any, tables: list[int]) -> int:
        start(self._builder, len(tables))
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return int(self._builder.EndVector())
