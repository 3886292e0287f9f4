//! `docs/reference/api.md`: the description of the API for people, made of `openapi.json`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

#[test]
fn the_page_of_the_api_is_as_described() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/api.md");
    let page = page(&serde_json::from_str(tenon_api::OPENAPI).unwrap());
    #[expect(clippy::disallowed_methods, reason = "a switch of this test, no configuration")]
    if std::env::var_os("TENON_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    let mend = "TENON_BLESS=1 cargo test --release -p tenon-api --test stories the_page_of_the_api";
    assert!(held == page, "docs/reference/api.md is another than openapi.json; `{mend}` writes it");
}

fn page(description: &Value) -> String {
    let mut page = "# The HTTP API\n\n\
        Made of [openapi.json](openapi.json), which the server gives out under `/api/v1/openapi.json`; do not edit. \
        Routes of protocols\nthat are known and refused stand in [routes.md](routes.md), gRPC in [grpc.md](grpc.md).\n\n\
        ## Who may\n\n| | |\n|---|---|\n"
        .to_owned();
    for (scope, scheme) in object(&description["components"]["securitySchemes"]) {
        row(&mut page, &[format!("`{scope}`"), text(&scheme["description"])]);
    }
    page += "\nA token goes into the header `authorization: Bearer TOKEN`.\n";
    let mut tags: Vec<String> = Vec::new();
    for (_, _, operation) in operations(description) {
        let tag = text(&operation["tags"][0]);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    for tag in tags {
        let of_tag = operations(description).filter(|(_, _, operation)| operation["tags"][0] == *tag);
        let _ = write!(page, "\n## Routes: {tag}\n\n| | who | takes | gives | |\n|---|---|---|---|---|\n");
        for (path, method, operation) in of_tag {
            let cells = [
                format!("`{} {path}`", method.to_uppercase()),
                who(operation),
                takes(operation),
                gives(operation),
                text(&operation["summary"]),
            ];
            row(&mut page, &cells);
        }
    }
    page += "\n## Documents\n";
    for (name, schema) in object(&description["components"]["schemas"]) {
        let _ = write!(page, "\n### {name}\n");
        document(&mut page, schema);
    }
    page
}

/// Path, method and operation of every route.
fn operations(description: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    object(&description["paths"]).iter().flat_map(|(path, methods)| {
        let methods = object(methods).iter().filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, operation)| (path, method, operation))
    })
}

fn who(operation: &Value) -> String {
    let scopes = operation["security"].as_array().into_iter().flatten().flat_map(object);
    let scopes: Vec<_> = scopes.map(|(scope, _)| format!("`{scope}`")).collect();
    if scopes.is_empty() { "everybody".to_owned() } else { scopes.join(" or ") }
}

fn takes(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let mut taken: Vec<String> = parameters
        .map(|parameter| format!("{} `{}`", text(&parameter["in"]), text(&parameter["name"])))
        .collect();
    taken.extend(contents(&operation["requestBody"]));
    taken.join("; ")
}

fn gives(operation: &Value) -> String {
    let answers = object(&operation["responses"]).iter().filter(|(status, _)| *status != "default");
    let given = answers.map(|(status, answer)| {
        [Some(status.clone()), contents(answer)].into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    given.collect::<Vec<_>>().join("; ")
}

/// The documents of a body, or its media types where it is none.
fn contents(body: &Value) -> Option<String> {
    let content = body["content"].as_object()?;
    let named = content.iter().map(|(media_type, content)| match &content["schema"] {
        schema if media_type == "application/json" => kind(schema),
        _ => format!("`{media_type}`"),
    });
    Some(named.collect::<Vec<_>>().join(", "))
}

fn document(page: &mut String, schema: &Value) {
    if let Some(description) = schema["description"].as_str() {
        let _ = write!(page, "\n{description}\n");
    }
    let Some(fields) = schema["properties"].as_object() else {
        let _ = write!(page, "\n{}\n", sentence(&kind(schema)));
        return;
    };
    let required = schema["required"].as_array();
    page.push_str("\n| field | | |\n|---|---|---|\n");
    for (name, field) in fields {
        let is_required = required.is_some_and(|all| all.iter().any(|required| *required == **name));
        let optional = if is_required { "" } else { ", may be left out" };
        row(page, &[format!("`{name}`"), format!("{}{optional}", kind(field)), text(&field["description"])]);
    }
}

/// What a value is, in words.
fn kind(schema: &Value) -> String {
    let listed = |all: &Value, between: &str| {
        let all = all.as_array().into_iter().flatten();
        all.map(kind).collect::<Vec<_>>().join(between)
    };
    if let Some(pointer) = schema["$ref"].as_str() {
        let name = pointer.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", plain(value))).collect::<Vec<_>>().join(", ");
    }
    for key in ["oneOf", "anyOf"] {
        if schema[key].is_array() {
            return listed(&schema[key], " or ");
        }
    }
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(plain).collect::<Vec<_>>().join(" or "),
        Value::String(kind_) if kind_ == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(kind_) if kind_ == "object" => match &schema["additionalProperties"] {
            of @ Value::Object(_) => format!("object of {}", kind(of)),
            _ => match schema["properties"].as_object() {
                Some(fields) => {
                    let names = fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>();
                    format!("object with {}", names.join(", "))
                }
                None => "object".to_owned(),
            },
        },
        Value::String(kind) => kind.clone(),
        _ => "any value".to_owned(),
    }
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

fn row(page: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("the description holds an object here")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
