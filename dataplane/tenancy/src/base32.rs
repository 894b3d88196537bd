//! Crockford base32 of 128 bits, lower case: 26 characters, no `i l o u`.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters that 128 bits take.
pub(crate) const TEXT_LEN: usize = 26;

pub(crate) fn encode(bytes: [u8; 16]) -> String {
    let value = u128::from_be_bytes(bytes);
    (0..TEXT_LEN)
        .map(|at| {
            let shift = 5 * (TEXT_LEN - 1 - at);
            let digit = usize::try_from((value >> shift) & 31).unwrap_or(0);
            char::from(ALPHABET[digit])
        })
        .collect()
}

pub(crate) fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut value: u128 = 0;
    for (at, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|known| *known == byte)? as u128;
        // 26 digits hold 130 bits: the first may use only three of its five.
        if at == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | digit;
    }
    Some(value.to_be_bytes())
}
