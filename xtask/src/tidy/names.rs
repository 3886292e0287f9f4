//! Rule: names say what a thing is. Some words say nothing, whatever they stand on.

use super::Finding;
use crate::house::House;

/// Words that no crate, folder, file or type bears; singular and plural.
const SAY_NOTHING: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "managers"];
const TO_DO: &str = "name it after what it does or holds; move what has no common noun to where it is used";

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &house.packages {
        if let Some(word) = empty_word(&package.name) {
            findings.push(Finding::new(
                format!("crate {}", package.name),
                format!("`{word}` says nothing"),
                TO_DO,
            ));
        }
    }
    for source in &house.sources {
        if let Some(word) = source.path.trim_end_matches(".rs").split('/').find_map(empty_word) {
            findings.push(Finding::new(&source.path, format!("`{word}` in its path says nothing"), TO_DO));
        }
        for (number, line) in source.text.lines().enumerate() {
            if let Some((name, word)) = type_name(line).and_then(|name| Some((name, empty_word(name)?))) {
                let place = format!("{}:{}", source.path, number + 1);
                findings.push(Finding::new(place, format!("`{word}` in `{name}` says nothing"), TO_DO));
            }
        }
    }
    findings
}

/// The first word in `snake_case`, `kebab-case` or `CamelCase` that says nothing.
fn empty_word(name: &str) -> Option<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        words
            .last_mut()
            .expect("is never empty")
            .extend(letter.to_lowercase().filter(|l| l.is_alphanumeric()));
    }
    words.into_iter().find(|word| SAY_NOTHING.contains(&word.as_str()))
}

/// The name, where a line declares a type or a trait.
fn type_name(line: &str) -> Option<&str> {
    let mut words = line
        .split_whitespace()
        .skip_while(|word| word.starts_with("pub") || *word == "unsafe" || word.ends_with(')'));
    if !matches!(words.next()?, "struct" | "enum" | "union" | "trait" | "type") {
        return None;
    }
    words.next()?.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_case() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(empty_word(name).as_deref(), expected, "{name}");
        check("ModelManager", Some("manager"));
        check("HelperOf", Some("helper"));
        check("json_utils", Some("utils"));
        check("tenon-common", Some("common"));
        check("mod", None);
        check("Uncommon", None);
        check("ManagerialStyle", None);
    }

    #[test]
    fn declarations_of_types_are_found() {
        let check = |line: &str, expected: Option<&str>| assert_eq!(type_name(line), expected, "{line}");
        check("pub struct Node<T> {", Some("Node"));
        check("    pub(crate) enum Fault {", Some("Fault"));
        check("pub(in crate::a) trait Runtime: Send {", Some("Runtime"));
        check("type Rule = fn();", Some("Rule"));
        check("unsafe trait Bare {}", Some("Bare"));
        check("/// a struct Manager", None);
        check("let type_name = 1;", None);
    }
}
