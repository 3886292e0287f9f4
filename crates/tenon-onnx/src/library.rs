//! Where ONNX Runtime's shared library is searched, and why one found is not taken.
//!
//! Whoever can write that file runs code in this process. So it is taken from three places only: where
//! the configuration says, from our cache folder if nobody else may write there, and beside the
//! executable. What only an environment variable names is refused unless the configuration allows it,
//! and the system's own search path is never asked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The version of ONNX Runtime that `cargo xtask onnxruntime` puts into the cache folder. Others may be
/// named in the configuration; every version since 1.17 works.
pub const VERSION: &str = "1.31.1";

/// Where to search, in this order.
#[derive(Clone, Debug, Default)]
pub struct SearchPath {
    /// The file, or the folder it lies in, named in the configuration. Nothing else is tried then.
    pub config: Option<PathBuf>,
    /// Tenon's cache folder; the library lies in `onnxruntime/<version>` in it.
    pub cache_folder: PathBuf,
    /// The folder of the executable.
    pub beside_executable: PathBuf,
    /// What an environment variable names.
    pub environment: Option<PathBuf>,
    /// Whether the configuration allows to take that.
    pub allow_environment: bool,
}

/// Who named a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Config,
    /// The cache folder.
    Cache,
    /// It lies beside the executable.
    BesideExecutable,
    /// An environment variable, allowed by the configuration.
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "configuration",
            Self::Cache => "cache folder",
            Self::BesideExecutable => "beside the executable",
            Self::Environment => "environment",
        })
    }
}

/// A library that may be loaded. Only [`Library::find`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    path: PathBuf,
    origin: Origin,
}

/// No library may be loaded: why, and what was tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ONNX Runtime is not there: {}; {}", tried.join("; "), reason)]
pub struct Absent {
    /// What to do.
    pub reason: String,
    /// Each place with what is wrong there.
    pub tried: Vec<String>,
}

impl Library {
    /// Searches the library.
    ///
    /// # Errors
    /// None was found, or none that may be loaded.
    pub fn find(search: &SearchPath) -> Result<Self, Absent> {
        let mut tried = Vec::new();
        for (origin, path) in search.candidates() {
            let found = match origin {
                Origin::Environment if !search.allow_environment => {
                    Err("named by the environment only, which the configuration does not allow".to_owned())
                }
                Origin::Cache => private(&search.cache_folder, &path).and_then(|()| file(&path)),
                _ => file(&path),
            };
            match found {
                Ok(path) => return Ok(Self { path, origin }),
                Err(fault) => tried.push(format!("{origin}: {}: {fault}", path.display())),
            }
        }
        let reason = format!(
            "run `cargo xtask onnxruntime`, or name the library of ONNX Runtime 1.17 or newer in the \
             configuration (`onnxruntime.library`); it is part of the PyPI package onnxruntime=={VERSION}"
        );
        Err(Absent { reason, tried })
    }

    /// The file, absolute and without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who named it.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

impl SearchPath {
    fn candidates(&self) -> Vec<(Origin, PathBuf)> {
        let name = library_name();
        if let Some(path) = &self.config {
            return vec![(Origin::Config, if path.is_dir() { path.join(name) } else { path.clone() })];
        }
        let cache = self.cache_folder.join("onnxruntime").join(VERSION).join(&name);
        let mut list =
            vec![(Origin::Cache, cache), (Origin::BesideExecutable, self.beside_executable.join(name))];
        list.extend(self.environment.clone().map(|path| (Origin::Environment, path)));
        list
    }
}

fn library_name() -> String {
    format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The real path of a regular file.
fn file(path: &Path) -> Result<PathBuf, String> {
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    if real.is_file() { Ok(real) } else { Err("is no file".to_owned()) }
}

/// Whether nobody but us (and root) can have put `path` into the cache `folder`: each step from the
/// folder down to the file is ours, is writable by nobody else, and is no link.
#[cfg(unix)]
fn private(folder: &Path, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    // On Linux the owner of our own entry in /proc is who we are; without it only root is trusted.
    let ourselves = fs::metadata("/proc/self").map_or(0, |entry| entry.uid());
    let mut steps: Vec<_> = path.ancestors().take_while(|step| *step != folder).collect();
    steps.push(folder);
    for step in steps.into_iter().rev() {
        let metadata = if step == folder { fs::metadata(step) } else { fs::symlink_metadata(step) };
        let metadata = metadata.map_err(|error| error.to_string())?;
        let refused = |fault: &str| Err(format!("{} {fault}", step.display()));
        if metadata.is_symlink() {
            return refused("is a link");
        }
        if metadata.uid() != ourselves && metadata.uid() != 0 {
            return refused("belongs to another user");
        }
        if metadata.mode() & 0o022 != 0 {
            return refused("may be written by others; run `chmod go-w` on it if you trust what lies there");
        }
    }
    Ok(())
}

/// Elsewhere the cache folder lies in the user's profile, which the system guards.
#[cfg(not(unix))]
fn private(_folder: &Path, _path: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct House(tempfile::TempDir);

    impl House {
        fn new() -> Self {
            let house = Self(tempfile::tempdir().unwrap());
            for folder in ["cache", "cache/onnxruntime", "cache/onnxruntime/1.31.1", "bin", "elsewhere"] {
                fs::create_dir(house.path(folder)).unwrap();
                house.set_mode(folder, 0o700);
            }
            house
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn put(&self, name: &str) -> PathBuf {
            fs::write(self.path(name), "library").unwrap();
            self.set_mode(name, 0o600);
            self.path(name)
        }

        fn set_mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn search(&self) -> SearchPath {
            SearchPath {
                cache_folder: self.path("cache"),
                beside_executable: self.path("bin"),
                ..SearchPath::default()
            }
        }
    }

    const CACHED: &str = "cache/onnxruntime/1.31.1/libonnxruntime.so";

    #[test]
    fn config_then_cache_then_beside_the_executable() {
        let house = House::new();
        let origin = |search: &SearchPath| Library::find(search).map(|library| library.origin()).ok();
        assert_eq!(origin(&house.search()), None);
        house.put("bin/libonnxruntime.so");
        assert_eq!(origin(&house.search()), Some(Origin::BesideExecutable));
        house.put(CACHED);
        assert_eq!(origin(&house.search()), Some(Origin::Cache));
        let config = Some(house.put("elsewhere/other.so"));
        assert_eq!(origin(&SearchPath { config, ..house.search() }), Some(Origin::Config));
        let missing = Some(house.path("missing.so"));
        let absent = Library::find(&SearchPath { config: missing, ..house.search() }).unwrap_err();
        assert_eq!(absent.tried.len(), 1, "what is configured but missing is not replaced: {absent}");
    }

    #[test]
    fn cache_that_others_may_write_is_refused() {
        for step in ["cache", "cache/onnxruntime", "cache/onnxruntime/1.31.1", CACHED] {
            let house = House::new();
            house.put(CACHED);
            house.set_mode(step, 0o777);
            let absent = Library::find(&house.search()).unwrap_err().to_string();
            assert!(absent.contains("may be written by others"), "{step}: {absent}");
        }
        let house = House::new();
        let target = house.put("elsewhere/evil.so");
        std::os::unix::fs::symlink(target, house.path(CACHED)).unwrap();
        assert!(Library::find(&house.search()).unwrap_err().to_string().contains("is a link"));
    }

    #[test]
    fn environment_alone_is_refused_unless_allowed() {
        let house = House::new();
        let environment = Some(house.put("elsewhere/named.so"));
        let search = SearchPath { environment, ..house.search() };
        let absent = Library::find(&search).unwrap_err().to_string();
        assert!(
            absent.contains("configuration does not allow") && absent.contains("xtask onnxruntime"),
            "{absent}"
        );
        let allowed = Library::find(&SearchPath { allow_environment: true, ..search }).unwrap();
        assert_eq!(allowed.origin(), Origin::Environment);
    }
}
