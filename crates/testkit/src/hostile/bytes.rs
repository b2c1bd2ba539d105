//! Zip archives, deflate streams and pickles, byte by byte.

/// A zip archive in the making; sizes, checksums and methods are written as given, true or not.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Archive {
    /// An archive with the pickle `data` as `archive/data.pkl`.
    pub fn torch(data: &[u8]) -> Self {
        Self::default().stored("archive/data.pkl", data)
    }

    /// Adds an uncompressed entry.
    pub fn stored(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, 0, content, content.len() as u32, crc32(content))
    }

    /// Adds an entry of compression `method` that claims to have `len` bytes and the checksum `crc`.
    pub fn entry(mut self, name: &str, method: u16, content: &[u8], len: u32, crc: u32) -> Self {
        let start = self.bytes.len() as u32;
        let mut common = Vec::new();
        for field in [20, 0, method, 0, 33] {
            common.extend_from_slice(&u16::to_le_bytes(field));
        }
        for field in [crc, content.len() as u32, len] {
            common.extend_from_slice(&field.to_le_bytes());
        }
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);

        self.bytes.extend_from_slice(b"PK\x03\x04");
        self.bytes.extend_from_slice(&common);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(content);

        self.directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        self.directory.extend_from_slice(&common);
        self.directory.extend_from_slice(&[0; 10]);
        self.directory.extend_from_slice(&start.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        self.count += 1;
        self
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&self.directory);
        self.bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        for _ in 0..2 {
            self.bytes.extend_from_slice(&self.count.to_le_bytes());
        }
        let len = self.directory.len() as u32;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&start.to_le_bytes());
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes
    }
}

/// The checksum of zip entries.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1));
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// A deflate stream of `1 + 258 · repeats` zeros, in fixed Huffman codes (RFC 1951, 3.2.6): 13 bits for 258 bytes.
pub(super) fn deflated_zeros(repeats: usize) -> Vec<u8> {
    let mut bits = vec![1u8, 1, 0]; // the last block; fixed codes
    bits.extend([0, 0, 1, 1, 0, 0, 0, 0]); // literal 0
    for _ in 0..repeats {
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1]); // length 258
        bits.extend([0; 5]); // distance 1
    }
    bits.extend([0; 7]); // end of block
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    bits.chunks(8).map(byte).collect()
}

/// Opcodes and arguments after one another, between PROTO 2 and STOP.
pub(super) fn pickle(parts: &[&[u8]]) -> Vec<u8> {
    [b"\x80\x02", parts.concat().as_slice(), b"."].concat()
}

/// BINUNICODE.
pub(super) fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        (text.len() as u32).to_le_bytes().as_slice(),
        text.as_bytes(),
    ]
    .concat()
}

/// LONG1.
fn long(n: i64) -> Vec<u8> {
    [[0x8a, 8].as_slice(), &n.to_le_bytes()].concat()
}

fn longs(values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|&n| long(n)).collect();
    [b"(", values.as_slice(), b"t"].concat()
}

/// The opcodes of an f32 tensor: a view of `shape` and `strides` at `offset` of storage "0" of `elements` elements.
pub fn pickled_tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        long(elements),
        b"tQ".to_vec(),
        long(offset),
        longs(shape),
        longs(strides),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// The pickle of `{"w": value}`.
pub(super) fn state(value: &[u8]) -> Vec<u8> {
    pickle(&[b"}", &text("w"), value, b"s"])
}
