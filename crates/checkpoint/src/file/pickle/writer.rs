//! The few opcodes that writing a dictionary of tensors takes, in protocol 2, as torch itself writes them.

/// A pickle in the making.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    /// Ends the pickle with the one value on the stack.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }

    pub(crate) fn op(&mut self, code: u8) -> &mut Self {
        self.0.push(code);
        self
    }

    /// BINUNICODE. Names and settings are far below its 4 GiB.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X');
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// BININT where it fits, otherwise LONG1 of eight bytes.
    pub(crate) fn size(&mut self, n: usize) -> &mut Self {
        match i32::try_from(n) {
            Ok(n) => {
                self.0.push(b'J');
                self.0.extend_from_slice(&n.to_le_bytes());
            }
            Err(_) => {
                self.0.extend_from_slice(&[0x8a, 8]);
                self.0.extend_from_slice(&(n as u64).to_le_bytes());
            }
        }
        self
    }

    /// GLOBAL.
    pub(crate) fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.0.push(b'c');
        for part in [module, name] {
            self.0.extend_from_slice(part.as_bytes());
            self.0.push(b'\n');
        }
        self
    }

    /// A tuple of sizes.
    pub(crate) fn sizes(&mut self, sizes: &[usize]) -> &mut Self {
        self.op(b'(');
        for &n in sizes {
            self.size(n);
        }
        self.op(b't')
    }
}
