"""200 listeners of events and 500 slow connections: drawing keeps at least 97 % of its speed, others are answered within 200 ms."""
import itertools
import socket
import threading

from service import USUAL, Rows, Service, arguments, asked_steadily, busy, share

args = arguments(__doc__, listeners=200, slow=500, pictures=20, rounds=4, seconds=15)
rows = Rows()


class Crowd(threading.Thread):
    """Connections that listen, and connections that send a byte every other second and begin again when they are cut off. They are seen to
    four times a second, all in one thread, so that what is measured is the service and not they."""

    def __init__(self, address, listeners, slow):
        super().__init__(daemon=True)
        host, port = address.rsplit(":", 1)
        self.place, self.host = (host, int(port)), f"Host: {address}\r\n".encode()
        self.over, self.bytes, self.cut = threading.Event(), 0, 0
        self.listeners = [self.connection(b"GET /api/v1/events HTTP/1.1\r\n" + self.host + b"\r\n") for _ in range(listeners)]
        self.slow = [self.dawdler(number) for number in range(slow)]
        self.start()

    def connection(self, text):
        one = socket.create_connection(self.place)
        one.setblocking(False)
        one.send(text)
        return one

    def dawdler(self, number):
        """Half of them do not end their head, half of them their body."""
        begin = b"POST /api/v1/jobs HTTP/1.1\r\n" + self.host + b"Content-Type: application/json\r\nX-Slow: x"
        return self.connection(begin if number % 2 else begin + b"\r\nContent-Length: 1000\r\n\r\n")

    def run(self):
        for turn in itertools.count():
            if self.over.wait(0.25):
                break
            for listener in self.listeners:
                self.bytes += len(self.read(listener))
            for number in range(turn % 8, len(self.slow), 8):
                try:
                    self.slow[number].send(b"x" if number % 2 else b" ")
                except OSError:
                    self.cut += 1
                    self.slow[number].close()
                    self.slow[number] = self.dawdler(number)
        for one in self.listeners + self.slow:
            one.close()

    @staticmethod
    def read(one):
        try:
            return one.recv(1 << 18)
        except BlockingIOError:
            return b""

    def leave(self):
        """They go."""
        self.over.set()
        self.join()


with Service(args.latent) as service:
    request = {**USUAL, "batch_count": args.pictures}
    service.drawn(request)
    alone, amid, read = [], [], 0
    for _ in range(args.rounds):
        alone.append(service.drawn(request))
        crowd = Crowd(service.address, args.listeners, args.slow)
        amid.append(service.drawn(request))
        crowd.leave()
        read += crowd.bytes
    print(f"      {args.pictures} pictures: {min(alone):.2f} s alone, {min(amid):.2f} s amid; {read >> 10} KiB of events were read")
    rows.least("drawing beside listeners and slow connections", 100 * min(alone) / min(amid), 97, "%")
    crowd = Crowd(service.address, args.listeners, args.slow)
    with busy(service):
        waited = asked_steadily(service, ["/api/v1/jobs", "/sdapi/v1/progress", "/healthz"], 20, args.seconds)
    crowd.leave()
    rows.most("the longest answer to others", 1000 * max(waited), 200, "ms")
    print(f"      p99 {1000 * share(waited, 0.99):.0f} ms; {crowd.cut} slow connections were cut off")
rows.end()
