"""Say what a file is that this package has not written, and what reads it."""

from __future__ import annotations

__all__ = ["BEGINNING", "advice_on_foreign"]

BEGINNING = 4096  # bytes that are looked at
_ZIP = b"PK\x03\x04"
_PICKLE = (
    "a pickle, as pickle and joblib write it. pickle.load or joblib.load reads it; do this only "
    "if you trust the file, because it can run code"
)
_BY_FIRST_BYTES: tuple[tuple[bytes, str], ...] = (
    (b"\x80", _PICKLE),
    (b"\x78", "a compressed pickle of joblib. joblib.load reads it, and can run code from it"),
    (b"\x1f\x8b", "a file compressed by gzip. Decompress it first"),
    (b"BZh", "a file compressed by bzip2. Decompress it first"),
    (b"\xfd7zXZ", "a file compressed by xz. Decompress it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it. The library that wrote it reads it"),
    (b"PAR1", "a Parquet table. pandas.read_parquet reads it"),
    (b"\x93NUMPY", "an array of numpy. numpy.load reads it"),
)
_IN_ZIP: tuple[tuple[bytes, str], ...] = (
    (
        b"/data.pkl",
        "a file of torch.save. torch.load(path, weights_only=True) reads it. For weights of a "
        "module of your own: module.load_state_dict(...), then "
        "ImbalancedNetClassifier(module).fit(X, y)",
    ),
    (b"schema.json", "a file of skops. skops.io.load reads it"),
    (b"[Content_Types].xml", "an Excel file. pandas.read_excel reads it"),
    (b"model.weights.h5", "a file of Keras. keras.saving.load_model reads it"),
    (b".npy", "a file of numpy.savez. numpy.load reads it"),
)
_ONNX = "an ONNX file. onnxruntime.InferenceSession(path) reads it"
# A protocol buffer of ONNX begins with the version of its format, and goes on with another field.
_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"


def advice_on_foreign(start: bytes, end: bytes = b"") -> str:
    """Describe a file of a known form that this package does not write.

    Parameters
    ----------
    start, end : bytes
        First and last bytes of the file, at most :data:`BEGINNING` each.

    Returns
    -------
    str
        A sentence that says what the file is and what reads it; empty if the form is not known.

    Examples
    --------
    >>> import pickle
    >>> from imbtorch._safe_file._foreign import advice_on_foreign
    >>> advice_on_foreign(pickle.dumps([1]))[:42]
    'It is a pickle, as pickle and joblib write'
    """
    kind = _kind(start, end)
    if not kind:
        return ""
    return (
        f"It is {kind}. imbtorch.load reads only what imbtorch.save, or the method save of an "
        "estimator, has written."
    )


def _kind(start: bytes, end: bytes) -> str:
    if not start:
        return "an empty file"
    if start[8:9] == b"{":  # the header of a safetensors file, such as our own
        return ""
    if start.startswith(_ZIP):
        for name, kind in _IN_ZIP:
            if name in start or name in end:
                return kind
        return "a zip file"
    for first, kind in _BY_FIRST_BYTES:
        if start.startswith(first) and not (len(first) == 1 and _is_text(start)):
            return kind
    if start[0] == 8 and start[2:3] and start[2] in _ONNX_FIELDS:
        return _ONNX
    return "a text. pandas.read_csv reads a table, json.load a JSON file" if _is_text(start) else ""


def _is_text(start: bytes) -> bool:
    """Return whether bytes are printable text; the last character may be cut."""
    text = start.decode("utf-8", "replace").rstrip("\ufffd")
    return bool(text) and all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text)
