"""Questions at 100 a second while the service draws: p99 at most 100 ms."""
from service import Rows, Service, arguments, asked_steadily, busy, share

args = arguments(__doc__, seconds=30, rate=100)
rows = Rows()
with Service(args.latent) as service:
    job = service.submit({"prompt": "a", "width": 64, "height": 64, "steps": 2})
    service.wait(job)
    for path in ("/sdapi/v1/progress", "/api/v1/jobs", "/api/v1/images", f"/api/v1/jobs/{job}"):
        with busy(service):
            waited = asked_steadily(service, [path], args.rate, args.seconds / 4)
        name = path.replace(job, "ID")
        print(f"      GET {name}: median {1000 * share(waited, 0.5):.1f} ms, longest {1000 * max(waited):.0f} ms")
        rows.most(f"GET {name} at {args.rate}/s while drawing, p99", 1000 * share(waited, 0.99), 100, "ms")
rows.end()
