//! Little-endian base-128 numbers, shortest form only.

use super::TokenError;

/// Puts a number at the end.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = u8::try_from(number & 0x7f).expect("seven bits fit into a byte");
        number >>= 7;
        if number == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Takes a number off the front.
pub fn take(bytes: &mut &[u8]) -> Result<u64, TokenError> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(TokenError)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds one bit; a last byte of zero is not the shortest form.
        if (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
            return Err(TokenError);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(TokenError)
}
