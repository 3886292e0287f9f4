//! `tenon config`: every setting of a server with its value and its origin.

use serde_json::json;

use super::failure::Outcome;
use super::output;
use super::serve::SettingArgs;
use crate::config::KEYS;
use crate::row;

/// Show every setting of a server with its origin
///
/// Reads what `tenon serve` would read: `tenon.toml`, the environment and these flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.json
    }
}

/// Shows the settings.
pub async fn run(args: Args) -> Outcome {
    let raw = args.settings.raw()?;
    raw.check()?;
    let settings: Vec<_> = raw
        .iter()
        .map(|(key, given)| {
            let about = KEYS.iter().find(|known| known.name == key).map_or("", |known| known.about);
            json!({ "key": key, "value": given.value, "origin": given.origin.to_string(), "about": about })
        })
        .collect();
    output::show(args.json, &settings, |settings| {
        let mut rows = vec![row!["SETTING", "VALUE", "ORIGIN", "WHAT IT IS"]];
        let text = |value: &serde_json::Value| match value.as_str() {
            Some("") => "-".to_owned(),
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        rows.extend(settings.iter().map(|setting| {
            row![
                text(&setting["key"]),
                text(&setting["value"]),
                text(&setting["origin"]),
                text(&setting["about"])
            ]
        }));
        output::table(&rows)
    });
    Ok(())
}
