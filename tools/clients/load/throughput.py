"""Drawing through the service keeps at least 97 % of the speed of the command line."""
import time

from service import USUAL, Rows, Service, arguments, by_command, each

args = arguments(__doc__, pictures=40, rounds=3)
rows = Rows()


def by_program(count):
    return by_command(args.latent, count)


with Service(args.latent) as service:
    def by_job(count):
        return service.drawn({**USUAL, "seed": 1, "batch_count": count})

    def by_jobs(count):
        begun = time.monotonic()
        jobs = [service.submit({**USUAL, "seed": number}) for number in range(count)]
        for job in jobs:
            service.wait(job)
        return time.monotonic() - begun

    by_job(2)
    times = {by_program: [], by_job: [], by_jobs: []}
    for _ in range(args.rounds):
        for of, taken in times.items():
            taken.append(each(of, args.pictures))
    best = {of: min(taken) for of, taken in times.items()}
    print(f"      a picture: {1000 * best[by_program]:.1f} ms by the command line, {1000 * best[by_job]:.1f} ms in a job of many, "
          f"{1000 * best[by_jobs]:.1f} ms in a job of its own")
    rows.least("a job of many pictures, of the command line's speed", 100 * best[by_program] / best[by_job], 97, "%")
    rows.least("jobs of one picture, of the command line's speed", 100 * best[by_program] / best[by_jobs], 97, "%")
rows.end()
