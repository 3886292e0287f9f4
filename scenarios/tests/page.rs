//! The page in a real browser: what is picked, dropped or pasted there comes back with boxes.
//!
//! Where there is no Chromium the test says so. What is done and seen stands in `scenarios/browser/page.py`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tenon_scenarios::binary::repository;
use tenon_scenarios::server::{Home, Server, Start};
use tenon_scenarios::skip;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

#[test]
fn pictures_are_tried_on_the_page() {
    try_page(None);
}

#[test]
fn the_page_asks_for_a_token_where_one_is_needed() {
    try_page(Some("token-of-the-page"));
}

fn try_page(token: Option<&str>) {
    let Some(browser) = browser() else {
        return skip("there is no Chromium (Debian: apt-get install chromium)");
    };
    let home = Home::new().unwrap();
    let flags = vec!["--demo".to_owned(), "fixtures/scenes".to_owned()];
    let mut start = Start { flags, ..Start::default() };
    if let Some(token) = token {
        let file = home.path("outside/infer.token");
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        start = start.with("TENON_ACCESS_INFER_TOKEN_FILE", &file.display().to_string());
    }
    let server = Server::start(&home, &start).unwrap();
    let admin = std::fs::read_to_string(server.data().join("admin.token")).unwrap();
    let output = Command::new("python3")
        .arg(repository().join("scenarios/browser/page.py"))
        .arg(browser)
        .args([&format!("127.0.0.1:{}", server.port()), admin.trim()])
        .arg(repository())
        .args(token)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), home.log());
}

fn browser() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "the environment of a developer, not of a server")]
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|binary| binary.is_file())
}
