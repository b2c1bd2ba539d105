"""200 listeners of events and 500 slow connections: drawing keeps at least 97 % of its speed, others are answered within 200 ms."""
import asyncio
import threading

from service import SMALL, Rows, Service, arguments, asked_steadily, busy, share

args = arguments(__doc__, listeners=200, slow=500, pictures=60, rounds=4, seconds=10)
rows = Rows()


class Crowd:
    """Connections that listen, and connections that send a byte a second and begin again when they are cut off."""

    def __init__(self, address):
        self.host, self.port = address.rsplit(":", 1)
        self.events = self.cut = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.tasks = []

    def gather(self, listeners, slow):
        """They come."""
        work = [self.listen() for _ in range(listeners)] + [self.dawdle(number) for number in range(slow)]
        self.tasks = [asyncio.run_coroutine_threadsafe(one, self.loop) for one in work]

    def scatter(self):
        """They go."""
        for task in self.tasks:
            task.cancel()
        self.tasks = []

    async def listen(self):
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(f"GET /api/v1/events HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode())
        try:
            while await reader.readline():
                self.events += 1
        finally:
            writer.close()

    async def dawdle(self, number):
        await asyncio.sleep(number / 500)
        while True:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            text = f"POST /api/v1/jobs HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\nX-Slow: "
            # Half of them do not end their head, half of them their body.
            text += "x" * 60 if number % 2 else "x\r\nContent-Length: 100\r\n\r\n" + " " * 60
            try:
                for letter in text:
                    writer.write(letter.encode())
                    await writer.drain()
                    if reader.at_eof():
                        break
                    await asyncio.sleep(1)
            except (ConnectionError, OSError):
                pass
            finally:
                self.cut += 1
                writer.close()


with Service(args.latent) as service:
    request = {**SMALL, "batch_count": args.pictures}
    service.drawn(request)
    crowd = Crowd(service.address)
    alone, amid = [], []
    for _ in range(args.rounds):
        alone.append(service.drawn(request))
        crowd.gather(args.listeners, args.slow)
        amid.append(service.drawn(request))
        crowd.scatter()
    print(f"      {args.pictures} pictures: {min(alone):.2f} s alone, {min(amid):.2f} s amid; {crowd.events} lines of events were read")
    rows.least("drawing beside listeners and slow connections", 100 * min(alone) / min(amid), 97, "%")
    crowd.gather(args.listeners, args.slow)
    with busy(service):
        waited = asked_steadily(service, ["/api/v1/jobs", "/sdapi/v1/progress", "/healthz"], 20, args.seconds)
    crowd.scatter()
    rows.most("the longest answer to others", 1000 * max(waited), 200, "ms")
    print(f"      p99 {1000 * share(waited, 0.99):.0f} ms; {crowd.cut} slow connections ended")
rows.end()
