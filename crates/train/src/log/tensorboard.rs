//! Event files as TensorBoard reads them: records of protobuf messages, each with checksums.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::{Error, Report};

/// `tensorflow.Event`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Picture>,
}

#[derive(Clone, PartialEq, Message)]
struct Picture {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 3 is RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

/// A file of events.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// One that begins after `step` steps; TensorBoard joins those of a folder.
    pub fn create(folder: &Path, step: u64, seconds: f64) -> Result<Self, Error> {
        let path = folder.join(format!("events.out.tfevents.{seconds:.0}.{step}.latent"));
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let mut events = Self { path, file };
        events.write(&Event {
            wall_time: seconds,
            file_version: Some("brain.Event:2".to_owned()),
            ..Event::default()
        })?;
        Ok(events)
    }

    pub fn scalars(
        &mut self,
        kind: &str,
        step: u64,
        report: &Report,
        seconds: f64,
    ) -> Result<(), Error> {
        let value = |(name, value): &(String, f64)| Value {
            tag: format!("{kind}/{name}"),
            simple_value: Some(*value as f32),
            image: None,
        };
        self.values(step, seconds, report.0.iter().map(value).collect())
    }

    pub fn picture(
        &mut self,
        tag: &str,
        step: u64,
        png: &[u8],
        (width, height): (u32, u32),
        seconds: f64,
    ) -> Result<(), Error> {
        let image = Picture {
            height: height as i32,
            width: width as i32,
            colorspace: 3,
            encoded: png.to_vec(),
        };
        let value = Value {
            tag: tag.to_owned(),
            simple_value: None,
            image: Some(image),
        };
        self.values(step, seconds, vec![value])
    }

    fn values(&mut self, step: u64, seconds: f64, value: Vec<Value>) -> Result<(), Error> {
        self.write(&Event {
            wall_time: seconds,
            step: step as i64,
            file_version: None,
            summary: Some(Summary { value }),
        })
    }

    /// Length, its checksum, the message, its checksum.
    fn write(&mut self, event: &Event) -> Result<(), Error> {
        let message = event.encode_to_vec();
        let length = (message.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(&message);
        record.extend(masked(&message).to_le_bytes());
        self.file
            .write_all(&record)
            .map_err(Error::io(&self.path, "write"))
    }
}

/// CRC-32C, rotated and moved: a checksum of data that holds checksums.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_tensorboard_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(dir.path(), 7, 1.5e9).unwrap();
        let report = Report::new().with("loss", 0.25);
        events.scalars("train", 3, &report, 1.5e9).unwrap();
        let path = dir.path().join("events.out.tfevents.1500000000.7.latent");
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let crc = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(crc(8), masked(&rest[..8]));
            let message = &rest[12..12 + length];
            assert_eq!(crc(12 + length), masked(message));
            found.push(Event::decode(message).unwrap());
            rest = &rest[16 + length..];
        }
        assert_eq!(found[0].file_version.as_deref(), Some("brain.Event:2"));
        let value = &found[1].summary.as_ref().unwrap().value[0];
        assert_eq!((found[1].step, value.tag.as_str()), (3, "train/loss"));
        assert_eq!(value.simple_value, Some(0.25));
        // CRC-32C of 32 zeros (RFC 3720, B.4), masked
        assert_eq!(
            masked(&[0; 32]),
            0x8A91_36AA_u32.rotate_right(15).wrapping_add(0xA282_EAD8)
        );
    }
}
