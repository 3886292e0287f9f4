//! The wire format of Protobuf: fields read one after the other, and written.

use tenon_contract::Fault;

/// The fields of one message that have not been read yet.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

/// The value of one field, by its type on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    /// A text, bytes, a message, or packed numbers.
    Delimited(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { message, rest: message }
    }

    /// Number and value of the next field.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut behind = self.rest;
        // Numbers of fields begin at 1 and have 29 bits.
        let tag = varint(&mut behind).filter(|tag| (8..1 << 32).contains(tag));
        let tag = tag.ok_or_else(|| self.broken("a field's number"))?;
        self.rest = behind;
        let value = match tag & 7 {
            0 => varint(&mut self.rest).map(Value::Varint),
            1 => fixed(&mut self.rest).map(Value::Fixed64),
            2 => delimited(&mut self.rest).map(Value::Delimited),
            5 => fixed(&mut self.rest).map(Value::Fixed32),
            _ => None,
        };
        let value = value.ok_or_else(|| self.broken(&format!("a value of field {}", tag >> 3)))?;
        Ok(Some((tag >> 3, value)))
    }

    #[cold]
    fn broken(&self, expected: &str) -> Fault {
        let at = self.message.len() - self.rest.len();
        Fault::invalid(format!("expected {expected} at byte {at} of {}", self.message.len()))
    }
}

impl<'a> Value<'a> {
    /// The bytes of the field `name`.
    pub(super) fn bytes(self, name: &str) -> Result<&'a [u8], Fault> {
        match self {
            Self::Delimited(bytes) => Ok(bytes),
            _ => Err(mistyped(name)),
        }
    }

    /// The text of the field `name`.
    pub(super) fn text(self, name: &str) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes(name)?).map_err(|error| {
            Fault::invalid(format!("{name}: expected UTF-8 at byte {}", error.valid_up_to()))
        })
    }

    /// The number of the field `name`.
    pub(super) fn varint(self, name: &str) -> Result<u64, Fault> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(mistyped(name)),
        }
    }
}

#[cold]
pub(super) fn mistyped(name: &str) -> Fault {
    Fault::invalid(format!("{name}: the field has another type on the wire than the protocol says"))
}

/// Takes a varint from the start of `rest`.
#[inline]
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds the one bit that is left.
        if index == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Some(number);
        }
    }
    None
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*bytes)
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut behind = *rest;
    let length = usize::try_from(varint(&mut behind)?).ok()?;
    let (bytes, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(bytes)
}

/// Appends a varint.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the head of a field of `length` bytes, which are the caller's to append.
pub(super) fn put_head(out: &mut Vec<u8>, field: u64, length: usize) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length as u64);
}

/// Appends bytes or a text as a field, nothing where there is none.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_head(out, field, bytes.len());
        out.extend_from_slice(bytes);
    }
}

/// Appends as a field the message that `write` appends.
pub(super) fn put_message<E>(
    out: &mut Vec<u8>,
    field: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_varint(out, field << 3 | 2);
    let at = out.len();
    // Most messages are short: one byte for their length, and a shift where it is not enough.
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return Ok(());
    }
    let mut written = Vec::with_capacity(10);
    put_varint(&mut written, length as u64);
    out.splice(at..=at, written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_back_and_never_wrap() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            let mut rest = &out[..];
            assert_eq!((varint(&mut rest), rest), (Some(number), &[][..]));
        }
        assert_eq!(varint(&mut &[0xff; 10][..]), None);
        assert_eq!(varint(&mut &[0x80; 11][..]), None);
        assert_eq!(varint(&mut &[0x80][..]), None);
    }

    #[test]
    fn what_breaks_off_names_its_place() {
        let check = |message: &[u8], expected: &str| {
            let mut fields = Fields::of(message);
            let fault = loop {
                match fields.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{message:?} is read to its end"),
                    Err(fault) => break fault,
                }
            };
            assert_eq!(fault.text, expected);
        };
        check(&[0x0a, 5, 1], "expected a value of field 1 at byte 1 of 3");
        check(&[0x08, 1, 0x80], "expected a field's number at byte 2 of 3");
        check(&[0x0b, 0x0c], "expected a value of field 1 at byte 1 of 2");
        check(&[0x0d, 1, 2], "expected a value of field 1 at byte 1 of 3");
    }

    #[test]
    fn long_messages_get_a_long_length() {
        let mut out = Vec::new();
        let write = |out: &mut Vec<u8>| -> Result<(), ()> {
            out.extend_from_slice(&[7; 300]);
            Ok(())
        };
        put_message(&mut out, 2, write).unwrap();
        let mut fields = Fields::of(&out);
        assert_eq!(fields.next().unwrap(), Some((2, Value::Delimited(&[7; 300]))));
        assert_eq!(fields.next().unwrap(), None);
    }
}
