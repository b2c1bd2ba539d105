//! Safetensors files, and things that are no model.

use super::File;

/// A safetensors file of `header` and `data` zeros.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn tensor(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

pub(super) fn files() -> Vec<File> {
    let good = safetensors(&tensor("F32", "[2,3]", "[0,24]"), 24);
    let two = |a: &str, b: &str, data| {
        let entry =
            |offsets: &str| format!(r#"{{"dtype":"U8","shape":[8],"data_offsets":{offsets}}}"#);
        safetensors(&format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b)), data)
    };
    let mut tar = vec![b'x'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let st = "safetensors";
    let one = |dtype, shape, offsets, data| safetensors(&tensor(dtype, shape, offsets), data);
    vec![
        ("empty", "empty", st, vec![]),
        ("four bytes", "4 bytes", st, b"abcd".to_vec()),
        ("header cut off", "truncated", st, good[..40].to_vec()),
        (
            "values cut off",
            "truncated",
            st,
            good[..good.len() - 1].to_vec(),
        ),
        (
            "header of 2^64-1 bytes",
            "limit",
            st,
            [[0xff; 8].as_slice(), b"{}"].concat(),
        ),
        (
            "header longer than the file",
            "truncated",
            st,
            [&(1u64 << 24).to_le_bytes(), b"{}".as_slice()].concat(),
        ),
        (
            "header is not JSON",
            "JSON",
            st,
            safetensors("{\"w\": oops}", 0),
        ),
        ("header is a list", "JSON", st, safetensors("[1, 2]", 0)),
        (
            "header nested without end",
            "JSON",
            st,
            safetensors(&format!("{{\"w\":{}", "[".repeat(100_000)), 0),
        ),
        (
            "header is not UTF-8",
            "JSON",
            st,
            [&3u64.to_le_bytes(), b"{\"\xff".as_slice()].concat(),
        ),
        ("tensors overlap", "overlap", st, two("[0,8]", "[4,12]", 12)),
        (
            "hole between tensors",
            "belong to no tensor",
            st,
            two("[0,8]", "[16,24]", 24),
        ),
        (
            "bytes that belong to no tensor",
            "belong to no tensor",
            st,
            one("F32", "[2]", "[0,8]", 100),
        ),
        (
            "negative size",
            "shape",
            st,
            one("F32", "[-2,3]", "[0,24]", 24),
        ),
        (
            "fractional size",
            "shape",
            st,
            one("F32", "[2.5]", "[0,10]", 10),
        ),
        (
            "sizes overflow",
            "overflow",
            st,
            one("F32", "[4294967296,4294967296]", "[0,0]", 0),
        ),
        ("unknown dtype", "F13", st, one("F13", "[2]", "[0,8]", 8)),
        (
            "no dtype",
            "dtype",
            st,
            safetensors(r#"{"w":{"shape":[1],"data_offsets":[0,4]}}"#, 4),
        ),
        (
            "values past the end",
            "truncated",
            st,
            one("U8", "[1099511627776]", "[0,1099511627776]", 8),
        ),
        (
            "offsets run backwards",
            "backwards",
            st,
            one("F32", "[2]", "[8,0]", 8),
        ),
        (
            "three offsets",
            "data_offsets",
            st,
            one("F32", "[2]", "[0,4,8]", 8),
        ),
        (
            "shape and values disagree",
            "24 bytes",
            st,
            one("F32", "[2,3]", "[0,20]", 20),
        ),
        (
            "two tensors of one name",
            "twice",
            st,
            safetensors(
                r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                2,
            ),
        ),
        (
            "metadata is a number",
            "metadata",
            st,
            safetensors(r#"{"__metadata__":{"a":1}}"#, 0),
        ),
        (
            "wrong magic",
            "first bytes",
            "ckpt",
            b"\x13\x37 what is this, then?".to_vec(),
        ),
        (
            "a web page",
            "web page",
            st,
            b"<!DOCTYPE html><html>404</html>".to_vec(),
        ),
        (
            "a Git LFS pointer",
            "LFS",
            st,
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
        ),
        ("zeros", "zeros", "ckpt", vec![0; 4096]),
        ("a tar archive", "tar", "ckpt", tar),
        (
            "a GGUF file",
            "GGUF",
            "gguf",
            b"GGUF\x03\0\0\0\0\0\0\0".to_vec(),
        ),
    ]
}
