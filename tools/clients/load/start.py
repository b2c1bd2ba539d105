"""From the start of the process to its first answer: at most 150 ms; to its first picture: at most 1.5 s."""
import time

from service import USUAL, Rows, Service, arguments, share

args = arguments(__doc__, rounds=10)
rows = Rows()
answers, pictures = [], []
for _ in range(args.rounds):
    begun = time.monotonic()
    with Service(args.latent) as service:
        answers.append(time.monotonic() - begun)
        service.json("POST", "/sdapi/v1/txt2img", USUAL)
        pictures.append(time.monotonic() - begun)
rows.most("start to the first answer, median", 1000 * share(answers, 0.5), 150, "ms")
rows.most("start to the first picture, median", share(pictures, 0.5), 1.5, "s")
print(f"      longest: {1000 * max(answers):.0f} ms, {max(pictures):.2f} s")
rows.end()
