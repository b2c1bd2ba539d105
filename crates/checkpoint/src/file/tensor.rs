//! What a file says about a tensor, without its values.

use std::fmt;

/// The element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    /// 8-bit float of 4 exponent and 3 mantissa bits (torch's `float8_e4m3fn`).
    F8E4M3,
    /// 8-bit float of 5 exponent and 2 mantissa bits (torch's `float8_e5m2`).
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

/// Each type with its name in a safetensors header, its torch storage class and its torch dtype.
const NAMES: [(Dtype, &str, &str, &str); 15] = [
    (Dtype::F64, "F64", "DoubleStorage", "float64"),
    (Dtype::F32, "F32", "FloatStorage", "float32"),
    (Dtype::F16, "F16", "HalfStorage", "float16"),
    (Dtype::BF16, "BF16", "BFloat16Storage", "bfloat16"),
    (Dtype::F8E4M3, "F8_E4M3", "", "float8_e4m3fn"),
    (Dtype::F8E5M2, "F8_E5M2", "", "float8_e5m2"),
    (Dtype::I64, "I64", "LongStorage", "int64"),
    (Dtype::I32, "I32", "IntStorage", "int32"),
    (Dtype::I16, "I16", "ShortStorage", "int16"),
    (Dtype::I8, "I8", "CharStorage", "int8"),
    (Dtype::U64, "U64", "", "uint64"),
    (Dtype::U32, "U32", "", "uint32"),
    (Dtype::U16, "U16", "", "uint16"),
    (Dtype::U8, "U8", "ByteStorage", "uint8"),
    (Dtype::Bool, "BOOL", "BoolStorage", "bool"),
];

impl Dtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether the elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::F64 | Self::F32 | Self::F16 | Self::BF16 | Self::F8E4M3 | Self::F8E5M2
        )
    }

    /// The name in a safetensors header: `F16`, `BOOL`, …
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The torch dtype: `float16`, `bool`, …
    pub fn torch_name(self) -> &'static str {
        self.row().3
    }

    /// The torch storage class, which the untyped ones (8-bit floats, wide unsigned integers) do not have.
    pub(crate) fn torch_storage(self) -> Option<&'static str> {
        Some(self.row().2).filter(|name| !name.is_empty())
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub(crate) fn from_torch_storage(class: &str) -> Option<Self> {
        let row = NAMES.iter().find(|row| !row.2.is_empty() && row.2 == class);
        row.map(|row| row.0)
    }

    pub(crate) fn from_torch_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|row| row.3 == name).map(|row| row.0)
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, &'static str) {
        // The table lists every variant; a test holds it to that.
        NAMES.iter().find(|row| row.0 == self).unwrap_or(&NAMES[1])
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name, type and shape of one stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// The element type in the file.
    pub dtype: Dtype,
    /// The dimensions, slowest first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// How many elements there are. (Readers have checked that neither this nor [`Self::byte_len`] overflows.)
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many bytes the values take, row-major.
    pub fn byte_len(&self) -> usize {
        self.elements() * self.dtype.size()
    }
}

/// The number of elements of `shape`, unless that times `size` overflows.
pub(super) fn checked_elements(shape: &[usize], size: usize) -> Option<usize> {
    let count = shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n))?;
    count.checked_mul(size).map(|_| count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_has_its_row() {
        for (dtype, name, storage, torch) in NAMES {
            assert_eq!(dtype.name(), name);
            assert_eq!(Dtype::from_name(name), Some(dtype));
            assert_eq!(Dtype::from_torch_name(torch), Some(dtype));
            assert_eq!(dtype.torch_storage().unwrap_or(""), storage);
        }
        assert_eq!(Dtype::from_torch_storage(""), None);
    }

    #[test]
    fn sizes_that_overflow_are_none() {
        assert_eq!(checked_elements(&[1 << 40, 1 << 40], 4), None);
        assert_eq!(checked_elements(&[1 << 62], 4), None);
        assert_eq!(checked_elements(&[2, 3], 4), Some(6));
        assert_eq!(checked_elements(&[], 4), Some(1));
    }
}
