"""Draws crates/data/tests/fixtures/*.parquet: tables with pictures inside, as the Hugging Face Hub serves them.

    python3 parquet.py FOLDER        # needs pyarrow and pillow
"""

import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = 8


def png(i):
    out = io.BytesIO()
    Image.new("RGB", (5, 3), (10 * i, i, 7)).save(out, "PNG")
    return out.getvalue()


def main(folder):
    text = [f"picture {i}" for i in range(ROWS)]
    label = [i % 3 for i in range(ROWS)]
    image = [{"bytes": png(i), "path": f"{i}.png"} for i in range(ROWS)]
    names = {"info": {"features": {"label": {"names": ["ant", "bee", "cow"], "_type": "ClassLabel"}}}}
    hub = pa.table({"image": image, "text": text, "label": label})
    hub = hub.replace_schema_metadata({"huggingface": json.dumps(names)})
    small = {"row_group_size": 5, "data_page_size": 1, "write_batch_size": 1}
    plain = pa.table({"image": pa.array([png(i) for i in range(ROWS)], pa.binary()), "text": text})
    for name, table, options in [
        ("hub-snappy", hub, {"compression": "snappy"}),
        ("hub-zstd", hub, {"compression": "zstd", **small, "use_dictionary": False}),
        ("hub-zstd-v2", hub, {"compression": "zstd", "data_page_version": "2.0", **small}),
        ("bytes-zstd", plain, {"compression": "zstd"}),
        ("paths-zstd", pa.table({"file_name": [f"{i}.png" for i in range(ROWS)], "text": text}), {"compression": "zstd"}),
    ]:
        pq.write_table(table, f"{folder}/{name}.parquet", **options)


main(sys.argv[1])
