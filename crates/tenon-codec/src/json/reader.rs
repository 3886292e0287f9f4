//! The reader: a document, a place in it, and one step forward at a time.
//!
//! The document is checked to be UTF-8 once, at the start; strings without escapes are slices of it.
//! Every fault names the byte at which the document stopped to be what was expected.

use std::borrow::Cow;
use std::fmt::Display;

use tenon_contract::Fault;

use super::number;

/// Deepest nesting that is read over, whatever the limits say: the stack stands behind it.
const DEEPEST: usize = 128;

/// A place in a JSON document.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    /// What has not been read yet: the end of `text`.
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `document`; values that are read over may nest `depth` deep.
    pub(crate) fn new(document: &'a [u8], depth: usize) -> Result<Self, Fault> {
        let text = std::str::from_utf8(document)
            .map_err(|error| Fault::invalid(format!("expected UTF-8 at byte {}", error.valid_up_to())))?;
        if text.starts_with('\u{feff}') {
            return Err(Fault::invalid("expected JSON at byte 0, found a byte order mark"));
        }
        Ok(Self { text, rest: document, depth: depth.min(DEEPEST) })
    }

    /// What has not been read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes `length` bytes on.
    #[inline]
    pub(crate) fn advance(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    #[inline]
    pub(crate) fn skip_whitespace(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// The next byte that is not white space, without reading it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.skip_whitespace();
        self.rest.first().copied()
    }

    /// Reads `byte` if it is the next.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads `word` if it is the next.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        self.skip_whitespace();
        match self.rest.strip_prefix(word.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads what stands behind an item of an array: `,` if there are more of them, `]` if not.
    #[inline]
    pub(crate) fn more(&mut self) -> Result<bool, Fault> {
        self.skip_whitespace();
        match self.rest {
            [b',', rest @ ..] => {
                self.rest = rest;
                Ok(true)
            }
            [b']', rest @ ..] => {
                self.rest = rest;
                Ok(false)
            }
            _ => Err(self.expected("`,` or `]`")),
        }
    }

    fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the document")),
        }
    }

    /// The fault of finding something else than `expected` here.
    #[cold]
    pub(crate) fn expected(&mut self, expected: impl Display) -> Fault {
        self.skip_whitespace();
        let found = self.shown();
        Fault::invalid(format!("expected {expected} at byte {}, found {found}", self.at()))
    }

    /// The next token, short enough for a text that people read.
    fn shown(&self) -> String {
        let rest = self.text.get(self.at()..).unwrap_or_default();
        let mut chars = rest.chars();
        match chars.next() {
            None => "the end".to_owned(),
            Some(first) => {
                let is_token = !"[]{},:".contains(first);
                let token = |char: &char| is_token && (char.is_alphanumeric() || ".+-_".contains(*char));
                let text: String = std::iter::once(first).chain(chars.take_while(token).take(39)).collect();
                format!("`{}`", text.escape_debug())
            }
        }
    }

    /// Reads an object, `member` the value of each key.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'{', "an object")?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key"));
            }
            let key = self.string()?;
            self.expect(b':', "`:`")?;
            member(self, &key)?;
            if !self.eat(b',') {
                return self.expect(b'}', "`,` or `}`");
            }
        }
    }

    /// Reads an array, `item` each of its values, given with its index.
    pub(crate) fn array(
        &mut self,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'[', "an array")?;
        if self.eat(b']') {
            return Ok(());
        }
        for index in 0.. {
            item(self, index)?;
            if !self.more()? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a string; borrowed where it has no escapes.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.expect(b'"', "a string")?;
        let plain = self.plain();
        if let [b'"', rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(Cow::Borrowed(plain));
        }
        let mut string = plain.to_owned();
        loop {
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(Cow::Owned(string));
                }
                [b'\\', ..] => string.push(self.escape()?),
                [_, ..] => return Err(self.broken("an escape instead of a control character")),
                [] => return Err(self.broken("`\"`")),
            }
            string.push_str(self.plain());
        }
    }

    /// The run of characters up to a quote, an escape, a control character or the end.
    fn plain(&mut self) -> &'a str {
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let length = self.rest.iter().position(special).unwrap_or(self.rest.len());
        let start = self.at();
        self.advance(length);
        &self.text[start..start + length]
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let char = match self.rest.get(1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.broken("an escape that JSON knows")),
        };
        self.advance(2);
        Ok(char)
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let unit = |at: usize| -> Option<u16> {
            let digits = self.rest.get(at..at + 6)?.strip_prefix(b"\\u")?;
            let digit = |unit: u32, byte: &u8| Some(unit << 4 | char::from(*byte).to_digit(16)?);
            digits.iter().try_fold(0, digit).and_then(|unit| u16::try_from(unit).ok())
        };
        let Some(first) = unit(0) else { return Err(self.broken("four hexadecimal digits")) };
        let is_high = (0xd800..0xdc00).contains(&first);
        let units = if is_high { [Some(first), unit(6)] } else { [Some(first), None] };
        match char::decode_utf16(units.into_iter().flatten()).next() {
            Some(Ok(char)) => {
                self.advance(if is_high { 12 } else { 6 });
                Ok(char)
            }
            _ => Err(self.broken("a pair of surrogates")),
        }
    }

    /// As [`Self::expected`], inside of a string, where white space counts.
    #[cold]
    fn broken(&self, expected: &str) -> Fault {
        Fault::invalid(format!(
            "expected {expected} at byte {} of a string, found {}",
            self.at(),
            self.shown()
        ))
    }

    /// Reads `null` if it is the next.
    pub(crate) fn null(&mut self) -> bool {
        self.eat_word("null")
    }

    /// Reads `true` or `false`.
    pub(crate) fn bool(&mut self) -> Result<bool, Fault> {
        if self.eat_word("true") {
            Ok(true)
        } else if self.eat_word("false") {
            Ok(false)
        } else {
            Err(self.expected("true or false"))
        }
    }

    /// Reads an integer that is none of the negative ones, named `what` in the fault.
    pub(crate) fn unsigned<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, Fault> {
        self.skip_whitespace();
        let read = number::integer(self.rest);
        match read.and_then(|(integer, length)| Some((T::try_from(integer.unsigned()?).ok()?, length))) {
            Some((value, length)) => {
                self.advance(length);
                Ok(value)
            }
            None => Err(self.expected(what)),
        }
    }

    /// Reads over one value of any kind, checking its grammar.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        self.skip_within(self.depth)
    }

    /// Reads over a value that is read again later, by a clone of the reader. Of an array it looks only
    /// for the end: one that can be read ends where its brackets are even.
    pub(crate) fn pass(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'[') {
            return self.skip();
        }
        let mut open: usize = 0;
        while let Some(at) = self.rest.iter().position(|byte| matches!(byte, b'[' | b']' | b'"')) {
            let byte = self.rest[at];
            self.advance(at);
            match byte {
                b'"' => self.string().map(drop)?,
                _ => self.advance(1),
            }
            match byte {
                b'[' => open += 1,
                b']' if open <= 1 => return Ok(()),
                b']' => open -= 1,
                _ => {}
            }
        }
        self.advance(self.rest.len());
        Err(self.expected("`]`"))
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{' | b'[') if depth == 0 => Err(Fault::invalid(format!(
                "expected values nested at most {} deep, found deeper ones at byte {}",
                self.depth,
                self.at()
            ))),
            Some(b'{') => self.object(|reader, _| reader.skip_within(depth - 1)),
            Some(b'[') => self.array(|reader, _| reader.skip_within(depth - 1)),
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.bool().map(drop),
            Some(b'n') if self.null() => Ok(()),
            _ => match number::not_finite(self.rest)
                .map(|(_, length)| length)
                .or_else(|| number::scan(self.rest).map(|decimal| decimal.length))
            {
                Some(length) => {
                    self.advance(length);
                    Ok(())
                }
                None => Err(self.expected("a value")),
            },
        }
    }
}

/// Fills `slot` with the value of `key`.
///
/// # Errors
/// It is filled already: a key that stands twice is refused, since readers disagree on which one counts.
pub(crate) fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::invalid(format!("expected `{key}` once, found it twice"))),
    }
}

/// The value of a key that must be there.
pub(crate) fn required<T>(slot: Option<T>, key: &str) -> Result<T, Fault> {
    slot.ok_or_else(|| Fault::invalid(format!("expected `{key}`, found none")))
}

/// A name from outside, short enough for a text that people read.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
