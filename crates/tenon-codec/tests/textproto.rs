//! Whatever stands in a text, the reader of Protobuf's text format neither panics nor runs away, and what was
//! written reads back.

use proptest::collection::vec;
use proptest::prelude::*;
use tenon_codec::textproto::{TextLimits, read};

/// Pieces of texts, put together without sense.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        "name",
        ":",
        "{",
        "}",
        "<",
        ">",
        "[",
        "]",
        ",",
        ";",
        "\"",
        "'",
        "\\",
        "\\x",
        "\\u12",
        "-",
        ".",
        "0x",
        "09",
        "1e9",
        "1e",
        "inf",
        "nan",
        "#",
        "\n",
        " ",
        "\t",
        "\u{0}",
        "\u{e9}",
        "\"x\"",
        "18446744073709551616",
    ];
    prop_oneof![4 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => ".{0,4}"]
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, &TextLimits::default());
    }

    #[test]
    fn no_pieces_break_it(pieces in vec(piece(), 0..60)) {
        let text = pieces.concat();
        if let Err(fault) = read(text.as_bytes(), &TextLimits::default()) {
            prop_assert!(fault.text.starts_with("line "), "{}", fault);
        }
    }

    #[test]
    fn what_is_written_reads_back(dims in vec(any::<i64>(), 0..6), name in "[a-zA-Z0-9 _./-]{0,20}", deep in 0..20_usize) {
        let list = dims.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let inner = format!("name: \"{name}\" dims: [{list}]");
        let text = format!("{}{inner}{}", "m { ".repeat(deep), " }".repeat(deep));
        let read = read(text.as_bytes(), &TextLimits::default()).unwrap();
        let mut message = &read;
        for _ in 0..deep {
            message = message.message("m").unwrap().unwrap();
        }
        prop_assert_eq!(message.text("name").unwrap(), Some(name.as_str()));
        prop_assert_eq!(message.integers::<i64>("dims").unwrap(), dims);
    }
}
