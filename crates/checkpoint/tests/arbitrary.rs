//! Parsers on arbitrary bytes: an answer or an error, never a panic, and no work out of proportion.

use latent_checkpoint::TensorFile;
use latent_checkpoint::file::pickle::{self, Limits, Node, PickleError};
use latent_testkit::hostile::{Archive, pickled_tensor};
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads all there is in a file that lies in memory.
fn read_all(bytes: Vec<u8>) {
    if let Ok(file) = TensorFile::from_bytes("arbitrary", bytes) {
        for info in file.tensors() {
            if let Ok(values) = file.bytes(&info.name) {
                assert_eq!(values.len(), info.byte_len());
            }
            file.release(&info.name);
        }
    }
}

/// Bytes of which most are opcodes, small numbers and ends of lines, so that programs get somewhere.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let opcodes: Vec<u8> = b".(012NKMJGXUTCB)t]ae}subQRhjqrc\n\x00\x01\x02\x03abc".to_vec();
    let more = vec![
        0x80, 0x81, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94,
    ];
    let common = proptest::sample::select([opcodes, more].concat());
    vec(prop_oneof![9 => common, 1 => any::<u8>()], 0..200)
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 7);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pickles_of_arbitrary_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let _ = pickle::parse(&bytes, &Limits::default());
    }

    #[test]
    fn pickles_of_arbitrary_opcodes(bytes in program()) {
        if let Ok(pickle) = pickle::parse(&bytes, &Limits::default()) {
            prop_assert!(pickle.byte_len() <= bytes.len());
            prop_assert!(pickle.nodes().len() <= bytes.len());
        }
    }

    #[test]
    fn limits_hold(bytes in program(), nodes in 0usize..20, stack in 0usize..20) {
        let limits = Limits { nodes, stack, memo: 5, bytes: 100 };
        if let Ok(pickle) = pickle::parse(&bytes, &limits) {
            // NEWOBJ_EX makes one value beside the one it pushes; both count.
            prop_assert!(pickle.nodes().len() <= nodes && pickle.byte_len() <= 100);
        }
    }

    #[test]
    fn archives_with_arbitrary_pickles(bytes in program()) {
        read_all(Archive::torch(&bytes).stored("archive/data/0", &[0; 64]).finish());
    }

    #[test]
    fn views_of_arbitrary_shapes(
        elements in -1i64..40, offset in -1i64..20,
        shape in vec(prop_oneof![0i64..6, any::<i64>()], 0..5), strides in vec(prop_oneof![0i64..6, any::<i64>()], 0..5),
    ) {
        let tensor = pickled_tensor(elements, offset, &shape, &strides);
        let data = [b"\x80\x02}X\x01\0\0\0w".as_slice(), &tensor, b"s."].concat();
        let storage = vec![1; 4 * elements.max(0) as usize];
        read_all(Archive::torch(&data).stored("archive/data/0", &storage).finish());
    }

    #[test]
    fn archives_with_a_changed_byte(at in 0usize..400, byte: u8) {
        let data = [b"\x80\x02}X\x01\0\0\0w".as_slice(), &pickled_tensor(2, 0, &[2], &[1]), b"s."].concat();
        let mut bytes = Archive::torch(&data).stored("archive/data/0", &[0; 8]).finish();
        let at = at % bytes.len();
        bytes[at] = byte;
        read_all(bytes);
    }

    #[test]
    fn headers_of_arbitrary_text(header in "[ -~]{0,80}", data in 0usize..40) {
        read_all(safetensors(&format!("{{{header}"), data));
    }

    #[test]
    fn headers_of_arbitrary_numbers(
        dtype in prop_oneof![Just("F32"), Just("U8"), Just("F4"), Just("BOOL")],
        shape in vec(prop_oneof![0u64..6, any::<u64>()], 0..4),
        offsets in vec(prop_oneof![0u64..40, any::<u64>()], 1..4),
        data in 0usize..40,
    ) {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{offsets:?}}}}}"#);
        read_all(safetensors(&header, data));
    }
}

/// A program of protocol 2.
fn parse(program: &[u8]) -> Result<pickle::Pickle, PickleError> {
    pickle::parse(&[b"\x80\x02", program, b"."].concat(), &Limits::default())
}

#[test]
fn objects_of_unknown_classes_stay_records() {
    // A callback of a training framework as a key, as Lightning wrote them, and an object with a state.
    let callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n";
    let program = [b"}".as_slice(), callback, b"K\x07s"].concat();
    let pickle = parse(&program).unwrap();
    let (key, value) = pickle.entries(pickle.root()).unwrap()[0];
    let name = (
        "pytorch_lightning.callbacks.model_checkpoint",
        "ModelCheckpoint",
    );
    assert_eq!(pickle.global(key), Some(name));
    assert_eq!(pickle.int(value), Some(7));

    let pickle =
        parse(b"cargparse\nNamespace\n)\x81}X\x02\0\0\0lrG\x3f\xe0\0\0\0\0\0\0sb").unwrap();
    let Node::Call(call) = pickle.node(pickle.root()) else {
        panic!("a record of the object")
    };
    let rate = pickle.get(call.state.unwrap(), "lr").unwrap();
    assert_eq!(*pickle.node(rate), Node::Float(0.5));
}

#[test]
fn integers_of_every_width() {
    for (program, want) in [
        (b"K\xff".as_slice(), 255),
        (b"M\xff\xff", 65535),
        (b"J\xff\xff\xff\xff", -1),
        (b"\x8a\x00", 0),
        (b"\x8a\x01\xff", -1),
        (b"\x8a\x02\xff\x00", 255),
        (b"\x8a\x08\0\0\0\0\0\0\0\x80", i64::MIN),
        (b"\x8b\x02\0\0\0\0\x80", -32768),
    ] {
        let pickle = parse(program).unwrap();
        assert_eq!(pickle.int(pickle.root()), Some(want), "{program:?}");
    }
    let pickle = parse(b"\x8a\x09\0\0\0\0\0\0\0\0\x01").unwrap();
    assert_eq!(
        *pickle.node(pickle.root()),
        Node::Long(vec![0, 0, 0, 0, 0, 0, 0, 0, 1])
    );
}

#[test]
fn cycles_and_sharing_end() {
    // A dictionary that holds itself and, twice, one tensor.
    let tensor = pickled_tensor(2, 0, &[2], &[1]);
    let data = [
        b"\x80\x02}q\x00(X\x04\0\0\0selfh\x00X\x01\0\0\0a".as_slice(),
        &tensor,
        b"q\x01X\x01\0\0\0bh\x01u.",
    ]
    .concat();
    let bytes = Archive::torch(&data)
        .stored("archive/data/0", &[0; 8])
        .finish();
    let file = TensorFile::from_bytes("cycle", bytes).unwrap();
    let names: Vec<_> = file
        .tensors()
        .iter()
        .map(|info| info.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"], "tied weights have both their names");

    // Lists of lists, each twice the one before: 2^40 paths.
    let mut program = b"]q\x00".to_vec();
    for n in 0..40 {
        program.extend_from_slice(&[b'0', b'h', n, b'h', n, 0x86, b'q', n + 1]);
    }
    let data = [b"\x80\x02}X\x01\0\0\0w".as_slice(), &program, b"s."].concat();
    let file = TensorFile::from_bytes("sharing", Archive::torch(&data).finish()).unwrap();
    assert!(file.tensors().is_empty());
}

#[test]
fn big_endian_files_and_compressed_ones_are_read() {
    let data = [
        b"\x80\x02}X\x01\0\0\0w".as_slice(),
        &pickled_tensor(2, 1, &[1], &[1]),
        b"s.",
    ]
    .concat();
    let values = [1.0f32.to_be_bytes(), 2.5f32.to_be_bytes()].concat();
    let big = Archive::torch(&data).stored("archive/data/0", &values);
    let bytes = big.stored("archive/byteorder", b"big").finish();
    let file = TensorFile::from_bytes("big", bytes).unwrap();
    assert_eq!(file.bytes("w").unwrap(), 2.5f32.to_le_bytes().as_slice());

    // zlib.compressobj(wbits=-15) of the two little-endian values, and their checksum, from Python.
    let packed = [0x63, 0x60, 0x68, 0xb0, 0x67, 0x60, 0x50, 0x70, 0x00, 0x00];
    let crc = 0xbbbb_81d4;
    let deflated = Archive::torch(&data).entry("archive/data/0", 8, &packed, 8, crc);
    let file = TensorFile::from_bytes("packed", deflated.finish()).unwrap();
    assert_eq!(file.bytes("w").unwrap(), 2.5f32.to_le_bytes().as_slice());
}
