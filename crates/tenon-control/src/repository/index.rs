//! What is told of a repository: each version that is not served, with the reason.

use std::sync::{Arc, PoisonError};

use tenon_contract::ServiceName;
use tenon_contract::admin::{RepositoryView, Unserved};

use super::{Repository, Seen, State};

impl Seen<'_> {
    /// Why nothing of the model can be served.
    pub(super) fn reason(&self) -> &str {
        let of_version = self.found.versions.iter().find_map(|version| version.offer.as_ref().err());
        self.found
            .reason
            .as_ref()
            .or(of_version)
            .map_or("its version policy keeps no version", String::as_str)
    }
}

impl Repository {
    /// Tells of everything that a look found.
    pub(super) fn publish(&self, state: &State, seen: &[Seen<'_>]) {
        let mut index = RepositoryView::default();
        for model in seen {
            self.tell(state, model, &mut index);
        }
        for (name, made) in &state.memory.handled {
            let is_gone = !seen.iter().any(|model| model.found.name == *name);
            let live = name.parse().ok().and_then(|service: ServiceName| self.live(&service));
            if let Some(live) = live.filter(|_| is_gone) {
                let version =
                    if live == made.version { live.to_string() } else { format!("{live} (by hand)") };
                let text = format!(
                    "its folder is gone from the repository; {version} serves on until it is unloaded"
                );
                index.notes.insert(name.clone(), text);
            }
        }
        self.exchange(index);
    }

    /// Tells of one model anew.
    pub(super) fn publish_one(&self, state: &State, model: &Seen<'_>) {
        let mut index = (*self.index()).clone();
        index.unserved.retain(|entry| entry.name != model.found.name);
        index.notes.remove(&model.found.name);
        self.tell(state, model, &mut index);
        self.exchange(index);
    }

    /// Tells that nothing can be told.
    pub(super) fn publish_outage(&self, state: &State) {
        let reason = state.outage.clone().unwrap_or_default();
        let mut index = (*self.index()).clone();
        for (name, made) in &state.memory.handled {
            index.notes.insert(name.clone(), format!("{reason}; {} serves on", made.version));
        }
        self.exchange(index);
    }

    fn tell(&self, state: &State, model: &Seen<'_>, index: &mut RepositoryView) {
        let name = &model.found.name;
        let entry =
            |version, reason: String, trouble| Unserved { name: name.clone(), version, reason, trouble };
        if let Some(reason) = &model.found.reason {
            index.unserved.push(entry(None, reason.clone(), true));
        }
        let service = match name.parse::<ServiceName>() {
            _ if model.is_second => {
                return index.unserved.push(entry(
                    None,
                    "another model of the repository has this name".to_owned(),
                    true,
                ));
            }
            Ok(service) => service,
            Err(error) => return index.unserved.push(entry(None, error.to_string(), true)),
        };
        let live = self.live(&service);
        let is_out = live.is_none() && state.memory.handled.contains_key(name);
        for (version, seen) in model.found.versions.iter().zip(&model.versions) {
            let refused = state.tried.get(&(name.clone(), seen.files)).map(|tried| tried.fault.text.clone());
            let trouble = version.offer.as_ref().err().cloned().or(refused);
            let number = version.number;
            if live.as_ref().is_some_and(|live| number.is_none_or(|number| number == live.number)) {
                if let Some(reason) = trouble {
                    index.notes.insert(name.clone(), format!("its files have changed: {reason}"));
                }
                continue;
            }
            let (reason, trouble) = match (trouble, &live) {
                (Some(reason), _) if version.kept => (reason, true),
                _ if !version.kept => ("the version policy leaves it out".to_owned(), false),
                _ if !seen.is_settled => ("it is still being written".to_owned(), false),
                _ if is_out => ("taken out; load it".to_owned(), false),
                (_, Some(live)) => {
                    (format!("version {} answers; a service has one live version", live.number), false)
                }
                _ => ("waits for its turn".to_owned(), false),
            };
            index.unserved.push(entry(number, reason, trouble));
        }
        let is_there =
            |number: u64| model.found.versions.iter().any(|version| version.number == Some(number));
        let has_numbers = model.found.versions.iter().any(|version| version.number.is_some());
        if let Some(live) = live.filter(|live| has_numbers && !is_there(live.number)) {
            let text = format!("version {} is gone from the repository; it serves on", live.number);
            index.notes.insert(name.clone(), text);
        }
    }

    /// Puts an index in the place of the last one, and logs what is new in it.
    fn exchange(&self, index: RepositoryView) {
        let last = self.index();
        for entry in index.unserved.iter().filter(|entry| entry.trouble && !last.unserved.contains(entry)) {
            let Unserved { name, version, reason, .. } = entry;
            tracing::warn!(model = name, version, reason, "not served from the repository");
        }
        for (name, note) in index.notes.iter().filter(|(name, note)| last.notes.get(*name) != Some(note)) {
            tracing::warn!(service = name, note, "of what is served from the repository");
        }
        *self.0.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }
}
