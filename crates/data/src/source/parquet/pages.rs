//! The pages of a column that is packed by zstd.
//!
//! The crate `parquet` unpacks zstd by a C library, which the program does not link. So the headers of pages are read
//! here (Thrift's compact protocol, `parquet.thrift` of the format), and their bytes unpacked in Rust.

use std::{collections::HashMap, io::Read, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::Encoding,
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{metadata::ColumnChunkMetaData, reader::ChunkReader},
};

use super::Chunks;
use crate::decode::MAX_BYTES;

/// Pages in their order.
pub struct Pages {
    chunks: Arc<Chunks>,
    /// Where the next header begins, and where the column ends.
    at: u64,
    end: u64,
    /// Values of data pages that are still to come.
    left: i64,
    /// The next page: its header, and where its bytes begin.
    next: Option<(Header, u64)>,
}

fn bad(what: impl std::fmt::Display) -> ParquetError {
    ParquetError::General(format!("a page packed by zstd: {what}"))
}

impl Pages {
    pub fn new(chunks: Arc<Chunks>, column: &ColumnChunkMetaData) -> Self {
        let (at, length) = column.byte_range();
        Self {
            chunks,
            at,
            end: at.saturating_add(length),
            left: column.num_values(),
            next: None,
        }
    }

    /// Makes `next` the header of the next page, if there is one.
    fn look(&mut self) -> Result<()> {
        while self.next.is_none() && self.left > 0 && self.at < self.end {
            let mut thrift = Thrift {
                from: self.chunks.get_read(self.at)?.take(self.end - self.at),
                read: 0,
            };
            let header = Header(thrift.header()?);
            let begin = self.at + thrift.read;
            self.at = begin + header.size(PACKED)?;
            if self.at > self.end {
                return Err(bad("it is longer than its column"));
            }
            match header.get(KIND)? {
                DATA | DATA_V2 => {
                    self.left -= header.number(COUNT)?;
                    self.next = Some((header, begin));
                }
                DICTIONARY => self.next = Some((header, begin)),
                // An index, which is not needed.
                _ => {}
            }
        }
        Ok(())
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.look()?;
        let Some((header, begin)) = self.next.take() else {
            return Ok(None);
        };
        let length = header.size(PACKED)? as usize;
        let packed = self.chunks.get_bytes(begin, length)?;
        header.page(&packed).map(Some)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.look()?;
        let Some((header, _)) = &self.next else {
            return Ok(None);
        };
        let kind = header.get(KIND)?;
        let levels = header.number(COUNT)? as usize;
        Ok(Some(PageMetadata {
            num_rows: match kind {
                DATA_V2 => Some(header.number(ROWS)? as usize),
                _ => None,
            },
            num_levels: (kind != DICTIONARY).then_some(levels),
            is_dict: kind == DICTIONARY,
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.look()?;
        self.next = None;
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// Kinds of pages.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// Fields of a header: the number of the field, and within the structure of its kind that of the inner one.
type Key = (i16, i16);
const KIND: Key = (1, 0);
const UNPACKED: Key = (2, 0);
const PACKED: Key = (3, 0);
/// Those of the kinds' own structures, which are fields 5, 7 and 8, by their meaning.
const COUNT: [Key; 3] = [(5, 1), (7, 1), (8, 1)];
const ENCODING: [Key; 3] = [(5, 2), (7, 2), (8, 4)];
const ROWS: [Key; 1] = [(8, 3)];

struct Header(HashMap<Key, i64>);

impl Header {
    fn get(&self, key: Key) -> Result<i64> {
        let value = self.0.get(&key).copied();
        value.ok_or_else(|| bad(format!("its header lacks field {key:?}")))
    }

    /// The first of several fields, 0 or more.
    fn number<const N: usize>(&self, keys: [Key; N]) -> Result<i64> {
        let value = keys.iter().find_map(|key| self.0.get(key).copied());
        let value = value.filter(|value| *value >= 0);
        value.ok_or_else(|| bad(format!("its header lacks one of the fields {keys:?}")))
    }

    fn size(&self, key: Key) -> Result<u64> {
        let size = u64::try_from(self.get(key)?).map_err(bad)?;
        match size <= 2 * MAX_BYTES {
            true => Ok(size),
            false => Err(bad(format!("{size} bytes are too many"))),
        }
    }

    fn page(&self, packed: &Bytes) -> Result<Page> {
        let unpacked = self.size(UNPACKED)? as usize;
        let num_values = self.number(COUNT)? as u32;
        let values = encoding(self.number(ENCODING)?)?;
        Ok(match self.get(KIND)? {
            DICTIONARY => Page::DictionaryPage {
                buf: unpack(packed, unpacked)?.into(),
                num_values,
                encoding: values,
                is_sorted: self.0.get(&(7, 3)) == Some(&1),
            },
            DATA => Page::DataPage {
                buf: unpack(packed, unpacked)?.into(),
                num_values,
                encoding: values,
                def_level_encoding: encoding(self.get((5, 3))?)?,
                rep_level_encoding: encoding(self.get((5, 4))?)?,
                statistics: None,
            },
            _ => {
                let [definition, repetition] =
                    [self.number([(8, 5)])?, self.number([(8, 6)])?].map(|v| v as usize);
                // Levels come first and are not packed.
                let levels = definition.saturating_add(repetition);
                if levels > packed.len().min(unpacked) {
                    return Err(bad("its levels are longer than it is"));
                }
                let mut buf = packed[..levels].to_vec();
                let rest = &packed[levels..];
                match self.0.get(&(8, 7)) != Some(&0) && !rest.is_empty() {
                    true => buf.extend(unpack(rest, unpacked - levels)?),
                    false => buf.extend(rest),
                }
                Page::DataPageV2 {
                    buf: buf.into(),
                    num_values,
                    encoding: values,
                    num_nulls: self.number([(8, 2)])? as u32,
                    num_rows: self.number(ROWS)? as u32,
                    def_levels_byte_len: definition as u32,
                    rep_levels_byte_len: repetition as u32,
                    is_compressed: false,
                    statistics: None,
                }
            }
        })
    }
}

fn unpack(packed: &[u8], length: usize) -> Result<Vec<u8>> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(bad)?;
    let mut bytes = Vec::with_capacity(length);
    decoder
        .take(length as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(bad)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(bad(format!(
            "it holds {} bytes, and its header says {length}",
            bytes.len()
        ))),
    }
}

#[allow(deprecated)] // old files have it
fn encoding(number: i64) -> Result<Encoding> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        other => return Err(bad(format!("its encoding is {other}, which is not known"))),
    })
}

/// Thrift's compact protocol, as far as headers need it.
struct Thrift<R> {
    from: R,
    read: u64,
}

/// Structures within structures.
const DEPTH: usize = 8;

impl<R: Read> Thrift<R> {
    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a number of its header has no end"))
    }

    fn zigzag(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Whole numbers and truth values of a header and of the structures in it.
    fn header(&mut self) -> Result<HashMap<Key, i64>> {
        let mut found = HashMap::new();
        self.structure(0, None, &mut found)?;
        Ok(found)
    }

    fn structure(
        &mut self,
        depth: usize,
        outer: Option<i16>,
        found: &mut HashMap<Key, i64>,
    ) -> Result<()> {
        if depth > DEPTH {
            return Err(bad("its header is nested too deep"));
        }
        let mut id = 0i16;
        loop {
            let byte = self.byte()?;
            let (step, kind) = (byte >> 4, byte & 0x0F);
            if kind == 0 {
                return Ok(());
            }
            id = match step {
                0 => self.zigzag()? as i16,
                step => id.wrapping_add(i16::from(step)),
            };
            let key = match (depth, outer) {
                (0, _) => Some((id, 0)),
                (1, Some(outer)) => Some((outer, id)),
                _ => None,
            };
            let value = self.value(kind, depth, id, found)?;
            if let (Some(key), Some(value)) = (key, value) {
                found.insert(key, value);
            }
        }
    }

    fn value(
        &mut self,
        kind: u8,
        depth: usize,
        id: i16,
        found: &mut HashMap<Key, i64>,
    ) -> Result<Option<i64>> {
        match kind {
            1 => return Ok(Some(1)),
            2 => return Ok(Some(0)),
            3 => return Ok(Some(i64::from(self.byte()?))),
            4..=6 => return Ok(Some(self.zigzag()?)),
            7 => self.pass(8)?,
            8 => {
                let length = self.varint()?;
                self.pass(length)?;
            }
            9 | 10 => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                for _ in 0..count {
                    match byte & 0x0F {
                        // Truth values take a byte within a list.
                        1 | 2 => drop(self.byte()?),
                        kind => drop(self.value(kind, depth + 1, 0, found)?),
                    }
                }
            }
            12 => self.structure(depth + 1, Some(id), found)?,
            other => return Err(bad(format!("a value of kind {other} in its header"))),
        }
        Ok(None)
    }

    fn pass(&mut self, length: u64) -> Result<()> {
        let passed = std::io::copy(&mut self.from.by_ref().take(length), &mut std::io::sink())?;
        self.read += passed;
        match passed == length {
            true => Ok(()),
            false => Err(bad("its header breaks off")),
        }
    }
}
