"""Bearer tokens in files."""

from __future__ import annotations

import re
from pathlib import Path

from classic_cv.errors import ClassicCVError

SHORTEST_TOKEN, LONGEST_TOKEN = 16, 4096

_TOKEN = re.compile(r"[\x21-\x7e]+")


class TokenError(ClassicCVError):
    """A file with a bearer token cannot be used."""


def read_token(path: str | Path) -> str:
    """The bearer token in a file, without white space around it.

    Raises:
        TokenError: the file cannot be read, or holds something that is no token of 16 characters or more.
    """
    try:
        with open(path, encoding="ascii") as file:
            token = file.read(LONGEST_TOKEN + 1).strip()
    except UnicodeDecodeError:
        token = ""
    except OSError as error:
        raise TokenError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise TokenError(
            f"{path}: holds no token; it must be one line of {SHORTEST_TOKEN} to {LONGEST_TOKEN} visible ASCII "
            "characters, such as: openssl rand -hex 32"
        )
    return token
