//! The reference pages say what the server does.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::house::{House, question};

const TABLE: &str = include_str!("../../../../docs/reference/routes.md");

#[test]
fn the_description_lists_the_routes_of_the_router_and_no_others() {
    let description: Value = serde_json::from_str(tenon_api::OPENAPI).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
        described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let answered: BTreeSet<_> =
        tenon_api::routes().iter().map(|(method, path)| format!("{method} {path}")).collect();
    let missing: Vec<_> = answered.difference(&described).collect();
    let invented: Vec<_> = described.difference(&answered).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:#?}, invented {invented:#?}");
}

#[test]
fn the_description_refers_to_what_it_defines() {
    let description: Value = serde_json::from_str(tenon_api::OPENAPI).unwrap();
    let mut open = vec![&description];
    while let Some(value) = open.pop() {
        if let Some(pointer) = value.get("$ref").and_then(Value::as_str) {
            assert!(description.pointer(pointer.trim_start_matches('#')).is_some(), "{pointer}");
        }
        match value {
            Value::Object(members) => open.extend(members.values()),
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

/// A row of the table: `| METHOD | path | answers | ... |` or `| METHOD | path | refuses STATUS | ... |`.
struct Row {
    method: Method,
    path: String,
    refused: Option<u16>,
}

fn rows() -> Vec<Row> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let row = |cells: Vec<&str>| {
        let refused = cells[2].strip_prefix("refuses ").map(|status| status.parse().unwrap());
        assert!(refused.is_some() || cells[2] == "answers", "{cells:?}");
        Row { method: cells[0].parse().unwrap(), path: cells[1].trim_matches('`').to_owned(), refused }
    };
    let is_row = |line: &&str| line.starts_with("| GET ") || line.starts_with("| POST ");
    TABLE.lines().filter(is_row).map(cells).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_table_holds() {
    let house = House::serving().await;
    let rows = rows();
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        let path =
            row.path.replace("{m}", "s").replace("{v}", "1").replace("{r}", "r").replace("{repo}", "r");
        let mut ask = house.ask(row.method.clone(), &path).admin();
        if path.ends_with("/infer") {
            ask = ask.body(question(1.0));
        }
        let answer = ask.send().await;
        match row.refused {
            // Every text says behind the semicolon what to do instead.
            Some(status) => answer.refused(status, "; "),
            None => assert_eq!(answer.status, 200, "{} {path}: {}", row.method, answer.text()),
        }
        if path.ends_with("/unload") {
            house.post("/v2/repository/models/s/load").admin().send().await.ok();
        }
    }
}
