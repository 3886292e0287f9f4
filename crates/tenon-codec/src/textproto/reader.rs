//! The reader of the text format: one pass, one letter ahead, with line and column counted as it goes.

use tenon_contract::{Fault, FaultKind};

use super::{Field, Message, Place, TextLimits, Value, shown};

/// A place in a text, and what may still come behind it.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    place: Place,
    /// Fields that may still come.
    fields: usize,
    limits: &'a TextLimits,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a text.
    pub(super) fn new(text: &'a str, limits: &'a TextLimits) -> Self {
        Self { text, at: 0, place: Place { line: 1, column: 1 }, fields: limits.fields, limits }
    }

    /// The fields up to `close`, or to the end of the text.
    pub(super) fn message(&mut self, close: Option<char>, depth: usize) -> Result<Message, Fault> {
        if depth > self.limits.depth {
            return Err(self.exceeds("messages inside each other", self.limits.depth));
        }
        let mut message = Message::default();
        loop {
            self.skip_blank();
            match self.peek() {
                found if found == close => {
                    self.advance();
                    return Ok(message);
                }
                Some(letter) if letter.is_ascii_alphabetic() || letter == '_' => {
                    self.field(&mut message, depth)?;
                }
                Some('[') => return Err(self.wrong("extensions and `Any` are not read")),
                _ => return Err(self.expected("the name of a field")),
            }
            self.skip_blank();
            if matches!(self.peek(), Some(',' | ';')) {
                self.advance();
            }
        }
    }

    fn field(&mut self, message: &mut Message, depth: usize) -> Result<(), Fault> {
        let place = self.place;
        let name = self.word();
        self.skip_blank();
        let colon = self.peek() == Some(':');
        if colon {
            self.advance();
            self.skip_blank();
        }
        if self.peek() != Some('[') {
            let value = self.value(colon, depth)?;
            return self.keep(message, Field { name, place, value });
        }
        self.advance();
        self.skip_blank();
        if self.peek() == Some(']') {
            self.advance();
            return Ok(());
        }
        loop {
            let place = self.place;
            let value = self.value(colon, depth)?;
            self.keep(message, Field { name: name.clone(), place, value })?;
            self.skip_blank();
            match self.peek() {
                Some(',') => self.advance(),
                Some(']') => {
                    self.advance();
                    return Ok(());
                }
                _ => return Err(self.expected("`,` or `]`")),
            }
            self.skip_blank();
        }
    }

    fn keep(&mut self, message: &mut Message, field: Field) -> Result<(), Fault> {
        self.fields = match self.fields.checked_sub(1) {
            Some(left) => left,
            None => return Err(self.exceeds("fields", self.limits.fields)),
        };
        message.fields.push(field);
        Ok(())
    }

    /// A value. Without a colon before it, only a message may stand there.
    fn value(&mut self, colon: bool, depth: usize) -> Result<Value, Fault> {
        match self.peek() {
            Some('{') => {
                self.advance();
                Ok(Value::Message(self.message(Some('}'), depth + 1)?))
            }
            Some('<') => {
                self.advance();
                Ok(Value::Message(self.message(Some('>'), depth + 1)?))
            }
            _ if !colon => Err(self.expected("`:` or `{`")),
            Some('"' | '\'') => self.texts().map(Value::Text),
            Some(letter) if letter.is_ascii_alphabetic() || letter == '_' => {
                let word = self.word();
                Ok(not_a_number(&word, false).unwrap_or(Value::Word(word)))
            }
            Some('-' | '.' | '0'..='9') => self.number(),
            _ => Err(self.expected("a value")),
        }
    }

    /// Texts that stand behind each other are one.
    fn texts(&mut self) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        while let Some(quote @ ('"' | '\'')) = self.peek() {
            self.advance();
            self.text_into(quote, &mut bytes)?;
            self.skip_blank();
        }
        Ok(bytes)
    }

    fn text_into(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(letter) if letter == quote => {
                    self.advance();
                    return Ok(());
                }
                None | Some('\n') => return Err(self.expected(&format!("`{quote}` at the end of the text"))),
                Some('\\') => {
                    self.advance();
                    self.escape_into(bytes)?;
                }
                Some(letter) => {
                    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    self.advance();
                }
            }
        }
    }

    fn escape_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let letter = self.peek().ok_or_else(|| self.expected("an escaped letter"))?;
        let single = match letter {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '?' => letter as u8,
            '0'..='7' => return self.coded(8, 3).and_then(|code| self.byte(code, bytes)),
            'x' | 'X' => {
                self.advance();
                return self.coded(16, 2).and_then(|code| self.byte(code, bytes));
            }
            'u' | 'U' => {
                self.advance();
                let digits = if letter == 'u' { 4 } else { 8 };
                let code = self.coded(16, digits)?;
                let scalar = char::from_u32(code).ok_or_else(|| self.wrong("no such character"))?;
                bytes.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.wrong("no such escape")),
        };
        self.advance();
        bytes.push(single);
        Ok(())
    }

    fn byte(&self, code: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        bytes.push(u8::try_from(code).map_err(|_| self.wrong("the escape is no byte"))?);
        Ok(())
    }

    /// One to `most` digits.
    fn coded(&mut self, radix: u32, most: usize) -> Result<u32, Fault> {
        let mut code = None;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|letter| letter.to_digit(radix)) else { break };
            // Eight hexadecimal digits are the most that come in here: they fit.
            code = Some(code.unwrap_or(0) * radix + digit);
            self.advance();
        }
        code.ok_or_else(|| self.expected("a digit"))
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let (from, place) = (self.at, self.place);
        let negative = self.peek() == Some('-');
        if negative {
            self.advance();
            self.skip_blank();
        }
        if self.peek().is_some_and(|letter| letter.is_ascii_alphabetic()) {
            let word = self.word();
            return not_a_number(&word, negative).ok_or_else(|| wrong_at(place, "expected a number"));
        }
        let digits = self.at;
        let mut before = ' ';
        while let Some(letter) = self.peek() {
            // A sign belongs to a number only behind its exponent.
            let is_sign = matches!(letter, '+' | '-') && matches!(before, 'e' | 'E');
            if !letter.is_ascii_alphanumeric() && letter != '.' && !is_sign {
                break;
            }
            before = letter;
            self.advance();
        }
        let text = &self.text[digits..self.at];
        let value = integer(text)
            .map(|number| Value::Integer(if negative { -number } else { number }))
            .or_else(|| decimal(text).map(|number| Value::Decimal(if negative { -number } else { number })));
        value.ok_or_else(|| {
            wrong_at(place, &format!("expected a number, found `{}`", shown(&self.text[from..self.at])))
        })
    }

    fn word(&mut self) -> String {
        let from = self.at;
        while self.peek().is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            self.advance();
        }
        self.text[from..self.at].to_owned()
    }

    fn skip_blank(&mut self) {
        while let Some(letter) = self.peek() {
            if letter == '#' {
                while self.peek().is_some_and(|letter| letter != '\n') {
                    self.advance();
                }
            } else if letter.is_ascii_whitespace() || letter == '\u{b}' {
                self.advance();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn advance(&mut self) {
        let Some(letter) = self.peek() else { return };
        self.at += letter.len_utf8();
        match letter {
            '\n' => self.place = Place { line: self.place.line + 1, column: 1 },
            _ => self.place.column += 1,
        }
    }

    fn wrong(&self, what: &str) -> Fault {
        wrong_at(self.place, what)
    }

    fn expected(&self, what: &str) -> Fault {
        let found =
            self.peek().map_or_else(|| "the end".to_owned(), |letter| format!("`{}`", letter.escape_debug()));
        self.wrong(&format!("expected {what}, found {found}"))
    }

    fn exceeds(&self, what: &str, limit: usize) -> Fault {
        Fault::new(FaultKind::TooLarge, format!("{}: more than {limit} {what}", self.place))
    }
}

fn wrong_at(place: Place, what: &str) -> Fault {
    Fault::invalid(format!("{place}: {what}"))
}

/// Decimal, octal behind `0` or hexadecimal behind `0x`, within 64 bits.
fn integer(text: &str) -> Option<i128> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+')).map(i128::from)
}

fn decimal(text: &str) -> Option<f64> {
    let text = text.strip_suffix(['f', 'F']).unwrap_or(text);
    text.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        .then(|| text.parse().ok())
        .flatten()
}

fn not_a_number(word: &str, negative: bool) -> Option<Value> {
    let infinity = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    match word.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => Some(Value::Decimal(infinity)),
        "nan" => Some(Value::Decimal(f64::NAN)),
        _ => None,
    }
}
