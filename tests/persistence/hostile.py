"""Hostile files: name -> bytes, made from a good one."""

import copy
import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import torch
from safetensors.torch import save as save_foreign

MB = 2**20


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def framed(header, data):
    """A file with this header, given as bytes, a dict or text, and these data."""
    header = header if isinstance(header, bytes | str) else compact(header)
    header = header if isinstance(header, bytes) else header.encode()
    return len(header).to_bytes(8, "little") + header + data


class File:
    """A good file taken apart, to be changed and put together with a right checksum."""

    def __init__(self, blob):
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(blob[8 : 8 + length])
        self.document = json.loads(header.pop("__metadata__")["imbtorch"])
        self.entries, self.data = header, blob[8 + length :]

    def text(self):
        return json.dumps(self.document, ensure_ascii=False)

    def bytes(self, text=None, checksum=None, entries=None, **metadata):
        text = self.text() if text is None else text
        entries = compact(self.entries) if entries is None else entries
        digest = hashlib.sha256((text + entries).encode() + self.data).hexdigest()
        metadata = {"sha256": checksum or digest, "imbtorch": text, **metadata}
        return framed('{"__metadata__":' + compact(metadata) + "," + entries[1:], self.data)

    # -- tensors

    def place(self, name):
        return slice(*self.entries[name]["data_offsets"])

    def tensor(self, name):
        """The name of the tensor behind an attribute."""
        return self.document["net"]["attributes"][name]["$array"]

    def put(self, name, array):
        """Put other numbers of the same size into a tensor."""
        place = self.place(name)
        raw = np.ascontiguousarray(array).tobytes()
        assert len(raw) == place.stop - place.start
        self.data = self.data[: place.start] + raw + self.data[place.stop :]

    def rebuild(self, change):
        """Change the tensors, ``{name: (dtype, array)}``, and lay them out anew."""
        names = {
            "F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32,
            "BOOL": np.bool_, "U8": np.uint8,
        }  # fmt: skip
        tensors = {
            name: (
                entry["dtype"],
                np.frombuffer(self.data[self.place(name)], names[entry["dtype"]]).reshape(
                    entry["shape"]
                ),
            )
            for name, entry in self.entries.items()
        }
        change(tensors)
        self.entries, self.data = {}, b""
        for name, (dtype, array) in tensors.items():
            begin, raw = len(self.data), array.tobytes()
            self.data += raw
            offsets = [begin, len(self.data)]
            self.entries[name] = {
                "dtype": dtype, "shape": list(array.shape), "data_offsets": offsets,
            }  # fmt: skip


def framing(good):
    """Files that are wrong as safetensors files."""
    length = int.from_bytes(good[:8], "little")
    header, data = good[8 : 8 + length], good[8 + length :]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", pickle.dumps(print))
    empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    many = {f"t{i}": json.loads(empty) for i in range(10_001)}
    return {
        "empty": b"",
        "seven bytes": b"1234567",
        "no header": bytes(8),
        "header of 2**63 bytes": (2**63).to_bytes(8, "little") + good[8:],
        "header of 2**64 - 1 bytes": b"\xff" * 8 + good[8:],
        "header longer than the file": (len(good) - 7).to_bytes(8, "little") + good[8:],
        "header of 9 MB": framed(b"{" + b" " * 9 * MB + b"}", b""),
        "pickle": pickle.dumps(print),
        "zip with a pickle": archive.getvalue(),
        "torch.save": _torch_file(),
        "cut in the header": good[: 8 + length // 2],
        "cut in the data": good[: -len(data) // 2],
        "one byte too few": good[:-1],
        "one byte too many": good + b"\0",
        "good file twice": good + good,
        "header is not UTF-8": framed(header.replace(b"imbtorch", b"imb\xfforch", 1), data),
        "header is not JSON": framed(header[:-20] + b"]" * 20, data),
        "header is a list": framed(b"[1]", data),
        "header begins with a blank": framed(b" " + header, data),
        "header with a byte-order mark": framed(b"\xef\xbb\xbf" + header, data),
        "NaN in the header": framed('{"a":NaN}', b""),
        "header of 900 levels": framed('{"a":' * 900 + "1" + "}" * 900, b""),
        "header of 300 000 levels": framed('{"a":' + "[" * 300_000, b""),
        "2.7 million empty lists": framed('{"a":[' + "[]," * (8 * MB // 3 - 10) + "1]}", b""),
        "4 million numbers": framed('{"a":[' + "0," * (4 * MB - 10) + "1]}", b""),
        "2 million strings": framed('{"a":[' + '"a",' * (2 * MB - 10) + "1]}", b""),
        "600 000 keys": framed(
            "{" + ",".join(f'"{i:x}":{i}' for i in range(500_000)) + "}", b""
        ),
        "150 000 empty tensors": framed(
            "{" + ",".join(f'"{i:x}":{empty}' for i in range(130_000)) + "}", b""
        ),
        "one empty tensor too many": framed(many, b""),
        "number of 100 000 digits": framed('{"a":' + "9" * 100_000 + "}", b""),
        "safetensors file of somebody else": save_foreign({"w": torch.ones(3)}),
        "metadata of somebody else": save_foreign({"w": torch.ones(3)}, {"format": "pt"}),
    }  # fmt: skip


def _torch_file():
    file = io.BytesIO()
    torch.save({"a": torch.ones(2)}, file)
    return file.getvalue()


def headers(good):
    """Files whose tensors are described wrongly."""
    name = "module.0.weight"
    places = {
        "unknown dtype": {"dtype": "F128"},
        "dtype that is no text": {"dtype": ["F32"]},
        "negative size": {"shape": [-8, -5]},
        "size that is a float": {"shape": [8.0, 5]},
        "size that is true": {"shape": [True, 40]},
        "shape that is a number": {"shape": 40},
        "product of sizes overflows": {"shape": [2**32, 2**32]},
        "product of sizes wraps around to the right one": {"shape": [2**62, 4, 40]},
        "nothing times much": {"shape": [0, 2**62]},
        "layer of 4 TB": {"shape": [10**6, 10**6]},
        "layer of 4 TB that claims its bytes": {
            "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12],
        },
        "40 dimensions": {"shape": [1] * 38 + [8, 5]},
        "offsets past the end": {"data_offsets": [10**9, 10**9 + 160]},
        "negative offsets": {"data_offsets": [-160, 0]},
        "offsets the wrong way round": {"data_offsets": [160, 0]},
        "three offsets": {"data_offsets": [0, 160, 320]},
        "offsets that are text": {"data_offsets": ["0", "160"]},
        "offsets that are floats": {"data_offsets": [0.0, 160.0]},
        "unknown key": {"code": "import os"},
    }  # fmt: skip
    corpus = {}
    for what, change in places.items():
        file = File(good)
        file.entries[name] |= change
        corpus[what] = file.bytes()
    file = File(good)
    del file.entries[name]["shape"]
    corpus["no shape"] = file.bytes()
    file = File(good)
    first, second = list(file.entries)[:2]
    file.entries[second]["data_offsets"] = file.entries[first]["data_offsets"]
    corpus["overlapping tensors"] = file.bytes()
    file = File(good)
    file.data = file.data + bytes(8)
    corpus["data that belong to nothing"] = file.bytes()
    file = File(good)
    file.entries = dict(reversed(file.entries.items()))
    corpus["tensors out of order"] = file.bytes()
    file = File(good)
    del file.entries[next(iter(file.entries))]
    corpus["gap before the first tensor"] = file.bytes()
    file = File(good)
    entries = compact(file.entries)
    again = compact({name: file.entries[name]})[1:-1]
    corpus["tensor described twice"] = file.bytes(entries=entries[:-1] + "," + again + "}")
    corpus["key twice in a description"] = file.bytes(
        entries=entries.replace('"dtype":"F32"', '"dtype":"F32","dtype":"F32"', 1)
    )
    return corpus


def documents(good):
    """Files whose document is damaged, as text or in its frame."""
    file = File(good)
    text = file.text()
    middle = len(file.data) // 2
    flipped = File(good)
    flipped.data = (
        flipped.data[:middle] + bytes([flipped.data[middle] ^ 1]) + file.data[middle + 1 :]
    )
    return {
        "wrong checksum": file.bytes(checksum="0" * 64),
        "empty checksum": file.bytes(checksum=" "),
        "checksum in other letters": file.bytes(checksum="é" * 64),
        "checksum that is a number": file.bytes(checksum=1),
        "flipped byte in the data": flipped.bytes(checksum=_checksum(good)),
        "changed document": file.bytes(
            text.replace('"max_epochs": 1', '"max_epochs": 2'), checksum=_checksum(good)
        ),
        "more metadata": file.bytes(pickle="gASV"),
        "document that is a number": file.bytes(imbtorch=1),
        "document that is a list": file.bytes("[1]"),
        "document that is not JSON": file.bytes(text[:-1]),
        "NaN": file.bytes(text.replace('"lr": 0.003', '"lr": NaN')),
        "infinity": file.bytes(text.replace('"lr": 0.003', '"lr": Infinity')),
        "number out of range": file.bytes(text.replace('"lr": 0.003', '"lr": 1e999')),
        "key twice": file.bytes(text.replace('"lr": 0.003', '"lr": 0.003, "lr": 0.5')),
        "900 levels": file.bytes(
            text.replace('"lr": 0.003', '"lr": ' + "[" * 900 + "1" + "]" * 900)
        ),
        "100 000 levels": file.bytes(text.replace('"lr": 0.003', '"lr": ' + "[" * 100_000)),
        "document of 2 MB": file.bytes(text.replace('"lr": 0.003', '"lr": "' + "a" * 2 * MB + '"')),
        "300 000 empty lists": file.bytes(
            text.replace('"lr": 0.003', '"lr": [' + "[]," * 300_000 + "1]")
        ),
        "90 000 empty lists": file.bytes(
            text.replace('"lr": 0.003', '"lr": [' + "[]," * 90_000 + "1]")
        ),
        "lone surrogate": file.bytes(text.replace('"auto"', '"\\ud800"', 1)),
        "newer format": file.bytes(text.replace('"format": 1', '"format": 2')),
        "format 0": file.bytes(text.replace('"format": 1', '"format": 0')),
        "format that is text": file.bytes(text.replace('"format": 1', '"format": "1"')),
        "format that is true": file.bytes(text.replace('"format": 1', '"format": true')),
        "no format": file.bytes(text.replace('"format": 1, ', "")),
    }  # fmt: skip


def _checksum(blob):
    length = int.from_bytes(blob[:8], "little")
    return json.loads(blob[8 : 8 + length])["__metadata__"]["sha256"]


OBJECT = {"$object": ["loss", "focal", {"gamma": 1.0}]}
# path into the document -> another value
CHANGES = {
    "another kind of file": ("kind", "checkpoint"),
    "no kind": ("kind", None),
    "versions that are text": ("versions", "1.0"),
    "versions that are numbers": ("versions", {"torch": 2}),
    "part that nobody knows": ("code", "import os"),
    "estimator that nobody knows": ("estimator", "RandomForestClassifier"),
    "estimator that is a function": ("estimator", "os.system"),
    "estimator that is a number": ("estimator", 1),
    "ensemble of one net": ("estimator", "NetEnsembleClassifier"),
    "regressor with classes": ("estimator", "ImbalancedNetRegressor"),
    "parameter that nobody knows": ("params/code", "import os"),
    "parameters that are a list": ("params", []),
    "negative learning rate": ("params/lr", -1.0),
    "learning rate that is text": ("params/lr", "0.1"),
    "learning rate that is NaN": ("params/lr", {"$float": "nan"}),
    "no such number": ("params/lr", {"$float": "os.system"}),
    "optimizer that nobody knows": ("params/optimizer", "torch.optim.SGD"),
    "optimizer that is an object": ("params/optimizer", OBJECT),
    "class for a callable": ("params/scoring", {"$class": ["loss", "focal"]}),
    "folder to write to": ("params/checkpoint", "/etc"),
    "callbacks": ("params/callbacks", ["skorch.callbacks.Checkpoint"]),
    "loss that nobody knows": ("params/loss", "os.system"),
    "object that nobody knows": ("params/loss", {"$object": ["loss", "os.system", {}]}),
    "kind of object that nobody knows": ("params/loss", {"$object": ["os", "system", {}]}),
    "object of a wrong kind": ("params/sampler", OBJECT),
    "object in a list": ("params/class_weight", [OBJECT]),
    "object in an object": (
        "params/loss", {"$object": ["loss", "focal", {"weight": OBJECT}]},
    ),
    "object of a wrong form": ("params/loss", {"$object": "focal"}),
    "parameter of a loss out of range": (
        "params/loss", {"$object": ["loss", "focal", {"gamma": -1.0}]},
    ),
    "parameter of a loss that nobody knows": (
        "params/loss", {"$object": ["loss", "focal", {"code": 1}]},
    ),
    "parameter of a loss of torch that is a list": (
        "params/loss", {"$object": ["torch_loss", "L1Loss", {"reduction": ["mean"]}]},
    ),
    "sampler that nobody knows": ("params/sampler", "os.system"),
    "tag that nobody knows": ("params/lr", {"$import": "os"}),
    "two tags": ("params/lr", {"$float": "nan", "$tuple": []}),
    "tag beside a key": ("params/class_weight", {"$tuple": [], "a": 1}),
    "dict with a list for a key": ("params/class_weight", {"$dict": [[[1], 2]]}),
    "dict with a key twice": ("params/class_weight", {"$dict": [[1, 2], [1, 3]]}),
    "dict of triples": ("params/class_weight", {"$dict": [[1, 2, 3]]}),
    "number of a wrong type": ("params/lr", {"$scalar": ["object", 1]}),
    "number of an endless type": ("params/lr", {"$scalar": ["V999999999", 1]}),
    "device that is none": ("params/device", {"$device": "abacus"}),
    "random state that is none": ("params/random_state", {"$random_state": [1, 2, 3, 4]}),
    "tensor that is not there": ("params/class_weight", {"$array": "value.99"}),
    "tensor used twice": ("params/class_weight", {"$array": "value.0"}),
    "weights used for a parameter": ("params/class_weight", {"$array": "module.0.weight"}),
    "strings 400 GB long": (
        "params/class_weight", {"$texts": [99_999, [1000], ["a"] * 1000]},
    ),
    "strings of a wrong shape": ("params/class_weight", {"$texts": [1, [2**40], []]}),
    "population of other classes": ("params/target_prior", {"$dict": [["a", 0.5], ["b", 0.5]]}),
    "module that nobody knows": ("params/module", "os.system"),
    "module of the caller in one place only": ("params/module", {"$caller": "a.B"}),
    "module that is a loss": ("params/module", OBJECT),
    "500 000 levels of estimators": ("params/estimator", {"$estimator": {}}),
    "layers that are text": ("hidden_sizes", ["a"]),
    "negative layer": ("hidden_sizes", [-8]),
    "layer of half a unit": ("hidden_sizes", [7.5]),
    "200 000 layers": ("hidden_sizes", [1] * 200_000),
    "layer 10**12 wide": ("hidden_sizes", [10**12]),
    "layer 10**300 wide": ("hidden_sizes", [10**300]),
    "one more unit than weights": ("hidden_sizes", [9]),
    "one more layer than weights": ("hidden_sizes", [8, 1]),
    "layers in a loss": ("params/module", {"$object": ["module", "mlp", {"hidden_sizes": OBJECT}]}),
    "net that is text": ("net", "net"),
    "no classes": ("net/n_outputs", 0),
    "10**12 classes": ("net/n_outputs", 10**12),
    "three classes": ("net/n_outputs", 3),
    "true classes": ("net/n_outputs", True),
    "10**12 features": ("net/input_shape", [10**12]),
    "features without number": ("net/input_shape", []),
    "features that are text": ("net/input_shape", ["5"]),
    "six features": ("net/input_shape", [6]),
    "task that nobody knows": ("net/task", "code"),
    "task of another estimator": ("net/task", "values"),
    "task of labels": ("net/task", "labels"),
    "type that nobody knows": ("net/dtype", "float16"),
    "other type than the weights": ("net/dtype", "float64"),
    "empty batches": ("net/batch_size", 0),
    "module of the caller": ("net/module", "os.system"),
    "loss of the net that is text": ("net/loss", {"a": "focal"}),
    "loss of the net is for values": ("net/loss", {"$object": ["regression_loss", "mse", {}]}),
    "loss of the net is a sampler": ("net/loss", {"$object": ["sampler", "power", {}]}),
    "another loss than the weights": ("net/loss", OBJECT),
    "frozen parameter that is not there": ("net/frozen", ["module.9.weight"]),
    "frozen parameter that is a list": ("net/frozen", [[]]),
    "layout of a tensor that is not there": ("net/by_feature", ["9.weight"]),
    "layout of a vector": ("net/by_feature", ["0.weight"]),
    "no attributes": ("net/attributes", {}),
    "attribute that nobody knows": ("net/attributes/predict", "code"),
    "number of features that is text": ("net/attributes/n_features_in_", "5"),
    "interrupted a little": ("net/attributes/interrupted_", 0.5),
    "names of other features": (
        "net/attributes/feature_names_in_", {"$texts": ["object", [1], ["a"]]},
    ),
    "classes that are text": ("net/attributes/classes_", "ab"),
    "three names for two classes": (
        "net/attributes/classes_", {"$texts": [1, [3], ["a", "b", "c"]]},
    ),
    "one name for two classes": ("net/attributes/classes_", {"$texts": [1, [2], ["a", "a"]]}),
    "names that cannot be sorted": (
        "net/attributes/classes_", {"$texts": ["object", [2], ["a", None]]},
    ),
    "history that is text": ("net/history", {"columns": "a"}),
    "history of nothing": ("net/history", {}),
    "history of numbers": ("net/history", {"rows": [1, 2]}),
    "history of uneven columns": ("net/history", {"columns": {"a": [1], "b": [1, 2]}}),
    "no members": ("members", []),
    "members beside a net": ("members", [{}]),
    "folds of a single net": ("out_of_fold", {}),
}  # fmt: skip


def described(good):
    """Files with a right checksum that describe nothing that is."""
    corpus = {}
    for what, (path, value) in CHANGES.items():
        file = File(good)
        if path == "hidden_sizes":
            file.document["params"]["module"]["$object"][2]["hidden_sizes"] = {"$tuple": value}
        else:
            *parents, last = path.split("/")
            inner = file.document
            for key in parents:
                inner = inner[key]
            inner[last] = copy.deepcopy(value)
        corpus[what] = file.bytes()
    return corpus


def tensors(good):
    """Files with a right checksum and wrong numbers."""
    corpus = {}

    def add(what, change):
        file = File(good)
        change(file)
        corpus[what] = file.bytes()

    def weights(value):
        array = np.zeros((8, 5), np.float32)
        array[3, 3] = value
        return lambda file: file.put("module.0.weight", array)

    add("weight that is NaN", weights(np.nan))
    add("weight that is infinite", weights(-np.inf))
    for name, values in {
        "class_counts_": [np.nan, 1.0],
        "class_weight_": [-1.0, 1.0],
        "class_prior_": [0.5, 1.5],
        "effective_prior_": [np.nan, 0.5],
    }.items():
        add(f"impossible {name}", lambda f, n=name, v=values: f.put(f.tensor(n), np.array(v)))
    add("counts of nothing", lambda f: f.put(f.tensor("class_counts_"), np.zeros(2)))
    add("boolean that is 2", lambda f: f.put(_of(f, "BOOL"), np.full(1, 2, np.uint8)))

    def rebuilt(change):
        return lambda file: file.rebuild(change)

    def widened(tensors):
        tensors["module.0.weight"] = "F64", tensors["module.0.weight"][1].astype(np.float64)

    def turned(tensors):
        tensors["module.0.weight"] = "F32", tensors["module.0.weight"][1].T.copy()

    def longer(tensors):
        tensors["loss.log_prior"] = "F32", np.zeros(3, np.float32)

    def shorter(tensors):
        tensors["loss.log_prior"] = "F32", np.zeros(1, np.float32)

    def more(tensors):
        tensors["module.9.weight"] = "F32", np.zeros(3, np.float32)

    def stray(tensors):
        tensors["value.99"] = "F32", np.zeros(3, np.float32)

    add("weights of another type", rebuilt(widened))
    add("weights of another shape", rebuilt(turned))
    add("prior of three classes", rebuilt(longer))
    add("prior of one class", rebuilt(shorter))
    add("one weight too many", rebuilt(more))
    add("tensor that belongs to nothing", rebuilt(stray))
    add("no prior", rebuilt(lambda tensors: tensors.pop("loss.log_prior")))
    add("one weight too few", rebuilt(lambda tensors: tensors.pop("module.2.bias")))
    add(
        "no weights", rebuilt(lambda tensors: [tensors.pop(n) for n in list(tensors) if "mod" in n])
    )
    return corpus


def greedy(good):
    """Files with a right checksum that ask for more time or memory than their size allows."""
    corpus = {}

    def history(what, *columns):
        file = File(good)
        names = {f"c{i}": f"value.{90 + i}" for i in range(len(columns))}

        def change(tensors):
            for name, (dtype, array) in zip(names.values(), columns, strict=True):
                tensors[name] = dtype, array

        file.rebuild(change)
        arrays = {key: {"$array": name} for key, name in names.items()}
        file.document["net"]["history"] = {"columns": arrays}
        corpus[what] = file.bytes()

    history("history of empty rows", ("F32", np.zeros((2**23, 0), np.float32)))
    history("history of 2**40 empty rows", ("F32", np.zeros((2**40, 0), np.float32)))
    history("history of 4 million flags", ("BOOL", np.zeros(2**22, np.bool_)))
    bytes_, flags = np.zeros(2**21, np.uint8), np.zeros(2**21, np.bool_)
    history("history of 2 million short epochs", ("U8", bytes_), ("BOOL", flags))

    def document(what, change):
        file = File(good)
        change(file.document)
        corpus[what] = file.bytes()

    def parameter(name, value):
        return lambda document: document["params"].update({name: value})

    text = {"$texts": [2**22, [1], ["a"]]}
    document("60 texts of 2**22 letters", parameter("class_weight", [text] * 60))
    same_hash = [[(2**61 - 1) * i, 0] for i in range(35_000)]
    document("keys of one hash", parameter("class_weight", {"$dict": same_hash}))
    large = [[(2**61 - 1) * i, 0] for i in range(2, 9)]
    document("keys of one hash, in 64 bits", parameter("class_weight", {"$dict": large}))
    document("24 000 objects", parameter("loss", [{"$object": ["loss", "poly1", {}]}] * 24_000))
    document("90 000 dicts", parameter("class_weight", [{"a": 1}] * 90_000))
    rows = [0] * 300_000
    document("300 000 epochs", lambda d: d["net"].update(history={"columns": {"a": rows}}))
    for kind in (
        "longdouble",
        "float32,float32",
        "S9",
        "U9",
        "V1000000000",
        "object",
        "datetime64",
    ):
        document(f"number of type {kind}", parameter("lr", {"$scalar": [kind, 1]}))
    document("number that is text", parameter("lr", {"$scalar": ["float64", "0.1"]}))
    red = "\x1b[31m\x9b31m"
    document("escape code in a parameter", lambda d: d["params"].update({red: 1}))
    document("escape code in a loss", parameter("loss", {"$object": ["loss", "focal", {red: 1}]}))
    document("escape code in a device", parameter("device", {"$device": red}))
    document("escape code in a kind", lambda d: d.update(kind=red))
    document("escape code in a version", lambda d: (d["versions"].update({red: red}), d.pop("net")))
    corpus["members"] = _members(good)
    corpus["wide names"] = _wide(good, "\U0001f600" + "a" * 700)
    corpus["wide names, escaped"] = _wide(good, "\\ud83d\\ude00" + "a" * 700)
    return corpus


def _members(good):
    """900 small members, the last one of which is not valid."""
    file = File(good)
    member = {key: file.document.pop(key) for key in ("estimator", "params", "net")}
    member["net"] |= {"history": {"rows": []}}
    member["params"] = {"module": member["params"]["module"]}
    file.document |= {
        "estimator": "NetEnsembleClassifier", "params": {}, "members": [member] * 900,
        "interrupted": False,
    }  # fmt: skip
    return file.bytes()


def _wide(good, name):
    """Tensors whose names are long and have one character that takes four bytes."""
    empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    entries = "{" + ",".join(f'"{i}{name}":{empty}' for i in range(9_900)) + "}"
    file = File(good)
    file.data = b""
    return file.bytes(entries=entries)


def _of(file, dtype):
    return next(name for name, entry in file.entries.items() if entry["dtype"] == dtype)


PARTS = (framing, headers, documents, described, tensors, greedy)


def corpus(good):
    """All hostile files, from the good one of a net of 5 features, 8 hidden units, 2 classes."""
    parts = [make(good) for make in PARTS]
    merged = {name: blob for part in parts for name, blob in part.items()}
    assert len(merged) == sum(map(len, parts)), "two files have one name"
    return merged
