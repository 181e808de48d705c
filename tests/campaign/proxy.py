"""A TCP proxy between dispatch and the broker that cuts, delays, swallows and half-writes."""

import asyncio
import random
import socket
import struct
import threading

# What happens to a connection, drawn for each new one.
WAYS = ["through", "through", "through", "delays", "refuses", "cuts the request", "cuts the answer", "swallows"]


class Proxy(threading.Thread):
    """Runs a loop of its own until `end`; `port` is where it listens."""

    def __init__(self, target: int, seed: int):
        super().__init__(daemon=True)
        self.target, self.random = target, random.Random(seed)
        self.ways: list[str] = ["through"]
        self.counts: dict[str, int] = {}
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self.start()
        self.ready.wait(10)

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)

        async def listen() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()

        self.loop.run_until_complete(listen())
        self.loop.run_forever()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _serve(self, reader, writer) -> None:
        way = self.random.choice(self.ways)
        self.counts[way] = self.counts.get(way, 0) + 1
        if way == "refuses":
            return self._reset(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return self._reset(writer)
        try:
            await asyncio.gather(
                self._pump(reader, back, way, "cuts the request", writer),
                self._pump(there, writer, way, "cuts the answer", back),
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._reset(writer)
            self._reset(back)

    async def _pump(self, source, sink, way: str, cut: str, other) -> None:
        passed = 0
        # Some requests get through before the line breaks.
        spared = self.random.randint(0, 3)
        while block := await source.read(65536):
            passed += 1
            if way == "delays":
                await asyncio.sleep(self.random.uniform(0.05, 0.6))
            if way == "swallows" and cut == "cuts the answer" and passed > spared:
                await asyncio.sleep(30)
            if way == cut and passed > spared:
                sink.write(block[: len(block) // 2])
                await sink.drain()
                self._reset(sink)
                self._reset(other)
                return
            sink.write(block)
            await sink.drain()
        sink.close()

    @staticmethod
    def _reset(writer) -> None:
        """Ends a connection with RST, not with a polite goodbye."""
        plug = writer.get_extra_info("socket")
        if plug is not None and plug.fileno() >= 0:
            try:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        writer.close()
