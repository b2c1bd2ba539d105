//! The bytes of a pickle, read in order and within bounds.

use super::PickleError;

pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    limit: usize,
}

impl<'a> Input<'a> {
    /// Reads `limit` bytes of `bytes` at most.
    pub(super) fn new(bytes: &'a [u8], limit: usize) -> Self {
        Self {
            bytes,
            at: 0,
            limit,
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], PickleError> {
        let truncated = PickleError::Truncated {
            offset: self.at,
            wanted: count,
        };
        let end = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count));
        let Some(end) = end.filter(|&end| end <= self.bytes.len()) else {
            return Err(truncated);
        };
        if end > self.limit {
            return Err(PickleError::Limit {
                what: "bytes",
                limit: self.limit,
                offset: self.at,
            });
        }
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// A little-endian number of `N` bytes.
    pub(super) fn number<const N: usize>(&mut self) -> Result<u64, PickleError> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N as u64)?);
        Ok(u64::from_le_bytes(wide))
    }

    /// Bytes with their length before them, in `N` bytes.
    pub(super) fn counted<const N: usize>(&mut self) -> Result<&'a [u8], PickleError> {
        let count = self.number::<N>()?;
        self.take(count)
    }

    pub(super) fn line(&mut self) -> Result<&'a str, PickleError> {
        let start = self.at;
        let rest = &self.bytes[start..];
        let Some(end) = rest.iter().take(4096).position(|&byte| byte == b'\n') else {
            return Err(PickleError::Truncated {
                offset: start,
                wanted: rest.len().min(4096) as u64 + 1,
            });
        };
        self.at = start + end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| PickleError::Utf8 { offset: start })
    }
}

/// The opcodes that Python knows and this machine does not, for messages.
pub(super) fn name_of(code: u8) -> &'static str {
    match code {
        b'i' => "INST",
        b'o' => "OBJ",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'l' => "LIST",
        b'd' => "DICT",
        b'g' => "GET",
        b'p' => "PUT",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => "unknown",
    }
}
