//! Parquet: tables whose cells may be pictures themselves, as the Hugging Face Hub has them.
//!
//! Only the columns that are of use are unpacked at the beginning, and never those of pictures: a picture is read from its
//! page when it is needed, other pages are passed over by their headers.

mod pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use bytes::{Buf, Bytes};
use parquet::{
    basic::{Compression, ConvertedType, Type as Physical},
    column::{page::PageReader, reader::ColumnReader},
    errors::{ParquetError, Result as Read_},
    file::{
        metadata::RowGroupMetaData,
        reader::{ChunkReader, FileReader, Length, RowGroupReader, SerializedFileReader},
    },
    record::{Field, reader::RowIter},
    schema::types::{Type, TypePtr},
};
use serde_json::Value;

use super::{
    Indexed,
    table::{Roles, tables},
};
use crate::{
    Error,
    config::{Columns, Format},
    store::Store,
};
use pages::Pages;

pub(super) fn table(store: &Store, files: &[String], columns: &Columns) -> Result<Indexed, Error> {
    let mut indexed = Indexed::default();
    for file in tables(files, Format::Parquet) {
        let name = store.name(file);
        let chunks = Arc::new(store.chunks(file)?);
        // The reader is the format's own, and has been seen to panic on damaged files.
        let read = catch_unwind(AssertUnwindSafe(|| {
            Table::open(chunks)
                .map_err(|e| Error::damaged(&name, e))
                .and_then(|table| table.index(store, file, columns, &mut indexed))
        }));
        read.map_err(|_| Error::damaged(&name, "it is no whole Parquet file"))??;
    }
    Ok(indexed)
}

/// A file of which parts are read in any order, by many threads.
#[derive(Debug, Clone)]
pub(crate) enum Chunks {
    /// Its path and length; opened anew for every part, so that no thread moves another's place.
    File(PathBuf, u64),
    #[allow(dead_code)] // what an object store gives
    Memory(Bytes),
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Self::File(_, length) => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Read_<Self::T> {
        match self {
            Self::File(path, _) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(start))?;
                Ok(Box::new(BufReader::with_capacity(1 << 12, file)))
            }
            Self::Memory(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                Ok(Box::new(bytes.slice(start.min(bytes.len())..).reader()))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Read_<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF("the file breaks off".to_owned()));
        }
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// An open file.
struct Table {
    chunks: Arc<Chunks>,
    reader: SerializedFileReader<Chunks>,
}

impl Table {
    fn open(chunks: Arc<Chunks>) -> Read_<Arc<Self>> {
        let reader = SerializedFileReader::new((*chunks).clone())?;
        Ok(Arc::new(Self { chunks, reader }))
    }

    fn fields(&self) -> &[TypePtr] {
        self.reader.metadata().file_metadata().schema().get_fields()
    }

    fn group(&self, number: usize) -> Read_<Group<'_>> {
        Ok(Group {
            own: self.reader.get_row_group(number)?,
            chunks: self.chunks.clone(),
        })
    }

    /// Adds the rows.
    fn index(
        self: &Arc<Self>,
        store: &Store,
        file: &str,
        columns: &Columns,
        indexed: &mut Indexed,
    ) -> Result<(), Error> {
        let name = store.name(file);
        let failed = |e: ParquetError| Error::damaged(&name, e);
        let found: BTreeSet<String> = self.fields().iter().map(|f| f.name().to_owned()).collect();
        let inside: BTreeMap<String, Arc<Cells>> = self
            .fields()
            .iter()
            .filter_map(|field| Some((field.name().to_owned(), self.cells(&name, field)?)))
            .collect();
        let projection: Vec<TypePtr> = {
            let roles = Roles::find(&name, columns, &found, inside.clone())?;
            let names: BTreeSet<&str> = roles.names().collect();
            let of_use = self.fields().iter().filter(|f| names.contains(f.name()));
            // Of a picture its path alone.
            let part = |field: &TypePtr| match inside.contains_key(field.name()) {
                true => path_alone(field),
                false => Some(field.clone()),
            };
            of_use.filter_map(part).collect()
        };
        let roles = Roles::find(&name, columns, &found, inside)?;
        let schema = self.reader.metadata().file_metadata().schema();
        let mut number = 0;
        for group in 0..self.reader.num_row_groups() {
            let group = self.group(group).map_err(failed)?;
            let rows = group.metadata().num_rows().max(0) as usize;
            // Pictures alone, without a column of text.
            if projection.is_empty() {
                let entry = |row| roles.entry(store, file, row, Ok(Default::default()));
                indexed.entries.extend((number..number + rows).map(entry));
                number += rows;
                continue;
            }
            let projected = Type::group_type_builder(schema.name())
                .with_fields(projection.clone())
                .build()
                .map_err(failed)?;
            for row in RowIter::from_row_group(Some(projected), &group).map_err(failed)? {
                let values = row.map_err(failed)?.into_columns().into_iter();
                let row = values.map(|(key, field)| (key, value(&field))).collect();
                indexed
                    .entries
                    .push(roles.entry(store, file, number, Ok(row)));
                number += 1;
            }
        }
        if indexed.classes.is_empty() {
            indexed.classes = roles
                .classes()
                .iter()
                .find_map(|column| self.class_names(column))
                .unwrap_or_default();
        }
        indexed.add_table(file, &roles);
        Ok(())
    }

    /// The names of a column's classes, which the Hugging Face Hub writes into the file.
    fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let about = self
            .reader
            .metadata()
            .file_metadata()
            .key_value_metadata()?;
        let text = about.iter().find(|entry| entry.key == "huggingface")?;
        let about: Value = serde_json::from_str(text.value.as_deref()?).ok()?;
        let names = about["info"]["features"][column]["names"].clone();
        serde_json::from_value(names).ok()
    }

    /// The cells of a column that holds files: `{bytes, path}`, or bytes that are no text.
    fn cells(self: &Arc<Self>, name: &str, field: &TypePtr) -> Option<Arc<Cells>> {
        let path = match field.is_group() {
            true => vec![field.name(), "bytes"],
            false => vec![field.name()],
        };
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let mut columns = schema.columns().iter();
        let column = columns.position(|column| column.path().parts() == path)?;
        let leaf = schema.column(column);
        let bytes = leaf.physical_type() == Physical::BYTE_ARRAY
            && leaf.converted_type() != ConvertedType::UTF8
            && leaf.max_rep_level() == 0;
        let cells = Arc::new(Cells {
            table: self.clone(),
            column,
        });
        // Writers may leave out that bytes are text, and leave pictures out where there is a path.
        let first = bytes.then(|| cells.read(name, 0).ok()).flatten()?;
        (field.is_group() || std::str::from_utf8(&first).is_err()).then_some(cells)
    }
}

/// `{path}` of `{bytes, path}`.
fn path_alone(field: &TypePtr) -> Option<TypePtr> {
    if !field.is_group() {
        return None;
    }
    let path = field.get_fields().iter().find(|f| f.name() == "path")?;
    let info = field.get_basic_info();
    let group = Type::group_type_builder(field.name())
        .with_repetition(info.repetition())
        .with_fields(vec![path.clone()])
        .build();
    group.ok().map(Arc::new)
}

/// A group of rows, of columns that may be packed by zstd.
struct Group<'a> {
    own: Box<dyn RowGroupReader + 'a>,
    chunks: Arc<Chunks>,
}

impl RowGroupReader for Group<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.own.metadata()
    }

    fn num_columns(&self) -> usize {
        self.own.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Read_<Box<dyn PageReader>> {
        let column = self.metadata().column(i);
        match column.compression() {
            Compression::ZSTD(_) => Ok(Box::new(Pages::new(self.chunks.clone(), column))),
            _ => self.own.get_column_page_reader(i),
        }
    }

    fn get_column_bloom_filter(&self, i: usize) -> Option<&parquet::bloom_filter::Sbbf> {
        self.own.get_column_bloom_filter(i)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Read_<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// A column whose cells are files.
pub(crate) struct Cells {
    table: Arc<Table>,
    column: usize,
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cells")
            .field("column", &self.column)
            .finish_non_exhaustive()
    }
}

/// Columns are the same where they are one.
impl PartialEq for Cells {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.column == other.column
    }
}

impl Eq for Cells {}

impl Cells {
    /// The bytes of a row, from 0; `name` is what errors call the file.
    ///
    /// # Errors
    /// A damaged file, a row without bytes.
    pub fn read(&self, name: &str, row: usize) -> Result<Vec<u8>, Error> {
        let bytes = self.find(row).map_err(|e| Error::damaged(name, e))?;
        bytes.ok_or_else(|| Error::damaged(name, format!("row {} holds no bytes", row + 1)))
    }

    fn find(&self, row: usize) -> Read_<Option<Vec<u8>>> {
        let mut first = 0;
        for number in 0..self.table.reader.num_row_groups() {
            let group = self.table.group(number)?;
            let rows = group.metadata().num_rows().max(0) as usize;
            if row >= first + rows {
                first += rows;
                continue;
            }
            let ColumnReader::ByteArrayColumnReader(mut reader) =
                group.get_column_reader(self.column)?
            else {
                return Ok(None);
            };
            reader.skip_records(row - first)?;
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            reader.read_records(1, Some(&mut levels), None, &mut values)?;
            return Ok(values.first().map(|value| value.data().to_vec()));
        }
        Ok(None)
    }
}

fn value(field: &Field) -> Value {
    match field {
        // Writers may leave out that bytes are text.
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Null,
        },
        other => other.to_json_value(),
    }
}
