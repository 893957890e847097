"""Check the graph of an ONNX file for what its runtimes do not check themselves.

Runtimes leave it to the writer of a model that its nodes are sorted, and that its values are in its own file. The
numbers of the fields are those of onnx.proto.
"""

from collections.abc import Iterator

from model.inference.protobuf import NotProtobuf, fields

MAX_DEPTH = 64
"""How deep graphs and attributes may lie in each other."""

# The fields that lead from a message to others of interest, by the kind of message.
_PATHS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL = 13  # TensorProto.external_data
_OPSET, _OPSET_VERSION = 8, 2


def names_other_files(content: bytes) -> bool:
    """Return whether an ONNX file says that values of a tensor are in other files, or cannot be searched for that.

    OpenVINO takes such a name relative to the working directory if the model came as bytes.
    """
    if b"location" not in content:  # the key under which the name of the file is stored
        return False
    left = [(memoryview(content), "model", 0)]
    try:
        while left:
            message, kind, depth = left.pop()
            if depth > MAX_DEPTH:
                return True
            for number, field in fields(message):
                if kind == "tensor" and number == _EXTERNAL:
                    return True
                if inner := _PATHS.get(kind, {}).get(number):
                    left.append((field, inner, depth + 1))
    except NotProtobuf:
        return True
    return False


def is_sorted(content: bytes) -> bool:
    """Return whether each node of an ONNX file comes after those whose outputs it takes, as the format demands.

    OpenVINO 2026.4 never ends where it does not, nor for a version of the operators that nobody has written yet.
    """
    try:
        for number, field in fields(memoryview(content)):
            if number == _OPSET and any(len(one) > 1 for key, one in fields(field) if key == _OPSET_VERSION):
                return False  # two bytes: a version above 127
            if number == 7 and not _is_graph_sorted(field, frozenset(), 0):
                return False
            if number == 25 and not _are_nodes_sorted(_all(field, 7), {bytes(one) for one in _all(field, 4)}, 0):
                return False
    except NotProtobuf:
        return False
    return True


def _is_graph_sorted(graph: memoryview, outer: frozenset[bytes], depth: int) -> bool:
    """Return whether the nodes of a graph are sorted; those of a graph in a graph see the values around it."""
    if depth > MAX_DEPTH:
        return False
    known = set(outer)
    known |= {bytes(name) for value in _all(graph, 11) for name in _all(value, 1)}
    tensors = [*_all(graph, 5), *(values for sparse in _all(graph, 15) for values in _all(sparse, 1))]
    known |= {bytes(name) for tensor in tensors for name in _all(tensor, 8)}
    return _are_nodes_sorted(_all(graph, 1), known, depth)


def _are_nodes_sorted(nodes: Iterator[memoryview], known: set[bytes], depth: int) -> bool:
    for node in nodes:
        parts = [(number, field) for number, field in fields(node) if number in (1, 2, 5)]
        if any(field and bytes(field) not in known for number, field in parts if number == 1):
            return False
        attributes = [field for number, field in parts if number == 5]
        inner = [graph for one in attributes for number, graph in fields(one) if number in (6, 11)]
        if inner and not all(_is_graph_sorted(graph, frozenset(known), depth + 1) for graph in inner):
            return False
        known |= {bytes(field) for number, field in parts if number == 2}
    return True


def _all(message: memoryview, number: int) -> Iterator[memoryview]:
    return (field for found, field in fields(message) if found == number)
