"""A file of tensors, read without trusting it: no code that the file names is ever run.

A pickle is looked through first, without being run: so it is known what it would call. What no
weights need is refused by name. The rest is given to PyTorch's own guard,
``torch.load(weights_only=True)``, with a stand-in that does nothing for everything that lies beside
the tensors: a recorder, numpy's numbers, the settings of a training.
"""

import hashlib
import io
import json
import pickletools
import re
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # what a checkpoint from before PyTorch 1.6 begins with
SAFETENSORS = 8  # bytes that say how long the header is
MOST_TUPLES = 20_000  # more of them, one within another, crash Python's hash()

AGAIN = "download or copy it again, and compare its size with the source's"
ANEW = (
    "where its source can be trusted, load it with the code that wrote it and save the tensors "
    "alone: torch.save(model.state_dict(), FILE)"
)
OTHER_KINDS = {  # how a file begins: what it is, and what helps
    b"version https://git-lfs": (
        "is a Git LFS pointer, not the weights: run git lfs pull in its repository, or download "
        "the file itself"
    ),
    b"\x89HDF": "is an HDF5 file, as Keras and TensorFlow write: ask for PyTorch's or safetensors",
    b"\x93NUMPY": "is one array of numpy's: save named tensors, as safetensors or by torch.save",
    b"\x1f\x8b": "is packed by gzip: unpack it, and name what was in it",
    b"BZh": "is packed by bzip2: unpack it, and name what was in it",
    b"7z\xbc\xaf": "is packed by 7-Zip: unpack it, and name what was in it",
    b"Rar!": "is packed by RAR: unpack it, and name what was in it",
    b"\xfd7zXZ": "is packed by xz: unpack it, and name what was in it",
}
OTHER_ARCHIVES = {  # what a zip holds: what it is, and what helps
    r"/constants\.pkl": (
        "is a TorchScript archive, a program with its weights: where its source can be trusted, "
        "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
    ),
    r"exported_program\.json|/models/\w+\.json|archive_format": (
        "is a program of torch.export (.pt2): where its source can be trusted, "
        "torch.save(torch.export.load(FILE).state_dict, OTHER)"
    ),
    r"\.weights\.h5$": "is a model of Keras: ask for PyTorch's or safetensors",
    r"\.npy$": "holds arrays of numpy's (.npz): save them as safetensors (safetensors.numpy)",
}

TENSORS = re.compile(  # what tensors are made of: PyTorch's own, or a stand-in where it has none
    r"torch\.[A-Z]\w*Storage|torch\.(Size|device|bool|b?float\d+|u?int\d+|complex\d+)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.set"
)
DATA = re.compile(  # of PyTorch and Python, what may lie beside them: always a stand-in
    r"torch\.(nn\.modules|optim)\..*|collections\.(defaultdict|deque)|copyreg\._reconstructor"
    r"|builtins\.(object|list|dict|tuple|int|float|str|bool|bytes|slice|range|frozenset|complex)"
    r"|(datetime|pathlib|pathlib\._local|typing)\.\w+|argparse\.Namespace|types\.SimpleNamespace"
)
GROWING = {"hex", "hexcodec", "base64", "base64codec", "quopri", "quopricodec", "uu", "uucodec"}
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # by Python 3


class WeightsError(ValueError):
    """A weights file that cannot be read safely, or does not fit the model."""


class Checkpoint(NamedTuple):
    """The one network of a file."""

    tensors: dict[str, Tensor]  # under the file's own names
    aside: list[str]  # what else is in the file, and was not looked at
    digest: str  # sha256 of the file


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors of a safetensors file, or of a PyTorch checkpoint of today or from before 1.6.

    Of a dict of dicts, such as ``{"state_dict": ..., "optimizer": ..., "epoch": 3}``, the one that
    holds a network's tensors. WeightsError for everything else: what it is instead, and what helps.
    """
    path = Path(path)
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: name the file of weights in it")
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}")
    data = bytes_of(path)
    content = _content(path, data)
    found = _networks(content)
    if len(found) > 1:
        places = " and ".join(".".join(keys) or "the file itself" for keys in found)
        raise WeightsError(
            f"{path} holds several networks, in {places}: save the one that is meant into a file "
            "of its own"
        )
    if not found:
        raise WeightsError(_nothing_found(path, content))
    [(keys, tensors)] = found.items()
    if sum(tensor.nbytes for tensor in tensors.values()) > 4 * len(data):
        raise WeightsError(f"{path} is damaged: its tensors are larger than the file; {AGAIN}")
    return Checkpoint(tensors, _aside(content, keys), hashlib.sha256(data).hexdigest())


def bytes_of(path: Path) -> bytes:
    """What is in a file; WeightsError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}): look at its rights"
        ) from error


def _content(path: Path, data: bytes) -> object:
    """What the file holds: tensors in dicts, and stand-ins."""
    if not data:
        raise WeightsError(f"{path} is empty: {AGAIN}")
    if data[SAFETENSORS:].startswith(b"{"):
        return _safetensors(path, data)
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise WeightsError(
            f"{path} is a web page, not weights: the download was stopped by a warning, a sign-in "
            "or a quota; open the address in a browser, and download the file itself"
        )
    for start, what in OTHER_KINDS.items():
        if data.startswith(start):
            raise WeightsError(f"{path} {what}")
    if re.match(rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]", data):
        raise WeightsError(
            f"{path} is a graph, as ONNX and TensorFlow write: ask for PyTorch's or safetensors"
        )
    if data[257:262] == b"ustar":
        raise WeightsError(f"{path} is a tar archive: unpack it, and name what was in it")
    look_through = _in_zip if data.startswith(b"PK") else _before_zip
    return _load(path, data, look_through(path, data))


def _safetensors(path: Path, data: bytes) -> dict[str, Tensor]:
    begin = SAFETENSORS + struct.unpack("<Q", data[:SAFETENSORS])[0]
    try:
        header = json.loads(data[SAFETENSORS:begin])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
        size = begin + max(ends)
    except Exception as error:
        raise WeightsError(f"{path} is damaged or cut short in its header: {AGAIN}") from error
    if size != len(data):
        raise WeightsError(
            f"{path} has {len(data):,} bytes, and by its header it should have {size:,}: {AGAIN}"
        )
    try:
        return safetensors.torch.load(data)
    except Exception as error:
        raise WeightsError(f"{path} is damaged in its header: {AGAIN}") from error


@dataclass
class _Pickles:
    """What pickles name, as ``module.name`` and in their order, and the texts in them."""

    names: list[str] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def look_through(self, file: io.BytesIO) -> object:
        """Take in the next pickle of ``file``, and return the last long number in it.

        Raises whatever pickletools raises if it is none.
        """
        number, tuples = None, 0
        for operation, argument, _ in pickletools.genops(file):
            tuples += operation.name.startswith("TUPLE")
            if operation.name in ("LONG", "LONG1"):
                number = argument
            elif operation.name in ("GLOBAL", "INST"):
                module, name = str(argument).split(" ", 1)
                self.names.append(f"{RENAMED.get(module, module)}.{name}")
            elif isinstance(argument, str):
                self.texts.add(re.sub("[^a-z0-9]", "", argument.lower()))
        if tuples > MOST_TUPLES:
            raise ValueError("tuples within tuples")
        return number

    @property
    def module(self) -> bool:
        """Whether there is a module of PyTorch's among them, as in a whole model."""
        return any(name.startswith("torch.nn.modules.") for name in self.names)

    @property
    def refused(self) -> str:
        """The first name that weights have no need of, or nothing."""
        for name in self.names:
            own = name.split(".")[0] in ("torch", *sys.stdlib_module_names)
            if own and not (TENSORS.fullmatch(name) or DATA.fullmatch(name)):
                return name
        grows = "_codecs.encode" in self.names and not GROWING.isdisjoint(self.texts)
        return "_codecs.encode into ever longer text" if grows else ""


def _in_zip(path: Path, data: bytes) -> _Pickles:
    """Look through a checkpoint of today; WeightsError if the zip is another's, or damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            _refuse_other_zip(path, names)
            larger = sum(entry.file_size for entry in entries) > len(data)
            packed = any(entry.compress_type for entry in entries)
            if packed or larger or len(set(names)) < len(names):
                raise WeightsError(
                    f"{path} is packed, or holds a file twice, as PyTorch's never do: {ANEW}"
                )
            broken = archive.testzip()
            if broken:
                raise WeightsError(f"{path} is damaged in {broken} (wrong checksum): {AGAIN}")
            pickles = _Pickles()
            for name in names:
                if name.endswith("/data.pkl"):
                    pickles.look_through(io.BytesIO(archive.read(name)))
            return pickles
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} {cut(data)}") from error


def _refuse_other_zip(path: Path, names: list[str]) -> None:
    for pattern, what in OTHER_ARCHIVES.items():
        if any(re.search(pattern, name) for name in names):
            raise WeightsError(f"{path} {what}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise WeightsError(
            f"{path} is a zip archive, and no checkpoint of PyTorch's: it holds, for example, "
            f"{', '.join(names[:3])}; unpack it, and name the weights"
        )


def _before_zip(path: Path, data: bytes) -> _Pickles:
    """Look through a checkpoint from before PyTorch 1.6: five pickles, then the numbers."""
    file, pickles = io.BytesIO(data), _Pickles()
    try:
        magic = pickles.look_through(file)
    except Exception as error:
        raise WeightsError(
            f"{path} is neither safetensors nor a checkpoint of PyTorch's (it begins with "
            f"{data[:12]!r}), or it is damaged: {AGAIN}"
        ) from error
    if magic != TORCH_MAGIC:
        raise WeightsError(f"{path} {_other_pickle(pickles)}")
    try:
        for _ in range(4):  # protocol, system, content, keys of the numbers that follow
            pickles.look_through(file)
    except Exception as error:
        raise WeightsError(f"{path} {cut(data)}") from error
    return pickles


def cut(data: bytes) -> str:
    """What is said of a file that ends too early."""
    return f"is damaged or cut short, {len(data):,} bytes are there: {AGAIN}"


def _other_pickle(pickles: _Pickles) -> str:
    """What a pickle is that torch.save has not written, and what helps."""
    if any(name.startswith("numpy.") for name in pickles.names):
        return (
            "is a pickle of numpy's arrays, which are not read (VGGFace2's, the ones in use, were "
            "withdrawn by their authors): take weights that torch.save or safetensors wrote"
        )
    calls = f" (it would call {pickles.refused})" if pickles.refused else ""
    return f"is a pickle that torch.save has not written{calls}, or it is damaged: {ANEW}"


class _Nothing:
    """Stands for an array or a number of numpy's: drops what it would be made from."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _Dict:
    """Stands for any other object: makes a dict, which the guard lets the file fill and build."""

    def __new__(cls, *arguments: object) -> Any:
        return OrderedDict()


class _List:
    """Stands for a deque: makes a list."""

    def __new__(cls, *arguments: object) -> Any:
        return []


def _stand_in(name: str) -> type:
    if name.startswith("numpy."):
        return _Nothing
    return _List if name == "collections.deque" else _Dict


def _load(path: Path, data: bytes, pickles: _Pickles) -> object:
    """By PyTorch's guard, with stand-ins for the names that it does not know itself."""
    whole = (
        "holds a whole model or a module (torch.save(model)), which only its own code can load, "
        f"and which may run code: {ANEW}"
    )
    if pickles.refused:
        what = whole if pickles.module else f"is refused, since weights need no such thing: {ANEW}"
        raise WeightsError(f"{path} would call {pickles.refused}; it {what}")
    stand_ins: list[Any] = [(_stand_in(name), name) for name in set(pickles.names)]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, in PyTorch's words
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        other = f"{cut(data)}; or it holds objects that cannot be left aside: {ANEW}"
        raise WeightsError(f"{path} {whole if pickles.module else other}") from error
    if pickles.module and not _networks(content):
        raise WeightsError(f"{path} {whole}")
    return content


Networks = dict[tuple[str, ...], dict[str, Tensor]]


def _networks(
    content: object, keys: tuple[str, ...] = (), seen: set[int] | None = None
) -> Networks:
    """The dicts that hold a convolution (a tensor of four axes), by the keys that lead to them."""
    seen = set() if seen is None else seen
    if not isinstance(content, dict) or id(content) in seen or len(keys) > 3:
        return {}
    seen.add(id(content))
    found: Networks = {}
    tensors = {}
    for key, value in dict.items(content):
        if isinstance(key, str) and isinstance(value, Tensor):
            tensors[key] = value.detach()
        elif isinstance(key, str) and "optim" not in key.lower():  # which holds moments of each
            found |= _networks(value, (*keys, key), seen)
    if any(tensor.ndim == 4 for tensor in tensors.values()):
        found[keys] = tensors
    return found


def _aside(content: Any, keys: tuple[str, ...]) -> list[str]:
    """What lies in the file beside the network that ``keys`` lead to."""
    aside = []
    for key in keys:
        aside += [str(other) for other in content if other != key]
        content = content[key]
    aside += [str(key) for key, value in dict.items(content) if not isinstance(value, Tensor)]
    return sorted(aside)


def _nothing_found(path: Path, content: object) -> str:
    holds = f"it is a {type(content).__name__}"
    if isinstance(content, dict) and content:
        holds = f"it holds {', '.join(list(map(str, content))[:3])}"
    return (
        f"{path} holds no network's tensors by name, as model.state_dict() gives them: {holds}; "
        "name a file of weights"
    )
