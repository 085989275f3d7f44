"""Names of the inputs of an ONNX file: no name of the user meets one inside the graph."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import imbtorch
from imbtorch import ImbalancedNetClassifier
from imbtorch.model_selection import TunedDecisionClassifierCV

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

N = 40
Y = np.arange(N) % 2
NUMBERS = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
FRAME = pd.DataFrame({"size": NUMBERS[:, 0], "town": np.where(Y == 1, "Ulm", "Bonn")})


class AllInputs(nn.Module):
    """A linear layer on all inputs side by side."""

    def __init__(self):
        super().__init__()
        self.linear = nn.LazyLinear(1)

    def forward(self, **inputs):
        return self.linear(torch.cat(list(inputs.values()), 1))


def fitted(*names, tables=()):
    """Fit a net on inputs of these names, and return it and its rows."""
    rows = {name: FRAME if name in tables else NUMBERS for name in names}
    features = dict.fromkeys(tables, "table") if tables else None
    net = ImbalancedNetClassifier(AllInputs, features=features, max_epochs=1, random_state=0)
    return net.fit(rows, Y), rows


def fed(rows):
    """Return what a session of onnxruntime gets of rows: the columns of tables one by one."""
    given = {}
    for name, part in rows.items():
        if part is FRAME:
            given[f"{name}.size"] = FRAME[["size"]].to_numpy()
            given[f"{name}.town"] = FRAME[["town"]].to_numpy(dtype=object)
        else:
            given[name] = part
    return given


@pytest.mark.parametrize(
    ("names", "tables"),
    [
        (("t", "u"), ("t",)),
        (("linear", "b"), ()),
        (("cat", "b"), ()),
        (("view", "table"), ("table",)),
        (("val_0", "table"), ("table",)),
    ],
    ids=lambda names: "+".join(names) or "none",
)
def test_inputs_named_like_tensors_of_the_graph(names, tables, tmp_path):
    clf, rows = fitted(*names, tables=tables)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [value.name for value in session.get_inputs()] == list(fed(rows))
    got = session.run(["probabilities"], fed(rows))[0]
    np.testing.assert_allclose(got, clf.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize("name", ["probabilities", "label"])
def test_input_named_like_an_output(name, tmp_path):
    clf, rows = fitted(name, "b")
    tuned = TunedDecisionClassifierCV(clf, cost_matrix=[[0, 1], [9, 0]], cv=2)
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=rf"'{name}' is the name of an output\. Rename the input"):
        imbtorch.to_onnx(tuned.fit(rows, Y), path)
    assert not path.exists()


def test_graph_that_is_not_valid_is_an_error_and_no_file(tmp_path, monkeypatch):
    clf, _ = fitted("a", "b")
    graph = clf._graph()
    graph.graph.node.add().CopyFrom(graph.graph.node[0])
    monkeypatch.setattr(type(clf), "_graph", lambda self: graph)
    path = tmp_path / "net.onnx"
    with pytest.raises(RuntimeError, match="not a valid graph of ONNX") as caught:
        clf.to_onnx(path)
    assert isinstance(caught.value.__cause__, onnx.checker.ValidationError)
    assert not path.exists()
