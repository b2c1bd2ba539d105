"""Eight clients of three interfaces for a long time: memory stays, nothing fails, and drawing keeps at least 97 % of the command line's speed."""
import base64
import threading
import time

from service import USUAL, Rows, Service, arguments, by_command, each

args = arguments(__doc__, minutes=60.0, pictures=40)
rows = Rows()
over = threading.Event()


def by_program():
    """The seconds of a picture by the command line."""
    return each(lambda count: by_command(args.latent, count), args.pictures)


class Client(threading.Thread):
    """Somebody who does the same again and again."""

    def __init__(self, once):
        super().__init__(daemon=True)
        self.once, self.done, self.faults = once, 0, []
        self.start()

    def run(self):
        while not over.is_set():
            try:
                self.once()
                self.done += 1
            except Exception as error:  # It is counted, and shown at the end.
                if over.is_set():
                    return
                self.faults.append(f"{type(error).__name__}: {error}")
                time.sleep(0.1)


def png(text):
    assert base64.b64decode(text).startswith(b"\x89PNG"), text[:40]


def clients(service):
    """Four of A1111's interface, one of them from a picture; two of OpenAI's; two that listen to events."""
    first = service.json("POST", "/sdapi/v1/txt2img", USUAL)["images"][0]
    size = f"{USUAL['width']}x{USUAL['height']}"

    def draw():
        png(service.json("POST", "/sdapi/v1/txt2img", USUAL)["images"][0])

    def redraw():
        # As many steps as the others: of 12 and a strength of 1.
        png(service.json("POST", "/sdapi/v1/img2img", {**USUAL, "init_images": [first], "denoising_strength": 1.0})["images"][0])

    def generate():
        fields = {"prompt": USUAL["prompt"], "size": size, "steps": USUAL["steps"]}
        png(service.json("POST", "/v1/images/generations", fields)["data"][0]["b64_json"])

    def stream():
        fields = {"prompt": USUAL["prompt"], "size": size, "steps": USUAL["steps"], "stream": True}
        status, events = service.call("POST", "/v1/images/generations", fields)
        assert status == 200 and b"image_generation.completed" in events, events[:300]

    def listen():
        connection = service.connect(60)
        try:
            connection.request("GET", "/api/v1/events")
            answer = connection.getresponse()
            end = time.monotonic() + 30
            while time.monotonic() < end and not over.is_set():
                assert answer.readline(), "the events ended"
        finally:
            connection.close()

    return [Client(once) for once in (draw, draw, draw, redraw, generate, stream, listen, listen)]


alone = by_program()
with Service(args.latent) as service:
    everybody = clients(service)
    begun, peak_early, peak_late = time.monotonic(), 0, 0
    seconds = args.minutes * 60
    while (now := time.monotonic() - begun) < seconds:
        memory = service.memory()
        if now < seconds / 6:
            peak_early = max(peak_early, memory)
        else:
            peak_late = max(peak_late, memory)
        time.sleep(min(1, seconds / 60))
    taken = time.monotonic() - begun
    drawn = sum(client.done for client in everybody[:6])
    over.set()
    for client in everybody:
        client.join(60)
    faults = [fault for client in everybody for fault in client.faults]
    alone = min(alone, by_program())
    print(f"      {args.minutes:g} minutes: {drawn} pictures, {1000 * taken / max(drawn, 1):.0f} ms each, {1000 * alone:.0f} ms by the command line; "
          f"resident {peak_early >> 20} MiB in the first sixth, then {peak_late >> 20} MiB")
    rows.most("memory after the first sixth, above its peak before", (peak_late - peak_early) / 2**20, 32, "MiB")
    rows.most("errors", len(faults), 0, "errors")
    rows.least("drawing, of the command line's speed", 100 * drawn * alone / taken, 97, "%")
    rows.most("panics", len(service.panics()), 0, "lines")
    for fault in faults[:5]:
        print(f"      {fault}")
rows.end()
