from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnnxModel(_message.Message):
    __slots__ = ("graph",)
    class Entry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class Tensor(_message.Message):
        __slots__ = ("dims", "data_type", "name", "raw_data", "external_data", "data_location")
        DIMS_FIELD_NUMBER: _ClassVar[int]
        DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
        NAME_FIELD_NUMBER: _ClassVar[int]
        RAW_DATA_FIELD_NUMBER: _ClassVar[int]
        EXTERNAL_DATA_FIELD_NUMBER: _ClassVar[int]
        DATA_LOCATION_FIELD_NUMBER: _ClassVar[int]
        dims: _containers.RepeatedScalarFieldContainer[int]
        data_type: int
        name: str
        raw_data: bytes
        external_data: _containers.RepeatedCompositeFieldContainer[OnnxModel.Entry]
        data_location: int
        def __init__(self, dims: _Optional[_Iterable[int]] = ..., data_type: _Optional[int] = ..., name: _Optional[str] = ..., raw_data: _Optional[bytes] = ..., external_data: _Optional[_Iterable[_Union[OnnxModel.Entry, _Mapping]]] = ..., data_location: _Optional[int] = ...) -> None: ...
    class Node(_message.Message):
        __slots__ = ("input", "output", "op_type")
        INPUT_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_FIELD_NUMBER: _ClassVar[int]
        OP_TYPE_FIELD_NUMBER: _ClassVar[int]
        input: _containers.RepeatedScalarFieldContainer[str]
        output: _containers.RepeatedScalarFieldContainer[str]
        op_type: str
        def __init__(self, input: _Optional[_Iterable[str]] = ..., output: _Optional[_Iterable[str]] = ..., op_type: _Optional[str] = ...) -> None: ...
    class Graph(_message.Message):
        __slots__ = ("node", "initializer")
        NODE_FIELD_NUMBER: _ClassVar[int]
        INITIALIZER_FIELD_NUMBER: _ClassVar[int]
        node: _containers.RepeatedCompositeFieldContainer[OnnxModel.Node]
        initializer: _containers.RepeatedCompositeFieldContainer[OnnxModel.Tensor]
        def __init__(self, node: _Optional[_Iterable[_Union[OnnxModel.Node, _Mapping]]] = ..., initializer: _Optional[_Iterable[_Union[OnnxModel.Tensor, _Mapping]]] = ...) -> None: ...
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    graph: OnnxModel.Graph
    def __init__(self, graph: _Optional[_Union[OnnxModel.Graph, _Mapping]] = ...) -> None: ...
