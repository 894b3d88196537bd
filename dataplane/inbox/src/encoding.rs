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

    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.byte(u8::from(value))
    }

    pub(crate) fn short(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
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

    /// Length as two bytes, then the bytes. For names of MQTT, which are never longer than 65,535.
    pub(crate) fn name(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u16::try_from(bytes.len());
        debug_assert!(len.is_ok(), "a name of MQTT has at most 65,535 bytes");
        let len = len.unwrap_or(u16::MAX);
        self.short(len).raw(&bytes[..usize::from(len)])
    }

    /// Length as a number, then the bytes.
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// How many follow.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.number(u64::try_from(count).unwrap_or(u64::MAX))
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

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
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

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
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

    pub(crate) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub(crate) fn name(&mut self) -> Option<&'a [u8]> {
        let len = self.short()?;
        self.take(usize::from(len))
    }

    pub(crate) fn blob(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    /// How many follow; at most as many as there are bytes left, so that it may be reserved.
    pub(crate) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_read_back(small: u8, short: u16, word: u32, long: u64, number: u64, blob: Vec<u8>) {
            let mut writer = Writer::default();
            writer.byte(small).short(short).word(word).long(long).number(number);
            writer.name(&blob).blob(&blob).flag(true);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.byte(), Some(small));
            prop_assert_eq!(reader.short(), Some(short));
            prop_assert_eq!(reader.word(), Some(word));
            prop_assert_eq!(reader.long(), Some(long));
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.name(), Some(&blob[..]));
            prop_assert_eq!(reader.blob(), Some(&blob[..]));
            prop_assert_eq!(reader.flag(), Some(true));
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
