"""A model behind the Open Inference Protocol that misbehaves on command; in front of it stands a fallback.

    python benchmarks/_primary.py PORT CLASS...

Port 0 takes a free one. Prints the port, then reads one behaviour a line: ``good`` answers after some milliseconds,
``hangs`` never does, ``500`` answers with that status, ``garbage`` with noise in place of JSON, ``drips`` with a right
answer, a byte every 20 milliseconds. No code of the service is used.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import threading

NAME = "primary"
SERVICE_SECONDS = 0.005
DRIP_SECONDS = 0.02


class Primary:
    """The server; ``behaviour`` may change at any time."""

    def __init__(self, class_names: list[str]) -> None:
        self.behaviour = "good"
        self.class_names = class_names
        self.noise = random.Random(0)

    def metadata(self) -> bytes:
        """What the protocol calls a model's metadata, as JSON."""
        return _json(
            {
                "name": NAME,
                "versions": ["1"],
                "platform": "benchmark",
                "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
                "outputs": [
                    {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(self.class_names)]}
                ],
                "parameters": {"class_names": self.class_names, "task": "classification"},
            }
        )

    def probabilities(self, n: int) -> bytes:
        """An answer for n images: the first class, nearly sure."""
        others = 0.1 / max(1, len(self.class_names) - 1)
        row = [0.9] + [others] * (len(self.class_names) - 1)
        output = {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [n, len(self.class_names)],
            "data": row * n,
        }
        return _json({"model_name": NAME, "model_version": "1", "outputs": [output]})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection until its end."""
        try:
            while True:
                target, body = await _request(reader)
                if self.behaviour == "hangs":
                    await reader.read()
                else:
                    await self._answer(target, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        right = self.probabilities(_n_images(body)) if target.endswith("/infer") else self.metadata()
        match self.behaviour:
            case "500":
                writer.write(_response(500, _json({"error": "it broke"})))
            case "garbage":
                writer.write(_response(200, self.noise.randbytes(300)))
            case "drips":
                await _drip(writer, _response(200, right))
            case _:
                await asyncio.sleep(SERVICE_SECONDS)
                writer.write(_response(200, right))
        await writer.drain()


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for position in range(len(data)):
        writer.write(data[position : position + 1])
        await writer.drain()
        await asyncio.sleep(DRIP_SECONDS)


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The target and the body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return head.split(b" ", 2)[1].decode(), await reader.readexactly(int(found[1]) if found else 0)


def _n_images(body: bytes) -> int:
    found = re.search(rb'"shape":\s*\[\s*(\d+)', body)
    return int(found[1]) if found else 1


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _response(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _obey(primary: Primary) -> None:
    for line in sys.stdin:
        primary.behaviour = line.strip()


async def _main(port: int, class_names: list[str]) -> None:
    primary = Primary(class_names)
    server = await asyncio.start_server(primary.serve, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=_obey, args=(primary,), daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2:]))
