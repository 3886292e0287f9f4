//! Every backend passes the suite.

use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use tenon_store::{Backend, Options, store_suite};

store_suite!(files, |folder: &Path| Options::files(folder));

store_suite!(memory, |folder: &Path| Options { backend: Backend::memory(), ..Options::files(folder) });

// A folder that several nodes mount, behind each node's own.
store_suite!(shared_folder, |folder: &Path| {
    let shared = folder.join("shared");
    std::fs::create_dir(&shared).expect("the shared folder can be made");
    let remote = LocalFileSystem::new_with_prefix(shared).expect("it is a folder").with_fsync(true);
    Options::remote(folder.join("local"), Arc::new(remote))
});
