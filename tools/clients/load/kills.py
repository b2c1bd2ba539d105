"""The process is killed at random moments while jobs come in and are drawn: every job ends once, every picture is there once, and its bytes are
those of a run that nobody disturbed."""
import collections
import hashlib
import http.client
import json
import random
import threading
import time

from service import Rows, Service, arguments

args = arguments(__doc__, jobs=1000, kills=200, seed=1, kinds=25)
rows = Rows()
chance = random.Random(args.seed)


def request(number):
    """Jobs of a few kinds, so that the undisturbed run needs to draw each kind once."""
    kind = number % args.kinds
    return {"prompt": "a red apple", "width": 64, "height": 64, "steps": 2 + kind % 4, "seed": 1000 * kind, "batch_count": 1 + kind % 3}


def pictures(service, job):
    """The hashes of a job's pictures, in order."""
    found = []
    for image in job["images"]:
        status, file = service.call("GET", f"/api/v1/images/{image}/file")
        assert status == 200, f"picture {image}: {status}"
        found.append(hashlib.sha256(file).hexdigest())
    return found


def undisturbed():
    """What each kind of job draws."""
    with Service(args.latent) as service:
        jobs = [service.submit(request(kind)) for kind in range(args.kinds)]
        return [pictures(service, service.wait(job)) for job in jobs]


class Clients(threading.Thread):
    """They send each job until it is accepted, whatever becomes of the connection, under a key of its own."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.accepted, self.again, self.fault = service, {}, 0, None
        self.start()

    def run(self):
        number = 0
        while number < args.jobs:
            try:
                status, answer = self.service.call("POST", "/api/v1/jobs", {"request": request(number)}, {"idempotency-key": f"job {number}"})
            except (OSError, http.client.HTTPException):
                self.again += 1
                time.sleep(0.02)
                continue
            if status == 202:
                self.accepted[number] = json.loads(answer)["id"]
                number += 1
            elif status in (429, 503):
                time.sleep(0.05)
            else:
                self.fault = f"job {number}: {status} {answer[:300]}"
                return


def disturb(service, clients):
    """Kills and starts it, so often. Mostly after a picture or two, sometimes at once."""
    for _ in range(args.kills):
        time.sleep(chance.uniform(0.0, 0.3) if chance.random() < 0.2 else chance.uniform(0.4, 2.0))
        service.kill()
        service.start()
        assert not clients.fault, clients.fault


def all_ended(service):
    """Every job, once each has ended. Those that were killed three times within one picture have failed, as they should: they are sent again."""
    retried = 0
    while True:
        jobs, cursor = [], ""
        while cursor is not None:
            page = service.json("GET", f"/api/v1/jobs?limit=500{cursor and '&cursor=' + cursor}")
            jobs, cursor = jobs + page["jobs"], page["next"]
        for job in jobs:
            if job["state"] == "failed" and job["error"]["code"] == "crashed":
                service.json("POST", f"/api/v1/jobs/{job['id']}/retry")
                retried += 1
        if all(job["state"] in ("done", "failed", "cancelled") for job in jobs):
            if not any(job["state"] == "failed" for job in jobs):
                return jobs, retried
        time.sleep(0.5)


expected = undisturbed()
with Service(args.latent) as service:
    clients = Clients(service)
    disturb(service, clients)
    clients.join(3600)
    assert not clients.fault, clients.fault
    jobs, retried = all_ended(service)
    states = collections.Counter(job["state"] for job in jobs)
    wrong = twice = 0
    seen = set()
    for number, job in clients.accepted.items():
        told = service.json("GET", f"/api/v1/jobs/{job}")
        wrong += pictures(service, told) != expected[number % args.kinds]
        twice += len(set(told["images"]) & seen)
        seen |= set(told["images"])
    gallery, cursor = 0, ""
    while cursor is not None:
        page = service.json("GET", f"/api/v1/images?limit=500{cursor and '&cursor=' + cursor}")
        gallery, cursor = gallery + len(page["images"]), page["next"]
    files = sum(1 for file in (service.folder / "data" / "pictures").rglob("*.png") if file.is_file())
    print(f"      {args.kills} kills, {args.jobs} jobs, {len(seen)} pictures; {clients.again} requests were cut off and sent again; "
          f"{retried} jobs were killed three times within one picture and were sent again")
    rows.most("jobs that are not there once", abs(len(jobs) - args.jobs) + args.jobs - len(set(clients.accepted.values())), 0, "jobs")
    rows.most("jobs that are not done", args.jobs - states["done"], 0, "jobs")
    rows.most("jobs with other pictures than undisturbed", wrong, 0, "jobs")
    rows.most("pictures of two jobs", twice, 0, "pictures")
    rows.most("pictures too many or too few in the gallery", abs(gallery - len(seen)), 0, "pictures")
    rows.most("files without a row, or rows without a file", abs(files - len(seen)), 0, "files")
    rows.most("panics", len(service.panics()), 0, "lines")
rows.end()
