//! A reader of Protobuf's wire format: the fields of one message, no schema, no allocation.
//!
//! It is stricter than Protobuf where strictness can only refuse: no groups (ONNX has none) and no
//! tags beyond 32 bits. So it never reads a field in another way than ONNX Runtime's parser does.

/// A field as it stands in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Message(Message<'a>),
    Fixed32,
}

/// Bytes of a length-delimited field: a message, a text or packed numbers, and where they begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset in the whole file.
    pub(crate) at: usize,
}

/// What is no Protobuf, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) at: usize,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes stop inside a field; `field` is its number where that could still be read.
    EndsEarly { field: Option<u32> },
    /// A number of more than ten bytes, a tag beyond 32 bits, field 0 or a wire type ONNX never uses.
    NotProtobuf,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.fault {
            Fault::EndsEarly { .. } => write!(f, "file ends early, inside the field at byte {}", self.at),
            Fault::NotProtobuf => write!(f, "not readable as Protobuf at byte {}", self.at),
        }
    }
}

impl<'a> Message<'a> {
    /// A whole file.
    pub(crate) fn file(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number it begins with and what stands behind: packed numbers are read so.
    pub(crate) fn varint(self) -> Result<(u64, Self), Broken> {
        let mut fields = self.fields();
        let number = fields.varint().map_err(|fault| Broken { at: self.at, fault })?;
        Ok((number, fields.remainder()))
    }

    /// Its fields in the order of the file; after an error there is no further one.
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { message: self, next: 0, failed: false }
    }
}

/// Iterator over the fields of a message.
pub(crate) struct Fields<'a> {
    message: Message<'a>,
    next: usize,
    failed: bool,
}

impl<'a> Fields<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.message.bytes[self.next..]
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for (index, byte) in self.rest().iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.next += index + 1;
                return Ok(value);
            }
        }
        Err(if self.rest().len() < 10 { Fault::EndsEarly { field: None } } else { Fault::NotProtobuf })
    }

    fn skip(&mut self, length: u64, field: u32) -> Result<Message<'a>, Fault> {
        let bytes = usize::try_from(length).ok().and_then(|length| self.rest().get(..length));
        let bytes = bytes.ok_or(Fault::EndsEarly { field: Some(field) })?;
        let at = self.message.at + self.next;
        self.next += bytes.len();
        Ok(Message { bytes, at })
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Fault> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Fault::NotProtobuf)?;
        let field = tag >> 3;
        if field == 0 {
            return Err(Fault::NotProtobuf);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8, field).map(|_| Value::Fixed64)?,
            2 => {
                let length = self.varint()?;
                Value::Message(self.skip(length, field)?)
            }
            5 => self.skip(4, field).map(|_| Value::Fixed32)?,
            _ => return Err(Fault::NotProtobuf),
        };
        Ok((field, value))
    }

    /// What is left of a field that ends early: all behind its length.
    pub(crate) fn remainder(&self) -> Message<'a> {
        Message { bytes: self.rest(), at: self.message.at + self.next }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.message.bytes.len() {
            return None;
        }
        let at = self.message.at + self.next;
        let field = self.field().map_err(|fault| Broken { at, fault });
        self.failed = field.is_err();
        Some(field)
    }
}
