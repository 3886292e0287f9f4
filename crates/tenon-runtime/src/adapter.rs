//! Adapters: declared transformations around a model that make it offer a contract of its own.
//!
//! A bundle declares one in the table `[adapter]` of its `model.toml`; `kind` names who reads the rest.
//! [`crate::Runtimes::adapting`] puts adapters around every runtime, so that whoever loads a bundle gets the
//! wrapped model without knowing of adapters.

use std::sync::Arc;

use tenon_contract::Format;

use crate::bundle::MANIFEST;
use crate::{Bundle, LoadError, LoadOptions, Model, Runtime};

/// Wraps models as bundles declare.
pub trait Adapter: Send + Sync {
    /// The `kind` of the tables that it reads.
    fn kind(&self) -> &str;

    /// Name and version of its arithmetic, part of the proof's key of every model it wraps.
    fn build(&self) -> &str;

    /// The model with what the bundle's table `[adapter]` declares before and behind it.
    ///
    /// # Errors
    /// The table is wrong, names a file that is not in the bundle, or does not fit the model; the text names
    /// the key.
    fn wrap(&self, bundle: &Bundle, model: Arc<dyn Model>) -> Result<Box<dyn Model>, LoadError>;
}

/// A runtime whose models are wrapped as their bundles declare.
pub(crate) struct Adapted {
    runtime: Arc<dyn Runtime>,
    adapters: Arc<[Arc<dyn Adapter>]>,
}

impl Adapted {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, adapters: Arc<[Arc<dyn Adapter>]>) -> Self {
        Self { runtime, adapters }
    }

    /// The adapter that a bundle asks for, where it asks for one.
    fn adapter(&self, bundle: &Bundle) -> Result<Option<&Arc<dyn Adapter>>, LoadError> {
        let Some(table) = &bundle.manifest().adapter else { return Ok(None) };
        let known: Vec<_> = self.adapters.iter().map(|adapter| format!("\"{}\"", adapter.kind())).collect();
        let known = known.join(", ");
        let refused = |text: String| LoadError::malformed(MANIFEST, format!("adapter: {text}"));
        let kind = table.get("kind").and_then(toml::Value::as_str);
        let kind =
            kind.ok_or_else(|| refused(format!("key `kind` is missing; this build has kind = {known}")))?;
        let found = self.adapters.iter().find(|adapter| adapter.kind() == kind);
        let kind: String = kind.chars().take(80).collect();
        found
            .map(Some)
            .ok_or_else(|| refused(format!("kind = \"{kind}\" is unknown; this build has kind = {known}")))
    }
}

impl Runtime for Adapted {
    fn build(&self) -> &str {
        self.runtime.build()
    }

    fn build_for(&self, bundle: &Bundle) -> String {
        let own = self.runtime.build_for(bundle);
        match self.adapter(bundle) {
            Ok(Some(adapter)) => format!("{own} + {}", adapter.build()),
            _ => own,
        }
    }

    fn builds(&self) -> Vec<String> {
        let mut builds = self.runtime.builds();
        for own in builds.clone() {
            builds.extend(self.adapters.iter().map(|adapter| format!("{own} + {}", adapter.build())));
        }
        builds
    }

    fn formats(&self) -> &[Format] {
        self.runtime.formats()
    }

    fn recognise(&self, bytes: &[u8]) -> Option<Format> {
        self.runtime.recognise(bytes)
    }

    fn load(&self, bundle: &Bundle, options: &LoadOptions) -> Result<Box<dyn Model>, LoadError> {
        // A wrong name is told before anything large is loaded.
        let adapter = self.adapter(bundle)?;
        let model = self.runtime.load(bundle, options)?;
        match adapter {
            Some(adapter) => adapter.wrap(bundle, Arc::from(model)),
            None => Ok(model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write as _};

    use crate::toy::{Affine, Toy};
    use crate::{BundleLimits, Chain, Runtimes};

    /// Adds one to what the model gives.
    struct PlusOne;

    impl Adapter for PlusOne {
        fn kind(&self) -> &str {
            "plus-one"
        }

        fn build(&self) -> &str {
            "plus-one 1"
        }

        fn wrap(&self, _: &Bundle, model: Arc<dyn Model>) -> Result<Box<dyn Model>, LoadError> {
            Ok(Box::new(Chain::new(vec![model, Arc::new(Affine::named("y", "z", 1.0))])?))
        }
    }

    fn bundle(adapter: &str) -> Bundle {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let manifest = format!("version = 1\nartifact = 'a'\n{adapter}");
        for (name, content) in [(MANIFEST, manifest.as_bytes()), ("a", b"toy add=1 end")] {
            writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        Bundle::open(writer.finish().unwrap().into_inner().into(), BundleLimits::default()).unwrap()
    }

    #[test]
    fn models_are_wrapped_as_their_bundles_declare() {
        let runtimes = Runtimes::adapting(vec![Arc::new(Toy::new())], vec![Arc::new(PlusOne)]);
        let toy = runtimes.iter().next().unwrap();
        let check = |adapter: &str, expected: Result<(&str, &str), &str>| {
            let bundle = bundle(adapter);
            let loaded = toy.load(&bundle, &LoadOptions::default());
            let loaded = loaded.map(|model| model.signature().outputs[0].name.to_string());
            match expected {
                Ok((output, build)) => {
                    assert_eq!(loaded.unwrap(), output);
                    assert_eq!(toy.build_for(&bundle), build);
                    assert!(toy.builds().contains(&build.to_owned()));
                }
                Err(text) => assert!(loaded.unwrap_err().to_string().contains(text), "{adapter}"),
            }
        };
        check("", Ok(("y", "toy 1")));
        check("[adapter]\nkind = 'plus-one'", Ok(("z", "toy 1 + plus-one 1")));
        check(
            "[adapter]\nkind = 'plus-two'",
            Err("kind = \"plus-two\" is unknown; this build has kind = \"plus-one\""),
        );
        check("[adapter]", Err("adapter: key `kind` is missing"));
    }
}
