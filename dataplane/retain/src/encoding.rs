//! Writing and reading of fields: big-endian numbers, length-prefixed bytes, variable-length
//! numbers of seven bits a byte. A reader is total: what does not fit is `None`, never a panic.

/// Appends fields.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// What was written.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn word(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn long(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    pub(crate) fn number(&mut self, mut value: u64) -> &mut Self {
        while let Some(low) = u8::try_from(value & 0x7F).ok().filter(|_| value >= 0x80) {
            self.byte(low | 0x80);
            value >>= 7;
        }
        self.byte(u8::try_from(value).unwrap_or_default())
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Length as a number, then the bytes.
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            .raw(bytes)
    }
}

/// Takes fields off the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// `value` if everything was read.
    pub(crate) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn id(&mut self) -> Option<[u8; 16]> {
        self.array()
    }

    /// Only the shortest form is read, so that equal numbers have equal bytes.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(value);
            }
        }
        None
    }

    pub(crate) fn blob(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_read_back(small: u8, word: u32, long: u64, number: u64, blob: Vec<u8>) {
            let mut writer = Writer::default();
            writer.byte(small).word(word).long(long).number(number).blob(&blob);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.byte(), Some(small));
            prop_assert_eq!(reader.word(), Some(word));
            prop_assert_eq!(reader.long(), Some(long));
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.blob(), Some(&blob[..]));
            prop_assert_eq!(reader.end(()), Some(()));
        }

        #[test]
        fn no_input_panics_and_a_number_has_one_form(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            if let Some(number) = reader.number() {
                let used = bytes.len() - reader.rest().len();
                let mut writer = Writer::default();
                writer.number(number);
                prop_assert_eq!(&writer.finish()[..], &bytes[..used]);
            }
        }
    }
}
