"""Safetensors files with a digest inside, so that one flipped bit is found when they are read.

The digest is that of the whole file, with zeros in its own place; it stands in the file's metadata.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

Tensor = TypeVar("Tensor")

KEY = "blake2b"
_DIGITS = 32
_UNKNOWN = "0" * _DIGITS


def write_sealed(
    path: Path,
    save: Callable[[dict[str, Tensor], dict[str, str] | None], bytes],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors and metadata with their digest, atomically.

    Parameters
    ----------
    save
        `safetensors.torch.save` or `safetensors.numpy.save`.

    Raises
    ------
    XbarError
        Where the file cannot be written.
    """
    content = memoryview(save(dict(tensors), None))
    end = 8 + int.from_bytes(content[:8], "little")
    of_tensors = json.loads(bytes(content[8:end]))
    head = _header({"__metadata__": {KEY: _UNKNOWN, **metadata}, **of_tensors})
    at = _place(memoryview(head))
    assert at is not None
    digest = hashlib.blake2b(head, digest_size=_DIGITS // 2)
    digest.update(content[end:])
    write_atomically(path, head[:at], digest.hexdigest().encode(), head[at + _DIGITS :], content[end:])


def _header(entries: Mapping[str, Any]) -> bytes:
    """A header and its length before it. Entries keep their order, so that the same tensors and metadata make
    the same file; safetensors' own order of the metadata is another one in each process."""
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def check_sealed(path: Path, what_to_do: str) -> None:
    """Refuse a file whose content is not what was written; one without a digest passes.

    Files of other programs, and of earlier versions, have none.

    Raises
    ------
    XbarError
        For a missing file, one that cannot be read, and a damaged one; `what_to_do` ends the message.
    """
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
                sound = _is_sound(view)
    except FileNotFoundError:
        raise XbarError(f"{path}: no such file") from None
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not sound:
        raise XbarError(f"{path}: damaged, its content does not fit the digest in it; {what_to_do}")


def _is_sound(content: memoryview) -> bool:
    at = _place(content)
    if at is None:
        return True
    digest = hashlib.blake2b(digest_size=_DIGITS // 2)
    for part in (content[:at], _UNKNOWN.encode(), content[at + _DIGITS :]):
        digest.update(part)
    return digest.hexdigest().encode() == bytes(content[at : at + _DIGITS])


def _place(content: memoryview) -> int | None:
    """Where the digest stands; None where there is none. A safetensors file begins with the length of its
    header in eight bytes; a quote inside a text of the header has a backslash before it."""
    end = 8 + int.from_bytes(content[:8], "little")
    found = re.search(
        rb'[{,]"%s":"[^"\\]{%d}"' % (KEY.encode(), _DIGITS), bytes(content[: min(end, 1 << 27)])
    )
    return None if found is None else found.end() - 1 - _DIGITS
