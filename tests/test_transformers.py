"""Models of Hugging Face, built from a configuration, are trained as they are."""

import numpy as np
import pytest
import torch

import imbtorch
from imbtorch import ImbalancedNetClassifier, Sequences, embed, finetune_head

pytestmark = pytest.mark.slow  # the import alone takes seconds
transformers = pytest.importorskip("transformers")

N_WORDS = 30
rng = np.random.default_rng(0)
Y = np.where(rng.random(300) < 0.1, "danger", "other")
X = [rng.integers(3, N_WORDS, length) for length in rng.integers(4, 12, len(Y))]
for row, label in zip(X, Y, strict=True):
    if label == "danger":
        row[rng.integers(len(row))] = 2
QUICK = {"lr": 0.01, "batch_size": 64, "max_epochs": 3, "random_state": 0}
SIZES = {
    "vocab_size": N_WORDS,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def bert(input_shape, n_outputs):
    config = transformers.BertConfig(hidden_size=8, num_labels=n_outputs, **SIZES)
    return transformers.BertForSequenceClassification(config)


def gpt2(input_shape, n_outputs, pad_token_id=0):
    """Return a model that reads the label from the last word that is no padding."""
    sizes = {"vocab_size": N_WORDS, "n_positions": 32, "n_embd": 8, "n_layer": 1, "n_head": 2}
    words = {"pad_token_id": pad_token_id, "bos_token_id": 1, "eos_token_id": 1}
    config = transformers.GPT2Config(**sizes, **words, num_labels=n_outputs)
    return transformers.GPT2ForSequenceClassification(config)


@pytest.fixture(scope="module")
def fitted():
    return ImbalancedNetClassifier(bert, class_weight="balanced", loss="focal", **QUICK).fit(X, Y)


def test_logits_of_a_row_alone(fitted):
    with torch.no_grad():
        logits = [fitted.module_(torch.tensor(row)[None]).squeeze(0) for row in X[:40]]
    expected = imbtorch.losses.FocalLoss().log_posterior(torch.stack(logits)).exp()
    np.testing.assert_allclose(fitted.predict_proba(X[:40]), expected, atol=1e-5)


@pytest.mark.parametrize("module", [bert, gpt2])
def test_padding_changes_no_prediction(module):
    clf = ImbalancedNetClassifier(module, sampler="class_balanced", **QUICK).fit(Sequences(X), Y)
    alone = np.vstack([clf.predict_proba([row]) for row in X[:20]])
    np.testing.assert_allclose(clf.predict_proba(X)[:20], alone, atol=1e-5)


def test_padding_must_have_the_number_that_the_model_takes_for_it():
    """The page on sequences says so: no test inside of fit could find it."""
    clf = ImbalancedNetClassifier(lambda *sizes: gpt2(*sizes, pad_token_id=2), **QUICK).fit(X, Y)
    alone = np.vstack([clf.predict_proba([row]) for row in X[:20]])
    assert np.abs(clf.predict_proba(X)[:20] - alone).max() > 1e-3


def test_a_file_and_the_last_layer(fitted, tmp_path):
    fitted.save(tmp_path / "bert.safetensors")
    again = imbtorch.load(tmp_path / "bert.safetensors", module=bert)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert embed(fitted, X, head="classifier").shape == (len(X), 8)
    tuned = finetune_head(fitted, X, Y, head="classifier", random_state=0)
    for name, tensor in fitted.module_.bert.state_dict().items():
        torch.testing.assert_close(tuned.module_.bert.state_dict()[name], tensor, msg=name)


def test_a_frozen_body():
    groups = {"bert.*": {"frozen": True}, "*.bias": {"weight_decay": 0.0}}
    module = bert(None, 2)
    clf = ImbalancedNetClassifier(module, param_groups=groups, **QUICK).fit(X, Y)
    for name, tensor in module.bert.state_dict().items():
        assert torch.equal(clf.module_.bert.state_dict()[name], tensor)
    assert not torch.equal(clf.module_.classifier.weight, module.classifier.weight)
