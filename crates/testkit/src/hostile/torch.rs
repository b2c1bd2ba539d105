//! Torch files: archives, pickles and the legacy layout.

use super::File;
use super::bytes::{Archive, crc32, deflated_zeros, pickle, pickled_tensor, state, text};

const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
const PROTOCOL: &[u8] = b"\x80\x02M\xe9\x03.";
const MACHINE: &[u8] = b"\x80\x02}.";

/// An archive with `data.pkl` and a storage of two f32.
fn archive(data: &[u8]) -> Vec<u8> {
    Archive::torch(data)
        .stored("archive/data/0", &[0; 8])
        .finish()
}

fn tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    archive(&state(&pickled_tensor(elements, offset, shape, strides)))
}

fn legacy(object: &[u8], keys: &[u8], storages: &[u8]) -> Vec<u8> {
    [MAGIC, PROTOCOL, MACHINE, object, keys, storages].concat()
}

pub(super) fn files() -> Vec<File> {
    let mut all = archives();
    all.extend(pickles());
    all.extend(attacks());
    all.extend(legacies());
    all
}

fn archives() -> Vec<File> {
    let ckpt = "ckpt";
    let pair = state(&pickled_tensor(2, 0, &[2], &[1]));
    let good = archive(&pair);
    let end = good.len();
    let bomb = |elements: i64, content: &[u8], len| {
        let data = state(&pickled_tensor(elements, 0, &[elements], &[1]));
        Archive::torch(&data)
            .entry("archive/data/0", 8, content, len, 0)
            .finish()
    };
    let zeros = deflated_zeros(300_000);
    let entry = |method, content: &[u8], len, crc| {
        Archive::default()
            .entry("archive/data.pkl", method, content, len, crc)
            .finish()
    };
    let twice = Archive::torch(&pair)
        .stored("other/data.pkl", &pair)
        .finish();
    let same = Archive::torch(&pair)
        .stored("archive/data.pkl", &pair)
        .finish();
    let script = Archive::torch(&pair)
        .stored("archive/constants.pkl", b"\x80\x02).")
        .finish();
    let order = Archive::torch(&pair)
        .stored("archive/byteorder", b"middle")
        .finish();
    vec![
        (
            "archive cut off in its values",
            "zip",
            ckpt,
            good[..end / 2].to_vec(),
        ),
        (
            "archive cut off in its directory",
            "zip",
            ckpt,
            good[..end - 30].to_vec(),
        ),
        ("archive is four bytes", "zip", ckpt, b"PK\x03\x04".to_vec()),
        (
            "wrong checksum",
            "checksum",
            ckpt,
            entry(0, &pair, pair.len() as u32, !crc32(&pair)),
        ),
        (
            "no data.pkl",
            "data.pkl",
            ckpt,
            Archive::default().stored("photo.png", b"x").finish(),
        ),
        ("two data.pkl", "data.pkl", ckpt, twice),
        ("two entries of one name", "same name", ckpt, same),
        ("a TorchScript program", "TorchScript", ckpt, script),
        ("no byte order known to man", "byteorder", ckpt, order),
        (
            "unknown compression",
            "data.pkl",
            ckpt,
            entry(99, &pair, pair.len() as u32, crc32(&pair)),
        ),
        (
            "storage is missing",
            "missing",
            ckpt,
            Archive::torch(&pair).finish(),
        ),
        (
            "storage is too short",
            "8 bytes instead of 4000",
            ckpt,
            tensor(1000, 0, &[1000], &[1]),
        ),
        (
            "zip bomb: more than deflate can",
            "bomb",
            ckpt,
            bomb(1 << 29, &zeros[..64], 1 << 31),
        ),
        (
            "zip bomb: an honest one",
            "far larger",
            ckpt,
            bomb(300_000 * 64, &zeros, 300_000 * 256),
        ),
        (
            "zip bomb: more than it says",
            "data.pkl",
            ckpt,
            entry(8, &zeros, 100, 0),
        ),
        (
            "zip bomb: the pickle",
            "at most",
            ckpt,
            entry(8, &zeros, 77_000_000, 0),
        ),
        (
            "stride 0 unfolds to terabytes",
            "far larger",
            ckpt,
            tensor(2, 0, &[1 << 40], &[0]),
        ),
        (
            "view leaves its storage",
            "storage of 2",
            ckpt,
            tensor(2, 1, &[2], &[1]),
        ),
        ("negative size", "shape", ckpt, tensor(2, 0, &[-2], &[1])),
        ("negative stride", "stride", ckpt, tensor(2, 1, &[2], &[-1])),
        ("negative offset", "offset", ckpt, tensor(2, -1, &[1], &[1])),
        (
            "negative storage",
            "length",
            ckpt,
            tensor(-2, 0, &[1], &[1]),
        ),
        (
            "sizes overflow",
            "overflow",
            ckpt,
            tensor(2, 0, &[1 << 40, 1 << 40], &[1, 1]),
        ),
        (
            "strides overflow",
            "overflow",
            ckpt,
            tensor(2, 0, &[3, 3], &[i64::MAX, i64::MAX]),
        ),
        (
            "a stride too few",
            "strides",
            ckpt,
            tensor(2, 0, &[1, 2], &[1]),
        ),
        (
            "a thousand dimensions",
            "dimensions",
            ckpt,
            tensor(2, 0, &[1; 1000], &[1; 1000]),
        ),
    ]
}

fn pickles() -> Vec<File> {
    let nested = {
        // {"k": {"k": … {"k": tensor} … }}, 200 deep.
        let open: Vec<u8> = [b"}".as_slice(), &text("k")].concat().repeat(200);
        pickle(&[&open, &pickled_tensor(2, 0, &[2], &[1]), &b"s".repeat(200)])
    };
    let pkl = |name, says, data: Vec<u8>| (name, says, "ckpt", archive(&data));
    let qtensor = [b"ctorch._utils\n_rebuild_qtensor\n(".as_slice(), b"tR"].concat();
    let loaded = b"ctorch.storage\n_load_from_bytes\nC\x02ab\x85R";
    vec![
        pkl("unknown opcode", "0xff", b"\x80\x02\xff.".to_vec()),
        pkl(
            "opcode of extensions",
            "EXT1",
            b"\x80\x02\x82\x01.".to_vec(),
        ),
        pkl("nothing on the stack", "stack", b"\x80\x02.".to_vec()),
        pkl("tuple of nothing", "stack", b"\x80\x02\x87.".to_vec()),
        pkl("no mark", "stack", b"\x80\x02]e.".to_vec()),
        pkl(
            "append to a number",
            "list",
            b"\x80\x02K\x01K\x02a.".to_vec(),
        ),
        pkl("key without a value", "key", b"\x80\x02}(K\x01u.".to_vec()),
        pkl("call of a number", "function", b"\x80\x02K\x01)R.".to_vec()),
        pkl(
            "memo entry that is not there",
            "memo",
            b"\x80\x02h\x07.".to_vec(),
        ),
        pkl("pickle without an end", "truncated", b"\x80\x02}".to_vec()),
        pkl("protocol of the future", "rotocol", b"\x80\x09}.".to_vec()),
        pkl(
            "integer of 2 GiB",
            "truncated",
            b"\x80\x02\x8b\xff\xff\xff\x7f\x01.".to_vec(),
        ),
        pkl(
            "text of 2^64-1 bytes",
            "truncated",
            [b"\x80\x04\x8d".as_slice(), &[0xff; 8], b"x."].concat(),
        ),
        pkl(
            "text that is not UTF-8",
            "UTF-8",
            b"\x80\x02X\x02\0\0\0\xff\xfe.".to_vec(),
        ),
        pkl(
            "marks without end",
            "marks",
            pickle(&[&b"(".repeat(1_100_000)]),
        ),
        pkl(
            "lists without end",
            "values",
            pickle(&[&b"]".repeat(1_100_000)]),
        ),
        pkl(
            "copies without end",
            "stack",
            pickle(&[b"]", &b"2".repeat(1_100_000)]),
        ),
        pkl("dictionaries 200 deep", "deep", nested),
        pkl("a list", "not a dictionary", b"\x80\x02].".to_vec()),
        pkl("a quantised tensor", "_rebuild_qtensor", state(&qtensor)),
        pkl(
            "a pickle within the pickle",
            "_load_from_bytes",
            state(loaded),
        ),
        pkl(
            "a tensor of nothing",
            "storage",
            state(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR"),
        ),
        pkl("storage of an unknown class", "ComplexFloatStorage", {
            let good = state(&pickled_tensor(2, 0, &[2], &[1]));
            let text = b"FloatStorage";
            let at = good
                .windows(text.len())
                .position(|w| w == text)
                .unwrap_or(0);
            [&good[..at], b"Complex", &good[at..]].concat()
        }),
    ]
}

/// Pickles that would run a command if Python loaded them.
fn attacks() -> Vec<File> {
    let id = text("id");
    let pkl = |name, says, data: Vec<u8>| (name, says, "ckpt", archive(&data));
    let stack = |module: &str, name: &str| {
        [
            text(module),
            text(name),
            b"\x93".to_vec(),
            id.clone(),
            b"\x85R".to_vec(),
        ]
        .concat()
    };
    vec![
        pkl(
            "calls os.system",
            "os.system",
            state(&[b"cos\nsystem\n".as_slice(), &id, b"\x85R"].concat()),
        ),
        pkl(
            "calls posix.system",
            "posix.system",
            state(&stack("posix", "system")),
        ),
        pkl(
            "calls os.system by INST",
            "INST",
            state(&[b"(".as_slice(), &id, b"ios\nsystem\n"].concat()),
        ),
        pkl(
            "calls os.system by OBJ",
            "os.system",
            state(&[b"(cos\nsystem\n".as_slice(), &id, b"o"].concat()),
        ),
        pkl("calls a list by OBJ", "OBJ", state(b"(cbuiltins\nlist\no")),
        pkl(
            "calls eval",
            "__builtin__.eval",
            state(&[b"c__builtin__\neval\n".as_slice(), &id, b"\x85R"].concat()),
        ),
        pkl(
            "calls subprocess.Popen",
            "subprocess.Popen",
            state(&stack("subprocess", "Popen")),
        ),
        pkl(
            "calls torch.load",
            "torch.load",
            state(&stack("torch", "load")),
        ),
        pkl(
            "calls getattr",
            "getattr",
            state(&stack("builtins", "getattr")),
        ),
        pkl(
            "reaches os through another module",
            "os.system",
            state(&stack("torch.serialization", "os.system")),
        ),
        (
            "a bare pickle that calls os.system",
            "nt.system",
            "pt",
            pickle(&[b"cnt\nsystem\n", &id, b"\x85R"]),
        ),
        (
            "legacy file that calls os.system",
            "os.system",
            "ckpt",
            legacy(
                &state(&[b"cos\nsystem\n".as_slice(), &id, b"\x85R"].concat()),
                b"",
                b"",
            ),
        ),
    ]
}

fn legacies() -> Vec<File> {
    let object = state(&pickled_tensor(2, 0, &[2], &[1]));
    let keys = pickle(&[b"]", &text("0"), b"a"]);
    let storage = [2u64.to_le_bytes(), [0; 8]].concat();
    let good = legacy(&object, &keys, &storage);
    let other = pickle(&[b"]", &text("7"), b"a"]);
    let ckpt = "ckpt";
    vec![
        (
            "a pickle of something else",
            "magic",
            "pt",
            b"\x80\x02}.".to_vec(),
        ),
        (
            "legacy protocol of the future",
            "protocol",
            ckpt,
            [MAGIC, b"\x80\x02M\xe8\x07.".as_slice()].concat(),
        ),
        (
            "legacy file of its magic only",
            "truncated",
            ckpt,
            MAGIC.to_vec(),
        ),
        (
            "legacy values cut off",
            "truncated",
            ckpt,
            good[..good.len() - 1].to_vec(),
        ),
        (
            "legacy storage of another length",
            "elements instead of 2",
            ckpt,
            legacy(&object, &keys, &[u64::MAX.to_le_bytes(), [0; 8]].concat()),
        ),
        (
            "legacy storage that nothing uses",
            "no tensor uses",
            ckpt,
            legacy(&object, &other, &storage),
        ),
        (
            "legacy storage that is not there",
            "not in the file",
            ckpt,
            legacy(&object, b"\x80\x02].", b""),
        ),
        (
            "legacy storages that are no list",
            "list",
            ckpt,
            legacy(&object, b"\x80\x02}.", &storage),
        ),
    ]
}
