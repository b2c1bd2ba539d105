"""100,000 pictures in the gallery: searches answer within 100 ms (p95), the first page within 150 ms. They come in as anybody's pictures do."""
import random
import struct
import tempfile
import threading
import time
import urllib.parse
import zlib

from service import Rows, Service, arguments, share

args = arguments(__doc__, pictures=100_000, rounds=40, folder="/dev/shm")
rows = Rows()
WORDS = """red blue old house castle forest river night portrait woman man dragon city neon rain detailed painting photo sunset mountain robot
flower garden ocean ship dog fox owl winter desert tower bridge lamp window smoke gold silver mask crown mirror""".split()


def chunk(name, data):
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def picture(number):
    """A picture of 8 by 8 pixels with A1111's text: 12 words, "cat" in two of five, "zeppelin" in one of 5,000."""
    chance = random.Random(number)
    words = chance.choices(WORDS, k=12) + ["cat"] * (chance.random() < 0.4) + ["zeppelin"] * (number % 5000 == 7)
    model, sampler = chance.choice(("small", "large", "anime", "photo")), chance.choice(("Euler a", "DPM++ 2M", "UniPC"))
    text = (f"{' '.join(words)}\nNegative prompt: blurry, fog\nSteps: {chance.randint(20, 39)}, Sampler: {sampler}, CFG scale: 7, "
            f"Seed: {number // 2}, Size: 512x512, Model: {model}, Version: v1.10.1")
    pixels = b"".join(b"\0" + bytes([number % 256, row, 90]) * 8 for row in range(8))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + chunk(b"tEXt", b"parameters\0" + text.encode())
            + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b""))


def fill(service, threads=4):
    """Puts them in."""
    faults = []

    def work(first):
        connection = service.connect()
        for number in range(first, args.pictures, threads):
            connection.request("POST", "/api/v1/images/import", picture(number), {"content-type": "image/png"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 201:
                faults.append(body)
                return

    each = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    for one in each:
        one.start()
    for one in each:
        one.join()
    assert not faults, faults[0]


def asked(service, query):
    """The seconds of each of some pages of a search, the first one first."""
    taken, cursor, connection = [], "", service.connect()
    for _ in range(args.rounds):
        begun = time.monotonic()
        page = service.json("GET", f"/api/v1/images?{query}{cursor}", through=connection)
        taken.append(time.monotonic() - begun)
        cursor = f"&cursor={page['next']}" if page["next"] else ""
    connection.close()
    return taken


with tempfile.TemporaryDirectory(dir=args.folder) as folder, Service(args.latent, folder, "--paused") as service:
    begun = time.monotonic()
    fill(service)
    print(f"      {args.pictures} pictures came in within {time.monotonic() - begun:.0f} s")
    slowest = []
    for what in ("", "q=cat", "q=cat castle", "q=ca*", 'q="red house"', "q=zeppelin", "q=blurry", "q=xylophone", "q=-cat red", "model=anime",
                 "sampler=UniPC&q=cat", "seed=1234", "size=8x8", "starred=true"):
        taken = asked(service, urllib.parse.quote(what, safe="=&"))
        slowest += taken[1:]
        if not what:
            rows.most("the first page", 1000 * max(taken[:5]), 150, "ms")
        print(f"      {what or 'everything'}: p95 {1000 * share(taken, 0.95):.1f} ms")
    rows.most("searches, p95", 1000 * share(slowest, 0.95), 100, "ms")
rows.end()
