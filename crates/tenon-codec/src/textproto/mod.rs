//! Protobuf's text format, read without a schema: what stands in a `config.pbtxt`.
//!
//! The reader gives a tree of fields in their order, each with its place. Who knows the schema asks the tree by
//! name and type and is told the place of what is wrong. It holds to its limits, recurses no deeper than they
//! allow, and takes what Protobuf's own parsers take, but for extensions and the names of `Any`.

mod reader;

use std::fmt;

use tenon_contract::{Fault, FaultKind};

/// Limits of a text.
#[derive(Clone, Copy, Debug)]
pub struct TextLimits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Messages inside messages.
    pub depth: usize,
    /// Fields, over all messages.
    pub fields: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 32, fields: 1 << 16 }
    }
}

/// A place in a text, both from 1. Columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The fields of a message, in the order of the text. A list stands as one field for each of its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    fields: Vec<Field>,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(Vec<u8>),
    /// `true`, `TYPE_FP32`.
    Word(String),
    Integer(i128),
    Decimal(f64),
    Message(Message),
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{}\"", shown(&String::from_utf8_lossy(text))),
            Self::Word(word) => format!("`{}`", shown(word)),
            Self::Integer(number) => format!("`{number}`"),
            Self::Decimal(number) => format!("`{number}`"),
            Self::Message(_) => "a message".to_owned(),
        }
    }
}

/// Reads a text.
///
/// # Errors
/// `Invalid` with line and column, `TooLarge` beyond a limit.
pub fn read(text: &[u8], limits: &TextLimits) -> Result<Message, Fault> {
    if text.len() > limits.bytes {
        let text = format!("{} bytes exceed the limit of {} bytes", text.len(), limits.bytes);
        return Err(Fault::new(FaultKind::TooLarge, text));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Fault::invalid(format!("line {line}: not UTF-8"))
    })?;
    reader::Reader::new(text, limits).message(None, 0)
}

impl Message {
    /// All fields, in the order of the text.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Refuses a field whose name is none of `known`.
    ///
    /// # Errors
    /// `Invalid` with place and name of the first.
    pub fn only(&self, known: &[&str]) -> Result<(), Fault> {
        match self.fields.iter().find(|field| !known.contains(&field.name.as_str())) {
            None => Ok(()),
            Some(field) => {
                Err(Fault::invalid(format!("{}: no such field `{}`", field.place, shown(&field.name))))
            }
        }
    }

    /// The text of a field; `None` where it does not stand there.
    ///
    /// # Errors
    /// It is no text, or stands there twice.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        self.one(name)?.map(Field::as_text).transpose()
    }

    /// The whole number of a field.
    ///
    /// # Errors
    /// It is none that fits, or stands there twice.
    pub fn integer<T: TryFrom<i128>>(&self, name: &str) -> Result<Option<T>, Fault> {
        self.one(name)?.map(Field::as_integer).transpose()
    }

    /// The whole numbers of a repeated field.
    ///
    /// # Errors
    /// One is none that fits.
    pub fn integers<T: TryFrom<i128>>(&self, name: &str) -> Result<Vec<T>, Fault> {
        self.all(name).map(Field::as_integer).collect()
    }

    /// The word of a field: one of an enumeration.
    ///
    /// # Errors
    /// It is no word, or stands there twice.
    pub fn word(&self, name: &str) -> Result<Option<&str>, Fault> {
        self.one(name)?.map(Field::as_word).transpose()
    }

    /// Whether a field is true.
    ///
    /// # Errors
    /// It is neither true nor false, or stands there twice.
    pub fn truth(&self, name: &str) -> Result<bool, Fault> {
        self.one(name)?.map_or(Ok(false), |field| match &field.value {
            Value::Word(word) if matches!(word.as_str(), "true" | "True" | "t") => Ok(true),
            Value::Word(word) if matches!(word.as_str(), "false" | "False" | "f") => Ok(false),
            Value::Integer(number @ 0..=1) => Ok(*number == 1),
            _ => Err(field.expected("`true` or `false`")),
        })
    }

    /// The message of a field.
    ///
    /// # Errors
    /// It is none, or stands there twice.
    pub fn message(&self, name: &str) -> Result<Option<&Message>, Fault> {
        self.one(name)?.map(Field::as_message).transpose()
    }

    /// The messages of a repeated field.
    ///
    /// # Errors
    /// One is none.
    pub fn messages(&self, name: &str) -> Result<Vec<&Message>, Fault> {
        self.all(name).map(Field::as_message).collect()
    }

    /// A field that stands once at most.
    ///
    /// # Errors
    /// It stands there twice.
    pub fn one(&self, name: &str) -> Result<Option<&Field>, Fault> {
        let mut all = self.all(name);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(second) => Err(Fault::invalid(format!("{}: `{name}` stands there twice", second.place))),
        }
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Field> {
        self.fields.iter().filter(move |field| field.name == name)
    }
}

impl Field {
    fn as_text(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Text(text) => std::str::from_utf8(text).map_err(|_| self.expected("UTF-8")),
            _ => Err(self.expected("a text in quotes")),
        }
    }

    fn as_integer<T: TryFrom<i128>>(&self) -> Result<T, Fault> {
        match &self.value {
            Value::Integer(number) => T::try_from(*number).map_err(|_| self.expected("a number in range")),
            _ => Err(self.expected("a whole number")),
        }
    }

    fn as_word(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Word(word) => Ok(word),
            _ => Err(self.expected("a word")),
        }
    }

    fn as_message(&self) -> Result<&Message, Fault> {
        match &self.value {
            Value::Message(message) => Ok(message),
            _ => Err(self.expected("a message in `{}`")),
        }
    }

    /// What is wrong with the field's value.
    pub fn expected(&self, what: &str) -> Fault {
        let (name, found) = (shown(&self.name), self.value.describe());
        Fault::invalid(format!("{}: `{name}`: expected {what}, found {found}", self.place))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Message {
        read(text.as_bytes(), &TextLimits::default()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn what_protobuf_takes_is_taken() {
        let message = parsed(
            r#"
            # a comment
            name: "di" 'gits'  platform: "onnxruntime_onnx",
            max_batch_size: 0x10; scale: -1.5e-3f  odd: 010 far: -inf
            input [ { name: "x" dims: [ -1, 3 ] data_type: TYPE_FP32 }, < name: 'y' dims: 4 dims: 5 > ]
            version_policy: { latest { num_versions: 2 } }
            empty: [] raw: "\x41\102\n\u00e9""#,
        );
        assert_eq!(message.text("name").unwrap(), Some("digits"));
        assert_eq!(message.integer::<i32>("max_batch_size").unwrap(), Some(16));
        assert_eq!(message.integer::<i32>("odd").unwrap(), Some(8));
        assert_eq!(message.one("scale").unwrap().unwrap().value, Value::Decimal(-1.5e-3));
        assert_eq!(message.one("far").unwrap().unwrap().value, Value::Decimal(f64::NEG_INFINITY));
        let inputs = message.messages("input").unwrap();
        assert_eq!(inputs[0].integers::<i64>("dims").unwrap(), [-1, 3]);
        assert_eq!(inputs[1].integers::<i64>("dims").unwrap(), [4, 5]);
        assert_eq!(inputs[0].word("data_type").unwrap(), Some("TYPE_FP32"));
        let latest = message.message("version_policy").unwrap().unwrap().message("latest").unwrap().unwrap();
        assert_eq!(latest.integer::<u32>("num_versions").unwrap(), Some(2));
        assert_eq!(message.text("raw").unwrap(), Some("AB\n\u{e9}"));
        assert_eq!((message.text("empty").unwrap(), message.truth("empty").unwrap()), (None, false));
        assert_eq!(parsed(""), Message::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let check = |text: &str, expected: &str| {
            let fault = read(text.as_bytes(), &TextLimits::default()).unwrap_err().to_string();
            assert_eq!(fault, expected, "{text}");
        };
        check("name 1", "line 1, column 6: expected `:` or `{`, found `1`");
        check("a: 1\n  }", "line 2, column 3: expected the name of a field, found `}`");
        check("a { b: 1", "line 1, column 9: expected the name of a field, found the end");
        check("a: \"x\ny\"", "line 1, column 6: expected `\"` at the end of the text, found `\\n`");
        check("a: [1 2]", "line 1, column 7: expected `,` or `]`, found `2`");
        check("a: 12x", "line 1, column 4: expected a number, found `12x`");
        check("a: -", "line 1, column 4: expected a number, found `-`");
        check(
            "a: 99999999999999999999999x",
            "line 1, column 4: expected a number, found `99999999999999999999999x`",
        );
        check("[type.googleapis.com/x]: 1", "line 1, column 1: extensions and `Any` are not read");
        check("a: \"\\q\"", "line 1, column 6: no such escape");
        check("a: \"\\ud800\"", "line 1, column 11: no such character");
        check("a: \"\\777\"", "line 1, column 9: the escape is no byte");
        let fault = read(b"a: 1\nb: \xff", &TextLimits::default()).unwrap_err();
        assert_eq!(fault.text, "line 2: not UTF-8");
        let ask = |fault: Result<(), Fault>, expected: &str| assert_eq!(fault.unwrap_err().text, expected);
        let message = parsed("a: 1 a: 2\nb: \"x\"");
        ask(message.integer::<i64>("a").map(drop), "line 1, column 6: `a` stands there twice");
        ask(
            message.integer::<i64>("b").map(drop),
            "line 2, column 1: `b`: expected a whole number, found \"x\"",
        );
        ask(message.only(&["a"]), "line 2, column 1: no such field `b`");
        ask(
            parsed("a: -1").integer::<u32>("a").map(drop),
            "line 1, column 1: `a`: expected a number in range, found `-1`",
        );
    }

    #[test]
    fn limits_hold() {
        let limits = TextLimits { bytes: 40, depth: 3, fields: 5 };
        let check = |text: &str, expected: &str| {
            let fault = read(text.as_bytes(), &limits).unwrap_err();
            assert_eq!((fault.kind, fault.text.as_str()), (FaultKind::TooLarge, expected));
        };
        check(&"a".repeat(41), "41 bytes exceed the limit of 40 bytes");
        check("a{a{a{a{}}}}", "line 1, column 9: more than 3 messages inside each other");
        check("a: [1,2,3,4,5,6]", "line 1, column 16: more than 5 fields");
        assert!(read(b"a{a{a{}}}", &limits).is_ok());
        let deep = "a{".repeat(500_000);
        assert!(read(deep.as_bytes(), &TextLimits::default()).is_err(), "the stack holds");
    }
}
