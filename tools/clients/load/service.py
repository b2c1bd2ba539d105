"""What the rows of the service's load have in common: the service as a process, requests to it, and figures beside their bounds."""
import argparse
import contextlib
import http.client
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

# Pixels of a side of the pictures that are drawn, and their steps: the built-in model draws them in about 0.1 s.
SMALL = {"prompt": "a red apple", "width": 64, "height": 64, "steps": 4}
# What somebody asks of the built-in model.
USUAL = {"prompt": "a red apple", "width": 128, "height": 128, "steps": 12}


def arguments(usage, **more):
    """The arguments of a row: the program, and numbers by name with their defaults."""
    parser = argparse.ArgumentParser(description=usage)
    parser.add_argument("latent", help="the program")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default {default}")
    return parser.parse_args()


class Service:
    """`latent serve` on a free port, with a data folder of its own unless one is given."""

    def __init__(self, latent, folder=None, *flags):
        self.latent, self.flags = latent, flags
        self.own = None if folder else tempfile.mkdtemp(prefix="latent-load-")
        self.folder = pathlib.Path(folder or self.own)
        self.process = self.address = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        if self.own:
            shutil.rmtree(self.own, ignore_errors=True)

    def start(self):
        """Starts it; the seconds until the first answer."""
        begun = time.monotonic()
        line = [self.latent, "serve", "--listen", "127.0.0.1:0", "--json", "--data", self.folder / "data", *self.flags]
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log)
        said = self.process.stdout.readline()
        assert said, (self.folder / "log").read_text()
        self.address = json.loads(said)["address"]
        status, _ = self.call("GET", "/healthz")
        assert status == 200, status
        return time.monotonic() - begun

    def stop(self):
        """Ends it in good order."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._reap()

    def kill(self):
        """Ends it at once."""
        self.process.kill()
        self._reap()

    def _reap(self):
        self.process.wait()
        self.process.stdout.close()

    def connect(self, seconds=300):
        """A connection that is kept open."""
        host, port = self.address.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=seconds)

    def call(self, method, path, body=None, headers=(), through=None):
        """The status and the body of an answer."""
        connection = through or self.connect()
        try:
            data = None if body is None else json.dumps(body)
            head = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, data, {**head, **dict(headers)})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            if through is None:
                connection.close()

    def json(self, method, path, body=None, **more):
        """The JSON of an answer that is no error."""
        status, answer = self.call(method, path, body, **more)
        assert status < 300, f"{method} {path}: {status} {answer[:300]}"
        return json.loads(answer)

    def submit(self, request, key=None):
        """The id of a job."""
        headers = {"idempotency-key": key} if key else {}
        return self.json("POST", "/api/v1/jobs", {"request": request}, headers=headers)["id"]

    def wait(self, job, seconds=600):
        """A job once it is done."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = self.json("GET", f"/api/v1/jobs/{job}")
            if told["state"] not in ("queued", "running"):
                assert told["state"] == "done", told
                return told
            time.sleep(0.01)
        raise AssertionError(f"the job is not done after {seconds} s")

    def drawn(self, request):
        """The seconds of a job."""
        begun = time.monotonic()
        self.wait(self.submit(request))
        return time.monotonic() - begun

    def memory(self):
        """Resident bytes."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def panics(self):
        """What the log says of panics."""
        return [line for line in (self.folder / "log").read_text().splitlines() if "panicked" in line]


class Rows:
    """Figures beside their bounds."""

    def __init__(self):
        self.over = []

    def most(self, what, figure, bound, unit):
        """A figure that is at most its bound."""
        self._row(what, figure, f"≤ {bound:g}", unit, figure <= bound)

    def least(self, what, figure, bound, unit):
        """A figure that is at least its bound."""
        self._row(what, figure, f"≥ {bound:g}", unit, figure >= bound)

    def _row(self, what, figure, bound, unit, kept):
        print(f"{'ok  ' if kept else 'OVER'}  {what}: {figure:.4g} {unit} (bound {bound} {unit})", flush=True)
        if not kept:
            self.over.append(what)

    def end(self):
        """Fails where a bound was passed."""
        if self.over:
            raise SystemExit("over the bound: " + "; ".join(self.over))


def share(values, of):
    """The value below which that share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(of * len(ordered)))]


def by_command(program, count):
    """The seconds that the command line takes for so many pictures."""
    with tempfile.TemporaryDirectory() as folder:
        line = [program, "generate", USUAL["prompt"], "--size", f"{USUAL['width']}x{USUAL['height']}", "--steps", str(USUAL["steps"]),
                "--batch-count", str(count), "--seed", "1", "-o", str(pathlib.Path(folder) / "picture.png")]
        begun = time.monotonic()
        subprocess.run(line, check=True, capture_output=True)
        return time.monotonic() - begun


def each(of, count):
    """The seconds of one picture: what more pictures take longer."""
    return (of(count + 1) - of(1)) / count


@contextlib.contextmanager
def busy(service, request=USUAL):
    """The service draws all the time."""
    over = threading.Event()

    def keep_drawing():
        while not over.is_set():
            status, answer = service.call("POST", "/api/v1/jobs", {"request": {**request, "batch_count": 100}})
            if status != 202:
                continue
            job = json.loads(answer)["id"]
            while not over.is_set() and service.json("GET", f"/api/v1/jobs/{job}")["state"] in ("queued", "running"):
                time.sleep(0.2)
            service.call("POST", f"/api/v1/jobs/{job}/cancel", {})

    thread = threading.Thread(target=keep_drawing, daemon=True)
    thread.start()
    while not service.json("GET", "/api/v1/jobs?state=running")["jobs"]:
        time.sleep(0.01)
    try:
        yield
    finally:
        over.set()
        thread.join()


def asked_steadily(service, paths, rate, seconds, workers=8):
    """Asks for the paths in turn, so many a second. The seconds until each answer, from when it was due."""
    begun, lock, waited = time.monotonic() + 0.1, threading.Lock(), []
    numbers = iter(range(int(rate * seconds)))

    def work():
        connection = service.connect(30)
        for number in iter(lambda: next_of(numbers, lock), None):
            due = begun + number / rate
            time.sleep(max(0, due - time.monotonic()))
            status, _ = service.call("GET", paths[number % len(paths)], through=connection)
            assert status == 200, status
            with lock:
                waited.append(time.monotonic() - due)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waited) == int(rate * seconds), f"{len(waited)} answers came"
    return waited


def next_of(numbers, lock):
    """The next number, of whichever thread asks first."""
    with lock:
        return next(numbers, None)
